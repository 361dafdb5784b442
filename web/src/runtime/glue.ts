// What an engine's core module imports, written by hand.
//
// The transpiler's own glue takes 9 to 17 us for a call, and one token takes some hundred
// exchanges. These functions speak the canonical ABI directly: pointers into the engine's memory,
// results written through a pointer that the caller passes.
// https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
import { outOfMemory, TrefoilError } from "./errors.ts";
import type { Allocate, Collective, Operation } from "./exchange.ts";
import type { PartReader } from "./reader.ts";

/** Pages of 64 KiB that an engine with memory left can still take. */
const sparePages = 256;
/** The most that one `read` returns, by the contract. */
const readMax = 1 << 20;

// `result<list<_>, error>`: the case, then, aligned to 8 as `error` holds 64-bit numbers, the
// payload. Of `error` the case stands first, then, aligned likewise, its payload.
const payload = 8;
const errorPayload = 16;
/** Cases of the contract's `error`. */
const invalidArgument = 2;
const notFound = 6;
const io = 7;

type CoreImports = Record<string, Record<string, unknown>>;
type Realloc = (old: number, oldSize: number, align: number, size: number) => number;

/** The memory of one core instance, whose exports are known only after it was made. */
class CoreMemory {
  #memory: WebAssembly.Memory | undefined;
  #realloc: Realloc | undefined;
  #bytes = new Uint8Array(0);
  #words = new Uint32Array(0);

  attach(exports: WebAssembly.Exports) {
    this.#memory = exports.memory as WebAssembly.Memory;
    this.#realloc = exports.cabi_realloc as Realloc;
  }

  /** The bytes. Memory that grows moves, and leaves older views without any. */
  get bytes(): Uint8Array {
    if (this.#bytes.byteLength === 0) {
      const { buffer } = this.#memory as WebAssembly.Memory;
      this.#bytes = new Uint8Array(buffer);
      this.#words = new Uint32Array(buffer);
    }
    return this.#bytes;
  }

  get words(): Uint32Array {
    return this.bytes && this.#words;
  }

  get size(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  /** Whether there is next to no more memory to be had. */
  get exhausted(): boolean {
    try {
      this.#memory?.grow(sparePages);
      return false;
    } catch {
      return true;
    }
  }

  allocate(align: number, size: number): number {
    try {
      return (this.#realloc as Realloc)(0, 0, align, size) >>> 0;
    } catch (error) {
      // An engine that gets no memory ends in a trap; nothing of it can be called any more.
      throw outOfMemory(error);
    }
  }

  /** Writes `ok(list)`. */
  succeed(result: number, pointer: number, length: number) {
    const at = result >>> 0;
    this.bytes[at] = 0;
    this.words[(at + payload) >>> 2] = pointer;
    this.words[(at + payload + 4) >>> 2] = length;
  }

  /** Writes `err` of a case that holds a text. */
  fail(result: number, errorCase: number, message: string) {
    const text = new TextEncoder().encode(message);
    const pointer = this.allocate(1, text.length);
    this.bytes.set(text, pointer);
    const at = result >>> 0;
    this.bytes[at] = 1;
    this.bytes[at + payload] = errorCase;
    this.words[(at + errorPayload) >>> 2] = pointer;
    this.words[(at + errorPayload + 4) >>> 2] = text.length;
  }
}

/** Replaces what the generated glue would do, wherever a core module imports it. */
export class HandwrittenGlue {
  readonly #collective: Collective;
  readonly #reader: PartReader | undefined;
  readonly #memories: CoreMemory[] = [];

  constructor(collective: Collective, reader: PartReader | undefined) {
    this.#collective = collective;
    this.#reader = reader;
  }

  /** Bytes of linear memory that the engine takes. */
  get memoryBytes(): number {
    return this.#memories.reduce((sum, memory) => sum + memory.size, 0);
  }

  /** Whether a trap may have come of want of memory. */
  get memoryExhausted(): boolean {
    return this.#memories.some((memory) => memory.exhausted);
  }

  /** What the transpiled module calls to instantiate a core module. */
  readonly instantiateCore = async (module: WebAssembly.Module, imports: CoreImports = {}) => {
    const memory = new CoreMemory();
    const own: CoreImports = { ...imports };
    for (const [name, functions] of Object.entries(imports)) {
      if (name.startsWith("trefoil:llm/collective@")) {
        own[name] = { ...functions, ...this.#collectiveFunctions(memory) };
      } else if (name.startsWith("trefoil:llm/model@") && this.#reader) {
        own[name] = { ...functions, read: this.#readFunction(memory, this.#reader) };
      } else {
        continue;
      }
      if (!this.#memories.includes(memory)) {
        this.#memories.push(memory);
      }
    }
    const instance = await WebAssembly.instantiate(module, own as WebAssembly.Imports);
    memory.attach(instance.exports);
    return instance;
  };

  #collectiveFunctions(memory: CoreMemory) {
    const collective = this.#collective;
    let pointer = 0;
    let length = 0;
    const allocate: Allocate = (bytes) => {
      length = bytes;
      pointer = bytes > 0 ? memory.allocate(1, bytes) : 1;
      return memory.bytes.subarray(pointer, pointer + bytes);
    };
    const exchange = (operation: Operation) => {
      const call = (part: number, partLength: number, result: number) => {
        const from = part >>> 0;
        const succeed = () => memory.succeed(result, pointer, length);
        const fail = (error: unknown) => memory.fail(result, io, textOf(error));
        try {
          const list = () => memory.bytes.subarray(from, from + (partLength >>> 0));
          const ended = collective[operation](list, allocate);
          if (ended) {
            return ended.then(succeed, fail);
          }
          succeed();
        } catch (error) {
          fail(error);
        }
      };
      return collective.suspended.includes(operation) ? suspending(call) : call;
    };
    return {
      rank: () => collective.rank,
      size: () => collective.size,
      "all-gather": exchange("allGather"),
      gather: exchange("gather"),
      broadcast: exchange("broadcast"),
    };
  }

  #readFunction(memory: CoreMemory, reader: PartReader) {
    return (part: number, offset: bigint, length: number, result: number) => {
      const asked = length >>> 0;
      if (asked > readMax) {
        memory.fail(result, invalidArgument, `${asked} bytes at once; at most ${readMax}`);
        return;
      }
      if (!(part >>> 0 in reader.parts)) {
        memory.fail(result, notFound, `there is no part ${part >>> 0}`);
        return;
      }
      try {
        const from = Number(BigInt.asUintN(64, offset));
        const count = reader.available(part, from, asked);
        const words = Math.ceil(count / 8);
        const pointer = words > 0 ? memory.allocate(8, words * 8) : 8;
        const bytes = memory.bytes;
        bytes.fill(0, pointer + count, pointer + words * 8);
        reader.read(part, from, bytes.subarray(pointer, pointer + count));
        memory.succeed(result, pointer, words);
      } catch (error) {
        memory.fail(result, io, textOf(error));
      }
    };
  }
}

/** An import that suspends its caller until its promise is kept. */
function suspending(call: (...given: never[]) => Promise<void> | void): unknown {
  const { Suspending } = WebAssembly as unknown as {
    Suspending: new (call: (...given: never[]) => Promise<void> | void) => unknown;
  };
  return new Suspending(call);
}

/** What an engine is told of an error; one that it cannot be told is thrown through it. */
function textOf(error: unknown): string {
  if (error instanceof TrefoilError) {
    throw error;
  }
  return (error as Error).message;
}

/** The same imports for the generated glue, for engines that do not take them at their core. */
export function generatedImports(collective: Collective, reader: PartReader | undefined) {
  const fail = (tag: string, error: unknown): never => {
    const message = (error as Error).message;
    throw Object.assign(new Error(message), { payload: { tag, val: message } });
  };
  const exchange = (operation: Operation) => (part: Uint8Array) => {
    if (collective.suspended.includes(operation)) {
      // Only imports of a core module can be suspended.
      fail("unsupported", new Error("this engine cannot wait for messages of other workers"));
    }
    let result = new Uint8Array(0);
    const allocate: Allocate = (bytes) => {
      result = new Uint8Array(bytes);
      return result;
    };
    try {
      collective[operation](() => part, allocate);
    } catch (error) {
      fail("io", error);
    }
    return result;
  };
  const imports: Record<string, Record<string, unknown>> = {
    "trefoil:llm/collective": {
      rank: () => collective.rank,
      size: () => collective.size,
      allGather: exchange("allGather"),
      gather: exchange("gather"),
      broadcast: exchange("broadcast"),
    },
    "trefoil:llm/types": {},
  };
  if (reader) {
    imports["trefoil:llm/model"] = {
      parts: () =>
        reader.parts.map(({ name, role, format, size, sha256, license }) => {
          return { name, role, format, size: BigInt(size), sha256, license };
        }),
      read: (part: number, offset: bigint, length: number) => {
        if (length > readMax) {
          fail("invalid-argument", new Error(`${length} bytes at once; at most ${readMax}`));
        }
        const from = Number(offset);
        const count = reader.available(part, from, length);
        const words = new BigUint64Array(Math.ceil(count / 8));
        try {
          reader.read(part, from, new Uint8Array(words.buffer, 0, count));
        } catch (error) {
          fail("io", error);
        }
        return words;
      },
    };
  }
  // Transpilers differ in whether they name the version.
  for (const [name, functions] of Object.entries(imports)) {
    imports[`${name}@0.1.0`] = functions;
  }
  return imports;
}
