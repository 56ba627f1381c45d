import { html, useState } from "../vendor/preact.js";
import { focusOn } from "../focus.js";
import { count, percent } from "../words.js";
import { shownExample } from "./example_dialog.js";
import { Picture } from "./example_tile.js";

const SHOWN_AT_FIRST = 6;

/** The third step: what the examples say about each other, as something to act on. */
export function Report({ workspace }) {
  const { report } = workspace.classifier.value;
  return html`
    <section class="report" aria-labelledby="report-title">
      <header>
        <h2 id="report-title" tabindex="-1">Check</h2>
        <p>Each picture was left out in turn and told from the others.</p>
      </header>
      ${report ? html`<${Findings} workspace=${workspace} report=${report} />` : html`<p>There is no report on this classifier. Add a picture, and there is.</p>`}
    </section>
  `;
}

function Findings({ workspace, report }) {
  const { leave_one_out_accuracy: accuracy, leave_one_out_examples: judged, confusions, duplicates, too_few_shots: few, notes } = report;
  const [more, setMore] = useState(false);
  const suspects = [...workspace.suspects.value.values()];
  const nothing = accuracy !== null && !suspects.length && !confusions?.length && !duplicates.length && !few.length;
  const findings = [
    ...suspects.map((suspect) => html`<${Suspect} key=${suspect.example_id} workspace=${workspace} suspect=${suspect} />`),
    ...duplicates.map((group) => html`<${Duplicates} key=${group.examples[0].example_id} workspace=${workspace} group=${group} />`),
    ...(few.length ? [html`<${Few} key="few" few=${few} />`] : []),
    ...(confusions ?? []).map((each) => html`<${Confusion} key=${`${each.label} ${each.taken_for}`} confusion=${each} />`),
  ];
  return html`
    <p class="figure">
      <strong>${accuracy === null ? "–" : percent(accuracy)}</strong>
      <span>${accuracy === null ? "Two pictures of a class are needed to leave one out." : `of ${count(judged, "picture")} told right from the others`}</span>
    </p>
    ${nothing && html`<p>Nothing looks wrong.</p>`}
    <ul class="findings">${more ? findings : findings.slice(0, SHOWN_AT_FIRST)}</ul>
    ${!more && findings.length > SHOWN_AT_FIRST && html`<button type="button" class="quiet wide" onClick=${() => setMore(true)}>Show all ${findings.length} findings</button>`}
    ${notes.map((note) => html`<p class="small">${note}</p>`)}
  `;
}

/** What is settled goes from the list, and its buttons with it. */
const settled = (act) => () => {
  act();
  focusOn("report-title");
};

function Suspect({ workspace, suspect }) {
  const example = workspace.exampleOf(suspect.example_id);
  const other = workspace.classNamed(suspect.suggested_label);
  if (!example || !other) return null;
  return html`
    <li class="suspect">
      <${Look} example=${example} />
      <div>
        <p>Shown as <strong>${suspect.label}</strong>, looks like <strong>${suspect.suggested_label}</strong>.</p>
        <div class="buttons">
          <button type="button" class="main" onClick=${settled(() => workspace.move(example.id, other.id))}>Move to ${other.name}</button>
          <button type="button" onClick=${settled(() => workspace.dismiss(suspect.example_id))}>It is right</button>
          <button type="button" class="quiet" onClick=${settled(() => workspace.remove(example.id))}>Remove</button>
        </div>
      </div>
    </li>
  `;
}

function Duplicates({ workspace, group }) {
  const found = group.examples.map(({ example_id: id }) => workspace.exampleOf(id)).filter(Boolean);
  if (found.length < 2) return null;
  const last = found.at(-1);
  return html`
    <li class="duplicates">
      <div class="pair">${found.slice(0, 3).map((example) => html`<${Look} key=${example.id} example=${example} />`)}</div>
      <div>
        <p>
          ${group.exact ? "The same picture" : "Nearly the same picture"} ${found.length > 2 ? `${found.length} times` : "twice"}${group.labels_differ ? " and in different classes: one must be wrong" : ""}.
          It teaches nothing twice.
        </p>
        <div class="buttons"><button type="button" onClick=${settled(() => workspace.remove(last.id))}>Remove ${last.name}</button></div>
      </div>
    </li>
  `;
}

function Few({ few }) {
  const words = few.map(({ label, shots }) => `${label} (${shots})`).join(", ");
  return html`<li><p>Few pictures: ${words}. With five of each the answers are much better.</p></li>`;
}

function Confusion({ confusion: { label, taken_for: other, count: wrong, of } }) {
  return html`<li>
    <p><strong>${label}</strong> is taken for <strong>${other}</strong>: ${wrong} of ${of}. Show more of both, or make one class of them.</p>
  </li>`;
}

function Look({ example }) {
  return html`<button type="button" class="picture" aria-label=${`Look at ${example.name}`} onClick=${() => (shownExample.value = example.id)}>
    <${Picture} example=${example} />
  </button>`;
}
