// Pieces in a folder: in that of the site itself where it lies on this disk, else in a cache.

import { closeSync, openSync, readSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { sha256 } from "./download.ts";
import { TrefoilError } from "./errors.ts";
import type { Store } from "./platform.ts";
import type { OpenPiece } from "./reader.ts";

/** Opens the store for a site at `base`. */
export async function openNodeStore(base: string, folder: string | undefined): Promise<Store> {
  if (base.startsWith("file:")) {
    return new SiteFolder(join(fileURLToPath(base), "weights"));
  }
  const cache = folder ?? cacheFolder();
  await mkdir(join(cache, "weights"), { recursive: true });
  await mkdir(join(cache, "sites"), { recursive: true });
  return new CacheFolder(cache);
}

/** Where pieces, and what was measured, are kept from run to run. */
export function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(base, "trefoil", "web");
}

function openPiece(path: string): OpenPiece {
  const file = openSync(path, "r");
  return {
    read(into, offset) {
      for (let done = 0; done < into.length; ) {
        const count = readSync(file, into, done, into.length - done, offset + done);
        if (count === 0) {
          throw new Error(`${path} is too short`);
        }
        done += count;
      }
    },
    close: () => closeSync(file),
  };
}

async function hasSize(path: string, size: number): Promise<boolean> {
  try {
    return (await stat(path)).size === size;
  } catch {
    return false;
  }
}

/** A site on this disk, whose pieces are read where they lie. */
class SiteFolder implements Store {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  #path(hash: string): string {
    return join(this.#folder, `${hash}.bin`);
  }

  async has(hash: string, size: number): Promise<boolean> {
    return hasSize(this.#path(hash), size);
  }
  async put(hash: string): Promise<void> {
    throw new Error(`${this.#path(hash)} belongs to a site and is not written`);
  }
  async open(hash: string): Promise<OpenPiece> {
    return openPiece(this.#path(hash));
  }
  async keep() {}
  async forget() {}
  async exclusively<T>(_hash: string, action: () => Promise<T>): Promise<T> {
    return action();
  }
}

class CacheFolder implements Store {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  #path(hash: string): string {
    return join(this.#folder, "weights", hash);
  }

  async has(hash: string, size: number): Promise<boolean> {
    return hasSize(this.#path(hash), size);
  }

  async put(hash: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${this.#path(hash)}.${process.pid}.part`;
    try {
      const file = await open(temporary, "w");
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path(hash));
    } catch (error) {
      await rm(temporary, { force: true });
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EDQUOT") {
        throw new TrefoilError(
          "storage-full",
          `There is no room for the model in ${this.#folder}.`,
          "Free space, or name another folder with the option `cacheFolder`.",
        );
      }
      throw error;
    }
  }

  async open(hash: string): Promise<OpenPiece> {
    return openPiece(this.#path(hash));
  }

  async keep(site: string, hashes: string[]): Promise<void> {
    const sites = join(this.#folder, "sites");
    const name = join(sites, `${await sha256(new TextEncoder().encode(site))}.json`);
    await writeFile(`${name}.part`, JSON.stringify(hashes));
    await rename(`${name}.part`, name);
    const needed = new Set<string>();
    for (const other of await readdir(sites)) {
      for (const hash of await readList(join(sites, other))) {
        needed.add(hash);
      }
    }
    for (const file of await readdir(join(this.#folder, "weights"))) {
      if (!needed.has(file.split(".", 1)[0] as string)) {
        await rm(join(this.#folder, "weights", file), { force: true });
      }
    }
  }

  async forget(hashes: string[]): Promise<void> {
    for (const hash of hashes) {
      await rm(this.#path(hash), { force: true });
    }
  }

  async exclusively<T>(_hash: string, action: () => Promise<T>): Promise<T> {
    // Two processes may fetch the same piece; renaming makes either whole.
    return action();
  }
}

async function readList(path: string): Promise<string[]> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return [];
  }
}
