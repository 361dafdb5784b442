// The workers of a model, as the thread that uses it sees them: one for each instance.
import { TrefoilError, toError, workerHint } from "./errors.ts";
import { type Exchange, failExchanges, type Link, makeLinks } from "./exchange.ts";
import type { EngineEntry, Manifest } from "./manifest.ts";
import type {
  AnswerNews,
  CallName,
  Calls,
  ClientMessage,
  GenerationRequest,
  InstancePlan,
  Timing,
  WorkerMessage,
} from "./protocol.ts";

/** A worker, in a browser or in Node. */
export interface WorkerHandle {
  post(message: ClientMessage, transfer?: MessagePort[]): void;
  terminate(): void;
  /** Whether the worker keeps the program running; browsers have no such thing. */
  setNeeded(needed: boolean): void;
}

/** Makes a worker. `lost` is called once it has ended, however that came about. */
export type Spawn = (
  receive: (message: WorkerMessage) => void,
  lost: (why: string) => void,
) => WorkerHandle;

/** What a load tells while it runs. */
export interface LoadEvents {
  downloading(done: number, total: number): void;
  notice(text: string): void;
  reading(done: number, total: number): void;
}

export interface LoadPlan {
  base: string;
  manifest: Manifest;
  engine: EngineEntry;
  size: number;
  folder: string | undefined;
  /** Fetch all pieces again. */
  fresh: boolean;
}

type Receive = (message: WorkerMessage) => void;

interface Pending {
  resolve(value: unknown): void;
  reject(error: TrefoilError): void;
}

/** What an answer is told. */
export interface AnswerListener {
  news(news: AnswerNews, timing: Timing): void;
  failed(error: TrefoilError): void;
}

export class Instances {
  readonly size: number;
  readonly #spawn: Spawn;
  readonly #links: Link[];
  readonly #workers: WorkerHandle[] = [];
  readonly #calls = new Map<number, Pending>();
  readonly #answers = new Map<number, AnswerListener>();
  readonly #stages = new Set<Pending>();
  readonly #memory: number[] = [];
  #failure: TrefoilError | undefined;
  #nextId = 1;
  /** Told of an end that nobody asked for. */
  onLost: (error: TrefoilError) => void = () => {};

  constructor(spawn: Spawn, size: number, exchange: Exchange | undefined) {
    this.#spawn = spawn;
    this.size = size;
    this.#links = makeLinks(size, exchange);
  }

  /** Bytes of linear memory of the first instance, times their number: they have equal shares. */
  get memoryBytes(): number {
    return this.#memory.reduce((sum, bytes) => sum + bytes, 0) * this.size;
  }

  /** Why nothing works any more, if that is so. */
  get failure(): TrefoilError | undefined {
    return this.#failure;
  }

  /** Downloads, compiles, and starts all instances. */
  async load(plan: LoadPlan, events: LoadEvents): Promise<void> {
    const { base, manifest, engine, folder, fresh, size } = plan;
    const planOf = (rank: number): InstancePlan => {
      return { rank, size, link: this.#linkOf(rank), base, manifest, engine, folder };
    };
    let starting = size;
    await this.#stage((done) => {
      const started: Receive = (message) => {
        if (message.type === "started") {
          starting -= 1;
          if (starting === 0) {
            done();
          }
        }
      };
      const first = this.#add(0, (message) => {
        switch (message.type) {
          case "downloading":
            events.downloading(message.done, message.total);
            break;
          case "reading":
            events.reading(message.done, message.total);
            break;
          case "notice":
            events.notice(message.text);
            break;
          case "compiled":
            for (let rank = 1; rank < size; rank++) {
              const { cores } = message;
              const join = { type: "join", plan: planOf(rank), cores } as const;
              this.#add(rank, started).post(join, portsOf(join.plan.link));
            }
            break;
          case "prepared":
            for (const worker of this.#workers) {
              worker.post({ type: "start", held: message.held });
            }
            break;
          default:
            started(message);
        }
      });
      const plan = planOf(0);
      first.post({ type: "prepare", plan, fresh }, portsOf(plan.link));
    });
  }

  /** Asks the first instance for something. */
  call<N extends CallName>(name: N, ...values: Calls[N]["arguments"]): Promise<Calls[N]["result"]> {
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      const id = this.#nextId++;
      this.#calls.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#workers[0]?.post({ type: "call", id, name, arguments: values });
      this.#markNeeded();
    });
  }

  /** Begins an answer. Returns what cancels it. */
  generate(request: GenerationRequest, listener: AnswerListener): () => void {
    if (this.#failure) {
      listener.failed(this.#failure);
      return () => {};
    }
    const id = this.#nextId++;
    this.#answers.set(id, listener);
    this.#workers[0]?.post({ type: "generate", id, request });
    this.#markNeeded();
    return () => {
      if (this.#answers.delete(id)) {
        this.#workers[0]?.post({ type: "cancel", id });
        this.#markNeeded();
      }
    };
  }

  /** Ends all workers. */
  close(error = new TrefoilError("closed", "The model was closed.")): void {
    this.#failure ??= error;
    const link = this.#linkOf(0);
    if (link.kind === "memory") {
      failExchanges(link.shared, this.size, 0);
    }
    for (const worker of this.#workers) {
      worker.terminate();
    }
    const failure = this.#failure;
    const waiting = [...this.#stages, ...this.#calls.values()];
    const answers = [...this.#answers.values()];
    this.#stages.clear();
    this.#calls.clear();
    this.#answers.clear();
    for (const pending of waiting) {
      pending.reject(failure);
    }
    for (const answer of answers) {
      answer.failed(failure);
    }
  }

  #linkOf(rank: number): Link {
    return this.#links[rank] ?? { kind: "none" };
  }

  #add(rank: number, receive: Receive): WorkerHandle {
    const worker = this.#spawn(
      (message) => {
        if (!this.#failure) {
          receive(message);
          this.#receive(message, rank);
        }
      },
      (why) => this.#lost(rank, why),
    );
    this.#workers[rank] = worker;
    return worker;
  }

  #receive(message: WorkerMessage, rank: number): void {
    switch (message.type) {
      case "memory":
        this.#memory[rank] = message.bytes;
        return;
      case "result":
        this.#calls.get(message.id)?.resolve(message.value);
        this.#calls.delete(message.id);
        break;
      case "news": {
        const { id, news, timing } = message;
        this.#answers.get(id)?.news(news, timing);
        break;
      }
      case "error":
        this.#fail(message.id, TrefoilError.from(message.error), message.fatal || rank > 0);
        break;
      default:
        return;
    }
    this.#markNeeded();
  }

  /** The end of one instance is the end of all. */
  #fail(id: number | undefined, error: TrefoilError, fatal: boolean): void {
    if (id === undefined || fatal) {
      this.close(error);
      this.onLost(error);
      return;
    }
    this.#calls.get(id)?.reject(error);
    this.#calls.delete(id);
    this.#answers.get(id)?.failed(error);
    this.#answers.delete(id);
  }

  #lost(rank: number, why: string): void {
    if (this.#failure) {
      return;
    }
    const which = this.size > 1 ? `Worker ${rank} of ${this.size}` : "The worker";
    const message = `${which} of the model ended: ${why}`;
    const error = new TrefoilError("worker-lost", message, workerHint);
    this.close(error);
    this.onLost(error);
  }

  /** An answer has ended: forget its listener. */
  finished(listener: AnswerListener): void {
    for (const [id, other] of this.#answers) {
      if (other === listener) {
        this.#answers.delete(id);
      }
    }
    this.#markNeeded();
  }

  #stage(begin: (done: () => void) => void): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const pending: Pending = { resolve: () => resolve(), reject };
      this.#stages.add(pending);
      try {
        begin(() => {
          this.#stages.delete(pending);
          resolve();
        });
      } catch (error) {
        this.#stages.delete(pending);
        reject(toError(error));
      }
    });
  }

  #markNeeded(): void {
    const needed = this.#stages.size + this.#calls.size + this.#answers.size > 0;
    for (const worker of this.#workers) {
      worker.setNeeded(needed);
    }
  }
}

/** What a worker takes over from the thread that makes it. */
function portsOf(link: Link): MessagePort[] {
  return link.kind === "messages" ? link.ports : [];
}
