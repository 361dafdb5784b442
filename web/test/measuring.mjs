// The number of workers is found by measuring, one number at a load, and kept: in a page that is not
// isolated, whose workers exchange messages.
//
//   node measuring.mjs --site FOLDER --package FOLDER
import { check, flags, openBrowser } from "./browser.mjs";
import { serve, serveOwnPage } from "./static-server.mjs";

const given = flags();
const server = await serve(given.site);
serveOwnPage(server, given.package);
const browser = await openBrowser();
const page = await browser.context.newPage();

/** Loads as a developer's page does, answers, and tells what was used and is kept. */
async function visit() {
  await page.goto(`${server.url}own.html`);
  return page.evaluate(async () => {
    const { load } = await import("/package/browser.js");
    const model = await load("/");
    const answer = model.generate("One, two, three,", { maxTokens: 24, temperature: 0 });
    const { usage } = await answer.result;
    const { workers, exchange } = model.info;
    model.close();
    const key = Object.keys(localStorage).find((name) => name.startsWith("trefoil speed "));
    return {
      tokens: usage.generatedTokens,
      workers,
      exchange,
      speeds: JSON.parse(localStorage[key]),
    };
  });
}

const first = await visit();
check(first.workers === 1 && first.speeds[1] > 0, "the first load measures one worker");
const second = await visit();
check(second.workers === 2 && second.exchange === "messages", "the second one two, by messages");
const speeds = second.speeds;
check(speeds["2 by messages"] > 0, `both speeds are kept (${JSON.stringify(speeds)})`);
const isWorthwhile = speeds["2 by messages"] >= speeds[1] * 1.1;
const third = await visit();
check(
  third.workers === 1 ? !isWorthwhile : isWorthwhile,
  `from then on the faster number computes: ${third.workers}`,
);
await browser.close();
await server.close();
