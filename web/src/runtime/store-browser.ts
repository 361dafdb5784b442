// Pieces in the Origin Private File System: `trefoil/weights/SHA256`, and for each site a list of
// what it needs, `trefoil/sites/SHA256-OF-ITS-ADDRESS.json`.
// https://fs.spec.whatwg.org/
import { sha256 } from "./download.ts";
import { TrefoilError } from "./errors.ts";
import type { Store } from "./platform.ts";
import type { OpenPiece } from "./reader.ts";

/** What TypeScript's library of the page lacks, because only workers have it. */
interface SyncAccessHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}
type FileHandle = FileSystemFileHandle & {
  createSyncAccessHandle(options?: { mode: "read-only" }): Promise<SyncAccessHandle>;
};
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

/** Bytes that are written at a time; browsers copy them. */
const writeBytes = 4 << 20;

/** Opens the store of this origin; one that holds nothing where the browser gives no room. */
export async function openBrowserStore(): Promise<Store> {
  try {
    const root = await navigator.storage.getDirectory();
    const own = await root.getDirectoryHandle("trefoil", { create: true });
    const weights = await own.getDirectoryHandle("weights", { create: true });
    const sites = await own.getDirectoryHandle("sites", { create: true });
    return new FileSystemStore(weights, sites);
  } catch {
    // Private windows of some browsers have no such file system.
    return new NoStore();
  }
}

/** A piece that is held as a Blob, which browsers may keep outside memory. */
export function openBlob(blob: Blob): OpenPiece {
  const reader = new FileReaderSync();
  return {
    read(into, offset) {
      const bytes = reader.readAsArrayBuffer(blob.slice(offset, offset + into.length));
      into.set(new Uint8Array(bytes));
    },
    close() {},
  };
}

class FileSystemStore implements Store {
  readonly #weights: FileSystemDirectoryHandle;
  readonly #sites: FileSystemDirectoryHandle;

  constructor(weights: FileSystemDirectoryHandle, sites: FileSystemDirectoryHandle) {
    this.#weights = weights;
    this.#sites = sites;
  }

  async has(hash: string, size: number): Promise<boolean> {
    try {
      const handle = await this.#weights.getFileHandle(hash);
      return (await handle.getFile()).size === size;
    } catch {
      return false;
    }
  }

  async put(hash: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await writeFile(this.#weights, hash, bytes);
    } catch (error) {
      // Whatever failed, a part of a piece must not stay.
      await remove(this.#weights, hash);
      if ((error as DOMException).name === "QuotaExceededError") {
        throw storageFull();
      }
      throw error;
    }
  }

  async open(hash: string): Promise<OpenPiece> {
    const handle = (await this.#weights.getFileHandle(hash)) as FileHandle;
    const shared = await openShared(handle);
    if (!shared) {
      return openBlob(await handle.getFile());
    }
    return {
      read(into, offset) {
        if (shared.read(into, { at: offset }) !== into.length) {
          throw new Error(`a stored piece of the weights is too short (${hash})`);
        }
      },
      close: () => shared.close(),
    };
  }

  async keep(site: string, hashes: string[]): Promise<void> {
    const name = `${await sha256(new TextEncoder().encode(site))}.json`;
    await writeFile(this.#sites, name, new TextEncoder().encode(JSON.stringify(hashes)));
    const needed = new Set<string>();
    for await (const other of this.#sites.keys()) {
      for (const hash of await readList(this.#sites, other)) {
        needed.add(hash);
      }
    }
    for await (const file of this.#weights.keys()) {
      // Browsers write beside a file what becomes its content, under its name with an ending.
      if (!needed.has(file.split(".", 1)[0] as string)) {
        await remove(this.#weights, file);
      }
    }
  }

  async forget(hashes: string[]): Promise<void> {
    for (const hash of hashes) {
      await remove(this.#weights, hash);
    }
  }

  async exclusively<T>(hash: string, action: () => Promise<T>): Promise<T> {
    return navigator.locks ? navigator.locks.request(`trefoil ${hash}`, action) : action();
  }
}

/** Keeps nothing: every piece is held in memory until the page is closed. */
class NoStore implements Store {
  async has() {
    return false;
  }
  async put() {
    throw new TrefoilError(
      "storage-full",
      "This browser keeps no files for the page, perhaps because the window is private.",
      "The model is held in memory and downloaded again at the next visit.",
    );
  }
  async open(hash: string): Promise<OpenPiece> {
    throw new Error(`piece ${hash} was not stored`);
  }
  async keep() {}
  async forget() {}
  async exclusively<T>(_hash: string, action: () => Promise<T>): Promise<T> {
    return action();
  }
}

function storageFull(): TrefoilError {
  return new TrefoilError(
    "storage-full",
    "The browser's storage for this page is full.",
    "The rest of the model is held in memory and downloaded again at the next visit; to keep it, free space on the disk or delete data of other pages.",
  );
}

/** A handle that others may have at the same time; it reads without garbage. */
async function openShared(handle: FileHandle): Promise<SyncAccessHandle | undefined> {
  let first: SyncAccessHandle | undefined;
  try {
    first = await handle.createSyncAccessHandle({ mode: "read-only" });
    // Browsers that do not know the mode lock the file, which a second handle shows.
    const second = await handle.createSyncAccessHandle({ mode: "read-only" });
    second.close();
    return first;
  } catch {
    first?.close();
    return undefined;
  }
}

/** Writes a file: whole, or, where the browser cannot promise that, in order and flushed. */
async function writeFile(
  folder: FileSystemDirectoryHandle,
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const handle = (await folder.getFileHandle(name, { create: true })) as FileHandle;
  if ("createWritable" in handle) {
    const writable = await handle.createWritable();
    try {
      for (let at = 0; at < bytes.length; at += writeBytes) {
        await writable.write(bytes.subarray(at, at + writeBytes));
      }
      await writable.close();
    } catch (error) {
      await writable.abort().catch(() => {});
      throw error;
    }
    return;
  }
  // Safari before 26.
  const access = await (handle as FileHandle).createSyncAccessHandle();
  try {
    access.truncate(0);
    if (access.write(bytes, { at: 0 }) !== bytes.length) {
      throw new DOMException("no room", "QuotaExceededError");
    }
    access.flush();
  } finally {
    access.close();
  }
}

async function readList(folder: FileSystemDirectoryHandle, name: string): Promise<string[]> {
  try {
    const handle = await folder.getFileHandle(name);
    return JSON.parse(await (await handle.getFile()).text());
  } catch {
    return [];
  }
}

async function remove(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  // A file that another tab reads stays until the next time.
  await folder.removeEntry(name).catch(() => {});
}
