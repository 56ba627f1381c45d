/** Requests to the service: the key, progress, asking again where that helps, and every error as a `Problem`. */

import { signal } from "./vendor/preact.js";
import { remember } from "./journal.js";

const KEY_NAME = "kshot-key";
const MOST_ATTEMPTS = 4;
const MOST_ATTEMPTS_AT_START = 40; // models take a while to load
const MOST_PATIENCE_SECONDS = 60;

/** What went wrong, as the service's problem documents say it (RFC 9457), or the same for what never reached it. */
export class Problem extends Error {
  constructor({ status = 0, code, title, detail, errors = [], request_id = "" }, retryAfterSeconds = null) {
    super(detail);
    Object.assign(this, { status, code, title, detail, errors, requestId: request_id, retryAfterSeconds });
  }
}

/** The key that is sent along; it lives as long as the tab. */
export const key = signal(sessionStorage.getItem(KEY_NAME) ?? "");

/** While a request waits for a key: the problem that asked for one, and what to call when there is one or never will be. */
export const keyWanted = signal(null);

/** The requests that wait to be sent again: `{problem, until, stop}`, the time in ms; `stop` makes the problem theirs. */
export const delayed = signal([]);

export function setKey(text) {
  key.value = text;
  if (text) sessionStorage.setItem(KEY_NAME, text);
  else sessionStorage.removeItem(KEY_NAME);
}

/**
 * One request.
 *
 * @param {object} request `method`, `path`, and what it needs of `query`, `json`, `form` (pairs of a name and a text or
 *   file), `as` ("blob"), `creates` (sent again, it creates nothing again), `told` (what it does, in words, for the
 *   code that does the same).
 * @param {{onProgress?: (share: number) => void}} options
 * @returns {Promise<any>} the answer's JSON, or a Blob; null where there is none.
 * @throws {Problem}
 */
export async function call(request, { onProgress } = {}) {
  const headers = request.creates ? { "Idempotency-Key": randomName() } : {};
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await transfer(request, headers, onProgress);
      if (request.told) remember(request);
      return answer;
    } catch (problem) {
      if (problem.status === 401) await keyInPlaceOf(key.value, problem);
      else await patience(problem, request, attempt);
    }
  }
}

/** All items of a list that comes page by page. */
export async function all(path) {
  const items = [];
  for (let cursor = null, more = true; more; ) {
    const page = await call({ method: "GET", path, query: { limit: 100, ...(cursor && { cursor }) } });
    items.push(...page.data);
    [cursor, more] = [page.next_cursor, page.has_more];
  }
  return items;
}

/** Resolves when there is another key than the one that was refused; several requests wait for the same. */
function keyInPlaceOf(refused, problem) {
  if (key.value !== refused) return Promise.resolve();
  if (!keyWanted.value) {
    let settle;
    const given = new Promise((resolve, reject) => (settle = { resolve, reject }));
    keyWanted.value = { problem, given, ...settle };
  }
  return keyWanted.value.given;
}

/** Waits where the same request may succeed later; else throws the problem. */
async function patience(problem, request, attempt) {
  const starting = problem.code === "not_ready";
  const again = problem.retryAfterSeconds !== null || problem.code === "changed_meanwhile" || starting;
  const lost = problem.code === "unreachable" && (request.creates || request.method === "GET");
  if (attempt >= (starting ? MOST_ATTEMPTS_AT_START : MOST_ATTEMPTS) || !(again || lost)) throw problem;
  const seconds = problem.retryAfterSeconds ?? 0.5 * 2 ** Math.min(attempt, 3);
  if (seconds > MOST_PATIENCE_SECONDS) throw problem;
  await pause(problem, seconds);
}

/** Waits as long as the user does. */
function pause(problem, seconds) {
  return new Promise((resolve, reject) => {
    const end = (settle) => {
      clearTimeout(timer);
      delayed.value = delayed.value.filter((each) => each !== mine);
      settle();
    };
    const timer = setTimeout(() => end(resolve), seconds * 1000);
    const mine = { problem, until: Date.now() + seconds * 1000, stop: () => end(() => reject(problem)) };
    delayed.value = [...delayed.value, mine];
  });
}

/** One attempt. XMLHttpRequest, as fetch does not tell how much of a body has been sent. */
function transfer({ method, path, query, json, form, as }, headers, onProgress) {
  return new Promise((resolve, reject) => {
    const exchange = new XMLHttpRequest();
    exchange.open(method, path + (query ? `?${new URLSearchParams(query)}` : ""));
    exchange.responseType = "blob";
    for (const [name, value] of Object.entries(headers)) exchange.setRequestHeader(name, value);
    if (key.value) exchange.setRequestHeader("Authorization", `Bearer ${key.value}`);
    if (json) exchange.setRequestHeader("Content-Type", "application/json");
    if (onProgress) exchange.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    exchange.onload = () => read(exchange, as).then(resolve, reject);
    exchange.onerror = () => reject(unreachable());
    exchange.send(json ? JSON.stringify(json) : form ? formOf(form) : null);
  });
}

function formOf(pairs) {
  const form = new FormData();
  for (const [name, value, filename] of pairs) {
    if (value instanceof Blob) form.append(name, value, filename);
    else form.append(name, value);
  }
  return form;
}

async function read(exchange, as) {
  const good = exchange.status >= 200 && exchange.status < 300;
  if (good && as === "blob") return exchange.response;
  const text = await exchange.response.text();
  if (good) return text ? JSON.parse(text) : null;
  const seconds = Number.parseFloat(exchange.getResponseHeader("Retry-After") ?? "");
  throw new Problem(documentOf(text, exchange.status), Number.isNaN(seconds) ? null : seconds);
}

function documentOf(text, status) {
  try {
    const found = JSON.parse(text);
    if (found.code && found.detail) return found;
  } catch {
    // Something between here and the service answered in its own words.
  }
  const detail = `The answer was ${status}, and not from kshot. Something stands between this page and the service: a proxy, perhaps.`;
  return { status, code: "foreign_answer", title: "Something else answered", detail };
}

function unreachable() {
  return new Problem({
    code: "unreachable",
    title: "The service does not answer",
    detail: "No answer came. See whether kshot still runs and whether this device is online, then try again.",
  });
}

/** crypto.randomUUID exists on https and localhost alone. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
