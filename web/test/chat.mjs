// A person's first and second visit, on a plain static server: a streamed answer, stopped; then the
// page again without a network.
//
//   node chat.mjs --site FOLDER [--shots FOLDER]
import { join } from "node:path";
import { check, flags, lastAnswer, modelReady, openBrowser, openPage, say } from "./browser.mjs";
import { serve } from "./static-server.mjs";

const { site, shots } = flags();
const server = await serve(site);
const browser = await openBrowser();
const shot = (page, name) => shots && page.screenshot({ path: join(shots, `chat-${name}.png`) });

const page = await openPage(browser.context, server.url);
await page.getByLabel("Message", { exact: true }).waitFor();
await shot(page, "first-visit");
await modelReady(page);
check(!(await page.evaluate(() => crossOriginIsolated)), "the first visit is not isolated");

// Streaming, and stopping.
await say(page, "Tell me a long story about a lighthouse keeper and a storm.");
const answer = page.locator(".answered").last();
const lengths = new Set();
for (let look = 0; look < 400 && lengths.size < 6; look++) {
  lengths.add((await answer.innerText()).length);
  await page.waitForTimeout(25);
}
check(lengths.size >= 6, "the answer grows while it is written");
const frames = await page.evaluate(
  () =>
    new Promise((resolve) => {
      let count = 0;
      const begun = performance.now();
      const frame = () => {
        count += 1;
        performance.now() - begun < 500 ? requestAnimationFrame(frame) : resolve(count);
      };
      requestAnimationFrame(frame);
    }),
);
check(frames >= 5, `the page stays alive meanwhile (${frames} frames in half a second)`);
await shot(page, "streaming");
await page.getByRole("button", { name: "Stop" }).click();
const stopped = await lastAnswer(page);
check(stopped.length > 0, "what came before the stop stays");
await answer.locator(".stats", { hasText: "stopped" }).waitFor();
await page.waitForTimeout(500);
check((await lastAnswer(page)) === stopped, "nothing comes after the stop");
check(/tokens\/s/.test(await page.locator(".figures").innerText()), "the speed is shown");
check(/MB memory/.test(await page.locator(".figures").innerText()), "the memory is shown");

// Settings, by keyboard.
await page.getByRole("button", { name: "Settings" }).focus();
await page.keyboard.press("Enter");
await page.getByLabel("Longest answer").fill("24");
await page.getByLabel("Temperature").fill("0");
await shot(page, "settings");
await page.keyboard.press("Escape");
await page.locator("dialog").waitFor({ state: "detached" });
check(true, "settings are made, and Escape closes them");

// The second message knows the first one; Shift+Enter breaks a line.
const field = page.getByLabel("Message", { exact: true });
await field.fill("Say the word yes.");
await page.keyboard.press("Shift+Enter");
await page.keyboard.type("Nothing else.");
check((await field.inputValue()).includes("\n"), "Shift+Enter breaks a line");
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelectorAll(".answered").length === 2);
await lastAnswer(page);
const stats = await page.locator(".answered").last().locator(".stats").innerText();
check(
  /(^|\D)([1-9]|1\d|2[0-4]) tokens/.test(stats),
  `the answer is no longer than was set (${stats})`,
);
await shot(page, "second-answer");

// The network is gone.
const before = server.requests.length;
await browser.context.setOffline(true);
await server.close();
await page.reload();
await modelReady(page);
check(server.requests.length === before, "without a network the page loads from what it kept");
check(await page.evaluate(() => crossOriginIsolated), "the second visit is isolated");
await page
  .getByRole("button", { name: /lighthouse/ })
  .first()
  .click();
check((await page.locator(".answered").count()) === 2, "the conversation was kept");
await say(page, "And what is your name?");
await page.waitForFunction(() => document.querySelectorAll(".answered").length === 3);
check((await lastAnswer(page)).length > 0, "it answers without a network");
await shot(page, "offline");

// What the browser reports when a check for updates fails is no fault of the page.
const problems = page.problems.filter((text) => !/ERR_INTERNET_DISCONNECTED/.test(text));
check(problems.length === 0, `no errors on the page ${problems.join("; ")}`);
await browser.close();
