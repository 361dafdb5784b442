import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parentPort } from "node:worker_threads";
import { sha256 } from "./download.ts";
import { cacheFolder, openNodeStore } from "./store-node.ts";
import { InstanceWorker } from "./worker.ts";

const worker = new InstanceWorker({
  openStore: openNodeStore,
  fetch: (url, init) => (url.startsWith("file:") ? fetchFile(url) : fetch(url, init)),
  importModule,
  post: (message) => parentPort?.postMessage(message),
});
parentPort?.on("message", (message) => void worker.receive(message));

async function fetchFile(url: string): Promise<Response> {
  try {
    return new Response(await readFile(fileURLToPath(url)));
  } catch {
    return new Response(null, { status: 404 });
  }
}

/** Node imports from disk only, so that a module from elsewhere is kept in the cache first. */
async function importModule(url: string): Promise<unknown> {
  if (url.startsWith("file:")) {
    return import(url);
  }
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`the server answered ${response.status} for ${url}`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const folder = join(cacheFolder(), "engines");
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${await sha256(bytes)}.mjs`);
  await writeFile(path, bytes);
  return import(pathToFileURL(path).href);
}
