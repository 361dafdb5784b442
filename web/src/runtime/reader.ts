import type { FileEntry, PartEntry } from "./manifest.ts";

/** A stored piece, open for reading. */
export interface OpenPiece {
  /** Fills `into` with the bytes from `offset` on. */
  read(into: Uint8Array, offset: number): void;
  close(): void;
}

/** The files of a model, read by position: what the contract's `model` is made of. */
export class PartReader {
  readonly parts: PartEntry[];
  readonly #onRead: ((bytes: number) => void) | undefined;
  #pieces: { start: number; piece: OpenPiece }[][] = [];
  #bytesRead = 0;

  constructor(parts: PartEntry[], onRead?: (bytes: number) => void) {
    this.parts = parts;
    this.#onRead = onRead;
  }

  /** Gives the pieces, by their SHA-256; before that, nothing can be read. */
  open(pieces: Map<string, OpenPiece>): void {
    this.#pieces = this.parts.map((part) => {
      let start = 0;
      return part.pieces.map((entry: FileEntry) => {
        const piece = pieces.get(entry.sha256);
        if (!piece) {
          throw new Error(`piece ${entry.file} is not open`);
        }
        const placed = { start, piece };
        start += entry.size;
        return placed;
      });
    });
  }

  /** How many of `length` bytes from `offset` on the part has. */
  available(part: number, offset: number, length: number): number {
    return Math.max(0, Math.min(length, this.#part(part).size - offset));
  }

  /** Fills `into`; `available` says how long it may be. */
  read(part: number, offset: number, into: Uint8Array): void {
    const pieces = this.#pieces[part] ?? [];
    const ends = (index: number) => pieces[index + 1]?.start ?? this.#part(part).size;
    let index = pieces.findIndex((_, at) => offset < ends(at));
    for (let done = 0; done < into.length; index++) {
      const { start, piece } = pieces[index] as { start: number; piece: OpenPiece };
      const count = Math.min(into.length - done, ends(index) - offset - done);
      piece.read(into.subarray(done, done + count), offset + done - start);
      done += count;
    }
    this.#bytesRead += into.length;
    this.#onRead?.(this.#bytesRead);
  }

  #part(part: number): PartEntry {
    const entry = this.parts[part];
    if (!entry) {
      throw new Error(`there is no part ${part}`);
    }
    return entry;
  }
}
