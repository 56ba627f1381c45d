/** What to do about a problem, in terms of this page; the service's own words are in terms of requests. */

const ADVICE = {
  too_few_labels: "A classifier needs pictures of two classes. Show another class first, or delete the classifier.",
  examples_not_kept: "Choose another model, or make a new classifier with all pictures at once.",
  unknown_classifier: "It was deleted, has expired, or belongs to another key. Choose one from the list, or start anew.",
  unknown_example: "It is gone already. Open the classifier again to see what it holds.",
  unknown_model: "Choose one of the models in the list.",
  model_version_missing: "Make a new classifier from the pictures with a model that is there.",
  missing_scope: "Use a key with that scope; an operator makes one with “kshot keys create NAME --scope …”.",
  undecodable_image: "Remove here what is broken, or save it as JPEG or PNG and show it again.",
  too_large: "Send fewer pictures at once, or smaller ones.",
  rate_limited: "Wait a little, then try again.",
  overloaded: "Try again in a few seconds.",
  deadline_exceeded: "Try again with fewer pictures at once.",
  quota_exceeded: "Delete a classifier that you no longer need.",
  not_ready: "The models are being loaded; this takes some seconds. Try again then.",
  not_installed: "Whoever runs the service can install what is missing; or choose the other format.",
  unknown_host: "Open this page by the service's own address.",
  store_unavailable: "Nothing was lost. Try again; if it stays so, tell whoever runs the service.",
};
const SERVERS = "Try again. If it happens again, tell whoever runs the service, with the number below: it is in its log.";

/** @param {import("./api.js").Problem} problem */
export function adviceFor(problem) {
  return ADVICE[problem.code] ?? (problem.status >= 500 ? SERVERS : null);
}
