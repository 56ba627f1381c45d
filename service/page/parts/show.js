import { html, signal } from "../vendor/preact.js";
import { takeFolders, useDrop } from "./adding.js";
import { ClassCard } from "./class_card.js";
import { Icon } from "./dialog.js";

/** The class that was just added, whose name is to be written. */
export const justAdded = signal(null);

/** The first step: classes with their pictures. */
export function Show({ workspace }) {
  const { over, handlers } = useDrop((found) => takeFolders(workspace, found));
  const add = () => (justAdded.value = workspace.addClass().id);
  return html`
    <section class=${over ? "show over" : "show"} aria-labelledby="show-title" ...${handlers}>
      <header>
        <h2 id="show-title">Show</h2>
        <p>A few pictures of each thing; five do well. The classifier is there from the first two on, and learns with every further one.</p>
      </header>
      <div class="classes">
        ${workspace.classes.value.map((each) => html`<${ClassCard} key=${each.id} workspace=${workspace} its=${each} />`)}
      </div>
      <div class="add-class">
        <button type="button" id="add-class" onClick=${add}><${Icon} name="plus" />Add a class</button>
        <p class="small">Or drop folders here: each becomes a class of its name.</p>
      </div>
    </section>
  `;
}
