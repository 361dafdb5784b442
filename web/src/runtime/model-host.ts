// A model inside the worker of the first instance: calls, and answers under way.
import {
  type Delta,
  drop,
  type Engine,
  type EngineEvent,
  type EngineModel,
  type Eventual,
  explain,
  type Generation,
  type Setting,
  type Step,
} from "./engine.ts";
import { fromEngine, isTrap, type TrefoilError } from "./errors.ts";
import type { Collective } from "./exchange.ts";
import type { Platform } from "./platform.ts";
import type {
  AnswerDelta,
  AnswerNews,
  ClientMessage,
  GenerationRequest,
  LogProbability,
  Timing,
  TokenLogProbability,
} from "./protocol.ts";

/** An answer under way. */
interface Answer {
  id: number;
  generation: Generation;
  choicesLeft: number;
  timing: Timing;
  begun: number;
  firstToken: number;
}

/** An answer that waits for a place. */
interface Waiting {
  id: number;
  request: GenerationRequest;
}

export class ModelHost {
  readonly #platform: Platform;
  readonly #engine: Engine;
  readonly #collective: Collective;
  readonly #turn: () => Promise<void>;
  #model: EngineModel | undefined;
  #places = 1;
  #answers: Answer[] = [];
  #waiting: Waiting[] = [];
  #running = false;
  #memory = 0;
  #dead = false;
  #entered: Promise<unknown> = Promise.resolve();

  constructor(platform: Platform, engine: Engine, collective: Collective) {
    this.#platform = platform;
    this.#engine = engine;
    this.#collective = collective;
    this.#turn = turnTaker();
  }

  async receive(
    message: Extract<ClientMessage, { type: "call" | "generate" | "cancel" }>,
  ): Promise<void> {
    switch (message.type) {
      case "call":
        try {
          const value = await this.#enter(() =>
            this.#call(message.name, message.arguments as never),
          );
          this.#reportMemory();
          this.#platform.post({ type: "result", id: message.id, value });
        } catch (error) {
          this.#fail(message.id, error);
        }
        return;
      case "generate":
        this.#waiting.push({ id: message.id, request: message.request });
        return this.#run();
      case "cancel":
        return this.#enter(() => this.#cancel(message.id));
    }
  }

  /**
   * Does one thing with the engine at a time: one that is suspended in the middle of something must
   * not be entered again.
   */
  #enter<T>(action: () => Eventual<T>): Promise<T> {
    const ended = this.#entered.then(action);
    this.#entered = ended.catch(() => {});
    return ended;
  }

  #call(name: string, values: never[]): unknown {
    const calls = {
      open: (model: string | undefined, settings: Setting[]) => this.#open(model, settings),
      tokenize: (text: Uint8Array, addSpecial: boolean, parseSpecial: boolean) =>
        this.#opened().tokenize(text, { addSpecial, parseSpecial }),
      detokenize: (tokens: Uint32Array, special: boolean) =>
        this.#opened().detokenize(tokens, special),
      embed: (text: string) => {
        const bytes = new TextEncoder().encode(text);
        const options = { addSpecial: true, parseSpecial: false };
        return this.#opened().embed(this.#opened().tokenize(bytes, options));
      },
      relevance: async (query: string, document: string) => {
        const encoder = new TextEncoder();
        const texts = [encoder.encode(query), encoder.encode(document)] as const;
        return (await this.#opened().relevance(...texts)).score;
      },
      memory: () => this.#engine.memoryBytes(),
    } as Record<string, (...values: never[]) => unknown>;
    const call = calls[name];
    if (!call) {
      throw new Error(`there is no call ${name}`);
    }
    return call(...values);
  }

  async #open(name: string | undefined, settings: Setting[]) {
    if (settings.length > 0) {
      this.#engine.inference.configure(settings);
    }
    this.#model = await this.#engine.inference.Model.open(name);
    const info = this.#model.info();
    this.#places = info.sequencesMax;
    return info;
  }

  #opened(): EngineModel {
    if (!this.#model) {
      throw new Error("the model is not open");
    }
    return this.#model;
  }

  /** Steps all answers until there are none. */
  async #run(): Promise<void> {
    if (this.#running) {
      return;
    }
    this.#running = true;
    try {
      for (;;) {
        await this.#enter(() => this.#admit());
        if (this.#answers.length === 0) {
          break;
        }
        await this.#enter(() => this.#step());
        // Messages, a cancellation above all, come in between.
        await this.#turn();
      }
    } finally {
      this.#running = false;
      this.#reportMemory();
    }
  }

  /** Starts answers that wait, as far as there are places. */
  #admit(): void {
    const taken = () => this.#answers.reduce((sum, answer) => sum + answer.choicesLeft, 0);
    for (;;) {
      const next = this.#waiting[0];
      const choices = next?.request.choices ?? 1;
      if (!next || (this.#answers.length > 0 && taken() + choices > this.#places)) {
        return;
      }
      this.#waiting.shift();
      try {
        this.#answers.push({
          id: next.id,
          generation: start(this.#engine, this.#opened(), next.request),
          choicesLeft: choices,
          timing: { promptSeconds: 0, decodeSeconds: 0, promptTokens: 0, decodeTokens: 0 },
          begun: performance.now(),
          firstToken: 0,
        });
      } catch (error) {
        this.#fail(next.id, error);
      }
    }
  }

  async #step(): Promise<void> {
    const [single] = this.#answers;
    if (single && this.#answers.length === 1) {
      try {
        this.#take(single, await single.generation.next());
      } catch (error) {
        this.#end(single);
        this.#fail(single.id, error);
      }
      return;
    }
    const answers = [...this.#answers];
    let steps: Step[];
    try {
      steps = await this.#engine.inference.advance(answers.map((answer) => answer.generation));
    } catch (error) {
      for (const answer of answers) {
        this.#end(answer);
        this.#fail(answer.id, error);
      }
      return;
    }
    answers.forEach((answer, index) => {
      const step = steps[index];
      if (step?.tag === "ok") {
        this.#take(answer, step.val);
      } else {
        this.#end(answer);
        this.#fail(answer.id, fromEngine(step?.val ?? { tag: "finished" }));
      }
    });
  }

  #take(answer: Answer, event: EngineEvent): void {
    const news: AnswerNews = { deltas: [] };
    switch (event.tag) {
      case "prompt-progress":
        news.prompt = { done: event.val.doneTokens, total: event.val.totalTokens };
        break;
      case "delta":
        news.deltas.push(textDelta("text", event.val));
        break;
      case "reasoning":
        news.deltas.push(textDelta("reasoning", event.val));
        break;
      case "tool-call-delta": {
        const { choice, index, id, name } = event.val;
        news.deltas.push({
          choice,
          kind: "tool-call",
          text: event.val.arguments,
          tokens: [],
          logProbabilities: [],
          call: { index, id, name },
        });
        break;
      }
      case "done":
        news.done = [event.val];
        answer.choicesLeft -= 1;
        break;
      case "idle":
        return;
    }
    this.#time(answer, news);
    if (answer.choicesLeft === 0) {
      this.#end(answer);
      this.#reportMemory();
    }
    this.#platform.post({ type: "news", id: answer.id, news, timing: answer.timing });
  }

  #time(answer: Answer, news: AnswerNews): void {
    const { timing } = answer;
    const now = performance.now();
    const tokens = news.deltas.reduce((sum, delta) => sum + delta.tokens.length, 0);
    if (tokens > 0 && answer.firstToken === 0) {
      answer.firstToken = now;
      timing.promptSeconds = (now - answer.begun) / 1000;
    } else if (tokens > 0) {
      timing.decodeTokens += tokens;
      timing.decodeSeconds = (now - answer.firstToken) / 1000;
    }
    for (const { usage } of news.done ?? []) {
      timing.promptTokens = usage.promptTokens - usage.cachedTokens;
    }
  }

  #cancel(id: number): void {
    this.#waiting = this.#waiting.filter((waiting) => waiting.id !== id);
    const answer = this.#answers.find((candidate) => candidate.id === id);
    if (answer) {
      this.#end(answer);
    }
  }

  #end(answer: Answer): void {
    this.#answers = this.#answers.filter((other) => other !== answer);
    try {
      drop(answer.generation);
    } catch {
      // After a trap nothing of the instance can be called any more.
    }
  }

  #fail(id: number, error: unknown): void {
    const told = this.#failed(error);
    this.#platform.post({ type: "error", id, error: told.toData(), fatal: this.#dead });
  }

  /** The error as it is told. After a trap, nothing of the instance can be called any more. */
  #failed(error: unknown): TrefoilError {
    if (isTrap(error)) {
      this.#dead = true;
      this.#collective.fail();
    }
    return explain(this.#engine, error);
  }

  #reportMemory(): void {
    const bytes = this.#engine.memoryBytes();
    if (bytes !== this.#memory) {
      this.#memory = bytes;
      this.#platform.post({ type: "memory", bytes });
    }
  }
}

/** Makes a request of what was asked, and starts it. */
function start(engine: Engine, model: EngineModel, asked: GenerationRequest): Generation {
  const request = model.request(asked.prompt);
  const set = <T>(value: T | undefined, apply: (value: T) => void) => {
    if (value !== undefined) {
      apply(value);
    }
  };
  try {
    set(asked.maxTokens, (value) => request.setMaxTokens(value));
    set(asked.temperature, (value) => request.setTemperature(value));
    set(asked.topK, (value) => request.setTopK(value));
    set(asked.topP, (value) => request.setTopP(value));
    set(asked.minP, (value) => request.setMinP(value));
    set(asked.repetitionPenalty, (value) => request.setRepetitionPenalty(value));
    set(asked.presencePenalty, (value) => request.setPresencePenalty(value));
    set(asked.frequencyPenalty, (value) => request.setFrequencyPenalty(value));
    set(asked.seed, (value) => request.setSeed(value));
    set(asked.stop, (value) => request.setStop(value));
    set(asked.logitBias, (value) => request.setLogitBias(value));
    set(asked.logProbabilities, (value) => request.setLogProbabilities(value));
    set(asked.choices, (value) => request.setChoices(value));
    set(asked.format, (value) => request.setResponseFormat(value));
    set(asked.toolChoice, (value) => request.setToolChoice(value));
    for (const setting of asked.settings) {
      request.set(setting);
    }
  } catch (error) {
    drop(request);
    throw error;
  }
  return engine.inference.Request.start(request);
}

function textDelta(kind: "text" | "reasoning", delta: Delta): AnswerDelta {
  return {
    choice: delta.choice,
    kind,
    text: delta.text,
    tokens: [...delta.tokens],
    logProbabilities: delta.logProbabilities.map(({ chosen, top }): LogProbability => {
      return { ...withText(chosen), top: top.map(withText) };
    }),
  };
}

function withText(token: {
  token: number;
  bytes: Uint8Array;
  logProbability: number;
}): TokenLogProbability {
  return { ...token, text: new TextDecoder().decode(token.bytes) };
}

/** Lets messages that wait be handled. A channel does it at once, where timers are slowed down. */
function turnTaker(): () => Promise<void> {
  const channel = new MessageChannel();
  let resolve = () => {};
  channel.port1.onmessage = () => resolve();
  return () =>
    new Promise((done) => {
      resolve = done;
      channel.port2.postMessage(null);
    });
}
