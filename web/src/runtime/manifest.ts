import { TrefoilError } from "./errors.ts";
import type { Feature } from "./features.ts";

/** One file, and how to know that it is right. */
export interface FileEntry {
  /** Relative to the manifest, or to the engine's module for its core modules. */
  file: string;
  /** Bytes. */
  size: number;
  /** Lower-case hexadecimal SHA-256. */
  sha256: string;
}

/** A transpiled engine. */
export interface EngineEntry {
  name: string;
  requires: Feature[];
  module: string;
  /** The same for instances that exchange messages: what waits for others returns promises. */
  suspending: string;
  cores: FileEntry[];
  weights: "outside" | "inside";
}

/** A file of the model, in pieces. */
export interface PartEntry {
  name: string;
  role: "weights" | "adapter" | "projector" | "draft";
  format: string;
  size: number;
  sha256: string;
  license: string;
  pieces: FileEntry[];
}

/** `trefoil.json`, as `trefoil web` writes it. */
export interface Manifest {
  trefoil: 1;
  title: string;
  system: string;
  /** In order of preference. */
  engines: EngineEntry[];
  parts: PartEntry[];
}

/** The name of the manifest's file in a site. */
export const manifestFile = "trefoil.json";

/** Reads a manifest, checking what the rest relies on. */
export function parseManifest(text: string, where: string): Manifest {
  const fail = (what: string): never => {
    throw new TrefoilError(
      "invalid-manifest",
      `${where} is no manifest of \`trefoil web\`: ${what}`,
      "Check the address; it should be that of a folder which `trefoil web` wrote.",
    );
  };
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return fail("it is not JSON");
  }
  const manifest = data as Partial<Manifest>;
  if (manifest.trefoil !== 1) {
    return fail(`its version is \`${manifest.trefoil}\`, and this program reads version 1`);
  }
  if (!Array.isArray(manifest.engines) || manifest.engines.length === 0) {
    return fail("it names no engine");
  }
  if (!Array.isArray(manifest.parts)) {
    return fail("it has no list `parts`");
  }
  for (const part of manifest.parts) {
    const total = part.pieces.reduce((sum, piece) => sum + piece.size, 0);
    if (part.pieces.length > 0 && total !== part.size) {
      return fail(`the pieces of \`${part.name}\` have ${total} bytes of ${part.size}`);
    }
  }
  for (const { name, module, suspending } of manifest.engines) {
    if (!module || !suspending) {
      return fail(`the engine \`${name}\` names no modules; a newer \`trefoil web\` does`);
    }
  }
  const files = [
    ...manifest.parts.flatMap((part) => part.pieces),
    ...manifest.engines.flatMap((engine) => engine.cores),
  ];
  for (const file of files) {
    if (!/^[0-9a-f]{64}$/.test(file.sha256) || !(file.size >= 0)) {
      return fail(`\`${file.file}\` has no size or checksum`);
    }
  }
  return {
    trefoil: 1,
    title: manifest.title || "Trefoil",
    system: manifest.system ?? "",
    engines: manifest.engines,
    parts: manifest.parts,
  };
}

/** The pieces that an engine needs from outside, each once. */
export function piecesOf(manifest: Manifest, engine: EngineEntry): FileEntry[] {
  if (engine.weights === "inside") {
    return [];
  }
  const pieces = manifest.parts.flatMap((part) => part.pieces);
  return [...new Map(pieces.map((piece) => [piece.sha256, piece])).values()];
}
