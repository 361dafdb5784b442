// The package in browsers.
import type { LoadOptions } from "./api.ts";
import { browserHost } from "./runtime/host-browser.ts";
import { loadWith } from "./runtime/load.ts";
import type { Model } from "./runtime/model.ts";

export * from "./exports.ts";

const host = browserHost(
  () => new Worker(new URL("./worker-browser.js", import.meta.url), { type: "module" }),
);

/**
 * Loads a model from a folder that `trefoil web` wrote, given by its address.
 *
 * Downloads are kept in this browser, checked; a load that was interrupted goes on where it was.
 */
export function load(source: string | URL, options: LoadOptions = {}): Promise<Model> {
  return loadWith(host, source, options);
}
