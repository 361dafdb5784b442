import { outOfMemory, type TrefoilError, toError } from "./errors.ts";
import type { Collective } from "./exchange.ts";
import { generatedImports, HandwrittenGlue } from "./glue.ts";
import type { PartReader } from "./reader.ts";

// The contract as the transpiler presents it: the parts of it that are used here.

/** The contract's `value`. */
export type Value =
  | { tag: "boolean"; val: boolean }
  | { tag: "integer"; val: bigint }
  | { tag: "number"; val: number }
  | { tag: "text"; val: string };

export interface Setting {
  key: string;
  value: Value;
}

export interface EngineModelInfo {
  name: string;
  architecture: string;
  engine: string;
  parameters: bigint;
  size: bigint;
  vocabularyTokens: number;
  embeddingLength: number;
  contextTokensTrained: number;
  contextTokens: number;
  sequencesMax: number;
  bos?: number;
  endOfGeneration: Uint32Array;
  hasChatTemplate: boolean;
}

export type MessagePart =
  | { tag: "text"; val: string }
  | { tag: "media"; val: { mime: string; data: Uint8Array } }
  | { tag: "reasoning"; val: string }
  | { tag: "tool-call"; val: { id: string; name: string; arguments: string } }
  | { tag: "tool-result"; val: { id: string; texts: string[] } };

export interface Message {
  role: string;
  parts: MessagePart[];
  variables: string | undefined;
}

export interface Conversation {
  messages: Message[];
  tools: string | undefined;
  variables: string | undefined;
  addGenerationPrompt: boolean;
}

export type Prompt =
  | { tag: "text"; val: Uint8Array }
  | { tag: "tokens"; val: Uint32Array }
  | { tag: "chat"; val: Conversation };

export type ResponseFormat =
  | { tag: "text" }
  | { tag: "json-schema" | "regex" | "grammar"; val: string };

export type ToolChoice = { tag: "auto" | "none" | "required" } | { tag: "named"; val: string };

export interface TokenProbability {
  token: number;
  bytes: Uint8Array;
  logProbability: number;
}

export interface Delta {
  choice: number;
  text: string;
  tokens: Uint32Array;
  logProbabilities: { chosen: TokenProbability; top: TokenProbability[] }[];
}

export type FinishReason = "stop" | "stop-text" | "length" | "context-full" | "tool-calls";

export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  generatedTokens: number;
  draftedTokens: number;
  acceptedTokens: number;
}

export type EngineEvent =
  | { tag: "prompt-progress"; val: { choice: number; doneTokens: number; totalTokens: number } }
  | { tag: "delta"; val: Delta }
  | { tag: "reasoning"; val: Delta }
  | {
      tag: "tool-call-delta";
      val: { choice: number; index: number; id?: string; name?: string; arguments: string };
    }
  | { tag: "done"; val: { choice: number; reason: FinishReason; usage: Usage } }
  | { tag: "idle"; val: number };

/** What an engine returns at once, or, if it can be suspended, promises. */
export type Eventual<T> = T | Promise<T>;

/** Resources are dropped through a symbol, which the transpiler makes where it is not built in. */
const dispose: unique symbol = (Symbol.dispose ?? Symbol.for("dispose")) as never;

interface Resource {
  [dispose]?(): void;
}

export interface Generation extends Resource {
  next(): Eventual<EngineEvent>;
}

export interface Request extends Resource {
  setMaxTokens(count: number): void;
  setTemperature(temperature: number): void;
  setTopK(count: number): void;
  setTopP(probability: number): void;
  setMinP(share: number): void;
  setRepetitionPenalty(factor: number): void;
  setPresencePenalty(penalty: number): void;
  setFrequencyPenalty(penalty: number): void;
  setSeed(seed: bigint): void;
  setStop(texts: string[]): void;
  setLogitBias(biases: [number, number][]): void;
  setLogProbabilities(top: number): void;
  setChoices(count: number): void;
  setResponseFormat(format: ResponseFormat): void;
  setToolChoice(choice: ToolChoice): void;
  set(setting: Setting): void;
}

export interface EngineModel extends Resource {
  info(): EngineModelInfo;
  tokenize(text: Uint8Array, options: { addSpecial: boolean; parseSpecial: boolean }): Uint32Array;
  detokenize(tokens: Uint32Array, special: boolean): Uint8Array;
  renderChat(conversation: Conversation): string;
  embed(tokens: Uint32Array): Eventual<Float32Array>;
  relevance(query: Uint8Array, document: Uint8Array): Eventual<{ score: number; tokens: number }>;
  request(prompt: Prompt): Request;
}

export type Step = { tag: "ok"; val: EngineEvent } | { tag: "err"; val: { tag: string } };

export interface Inference {
  configure(settings: Setting[]): void;
  advance(generations: Generation[]): Eventual<Step[]>;
  Model: { open(name: string | undefined): Eventual<EngineModel> };
  Request: { start(request: Request): Generation };
}

interface Root {
  inference: Inference;
  worker: { serve(): Eventual<void> };
}

/** The transpiled module of an engine. */
export interface EngineModule {
  instantiate(
    getCoreModule: (file: string) => Promise<WebAssembly.Module>,
    imports: Record<string, unknown>,
    instantiateCore: HandwrittenGlue["instantiateCore"],
  ): Promise<Root>;
}

/** An instance of an engine. */
export interface Engine extends Root {
  /** Bytes of its linear memory. */
  memoryBytes(): number;
  /** Whether a trap may have come of want of memory. */
  memoryExhausted(): boolean;
}

/** Instantiates a transpiled engine over a model and a collective. */
export async function instantiateEngine(
  module: EngineModule,
  cores: Map<string, WebAssembly.Module>,
  collective: Collective,
  reader: PartReader | undefined,
): Promise<Engine> {
  const glue = new HandwrittenGlue(collective, reader);
  const getCoreModule = async (file: string) => {
    const core = cores.get(file);
    if (!core) {
      throw new Error(`the engine asks for ${file}, which the manifest does not name`);
    }
    return core;
  };
  const { inference, worker } = await module.instantiate(
    getCoreModule,
    generatedImports(collective, reader),
    glue.instantiateCore,
  );
  return {
    inference,
    worker,
    memoryBytes: () => glue.memoryBytes,
    memoryExhausted: () => glue.memoryExhausted,
  };
}

/** Drops a resource, freeing what the engine holds for it. */
export function drop(resource: Resource | undefined) {
  resource?.[dispose]?.();
}

/** What an error of an engine means; traps say nothing by themselves. */
export function explain(engine: Engine, error: unknown): TrefoilError {
  return error instanceof WebAssembly.RuntimeError && engine.memoryExhausted()
    ? outOfMemory(error)
    : toError(error);
}
