import type { AnswerPart, GenerateOptions, Result, Results, ToolCall } from "../api.ts";
import type { TrefoilError } from "./errors.ts";
import type { Instances } from "./instances.ts";
import type { AnswerDelta, GenerationRequest, Timing } from "./protocol.ts";

/**
 * An answer under way. Iterate over its parts, or wait for `result`, or both. Leaving the loop
 * early ends the answer.
 */
export class Answer implements AsyncIterable<AnswerPart> {
  /** All of the answer, once it has ended. Rejected where it failed or was aborted. */
  readonly result: Promise<Results>;
  readonly #parts: AnswerPart[] = [];
  readonly #results: Result[];
  readonly #resolve: (results: Results) => void;
  readonly #reject: (error: unknown) => void;
  #cancel: () => void = () => {};
  #wake: (() => void) | undefined;
  #ended = false;
  #failure: { error: unknown } | undefined;

  constructor(instances: Instances, request: GenerationRequest, options: GenerateOptions) {
    const { promise, resolve, reject } = withResolvers<Results>();
    this.result = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    // Who iterates learns of a failure there; it is not unhandled then.
    promise.catch(() => {});
    this.#results = Array.from({ length: request.choices ?? 1 }, emptyResult);

    const { signal, onPrompt } = options;
    if (signal?.aborted) {
      this.#fail(signal.reason);
      return;
    }
    const listener = {
      news: (news: Parameters<Parameters<Instances["generate"]>[1]["news"]>[0], timing: Timing) => {
        if (news.prompt) {
          onPrompt?.(news.prompt);
        }
        for (const delta of news.deltas) {
          this.#take(delta);
        }
        for (const { choice, reason, usage } of news.done ?? []) {
          Object.assign(this.#results[choice] as Result, { reason, usage });
          left -= 1;
        }
        if (left === 0) {
          instances.finished(listener);
          this.#finish(timing);
        }
      },
      failed: (error: TrefoilError) => this.#fail(error),
    };
    let left = this.#results.length;
    this.#cancel = instances.generate(request, listener);
    signal?.addEventListener("abort", () => this.#stop(signal.reason), { once: true });
  }

  /** Ends the answer. What came of it so far stays with whoever read it. */
  stop(): void {
    this.#stop(new DOMException("The answer was stopped.", "AbortError"));
  }

  /** The whole text. */
  async text(): Promise<string> {
    return (await this.result).text;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AnswerPart, void, undefined> {
    try {
      for (let at = 0; ; ) {
        const part = this.#parts[at];
        if (part) {
          at += 1;
          yield part;
        } else if (this.#failure) {
          throw this.#failure.error;
        } else if (this.#ended) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            const before = this.#wake;
            this.#wake = () => {
              before?.();
              resolve();
            };
          });
        }
      }
    } finally {
      this.stop();
    }
  }

  #take(delta: AnswerDelta): void {
    const { choice, kind, text, tokens, logProbabilities, call } = delta;
    const result = this.#results[choice] as Result;
    result.tokens.push(...tokens);
    result.logProbabilities.push(...logProbabilities);
    const part: AnswerPart = {
      text: kind === "text" ? text : "",
      reasoning: kind === "reasoning" ? text : "",
      tokens,
      choice,
      logProbabilities,
    };
    result.text += part.text;
    result.reasoning += part.reasoning;
    if (call) {
      const { index, id, name } = call;
      part.toolCall = { index, arguments: text, ...(id && { id }), ...(name && { name }) };
      result.toolCalls[index] ??= { id: "", name: "", arguments: "" };
      const whole = result.toolCalls[index] as ToolCall;
      whole.id += id ?? "";
      whole.name += name ?? "";
      whole.arguments += text;
    }
    this.#parts.push(part);
    this.#awake();
  }

  #finish(timing: Timing): void {
    this.#ended = true;
    const first = this.#results[0] as Result;
    this.#resolve({ ...first, choices: this.#results, timing });
    this.#awake();
  }

  #stop(reason: unknown): void {
    if (!this.#ended) {
      this.#cancel();
      this.#fail(reason);
    }
  }

  #fail(error: unknown): void {
    this.#ended = true;
    this.#failure = { error };
    this.#reject(error);
    this.#awake();
  }

  #awake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

function emptyResult(): Result {
  return {
    text: "",
    reasoning: "",
    toolCalls: [],
    tokens: [],
    logProbabilities: [],
    reason: "stop",
    usage: {
      promptTokens: 0,
      cachedTokens: 0,
      generatedTokens: 0,
      draftedTokens: 0,
      acceptedTokens: 0,
    },
  };
}

/** `Promise.withResolvers`, which browsers have later than all else that this needs. */
function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
