/** Bytes that one read of a body takes at most. */
const readBytes = 1 << 20;

/**
 * Memory that one file after the other is received in. Fresh memory for each would pile up until
 * the garbage collector comes.
 */
export class Scratch {
  #buffer: ArrayBuffer | undefined;

  /** At least so many bytes; whoever takes them gives them back. */
  take(bytes: number): ArrayBuffer {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    return buffer && buffer.byteLength >= bytes ? buffer : new ArrayBuffer(bytes);
  }

  give(buffer: ArrayBuffer): void {
    this.#buffer = buffer;
  }

  /** Gives the memory back at once, where the runtime can. */
  free(): void {
    (this.#buffer as { transfer?(bytes: number): void } | undefined)?.transfer?.(0);
    this.#buffer = undefined;
  }
}

/** What came of a file, and how long it was: another length than expected is damage. */
export interface Received {
  bytes: Uint8Array<ArrayBuffer>;
  length: number;
}

/**
 * Receives a body that should have `size` bytes. More than one byte beyond that is not read.
 * The bytes lie in `scratch`, until it is used again.
 */
export async function receive(
  body: ReadableStream<Uint8Array>,
  size: number,
  scratch: Scratch,
  progress: (bytes: number) => void,
): Promise<Received> {
  let buffer = scratch.take(size + 1);
  let length = 0;
  const into = intoReader(body);
  const chunks = into ? undefined : body.getReader();
  while (length <= size) {
    const room = Math.min(readBytes, size + 1 - length);
    let done: boolean;
    if (into) {
      // The stream takes the memory and returns it with the bytes in it.
      const read = await into.read(new Uint8Array(buffer, length, room));
      done = read.done;
      if (read.value) {
        buffer = read.value.buffer;
        length += read.value.length;
      }
    } else {
      const read = await (chunks as ReadableStreamDefaultReader<Uint8Array>).read();
      done = read.done;
      if (read.value) {
        const fitting = read.value.subarray(0, size + 1 - length);
        new Uint8Array(buffer).set(fitting, length);
        length += fitting.length;
      }
    }
    if (done) {
      break;
    }
    progress(length);
  }
  if (length > size) {
    await (into ?? chunks)?.cancel();
  }
  scratch.give(buffer);
  return { bytes: new Uint8Array(buffer, 0, Math.min(length, size)), length };
}

/** A reader that fills memory of ours, where bodies have one. */
function intoReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return undefined;
  }
}
