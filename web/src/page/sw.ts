// The service worker: the page without a network, and isolated without any header of the server's.
//
// What has a hash in its name never changes and comes from the cache; the page itself and the
// manifest come from the network while there is one. Weights pass by: the page keeps them itself.
import { type Manifest, manifestFile } from "../runtime/manifest.ts";

declare const ASSET_FILES: string[];

interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface WorkerScope {
  readonly registration: ServiceWorkerRegistration;
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listen: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", listen: (event: FetchEvent) => void): void;
}
const scope = self as unknown as WorkerScope;

const base = scope.registration.scope;
const cacheName = `trefoil ${base}`;
const index = new URL("index.html", base).href;
const manifestUrl = new URL(manifestFile, base).href;
const assets = ASSET_FILES.map((file) => new URL(file, base).href);

scope.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(cacheName);
      await Promise.all([
        cache.addAll(assets),
        cache.add(new Request(index, { cache: "no-cache" })),
        cache.add(new Request(manifestUrl, { cache: "no-cache" })),
      ]);
      await scope.skipWaiting();
    })(),
  );
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      await forgetOld();
      await scope.clients.claim();
    })(),
  );
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || !url.href.startsWith(base)) {
    return;
  }
  url.search = "";
  url.hash = "";
  const path = url.href.slice(base.length);
  if (request.mode === "navigate") {
    if (path === "" || path === "index.html") {
      event.respondWith(fromNetwork(index).then(isolated));
    }
  } else if (path === manifestFile) {
    event.respondWith(fromNetwork(manifestUrl, () => event.waitUntil(forgetOld())));
  } else if (path.startsWith("assets/") || path.startsWith("engines/")) {
    event.respondWith(fromCache(url.href, request.cache).then(isolated));
  }
});

/** From the network, or, without one, as it was the last time. */
async function fromNetwork(url: string, changed: () => void = () => {}): Promise<Response> {
  const cache = await caches.open(cacheName);
  try {
    const response = await fetch(url, { cache: "no-cache" });
    if (response.ok) {
      await cache.put(url, response.clone());
      changed();
    }
    return response;
  } catch (error) {
    const kept = await cache.match(url);
    if (kept) {
      return kept;
    }
    throw error;
  }
}

/** As it is kept, unless who asks found that to be damaged (`reload`). */
async function fromCache(url: string, mode: RequestCache): Promise<Response> {
  const cache = await caches.open(cacheName);
  const kept = mode === "reload" ? undefined : await cache.match(url);
  if (kept) {
    return kept;
  }
  const response = await fetch(url, { cache: mode });
  if (response.ok) {
    await cache.put(url, response.clone());
  }
  return response;
}

/** With the headers that make a page cross-origin isolated, so that its workers can share memory. */
function isolated(response: Response): Response {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

/** Deletes what neither this version of the page nor the kept manifest names. */
async function forgetOld(): Promise<void> {
  const cache = await caches.open(cacheName);
  const kept = await cache.match(manifestUrl);
  const manifest: Manifest | undefined = kept && (await kept.json());
  const needed = new Set([index, manifestUrl, ...assets]);
  for (const engine of manifest?.engines ?? []) {
    const module = new URL(engine.module, base).href;
    needed.add(module).add(new URL(engine.suspending, base).href);
    for (const core of engine.cores) {
      needed.add(new URL(core.file, module).href);
    }
  }
  for (const request of await cache.keys()) {
    if (!needed.has(request.url)) {
      await cache.delete(request);
    }
  }
}
