// What the browser tests share.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** Time for a model to load, in milliseconds: machines that test are busy. */
export const patience = 180_000;

const executable = process.env.TREFOIL_CHROMIUM ?? "/usr/bin/chromium";

/**
 * Starts Chromium with a profile of its own, so that storage lasts from page to page as it does for
 * a person.
 */
export async function openBrowser(options = {}, flags = []) {
  const profile = await mkdtemp(join(tmpdir(), "trefoil-web-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: executable,
    headless: true,
    timeout: 120_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", ...flags],
    viewport: { width: 1180, height: 800 },
    ...options,
  });
  context.setDefaultTimeout(patience);
  return {
    context,
    profile,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** Starts Firefox, whose pages load and evaluate as Chromium's do. */
export async function openFirefox() {
  const { default: puppeteer } = await import("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.TREFOIL_FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    protocolTimeout: patience,
  });
  return { context: browser, close: () => browser.close() };
}

/** Opens a page, whose errors and broken promises fail the test at the end. */
export async function openPage(context, url) {
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || process.env.TREFOIL_VERBOSE) {
      (message.type() === "error" ? page.problems : []).push(message.text());
      if (process.env.TREFOIL_VERBOSE) {
        console.log(`[page] ${message.text()}`);
      }
    }
  });
  await page.goto(url);
  return page;
}

/** Answers that are short and always the same, as if a person had set so. */
export async function shortAnswers(context, tokens = 24) {
  await context.addInitScript(
    (settings) => {
      localStorage[`trefoil ${new URL(".", location.href).pathname}`] ??= settings;
    },
    JSON.stringify({ temperature: 0, maxTokens: tokens }),
  );
}

/** Waits until the model is loaded. */
export async function modelReady(page) {
  await page.locator(".figures", { hasText: "worker" }).waitFor();
}

/** Sends a message as a person does. */
export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

/** The last answer, once it has ended. */
export async function lastAnswer(page) {
  await page.locator(".answered").last().locator(".actions").waitFor();
  return page.locator(".answered").last().locator(".markdown").innerText();
}

/** Whether the last answer ended well, whatever it says: small models write noise. */
export async function endsWell(page) {
  const last = page.locator(".answered").last();
  await last.locator(".actions").waitFor();
  return (
    (await last.locator(".broken").count()) === 0 && (await last.locator(".stats").count()) > 0
  );
}

let checks = 0;

/** Fails unless `holds`, and says what was checked. */
export function check(holds, what) {
  if (!holds) {
    console.error(`FAILED: ${what}`);
    process.exit(1);
  }
  checks += 1;
  console.log(`ok ${checks}: ${what}`);
}

/** Arguments `--name value` as an object. */
export function flags() {
  const given = process.argv.slice(2);
  const found = {};
  for (let at = 0; at < given.length; at += 2) {
    if (!given[at].startsWith("--") || given[at + 1] === undefined) {
      throw new Error(`expected --name value, not ${given.slice(at).join(" ")}`);
    }
    found[given[at].slice(2)] = given[at + 1];
  }
  return found;
}
