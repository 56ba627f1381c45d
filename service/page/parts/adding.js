/** The ways in: drop, choose, paste, camera. */

import { html, signal, useRef, useState } from "../vendor/preact.js";
import { complain, tell } from "../notices.js";
import { filesOfDrop, filesOfInput, filesOfPaste } from "../pictures.js";
import { count } from "../words.js";
import { openCamera } from "./camera.js";
import { Icon } from "./dialog.js";

/** What a dragged example is called on the way. */
export const EXAMPLE = "application/x-kshot-example";

/** Where a paste goes: a class's id, or "ask"; the place that was last used. */
export const place = signal(null);

/** Tells where a paste goes next. */
export const marks = (id) => ({ onFocusIn: () => (place.value = id), onPointerDown: () => (place.value = id) });

/**
 * What makes an element take drops.
 *
 * @param {(found: {file: File, folder: string | null}[]) => void} onFiles
 * @param {((exampleId: string) => void) | null} onExample takes an example from another class
 */
export function useDrop(onFiles, onExample = null) {
  const [over, setOver] = useState(false);
  const takes = ({ types }) => types.includes("Files") || (onExample && types.includes(EXAMPLE));
  const onDragOver = (event) => {
    if (!takes(event.dataTransfer)) return;
    event.preventDefault();
    event.stopPropagation();
    setOver(true);
  };
  const onDrop = (event) => {
    if (!takes(event.dataTransfer)) return;
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    const example = event.dataTransfer.getData(EXAMPLE);
    if (example && onExample) onExample(example);
    else filesOfDrop(event.dataTransfer).then(onFiles, complain);
  };
  const onDragLeave = ({ currentTarget, relatedTarget }) => currentTarget.contains(relatedTarget) || setOver(false);
  return { over, handlers: { onDragOver, onDrop, onDragLeave } };
}

/** What is dropped beside all places becomes classes; else the browser would leave the page to show it. */
export function dropsAnywhere(workspaceOf) {
  const onDragOver = (event) => event.dataTransfer.types.includes("Files") && event.preventDefault();
  const onDrop = (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    filesOfDrop(event.dataTransfer).then((found) => takeFolders(workspaceOf(), found), complain);
  };
  document.addEventListener("dragover", onDragOver);
  document.addEventListener("drop", onDrop);
  return () => {
    document.removeEventListener("dragover", onDragOver);
    document.removeEventListener("drop", onDrop);
  };
}

/** Each folder becomes a class. */
export function takeFolders(workspace, found) {
  const before = workspace.examples.value.length;
  workspace.addFolders(found);
  tellOfOthers(found.length, workspace.examples.value.length - before);
}

/** Says so where some of the files that came are no pictures. */
export function tellOfOthers(came, taken) {
  if (taken < came) tell(`${count(came - taken, "file")} left out: not a picture.`);
}

/** Pictures from the clipboard go where the user was last. */
export function pasted(event, workspace) {
  const files = filesOfPaste(event.clipboardData);
  if (!files.length) return;
  event.preventDefault();
  const its = workspace.classOf(place.value) ?? (place.value === "ask" ? null : workspace.classes.value[0]);
  if (its) workspace.add(its.id, files);
  else workspace.ask(files);
  tell(`Pasted ${count(files.length, "picture")} ${its ? `into “${its.name}”` : "to ask about"}.`);
}

/** Buttons that choose files, a folder, or take pictures. `what` names the place for those who do not see it. */
export function Choosers({ onFiles, destination, what }) {
  const files = useRef(null);
  const folder = useRef(null);
  const chosen = ({ target }) => {
    const found = filesOfInput(target);
    target.value = "";
    onFiles(found);
  };
  return html`
    <div class="choosers">
      <button type="button" onClick=${() => files.current.click()}><${Icon} name="files" />Files<span class="unseen"> ${what}</span></button>
      <button type="button" onClick=${() => folder.current.click()}><${Icon} name="folder" />Folder<span class="unseen"> ${what}</span></button>
      <button type="button" onClick=${() => openCamera(destination)}><${Icon} name="camera" />Camera<span class="unseen"> ${what}</span></button>
      <input ref=${files} type="file" multiple accept="image/*" hidden aria-label=${`Files ${what}`} onChange=${chosen} />
      <input ref=${folder} type="file" webkitdirectory hidden aria-label=${`A folder ${what}`} onChange=${chosen} />
    </div>
  `;
}
