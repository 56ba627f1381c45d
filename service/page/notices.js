/** What the page tells in passing: problems until they are closed, good news for a few seconds, and both read aloud. */

import { signal } from "./vendor/preact.js";
import { Problem } from "./api.js";

const SHOWN_SECONDS = 6;

/** `{id, text?, problem?, retry?}`, the latest last. */
export const notices = signal([]);

/** The last word for screen readers. */
export const spoken = signal("");

let last = 0;

/** Says something that needs no answer. */
export function tell(text) {
  spoken.value = text;
  const id = ++last;
  notices.value = [...notices.value, { id, text }];
  setTimeout(() => close(id), SHOWN_SECONDS * 1000);
}

/** Shows a problem until it is closed, one of a kind; what is none is an error of this page. */
export function complain(error, retry = null) {
  if (!(error instanceof Problem)) throw error;
  const others = notices.value.filter(({ problem }) => problem?.detail !== error.detail);
  notices.value = [...others, { id: ++last, problem: error, retry }].slice(-4);
}

export function close(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
