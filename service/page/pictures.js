/** Pictures out of drops, clipboards and file choosers, and small copies of them to look at. */

const ENDINGS = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic)$/i;
const THUMB_PIXELS = 256;
const AT_ONCE = 4;

/** Whether a file says that it is a picture; whether it is one, the service says. */
export const looksLikePicture = (file) => file.type.startsWith("image/") || ENDINGS.test(file.name);

/**
 * What was dropped, folders included.
 *
 * @param {DataTransfer} dropped read at once: a browser empties it when the event is over.
 * @returns {Promise<{file: File, folder: string | null}[]>} each with the folder in which it lay.
 */
export async function filesOfDrop(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...dropped.files].map((file) => ({ file, folder: null }));
  return (await Promise.all(entries.map((entry) => filesUnder(entry, null)))).flat();
}

/** The same of a file chooser, where each file knows its path if a folder was chosen. */
export function filesOfInput(input) {
  return [...input.files].map((file) => {
    const path = file.webkitRelativePath.split("/");
    return { file, folder: path.length > 1 ? path.at(-2) : null };
  });
}

async function filesUnder(entry, folder) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), folder }];
  const reader = entry.createReader();
  const found = [];
  for (let more = true; more; ) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    found.push(...some);
    more = some.length > 0;
  }
  return (await Promise.all(found.map((child) => filesUnder(child, entry.name)))).flat();
}

/** @returns {File[]} pictures that were pasted, each with a name of its own. */
export function filesOfPaste(clipboard) {
  const stamp = new Date().toISOString().slice(11, 19).replaceAll(":", "-");
  return [...clipboard.files]
    .filter(looksLikePicture)
    .map((file, number) => new File([file], `pasted-${stamp}-${number + 1}.${file.type.split("/")[1]}`, { type: file.type }));
}

const waiting = [];
let working = 0;

/** A small copy as a Blob; null for what this browser cannot show, as TIFF. A few at a time: photos are large. */
export function thumbnail(file) {
  return new Promise((resolve) => {
    waiting.push({ file, resolve });
    next();
  });
}

async function next() {
  if (working >= AT_ONCE || !waiting.length) return;
  working++;
  const { file, resolve } = waiting.shift();
  resolve(await shrink(file).catch(() => null));
  working--;
  next();
}

async function shrink(file) {
  const whole = await createImageBitmap(file);
  const scale = Math.min(1, THUMB_PIXELS / Math.min(whole.width, whole.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(whole.width * scale));
  canvas.height = Math.max(1, Math.round(whole.height * scale));
  canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.85));
}
