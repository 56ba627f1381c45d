import { html } from "../vendor/preact.js";
import { forgetAll } from "../shelf.js";
import { key, setKey } from "../api.js";
import { tell } from "../notices.js";
import { Icon } from "./dialog.js";

/** The name, the way to the list on narrow screens, the key, the API. */
export function Header({ listShown }) {
  const forgetKey = () => {
    setKey("");
    forgetAll();
    tell("The key and the small copies of pictures in this browser are forgotten.");
  };
  return html`
    <header class="top">
      <button
        type="button"
        class="quiet icon narrow-only"
        aria-expanded=${String(listShown.value)}
        aria-controls="library"
        aria-label="My classifiers"
        onClick=${() => (listShown.value = !listShown.value)}
      >
        <${Icon} name="list" />
      </button>
      <a class="brand" href="./"><img src="favicon.ico" alt="" width="26" height="26" />kshot</a>
      <p class="motto">A few pictures of each thing, and it tells new ones apart.</p>
      <nav aria-label="Elsewhere">
        ${key.value && html`<button type="button" class="quiet" onClick=${forgetKey}><${Icon} name="key" />Forget key</button>`}
        <a class="button quiet" href="docs">API docs</a>
      </nav>
    </header>
  `;
}
