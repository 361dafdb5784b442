import { type Received, receive, Scratch } from "./body.ts";
import { TrefoilError } from "./errors.ts";
import type { FileEntry } from "./manifest.ts";
import type { Platform, Store } from "./platform.ts";

/** Pieces on their way at once: one arrives while another is checked and stored. */
const parallel = 2;
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

/** How a file is fetched. */
interface How {
  scratch: Scratch;
  signal: AbortSignal;
  cache: RequestCache;
  progress(bytes: number): void;
}

/** Fetches files of a site, checked. */
export class Downloader {
  readonly #platform: Platform;
  readonly #store: Store;
  readonly #events: DownloadEvents;
  #busy: Promise<unknown> = Promise.resolve();
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
      const scratch = new Scratch();
      for (let piece = missing.shift(); piece && !failure; piece = missing.shift()) {
        try {
          await this.#fetchPiece(base, piece, scratch, stop.signal, report);
        } catch (error) {
          failure ??= { error };
          stop.abort(error);
        }
      }
      scratch.free();
    };
    await Promise.all(Array.from({ length: parallel }, lane));
    if (failure) {
      throw failure.error;
    }
  }

  async #fetchPiece(
    base: string,
    piece: FileEntry,
    scratch: Scratch,
    signal: AbortSignal,
    report: (piece: FileEntry, bytes: number) => void,
  ): Promise<void> {
    await this.#store.exclusively(piece.sha256, async () => {
      // Another tab may have fetched it meanwhile.
      if (!(await this.#store.has(piece.sha256, piece.size))) {
        const url = new URL(piece.file, base).href;
        const progress = (count: number) => report(piece, count);
        const how = { scratch, signal, progress, cache: "no-store" as const };
        await this.#fetchChecked(url, piece, how, (bytes) => this.#keep(piece, bytes));
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

  /** Fetches a file that browsers may cache, and uses it once its size and checksum are right. */
  fetchSmall<T>(
    url: string,
    file: FileEntry,
    use: (bytes: Uint8Array<ArrayBuffer>) => Promise<T>,
  ): Promise<T> {
    const how = {
      scratch: new Scratch(),
      signal: new AbortController().signal,
      cache: "default" as const,
      progress: () => {},
    };
    return this.#fetchChecked(url, file, how, use);
  }

  async #fetchChecked<T>(
    url: string,
    file: FileEntry,
    how: How,
    use: (bytes: Uint8Array<ArrayBuffer>) => Promise<T>,
  ): Promise<T> {
    let { cache } = how;
    for (let attempt = 0; ; attempt++) {
      const { bytes, length } = await this.#fetchAll(url, file, { ...how, cache });
      // One at a time: browsers copy what they digest and what they write.
      const checked = await this.#oneAtATime(async () => {
        const wrong = await whatIsWrong(bytes, length, file);
        return wrong ? { wrong } : { used: await use(bytes) };
      });
      if ("used" in checked) {
        return checked.used;
      }
      // A cache or a cut connection may be the cause; a second copy tells.
      if (attempt === 1) {
        throw new TrefoilError(
          "damaged-file",
          `${shortName(file)} is damaged on the server: ${checked.wrong}.`,
          "Nothing of it was kept. Try again later; the owner of the page has to upload the file again.",
          { detail: url },
        );
      }
      cache = "reload";
    }
  }

  #oneAtATime<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#busy.then(action);
    this.#busy = result.catch(() => {});
    return result;
  }

  /** Fetches a file, trying again what may pass. */
  async #fetchAll(url: string, file: FileEntry, how: How): Promise<Received> {
    const { signal, progress } = how;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#fetchOnce(url, file, how);
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

  async #fetchOnce(url: string, file: FileEntry, how: How): Promise<Received> {
    const { scratch, signal, cache, progress } = how;
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
      const body = response.body ?? new Blob([]).stream();
      return await receive(body, file.size, scratch, (bytes) => {
        watch();
        progress(bytes);
      });
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
