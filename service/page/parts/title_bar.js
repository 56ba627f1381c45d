import { html } from "../vendor/preact.js";
import { complain } from "../notices.js";
import { download, models, rename } from "../service.js";
import { count } from "../words.js";
import { Icon } from "./dialog.js";
import { askToDelete, nameOf } from "./library.js";
import { TextInput } from "./text_input.js";

/** The classifier's name, how it stands, its model, and what can be done with it. */
export function TitleBar({ workspace }) {
  const made = workspace.classifier.value;
  const give = async (name) => {
    workspace.name.value = name.trim();
    if (made) await rename(made.id, name).then((now) => workspace.take(now), complain);
  };
  return html`
    <section class="title" aria-label="The classifier">
      <div class="names">
        <h1>
          <label class="unseen" for="name">Name of the classifier</label>
          <${TextInput} id="name" placeholder=${made ? nameOf({ ...made, name: null }) : "New classifier"} maxlength="200" value=${workspace.name.value} onGive=${give} />
        </h1>
        <${Standing} workspace=${workspace} />
      </div>
      <${ModelChoice} workspace=${workspace} />
      ${made && html`<${Deeds} classifier=${made} />`}
    </section>
  `;
}

function Standing({ workspace }) {
  const made = workspace.classifier.value;
  const sending = workspace.progress.value;
  if (sending) {
    const words = sending.share < 1 ? `Sending ${count(sending.pictures, "picture")}` : `Learning ${count(sending.pictures, "picture")}`;
    return html`<p class="standing"><progress aria-label=${words} value=${sending.share < 1 ? sending.share : undefined}></progress>${words}…</p>`;
  }
  if (made) {
    const words = `${count(made.labels.length, "class")}, ${count(made.examples, "picture")}`;
    return html`<p class="standing"><span class="light good"></span>Ready · ${words}</p>`;
  }
  const missing = workspace.filled.value ? "a picture of a second class" : "pictures of two classes";
  return html`<p class="standing"><span class="light"></span>Waiting for ${missing}</p>`;
}

function ModelChoice({ workspace }) {
  const made = workspace.classifier.value;
  const chosen = workspace.model.value || models.value.find((model) => model.default)?.name || "";
  const fixed = made && !workspace.complete.value;
  const about = chosen === "auto" ? "Takes the model that labels your pictures best." : models.value.find(({ name }) => name === chosen)?.description;
  const why = made?.model_choice.reason.startsWith("auto") ? made.model_choice.reason : null;
  const hint = fixed ? "Show all pictures again in a new classifier to use another model." : (why ?? about ?? "");
  return html`
    <div class="model">
      <label for="model">Model</label>
      <select id="model" value=${chosen} disabled=${fixed} aria-describedby="model-hint" onChange=${({ target }) => workspace.useModel(target.value)}>
        ${!chosen && html`<option value="">loading…</option>`}
        <option value="auto">auto</option>
        ${models.value.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
      <p id="model-hint" class="small" title=${hint}>${hint}</p>
    </div>
  `;
}

function Deeds({ classifier }) {
  const save = (format) => download(classifier, format).catch(complain);
  return html`
    <div class="deeds">
      <details class="menu" onFocusOut=${closeMenu} onKeyDown=${closeMenu}>
        <summary class="button"><${Icon} name="download" />Export</summary>
        <div>
          <button type="button" class="quiet" onClick=${() => save("safetensors")}>
            <strong>.safetensors</strong><span>to import here or in another kshot</span>
          </button>
          <button type="button" class="quiet" onClick=${() => save("onnx")}>
            <strong>.onnx</strong><span>to run without kshot, also on a phone</span>
          </button>
        </div>
      </details>
      <button type="button" class="quiet" onClick=${() => askToDelete(classifier)}><${Icon} name="trash" />Delete</button>
    </div>
  `;
}

/** When Escape is pressed, or the focus goes elsewhere. */
function closeMenu(event) {
  const menu = event.currentTarget;
  if (event.type === "keydown" ? event.key !== "Escape" : menu.contains(event.relatedTarget)) return;
  if (event.type === "keydown") menu.querySelector("summary").focus();
  menu.open = false;
}
