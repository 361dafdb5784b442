import { TrefoilError } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import type { EngineEntry, Manifest } from "./manifest.ts";

/** What an engine may need of WebAssembly beyond its first version. */
export type Feature = "simd" | "relaxed-simd" | "multi-memory";

/** Since when browsers have a feature, as a person reads it. */
export const since: Record<Feature, string> = {
  simd: "Chrome 91, Edge 91, Firefox 89, Safari 16.4",
  "relaxed-simd": "Chrome 114, Edge 114, Firefox 146, Safari 27.3",
  "multi-memory": "Chrome 120, Edge 120, Firefox 125, Safari 27.3",
};

// Modules that only a runtime with the feature takes.
const probes: Record<Feature, number[]> = {
  // (func (result v128) (i8x16.splat (i32.const 0)))
  simd: [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11],
  // (func (result v128) (i8x16.relaxed_swizzle (i8x16.splat (i32.const 0)) (same)))
  "relaxed-simd": [
    1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0, 253, 15, 253, 128,
    2, 11,
  ],
  // (memory 0) (memory 0)
  "multi-memory": [5, 5, 2, 0, 0, 0, 0],
};

/** Whether this runtime has a feature of WebAssembly. */
export function has(feature: Feature): boolean {
  const magic = [0, 97, 115, 109, 1, 0, 0, 0];
  return WebAssembly.validate(new Uint8Array([...magic, ...probes[feature]]));
}

/** The first engine that runs here, or the one that was asked for. */
export function chooseEngine(manifest: Manifest, asked: string | undefined): EngineEntry {
  const named = asked
    ? manifest.engines.filter((engine) => engine.name === asked)
    : manifest.engines;
  if (named.length === 0) {
    const names = manifest.engines.map((engine) => `\`${engine.name}\``).join(", ");
    throw new TrefoilError("invalid-option", `There is no engine \`${asked}\`, only ${names}.`);
  }
  const fit = named.find((engine) => engine.requires.every(has));
  if (fit) {
    return fit;
  }
  // The last one asks for the least.
  const missing = named[named.length - 1]?.requires.filter((feature) => !has(feature)) ?? [];
  const list = missing
    .map((feature) => `WebAssembly's ${feature} (${since[feature]})`)
    .join(" and ");
  throw new TrefoilError(
    "missing-feature",
    `This browser lacks ${list}.`,
    "Use one of the browsers named, or a newer version of this one.",
  );
}

/** How several workers can exchange what they compute here, the faster way first. */
export function exchangesHere(): Exchange[] {
  const all: [Exchange, boolean][] = [
    ["memory", canShareMemory()],
    ["messages", typeof WebAssembly === "object" && "Suspending" in WebAssembly],
  ];
  return all.filter(([, possible]) => possible).map(([exchange]) => exchange);
}

function canShareMemory(): boolean {
  return (
    typeof SharedArrayBuffer === "function" &&
    (globalThis.crossOriginIsolated ?? true) &&
    typeof Atomics === "object"
  );
}
