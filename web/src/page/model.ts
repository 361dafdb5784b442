// The page's model: loading it, and answering with it.
import { signal } from "@preact/signals";
import type { Progress } from "../api.ts";
import type { Answer } from "../runtime/answer.ts";
import { TrefoilError, toError } from "../runtime/errors.ts";
import { browserHost } from "../runtime/host-browser.ts";
import { fetchManifest, loadWith } from "../runtime/load.ts";
import type { Manifest } from "../runtime/manifest.ts";
import type { Model } from "../runtime/model.ts";
import { current, currentOrNew, setTurns, type Turn } from "./conversations.ts";
import { preferences } from "./preferences.ts";
import { registerServiceWorker } from "./register.ts";

declare const WORKER_FILE: string;

/** Where the model is on its way. */
export type Phase =
  | { kind: "starting" }
  /** The user's connection is metered; the download waits for a click. */
  | { kind: "asking"; bytes: number }
  | { kind: "loading"; progress: Progress | undefined }
  | { kind: "ready" }
  | { kind: "failed"; error: TrefoilError };

export const phase = signal<Phase>({ kind: "starting" });
export const manifest = signal<Manifest | undefined>(undefined);
export const model = signal<Model | undefined>(undefined);
/** What a user should know, besides errors. */
export const notice = signal<string | undefined>(undefined);
/** Tokens per second of the last answer, or of the one under way. */
export const speed = signal<number | undefined>(undefined);
export const memoryBytes = signal(0);
/** The answer under way, or one that waits for the model. */
export const busy = signal<{ conversation: string; stop: () => void } | undefined>(undefined);
/** What a screen reader says. */
export const announcement = signal("");

const host = browserHost(
  () => new Worker(new URL(WORKER_FILE, import.meta.url), { type: "module" }),
);
const query = new URLSearchParams(location.search);
let loading: AbortController | undefined;
/** Called once the model is there, or is known not to come. */
let waiting: (() => void)[] = [];

/** Fetches the manifest, then loads the model, unless the user should be asked first. */
export async function start(): Promise<void> {
  try {
    host.check();
    const [found] = await Promise.all([
      fetchManifest(host, new URL(".", location.href)),
      registerServiceWorker(),
    ]);
    manifest.value = found.manifest;
    document.title = found.manifest.title;
    if (isMetered()) {
      const bytes = found.manifest.parts.reduce((sum, part) => sum + part.size, 0);
      phase.value = { kind: "asking", bytes };
      return;
    }
    await load();
  } catch (error) {
    fail(error);
  }
}

/** Loads the model; `fresh` downloads it again. */
export async function load({ fresh = false } = {}): Promise<void> {
  loading?.abort();
  model.value?.close();
  model.value = undefined;
  notice.value = undefined;
  phase.value = { kind: "loading", progress: undefined };
  const controller = new AbortController();
  loading = controller;
  const engine = query.get("engine") ?? preferences.value.engine;
  const workers = Number(query.get("workers")) || preferences.value.workers;
  const { contextTokens } = preferences.value;
  try {
    const loaded = await loadWith(host, new URL(".", location.href), {
      ...(engine && { engine }),
      ...(workers && { workers }),
      ...(contextTokens && { settings: { "context-tokens": contextTokens } }),
      fresh,
      signal: controller.signal,
      onProgress: (progress) => {
        phase.value = { kind: "loading", progress };
      },
      onLost: fail,
      onNotice: (text) => {
        notice.value = text;
      },
    });
    model.value = loaded;
    memoryBytes.value = loaded.memoryBytes;
    phase.value = { kind: "ready" };
    announcement.value = "The model is ready.";
    settle();
    // Asked for once there is something to keep; browsers may decide by themselves.
    void navigator.storage?.persist?.();
  } catch (error) {
    if (!controller.signal.aborted) {
      fail(error);
    }
  }
}

/** Loads again after an error, in the way that may help. */
export async function retry(options: { fresh?: boolean } = {}): Promise<void> {
  await (manifest.value ? load(options) : start());
}

function fail(error: unknown): void {
  const told = toError(error);
  phase.value = { kind: "failed", error: told };
  announcement.value = `${told.message} ${told.hint}`;
  settle();
}

function settle(): void {
  for (const resolve of waiting) {
    resolve();
  }
  waiting = [];
}

/** Answers `text` in the current conversation. */
export async function send(text: string): Promise<void> {
  const conversation = currentOrNew(text);
  await answer(conversation.id, [...conversation.turns, { role: "user", text }]);
}

/** Answers the user's turn number `index` again, with another text if there is one. */
export async function answerAgain(index: number, text?: string): Promise<void> {
  const conversation = current.value;
  const asked = conversation?.turns[index];
  if (conversation && asked) {
    const before = conversation.turns.slice(0, index);
    await answer(conversation.id, [...before, { role: "user", text: text ?? asked.text }]);
  }
}

async function answer(id: string, asked: Turn[]): Promise<void> {
  busy.value?.stop();
  let turn: Turn = { role: "assistant", text: "" };
  let under: Answer | undefined;
  let stopped = false;
  const own = {
    conversation: id,
    stop: () => {
      stopped = true;
      under?.stop();
      settle();
    },
  };
  busy.value = own;
  setTurns(id, [...asked, turn], true);
  announcement.value = "The model is answering.";

  const show = inFrames(() => setTurns(id, [...asked, turn], false));
  const begun = performance.now();
  let first = 0;
  let tokens = 0;
  const perSecond = () => (tokens > 1 ? ((tokens - 1) * 1000) / (performance.now() - first) : 0);
  try {
    if (phase.value.kind !== "ready" && phase.value.kind !== "failed") {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    if (!stopped) {
      const loaded = ready();
      under = loaded.info.hasChatTemplate
        ? loaded.chat(toMessages(asked), sampling())
        : loaded.generate(asked.map(({ text }) => text).join("\n\n"), sampling());
      for await (const part of under) {
        first ||= performance.now();
        tokens += part.tokens.length;
        turn = {
          ...turn,
          text: turn.text + part.text,
          ...(part.reasoning && { reasoning: (turn.reasoning ?? "") + part.reasoning }),
        };
        if (tokens > 4) {
          speed.value = perSecond();
        }
        show();
      }
      const { reason, usage } = await under.result;
      tokens = usage.generatedTokens;
      turn = { ...turn, stats: stats(reason) };
    }
  } catch (error) {
    if (!stopped) {
      const { message, hint } = toError(error);
      turn = { ...turn, error: { message, hint } };
    }
  }
  if (stopped) {
    turn = { ...turn, stats: stats("stopped") };
  }
  show.cancel();
  setTurns(id, [...asked, turn], true);
  memoryBytes.value = model.value?.memoryBytes ?? 0;
  announcement.value = turn.error ? turn.error.message : turn.text;
  if (busy.value === own) {
    busy.value = undefined;
  }

  function stats(reason: NonNullable<Turn["stats"]>["reason"]): NonNullable<Turn["stats"]> {
    const firstSeconds = first ? (first - begun) / 1000 : 0;
    return { tokens, tokensPerSecond: perSecond(), firstSeconds, reason };
  }
}

function ready(): Model {
  if (model.value) {
    return model.value;
  }
  throw phase.value.kind === "failed"
    ? phase.value.error
    : new TrefoilError("closed", "The model is not loaded.");
}

/** The conversation as the model reads it. */
function toMessages(turns: Turn[]) {
  const system = preferences.value.system ?? manifest.value?.system ?? "";
  const messages = turns
    .filter((turn) => turn.role === "user" || turn.text !== "")
    .map(({ role, text }) => ({ role: role as string, content: text }));
  return system.trim() === "" ? messages : [{ role: "system", content: system }, ...messages];
}

function sampling() {
  const { temperature, topP, topK, minP, repetitionPenalty, maxTokens, seed } = preferences.value;
  const chosen = { temperature, topP, topK, minP, repetitionPenalty, maxTokens };
  const set = Object.entries(chosen).filter(([, value]) => value !== undefined);
  // The engine's seed is always the same; people expect another answer each time.
  return {
    ...Object.fromEntries(set),
    seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
  };
}

/** Calls at most once for each picture that the browser draws. */
function inFrames(action: () => void): (() => void) & { cancel: () => void } {
  let frame = 0;
  const call = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      action();
    });
  };
  return Object.assign(call, { cancel: () => cancelAnimationFrame(frame) });
}

function isMetered(): boolean {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  return connection?.saveData === true;
}
