// A page that embeds the package, as the documentation shows it: a question gets an answer.
//
//   node example.mjs --site FOLDER --package FOLDER --page FILE
import { copyFile, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { check, flags, openBrowser, openPage } from "./browser.mjs";
import { serve } from "./static-server.mjs";

const given = flags();
const root = await mkdtemp(join(tmpdir(), "trefoil-example-"));
await copyFile(given.page, join(root, "index.html"));
await symlink(resolve(given.site), join(root, "site"));
await symlink(resolve(given.package), join(root, "llm"));

const server = await serve(root);
const browser = await openBrowser();
const page = await openPage(browser.context, server.url);
await page.locator("#question").fill("Say hello.");
await page.waitForFunction(() => document.querySelector("#question").onchange);
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelector("#answer").textContent.length > 0);
check(true, "the example of the documentation answers");
const problems = page.problems.filter((text) => !/404/.test(text));
check(problems.length === 0, `no errors on the page ${problems.join("; ")}`);
await browser.close();
await server.close();
await rm(root, { recursive: true });
