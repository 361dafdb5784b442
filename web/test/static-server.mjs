// A plain static file server: no special headers, no ranges, nothing clever. What a test wants
// broken, it breaks through `faults`.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/**
 * Serves a folder. `faults` may be changed while the server runs: a function of a path that returns
 * nothing, or a function that answers in place of the server.
 */
export async function serve(folder) {
  const server = {
    requests: [],
    faults: () => undefined,
    url: "",
    close: () => new Promise((resolve) => http.close(resolve).closeAllConnections()),
  };
  const http = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    server.requests.push(path);
    const fault = server.faults(path);
    if (fault) {
      await fault(request, response);
      return;
    }
    const file = join(folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    let size;
    try {
      const found = await stat(file);
      if (!found.isFile()) {
        throw new Error("not a file");
      }
      size = found.size;
    } catch {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      "content-type": types[extname(file)] ?? "application/octet-stream",
      "content-length": size,
    });
    createReadStream(file)
      .on("error", () => response.destroy())
      .pipe(response);
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  server.url = `http://127.0.0.1:${http.address().port}/`;
  return server;
}

/** Headers that make a page cross-origin isolated, so that its workers can share memory. */
export const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/**
 * Serves in addition `/own.html`, an empty page as of a developer, and the modules of a package below
 * `/package/`, with these headers.
 */
export function serveOwnPage(server, folder, headers = {}) {
  const sent = (type, body) => (_, response) => {
    response.writeHead(200, { "content-type": type, ...headers });
    body(response);
  };
  server.faults = (path) => {
    if (path === "/own.html") {
      return sent(types[".html"], (response) =>
        response.end("<!doctype html><title>own page</title>"),
      );
    }
    const file = /^\/package\/([\w./-]+)$/.exec(path)?.[1];
    return (
      file &&
      sent(types[extname(file)] ?? "application/octet-stream", (response) =>
        createReadStream(join(folder, file)).pipe(response),
      )
    );
  };
}
