// The package in Node.
import type { LoadOptions } from "./api.ts";
import { nodeHost } from "./runtime/host-node.ts";
import { loadWith } from "./runtime/load.ts";
import type { Model } from "./runtime/model.ts";

export * from "./exports.ts";

/**
 * Loads a model from a folder that `trefoil web` wrote, given by its path or its address.
 *
 * A folder on this disk is read where it is. Downloads are kept in a cache, checked.
 */
export function load(source: string | URL, options: LoadOptions = {}): Promise<Model> {
  const folder = options.cacheFolder;
  return loadWith(nodeHost(new URL("./worker-node.js", import.meta.url), folder), source, options);
}
