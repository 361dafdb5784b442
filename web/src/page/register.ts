/** Longest wait for the service worker, in milliseconds; without it, the page works all the same. */
const patienceMs = 2000;

/**
 * Registers the service worker, and waits until it answers this page's requests, so that it keeps
 * what this visit fetches.
 */
export async function registerServiceWorker(): Promise<void> {
  const { serviceWorker } = navigator;
  if (!serviceWorker) {
    return;
  }
  try {
    await serviceWorker.register("sw.js");
    if (serviceWorker.controller) {
      return;
    }
    await new Promise<void>((resolve) => {
      serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
      setTimeout(resolve, patienceMs);
    });
  } catch {
    // Private windows may refuse it: no second visit without a network then.
  }
}
