// A command that `trefoil web --lib` has written, run as a developer would: with the WASI shim of the
// component tools, in Node or in a page. Prints what the command prints.
//
//   node library.mjs --library FOLDER --shim FOLDER --where node|chromium [--argument TEXT] [--seed N]
//
// The shim is the folder of `@bytecodealliance/preview2-shim`.
import { createReadStream, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { flags, openBrowser } from "./browser.mjs";
import { serve } from "./static-server.mjs";

const given = flags();
const { module } = JSON.parse(await readFile(join(given.library, "trefoil.json"), "utf8"));
const args = ["command", given.argument, given.seed].filter((text) => text !== undefined);

if (given.where === "node") {
  await inNode();
} else {
  await inChromium();
}

async function inNode() {
  const own = (path) => pathToFileURL(join(given.library, path)).href;
  const shim = pathToFileURL(join(given.shim, "dist/common/instantiation.js")).href;
  const [{ instantiate }, { WASIShim }] = await Promise.all([import(own(module)), import(shim)]);
  const core = async (path) => WebAssembly.compile(await readFile(join(given.library, path)));
  const wasi = new WASIShim({ sandbox: { args } });
  const { run } = await instantiate(core, wasi.getImportObject());
  run.run();
}

async function inChromium() {
  const server = await serve(given.library);
  const imports = {
    "@bytecodealliance/preview2-shim": "/shim/browser/index.js",
    "@bytecodealliance/preview2-shim/": "/shim/browser/",
    "@bytecodealliance/preview2-shim/instantiation": "/shim/common/instantiation.js",
  };
  server.faults = (path) => {
    if (path === "/own.html") {
      return (_, response) => {
        response.writeHead(200, { "content-type": "text/html" });
        const map = JSON.stringify({ imports });
        response.end(`<!doctype html><title>own</title><script type="importmap">${map}</script>`);
      };
    }
    const file = path.startsWith("/shim/") && join(given.shim, "dist", path.slice("/shim".length));
    return (
      file &&
      ((_, response) => {
        response.writeHead(200, { "content-type": "text/javascript" });
        createReadStream(existsSync(file) ? file : `${file}.js`).pipe(response);
      })
    );
  };
  const browser = await openBrowser();
  const page = await browser.context.newPage();
  // What the shim writes; the browser reports other things as errors, such as a missing icon.
  page.on("console", (message) => message.type() === "log" && console.log(message.text()));
  await page.goto(`${server.url}own.html`);
  await page.evaluate(
    async ([module, args]) => {
      const { WASIShim } = await import("@bytecodealliance/preview2-shim/instantiation");
      const { instantiate } = await import(`/${module}`);
      const core = (path) => WebAssembly.compileStreaming(fetch(`/${path}`));
      const wasi = new WASIShim({ sandbox: { args } });
      const { run } = await instantiate(core, wasi.getImportObject());
      run.run();
    },
    [module, args],
  );
  await browser.close();
  await server.close();
}
