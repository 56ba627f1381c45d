/**
 * One classifier as the user sees it: classes with examples, queries with answers.
 *
 * Users' actions change what is wanted, here and at once; `reconcile.js` then makes the service's classifier so. Each
 * workspace has its own signals: what still arrives for one that was left disturbs no other.
 */

import { batch, computed, signal } from "./vendor/preact.js";
import { all, call, randomName } from "./api.js";
import { askAll } from "./asking.js";
import { complain } from "./notices.js";
import { looksLikePicture, thumbnail } from "./pictures.js";
import { reconcile } from "./reconcile.js";
import { keep, recall } from "./shelf.js";

const COLOURS = 10;

/**
 * @typedef {object} Example
 * @property {string} id this page's own
 * @property {string} classId the class in which the user has put it
 * @property {File | null} file null where it was shown in another session
 * @property {string | null} thumb address of a small copy
 * @property {string | null} exampleId the service's id, once stored
 * @property {string | null} storedLabel the label that the service knows it by
 * @property {"waiting" | "sending" | "stored" | "failed" | "refused"} status refused: it will never be taken
 * @property {string | null} reason why it was refused
 * @property {boolean} removed the user wants it gone
 */

export class Workspace {
  constructor() {
    this.classifier = signal(null);
    this.classes = signal([]);
    this.examples = signal([]);
    this.queries = signal([]);
    this.threshold = signal("");
    this.model = signal("");
    this.name = signal("");
    this.map = signal(null);
    this.progress = signal(null);
    this.dismissed = signal(new Set());
    /** The id of a classifier that the next one stands in for. */
    this.replaces = null;
    this.visible = computed(() => this.examples.value.filter((example) => !example.removed));
    this.unsent = computed(() => this.visible.value.filter(({ status }) => status === "waiting" || status === "sending"));
    this.filled = computed(() => new Set(this.visible.value.filter(usable).map(({ classId }) => classId)).size);
    /** What the report finds mislabelled and the user has not judged, by the service's id. */
    this.suspects = computed(() => {
      const found = this.classifier.value?.report?.mislabelled ?? [];
      return new Map(found.filter(({ example_id: id }) => !this.dismissed.value.has(id)).map((each) => [each.example_id, each]));
    });
    /** Whether all pictures are at hand, so that another model could be given them. */
    this.complete = computed(() => this.visible.value.every(({ file }) => file));
  }

  /** A workspace with two classes to fill. */
  static fresh() {
    const workspace = new Workspace();
    workspace.addClass();
    workspace.addClass();
    return workspace;
  }

  /** A stored classifier, with the small copies that this browser has of its examples. */
  static async open(id) {
    const workspace = new Workspace();
    const path = `v1/classifiers/${id}`;
    const [classifier, stored] = await Promise.all([call({ method: "GET", path }), all(`${path}/examples`)]);
    const thumbs = await recall(stored.map((example) => example.id));
    for (const { label } of classifier.labels) workspace.addClass(label);
    workspace.examples.value = stored.map((example) => workspace.#stored(example, thumbs.get(example.id)));
    workspace.take(classifier);
    await workspace.refreshMap();
    return workspace;
  }

  /** What the service says of the classifier now. */
  take(classifier) {
    batch(() => {
      this.classifier.value = classifier;
      this.model.value = classifier.model;
      this.name.value = classifier.name ?? "";
    });
  }

  async refreshMap() {
    const { id } = this.classifier.value;
    this.map.value = await call({ method: "GET", path: `v1/classifiers/${id}/map` }).catch(() => null);
  }

  /** Lets go of the pictures, when something else is opened. */
  close() {
    for (const { thumb } of [...this.examples.value, ...this.queries.value]) URL.revokeObjectURL(thumb);
  }

  // Classes

  addClass(name = this.#freeName()) {
    const taken = new Set(this.classes.value.map(({ colour }) => colour));
    let colour = 0;
    while (taken.has(colour) && colour < COLOURS - 1) colour++;
    const added = { id: randomName(), name, colour: taken.has(colour) ? this.classes.value.length % COLOURS : colour };
    this.classes.value = [...this.classes.value, added];
    return added;
  }

  classOf(classId) {
    return this.classes.value.find(({ id }) => id === classId);
  }

  classNamed(name) {
    return this.classes.value.find((each) => each.name === name);
  }

  /** @returns {string | null} why the class cannot be called so; null if it is now. */
  renameClass(classId, text) {
    const name = text.trim();
    if (!name) return "A class needs a name.";
    const other = this.classNamed(name);
    if (other && other.id !== classId) return `There is a class “${name}” already. Move the pictures there instead.`;
    this.classes.value = this.classes.value.map((each) => (each.id === classId ? { ...each, name } : each));
    reconcile(this);
    return null;
  }

  removeClass(classId) {
    this.#change(({ classId: its }) => its === classId, { removed: true });
    this.dropUnsent();
    this.classes.value = this.classes.value.filter(({ id }) => id !== classId);
    reconcile(this);
  }

  // Examples

  /** Takes pictures into a class. @returns {number} how many there were. */
  add(classId, files) {
    const pictures = files.filter(looksLikePicture);
    const added = pictures.map((file) => blank({ classId, file, name: file.name }));
    this.examples.value = [...this.examples.value, ...added];
    for (const example of added) this.#picture(example);
    reconcile(this);
    return pictures.length;
  }

  /** Takes pictures into classes named as their folders, made where there are none. */
  addFolders(found) {
    const folders = Map.groupBy(found.filter(({ file }) => looksLikePicture(file)), ({ folder }) => folder ?? "");
    for (const [folder, files] of folders) {
      const into = this.classNamed(folder) ?? this.#emptyUnnamed(folder) ?? this.addClass(folder || undefined);
      this.add(into.id, files.map(({ file }) => file));
    }
    return folders.size;
  }

  move(exampleId, classId) {
    this.#change(({ id }) => id === exampleId, { classId });
    reconcile(this);
  }

  remove(exampleId) {
    this.#change(({ id }) => id === exampleId, { removed: true });
    this.dropUnsent();
    reconcile(this);
  }

  /** Sends again what could not be sent. */
  retry() {
    this.#change(({ status }) => status === "failed", { status: "waiting" });
    reconcile(this);
  }

  exampleOf(exampleId) {
    return this.visible.value.find((example) => example.exampleId === exampleId);
  }

  update(examples, patch) {
    const ids = new Set(examples.map(({ id }) => id));
    this.#change(({ id }) => ids.has(id), patch);
  }

  /** Forgets what was removed before the service had it. */
  dropUnsent() {
    const gone = ({ removed, exampleId, status }) => removed && !exampleId && status !== "sending";
    this.examples.value = this.examples.value.filter((example) => !gone(example));
  }

  /** The user says that a suspect is right. */
  dismiss(exampleId) {
    this.dismissed.value = new Set(this.dismissed.value).add(exampleId);
  }

  // Model

  /** Another model: where there is a classifier, one made anew of the same pictures takes its place. */
  useModel(model) {
    this.model.value = model;
    if (!this.classifier.value) return;
    this.replaces = this.classifier.value.id;
    batch(() => {
      this.classifier.value = null;
      this.map.value = null;
      this.update(this.visible.value.filter(usable), { exampleId: null, storedLabel: null, status: "waiting" });
    });
    reconcile(this);
  }

  // Queries

  ask(files) {
    const asked = files
      .filter(looksLikePicture)
      .map((file) => ({ id: randomName(), file, name: file.name, thumb: URL.createObjectURL(file), result: null, reason: null }));
    this.queries.value = [...asked, ...this.queries.value];
    askAll(this, asked).catch(complain);
    return asked.length;
  }

  /** The answers to all, by the classifier as it is now. */
  askAgain() {
    return askAll(this, this.queries.value).catch(complain);
  }

  forgetQuery(queryId) {
    URL.revokeObjectURL(this.queries.value.find(({ id }) => id === queryId)?.thumb);
    this.queries.value = this.queries.value.filter(({ id }) => id !== queryId);
  }

  /** A query becomes an example of what it is. */
  teach(query, classId) {
    this.add(classId, [query.file]);
  }

  #change(which, patch) {
    this.examples.value = this.examples.value.map((each) => (which(each) ? { ...each, ...patch } : each));
  }

  #freeName() {
    let number = this.classes.value.length + 1;
    while (this.classNamed(`Class ${number}`)) number++;
    return `Class ${number}`;
  }

  /** A class that nobody has touched, under a new name. */
  #emptyUnnamed(name) {
    const used = new Set(this.visible.value.map(({ classId }) => classId));
    const empty = this.classes.value.find((each) => /^Class \d+$/.test(each.name) && !used.has(each.id));
    if (empty && name) this.renameClass(empty.id, name);
    return empty;
  }

  #stored({ id, label }, thumb) {
    const example = blank({ classId: this.classNamed(label).id, file: null, name: id });
    return { ...example, exampleId: id, storedLabel: label, status: "stored", thumb: thumb && URL.createObjectURL(thumb) };
  }

  async #picture({ id, file }) {
    const small = await thumbnail(file);
    if (!small) return;
    this.#change((each) => each.id === id, { small, thumb: URL.createObjectURL(small) });
    const { exampleId } = this.examples.value.find((each) => each.id === id) ?? {};
    if (exampleId) keep([[exampleId, small]]);
  }
}

/** Whether an example counts: the service has it or will be given it. */
export const usable = ({ status }) => status !== "refused";

/** @returns {Example} */
function blank(given) {
  const empty = { thumb: null, small: null, exampleId: null, storedLabel: null, status: "waiting", reason: null, removed: false };
  return { id: randomName(), ...empty, ...given };
}
