// Measures one program in a fresh Chromium and prints it as JSON. `cargo xtask bench --web` alternates.
//
//   node bench.mjs --program trefoil --site FOLDER --package FOLDER --workers N \
//     [--exchange messages]
//   node bench.mjs --program wllama --model FILE --package FOLDER --workers N
//
// Both load the model from a server on this machine, as on a first visit. With several workers that
// share memory their page is cross-origin isolated; else there are no special headers.
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { flags, openBrowser } from "./browser.mjs";
import { isolation, serve, serveOwnPage } from "./static-server.mjs";

const given = flags();
const workers = Number(given.workers);

/** Tokens of an answer whose speed is measured. */
const answerTokens = 64;
/** The token that ends SmolLM2's answers: biased away, so that all answers are equally long. */
const endToken = 2;
/** How many answers are timed; no two prompts have a beginning in common that a cache could give. */
const repetitions = 3;
/** How often memory is looked at, in milliseconds. */
const look = 50;

/**
 * Bytes that the renderer of the page has in memory, shared ones by their share (PSS): the largest of
 * the browser's renderers. The others are its own pages, and one that waits for the next page.
 */
async function rendererBytes(profile) {
  const processes = new Map();
  for (const id of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    try {
      const command = await readFile(`/proc/${id}/cmdline`, "utf8");
      const parent = /^PPid:\t(\d+)$/m.exec(await readFile(`/proc/${id}/status`, "utf8"))[1];
      processes.set(id, { command, parent });
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOf = (id) => {
    const found = processes.get(id);
    return found !== undefined && (found.command.includes(profile) || isOf(found.parent));
  };
  let bytes = 0;
  for (const [id, { command }] of processes) {
    if (command.includes("--type=renderer") && isOf(id)) {
      const rollup = await readFile(`/proc/${id}/smaps_rollup`, "utf8").catch(() => "");
      bytes = Math.max(bytes, Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0) * 1024);
    }
  }
  return bytes;
}

/**
 * Loads a program and has it go on with a text. Runs in the page, with one of the programs below: that
 * loads, and returns what is `used`, and `complete`, which goes on with a text, calls `heard` at each
 * token, and returns the numbers of tokens.
 */
async function begin(program, asked) {
  const begun = performance.now();
  const { used, complete } = await program(asked);
  globalThis.answer = async (prompt, maxTokens) => {
    const started = performance.now();
    const times = [];
    const counts = await complete(prompt, maxTokens, () => times.push(performance.now()));
    return { ...counts, first: times[0] - started, last: times.at(-1) - started };
  };
  await globalThis.answer(asked.prompts[0], 1);
  return { used, firstToken: performance.now() - begun };
}

/** Goes on with texts, one after another. Runs in the page. */
async function goOn({ prompts, answerTokens }) {
  const answers = [];
  for (const prompt of prompts) {
    answers.push(await globalThis.answer(prompt, answerTokens));
  }
  return answers;
}

/** Our package. */
async function trefoil({ workers, exchange, endToken }) {
  const { load } = await import("/package/browser.js");
  const model = await load("/", { workers, exchange, settings: { "context-tokens": 2048 } });
  const complete = async (prompt, maxTokens, heard) => {
    const options = { maxTokens, temperature: 0, logitBias: [[endToken, -100]] };
    const stream = model.generate(prompt, options);
    let tokens = 0;
    for await (const part of stream) {
      tokens += part.tokens.length;
      heard();
    }
    return { tokens, prompt: (await stream.result).usage.promptTokens };
  };
  const { engine, workers: count, exchange: by = "nothing" } = model.info;
  return { complete, used: `${engine}, ${count}, exchanging ${by}` };
}

/** llama.cpp for browsers. */
async function wllama({ workers, endToken, model }) {
  const { Wllama, LoggerWithoutDebug } = await import("/package/index.js");
  const files = { default: "/package/wasm/wllama.wasm" };
  const instance = new Wllama(files, { logger: LoggerWithoutDebug });
  await instance.loadModelFromUrl(new URL(`/${model}`, location.href).href, {
    n_ctx: 2048,
    n_threads: workers,
    n_gpu_layers: 0,
  });
  const complete = async (prompt, max_tokens, heard) => {
    const logit_bias = [[endToken, false]];
    const options = { prompt, max_tokens, temperature: 0, logit_bias, stream: true };
    let usage;
    for await (const chunk of await instance.createCompletion(options)) {
      usage = chunk.usage ?? usage;
      if (chunk.choices.length > 0 && chunk.choices[0].finish_reason === null) {
        heard();
      }
    }
    return { tokens: usage?.completion_tokens, prompt: usage?.prompt_tokens };
  };
  return { complete, used: `${instance.isMultithread()}, ${instance.getNumThreads()}` };
}

/** Texts of some 128 tokens with different beginnings. */
function prompts() {
  const sentence =
    "the keeper of the old lighthouse wrote down what the sea had brought him that night, ";
  const numbers = ["Zero", "One", "Two", "Three", "Four"].slice(0, repetitions + 1);
  return ["Once upon a time", ...numbers.map((number) => `${number}: ${sentence.repeat(7)}`)];
}

const isOurs = given.program === "trefoil";
const server = await serve(isOurs ? given.site : join(given.model, ".."));
const isShared = workers > 1 && given.exchange !== "messages";
serveOwnPage(server, given.package, isShared ? isolation : {});

const browser = await openBrowser();
const page = await browser.context.newPage();
await page.goto(`${server.url}own.html`);
const empty = await rendererBytes(browser.profile);
let peak = 0;

/** Does something while the memory of the page is looked at, which takes time from the page. */
async function whileLooking(action) {
  let looking = true;
  const looks = (async () => {
    while (looking) {
      peak = Math.max(peak, await rendererBytes(browser.profile));
      await new Promise((resolve) => setTimeout(resolve, look));
    }
  })();
  const result = await action();
  looking = false;
  await looks;
  return result;
}

const model = basename(given.model ?? "");
const [first, last, ...timed] = prompts();
const asked = { workers, exchange: given.exchange, prompts: [first], endToken, model };
const { used, firstToken } = await whileLooking(() =>
  page.evaluate(`(${begin})(${isOurs ? trefoil : wllama}, ${JSON.stringify(asked)})`),
);
const answers = await page.evaluate(goOn, { prompts: timed, answerTokens });
await whileLooking(() => page.evaluate(goOn, { prompts: [last], answerTokens }));
await browser.close();
await server.close();

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
for (const { prompt, tokens } of answers) {
  if (!(prompt >= 100 && prompt <= 160) || tokens !== answerTokens) {
    throw new Error(`a prompt of ${prompt} and an answer of ${tokens} tokens`);
  }
}
const result = {
  used,
  prefill_tokens_per_s: median(answers.map(({ prompt, first }) => (prompt / first) * 1000)),
  decode_tokens_per_s: median(
    answers.map(({ tokens, first, last }) => ((tokens - 1) / (last - first)) * 1000),
  ),
  first_token_ms: firstToken,
  memory_bytes: peak - empty,
  model_bytes: given.model ? (await stat(given.model)).size : undefined,
};
console.log(JSON.stringify(result));
