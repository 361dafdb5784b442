import { openBlob, openBrowserStore } from "./store-browser.ts";
import { InstanceWorker } from "./worker.ts";

const worker = new InstanceWorker({
  openStore: openBrowserStore,
  fetch: (url, init) => fetch(url, init),
  importModule: (url) => import(url),
  post: (message) => postMessage(message),
  openBlob,
});
addEventListener("message", (event) => void worker.receive(event.data));

// Held as long as this worker lives, so that the page learns of its end.
const lock = `trefoil worker ${crypto.randomUUID()}`;
if (navigator.locks) {
  void navigator.locks.request(lock, () => {
    postMessage({ type: "hello", lock });
    return new Promise(() => {});
  });
}
