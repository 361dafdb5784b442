/** Bytes that one rank hands over at a time; longer lists go in several rounds. */
const roundBytes = 256 * 1024;

/** Fields of a rank in the shared control words, each rank on a cache line of its own. */
const fields = 16;
const arrived = 0;
const sleepers = 1;
/** Lengths of the lists, for even and odd rounds. */
const lengths = 2;

/** How often a rank looks before it sleeps: some 50 us, longer than an exchange takes. */
const spins = 20_000;
/** Sleeping ranks look for a failure that nobody could announce at least so often. */
const sleepMs = 1000;

/** By what instances exchange. */
export type Exchange = "memory" | "messages";

/** Why an exchange ended in an error. */
export class ExchangeError extends Error {}

/** Makes every exchange through this memory fail from now on: `rank` is lost. */
export function failExchanges(shared: SharedArrayBuffer, size: number, rank: number): void {
  const control = new Int32Array(shared, 0, controlBytes(size) / 4);
  // The first failure is the cause; those that follow from it say nothing new.
  Atomics.compareExchange(control, size * fields, 0, rank + 1);
  for (let other = 0; other < size; other++) {
    Atomics.notify(control, other * fields + arrived);
  }
}

function controlBytes(size: number): number {
  return (size + 1) * fields * 4;
}

/**
 * Gives the list that a rank passes. It lies in the engine's memory, which moves when it grows, so
 * that it is asked for again after every allocation.
 */
export type Part = () => Uint8Array;

/** Gives a place to write the result to; called once for each exchange. */
export type Allocate = (bytes: number) => Uint8Array;

/** What instances do together. */
export type Operation = "allGather" | "gather" | "broadcast";

/**
 * Exchange between the instances of a model: the contract's `collective`. An operation that is
 * `suspended` returns a promise; the others have ended when they return.
 */
export interface Collective {
  readonly rank: number;
  readonly size: number;
  readonly suspended: readonly Operation[];
  /** The lists of all ranks, one behind the other. */
  allGather(part: Part, allocate: Allocate): Promise<void> | void;
  /** The same at rank 0; an empty list elsewhere. */
  gather(part: Part, allocate: Allocate): Promise<void> | void;
  /** What rank 0 passes. */
  broadcast(part: Part, allocate: Allocate): Promise<void> | void;
  /** This instance is lost: whoever waits for it in this operation is told. */
  fail(): void;
}

/** How an instance reaches the others. */
export type Link =
  | { kind: "none" }
  | { kind: "memory"; shared: SharedArrayBuffer }
  /** A port to every other instance, in the order of their ranks. */
  | { kind: "messages"; ports: MessagePort[] };

/** Links all instances of a model. */
export function makeLinks(size: number, kind: Exchange | undefined): Link[] {
  if (size === 1 || kind === undefined) {
    return [{ kind: "none" }];
  }
  const ranks = Array.from({ length: size }, (_, rank) => rank);
  if (kind === "memory") {
    const shared = new SharedArrayBuffer(controlBytes(size) + size * 2 * roundBytes);
    return ranks.map(() => ({ kind: "memory", shared }));
  }
  const ports: MessagePort[][] = ranks.map(() => []);
  for (const rank of ranks) {
    for (const lower of ranks.slice(0, rank)) {
      const { port1, port2 } = new MessageChannel();
      ports[lower]?.push(port1);
      ports[rank]?.push(port2);
    }
  }
  return ports.map((ports) => ({ kind: "messages", ports }));
}

/** The collective of one rank. */
export function connect(link: Link, rank: number, size: number): Collective {
  switch (link.kind) {
    case "none":
      return solo;
    case "memory":
      return new SharedExchange(link.shared, rank, size);
    case "messages":
      return new MessageExchange(link.ports, rank);
  }
}

const give = (part: Part, allocate: Allocate) => {
  allocate(part().length).set(part());
};

/** The collective of one instance. */
const solo: Collective = {
  rank: 0,
  size: 1,
  suspended: [],
  allGather: give,
  gather: give,
  broadcast: give,
  fail: () => {},
};

/**
 * The collective of one rank over shared memory.
 *
 * Every rank has two buffers, for even and odd rounds. A rank writes its part and announces the
 * round; it may write over a buffer once all ranks have announced the round in between, because
 * they have then read what was in it.
 */
class SharedExchange implements Collective {
  readonly rank: number;
  readonly size: number;
  readonly suspended = [];
  readonly #shared: SharedArrayBuffer;
  readonly #control: Int32Array;
  readonly #buffers: Uint8Array[];
  #round = 0;

  constructor(shared: SharedArrayBuffer, rank: number, size: number) {
    this.rank = rank;
    this.size = size;
    this.#shared = shared;
    this.#control = new Int32Array(shared, 0, controlBytes(size) / 4);
    this.#buffers = Array.from(
      { length: size * 2 },
      (_, index) => new Uint8Array(shared, controlBytes(size) + index * roundBytes, roundBytes),
    );
  }

  allGather(part: Part, allocate: Allocate): void {
    this.#collect(part, allocate, true);
  }

  gather(part: Part, allocate: Allocate): void {
    this.#collect(part, allocate, this.rank === 0);
  }

  broadcast(part: Part, allocate: Allocate): void {
    if (this.rank === 0) {
      const total = part().length;
      for (let sent = 0; sent === 0 || sent < total; sent += roundBytes) {
        this.#post(part(), sent);
      }
      give(part, allocate);
      return;
    }
    let target: Uint8Array | undefined;
    for (let done = 0; ; ) {
      this.#post(part(), 0);
      const total = this.#await(0);
      target ??= allocate(total);
      const count = Math.min(roundBytes, total - done);
      target.set(this.#part(0, count), done);
      done += count;
      if (done >= total) {
        return;
      }
    }
  }

  fail(): void {
    failExchanges(this.#shared, this.size, this.rank);
  }

  #collect(part: Part, allocate: Allocate, wanted: boolean): void {
    const { size } = this;
    this.#post(part(), 0);
    // All ranks learn all lengths, so that they agree on the number of rounds.
    const totals = new Array<number>(size);
    let sum = 0;
    let longest = 0;
    for (let rank = 0; rank < size; rank++) {
      const total = this.#await(rank);
      totals[rank] = total;
      sum += total;
      longest = Math.max(longest, total);
    }
    const target = allocate(wanted ? sum : 0);
    for (let done = 0; ; ) {
      let offset = 0;
      for (let rank = 0; wanted && rank < size; rank++) {
        const total = totals[rank] as number;
        const count = Math.min(roundBytes, total - done);
        if (count > 0) {
          target.set(this.#part(rank, count), offset + done);
        }
        offset += total;
      }
      done += roundBytes;
      if (done >= longest) {
        return;
      }
      this.#post(part(), done);
      for (let rank = 0; rank < size; rank++) {
        this.#await(rank);
      }
    }
  }

  /** Begins a round: writes what is left of `part` from `from` on, and announces it. */
  #post(part: Uint8Array, from: number): void {
    const round = (this.#round + 1) | 0;
    for (let rank = 0; rank < this.size; rank++) {
      this.#awaitRound(rank, (round - 1) | 0);
    }
    this.#round = round;
    const own = this.rank * fields;
    const odd = round & 1;
    const count = Math.min(roundBytes, part.length - from);
    if (count > 0) {
      const buffer = this.#buffers[this.rank * 2 + odd] as Uint8Array;
      buffer.set(count === part.length ? part : part.subarray(from, from + count));
    }
    this.#control[own + lengths + odd] = part.length;
    Atomics.store(this.#control, own + arrived, round);
    if (Atomics.load(this.#control, own + sleepers) > 0) {
      Atomics.notify(this.#control, own + arrived);
    }
  }

  /** Waits for a rank's announcement of this round, and returns the length of its list. */
  #await(rank: number): number {
    this.#awaitRound(rank, this.#round);
    return this.#control[rank * fields + lengths + (this.#round & 1)] as number;
  }

  #part(rank: number, count: number): Uint8Array {
    const buffer = this.#buffers[rank * 2 + (this.#round & 1)] as Uint8Array;
    return buffer.subarray(0, count);
  }

  #awaitRound(rank: number, round: number): void {
    const control = this.#control;
    const word = rank * fields + arrived;
    for (let spin = 0; spin < spins; spin++) {
      // A difference, because the number of rounds may pass 2^31.
      if (((Atomics.load(control, word) - round) | 0) >= 0) {
        return;
      }
    }
    this.#sleep(rank, round);
  }

  #sleep(rank: number, round: number): void {
    const control = this.#control;
    const word = rank * fields + arrived;
    const count = rank * fields + sleepers;
    Atomics.add(control, count, 1);
    try {
      for (;;) {
        const lost = Atomics.load(control, this.size * fields);
        if (lost > 0) {
          throw new ExchangeError(`instance ${lost - 1} of ${this.size} was lost`);
        }
        const seen = Atomics.load(control, word);
        if (((seen - round) | 0) >= 0) {
          return;
        }
        Atomics.wait(control, word, seen, sleepMs);
      }
    } finally {
      Atomics.sub(control, count, 1);
    }
  }
}

/**
 * The collective of one rank over messages, for pages whose workers may not share memory.
 *
 * All ranks make the same operations in the same order, and messages between two of them keep
 * theirs, so that the next message from a rank is its list for the operation under way.
 */
class MessageExchange implements Collective {
  readonly rank: number;
  readonly size: number;
  readonly suspended: readonly Operation[];
  readonly #others: Peer[];

  constructor(ports: MessagePort[], rank: number) {
    this.rank = rank;
    this.size = ports.length + 1;
    this.#others = ports.map((port) => new Peer(port));
    // Only who gets something has to wait.
    this.suspended = ["allGather", rank === 0 ? "gather" : "broadcast"];
  }

  async allGather(part: Part, allocate: Allocate): Promise<void> {
    for (const other of this.#others) {
      other.send(part());
    }
    await this.#collect(part, allocate);
  }

  gather(part: Part, allocate: Allocate): Promise<void> | void {
    if (this.rank === 0) {
      return this.#collect(part, allocate);
    }
    this.#others[0]?.send(part());
    allocate(0);
  }

  broadcast(part: Part, allocate: Allocate): Promise<void> | void {
    if (this.rank > 0) {
      return this.#take(allocate);
    }
    for (const other of this.#others) {
      other.send(part());
    }
    give(part, allocate);
  }

  fail(): void {
    // Nobody blocks a thread here: the thread that made the workers is told, and ends them all.
  }

  async #collect(part: Part, allocate: Allocate): Promise<void> {
    const lists = await Promise.all(this.#others.map((other) => other.receive()));
    const sum = lists.reduce((bytes, list) => bytes + list.length, part().length);
    const target = allocate(sum);
    lists.splice(this.rank, 0, part());
    let offset = 0;
    for (const list of lists) {
      target.set(list, offset);
      offset += list.length;
    }
  }

  async #take(allocate: Allocate): Promise<void> {
    const list = (await this.#others[0]?.receive()) ?? new Uint8Array();
    allocate(list.length).set(list);
  }
}

/** Another instance, behind a port. */
class Peer {
  readonly #port: MessagePort;
  readonly #arrived: Uint8Array[] = [];
  #wanted: ((list: Uint8Array) => void) | undefined;

  constructor(port: MessagePort) {
    this.#port = port;
    port.onmessage = ({ data }) => {
      const wanted = this.#wanted;
      this.#wanted = undefined;
      if (wanted) {
        wanted(data);
      } else {
        this.#arrived.push(data);
      }
    };
  }

  send(part: Uint8Array): void {
    const list = part.slice();
    this.#port.postMessage(list, [list.buffer]);
  }

  receive(): Promise<Uint8Array> {
    const list = this.#arrived.shift();
    return list
      ? Promise.resolve(list)
      : new Promise((resolve) => {
          this.#wanted = resolve;
        });
  }
}
