// What the user chose, kept in this browser for this site.
import { effect, signal } from "@preact/signals";

export interface Preferences {
  theme: "system" | "light" | "dark";
  /** System message; the site's own one where this is undefined. */
  system: string | undefined;
  temperature: number | undefined;
  topP: number | undefined;
  topK: number | undefined;
  minP: number | undefined;
  repetitionPenalty: number | undefined;
  maxTokens: number | undefined;
  seed: number | undefined;
  /** Name of an engine, or undefined for the best. */
  engine: string | undefined;
  /** Number of workers, or undefined for the fastest. */
  workers: number | undefined;
  /** Context in tokens, or undefined for what the engine chooses. */
  contextTokens: number | undefined;
}

const initial: Preferences = {
  theme: "system",
  system: undefined,
  temperature: undefined,
  topP: undefined,
  topK: undefined,
  minP: undefined,
  repetitionPenalty: undefined,
  maxTokens: undefined,
  seed: undefined,
  engine: undefined,
  workers: undefined,
  contextTokens: undefined,
};

/** Sites below one origin do not share what is kept. */
export const siteKey = `trefoil ${new URL(".", location.href).pathname}`;

export const preferences = signal<Preferences>(read());

export function setPreference<K extends keyof Preferences>(key: K, value: Preferences[K]): void {
  preferences.value = { ...preferences.value, [key]: value };
}

export function resetSampling(): void {
  const { theme, engine, workers, contextTokens } = preferences.value;
  preferences.value = { ...initial, theme, engine, workers, contextTokens };
}

export function applyTheme(): void {
  effect(() => {
    const { theme } = preferences.value;
    const root = document.documentElement;
    if (theme === "system") {
      delete root.dataset.theme;
    } else {
      root.dataset.theme = theme;
    }
  });
  effect(() => {
    try {
      localStorage.setItem(siteKey, JSON.stringify(preferences.value));
    } catch {
      // Without storage, choices last until the page is closed.
    }
  });
}

function read(): Preferences {
  try {
    return { ...initial, ...JSON.parse(localStorage.getItem(siteKey) ?? "{}") };
  } catch {
    return initial;
  }
}
