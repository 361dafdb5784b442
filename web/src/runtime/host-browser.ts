import { TrefoilError } from "./errors.ts";
import type { Spawn } from "./instances.ts";
import type { Host } from "./load.ts";
import type { SpeedNotes } from "./speeds.ts";

/** The host that a page is. */
export function browserHost(makeWorker: () => Worker): Host {
  return {
    spawn: spawnWith(makeWorker),
    resolve: (source) => new URL(source, document.baseURI),
    fetchText,
    notes: localNotes,
    cores: navigator.hardwareConcurrency ?? 1,
    check: checkPage,
  };
}

/** What everything needs, in words for the people who look at the page. */
function checkPage(): void {
  if (!globalThis.isSecureContext) {
    throw new TrefoilError(
      "missing-feature",
      "Browsers give this page what it needs only over an encrypted connection.",
      "Open it with https:// in front of its address, or from this same machine (localhost).",
    );
  }
  if (typeof WebAssembly !== "object") {
    throw new TrefoilError(
      "missing-feature",
      "This browser runs no WebAssembly, or it was switched off.",
      "Current versions of Chrome, Edge, Firefox and Safari have it; lockdown modes switch it off.",
    );
  }
}

function spawnWith(makeWorker: () => Worker): Spawn {
  return (receive, lost) => {
    const worker = makeWorker();
    worker.onmessage = ({ data }) => {
      if (data.type === "hello") {
        watch(data.lock, lost);
      } else {
        receive(data);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      lost(event.message || "its program could not be loaded");
    };
    return {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => worker.terminate(),
      setNeeded: () => {},
    };
  };
}

/** No event tells that a worker was ended; but the lock that it holds becomes free. */
function watch(lock: string, lost: (why: string) => void): void {
  navigator.locks
    ?.request(lock, () => lost("the browser stopped it, perhaps for want of memory"))
    .catch(() => {});
}

async function fetchText(url: URL): Promise<string> {
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-cache" });
  } catch (error) {
    throw new TrefoilError(
      "unreachable",
      `${url.href} cannot be reached: ${(error as Error).message}`,
      "Check the connection and try again.",
      { cause: error },
    );
  }
  if (!response.ok) {
    throw new TrefoilError(
      response.status === 404 ? "missing-file" : "unreachable",
      `The server answered ${response.status} for ${url.href}.`,
      "Check the address; it should be that of a folder which `trefoil web` wrote.",
    );
  }
  return response.text();
}

const prefix = "trefoil speed ";

const localNotes: SpeedNotes = {
  get(key) {
    try {
      return JSON.parse(localStorage.getItem(prefix + key) ?? "{}");
    } catch {
      return {};
    }
  },
  set(key, speeds) {
    try {
      localStorage.setItem(prefix + key, JSON.stringify(speeds));
    } catch {
      // Without storage it is measured again next time.
    }
  },
};
