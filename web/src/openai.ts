// A model with the shape of OpenAI's client, for programs that were written for that.
// https://platform.openai.com/docs/api-reference
import type { ChatOptions, ContentPart, Format, Message, Result, Tool, ToolCall } from "./api.ts";
import { TrefoilError } from "./runtime/errors.ts";
import type { Model } from "./runtime/model.ts";
import type { LogProbability } from "./runtime/protocol.ts";

interface FunctionCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface ChatCompletionMessage {
  role: string;
  content?: string | { type: "text"; text: string }[] | null;
  tool_calls?: FunctionCall[];
  tool_call_id?: string;
}

export interface ChatCompletionParams {
  messages: ChatCompletionMessage[];
  /** Not looked at: the model is the one that was loaded. */
  model?: string;
  stream?: boolean;
  stream_options?: { include_usage?: boolean };
  max_tokens?: number;
  max_completion_tokens?: number;
  temperature?: number;
  top_p?: number;
  seed?: number;
  stop?: string | string[];
  n?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  logit_bias?: Record<string, number>;
  logprobs?: boolean;
  top_logprobs?: number;
  response_format?:
    | { type: "text" }
    | { type: "json_object" }
    | { type: "json_schema"; json_schema: { name?: string; schema?: unknown } };
  tools?: { type: "function"; function: Tool }[];
  tool_choice?: "auto" | "none" | "required" | { type: "function"; function: { name: string } };
}

interface OpenAiTokenProbability {
  token: string;
  bytes: number[];
  logprob: number;
}

interface Logprobs {
  content: (OpenAiTokenProbability & { top_logprobs: OpenAiTokenProbability[] })[];
}

export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

type FinishReason = "stop" | "length" | "tool_calls";

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: {
    index: number;
    message: {
      role: "assistant";
      content: string | null;
      reasoning_content?: string;
      tool_calls?: FunctionCall[];
    };
    logprobs: Logprobs | null;
    finish_reason: FinishReason;
  }[];
  usage: CompletionUsage;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: number;
    delta: {
      role?: "assistant";
      content?: string;
      reasoning_content?: string;
      tool_calls?: {
        index: number;
        id?: string;
        type?: "function";
        function: { name?: string; arguments?: string };
      }[];
    };
    logprobs: Logprobs | null;
    finish_reason: FinishReason | null;
  }[];
  usage?: CompletionUsage;
}

export interface EmbeddingParams {
  input: string | string[];
  /** Not looked at: the model is the one that was loaded. */
  model?: string;
}

export interface EmbeddingResponse {
  object: "list";
  model: string;
  data: { object: "embedding"; index: number; embedding: number[] }[];
  usage: { prompt_tokens: number; total_tokens: number };
}

interface RequestOptions {
  signal?: AbortSignal;
}

export interface OpenAi {
  chat: {
    completions: {
      create(
        params: ChatCompletionParams & { stream: true },
        options?: RequestOptions,
      ): Promise<AsyncIterable<ChatCompletionChunk>>;
      create(
        params: ChatCompletionParams & { stream?: false },
        options?: RequestOptions,
      ): Promise<ChatCompletion>;
    };
  };
  embeddings: { create(params: EmbeddingParams): Promise<EmbeddingResponse> };
  models: { list(): Promise<{ object: "list"; data: { id: string; object: "model" }[] }> };
}

/** Presents a model as OpenAI's client. */
export function openai(model: Model): OpenAi {
  const create = async (params: ChatCompletionParams, options: RequestOptions = {}) => {
    const answer = model.chat(params.messages.map(toMessage), {
      ...toOptions(params),
      ...(options.signal && { signal: options.signal }),
    });
    const head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: model.info.name,
    };
    return params.stream ? chunks(answer, head, params) : completion(await answer.result, head);
  };
  return {
    chat: { completions: { create: create as OpenAi["chat"]["completions"]["create"] } },
    embeddings: {
      async create({ input }) {
        const data: EmbeddingResponse["data"] = [];
        let tokens = 0;
        for (const [index, text] of (typeof input === "string" ? [input] : input).entries()) {
          tokens += (await model.tokenize(text)).length;
          data.push({ object: "embedding", index, embedding: [...(await model.embed(text))] });
        }
        const usage = { prompt_tokens: tokens, total_tokens: tokens };
        return { object: "list", model: model.info.name, data, usage };
      },
    },
    models: {
      async list() {
        return { object: "list", data: [{ id: model.info.name, object: "model" }] };
      },
    },
  };
}

interface Head {
  id: string;
  created: number;
  model: string;
}

function completion(results: Result & { choices: Result[] }, head: Head): ChatCompletion {
  return {
    ...head,
    object: "chat.completion",
    choices: results.choices.map((result, index) => {
      const { text, reasoning, toolCalls, logProbabilities, reason } = result;
      return {
        index,
        message: {
          role: "assistant",
          content: text === "" && toolCalls.length > 0 ? null : text,
          ...(reasoning && { reasoning_content: reasoning }),
          ...(toolCalls.length > 0 && { tool_calls: toolCalls.map(toFunctionCall) }),
        },
        logprobs: toLogprobs(logProbabilities),
        finish_reason: toFinishReason(reason),
      };
    }),
    usage: toUsage(results.choices),
  };
}

async function* chunks(
  answer: ReturnType<Model["chat"]>,
  head: Head,
  params: ChatCompletionParams,
): AsyncGenerator<ChatCompletionChunk> {
  type Choice = ChatCompletionChunk["choices"][number];
  const chunk = (choices: Choice[]): ChatCompletionChunk => {
    return { ...head, object: "chat.completion.chunk", choices };
  };
  const begun = new Set<number>();
  for await (const part of answer) {
    const { choice, text, reasoning, toolCall } = part;
    const delta: Choice["delta"] = {};
    if (!begun.has(choice)) {
      begun.add(choice);
      delta.role = "assistant";
    }
    if (text) {
      delta.content = text;
    }
    if (reasoning) {
      delta.reasoning_content = reasoning;
    }
    if (toolCall) {
      const { index, id, name, arguments: more } = toolCall;
      const called = { ...(name && { name }), arguments: more };
      delta.tool_calls = [{ index, ...(id && { id, type: "function" }), function: called }];
    }
    const logprobs = toLogprobs(part.logProbabilities);
    if (Object.keys(delta).length > 0 || logprobs) {
      yield chunk([{ index: choice, delta, logprobs, finish_reason: null }]);
    }
  }
  const { choices } = await answer.result;
  for (const [index, { reason }] of choices.entries()) {
    yield chunk([{ index, delta: {}, logprobs: null, finish_reason: toFinishReason(reason) }]);
  }
  if (params.stream_options?.include_usage) {
    yield { ...chunk([]), usage: toUsage(choices) };
  }
}

function toOptions(params: ChatCompletionParams): ChatOptions {
  const options: ChatOptions = {};
  const maxTokens = params.max_completion_tokens ?? params.max_tokens;
  const known = {
    maxTokens,
    temperature: params.temperature,
    topP: params.top_p,
    seed: params.seed,
    stop: params.stop,
    choices: params.n,
    presencePenalty: params.presence_penalty,
    frequencyPenalty: params.frequency_penalty,
    logProbabilities: params.logprobs ? (params.top_logprobs ?? 0) : undefined,
  };
  // OpenAI's clients send null for what was not set.
  Object.assign(options, Object.fromEntries(Object.entries(known).filter(([, v]) => v != null)));
  if (params.logit_bias) {
    const biases = Object.entries(params.logit_bias);
    options.logitBias = biases.map(([token, bias]) => [Number(token), bias]);
  }
  const format = toFormat(params.response_format);
  if (format) {
    options.format = format;
  }
  if (params.tools) {
    options.tools = params.tools.map((tool) => tool.function);
  }
  const choice = params.tool_choice;
  if (choice) {
    options.toolChoice = typeof choice === "string" ? choice : { name: choice.function.name };
  }
  return options;
}

function toFormat(format: ChatCompletionParams["response_format"]): Format | undefined {
  switch (format?.type) {
    case undefined:
    case "text":
      return undefined;
    case "json_object":
      return { jsonSchema: { type: "object" } };
    case "json_schema":
      return { jsonSchema: format.json_schema.schema ?? {} };
    default:
      throw new TrefoilError(
        "invalid-option",
        `\`response_format\` has no type \`${(format as { type: string }).type}\``,
      );
  }
}

function toMessage(message: ChatCompletionMessage): Message {
  const { role, content, tool_calls, tool_call_id } = message;
  const parts: string | ContentPart[] =
    typeof content === "string"
      ? content
      : (content ?? []).map(({ text }) => ({ type: "text", text }));
  return {
    role,
    content: parts,
    ...(tool_calls && {
      toolCalls: tool_calls.map(({ id, function: called }): ToolCall => ({ id, ...called })),
    }),
    ...(tool_call_id && { toolCallId: tool_call_id }),
  };
}

function toFunctionCall({ id, name, arguments: values }: ToolCall): FunctionCall {
  return { id, type: "function", function: { name, arguments: values } };
}

function toLogprobs(tokens: LogProbability[]): Logprobs | null {
  if (tokens.length === 0) {
    return null;
  }
  const one = (token: { text: string; bytes: Uint8Array; logProbability: number }) => {
    return { token: token.text, bytes: [...token.bytes], logprob: token.logProbability };
  };
  return {
    content: tokens.map((token) => ({ ...one(token), top_logprobs: token.top.map(one) })),
  };
}

function toFinishReason(reason: Result["reason"]): FinishReason {
  switch (reason) {
    case "length":
    case "context-full":
      return "length";
    case "tool-calls":
      return "tool_calls";
    default:
      return "stop";
  }
}

function toUsage(choices: Result[]): CompletionUsage {
  const first = choices[0]?.usage;
  const prompt = first?.promptTokens ?? 0;
  const generated = choices.reduce((sum, { usage }) => sum + usage.generatedTokens, 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: generated,
    total_tokens: prompt + generated,
    prompt_tokens_details: { cached_tokens: first?.cachedTokens ?? 0 },
  };
}
