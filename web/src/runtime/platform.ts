import type { WorkerMessage } from "./protocol.ts";
import type { OpenPiece } from "./reader.ts";

/** What a browser and Node do differently inside a worker. */
export interface Platform {
  /** Where pieces are kept. `folder` is the user's choice of a place, where there is one. */
  openStore(base: string, folder: string | undefined): Promise<Store>;
  /** Fetches a file of the site. */
  fetch(url: string, init: { signal?: AbortSignal; cache?: RequestCache }): Promise<Response>;
  /** Imports a module of the site. */
  importModule(url: string, store: Store): Promise<unknown>;
  /** Sends a message to the thread that made this worker. */
  post(message: WorkerMessage): void;
  /** Opens what is held in memory, where that can be read without waiting. */
  openBlob?(blob: Blob): OpenPiece;
}

/** Keeps pieces from visit to visit, each under its SHA-256. */
export interface Store {
  /** Whether a piece is there, whole. */
  has(sha256: string, size: number): Promise<boolean>;
  /** Keeps a piece: whole, or not at all. Throws a `TrefoilError` `storage-full` without room. */
  put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Opens a piece for reading. */
  open(sha256: string, size: number): Promise<OpenPiece>;
  /** Notes which pieces a site needs, and deletes those that no site needs. */
  keep(site: string, sha256s: string[]): Promise<void>;
  /** Deletes pieces, so that they are fetched again. */
  forget(sha256s: string[]): Promise<void>;
  /** Runs `action` while no other tab or process fetches the same piece. */
  exclusively<T>(sha256: string, action: () => Promise<T>): Promise<T>;
}
