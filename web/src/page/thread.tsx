import { useEffect, useRef, useState } from "preact/hooks";
import type { Conversation, Turn } from "./conversations.ts";
import { CopyButton } from "./copy-button.tsx";
import { Again, Pen, Warning } from "./icons.tsx";
import { Markdown } from "./markdown.tsx";
import { answerAgain, busy, phase } from "./model.ts";
import { perSecond, seconds } from "./numbers.ts";

/** Distance from the end, in pixels, within which the view follows new text. */
const near = 80;

/** What was said in a conversation. */
export function Thread({ conversation }: { conversation: Conversation | undefined }) {
  const end = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  const turns = conversation?.turns ?? [];

  useEffect(() => {
    const main = end.current?.closest("main");
    const look = () => {
      if (main) {
        follow.current = main.scrollHeight - main.scrollTop - main.clientHeight < near;
      }
    };
    main?.addEventListener("scroll", look, { passive: true });
    return () => main?.removeEventListener("scroll", look);
  }, []);
  useEffect(() => {
    follow.current = true;
  }, [conversation?.id, turns.length]);
  useEffect(() => {
    if (follow.current) {
      end.current?.scrollIntoView({ block: "end" });
    }
  });

  const active = busy.value?.conversation === conversation?.id;
  return (
    <div class="thread">
      {turns.map((turn, index) => {
        const last = active && index === turns.length - 1;
        return turn.role === "user" ? (
          <Asked key={index} turn={turn} index={index} />
        ) : (
          <Answered key={index} turn={turn} index={index} under={last} />
        );
      })}
      <div ref={end} />
    </div>
  );
}

function Asked({ turn, index }: { turn: Turn; index: number }) {
  const [editing, setEditing] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (editing) {
      field.current?.focus();
    }
  }, [editing]);
  if (editing) {
    return (
      <form
        class="asked edit"
        onSubmit={(event) => {
          event.preventDefault();
          setEditing(false);
          void answerAgain(index, field.current?.value ?? turn.text);
        }}
      >
        <textarea ref={field} aria-label="Message" rows={3} defaultValue={turn.text} />
        <div class="row">
          <button type="button" onClick={() => setEditing(false)}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Send
          </button>
        </div>
      </form>
    );
  }
  return (
    <article class="asked" aria-label="You">
      <div class="bubble">{turn.text}</div>
      <div class="actions">
        <button
          type="button"
          class="quiet"
          aria-label="Edit this message"
          title="Edit"
          onClick={() => setEditing(true)}
        >
          <Pen />
        </button>
      </div>
    </article>
  );
}

function Answered({ turn, index, under }: { turn: Turn; index: number; under: boolean }) {
  const { text, reasoning, error } = turn;
  return (
    <article class="answered" aria-label="Answer" aria-busy={under}>
      {reasoning && (
        <details class="reasoning" open={under && text === ""}>
          <summary>Reasoning</summary>
          <Markdown text={reasoning} />
        </details>
      )}
      {text && <Markdown text={text} />}
      {under && !text && !reasoning && <Waiting />}
      {error && (
        <p class="broken">
          <Warning />
          <span>
            {error.message} {error.hint}
          </span>
        </p>
      )}
      {!under && (
        <div class="actions">
          {text && <CopyButton text={text} label="Copy answer" />}
          <button
            type="button"
            class="quiet"
            aria-label="Answer again"
            title="Answer again"
            disabled={busy.value !== undefined || phase.value.kind === "failed"}
            onClick={() => void answerAgain(index - 1)}
          >
            <Again />
          </button>
          <Stats turn={turn} />
        </div>
      )}
    </article>
  );
}

function Waiting() {
  const label = phase.value.kind === "ready" ? "Reading" : "Waiting for the model";
  return (
    <p class="waiting">
      {label}
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
    </p>
  );
}

const endings: Partial<Record<NonNullable<Turn["stats"]>["reason"], string>> = {
  stopped: "stopped",
  length: "length reached",
  "context-full": "context is full",
};

function Stats({ turn }: { turn: Turn }) {
  const { stats } = turn;
  if (!stats || stats.tokens === 0) {
    return null;
  }
  const parts = [
    stats.tokensPerSecond > 0 && perSecond(stats.tokensPerSecond),
    `${stats.tokens} tokens`,
    `first after ${seconds(stats.firstSeconds)}`,
    endings[stats.reason],
  ].filter((text): text is string => Boolean(text));
  return (
    <span class="stats">
      {parts.map((text) => (
        <span key={text}>{text}</span>
      ))}
    </span>
  );
}
