import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Close } from "./icons.tsx";
import { ModelDialog } from "./model-dialog.tsx";
import { SettingsDialog } from "./settings-dialog.tsx";

type Name = "settings" | "model";
const open = signal<Name | undefined>(undefined);

export function openDialog(name: Name): void {
  open.value = name;
}

export function closeDialog(): void {
  open.value = undefined;
}

export function Dialogs() {
  switch (open.value) {
    case "settings":
      return <SettingsDialog />;
    case "model":
      return <ModelDialog />;
    default:
      return null;
  }
}

/** A dialog with a title, which the browser keeps the focus in. */
export function Dialog({ title, children }: { title: string; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself
    <dialog
      ref={dialog}
      aria-labelledby="dialog-title"
      onClose={closeDialog}
      onClick={(event) => {
        // Beside the dialog, on what it covers.
        if (event.target === dialog.current) {
          dialog.current?.close();
        }
      }}
    >
      <div class="dialog">
        <div class="dialog-head">
          <h2 id="dialog-title">{title}</h2>
          <button
            type="button"
            class="quiet"
            aria-label="Close"
            onClick={() => dialog.current?.close()}
          >
            <Close />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
