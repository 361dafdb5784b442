import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Transferable, Worker } from "node:worker_threads";
import { TrefoilError } from "./errors.ts";
import type { Spawn } from "./instances.ts";
import type { Host } from "./load.ts";
import type { SpeedNotes } from "./speeds.ts";
import { cacheFolder } from "./store-node.ts";

/** The host that a process of Node is. */
export function nodeHost(workerFile: URL, folder: string | undefined): Host {
  return {
    spawn: spawnFrom(workerFile),
    resolve,
    fetchText,
    notes: fileNotes(folder ?? cacheFolder()),
    cores: availableParallelism(),
    check: checkVersion,
  };
}

function checkVersion(): void {
  const major = Number.parseInt(process.versions.node, 10);
  if (major < 22) {
    throw new TrefoilError(
      "missing-feature",
      `Node ${process.versions.node} is too old.`,
      "Use version 22 or newer.",
    );
  }
}

/** An address, or else a path. */
function resolve(source: string): URL {
  return /^(https?|file):/.test(source) ? new URL(source) : pathToFileURL(source);
}

function spawnFrom(file: URL): Spawn {
  return (receive, lost) => {
    const worker = new Worker(file);
    worker.on("message", receive);
    worker.on("error", (error) => lost((error as Error).message));
    worker.on("exit", (code) => lost(`it ended with code ${code}`));
    return {
      // Node's types know only ports of its own.
      post: (message, transfer = []) =>
        worker.postMessage(message, transfer as unknown as Transferable[]),
      terminate: () => void worker.terminate(),
      setNeeded: (needed) => (needed ? worker.ref() : worker.unref()),
    };
  };
}

async function fetchText(url: URL): Promise<string> {
  const hint = "It should be the path or the address of a folder which `trefoil web` wrote.";
  if (url.protocol === "file:") {
    try {
      return await readFile(fileURLToPath(url), "utf8");
    } catch (error) {
      const message = `${fileURLToPath(url)} cannot be read: ${(error as Error).message}`;
      throw new TrefoilError("missing-file", message, hint, { cause: error });
    }
  }
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    const message = `${url.href} cannot be reached: ${(error as Error).message}`;
    throw new TrefoilError("unreachable", message, "Check the connection.", { cause: error });
  }
  if (!response.ok) {
    const code = response.status === 404 ? "missing-file" : "unreachable";
    throw new TrefoilError(code, `The server answered ${response.status} for ${url.href}.`, hint);
  }
  return response.text();
}

function fileNotes(folder: string): SpeedNotes {
  const path = join(folder, "speeds.json");
  const all = (): Record<string, Record<string, number>> => {
    try {
      return JSON.parse(readFileSync(path, "utf8"));
    } catch {
      return {};
    }
  };
  return {
    get: (key) => all()[key] ?? {},
    set(key, speeds) {
      try {
        mkdirSync(folder, { recursive: true });
        writeFileSync(path, JSON.stringify({ ...all(), [key]: speeds }));
      } catch {
        // Without a cache it is measured again next time.
      }
    },
  };
}
