import { html, useState } from "../vendor/preact.js";
import { key } from "../api.js";
import { journal } from "../journal.js";
import { tell } from "../notices.js";
import { LANGUAGES } from "../snippets.js";
import { Icon } from "./dialog.js";

/** The fourth step: what was just done, as code. */
export function CodePanel() {
  const [chosen, setChosen] = useState(null);
  const [language, setLanguage] = useState("curl");
  const done = journal.value;
  const request = done.find(({ told }) => told === chosen) ?? done[0];
  if (!request) return null;
  const code = LANGUAGES[language](request);
  return html`
    <section class="code" aria-labelledby="code-title">
      <header>
        <h2 id="code-title">Use it in code</h2>
        <p>What you just did here, done by a program.</p>
      </header>
      <div class="pick">
        <label class="unseen" for="deed">What was done</label>
        <select id="deed" value=${request.told} onChange=${({ target }) => setChosen(target.value)}>
          ${done.map(({ told }) => html`<option key=${told} value=${told}>${told}</option>`)}
        </select>
        <div class="languages" role="group" aria-label="Language">
          ${Object.keys(LANGUAGES).map((each) => html`<button type="button" key=${each} aria-pressed=${String(each === language)} onClick=${() => setLanguage(each)}>${each}</button>`)}
        </div>
        <button type="button" onClick=${() => copy(code)}><${Icon} name="copy" />Copy as ${language}</button>
      </div>
      <pre tabindex="0" aria-label=${`${request.told}, as ${language}`}><code>${code}</code></pre>
      ${key.value && html`<p class="small">Put your key into the environment variable <code>KSHOT_KEY</code>.</p>`}
    </section>
  `;
}

/** Browsers give pages on plain http no clipboard; there the code is copied as a selection is. */
async function copy(code) {
  if (navigator.clipboard) await navigator.clipboard.writeText(code);
  else {
    getSelection().selectAllChildren(document.querySelector(".code pre"));
    document.execCommand("copy");
  }
  tell("Copied.");
}
