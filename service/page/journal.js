/** What was done, so that the page can show the code that does the same. */

import { signal } from "./vendor/preact.js";

const MOST = 12;

/** The latest first: `{told, method, path, query, json, form, as}`, files by name alone. */
export const journal = signal([]);

export function remember({ told, method, path, query, json, form, as }) {
  const fields = form?.map(([name, value, filename]) => [name, value instanceof Blob ? { filename } : value]);
  const others = journal.value.filter((entry) => entry.told !== told);
  journal.value = [{ told, method, path, query, json, form: fields, as }, ...others].slice(0, MOST);
}
