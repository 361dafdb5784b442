// Builds what `trefoil` embeds (dist/page) and what the npm package holds (dist/package).
//
//   node build.mjs page          files for a site: index.html, sw.js, assets/NAME-HASH.*
//   node build.mjs package       the package, with type declarations
import { spawnSync } from "node:child_process";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");

/** What all bundles share: browsers with WebAssembly SIMD, none older. */
const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
  jsx: "automatic",
  jsxImportSource: "preact",
};

const targets = { page: buildPage, package: buildPackage };
const asked = process.argv.slice(2);
for (const name of asked.length > 0 ? asked : Object.keys(targets)) {
  const target = targets[name];
  if (!target) {
    throw new Error(`no target \`${name}\`: there are ${Object.keys(targets).join(", ")}`);
  }
  await target();
}

async function buildPage() {
  const out = join(dist, "page");
  await rm(out, { recursive: true, force: true });

  const worker = await bundle(out, "src/runtime/worker-browser.ts", "worker");
  const page = await bundle(out, "src/page/main.tsx", "page", {
    splitting: true,
    chunkNames: "assets/[name]-[hash]",
    define: { WORKER_FILE: JSON.stringify(`./${basename(worker.js)}`) },
  });
  const assets = [...worker.files, ...page.files].map((file) => relative(out, file)).sort();

  const html = await readFile(join(root, "src/page/index.html"), "utf8");
  const index = html
    .replace("PAGE_STYLE", relative(out, page.css))
    .replace("PAGE_SCRIPT", relative(out, page.js));
  await writeFile(join(out, "index.html"), index);

  await esbuild.build({
    ...common,
    entryPoints: ["src/page/sw.ts"],
    outfile: join(out, "sw.js"),
    format: "iife",
    define: { ASSET_FILES: JSON.stringify(assets) },
  });
}

/** Bundles one entry into `assets/` under a name that holds a hash of the content. */
async function bundle(out, entry, name, more = {}) {
  const result = await esbuild.build({
    ...common,
    entryPoints: { [name]: entry },
    outdir: out,
    entryNames: "assets/[name]-[hash]",
    external: ["node:*"],
    metafile: true,
    ...more,
  });
  const outputs = Object.entries(result.metafile.outputs);
  const main = outputs.find(([, output]) => output.entryPoint === entry);
  return {
    js: join(root, main[0]),
    css: main[1].cssBundle && join(root, main[1].cssBundle),
    files: outputs.map(([file]) => join(root, file)),
  };
}

async function buildPackage() {
  const out = join(dist, "package");
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });

  const entries = {
    browser: "src/browser.ts",
    node: "src/node.ts",
    "worker-browser": "src/runtime/worker-browser.ts",
    "worker-node": "src/runtime/worker-node.ts",
  };
  await esbuild.build({
    ...common,
    entryPoints: entries,
    outdir: out,
    external: ["node:*"],
    minify: false,
  });

  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const declared = spawnSync(process.execPath, [tsc, "--project", "tsconfig.package.json"], {
    cwd: root,
    stdio: "inherit",
  });
  if (declared.status !== 0) {
    throw new Error("the type declarations of the package could not be made");
  }

  await nameDeclarations(join(out, "types"));
  const manifest = JSON.parse(await readFile(join(root, "package.npm.json"), "utf8"));
  await writeFile(join(out, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  await cp(join(root, "README.npm.md"), join(out, "README.md"));
}

/** Declarations name the sources that they were made of; users have the files that came of them. */
async function nameDeclarations(folder) {
  for (const name of await readdir(folder, { recursive: true })) {
    if (name.endsWith(".d.ts")) {
      const path = join(folder, name);
      const text = await readFile(path, "utf8");
      await writeFile(path, text.replace(/(["']\.{1,2}\/[^"']+)\.ts(["'])/g, "$1.js$2"));
    }
  }
}
