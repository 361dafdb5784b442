// The types that users of the package see.

import type { FinishReason, Usage } from "./runtime/engine.ts";
import type { TrefoilError } from "./runtime/errors.ts";
import type { Exchange } from "./runtime/exchange.ts";
import type { LogProbability, Timing } from "./runtime/protocol.ts";

export type { TokenLogProbability } from "./runtime/protocol.ts";
export type { Exchange, FinishReason, LogProbability, Timing, Usage };

/** Values of settings; the keys are in Trefoil's `docs/settings.md`. */
export type Settings = Record<string, boolean | number | string | string[]>;

/** What `load` tells while it runs. */
export interface Progress {
  /** `download` of the weights, then `read`: the engine takes them in. */
  stage: "download" | "read";
  /** Bytes so far. */
  done: number;
  /** Bytes in all. */
  total: number;
}

export interface LoadOptions {
  /** Name of an engine in the manifest; the first one that runs here by default. */
  engine?: string;
  /**
   * Instances that compute together, each in a worker of its own. By default as many as were the
   * fastest so far.
   */
  workers?: number;
  /**
   * By what several workers exchange what they computed: `memory` that they share, which takes an
   * isolated page, or else `messages`, which take JavaScript Promise Integration and more time.
   */
  exchange?: Exchange;
  /** Which model, where there are several. */
  model?: string;
  /** Settings for the engine, for example `{"context-tokens": 2048}`. */
  settings?: Settings;
  /** Stops the loading. */
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
  /** Told what a user should know, for example that there is no room to keep the model. */
  onNotice?: (text: string) => void;
  /** Told when the model is lost while nobody waits for it: the browser ended one of its workers. */
  onLost?: (error: TrefoilError) => void;
  /** Downloads the model again, as after damage. */
  fresh?: boolean;
  /** Node only: the folder where downloads are kept. */
  cacheFolder?: string;
}

/** A part of a message with several. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "media"; mime: string; data: Uint8Array };

/** A call that the model made. */
export interface ToolCall {
  id: string;
  name: string;
  /** The arguments, as a JSON object. */
  arguments: string;
}

/** One message of a conversation. */
export interface Message {
  /** `system`, `user`, `assistant`, `tool`, or what else the model's template knows. */
  role: string;
  content: string | ContentPart[];
  /** The calls of an assistant's message. */
  toolCalls?: ToolCall[];
  /** The call that a tool's message answers. */
  toolCallId?: string;
}

/** A tool that the model may call. */
export interface Tool {
  name: string;
  description?: string;
  /** A JSON Schema of the arguments. */
  parameters?: unknown;
}

/** What an answer must look like. */
export type Format = { jsonSchema: unknown } | { regex: string } | { grammar: string };

export interface GenerateOptions {
  /** Tokens of the answer at most. */
  maxTokens?: number;
  /** Randomness of the choice of tokens; 0 always takes the likeliest. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** The same seed gives the same answer. */
  seed?: number | bigint;
  /** Texts before which the answer ends. */
  stop?: string | string[];
  /** Adds to the logits of tokens: pairs of a token and a number. */
  logitBias?: [token: number, bias: number][];
  /** Reports log probabilities, with so many likeliest tokens at each place. */
  logProbabilities?: number;
  /** Number of independent answers. */
  choices?: number;
  format?: Format;
  /** Any other setting. */
  settings?: Settings;
  /** Ends the answer; iterating then throws the signal's reason. */
  signal?: AbortSignal;
  /** How far the prompt is processed, in tokens. */
  onPrompt?: (progress: { done: number; total: number }) => void;
}

export interface ChatOptions extends GenerateOptions {
  tools?: Tool[];
  toolChoice?: "auto" | "none" | "required" | { name: string };
  /** Further variables for the model's chat template. */
  variables?: Record<string, unknown>;
}

/** More of an answer. */
export interface AnswerPart {
  /** New text; empty where the part brings something else. */
  text: string;
  /** New text of the model's reasoning. */
  reasoning: string;
  /** The tokens of this part. Their text may come later. */
  tokens: number[];
  /** Which answer, where several were asked for. */
  choice: number;
  logProbabilities: LogProbability[];
  /** More of a call of a tool. */
  toolCall?: { index: number; id?: string; name?: string; arguments: string };
}

/** An answer that has ended. */
export interface Result {
  text: string;
  reasoning: string;
  toolCalls: ToolCall[];
  tokens: number[];
  logProbabilities: LogProbability[];
  reason: FinishReason;
  usage: Usage;
}

/** All that an answer brought, and how long it took. */
export interface Results extends Result {
  /** One result for each choice; the first one is this. */
  choices: Result[];
  timing: Timing;
}

/** How well a document goes with a query. */
export interface Ranked {
  /** The document's place in the list that was given. */
  index: number;
  /** The higher, the better, with no bounds; scores of one query can be compared. */
  score: number;
}

/** What is known about a model that is loaded. */
export interface ModelInfo {
  name: string;
  /** Title of the site it came from. */
  title: string;
  /** System message that the site's owner chose; empty without one. */
  system: string;
  architecture: string;
  /** Engine and version, for example `cpu 0.1.0`. */
  engine: string;
  /** Name of the engine in the manifest. */
  engineName: string;
  /** Number of weights. */
  parameters: number;
  /** Bytes of the file. */
  size: number;
  license: string;
  vocabularyTokens: number;
  embeddingLength: number;
  contextTokensTrained: number;
  contextTokens: number;
  sequencesMax: number;
  /** Token that begins a text, where the model has one. */
  bos?: number;
  /** Tokens that end an answer. */
  endOfGeneration: number[];
  hasChatTemplate: boolean;
  /** Instances that compute together. */
  workers: number;
  /** By what they exchange; there only if they are several. */
  exchange?: Exchange;
}
