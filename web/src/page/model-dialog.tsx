import type { ModelInfo } from "../api.ts";
import { exchangesHere, has } from "../runtime/features.ts";
import { closeDialog, Dialog } from "./dialogs.tsx";
import { load, manifest, memoryBytes, model, speed } from "./model.ts";
import { bytes, parameters, perSecond } from "./numbers.ts";
import { preferences, setPreference } from "./preferences.ts";

export function ModelDialog() {
  const info = model.value?.info;
  const { engine, workers } = preferences.value;
  const rows: [string, string | undefined][] = [
    ["Model", info?.name],
    ["Architecture", info?.architecture],
    ["Weights", info && parameters(info.parameters)],
    ["Size", info && bytes(info.size)],
    ["License", info?.license],
    ["Context", info && `${info.contextTokens.toLocaleString()} tokens`],
    ["Engine", info?.engine],
    ["Workers", info && workersText(info)],
    ["Memory", memoryBytes.value > 0 ? bytes(memoryBytes.value) : undefined],
    ["Speed", speed.value && perSecond(speed.value)].map((v) => v || undefined) as [string, string],
  ];
  return (
    <Dialog title="Model">
      <dl>
        {rows.map(
          ([name, value]) =>
            value && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ),
        )}
      </dl>
      <fieldset>
        <legend>How it runs</legend>
        <label class="choice">
          <span>Engine</span>
          <select
            value={engine ?? ""}
            onChange={(event) => setPreference("engine", event.currentTarget.value || undefined)}
          >
            <option value="">Fastest</option>
            {manifest.value?.engines.map(({ name, requires }) => (
              <option key={name} value={name} disabled={!requires.every(has)}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="choice">
          <span>Workers</span>
          <select
            value={workers ?? ""}
            onChange={(event) =>
              setPreference("workers", Number(event.currentTarget.value) || undefined)
            }
          >
            <option value="">As measured</option>
            {workerCounts().map((count) => (
              <option key={count} value={count}>
                {count}
              </option>
            ))}
          </select>
        </label>
        <label class="choice">
          <span>Context, in tokens</span>
          <input
            type="number"
            inputMode="numeric"
            min={256}
            step={256}
            placeholder="what fits"
            value={preferences.value.contextTokens ?? ""}
            onInput={(event) =>
              setPreference("contextTokens", event.currentTarget.valueAsNumber || undefined)
            }
          />
        </label>
        {exchangesHere()[0] !== "memory" && (
          <p class="note">
            Several workers are fast with memory that they share. Browsers allow it from the second
            visit on.
          </p>
        )}
      </fieldset>
      <div class="row">
        <button
          type="button"
          onClick={() => {
            closeDialog();
            void load({ fresh: true });
          }}
        >
          Download again
        </button>
        <button
          type="button"
          class="primary"
          onClick={() => {
            closeDialog();
            void load();
          }}
        >
          Load with these
        </button>
      </div>
    </Dialog>
  );
}

function workersText({ workers, exchange }: ModelInfo): string {
  switch (exchange) {
    case "memory":
      return `${workers}, sharing memory`;
    case "messages":
      return `${workers}, exchanging messages`;
    default:
      return `${workers}`;
  }
}

function workerCounts(): number[] {
  const most = exchangesHere().length > 0 ? (navigator.hardwareConcurrency ?? 1) : 1;
  return Array.from({ length: Math.min(most, 16) }, (_, index) => index + 1);
}
