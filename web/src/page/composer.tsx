import { useEffect, useRef, useState } from "preact/hooks";
import { currentId } from "./conversations.ts";
import { Send, Stop } from "./icons.tsx";
import { busy, model, phase, send } from "./model.ts";

/** Where messages are written. */
export function Composer() {
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);

  // Enough with a pointer; on phones the keyboard would hide half of the page.
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) {
      field.current?.focus();
    }
  }, [currentId.value]);

  // As high as the text, up to what the style allows.
  useEffect(() => {
    if (field.current) {
      field.current.style.height = "auto";
      field.current.style.height = `${field.current.scrollHeight}px`;
    }
  }, [text]);

  const failed = phase.value.kind === "failed";
  const submit = () => {
    if (text.trim() && !busy.value && !failed) {
      void send(text.trim());
      setText("");
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <textarea
        id="message"
        ref={field}
        rows={1}
        aria-label="Message"
        placeholder={
          model.value?.info.hasChatTemplate === false ? "Begin a text" : "Write a message"
        }
        value={text}
        enterkeyhint="send"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          // While a word is being composed, Enter chooses it.
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
          }
        }}
      />
      {busy.value ? (
        <button
          type="button"
          class="round"
          aria-label="Stop"
          title="Stop (Esc)"
          onClick={() => busy.value?.stop()}
        >
          <Stop />
        </button>
      ) : (
        <button
          type="submit"
          class="round"
          aria-label="Send"
          title="Send (Enter)"
          disabled={!text.trim() || failed}
        >
          <Send />
        </button>
      )}
    </form>
  );
}
