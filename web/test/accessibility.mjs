// Every state of the page, looked at by axe-core: nothing serious, in light and dark, wide and narrow.
//
//   node accessibility.mjs --site FOLDER [--shots FOLDER]
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import {
  check,
  flags,
  lastAnswer,
  modelReady,
  openBrowser,
  openPage,
  say,
  shortAnswers,
} from "./browser.mjs";
import { serve } from "./static-server.mjs";

const { site, shots } = flags();
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const wide = { width: 1180, height: 800 };
const phone = { width: 390, height: 844 };

const server = await serve(site);
const browser = await openBrowser({ bypassCSP: true });
const { context } = browser;
await shortAnswers(context, 40);

const page = await openPage(context, server.url);
await page.locator(".loading").waitFor();
await examine("loading", ["light"]);
await modelReady(page);
await examine("ready");
await say(page, "Write two sentences about the sea.");
await page.locator(".answered .markdown").waitFor();
await examine("answering", ["light"]);
await lastAnswer(page);
await keepConversation();
await page.reload();
await modelReady(page);
await page.getByRole("button", { name: "A long answer", exact: true }).click();
await page.locator(".code").first().waitFor();
await page.locator("main").evaluate((main) => main.scrollTo(0, 0));
await examine("conversation");
await page.locator("main").evaluate((main) => main.scrollTo(0, main.scrollHeight));
await examine("conversation-end", ["light"]);

await page.getByRole("button", { name: "Settings" }).click();
await examine("settings");
await page.keyboard.press("Escape");
await page.getByRole("button", { name: "Model", exact: true }).click();
await examine("model");
await page.keyboard.press("Escape");

await page.setViewportSize(phone);
await examine("phone-conversation");
const overflow = await page.evaluate(
  () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
);
check(!overflow, "on a phone nothing is wider than the screen");
await page.getByRole("button", { name: "Conversations" }).click();
await page.waitForTimeout(300);
await examine("phone-conversations");
await page.keyboard.press("Escape");
await page.getByRole("button", { name: "Settings" }).click();
await examine("phone-settings", ["light"]);
await page.keyboard.press("Escape");

// A failure, while the conversation stays readable.
await page.setViewportSize(wide);
server.faults = (path) =>
  path.startsWith("/weights/") ? (_, response) => response.writeHead(404).end() : undefined;
await page.getByRole("button", { name: "Model", exact: true }).click();
await page.getByRole("button", { name: "Download again" }).click();
await page.locator(".card.failed").waitFor();
await examine("failed");
await page.setViewportSize(phone);
await examine("phone-failed");

// The keyboard alone: from the top to the message field and to the settings.
await page.setViewportSize(wide);
server.faults = () => undefined;
await page.getByRole("button", { name: "Try again" }).click();
await modelReady(page);
await page.evaluate(() => document.activeElement?.blur());
const reached = new Set();
for (let press = 0; press < 40; press++) {
  await page.keyboard.press("Tab");
  reached.add(
    await page.evaluate(
      () =>
        document.activeElement?.getAttribute("aria-label") ??
        document.activeElement?.textContent?.slice(0, 40),
    ),
  );
}
for (const name of ["Skip to the message field", "New chat", "Settings", "Message"]) {
  check(reached.has(name), `the Tab key reaches “${name}”`);
}
await browser.close();
await server.close();

/** Runs axe on the page as it is, and takes its picture. */
async function examine(state, schemes = ["light", "dark"]) {
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      globalThis.axe.run(document, { resultTypes: ["violations"] }),
    );
    const found = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    for (const { id, help, nodes } of violations) {
      console.log(`  ${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
    }
    if (shots) {
      await page.screenshot({ path: join(shots, `state-${state}-${colorScheme}.png`) });
    }
    check(found.length === 0, `${state}, ${colorScheme}: axe finds nothing serious`);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

/** Puts a conversation with all that Markdown has into the browser's storage. */
async function keepConversation() {
  const text = [
    "## A heading",
    "Some *emphasis*, some **strong** words, `code` inside, a [link](https://example.org) and",
    "<b>HTML that stays text</b>, &amp; an entity.",
    "",
    "1. First\n2. Second\n   - nested\n   - list",
    "",
    "- [x] done\n- [ ] to do",
    "",
    "| Name | Size |\n|---|---:|\n| SmolLM2 | 98 MB |\n| Gemma 3 | 253 MB |",
    "",
    "> A quotation.",
    "",
    '```rust\n// Adds two numbers.\nfn add(left: u32, right: u32) -> u32 {\n    let text = "sum";\n    println!("{text}: {}", left + right);\n    left + right // the result of a rather long line that has to scroll somewhere\n}\n```',
    "",
    "The end.",
  ].join("\n");
  const stats = { tokens: 214, tokensPerSecond: 87.3, firstSeconds: 0.42, reason: "stop" };
  const conversation = {
    id: "example",
    title: "A long answer",
    changed: Date.now(),
    turns: [
      { role: "user", text: "Show me what you can write." },
      { role: "assistant", text, reasoning: "The user wants to see everything.", stats },
      { role: "user", text: "And what happens\nwhen something fails?" },
      {
        role: "assistant",
        text: "This is how far it",
        error: { message: "The worker of the model ended.", hint: "Load the model again." },
      },
    ],
  };
  await page.evaluate(
    (value) =>
      new Promise((resolve, reject) => {
        const request = indexedDB.open(`trefoil ${new URL(".", location.href).pathname}`);
        request.onerror = reject;
        request.onsuccess = () => {
          const write = request.result.transaction("conversations", "readwrite");
          write.objectStore("conversations").put(value);
          write.oncomplete = () => {
            request.result.close();
            resolve();
          };
        };
      }),
    conversation,
  );
}
