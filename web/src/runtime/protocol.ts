// Messages between the thread that uses a model and its workers, one for each instance.
import type { GenerateOptions } from "../api.ts";
import type {
  EngineModelInfo,
  FinishReason,
  Prompt,
  ResponseFormat,
  Setting,
  ToolChoice,
  Usage,
} from "./engine.ts";
import type { ErrorData } from "./errors.ts";
import type { Link } from "./exchange.ts";
import type { EngineEntry, Manifest } from "./manifest.ts";

/** Options that go to the engine as users give them. */
type PlainOptions = Pick<
  GenerateOptions,
  | "maxTokens"
  | "temperature"
  | "topK"
  | "topP"
  | "minP"
  | "repetitionPenalty"
  | "presencePenalty"
  | "frequencyPenalty"
  | "logitBias"
  | "logProbabilities"
  | "choices"
>;

/** What a request asks for, ready for the engine. */
export interface GenerationRequest extends PlainOptions {
  prompt: Prompt;
  seed?: bigint;
  stop?: string[];
  format?: ResponseFormat;
  toolChoice?: ToolChoice;
  settings: Setting[];
}

/** What every worker needs to become an instance. */
export interface InstancePlan {
  rank: number;
  size: number;
  link: Link;
  /** Address of the folder that holds the manifest. */
  base: string;
  manifest: Manifest;
  engine: EngineEntry;
  folder: string | undefined;
}

/** What happened since the last report of an answer. */
export interface AnswerNews {
  prompt?: { done: number; total: number };
  deltas: AnswerDelta[];
  done?: { choice: number; reason: FinishReason; usage: Usage }[];
}

/** New text of an answer, or more of a call. */
export interface AnswerDelta {
  choice: number;
  kind: "text" | "reasoning" | "tool-call";
  text: string;
  tokens: number[];
  logProbabilities: LogProbability[];
  call?: { index: number; id: string | undefined; name: string | undefined };
}

export interface TokenLogProbability {
  token: number;
  text: string;
  bytes: Uint8Array;
  logProbability: number;
}

export interface LogProbability extends TokenLogProbability {
  top: TokenLogProbability[];
}

/** Seconds that an answer took, for its prompt and for its tokens. */
export interface Timing {
  promptSeconds: number;
  decodeSeconds: number;
  /** Tokens of the prompt that were computed, and of the answer behind its first one. */
  promptTokens: number;
  decodeTokens: number;
}

/** What a caller asks of the first instance, and what comes back. */
export interface Calls {
  open: { arguments: [name: string | undefined, settings: Setting[]]; result: EngineModelInfo };
  tokenize: {
    arguments: [text: Uint8Array, addSpecial: boolean, parseSpecial: boolean];
    result: Uint32Array;
  };
  detokenize: { arguments: [tokens: Uint32Array, special: boolean]; result: Uint8Array };
  embed: { arguments: [text: string]; result: Float32Array };
  relevance: { arguments: [query: string, document: string]; result: number };
  memory: { arguments: []; result: number };
}

export type CallName = keyof Calls;

/** To a worker. */
export type ClientMessage =
  /** To the first one: fetch and compile everything; `fresh` fetches anew. */
  | { type: "prepare"; plan: InstancePlan; fresh: boolean }
  /** To the others: instantiate what the first one compiled. */
  | { type: "join"; plan: InstancePlan; cores: Map<string, WebAssembly.Module> }
  /** All pieces are there: stored, or, where there was no room, in `held`. */
  | { type: "start"; held: Map<string, Blob> }
  | { type: "call"; id: number; name: CallName; arguments: unknown[] }
  | { type: "generate"; id: number; request: GenerationRequest }
  | { type: "cancel"; id: number };

/** From a worker. In browsers a `hello` with the name of a lock comes first. */
export type WorkerMessage =
  | { type: "downloading"; done: number; total: number }
  | { type: "notice"; text: string }
  | { type: "compiled"; cores: Map<string, WebAssembly.Module> }
  | { type: "prepared"; held: Map<string, Blob> }
  | { type: "started" }
  | { type: "reading"; done: number; total: number }
  | { type: "memory"; bytes: number }
  | { type: "result"; id: number; value: unknown }
  | { type: "news"; id: number; news: AnswerNews; timing: Timing }
  /** A fatal one is the end of the instance. */
  | { type: "error"; id: number | undefined; error: ErrorData; fatal: boolean };
