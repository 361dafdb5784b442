// An instance of an engine in a worker: what browsers and Node share of it.
import { Downloader } from "./download.ts";
import { type Engine, type EngineModule, explain, instantiateEngine } from "./engine.ts";
import { memoryHint, TrefoilError, toError } from "./errors.ts";
import { failExchanges, SharedExchange, solo } from "./exchange.ts";
import { type FileEntry, piecesOf } from "./manifest.ts";
import { ModelHost } from "./model-host.ts";
import type { Platform } from "./platform.ts";
import type { ClientMessage, InstanceStart } from "./protocol.ts";
import { type OpenPiece, PartReader } from "./reader.ts";

/** Core modules above this size are compiled while they arrive, checked by their size alone. */
const checkedCoreMax = 64 * 1024 * 1024;
/** Between two reports of progress, in milliseconds. */
const reportMs = 50;

/** Answers the messages of the thread that made this worker. */
export class InstanceWorker {
  readonly #platform: Platform;
  #host: ModelHost | undefined;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  async receive(message: ClientMessage): Promise<void> {
    const id = "id" in message ? message.id : undefined;
    try {
      switch (message.type) {
        case "prepare":
          return await this.#prepare(message);
        case "start":
          return await this.#start(message.start);
        default:
          if (!this.#host) {
            throw new TrefoilError("closed", "The model is not loaded.");
          }
          await this.#host.receive(message);
      }
    } catch (error) {
      this.#platform.post({ type: "error", id, error: toError(error).toData(), fatal: true });
    }
  }

  /** Fetches and compiles what the instances need. */
  async #prepare(message: Extract<ClientMessage, { type: "prepare" }>): Promise<void> {
    const { base, manifest, engine, folder } = message;
    const store = await this.#platform.openStore(base, folder);
    const report = throttled((done: number, total: number) =>
      this.#platform.post({ type: "downloading", done, total }),
    );
    const downloader = new Downloader(this.#platform, store, {
      progress: report,
      notice: (text) => this.#platform.post({ type: "notice", text }),
    });
    const pieces = piecesOf(manifest, engine);
    const needed = pieces.map((piece) => piece.sha256);
    if (message.fresh) {
      await store.forget(needed);
    }
    await store.keep(base, needed);
    const folderOfEngine = new URL(engine.module, base).href;
    const compiled = Promise.all(
      engine.cores.map(async (core): Promise<[string, WebAssembly.Module]> => {
        return [core.file, await this.#compile(downloader, folderOfEngine, core, report)];
      }),
    );
    const [cores] = await Promise.all([compiled, downloader.fetchPieces(base, pieces)]);
    this.#platform.post({ type: "prepared", cores: new Map(cores), held: downloader.held });
  }

  async #compile(
    downloader: Downloader,
    base: string,
    core: FileEntry,
    progress: (done: number, total: number) => void,
  ): Promise<WebAssembly.Module> {
    const url = new URL(core.file, base).href;
    if (core.size <= checkedCoreMax) {
      return WebAssembly.compile(await downloader.fetchSmall(url, core));
    }
    const response = await this.#platform.fetch(url, {});
    if (!response.ok || !response.body) {
      throw new TrefoilError("missing-file", `The server answered ${response.status} for ${url}.`);
    }
    let length = 0;
    const counted = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          length += chunk.length;
          progress(length, core.size);
          controller.enqueue(chunk);
        },
        flush(controller) {
          if (length !== core.size) {
            controller.error(
              new TrefoilError(
                "damaged-file",
                `${core.file} has ${length} bytes instead of ${core.size}.`,
                "Try again later; the owner of the page has to upload the file again.",
              ),
            );
          }
        },
      }),
    );
    const headers = { "content-type": "application/wasm" };
    return WebAssembly.compileStreaming(new Response(counted, { headers }));
  }

  /** Becomes an instance. The first one answers calls from here on; the others serve it. */
  async #start(start: InstanceStart): Promise<void> {
    const { rank, size, shared, base, manifest, engine } = start;
    const platform = this.#platform;
    const store = await platform.openStore(base, start.folder);
    const open = new Map<string, OpenPiece>();
    for (const piece of piecesOf(manifest, engine)) {
      const blob = start.held.get(piece.sha256);
      open.set(
        piece.sha256,
        blob && platform.openBlob
          ? platform.openBlob(blob)
          : await store.open(piece.sha256, piece.size),
      );
    }
    const outside = engine.weights === "outside";
    const total = manifest.parts.reduce((sum, part) => sum + part.size, 0);
    const report = throttled((done: number) =>
      platform.post({ type: "reading", done: Math.min(done, total), total }),
    );
    const reader = outside
      ? new PartReader(manifest.parts, open, (bytes) => rank === 0 && report(bytes * size))
      : undefined;
    const collective = shared ? new SharedExchange(shared, rank, size) : solo;
    const module = await platform.importModule(new URL(engine.module, base).href, store);
    let instance: Engine;
    try {
      instance = await instantiateEngine(module as EngineModule, start.cores, collective, reader);
    } catch (error) {
      const told = toError(error);
      throw told.code === "other"
        ? new TrefoilError(
            "out-of-memory",
            `The engine could not start: ${told.message}`,
            memoryHint,
          )
        : told;
    }
    platform.post({ type: "started" });
    if (rank === 0) {
      this.#host = new ModelHost(platform, instance, shared, size);
      return;
    }
    try {
      // Returns when the first instance has ended.
      instance.worker.serve();
    } catch (error) {
      if (shared) {
        failExchanges(shared, size, rank);
      }
      throw explain(instance, error);
    }
  }
}

/** Calls at most every `reportMs`, and when the work is complete. */
function throttled<A extends [number, ...number[]]>(report: (...numbers: A) => void) {
  let last = 0;
  return (...numbers: A) => {
    const now = performance.now();
    if (now - last >= reportMs || numbers[0] === numbers[1]) {
      last = now;
      report(...numbers);
    }
  };
}
