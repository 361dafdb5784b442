// The package's calls, in Node.
//
//   node package.mjs --site FOLDER --package FOLDER
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { check, flags } from "./browser.mjs";

const given = flags();
const { load, openai, TrefoilError } = await import(
  pathToFileURL(join(given.package, "node.js")).href
);
const stages = new Set();
const model = await load(given.site, {
  engine: "cpu",
  workers: 1,
  settings: { "context-tokens": 512 },
  onProgress: ({ stage, done, total }) => stages.add(`${stage} ${done <= total}`),
});
check(model.info.contextTokens === 512, "settings reach the engine");
check(stages.has("read true"), "progress is told");

const text = "Grüße, 世界!";
const tokens = await model.tokenize(text);
check((await model.detokenize(tokens)) === text, "tokens make the text again");

const greedy = { temperature: 0, maxTokens: 12 };
const ask = (content, more) => model.chat([{ role: "user", content }], { ...greedy, ...more });
const parts = [];
const answer = ask("Name a colour.");
for await (const part of answer) {
  parts.push(part.text);
}
const { text: whole, usage, timing, reason } = await answer.result;
check(parts.join("") === whole && whole.length > 0, "the parts make the answer");
check(usage.generatedTokens > 0 && timing.promptSeconds > 0, `usage and timing (${reason})`);

const [one, two] = await Promise.all([ask("Name a colour.").text(), ask("Name a fruit.").text()]);
check(one === whole && two !== one, "answers at the same time do not change one another");

const many = await Promise.all(Array.from({ length: 7 }, () => ask("Name a colour.").text()));
check(
  many.every((other) => other === whole),
  "more answers than places wait for their turn",
);

const controller = new AbortController();
let aborted;
try {
  for await (const _ of ask("Count.", { maxTokens: 400, signal: controller.signal })) {
    controller.abort(new Error("enough"));
  }
} catch (error) {
  aborted = error;
}
check(aborted?.message === "enough", "an aborted signal ends the answer with its reason");
for await (const _ of ask("Count.", { maxTokens: 400 })) {
  break;
}
check((await ask("Name a colour.").text()) === whole, "the model goes on after both");

const schema = { type: "object", properties: { colour: { enum: ["red", "blue"] } } };
const json = await ask("A colour, as JSON.", {
  maxTokens: 40,
  format: { jsonSchema: { ...schema, required: ["colour"], additionalProperties: false } },
}).text();
check(["red", "blue"].includes(JSON.parse(json).colour), `a JSON schema is kept (${json})`);

const likely = await ask("Name a colour.", { logProbabilities: 2 }).result;
check(likely.logProbabilities.length === likely.tokens.length, "log probabilities of all tokens");

const wrong = await ask("Hello", { settings: { temprature: 1 } }).result.catch((error) => error);
check(
  wrong instanceof TrefoilError && wrong.code === "invalid-setting",
  `an unknown setting is refused: ${wrong.message}`,
);

const client = openai(model);
const request = { messages: [{ role: "user", content: "Name a colour." }], max_tokens: 12 };
const completion = await client.chat.completions.create({ ...request, temperature: 0, seed: null });
check(completion.choices[0].message.content === whole, "OpenAI's form gives the same answer");
let streamed = "";
let last;
const options = { stream: true, stream_options: { include_usage: true } };
const stream = await client.chat.completions.create({ ...request, ...options, temperature: 0 });
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta.content ?? "";
  last = chunk;
}
check(streamed === whole && last.usage.completion_tokens > 0, "and streams it, with usage");

model.close();
const closed = await ask("Hello").result.catch((error) => error);
check(closed.code === "closed", "a closed model says so");
const nowhere = await load(join(given.site, "nowhere")).catch((error) => error);
check(nowhere.code === "missing-file", `a folder that is none: ${nowhere.message}`);
