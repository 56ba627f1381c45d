import { html, signal } from "../vendor/preact.js";
import { focusOn } from "../focus.js";
import { sentence } from "../words.js";
import { Dialog, Icon } from "./dialog.js";
import { Picture } from "./example_tile.js";

/** The page's id of the example that is looked at. */
export const shownExample = signal(null);

/** One example, larger: move it, remove it. */
export function ExampleDialog({ workspace }) {
  const example = workspace.visible.value.find(({ id }) => id === shownExample.value);
  const leave = () => (shownExample.value = null);
  if (!example) return null;
  const its = workspace.classOf(example.classId);
  const suspicion = workspace.suspects.value.get(example.exampleId);
  const move = (classId) => {
    workspace.move(example.id, classId);
    leave();
    focusOn(example.id);
  };
  const remove = () => {
    workspace.remove(example.id);
    leave();
    focusOn(its.id);
  };
  return html`
    <${Dialog} title=${example.name} class="example" onClose=${leave}>
      <div class="large"><${Picture} example=${example} /></div>
      ${!example.file && html`<p class="small">The service keeps no pictures; this browser keeps small copies of those that it sent itself.</p>`}
      ${example.reason && html`<p class="trouble"><span>It cannot be used. ${sentence(example.reason)}</span></p>`}
      ${suspicion && html`<p class="advice">The other pictures say “${suspicion.suggested_label}”.</p>`}
      <fieldset>
        <legend>It shows</legend>
        <div class="choices">
          ${workspace.classes.value.map(
            (each) => html`<button type="button" key=${each.id} class=${`c${each.colour} choice`} aria-pressed=${String(each === its)} disabled=${each === its} onClick=${() => move(each.id)}>${each.name}</button>`,
          )}
        </div>
      </fieldset>
      <div class="buttons"><button type="button" class="danger" onClick=${remove}><${Icon} name="trash" />Remove this picture</button></div>
    <//>
  `;
}
