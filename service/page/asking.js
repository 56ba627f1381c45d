/** Queries: what a classifier says of pictures that it was not shown. */

import { call } from "./api.js";
import { spoken } from "./notices.js";
import { count, percent } from "./words.js";

const AT_ONCE = 32;
const MOST_SPOKEN = 3;

/** Asks the classifier of a workspace, if it has one; those that wait are asked when it has. */
export async function askAll(workspace, queries) {
  const { classifier, threshold } = workspace;
  for (let start = 0; start < queries.length && classifier.value; start += AT_ONCE) {
    const part = queries.slice(start, start + AT_ONCE);
    const form = [...part.map(({ file, name }) => ["files", file, name]), ["explain", "true"]];
    if (threshold.value) form.push(["none_threshold", threshold.value]);
    const path = `v1/classifiers/${classifier.value.id}/classify/upload`;
    try {
      const told = `Classify ${count(part.length, "picture")}`;
      const { results, calibrated } = await call({ method: "POST", path, form, told });
      say(part, results);
      answered(workspace, part, (place) => ({
        result: results[place].error ? null : { ...results[place], calibrated },
        reason: results[place].error?.detail ?? null,
      }));
    } catch (problem) {
      const said = new Map((problem.errors ?? []).map(({ loc, msg }) => [loc[2], msg]));
      answered(workspace, part, (place) => ({ result: null, reason: said.get(place) ?? problem.detail }));
      if (problem.code !== "undecodable_image") throw problem;
    }
  }
}

/** For those who do not see the answers. */
function say(queries, results) {
  const words = results.slice(0, MOST_SPOKEN).map(({ prediction, error, predictions }, place) => {
    const likeliest = predictions[0] && `${predictions[0].label} ${percent(predictions[0].probability)}`;
    return `${queries[place].name}: ${error ? "cannot be answered" : prediction ? likeliest : `none of these, else ${likeliest}`}`;
  });
  spoken.value = words.join(". ");
}

function answered({ queries }, part, change) {
  const changes = new Map(part.map(({ id }, place) => [id, change(place)]));
  queries.value = queries.value.map((query) => ({ ...query, ...changes.get(query.id) }));
}
