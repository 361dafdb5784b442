import type { ChatOptions, GenerateOptions, Message, ModelInfo, Ranked } from "../api.ts";
import { Answer } from "./answer.ts";
import type { Instances } from "./instances.ts";
import { chatRequest, completionRequest } from "./request.ts";

/** How text becomes tokens. */
export interface TokenizeOptions {
  /** Add the tokens that the model wants around a text. True unless set. */
  special?: boolean;
  /** Read the texts of special tokens as these tokens; for text that no stranger wrote. */
  parseSpecial?: boolean;
}

/** A model that is loaded, in workers of its own. */
export class Model {
  /** What is known about it. */
  readonly info: ModelInfo;
  readonly #instances: Instances;
  readonly #onTiming: (tokensPerSecond: number) => void;

  /** Use `load`. */
  constructor(instances: Instances, info: ModelInfo, onTiming: (tokensPerSecond: number) => void) {
    this.#instances = instances;
    this.info = info;
    this.#onTiming = onTiming;
  }

  /** Answers a conversation. */
  chat(messages: Message[], options: ChatOptions = {}): Answer {
    return this.#answer(chatRequest(messages, options), options);
  }

  /** Goes on with a text, or with tokens, without the model's chat template. */
  generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Answer {
    return this.#answer(completionRequest(prompt, options), options);
  }

  /** A vector of norm 1 that stands for the meaning of a text. */
  embed(text: string): Promise<Float32Array> {
    return this.#instances.call("embed", text);
  }

  /** How well documents go with a query, the best first; by a model that was trained to say so. */
  async rerank(query: string, documents: string[]): Promise<Ranked[]> {
    const scores = documents.map((document) => this.#instances.call("relevance", query, document));
    const ranked = (await Promise.all(scores)).map((score, index) => ({ index, score }));
    return ranked.sort((one, other) => other.score - one.score);
  }

  async tokenize(text: string, options: TokenizeOptions = {}): Promise<Uint32Array> {
    const { special = true, parseSpecial = false } = options;
    return this.#instances.call("tokenize", new TextEncoder().encode(text), special, parseSpecial);
  }

  /** Turns tokens into text. Special tokens are left out unless `special`. */
  async detokenize(
    tokens: ArrayLike<number>,
    { special = false }: { special?: boolean } = {},
  ): Promise<string> {
    const bytes = await this.#instances.call("detokenize", Uint32Array.from(tokens), special);
    return new TextDecoder().decode(bytes);
  }

  /** Bytes of linear memory that all instances hold. */
  get memoryBytes(): number {
    return this.#instances.memoryBytes;
  }

  /** Ends the workers. Answers under way fail. */
  close(): void {
    this.#instances.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #answer(request: Parameters<Instances["generate"]>[0], options: GenerateOptions): Answer {
    const answer = new Answer(this.#instances, request, options);
    answer.result.then(
      ({ timing }) => {
        // Shorter answers say more about the start than about the speed.
        if (timing.decodeTokens >= 16 && (request.choices ?? 1) === 1) {
          this.#onTiming(timing.decodeTokens / timing.decodeSeconds);
        }
      },
      () => {},
    );
    return answer;
  }
}
