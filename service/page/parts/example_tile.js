import { html } from "../vendor/preact.js";
import { EXAMPLE } from "./adding.js";
import { Icon } from "./dialog.js";
import { shownExample } from "./example_dialog.js";

/** One picture: drag it to another class, or press it to move or remove it. */
export function ExampleTile({ workspace, its, example, number }) {
  const { id, status, thumb, reason, exampleId } = example;
  const suspect = workspace.suspects.value.has(exampleId);
  const drag = (event) => {
    event.dataTransfer.setData(EXAMPLE, id);
    event.dataTransfer.effectAllowed = "move";
  };
  const press = (event) => {
    if (event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    (event.target.closest("li").nextElementSibling ?? event.target.closest("li").previousElementSibling)?.querySelector("button").focus();
    workspace.remove(id);
  };
  const words = [`Picture ${number} of ${its.name}: ${example.name}`, suspect && "looks mislabelled", WORDS[status], reason].filter(Boolean);
  return html`
    <li class=${`tile ${status}${suspect ? " suspect" : ""}`} draggable onDragStart=${drag}>
      <button type="button" class="picture" id=${id} aria-label=${words.join(", ")} title=${example.name} onClick=${() => (shownExample.value = id)} onKeyDown=${press}>
        <${Picture} example=${example} />
        ${(suspect || status === "refused" || status === "failed") && html`<span class="badge"><${Icon} name="warning" /></span>`}
      </button>
      <button type="button" class="remove" tabindex="-1" aria-hidden="true" title="Remove" onClick=${() => workspace.remove(id)}><${Icon} name="close" /></button>
    </li>
  `;
}

const WORDS = { waiting: "waiting", sending: "being sent", failed: "not sent", refused: "cannot be used" };

/** What there is to see of an example. */
export function Picture({ example }) {
  if (example?.thumb) return html`<img src=${example.thumb} alt="" draggable=${false} />`;
  return html`<span class="unpictured">${example?.file ? example.name : "no copy here"}</span>`;
}
