import { html } from "../vendor/preact.js";
import { Answer } from "./answer.js";
import { Choosers, marks, tellOfOthers, useDrop } from "./adding.js";

/** The second step: pictures to be told. */
export function Ask({ workspace }) {
  const take = (found) => tellOfOthers(found.length, workspace.ask(found.map(({ file }) => file)));
  const { over, handlers } = useDrop(take);
  const choose = ({ target }) => {
    workspace.threshold.value = target.value;
    workspace.askAgain();
  };
  return html`
    <section class=${over ? "ask over" : "ask"} aria-labelledby="ask-title" ...${handlers} ...${marks("ask")}>
      <header>
        <h2 id="ask-title" tabindex="-1">Ask</h2>
        <p>Pictures that it has not seen. The answers follow what you show.</p>
      </header>
      <div class="drop">
        <p>Drop pictures here, or paste.</p>
        <${Choosers} onFiles=${take} destination="ask" what="to ask about" />
      </div>
      <div class="field inline">
        <label for="threshold">Say “none of these”</label>
        <select id="threshold" value=${workspace.threshold.value} onChange=${choose}>
          <option value="">where the model advises it</option>
          <option value="0.5">where it is likelier than not</option>
          <option value="0.9">only where it is nearly sure</option>
          <option value="1">never</option>
        </select>
      </div>
      <ul class="answers" aria-label="Answers">
        ${workspace.queries.value.map((query) => html`<${Answer} key=${query.id} workspace=${workspace} query=${query} />`)}
      </ul>
    </section>
  `;
}
