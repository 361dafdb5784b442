import { render } from "preact";
import { App } from "./app.tsx";
import { openConversations } from "./conversations.ts";
import { start } from "./model.ts";
import { applyTheme } from "./preferences.ts";
import "./style.css";

applyTheme();
render(<App />, document.getElementById("app") as HTMLElement);
void openConversations().then(start);
