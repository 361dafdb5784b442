import { useState } from "preact/hooks";
import { Check, Copy } from "./icons.tsx";
import { announcement } from "./model.ts";

/** Copies a text, and says so for a moment. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    announcement.value = "Copied.";
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" class="quiet" aria-label={label} title={label} onClick={copy}>
      {copied ? <Check /> : <Copy />}
    </button>
  );
}
