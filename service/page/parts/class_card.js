import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { focusOn } from "../focus.js";
import { usable } from "../workspace.js";
import { count } from "../words.js";
import { Choosers, marks, tellOfOthers, useDrop } from "./adding.js";
import { Dialog, Icon } from "./dialog.js";
import { ExampleTile } from "./example_tile.js";
import { justAdded } from "./show.js";
import { TextInput } from "./text_input.js";

const SHOWN_AT_FIRST = 40;
const ENOUGH = 5;

/** One class: its name, its pictures, and the ways to add some. */
export function ClassCard({ workspace, its }) {
  const [more, setMore] = useState(false);
  const [doomed, setDoomed] = useState(false);
  const remove = () => {
    setDoomed(false);
    workspace.removeClass(its.id);
    focusOn("add-class");
  };
  const examples = workspace.visible.value.filter(({ classId }) => classId === its.id);
  const take = (found) => tellOfOthers(found.length, workspace.add(its.id, found.map(({ file }) => file)));
  const { over, handlers } = useDrop(take, (exampleId) => workspace.move(exampleId, its.id));
  const shown = more ? examples : examples.slice(0, SHOWN_AT_FIRST);
  return html`
    <article class=${`class c${its.colour}${over ? " over" : ""}`} aria-label=${`Class ${its.name}`} ...${handlers} ...${marks(its.id)}>
      <header>
        <${ClassName} workspace=${workspace} its=${its} />
        <span class="shots">${count(examples.filter(usable).length, "picture")}</span>
        <button type="button" class="quiet icon" aria-label=${`Remove the class ${its.name}`} onClick=${() => (examples.length ? setDoomed(true) : remove())}>
          <${Icon} name="trash" />
        </button>
      </header>
      ${doomed && html`<${RemoveDialog} its=${its} pictures=${examples.length} onRemove=${remove} onClose=${() => setDoomed(false)} />`}
      ${examples.length > 0 &&
      html`<ul class="tiles">
        ${shown.map((example, number) => html`<${ExampleTile} key=${example.id} workspace=${workspace} its=${its} example=${example} number=${number + 1} />`)}
      </ul>`}
      ${examples.length > shown.length && html`<button type="button" class="quiet wide" onClick=${() => setMore(true)}>Show all ${examples.length}</button>`}
      ${!examples.length && html`<p class="empty">Drop pictures or a folder here, or paste.</p>`}
      <${Choosers} onFiles=${take} destination=${its.id} what=${`for ${its.name}`} />
      ${examples.length > 0 && examples.length < ENOUGH && html`<p class="small">${ENOUGH - examples.length} more would help.</p>`}
    </article>
  `;
}

function RemoveDialog({ its, pictures, onRemove, onClose }) {
  return html`
    <${Dialog} title=${`Remove the class “${its.name}”?`} onClose=${onClose}>
      <p>${count(pictures, "picture")} will be removed with it.</p>
      <div class="buttons">
        <button type="button" class="quiet" onClick=${onClose}>Keep it</button>
        <button type="button" class="danger" onClick=${onRemove}>Remove</button>
      </div>
    <//>
  `;
}

function ClassName({ workspace, its }) {
  const input = useRef(null);
  const [trouble, setTrouble] = useState(null);
  useEffect(() => {
    if (justAdded.value !== its.id) return;
    justAdded.value = null;
    input.current.select();
  }, []);
  const rename = (name) => setTrouble(workspace.renameClass(its.id, name));
  return html`
    <div class="class-name">
      <label class="unseen" for=${its.id}>Name of this class</label>
      <${TextInput} id=${its.id} inputRef=${input} value=${its.name} maxlength="200" onGive=${rename} />
      ${trouble && html`<p class="trouble" role="alert">${trouble}</p>`}
    </div>
  `;
}
