// A person's visits to the page in Firefox: the first is not isolated, the second is, the third has no
// server.
//
//   node firefox.mjs --site FOLDER
import { check, flags, openFirefox, patience } from "./browser.mjs";
import { serve } from "./static-server.mjs";

const server = await serve(flags().site);
const { url } = server;
const browser = await openFirefox();
const page = await browser.context.newPage();
page.setDefaultTimeout(patience);
const problems = [];
page.on("pageerror", (error) => problems.push(error.message));

/** Loads the page, asks, and waits for the end of the answer. */
async function visit(query) {
  await page.goto(url + query);
  await page.waitForFunction(
    () =>
      document.querySelector(".figures")?.textContent.includes("worker") ||
      document.querySelector(".card.failed"),
  );
  const failure = await page.evaluate(() => document.querySelector(".card.failed")?.innerText);
  check(!failure, `the page is ready ${failure ?? ""}`);
  const before = (await page.$$(".answered .stats")).length;
  await page.type("textarea", "Name three colours.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    (count) => document.querySelectorAll(".answered .stats").length > count,
    {},
    before,
  );
  return page.evaluate(() => ({
    isolated: crossOriginIsolated,
    figures: document.querySelector(".figures").textContent,
    answer: [...document.querySelectorAll(".answered .markdown")].at(-1).textContent,
  }));
}

const first = await visit("?workers=2");
check(!first.isolated && first.answer.length > 0, "a first visit is answered, not isolated");
check(first.figures.includes("2 workers"), "by two workers that exchange messages");
const second = await visit("?workers=2");
check(second.isolated && second.answer.length > 0, "the second visit is isolated");
check(second.figures.includes("2 workers"), "by two workers that share memory");
await server.close();
const third = await visit("");
check(third.answer.length > 0, "without its server the page answers from what it kept");
check(problems.length === 0, `no errors on the page ${problems.join("; ")}`);
await browser.close();
