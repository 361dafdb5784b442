// What applications do with the official client: round_trips.mjs PACKAGES URL MODEL. Prints one
// JSON object. PACKAGES is the folder whose node_modules has the client.
import { createRequire } from "node:module";

const [packages, url, model] = process.argv.slice(2);
const OpenAI = createRequire(`${packages}/`)("openai").default;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "secret", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const wishes = { model, messages, temperature: 0, max_tokens: 64 };
const object = (properties) => ({
  type: "object", properties, required: Object.keys(properties), additionalProperties: false,
});

// The client runs the tool itself and sends the result back.
let asked = null;
const parameters = object({ city: { enum: ["Paris", "Rome"] } });
const tools = [{ type: "function", function: {
  name: "get_weather", parameters, parse: JSON.parse,
  function: (argument) => { asked = argument; return "21 degrees"; },
} }];
const runner = client.chat.completions.runTools({
  ...wishes, tools, tool_choice: { type: "function", function: { name: "get_weather" } },
}, { maxChatCompletions: 1 });
await runner.done();

const schema = object({ doors: { type: "integer", minimum: 2, maximum: 5 } });
const response_format = { type: "json_schema", json_schema: { name: "car", schema, strict: true } };
let text = "";
const stream = client.chat.completions.stream({ ...wishes, response_format });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";

const scored = await client.chat.completions.create({
  ...wishes, max_tokens: 4, logprobs: true, top_logprobs: 1,
});
const vectors = await client.embeddings.create({ model, input: ["one", "two"] });

// An answer that nobody wants to the end.
const long = await client.chat.completions.create({
  ...wishes, max_tokens: 4000, temperature: 1.5, stream: true,
});
for await (const _ of long) break;

console.log(JSON.stringify({
  city: parameters.properties.city.enum.includes(asked?.city),
  doors: [2, 3, 4, 5].includes(JSON.parse(text).doors),
  tokens: scored.choices[0].logprobs.content.length,
  vectors: vectors.data.length,
}));
