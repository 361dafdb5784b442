// What the official client gets from a server: openai_client.mjs PACKAGES URL MODEL. Prints one
// JSON object. PACKAGES is the folder whose node_modules has the client.
import { createRequire } from "node:module";

const [packages, url, model] = process.argv.slice(2);
const OpenAI = createRequire(`${packages}/`)("openai").default;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "secret", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const wishes = { model, messages, temperature: 0, max_tokens: 8 };

const whole = await client.chat.completions.create(wishes);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...wishes, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const refused = await client.chat.completions
  .create({ ...wishes, model: "other" })
  .then(() => null, (error) => [error.constructor.name, error.code]);
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, stream: streamed, no_model: refused,
}));
