import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Composer } from "./composer.tsx";
import { begin, current } from "./conversations.ts";
import { Dialogs, openDialog } from "./dialogs.tsx";
import { Info, Leaf, Menu, Plus, Sliders } from "./icons.tsx";
import { announcement, busy, manifest, memoryBytes, model, speed } from "./model.ts";
import { bytes, perSecond } from "./numbers.ts";
import { Sidebar } from "./sidebar.tsx";
import { Status } from "./status.tsx";
import { Thread } from "./thread.tsx";

/** Whether the list of conversations is open, where it does not fit beside them. */
export const drawer = signal(false);

export function App() {
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.key === "Escape" && drawer.value) {
        drawer.value = false;
      } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        busy.value?.stop();
      }
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  const empty = !current.value;
  return (
    <div class="page">
      <a class="skip" href="#message">
        Skip to the message field
      </a>
      <Sidebar />
      <div class="column">
        <Header />
        <main class={empty ? "empty" : undefined}>
          {empty ? <Welcome /> : <Thread conversation={current.value} />}
        </main>
        <footer>
          <Status />
          <Composer />
        </footer>
      </div>
      <Dialogs />
      <div class="hidden" role="status" aria-live="polite">
        {announcement}
      </div>
    </div>
  );
}

function Header() {
  return (
    <header>
      <button
        type="button"
        class="quiet only-narrow"
        aria-label="Conversations"
        aria-expanded={drawer.value}
        aria-controls="conversations"
        onClick={() => {
          drawer.value = true;
        }}
      >
        <Menu />
      </button>
      <div class="heading">
        <h1>{current.value?.title ?? manifest.value?.title ?? "Trefoil"}</h1>
        <Figures />
      </div>
      <button type="button" class="quiet only-narrow" aria-label="New chat" onClick={begin}>
        <Plus />
      </button>
      <button
        type="button"
        class="quiet"
        aria-label="Model"
        title="Model"
        onClick={() => openDialog("model")}
      >
        <Info />
      </button>
      <button
        type="button"
        class="quiet"
        aria-label="Settings"
        title="Settings"
        onClick={() => openDialog("settings")}
      >
        <Sliders />
      </button>
    </header>
  );
}

/** How fast, how large, by what. */
function Figures() {
  const loaded = model.value;
  if (!loaded) {
    return <p class="figures">Runs in this browser</p>;
  }
  const { engineName, workers } = loaded.info;
  const figures = [
    speed.value && perSecond(speed.value),
    memoryBytes.value > 0 && `${bytes(memoryBytes.value)} memory`,
    `${engineName}, ${workers === 1 ? "1 worker" : `${workers} workers`}`,
  ].filter((text): text is string => Boolean(text));
  return (
    <p class="figures">
      {figures.map((text) => (
        <span key={text}>{text}</span>
      ))}
    </p>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <Leaf />
      <h2>{manifest.value?.title ?? "Trefoil"}</h2>
      <p>
        This model runs in your browser. What you write stays on this device, and once the model is
        here, it works without a network.
      </p>
      {model.value?.info.hasChatTemplate === false && (
        <p>It is no chat model: it goes on with the text that you begin.</p>
      )}
    </div>
  );
}
