/** The page: what is open, and where its parts stand. */

import { effect, html, render, signal, useEffect } from "./vendor/preact.js";
import { keyWanted } from "./api.js";
import { complain, spoken } from "./notices.js";
import { meet } from "./service.js";
import { Workspace } from "./workspace.js";
import { dropsAnywhere, pasted } from "./parts/adding.js";
import { Ask } from "./parts/ask.js";
import { CameraDialog, cameraFor } from "./parts/camera.js";
import { CodePanel } from "./parts/code_panel.js";
import { ExampleDialog, shownExample } from "./parts/example_dialog.js";
import { Header } from "./parts/header.js";
import { KeyDialog } from "./parts/key_dialog.js";
import { Library, LibraryDialogs, nameOf } from "./parts/library.js";
import { EmbeddingMap } from "./parts/embedding_map.js";
import { Notices } from "./parts/notices.js";
import { Report } from "./parts/report.js";
import { Show } from "./parts/show.js";
import { TitleBar } from "./parts/title_bar.js";

const workspace = signal(Workspace.fresh());
const listShown = signal(false);

async function start() {
  try {
    await meet();
    await openFromAddress();
  } catch (problem) {
    complain(problem, start);
  }
}

function show(next) {
  workspace.value.close();
  workspace.value = next;
  listShown.value = false;
}

/** The address names what is open, so that reloading and going back work. */
async function openFromAddress() {
  const id = location.hash.slice(1);
  if (id === (workspace.value.classifier.value?.id ?? "")) return;
  if (!id) return show(Workspace.fresh());
  try {
    const opened = await Workspace.open(id);
    if (location.hash.slice(1) === id) show(opened);
  } catch (problem) {
    complain(problem);
    history.replaceState(null, "", location.pathname);
    show(Workspace.fresh());
  }
}

/** Nothing is lost: what is stored is in the list. */
function begin(event) {
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  show(Workspace.fresh());
}

function App() {
  const open = workspace.value;
  useEffect(() => {
    const paste = (event) => pasted(event, workspace.value);
    const navigate = () => openFromAddress();
    document.addEventListener("paste", paste);
    addEventListener("hashchange", navigate);
    const dropsNoMore = dropsAnywhere(() => workspace.value);
    start();
    return () => {
      dropsNoMore();
      document.removeEventListener("paste", paste);
      removeEventListener("hashchange", navigate);
    };
  }, []);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the pictures</a>
    <${Header} listShown=${listShown} />
    <div class="frame">
      <${Library} shown=${listShown} open=${open} onNew=${begin} />
      <main id="main" tabindex="-1">
        <${TitleBar} workspace=${open} />
        <div class="columns">
          <${Show} workspace=${open} />
          <${Ask} workspace=${open} />
          ${open.classifier.value && html`<div class="insight"><${Report} workspace=${open} /><${EmbeddingMap} workspace=${open} /></div>`}
        </div>
        <${CodePanel} />
      </main>
    </div>
    <${LibraryDialogs} open=${open} />
    ${shownExample.value && html`<${ExampleDialog} workspace=${open} />`}
    ${cameraFor.value && html`<${CameraDialog} workspace=${open} />`}
    ${keyWanted.value && html`<${KeyDialog} wanted=${keyWanted.value} />`}
    <${Notices} />
    <div class="unseen" role="status">${spoken.value}</div>
  `;
}

function skip(event) {
  event.preventDefault();
  document.querySelector("#main").focus();
}

let named = null;

effect(() => {
  const made = workspace.value.classifier.value;
  document.title = made ? `${nameOf(made)} · kshot` : "kshot";
  if (made && made.id !== named && location.hash.slice(1) !== made.id) history.pushState(null, "", `#${made.id}`);
  named = made?.id ?? null;
});

render(html`<${App} />`, document.querySelector("#app"));
