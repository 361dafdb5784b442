import { TrefoilError } from "./errors.ts";
import type { FileEntry } from "./manifest.ts";
import type { Platform, Store } from "./platform.ts";

/** Pieces on their way at once. */
const parallel = 3;
/** Pauses before a request is tried again, in milliseconds. */
const pauses = [500, 1000, 2000, 4000];
/** A transfer without a byte for so long has failed, in milliseconds. */
const stallMs = 60_000;

/** What a download tells while it runs. */
export interface DownloadEvents {
  /** Bytes of all pieces that are there, out of `total`. */
  progress(done: number, total: number): void;
  /** Something the user should know, that does not stop the download. */
  notice(text: string): void;
}

/** What came of a file, and how long it was: another length than expected is damage. */
interface Fetched {
  bytes: Uint8Array<ArrayBuffer>;
  length: number;
}

/** Fetches files of a site, checked. */
export class Downloader {
  readonly #platform: Platform;
  readonly #store: Store;
  readonly #events: DownloadEvents;
  /** Pieces for which there was no room. */
  readonly held = new Map<string, Blob>();

  constructor(platform: Platform, store: Store, events: DownloadEvents) {
    this.#platform = platform;
    this.#store = store;
    this.#events = events;
  }

  /** Makes sure that all pieces are stored; those for which there is no room are in `held`. */
  async fetchPieces(base: string, pieces: FileEntry[]): Promise<void> {
    const total = pieces.reduce((sum, piece) => sum + piece.size, 0);
    const done = new Map<string, number>();
    const report = (piece: FileEntry, bytes: number) => {
      done.set(piece.sha256, bytes);
      let sum = 0;
      for (const count of done.values()) {
        sum += count;
      }
      this.#events.progress(sum, total);
    };
    const missing: FileEntry[] = [];
    for (const piece of pieces) {
      if (await this.#store.has(piece.sha256, piece.size)) {
        report(piece, piece.size);
      } else {
        missing.push(piece);
      }
    }
    // The first failure stops the others; what they are storing just then is stored whole.
    const stop = new AbortController();
    let failure: { error: unknown } | undefined;
    const lane = async () => {
      for (let piece = missing.shift(); piece && !failure; piece = missing.shift()) {
        try {
          await this.#fetchPiece(base, piece, stop.signal, report);
        } catch (error) {
          failure ??= { error };
          stop.abort(error);
        }
      }
    };
    await Promise.all(Array.from({ length: parallel }, lane));
    if (failure) {
      throw failure.error;
    }
  }

  async #fetchPiece(
    base: string,
    piece: FileEntry,
    signal: AbortSignal,
    report: (piece: FileEntry, bytes: number) => void,
  ): Promise<void> {
    await this.#store.exclusively(piece.sha256, async () => {
      // Another tab may have fetched it meanwhile.
      if (!(await this.#store.has(piece.sha256, piece.size))) {
        const url = new URL(piece.file, base).href;
        const bytes = await this.#fetchChecked(url, piece, "no-store", signal, (count) =>
          report(piece, count),
        );
        await this.#keep(piece, bytes);
      }
    });
    report(piece, piece.size);
  }

  async #keep(piece: FileEntry, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await this.#store.put(piece.sha256, bytes);
    } catch (error) {
      const full = error instanceof TrefoilError && error.code === "storage-full";
      if (!full || !this.#platform.openBlob) {
        throw error;
      }
      if (this.held.size === 0) {
        this.#events.notice(`${error.message} ${error.hint}`);
      }
      this.held.set(piece.sha256, new Blob([bytes]));
    }
  }

  /** Fetches a file that browsers may cache. Its size and checksum are right when this returns. */
  fetchSmall(url: string, file: FileEntry): Promise<Uint8Array<ArrayBuffer>> {
    return this.#fetchChecked(url, file, "default", new AbortController().signal, () => {});
  }

  async #fetchChecked(
    url: string,
    file: FileEntry,
    mode: RequestCache,
    signal: AbortSignal,
    progress: (bytes: number) => void,
  ): Promise<Uint8Array<ArrayBuffer>> {
    let cache = mode;
    for (let attempt = 0; ; attempt++) {
      const { bytes, length } = await this.#fetchAll(url, file, signal, cache, progress);
      const wrong = await whatIsWrong(bytes, length, file);
      if (!wrong) {
        return bytes;
      }
      // A cache or a cut connection may be the cause; a second copy tells.
      if (attempt === 1) {
        throw new TrefoilError(
          "damaged-file",
          `${shortName(file)} is damaged on the server: ${wrong}.`,
          "Nothing of it was kept. Try again later; the owner of the page has to upload the file again.",
          { detail: url },
        );
      }
      cache = "reload";
    }
  }

  /** Fetches a file, trying again what may pass. */
  async #fetchAll(
    url: string,
    file: FileEntry,
    signal: AbortSignal,
    cache: RequestCache,
    progress: (bytes: number) => void,
  ): Promise<Fetched> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#fetchOnce(url, file, signal, cache, progress);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof TrefoilError) {
          throw error;
        }
        const pause = pauses[attempt];
        if (pause === undefined) {
          throw new TrefoilError(
            "unreachable",
            `${shortName(file)} could not be fetched: ${(error as Error).message}`,
            "Check the connection and try again; what was downloaded is kept.",
            { cause: error, detail: url },
          );
        }
        progress(0);
        await sleep(pause, signal);
      }
    }
  }

  async #fetchOnce(
    url: string,
    file: FileEntry,
    signal: AbortSignal,
    cache: RequestCache,
    progress: (bytes: number) => void,
  ): Promise<Fetched> {
    const stall = new AbortController();
    let timer = setTimeout(() => {}, 0);
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stall.abort(new Error(`no data for ${stallMs / 1000} s`)), stallMs);
    };
    watch();
    try {
      const both = anyOf(signal, stall.signal);
      const response = await this.#platform.fetch(url, { signal: both, cache });
      if (!response.ok) {
        throw refusal(response, file);
      }
      const bytes = new Uint8Array(file.size);
      let length = 0;
      if (response.body) {
        const reader = response.body.getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) {
            break;
          }
          watch();
          length += value.length;
          if (length > bytes.length) {
            await reader.cancel();
            break;
          }
          bytes.set(value, length - value.length);
          progress(length);
        }
      }
      return { bytes, length };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a server's answer means. Plain errors are tried again. */
function refusal(response: Response, file: FileEntry): Error {
  const { status } = response;
  if (status === 408 || status === 429 || status >= 500) {
    return new Error(`the server answered ${status}`);
  }
  if (status === 404 || status === 410) {
    return new TrefoilError(
      "missing-file",
      `${shortName(file)} is not on the server.`,
      "What was downloaded is kept. Try again later; the owner of the page has to upload the file.",
      { detail: response.url },
    );
  }
  return new TrefoilError(
    "unreachable",
    `The server refused ${shortName(file)}: it answered ${status}.`,
    "Try again later; what was downloaded is kept.",
    { detail: response.url },
  );
}

/** A file's name without most of its hash. */
function shortName({ file }: FileEntry): string {
  return file.replace(/([0-9a-f]{12})[0-9a-f]{20,}/g, "$1…");
}

async function whatIsWrong(
  bytes: Uint8Array<ArrayBuffer>,
  length: number,
  file: FileEntry,
): Promise<string | undefined> {
  if (length !== file.size) {
    return length < file.size
      ? `it has ${length} bytes instead of ${file.size}`
      : `it has more than ${file.size} bytes`;
  }
  return (await sha256(bytes)) === file.sha256 ? undefined : "its checksum is wrong";
}

/** Lower-case hexadecimal SHA-256. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `AbortSignal.any`, which browsers have later than all else that this needs. */
function anyOf(...signals: AbortSignal[]): AbortSignal {
  const controller = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) {
      controller.abort(signal.reason);
    }
    signal.addEventListener("abort", () => controller.abort(signal.reason), {
      signal: controller.signal,
    });
  }
  return controller.signal;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
