import { html, signal, useRef, useState } from "../vendor/preact.js";
import { focusOn } from "../focus.js";
import { complain, tell } from "../notices.js";
import { bring, classifiers, discard, listMore, nextCursor, rename } from "../service.js";
import { ago, count } from "../words.js";
import { Dialog, Icon } from "./dialog.js";

const renamed = signal(null);
const doomed = signal(null);

/** All classifiers, the newest first: open, rename, delete, import. */
export function Library({ shown, open, onNew }) {
  const chooser = useRef(null);
  const take = async ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (!file) return;
    try {
      location.hash = (await bring(file)).id;
      tell("The classifier was imported.");
    } catch (problem) {
      complain(problem);
    }
  };
  return html`
    <nav id="library" class=${shown.value ? "library shown" : "library"} aria-labelledby="library-title">
      <header>
        <h2 id="library-title">My classifiers</h2>
        <button type="button" id="new" onClick=${onNew}><${Icon} name="plus" />New</button>
      </header>
      ${!classifiers.value.length && html`<p class="small">None yet. Show the page two kinds of pictures, and the first one is here.</p>`}
      <ul>
        ${classifiers.value.map((each) => html`<${Entry} key=${each.id} classifier=${each} current=${open.classifier.value?.id === each.id} />`)}
      </ul>
      ${nextCursor.value && html`<button type="button" class="quiet wide" onClick=${() => listMore().catch(complain)}>Show more</button>`}
      <button type="button" class="quiet wide" onClick=${() => chooser.current.click()}><${Icon} name="upload" />Import a file</button>
      <input ref=${chooser} type="file" accept=".safetensors" hidden aria-label="A classifier's file" onChange=${take} />
    </nav>
  `;
}

/** Outside of the list, which narrow screens hide. */
export function LibraryDialogs({ open }) {
  return html`
    ${renamed.value && html`<${RenameDialog} classifier=${renamed.value} open=${open} />`}
    ${doomed.value && html`<${DeleteDialog} classifier=${doomed.value} open=${open} />`}
  `;
}

export const nameOf = ({ name, labels }) => name ?? labels.map(({ label }) => label).join(", ");

export const askToDelete = (classifier) => (doomed.value = classifier);

function Entry({ classifier, current }) {
  const { id, labels, examples, updated_at: time } = classifier;
  const name = nameOf(classifier);
  return html`
    <li class=${current ? "current" : ""}>
      <a href=${`#${id}`} aria-current=${current ? "page" : undefined}>
        <strong>${name}</strong>
        <span>${count(labels.length, "class")} · ${count(examples, "picture")} · ${ago(time)}</span>
      </a>
      <span class="tools">
        <button type="button" class="quiet" aria-label=${`Rename ${name}`} onClick=${() => (renamed.value = classifier)}>Rename</button>
        <button type="button" class="quiet icon" aria-label=${`Delete ${name}`} onClick=${() => askToDelete(classifier)}><${Icon} name="trash" /></button>
      </span>
    </li>
  `;
}

function RenameDialog({ classifier, open }) {
  const [name, setName] = useState(classifier.name ?? "");
  const leave = () => (renamed.value = null);
  const give = async (event) => {
    event.preventDefault();
    try {
      const now = await rename(classifier.id, name);
      if (open.classifier.value?.id === now.id) open.take(now);
      leave();
    } catch (problem) {
      complain(problem);
    }
  };
  return html`
    <${Dialog} title="Rename" onClose=${leave}>
      <form onSubmit=${give}>
        <label class="field">Name<input value=${name} onInput=${({ target }) => setName(target.value)} maxlength="200" autofocus /></label>
        <div class="buttons"><button type="submit" class="main">Rename</button></div>
      </form>
    <//>
  `;
}

function DeleteDialog({ classifier, open }) {
  const leave = () => (doomed.value = null);
  const remove = async () => {
    leave();
    try {
      await discard(classifier.id);
      focusOn("new");
      tell("The classifier was deleted.");
      if (open.classifier.value?.id === classifier.id) location.hash = "";
    } catch (problem) {
      complain(problem);
    }
  };
  return html`
    <${Dialog} title=${`Delete “${nameOf(classifier)}”?`} onClose=${leave}>
      <p>Programs that ask it will be told that it does not exist. This cannot be undone; an exported file can be imported again.</p>
      <div class="buttons">
        <button type="button" class="quiet" onClick=${leave}>Keep it</button>
        <button type="button" class="danger" onClick=${remove}>Delete</button>
      </div>
    <//>
  `;
}
