import { html, useState } from "../vendor/preact.js";
import { focusOn } from "../focus.js";
import { percent, sentence } from "../words.js";
import { Icon } from "./dialog.js";
import { shownExample } from "./example_dialog.js";
import { Picture } from "./example_tile.js";

const BARS = 4;
const NEAREST = 4;
const DOUBT = 0.5;

/** One query with what is said of it. */
export function Answer({ workspace, query }) {
  const { result, reason, name } = query;
  const [shows, setShows] = useState(true); // browsers show no TIFF, and nothing can be seen of what is broken
  return html`
    <li class="answer">
      <div class="asked">
        ${shows
          ? html`<img src=${query.thumb} alt=${`Asked: ${name}`} title=${name} onError=${() => setShows(false)} />`
          : html`<span class="unpictured">${name}</span>`}
        <button type="button" class="quiet icon" aria-label=${`Forget ${name}`} onClick=${() => forget(workspace, query)}><${Icon} name="close" /></button>
      </div>
      <div class="said">
        ${result && html`<${Verdict} workspace=${workspace} result=${result} />`}
        ${reason && html`<p class="trouble" role="alert"><${Icon} name="warning" /><span><strong>${name} cannot be answered.</strong> ${sentence(reason)}</span></p>`}
        ${!result && !reason && html`<p class="waiting">${workspace.classifier.value ? "Asking…" : "Answered as soon as two classes have a picture."}</p>`}
        ${result && html`<${Teach} workspace=${workspace} query=${query} />`}
      </div>
    </li>
  `;
}

function Verdict({ workspace, result }) {
  const [more, setMore] = useState(false);
  const { prediction, none_probability: none, predictions, nearest_examples: nearest, calibrated } = result;
  const shown = more ? predictions : predictions.slice(0, BARS);
  return html`
    <h3 class=${prediction ? "" : "none"}>${prediction ?? "None of these"}</h3>
    <ul class="bars" aria-label="Probabilities">
      ${shown.map(({ label, probability }) => html`<${Bar} key=${label} label=${label} share=${probability} colour=${colourOf(workspace, label)} />`)}
      ${none !== null && html`<${Bar} label="none of these" share=${none} colour="none" />`}
    </ul>
    ${prediction && none > DOUBT && html`<p class="advice small">Perhaps none of these: that is likelier than not.</p>`}
    ${predictions.length > shown.length && html`<button type="button" class="quiet" onClick=${() => setMore(true)}>${predictions.length - shown.length} more</button>`}
    ${!calibrated && html`<p class="small">This model's probabilities are not calibrated, and it cannot say “none of these”.</p>`}
    ${nearest?.length > 0 && html`<${Nearest} workspace=${workspace} nearest=${nearest} />`}
  `;
}

function forget(workspace, query) {
  workspace.forgetQuery(query.id);
  focusOn("ask-title");
}

const colourOf = (workspace, label) => `c${workspace.classNamed(label)?.colour ?? 0}`;

function Bar({ label, share, colour }) {
  return html`
    <li class=${colour}>
      <span class="label">${label}</span>
      <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * share}%` }}></span></span>
      <span class="share">${percent(share)}</span>
    </li>
  `;
}

function Nearest({ workspace, nearest }) {
  return html`
    <div class="nearest">
      <h4>Most like</h4>
      <ul>
        ${nearest.slice(0, NEAREST).map(({ example_id: id, label, distance }) => {
          const example = workspace.exampleOf(id);
          const words = `${label}, distance ${distance.toFixed(2)}`;
          return html`<li key=${id}>
            <button type="button" class=${`picture ${colourOf(workspace, label)}`} aria-label=${words} title=${words} onClick=${() => example && (shownExample.value = example.id)}>
              <${Picture} example=${example} />
            </button>
          </li>`;
        })}
      </ul>
    </div>
  `;
}

/** The right answer, given by the user, makes the query an example. */
function Teach({ workspace, query }) {
  const teach = ({ target }) => {
    workspace.teach(query, target.value);
    forget(workspace, query);
  };
  return html`
    <label class="teach">
      <span>Make it an example of</span>
      <select value="" onChange=${teach}>
        <option value="" disabled>choose…</option>
        ${workspace.classes.value.map(({ id, name }) => html`<option key=${id} value=${id}>${name}</option>`)}
      </select>
    </label>
  `;
}
