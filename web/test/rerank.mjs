// Documents are ranked as expected, by one worker and by two.
//
//   node rerank.mjs --site FOLDER --package FOLDER --query TEXT --documents JSON --expected JSON
import { deepStrictEqual } from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { check, flags } from "./browser.mjs";

const { site, package: folder, query, documents, expected } = flags();
const { load } = await import(pathToFileURL(join(folder, "node.js")).href);
for (const workers of [1, 2]) {
  const model = await load(site, { engine: "cpu", workers });
  const ranked = await model.rerank(query, JSON.parse(documents));
  deepStrictEqual(ranked, JSON.parse(expected));
  check(ranked.length > 1, `${ranked.length} documents are ranked as expected, ${workers} workers`);
  model.close();
}
