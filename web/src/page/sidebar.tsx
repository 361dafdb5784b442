import { useState } from "preact/hooks";
import { drawer } from "./app.tsx";
import {
  begin,
  type Conversation,
  conversations,
  currentId,
  remove,
  rename,
} from "./conversations.ts";
import { Close, Leaf, Pen, Plus, Trash } from "./icons.tsx";
import { busy } from "./model.ts";

export function Sidebar() {
  return (
    <>
      {drawer.value && (
        // The keyboard has Escape and the button for this.
        // biome-ignore lint/a11y/noStaticElementInteractions: a shortcut for those who point
        // biome-ignore lint/a11y/useKeyWithClickEvents: see above
        <div
          class="shade"
          onClick={() => {
            drawer.value = false;
          }}
        />
      )}
      <nav
        id="conversations"
        class={drawer.value ? "sidebar open" : "sidebar"}
        aria-label="Conversations"
      >
        <div class="brand">
          <Leaf />
          <span>Trefoil</span>
          <button
            type="button"
            class="quiet only-narrow"
            aria-label="Close the list"
            onClick={() => {
              drawer.value = false;
            }}
          >
            <Close />
          </button>
        </div>
        <button
          type="button"
          class="new"
          onClick={() => {
            begin();
            drawer.value = false;
            document.getElementById("message")?.focus();
          }}
        >
          <Plus />
          New chat
        </button>
        <ul>
          {conversations.value.map((conversation) => (
            <Entry key={conversation.id} conversation={conversation} />
          ))}
        </ul>
        {conversations.value.length === 0 && (
          <p class="note">Conversations are kept in this browser only.</p>
        )}
      </nav>
    </>
  );
}

function Entry({ conversation }: { conversation: Conversation }) {
  const { id, title } = conversation;
  const [editing, setEditing] = useState(false);
  if (editing) {
    const finish = (text: string) => {
      setEditing(false);
      if (text.trim()) {
        rename(id, text);
      }
    };
    return (
      <li>
        <input
          class="rename"
          aria-label="Title of the conversation"
          defaultValue={title}
          ref={(input) => input?.focus()}
          onBlur={(event) => finish(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              finish(event.currentTarget.value);
            } else if (event.key === "Escape") {
              event.stopPropagation();
              setEditing(false);
            }
          }}
        />
      </li>
    );
  }
  return (
    <li class={id === currentId.value ? "current" : undefined}>
      <button
        type="button"
        class="entry"
        aria-current={id === currentId.value ? "true" : undefined}
        onClick={() => {
          currentId.value = id;
          drawer.value = false;
        }}
      >
        {title}
      </button>
      <button
        type="button"
        class="quiet"
        aria-label={`Rename “${title}”`}
        title="Rename"
        onClick={() => setEditing(true)}
      >
        <Pen />
      </button>
      <button
        type="button"
        class="quiet"
        aria-label={`Delete “${title}”`}
        title="Delete"
        onClick={() => {
          if (confirm(`Delete “${title}”?`)) {
            if (busy.value?.conversation === id) {
              busy.value.stop();
            }
            remove(id);
          }
        }}
      >
        <Trash />
      </button>
    </li>
  );
}
