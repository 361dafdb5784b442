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

/** Why an exchange ended in an error. */
export class ExchangeError extends Error {}

/** Makes the memory that the instances of a model share. */
export function shareMemory(size: number): SharedArrayBuffer {
  return new SharedArrayBuffer(controlBytes(size) + size * 2 * roundBytes);
}

/** Makes every exchange fail from now on: `rank` is lost. Any thread may call it. */
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

/** Exchange between the instances of a model: the contract's `collective`. */
export interface Collective {
  readonly rank: number;
  readonly size: number;
  /** The lists of all ranks, one behind the other. */
  allGather(part: Part, allocate: Allocate): void;
  /** The same at rank 0; an empty list elsewhere. */
  gather(part: Part, allocate: Allocate): void;
  /** What rank 0 passes. */
  broadcast(part: Part, allocate: Allocate): void;
}

const give = (part: Part, allocate: Allocate) => {
  allocate(part().length).set(part());
};

/** The collective of one instance. */
export const solo: Collective = {
  rank: 0,
  size: 1,
  allGather: give,
  gather: give,
  broadcast: give,
};

/**
 * The collective of one rank over shared memory.
 *
 * Every rank has two buffers, for even and odd rounds. A rank writes its part and announces the
 * round; it may write over a buffer once all ranks have announced the round in between, because
 * they have then read what was in it.
 */
export class SharedExchange implements Collective {
  readonly rank: number;
  readonly size: number;
  readonly #control: Int32Array;
  readonly #buffers: Uint8Array[];
  #round = 0;

  constructor(shared: SharedArrayBuffer, rank: number, size: number) {
    this.rank = rank;
    this.size = size;
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
