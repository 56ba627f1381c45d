/** What the page knows of the service: its limits and models, and the list of classifiers. */

import { signal } from "./vendor/preact.js";
import { call } from "./api.js";

const PAGE = 20;

export const version = signal(null);
export const models = signal([]);
export const classifiers = signal([]);
export const nextCursor = signal(null);

export const limits = () => version.value?.limits ?? {};

export async function meet() {
  version.value = await call({ method: "GET", path: "version" });
  models.value = (await call({ method: "GET", path: "v1/models", query: { limit: 100 } })).data.filter(({ task }) => task === "classification");
  await listFirst();
}

export async function listFirst() {
  classifiers.value = [];
  nextCursor.value = null;
  await listMore();
}

export async function listMore() {
  const query = { limit: PAGE, ...(nextCursor.value && { cursor: nextCursor.value }) };
  const page = await call({ method: "GET", path: "v1/classifiers", query });
  const known = new Set(page.data.map(({ id }) => id));
  classifiers.value = [...classifiers.value.filter(({ id }) => !known.has(id)), ...page.data];
  nextCursor.value = page.next_cursor;
}

/** A workspace's classifier is new or has changed: the list and the page's address say so. */
export function remembered({ classifier }) {
  const changed = classifier.value;
  const others = classifiers.value.filter(({ id }) => id !== changed.id);
  const place = classifiers.value.findIndex(({ id }) => id === changed.id);
  classifiers.value = place < 0 ? [changed, ...others] : classifiers.value.with(place, changed);
}

export async function rename(id, name) {
  const json = { name: name.trim() || null };
  const renamed = await call({ method: "PATCH", path: `v1/classifiers/${id}`, json, told: "Rename the classifier" });
  classifiers.value = classifiers.value.map((each) => (each.id === id ? renamed : each));
  return renamed;
}

export async function discard(id) {
  await call({ method: "DELETE", path: `v1/classifiers/${id}`, told: "Delete the classifier" });
  classifiers.value = classifiers.value.filter((each) => each.id !== id);
}

/** Saves a classifier as a file. */
export async function download({ id, name }, format) {
  const request = { method: "GET", path: `v1/classifiers/${id}/export`, query: { format }, as: "blob" };
  const content = await call({ ...request, told: `Export as ${format}` });
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(content),
    download: `${(name ?? "").replaceAll(/[^\p{L}\p{N}_.-]+/gu, "-") || id}.${format}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export async function bring(file) {
  const form = [["file", file, file.name]];
  const taken = await call({ method: "POST", path: "v1/classifiers/import", form, creates: true, told: "Import a classifier" });
  classifiers.value = [taken, ...classifiers.value];
  return taken;
}

