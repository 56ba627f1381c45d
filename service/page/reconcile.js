/** Makes the service's classifier what the user wants: one request after another, until nothing differs. */

import { call, all, Problem } from "./api.js";
import { complain, tell } from "./notices.js";
import { keep, forget } from "./shelf.js";
import { limits, remembered } from "./service.js";
import { count } from "./words.js";

const MOST_FILES = 200;
const MOST_BYTES = 16 * 2 ** 20;

const busy = new WeakSet();

/** @param {import("./workspace.js").Workspace} workspace */
export async function reconcile(workspace) {
  if (busy.has(workspace)) return; // the loop that runs sees what changed
  busy.add(workspace);
  let changed = false;
  try {
    for (let step; (step = nextStep(workspace)); ) changed = (await step()) || changed;
  } finally {
    busy.delete(workspace);
    workspace.progress.value = null;
  }
  if (changed && workspace.classifier.value) await afterwards(workspace);
}

/** Additions first: a class is then seldom the last but one when something is taken away. */
function nextStep(workspace) {
  const { classifier, examples } = workspace;
  const waiting = examples.value.filter(({ status, removed }) => status === "waiting" && !removed);
  if (!classifier.value) {
    const chosen = batchOf(alternating(waiting));
    const classes = new Set(chosen.map(({ classId }) => classId));
    return classes.size > 1 ? () => send(workspace, chosen) : null;
  }
  if (waiting.length) return () => send(workspace, batchOf(waiting));
  const stored = examples.value.filter(({ exampleId }) => exampleId);
  const moved = stored.find((each) => !each.removed && workspace.classOf(each.classId).name !== each.storedLabel);
  if (moved) return () => relabel(workspace, moved);
  const removed = stored.find((each) => each.removed);
  return removed ? () => remove(workspace, removed, stored) : null;
}

/** One of each class in turn, so that a first request has two. */
function alternating(examples) {
  const ranks = new Map();
  const ranked = examples.map((example) => {
    const rank = ranks.get(example.classId) ?? 0;
    ranks.set(example.classId, rank + 1);
    return { example, rank };
  });
  return ranked.sort((one, other) => one.rank - other.rank).map(({ example }) => example);
}

/** As many as one request may have, at least two. */
function batchOf(examples) {
  const { files = MOST_FILES, body_bytes: bytes = MOST_BYTES } = limits();
  let left = Math.min(MOST_BYTES, 0.9 * bytes);
  const end = examples.findIndex(({ file }, place) => (left -= file.size) < 0 && place > 1);
  return examples.slice(0, Math.min(files, MOST_FILES, end < 0 ? examples.length : end));
}

async function send(workspace, examples) {
  const { classifier, progress, classes } = workspace;
  const known = classifier.value;
  const names = new Map(classes.value.map(({ id, name }) => [id, name]));
  const labels = examples.map(({ classId }) => names.get(classId));
  workspace.update(examples, { status: "sending" });
  progress.value = { pictures: examples.length, share: 0 };
  const form = [...examples.map(({ file, name }) => ["files", file, name]), ["labels", JSON.stringify(labels)]];
  if (!known) form.push(...creationFields(workspace));
  const request = {
    method: "POST",
    path: known ? `v1/classifiers/${known.id}/examples/upload` : "v1/classifiers/upload",
    form,
    creates: true,
    told: known ? `Add ${count(examples.length, "picture")}` : `Create a classifier from ${count(examples.length, "picture")}`,
  };
  try {
    const onProgress = (share) => (progress.value = { pictures: examples.length, share });
    const answer = await call(request, { onProgress });
    await taken(workspace, answer, examples, labels);
    return true;
  } catch (problem) {
    refused(workspace, problem, examples);
    return false;
  }
}

function creationFields({ model, name }) {
  const fields = [["model", model.value], ["name", name.value.trim()]];
  return fields.filter(([, value]) => value);
}

/** The service has the examples. */
async function taken(workspace, answer, examples, labels) {
  const added = answer.added ?? (await all(`v1/classifiers/${answer.id}/examples`));
  examples.forEach((example, place) =>
    workspace.update([example], { status: "stored", exampleId: added[place].id, storedLabel: labels[place], reason: null }),
  );
  const small = new Map(workspace.examples.value.map((example) => [example.id, example.small]));
  keep(examples.map(({ id }, place) => [added[place].id, small.get(id)]).filter(([, blob]) => blob));
  const isNew = !workspace.classifier.value;
  workspace.take(answer);
  remembered(workspace);
  if (isNew) tell("The classifier is ready: ask it, or show it more. Every further picture makes it better.");
  if (workspace.replaces) {
    const path = `v1/classifiers/${workspace.replaces}`;
    workspace.replaces = null;
    await call({ method: "DELETE", path });
  }
}

/** Some pictures cannot be used: they are marked and the others go on. Or nothing could be sent: it waits for the user. */
function refused(workspace, problem, examples) {
  if (!(problem instanceof Problem)) throw problem;
  const bad = problem.errors.filter(({ loc }) => loc[0] === "body" && loc[1] === "files" && Number.isInteger(loc[2]));
  workspace.update(examples, { status: bad.length ? "waiting" : "failed" });
  for (const { loc, msg } of bad) workspace.update([examples[loc[2]]], { status: "refused", reason: msg });
  if (bad.length) complain(unusable(problem, bad, examples));
  else complain(problem, () => workspace.retry());
}

/** The same problem by the files' names: the service speaks of places in a request. */
function unusable({ status, code, requestId }, bad, examples) {
  const errors = bad.map(({ loc, msg }) => ({ msg: `“${examples[loc[2]].name}”: ${msg}` }));
  const detail = errors.length > 1 ? "All others are taken." : `${errors[0].msg}. All others are taken.`;
  return new Problem({ status, code, title: `${count(bad.length, "picture")} cannot be used`, detail, errors, request_id: requestId });
}

async function relabel(workspace, example) {
  const { classifier, classes } = workspace;
  const label = workspace.classOf(example.classId).name;
  const request = {
    method: "PATCH",
    path: `v1/classifiers/${classifier.value.id}/examples/${example.exampleId}`,
    json: { label },
    told: "Move an example to another class",
  };
  try {
    workspace.take(await call(request));
    workspace.update([example], { storedLabel: label });
    return true;
  } catch (problem) {
    // Back to where the service has it, in a class of that name.
    const its = workspace.classNamed(example.storedLabel);
    if (its) workspace.update([example], { classId: its.id });
    else classes.value = classes.value.map((each) => (each.id === example.classId ? { ...each, name: example.storedLabel } : each));
    complain(problem);
    return false;
  }
}

/** One example, or a label with all that it has, where all are to go. */
async function remove(workspace, example, stored) {
  const { classifier } = workspace;
  const alike = stored.filter(({ storedLabel }) => storedLabel === example.storedLabel);
  const whole = alike.length > 1 && alike.every(({ removed }) => removed);
  const gone = whole ? alike : [example];
  const path = `v1/classifiers/${classifier.value.id}`;
  const request = whole
    ? { path: `${path}/labels/${encodeURIComponent(example.storedLabel)}`, told: "Remove a class" }
    : { path: `${path}/examples/${example.exampleId}`, told: "Remove an example" };
  try {
    await call({ method: "DELETE", ...request });
  } catch (problem) {
    if (problem.code !== "unknown_example") {
      restore(workspace, gone);
      complain(problem);
      return false;
    }
  }
  const ids = new Set(gone.map(({ id }) => id));
  workspace.examples.value = workspace.examples.value.filter(({ id }) => !ids.has(id));
  gone.forEach(({ thumb }) => URL.revokeObjectURL(thumb));
  forget(gone.map(({ exampleId }) => exampleId));
  return true;
}

/** Shows again what could not be removed; its class too, if that was removed. */
function restore(workspace, examples) {
  for (const example of examples) {
    const its = workspace.classNamed(example.storedLabel) ?? workspace.addClass(example.storedLabel);
    workspace.update([example], { removed: false, classId: its.id });
  }
}

async function afterwards(workspace) {
  try {
    const { id } = workspace.classifier.value;
    workspace.take(await call({ method: "GET", path: `v1/classifiers/${id}` }));
    await Promise.all([workspace.refreshMap(), workspace.askAgain()]);
    remembered(workspace);
  } catch (problem) {
    complain(problem);
  }
}
