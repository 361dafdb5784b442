import { TrefoilError } from "./errors.ts";
import { openBlob, openBrowserStore } from "./store-browser.ts";
import { InstanceWorker } from "./worker.ts";

const worker = new InstanceWorker({
  openStore: openBrowserStore,
  fetch: (url, init) => fetch(url, init),
  importModule,
  post: (message) => postMessage(message),
  openBlob,
});

// A lock that is held as long as this worker lives, so that the page learns of its end. Messages
// wait until the page knows the lock: what they ask for may block this thread for good.
const lock = `trefoil worker ${crypto.randomUUID()}`;
const watched = new Promise<void>((resolve) => {
  if (!navigator.locks) {
    resolve();
    return;
  }
  void navigator.locks.request(lock, () => {
    postMessage({ type: "hello", lock });
    resolve();
    return new Promise(() => {});
  });
});
addEventListener("message", (event) => void watched.then(() => worker.receive(event.data)));

async function importModule(url: string): Promise<unknown> {
  try {
    return await import(url);
  } catch {
    // A cache may hold a damaged copy; `reload` replaces it.
    try {
      await fetch(url, { cache: "reload" });
      return await import(`${url}?again`);
    } catch (error) {
      throw new TrefoilError(
        "damaged-file",
        `The engine's program cannot be loaded: ${(error as Error).message}`,
        "Try again later; the owner of the page has to upload the file again.",
      );
    }
  }
}
