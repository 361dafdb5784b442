/** What can go wrong, for programs. Texts for people are in `message` and `hint`. */
export type ErrorCode =
  // Before anything runs.
  | "missing-feature"
  | "invalid-manifest"
  | "invalid-option"
  // Fetching the model.
  | "unreachable"
  | "missing-file"
  | "damaged-file"
  | "storage-full"
  // Running.
  | "out-of-memory"
  | "worker-lost"
  | "closed"
  // What the engine says; the names are those of the contract's `error`.
  | "invalid-model"
  | "invalid-setting"
  | "invalid-argument"
  | "unsupported"
  | "context-overflow"
  | "not-found"
  | "io"
  | "template"
  | "busy"
  | "finished"
  | "duplicate"
  | "other";

/** An error as it travels between threads. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
  hint: string;
  detail: string;
}

/** Every error that this package throws, except that of an aborted signal. */
export class TrefoilError extends Error {
  override readonly name = "TrefoilError";
  /** What went wrong, for programs. */
  readonly code: ErrorCode;
  /** What to do about it, as a sentence; empty where there is nothing to say. */
  readonly hint: string;
  /** What only few want to know, for example the whole name of a file; often empty. */
  readonly detail: string;

  constructor(
    code: ErrorCode,
    message: string,
    hint = "",
    { detail = "", ...options }: ErrorOptions & { detail?: string } = {},
  ) {
    super(message, options);
    this.code = code;
    this.hint = hint;
    this.detail = detail;
  }

  toData(): ErrorData {
    const { code, message, hint, detail } = this;
    return { code, message, hint, detail };
  }

  static from({ code, message, hint, detail }: ErrorData): TrefoilError {
    return new TrefoilError(code, message, hint, { detail });
  }
}

export const memoryHint =
  "Close other tabs and programs, set a smaller context, or take a smaller model.";

export const workerHint = "Load the model again; what was downloaded is kept.";

/** A browser, or an engine of 32 bits, has no more memory to give. */
export function outOfMemory(cause?: unknown): TrefoilError {
  return new TrefoilError(
    "out-of-memory",
    "Memory does not suffice: the model needs more than there is.",
    memoryHint,
    { cause },
  );
}

/** Whether the instance that threw this is dead. */
export function isTrap(error: unknown): boolean {
  // What is no trap of the engine's was thrown through it.
  return error instanceof WebAssembly.RuntimeError || error instanceof TrefoilError;
}

/** The contract's `error` as the generated glue throws it. */
interface EnginePayload {
  tag: string;
  val?: unknown;
}

/** Makes an error of whatever an engine or a browser threw. */
export function toError(thrown: unknown): TrefoilError {
  if (thrown instanceof TrefoilError) {
    return thrown;
  }
  const payload = (thrown as { payload?: EnginePayload } | undefined)?.payload;
  if (payload && typeof payload.tag === "string") {
    return fromEngine(payload);
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (isOutOfMemory(thrown)) {
    return new TrefoilError("out-of-memory", `Memory does not suffice: ${message}`, memoryHint);
  }
  if (thrown instanceof WebAssembly.RuntimeError) {
    return new TrefoilError("worker-lost", `The engine stopped: ${message}`, workerHint);
  }
  return new TrefoilError("other", message, "", { cause: thrown });
}

/** Makes an error of the contract's `error`. */
export function fromEngine(error: EnginePayload): TrefoilError {
  const { tag, val } = error;
  switch (tag) {
    case "invalid-setting": {
      const { key, value, expected } = val as { key: string; value: string; expected: string };
      return new TrefoilError(tag, `The setting \`${key}\` cannot be \`${value}\`: ${expected}`);
    }
    case "context-overflow": {
      const sizes = val as { neededTokens: bigint; availableTokens: bigint };
      return new TrefoilError(
        tag,
        `The text needs ${sizes.neededTokens} tokens, and the context holds ${sizes.availableTokens}.`,
        "Begin a new conversation, shorten the message, or allow fewer tokens for the answer.",
      );
    }
    case "out-of-memory": {
      const { neededBytes, purpose } = val as { neededBytes: bigint; purpose: string };
      const megabytes = Math.ceil(Number(neededBytes) / 1e6);
      return new TrefoilError(
        tag,
        `Memory does not suffice: ${megabytes} MB for ${purpose}`,
        memoryHint,
      );
    }
    case "finished":
      return new TrefoilError(tag, "This answer has already ended.");
    case "duplicate":
      return new TrefoilError(tag, "The same answer was asked for twice at once.");
    case "other": {
      const { code, message } = val as { code: string; message: string };
      return new TrefoilError(tag, `${message} (${code})`);
    }
    case "invalid-model":
      return new TrefoilError(tag, String(val), "Download the model again.");
    default:
      return new TrefoilError(tag as ErrorCode, String(val));
  }
}

function isOutOfMemory(thrown: unknown): boolean {
  return thrown instanceof RangeError && /memory|allocat|array buffer/i.test(thrown.message);
}
