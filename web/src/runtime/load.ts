import type { LoadOptions, ModelInfo } from "../api.ts";
import { TrefoilError, toError } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import { chooseEngine, exchangesHere } from "./features.ts";
import { Instances, type Spawn } from "./instances.ts";
import { type EngineEntry, type Manifest, manifestFile, parseManifest } from "./manifest.ts";
import { Model } from "./model.ts";
import { toSettings } from "./request.ts";
import { chooseWorkers, noteSpeed, type SpeedNotes, speedLabel } from "./speeds.ts";

/** What browsers and Node do differently in the thread that uses a model. */
export interface Host {
  spawn: Spawn;
  /** The address that a user's text means. */
  resolve(source: string): URL;
  fetchText(url: URL): Promise<string>;
  /** Speeds of earlier runs. */
  notes: SpeedNotes;
  /** Processors. */
  cores: number;
  /** Throws where something that everything needs is missing. */
  check(): void;
}

/** Fetches the manifest of a site. */
export async function fetchManifest(
  host: Host,
  source: string | URL,
): Promise<{ base: string; manifest: Manifest }> {
  const url = host.resolve(String(source));
  if (!url.pathname.endsWith(".json")) {
    if (!url.pathname.endsWith("/")) {
      url.pathname += "/";
    }
    url.pathname += manifestFile;
  }
  url.search = "";
  url.hash = "";
  const text = await host.fetchText(url);
  return { base: new URL(".", url).href, manifest: parseManifest(text, url.href) };
}

/** Loads a model. `load` of the package, for either kind of host. */
export async function loadWith(
  host: Host,
  source: string | URL,
  options: LoadOptions = {},
): Promise<Model> {
  options.signal?.throwIfAborted();
  host.check();
  const { base, manifest } = await fetchManifest(host, source);
  const engine = chooseEngine(manifest, options.engine);
  const site: Site = {
    base,
    manifest,
    engine,
    key: `${weightsOf(manifest)?.sha256} ${engine.name}`,
  };
  const { workers } = options;
  const exchange = chooseExchange(options);
  if (workers !== undefined) {
    checkWorkers(workers, exchange);
    return loadSite(host, site, workers, exchange, options);
  }
  for (;;) {
    const tried = chooseWorkers(host.notes, site.key, host.cores, exchange);
    try {
      return await loadSite(host, site, tried, exchange, options);
    } catch (error) {
      if (tried === 1 || !isOfWorkers(error)) {
        throw error;
      }
      // Not every model can be shared by any number of instances, nor does memory always suffice.
      const failed = speedLabel(tried, exchange);
      host.notes.set(site.key, { ...host.notes.get(site.key), [failed]: 0 });
    }
  }
}

/** What is loaded. */
interface Site {
  base: string;
  manifest: Manifest;
  engine: EngineEntry;
  /** What measured speeds are kept under. */
  key: string;
}

async function loadSite(
  host: Host,
  { base, manifest, engine, key }: Site,
  size: number,
  exchange: Exchange | undefined,
  options: LoadOptions,
): Promise<Model> {
  const { signal, onProgress, onNotice, onLost, fresh = false } = options;
  const instances = new Instances(host.spawn, size, exchange);
  const abort = () => instances.close(toError(signal?.reason));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await instances.load(
      { base, manifest, engine, size, folder: options.cacheFolder, fresh },
      {
        downloading: (done, total) => onProgress?.({ stage: "download", done, total }),
        reading: (done, total) => onProgress?.({ stage: "read", done, total }),
        notice: (text) => onNotice?.(text),
      },
    );
    const settings = toSettings(options.settings ?? {});
    const opened = await instances.call("open", options.model, settings);
    const info: ModelInfo = {
      ...opened,
      endOfGeneration: [...opened.endOfGeneration],
      parameters: Number(opened.parameters),
      size: Number(opened.size),
      title: manifest.title,
      system: manifest.system,
      engineName: engine.name,
      license: weightsOf(manifest)?.license ?? "",
      workers: size,
      ...(size > 1 && exchange && { exchange }),
    };
    instances.onLost = (error) => onLost?.(error);
    const label = speedLabel(size, exchange);
    return new Model(instances, info, (speed) => noteSpeed(host.notes, key, label, speed));
  } catch (error) {
    instances.close();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

function weightsOf(manifest: Manifest) {
  return manifest.parts.find((part) => part.role === "weights");
}

/** How several workers would exchange what they compute. */
function chooseExchange({ exchange: asked }: LoadOptions): Exchange | undefined {
  const possible = exchangesHere();
  if (asked !== undefined && !possible.includes(asked)) {
    throw noExchange(`Workers cannot exchange by \`${asked}\` here.`);
  }
  return asked ?? possible[0];
}

function checkWorkers(workers: number, exchange: Exchange | undefined): void {
  if (!(Number.isInteger(workers) && workers >= 1 && workers <= 64)) {
    throw new TrefoilError("invalid-option", `\`workers\` must be from 1 to 64, not ${workers}`);
  }
  if (workers > 1 && exchange === undefined) {
    throw noExchange("Several workers cannot exchange what they compute here.");
  }
}

function noExchange(message: string): TrefoilError {
  return new TrefoilError(
    "missing-feature",
    `${message} The page is not isolated (for \`memory\`), or the browser has no JSPI (for \`messages\`).`,
    "Serve the page with the headers COOP and COEP, open the site's own page a second time, or take one worker.",
  );
}

/** Whether another number of workers may do what this one could not. */
function isOfWorkers(error: unknown): boolean {
  const codes = ["unsupported", "out-of-memory", "worker-lost", "invalid-argument", "other"];
  return error instanceof TrefoilError && codes.includes(error.code);
}
