// From what users of the package ask for to what the engine takes.
import type { ChatOptions, GenerateOptions, Message, Settings } from "../api.ts";
import type * as engine from "./engine.ts";
import { TrefoilError } from "./errors.ts";
import type { GenerationRequest } from "./protocol.ts";

/** A request to go on with a text or with tokens. */
export function completionRequest(
  prompt: string | ArrayLike<number>,
  options: GenerateOptions,
): GenerationRequest {
  const start: engine.Prompt =
    typeof prompt === "string"
      ? { tag: "text", val: new TextEncoder().encode(prompt) }
      : { tag: "tokens", val: Uint32Array.from(prompt) };
  return request(start, options);
}

/** A request to answer a conversation. */
export function chatRequest(messages: Message[], options: ChatOptions): GenerationRequest {
  const { tools, toolChoice, variables } = options;
  const conversation: engine.Conversation = {
    messages: messages.map(toEngineMessage),
    tools:
      tools && JSON.stringify(tools.map((tool) => ({ type: "function", function: { ...tool } }))),
    variables: variables && JSON.stringify(variables),
    addGenerationPrompt: true,
  };
  const asked = request({ tag: "chat", val: conversation }, options);
  if (toolChoice !== undefined) {
    asked.toolChoice =
      typeof toolChoice === "string" ? { tag: toolChoice } : { tag: "named", val: toolChoice.name };
  }
  return asked;
}

function request(prompt: engine.Prompt, options: GenerateOptions): GenerationRequest {
  const asked: GenerationRequest = { prompt, settings: toSettings(options.settings ?? {}) };
  const { seed, stop, format, logitBias } = options;
  const plain = [
    "maxTokens",
    "temperature",
    "topK",
    "topP",
    "minP",
    "repetitionPenalty",
    "presencePenalty",
    "frequencyPenalty",
    "logProbabilities",
    "choices",
  ] as const;
  for (const name of plain) {
    const value = options[name];
    if (value !== undefined) {
      if (typeof value !== "number" || Number.isNaN(value)) {
        throw new TrefoilError("invalid-option", `\`${name}\` must be a number, not ${value}`);
      }
      asked[name] = value;
    }
  }
  if (seed !== undefined) {
    asked.seed = BigInt(seed);
  }
  if (stop !== undefined) {
    asked.stop = typeof stop === "string" ? [stop] : stop;
  }
  if (logitBias !== undefined) {
    asked.logitBias = logitBias;
  }
  if (format !== undefined) {
    asked.format = toFormat(format);
  }
  return asked;
}

function toFormat(format: NonNullable<GenerateOptions["format"]>): engine.ResponseFormat {
  if ("jsonSchema" in format) {
    const { jsonSchema } = format;
    const text = typeof jsonSchema === "string" ? jsonSchema : JSON.stringify(jsonSchema);
    return { tag: "json-schema", val: text };
  }
  return "regex" in format
    ? { tag: "regex", val: format.regex }
    : { tag: "grammar", val: format.grammar };
}

function toEngineMessage(message: Message): engine.Message {
  const { role, content, toolCalls, toolCallId } = message;
  const parts: engine.MessagePart[] = [];
  if (toolCallId !== undefined) {
    const texts =
      typeof content === "string"
        ? [content]
        : content.map((part) => (part.type === "text" ? part.text : ""));
    parts.push({ tag: "tool-result", val: { id: toolCallId, texts } });
  } else if (typeof content === "string") {
    if (content !== "" || !toolCalls?.length) {
      parts.push({ tag: "text", val: content });
    }
  } else {
    for (const part of content) {
      parts.push(
        part.type === "media"
          ? { tag: "media", val: { mime: part.mime, data: part.data } }
          : { tag: part.type, val: part.text },
      );
    }
  }
  for (const { id, name, arguments: values } of toolCalls ?? []) {
    parts.push({ tag: "tool-call", val: { id, name, arguments: values } });
  }
  return { role, parts, variables: undefined };
}

/** Settings as the contract has them. A list is a key that occurs several times. */
export function toSettings(settings: Settings): engine.Setting[] {
  return Object.entries(settings).flatMap(([key, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((single) => ({ key, value: toValue(single) }));
  });
}

function toValue(value: boolean | number | string): engine.Value {
  switch (typeof value) {
    case "boolean":
      return { tag: "boolean", val: value };
    case "string":
      return { tag: "text", val: value };
    default:
      return Number.isInteger(value)
        ? { tag: "integer", val: BigInt(value) }
        : { tag: "number", val: value };
  }
}
