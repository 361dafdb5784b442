// An instance of an engine in a worker: what browsers and Node share of it.
import { Downloader } from "./download.ts";
import { type Engine, type EngineModule, explain, instantiateEngine } from "./engine.ts";
import { memoryHint, TrefoilError, toError } from "./errors.ts";
import { type Collective, connect } from "./exchange.ts";
import { type FileEntry, piecesOf } from "./manifest.ts";
import { ModelHost } from "./model-host.ts";
import type { Platform, Store } from "./platform.ts";
import type { ClientMessage, InstancePlan } from "./protocol.ts";
import { type OpenPiece, PartReader } from "./reader.ts";

/** Core modules above this size are compiled while they arrive, checked by their size alone. */
const checkedCoreMax = 64 * 1024 * 1024;
/** Between two reports of progress, in milliseconds. */
const reportMs = 50;

/** An engine that waits for its weights. */
interface Instance {
  plan: InstancePlan;
  store: Store;
  reader: PartReader | undefined;
  engine: Engine;
  collective: Collective;
}

/** Answers the messages of the thread that made this worker. */
export class InstanceWorker {
  readonly #platform: Platform;
  #instance: Promise<Instance> | undefined;
  #host: ModelHost | undefined;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  async receive(message: ClientMessage): Promise<void> {
    const id = "id" in message ? message.id : undefined;
    try {
      switch (message.type) {
        case "prepare":
          return await this.#prepare(message.plan, message.fresh);
        case "join":
          await this.#instantiate(message.plan, message.cores);
          return;
        case "start":
          return await this.#start(message.held);
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

  /** Fetches what the instances need; the engine is there long before its weights. */
  async #prepare(plan: InstancePlan, fresh: boolean): Promise<void> {
    const { base, manifest, engine, folder } = plan;
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
    if (fresh) {
      await store.forget(needed);
    }
    await store.keep(base, needed);
    const module = new URL(engine.module, base).href;
    const compile = async (core: FileEntry): Promise<[string, WebAssembly.Module]> => {
      return [core.file, await this.#compile(downloader, module, core, report)];
    };
    const instantiate = async () => {
      const cores = new Map(await Promise.all(engine.cores.map(compile)));
      this.#platform.post({ type: "compiled", cores });
      await this.#instantiate(plan, cores);
    };
    await Promise.all([instantiate(), downloader.fetchPieces(base, pieces)]);
    this.#platform.post({ type: "prepared", held: downloader.held });
  }

  async #compile(
    downloader: Downloader,
    base: string,
    core: FileEntry,
    progress: (done: number, total: number) => void,
  ): Promise<WebAssembly.Module> {
    const url = new URL(core.file, base).href;
    if (core.size <= checkedCoreMax) {
      return downloader.fetchSmall(url, core, (bytes) => WebAssembly.compile(bytes));
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

  #instantiate(plan: InstancePlan, cores: Map<string, WebAssembly.Module>): Promise<Instance> {
    this.#instance = (async () => {
      const { rank, size, link, base, manifest, engine } = plan;
      const platform = this.#platform;
      const store = await platform.openStore(base, plan.folder);
      const total = manifest.parts.reduce((sum, part) => sum + part.size, 0);
      const report = throttled((done: number) => {
        // The instances have equal shares.
        platform.post({ type: "reading", done: Math.min(done * size, total), total });
      });
      const onRead = rank === 0 ? report : undefined;
      const reader =
        engine.weights === "outside" ? new PartReader(manifest.parts, onRead) : undefined;
      const collective = connect(link, rank, size);
      const file = link.kind === "messages" ? engine.suspending : engine.module;
      const module = await platform.importModule(new URL(file, base).href, store);
      try {
        return {
          plan,
          store,
          reader,
          engine: await instantiateEngine(module as EngineModule, cores, collective, reader),
          collective,
        };
      } catch (error) {
        const told = toError(error);
        const message = `The engine could not start: ${told.message}`;
        throw told.code === "other" ? new TrefoilError("out-of-memory", message, memoryHint) : told;
      }
    })();
    return this.#instance;
  }

  /** Opens the pieces. The first instance answers calls from here on; the others serve it. */
  async #start(held: Map<string, Blob>): Promise<void> {
    const instance = await this.#instance;
    if (!instance) {
      throw new Error("started before it was prepared");
    }
    const { plan, store, reader, engine, collective } = instance;
    const { rank, manifest } = plan;
    const platform = this.#platform;
    const open = new Map<string, OpenPiece>();
    for (const piece of piecesOf(manifest, plan.engine)) {
      const blob = held.get(piece.sha256);
      open.set(
        piece.sha256,
        blob && platform.openBlob
          ? platform.openBlob(blob)
          : await store.open(piece.sha256, piece.size),
      );
    }
    reader?.open(open);
    platform.post({ type: "started" });
    if (rank === 0) {
      this.#host = new ModelHost(platform, engine, collective);
      return;
    }
    try {
      // Returns when the first instance has ended.
      await engine.worker.serve();
    } catch (error) {
      collective.fail();
      throw explain(engine, error);
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
