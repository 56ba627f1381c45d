import { html, useState } from "../vendor/preact.js";
import { keyWanted, setKey } from "../api.js";
import { sentence } from "../words.js";
import { Dialog } from "./dialog.js";

/** Asks for the key that a request was refused without. */
export function KeyDialog({ wanted }) {
  const [text, setText] = useState("");
  const refused = wanted.problem.code === "invalid_key";
  const give = (event) => {
    event.preventDefault();
    if (!text.trim()) return;
    setKey(text.trim());
    keyWanted.value = null;
    wanted.resolve();
  };
  const leave = () => {
    if (keyWanted.value !== wanted) return;
    keyWanted.value = null;
    wanted.reject(wanted.problem);
  };
  return html`
    <${Dialog} title=${refused ? "That key was not taken" : "This service asks for a key"} onClose=${leave}>
      <form onSubmit=${give}>
        <p>${refused ? sentence(wanted.problem.detail) : "Whoever runs the service makes one with “kshot keys create NAME”."}</p>
        <label class="field">
          Key
          <input type="password" autocomplete="off" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)} autofocus />
        </label>
        <p class="small">It is kept until this tab is closed, and sent to this service alone.</p>
        <div class="buttons">
          <button type="button" class="quiet" onClick=${leave}>Not now</button>
          <button type="submit" class="main">Use this key</button>
        </div>
      </form>
    <//>
  `;
}
