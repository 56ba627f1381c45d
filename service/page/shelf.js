/**
 * Small copies of examples, kept in this browser alone: the service keeps no pictures, so that a classifier which is
 * opened again would have none to show. Where a browser keeps nothing (a private window), nothing is shown.
 */

const STORE = "thumbnails";

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open("kshot", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return opened;
}

async function within(mode, act) {
  try {
    const transaction = (await database()).transaction(STORE, mode);
    const result = act(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
    return result;
  } catch {
    return null;
  }
}

/** @param {[string, Blob][]} pairs of an example's id and its small copy. */
export const keep = (pairs) => within("readwrite", (store) => pairs.forEach(([id, blob]) => store.put(blob, id)));

/** @returns {Promise<Map<string, Blob>>} of those ids that are there. */
export async function recall(ids) {
  const asked = await within("readonly", (store) => ids.map((id) => [id, store.get(id)]));
  return new Map((asked ?? []).map(([id, { result }]) => [id, result]).filter(([, blob]) => blob));
}

export const forget = (ids) => within("readwrite", (store) => ids.forEach((id) => store.delete(id)));

export const forgetAll = () => within("readwrite", (store) => void store.clear());
