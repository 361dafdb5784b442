// Conversations, kept in this browser's IndexedDB.
import { computed, signal } from "@preact/signals";
import type { FinishReason } from "../api.ts";
import { siteKey } from "./preferences.ts";

/** What one side said. */
export interface Turn {
  role: "user" | "assistant";
  text: string;
  reasoning?: string;
  /** How an answer came about, once it has ended. */
  stats?: {
    tokens: number;
    tokensPerSecond: number;
    /** Seconds until the first token. */
    firstSeconds: number;
    reason: FinishReason | "stopped";
  };
  /** Why an answer broke off. */
  error?: { message: string; hint: string };
}

export interface Conversation {
  id: string;
  title: string;
  /** When something was last said, in milliseconds. */
  changed: number;
  turns: Turn[];
}

/** All of them, the latest first. */
export const conversations = signal<Conversation[]>([]);
export const currentId = signal<string | undefined>(undefined);
export const current = computed(() =>
  conversations.value.find((conversation) => conversation.id === currentId.value),
);

let database: IDBDatabase | undefined;
const table = "conversations";

/** Reads what was kept. Without IndexedDB, conversations last until the page is closed. */
export async function openConversations(): Promise<void> {
  try {
    database = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(siteKey, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(table, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new Error("blocked"));
    });
    const kept = await new Promise<Conversation[]>((resolve, reject) => {
      const request = database?.transaction(table).objectStore(table).getAll();
      if (request) {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      }
    });
    conversations.value = kept.sort((a, b) => b.changed - a.changed);
  } catch {
    database = undefined;
  }
}

/** Begins a conversation; it is kept from its first message on. */
export function begin(): void {
  currentId.value = undefined;
}

/** The current conversation, or a new one that begins with `text`. */
export function currentOrNew(text: string): Conversation {
  const found = current.value;
  if (found) {
    return found;
  }
  const conversation: Conversation = {
    id: crypto.randomUUID(),
    title: titleOf(text),
    changed: Date.now(),
    turns: [],
  };
  conversations.value = [conversation, ...conversations.value];
  currentId.value = conversation.id;
  return conversation;
}

/** Replaces the turns of a conversation; `keep` also writes them. */
export function setTurns(id: string, turns: Turn[], keep: boolean): void {
  const before = conversations.value.find((conversation) => conversation.id === id);
  if (!before) {
    return;
  }
  const after = { ...before, turns, changed: keep ? Date.now() : before.changed };
  const others = conversations.value.filter((conversation) => conversation.id !== id);
  conversations.value = keep
    ? [after, ...others]
    : conversations.value.map((conversation) => (conversation.id === id ? after : conversation));
  if (keep) {
    store()?.put(after);
  }
}

export function rename(id: string, title: string): void {
  conversations.value = conversations.value.map((conversation) => {
    if (conversation.id !== id) {
      return conversation;
    }
    const renamed = { ...conversation, title: titleOf(title) };
    store()?.put(renamed);
    return renamed;
  });
}

export function remove(id: string): void {
  conversations.value = conversations.value.filter((conversation) => conversation.id !== id);
  if (currentId.value === id) {
    begin();
  }
  store()?.delete(id);
}

function store(): IDBObjectStore | undefined {
  return database?.transaction(table, "readwrite").objectStore(table);
}

function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "New chat";
}
