// Greedy tokens of the engine `cpu` equal the ones that are given: bit-reproducible everywhere.
//
//   node greedy.mjs --site FOLDER --package FOLDER --prompt TEXT --tokens 1,2,3 \
//     --where node|chromium|firefox [--workers N] [--exchange memory|messages] [--engine NAME]
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { check, flags, openBrowser, openFirefox } from "./browser.mjs";
import { isolation, serve, serveOwnPage } from "./static-server.mjs";

const given = flags();
const expected = given.tokens.split(",").map(Number);
const question = {
  engine: given.engine ?? "cpu",
  workers: Number(given.workers ?? 1),
  exchange: given.exchange,
  prompt: given.prompt,
  count: expected.length,
};

/** Runs in Node or in a page; `load` is the package's. */
async function tokensOf(load, source, { engine, workers, exchange, prompt, count }) {
  const model = await load(source, { engine, workers, exchange });
  const answer = model.chat([{ role: "user", content: prompt }], {
    maxTokens: count,
    temperature: 0,
  });
  const { tokens, text, timing } = await answer.result;
  const again = await model.detokenize(tokens);
  model.close();
  return { tokens, text, again, timing, ...model.info };
}

const found = given.where === "node" ? await inNode() : await inBrowser();
console.log(JSON.stringify(found));
check(found.tokens.join() === expected.join(), `${given.where}: the tokens are the expected ones`);
check(found.again === found.text, "the tokens make the text");
check(found.workers === question.workers, `${question.workers} workers computed them`);
check(found.exchange === question.exchange, `exchanging by ${found.exchange ?? "nothing"}`);

async function inNode() {
  const { load } = await import(pathToFileURL(join(given.package, "node.js")).href);
  return tokensOf(load, given.site, question);
}

/** Uses the package in a page of its own, as a developer's page does. */
async function inBrowser() {
  const server = await serve(given.site);
  serveOwnPage(server, given.package, question.exchange === "memory" ? isolation : {});
  const browser = await (given.where === "firefox" ? openFirefox() : openBrowser());
  const page = await browser.context.newPage();
  await page.goto(`${server.url}own.html`);
  const asked = JSON.stringify(question);
  const result = await page.evaluate(
    `import("/package/browser.js").then(({ load }) => (${tokensOf})(load, "/", ${asked}))`,
  );
  await browser.close();
  await server.close();
  return result;
}
