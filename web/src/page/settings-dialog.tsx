import { Dialog } from "./dialogs.tsx";
import { manifest } from "./model.ts";
import { type Preferences, preferences, resetSampling, setPreference } from "./preferences.ts";

export function SettingsDialog() {
  const { theme, system } = preferences.value;
  return (
    <Dialog title="Settings">
      <label class="field">
        <span>System message</span>
        <textarea
          rows={3}
          placeholder="How the model should behave"
          value={system ?? manifest.value?.system ?? ""}
          onInput={(event) => setPreference("system", event.currentTarget.value)}
        />
      </label>
      <fieldset>
        <legend>Answers</legend>
        <NumberField
          name="temperature"
          label="Temperature"
          hint="0 is always the likeliest"
          standard="0.8"
          max={10}
          step={0.1}
        />
        <NumberField
          name="topP"
          label="Top-p"
          hint="of the probability together"
          standard="0.95"
          max={1}
          step={0.01}
        />
        <NumberField
          name="topK"
          label="Top-k"
          hint="likeliest tokens; 0 is all"
          standard="40"
          max={1000}
          step={1}
        />
        <NumberField
          name="minP"
          label="Min-p"
          hint="share of the likeliest"
          standard="0.05"
          max={1}
          step={0.01}
        />
        <NumberField
          name="repetitionPenalty"
          label="Repetition penalty"
          hint="1 does nothing"
          standard="1"
          min={0.01}
          max={10}
          step={0.05}
        />
        <NumberField
          name="maxTokens"
          label="Longest answer"
          hint="tokens"
          standard="no limit"
          min={1}
          max={1_000_000}
          step={1}
        />
        <NumberField
          name="seed"
          label="Seed"
          hint="the same gives the same answer"
          standard="random"
          max={4294967295}
          step={1}
        />
      </fieldset>
      <fieldset class="choices">
        <legend>Appearance</legend>
        {(["system", "light", "dark"] as const).map((name) => (
          <label key={name}>
            <input
              type="radio"
              name="theme"
              checked={theme === name}
              onChange={() => setPreference("theme", name)}
            />
            <span>{name === "system" ? "As the device" : name === "light" ? "Light" : "Dark"}</span>
          </label>
        ))}
      </fieldset>
      <div class="row">
        <button type="button" onClick={resetSampling}>
          Reset
        </button>
      </div>
    </Dialog>
  );
}

type NumberKey = {
  [K in keyof Preferences]: Preferences[K] extends number | undefined ? K : never;
}[keyof Preferences];

interface NumberFieldProps {
  name: NumberKey;
  label: string;
  hint: string;
  /** What the engine takes where nothing is set. */
  standard: string;
  min?: number;
  max: number;
  step: number;
}

function NumberField({ name, label, hint, standard, min = 0, max, step }: NumberFieldProps) {
  const id = `setting-${name}`;
  return (
    <div class="number">
      <label for={id}>{label}</label>
      <small id={`${id}-hint`}>{hint}</small>
      <input
        id={id}
        type="number"
        inputMode="decimal"
        aria-describedby={`${id}-hint`}
        min={min}
        max={max}
        step={step}
        placeholder={standard}
        value={preferences.value[name] ?? ""}
        onInput={(event) => {
          const { value, valueAsNumber } = event.currentTarget;
          if (value === "") {
            setPreference(name, undefined);
          } else if (valueAsNumber >= min && valueAsNumber <= max) {
            setPreference(name, valueAsNumber);
          }
        }}
      />
    </div>
  );
}
