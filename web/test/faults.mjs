// What goes wrong ends in a message with a way on, and leaves nothing corrupt behind.
//
//   node faults.mjs --site FOLDER [--only NAME,NAME] [--shots FOLDER]
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  check,
  endsWell,
  flags,
  modelReady,
  openBrowser,
  openPage,
  say,
  shortAnswers,
} from "./browser.mjs";
import { serve } from "./static-server.mjs";

const { site, only, shots } = flags();
const manifest = JSON.parse(await readFile(join(site, "trefoil.json"), "utf8"));
const pieces = manifest.parts.flatMap((part) => part.pieces);
const sizes = Object.fromEntries(pieces.map((piece) => [piece.sha256, piece.size]));
const victim = pieces[Math.floor(pieces.length / 2)];

/** Each on a server and a browser of its own. */
const cases = {
  "truncated-piece": async (world) => {
    world.server.faults = onVictim((_request, response, bytes) => {
      response.writeHead(200).end(bytes.subarray(0, bytes.length / 2));
    });
    await failsAndGoesOn(world, /damaged on the server.*instead of/s);
  },

  "wrong-checksum": async (world) => {
    world.server.faults = onVictim((_request, response, bytes) => {
      const wrong = Buffer.from(bytes);
      wrong[wrong.length >> 1] ^= 1;
      response.writeHead(200).end(wrong);
    });
    await failsAndGoesOn(world, /damaged on the server.*checksum/s);
  },

  "missing-piece": async (world) => {
    world.server.faults = onVictim((_request, response) => response.writeHead(404).end());
    await failsAndGoesOn(world, /not on the server/);
  },

  "broken-engine": async (world) => {
    world.server.faults = (path) =>
      path.endsWith("engine.core.wasm")
        ? (_, response) => response.writeHead(200).end("no module")
        : undefined;
    await failsAndGoesOn(world, /engine\.core\.wasm is damaged/);
  },

  "broken-engine-program": async (world) => {
    world.server.faults = (path) =>
      path.endsWith("engine.js")
        ? (_, response) =>
            response.writeHead(200, { "content-type": "text/javascript" }).end("export const a = (")
        : undefined;
    await failsAndGoesOn(world, /program cannot be loaded/);
  },

  "passing-trouble": async (world) => {
    let failures = 0;
    world.server.faults = (path) => {
      if (isVictim(path) && failures < 2) {
        failures += 1;
        return (_, response) =>
          failures === 1 ? response.writeHead(503).end() : response.destroy();
      }
    };
    const page = await openPage(world.context, world.server.url);
    await modelReady(page);
    check(failures === 2, "an error that passes and a cut connection are tried again");
  },

  "closed-during-download": async (world) => {
    // The victim never comes, so that there is time to close the tab.
    world.server.faults = onVictim(() => {});
    const page = await openPage(world.context, world.server.url);
    const storedPieces = () =>
      page.evaluate(async (sizes) => {
        try {
          const root = await navigator.storage.getDirectory();
          const own = await root.getDirectoryHandle("trefoil");
          const weights = await own.getDirectoryHandle("weights");
          let count = 0;
          for await (const [name, handle] of weights.entries()) {
            count += (await handle.getFile()).size === sizes[name] ? 1 : 0;
          }
          return count;
        } catch {
          return 0;
        }
      }, sizes);
    while ((await storedPieces()) < pieces.length - 1) {
      await page.waitForTimeout(200);
    }
    await page.close();
    world.server.faults = () => undefined;
    world.server.requests.length = 0;
    const again = await openPage(world.context, world.server.url);
    await modelReady(again);
    const asked = world.server.requests.filter((path) => path.includes("/weights/"));
    check(
      asked.length === 1 && isVictim(asked[0]),
      `a download that was interrupted goes on with what is missing (${asked})`,
    );
  },

  "storage-full": async (world) => {
    const page = await world.context.newPage();
    const devtools = await world.context.newCDPSession(page);
    await devtools.send("Storage.overrideQuotaForOrigin", {
      origin: new URL(world.server.url).origin,
      quotaSize: pieces[0].size + (4 << 20),
    });
    await page.goto(world.server.url);
    await modelReady(page);
    await page.locator(".card", { hasText: "storage for this page is full" }).waitFor();
    await shot(page, "storage-full");
    check(true, "a full storage is said, and the model runs from memory");
    await say(page, "Hello");
    check(await endsWell(page), "it answers");
    await nothingCorrupt(page);
  },

  "worker-killed": async (world) => {
    await keepWorkers(world.context);
    const page = await openPage(world.context, world.server.url);
    await modelReady(page);
    await say(page, "Tell me a long story about the sea.");
    await page.locator(".answered").waitFor();
    await page.evaluate(() => globalThis.madeWorkers.at(-1).terminate());
    await page.locator(".card.failed", { hasText: /The worker of the model ended/ }).waitFor();
    await shot(page, "worker-killed");
    check(true, "a killed worker is noticed");
    await page.getByRole("button", { name: "Load the model again" }).click();
    await modelReady(page);
    await setShort(page);
    await page.getByRole("button", { name: "Answer again" }).click();
    check(await endsWell(page), "after loading again, it answers");
  },

  // The first visit is not isolated: workers exchange messages.
  "one-of-two-workers-killed": async (world) => {
    await losesOneOfTwo(world, "messages");
  },

  "one-of-two-workers-killed-sharing-memory": async (world) => {
    const page = await openPage(world.context, world.server.url);
    await modelReady(page);
    await page.close();
    await losesOneOfTwo(world, "sharing memory");
  },

  "out-of-memory": async (world) => {
    await runsOutOfMemory(world, "");
  },

  "out-of-memory-of-two-workers": async (world) => {
    await runsOutOfMemory(world, "?workers=2");
  },

  "missing-feature": async (world) => {
    await world.context.addInitScript(() => {
      WebAssembly.validate = () => false;
    });
    const page = await openPage(world.context, world.server.url);
    await page.locator(".card.failed", { hasText: /lacks WebAssembly's/ }).waitFor();
    await shot(page, "missing-feature");
    const text = await page.locator(".card.failed").innerText();
    check(/Firefox \d+/.test(text), `it says who has the feature: ${text.replace(/\n/g, " ")}`);
  },

  "no-encryption": async (world) => {
    const url = new URL(world.server.url);
    url.hostname = "insecure.test";
    const page = await openPage(world.context, url.href);
    await page.locator(".card.failed", { hasText: /encrypted connection/ }).waitFor();
    check(true, "without encryption the page says what to do");
  },

  "manifest-of-another-form": async (world) => {
    const engines = manifest.engines.map(({ suspending: _, ...engine }) => engine);
    world.server.faults = (path) =>
      path === "/trefoil.json"
        ? (_, response) => response.end(JSON.stringify({ ...manifest, engines }))
        : undefined;
    const page = await openPage(world.context, world.server.url);
    await page.locator(".card.failed", { hasText: /names no modules/ }).waitFor();
    check(true, "a manifest that lacks what the page relies on is refused");
  },

  "no-manifest": async (world) => {
    world.server.faults = (path) =>
      path === "/trefoil.json" ? (_, response) => response.writeHead(404).end() : undefined;
    const page = await openPage(world.context, world.server.url);
    await page.locator(".card.failed", { hasText: /answered 404/ }).waitFor();
    world.server.faults = () => undefined;
    await page.getByRole("button", { name: "Try again" }).click();
    await modelReady(page);
    check(true, "a manifest that was missing is found later");
  },
};

const browserOptions = {
  "out-of-memory": { flags: ["--js-flags=--wasm-max-mem-pages=1200"] },
  "out-of-memory-of-two-workers": { flags: ["--js-flags=--wasm-max-mem-pages=600"] },
  "no-encryption": { flags: ["--host-resolver-rules=MAP insecure.test 127.0.0.1"] },
};

for (const [name, run] of Object.entries(cases)) {
  if (only && !only.split(",").includes(name)) {
    continue;
  }
  console.log(`# ${name}`);
  const server = await serve(site);
  const browser = await openBrowser({}, browserOptions[name]?.flags);
  if (!name.includes("killed")) {
    await shortAnswers(browser.context);
  }
  await run({ server, context: browser.context, name });
  await browser.close();
  await server.close();
}

function isVictim(path) {
  return path === `/${victim.file}`;
}

/** A fault of the piece in the middle of the download. */
function onVictim(answer) {
  return (path) =>
    isVictim(path)
      ? async (request, response) => answer(request, response, await readFile(join(site, path)))
      : undefined;
}

/** The page says what is wrong; once the server is well again, a click helps. */
async function failsAndGoesOn({ server, context, name }, message) {
  const page = await openPage(context, server.url);
  const card = page.locator(".card.failed");
  await card.waitFor();
  const text = await card.innerText();
  check(message.test(text), `${name}: ${text.replace(/\n/g, " ")}`);
  await shot(page, name);
  await nothingCorrupt(page);
  server.faults = () => undefined;
  await page.getByRole("button", { name: "Try again" }).click();
  await modelReady(page);
  await say(page, "Hello");
  check(await endsWell(page), `${name}: once the server is well, it answers`);
}

async function runsOutOfMemory({ server, context, name }, query) {
  const page = await openPage(context, server.url + query);
  await page.locator(".card.failed", { hasText: /[Mm]emory does not suffice/ }).waitFor();
  await shot(page, name);
  const text = await page.locator(".card.failed").innerText();
  check(/smaller/.test(text), `what to do about memory is said: ${text.replace(/\n/g, " ")}`);
  check(page.problems.length === 0, `nothing else is reported ${page.problems}`);
  await nothingCorrupt(page);
}

/** One of two workers ends without a word. */
async function losesOneOfTwo({ server, context }, exchange) {
  await keepWorkers(context);
  const page = await openPage(context, `${server.url}?workers=2`);
  await page.locator(".figures", { hasText: "2 workers" }).waitFor();
  await page.getByRole("button", { name: "Model", exact: true }).click();
  await page.locator("dialog", { hasText: exchange }).waitFor();
  await page.keyboard.press("Escape");
  await say(page, "Tell me a long story about the sea.");
  await page.locator(".answered").waitFor();
  await page.evaluate(() => globalThis.madeWorkers.at(-1).terminate());
  await page.locator(".card.failed", { hasText: /Worker 1 of 2 of the model ended/ }).waitFor();
  check(true, "the loss of one of two workers ends the answer with an error that names it");
  await page.getByRole("button", { name: "Load the model again" }).click();
  await page.locator(".figures", { hasText: "2 workers" }).waitFor();
  await setShort(page);
  await say(page, "Hello");
  check(await endsWell(page), "after loading again, it answers");
}

/** All that is stored has the size and the checksum of its name. */
async function nothingCorrupt(page) {
  const wrong = await page.evaluate(
    async (sizes) => {
      const root = await navigator.storage.getDirectory();
      const own = await root.getDirectoryHandle("trefoil");
      const weights = await own.getDirectoryHandle("weights");
      const bad = [];
      for await (const [name, handle] of weights.entries()) {
        const bytes = await (await handle.getFile()).arrayBuffer();
        // Being written, perhaps given up: what is written shows when all of it is there. By its
        // size the page takes it for missing.
        if (bytes.byteLength === 0) {
          continue;
        }
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
        if (hex !== name || sizes[name] !== bytes.byteLength) {
          bad.push(`${name} (${bytes.byteLength} bytes)`);
        }
      }
      return bad;
    },
    Object.fromEntries(pieces.map((piece) => [piece.sha256, piece.size])),
  );
  check(wrong.length === 0, `nothing that is stored is corrupt ${wrong}`);
}

/** Remembers the workers that the page makes, so that a test can end one silently. */
async function keepWorkers(context) {
  await context.addInitScript(() => {
    const made = [];
    globalThis.madeWorkers = made;
    globalThis.Worker = class extends Worker {
      constructor(...given) {
        super(...given);
        made.push(this);
      }
    };
  });
}

async function setShort(page) {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Longest answer").fill("16");
  await page.keyboard.press("Escape");
}

function shot(page, name) {
  return shots && page.screenshot({ path: join(shots, `fault-${name}.png`) });
}
