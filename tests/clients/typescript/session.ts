// What a user of the generated TypeScript client does, in order; the parts between the rules are those of docs/clients.md.
import assert from 'node:assert/strict';

// ---
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { client } from './client/client.gen.js';
import { createClassifier } from './client/sdk.gen.js';

client.setConfig({ baseUrl: 'http://127.0.0.1:8000', auth: process.env.KSHOT_KEY });

const pictures: string[] = [];
for (const label of ['screw', 'nail']) {
  const names = (await readdir(`my_pictures/${label}`)).sort().slice(0, 5);
  pictures.push(...names.map((name) => `my_pictures/${label}/${name}`));
}
const labels = pictures.map((path) => basename(dirname(path)));
const examples = await Promise.all(
  pictures.map(async (path, place) => ({ label: labels[place]!, image: await readFile(path, 'base64') })),
);
const made = await createClassifier({ body: { examples, name: 'by JSON' }, throwOnError: true });
console.log(made.data.id, made.data.model, made.data.labels);
// ---

assert.deepEqual(made.data.labels, [{ label: 'screw', shots: 5 }, { label: 'nail', shots: 5 }]);

// ---
import { createClassifierArchive, createClassifierUpload } from './client/sdk.gen.js';

const files = await Promise.all(pictures.map(async (path) => new File([await readFile(path)], basename(path))));
const ofFiles = await createClassifierUpload({ body: { files, labels }, throwOnError: true });

const archive = new File([await readFile('my_pictures.zip')], 'my_pictures.zip');
const ofZip = await createClassifierArchive({ body: { archive, ttl_seconds: 3600 }, throwOnError: true });
// ---

assert.deepEqual(ofFiles.data.labels, made.data.labels);
const found = ofZip.data.labels.map((each) => each.label);
assert.ok(['screw', 'nail', 'bolt'].every((label) => found.includes(label)));
assert.notEqual(ofZip.data.expires_at, null);

// ---
import { classify } from './client/sdk.gen.js';

const images = [await readFile('new/nail.png', 'base64')];
const answer = await classify({
  path: { classifier_id: made.data.id },
  body: { images, none_threshold: 1 },
  throwOnError: true,
});
for (const result of answer.data.results) {
  console.log(result.prediction, result.confidence, result.none_probability);
}
// ---

assert.deepEqual(answer.data.results.map((result) => result.prediction), ['nail']);

import { classifyUpload } from './client/sdk.gen.js';

const byFiles = await classifyUpload({
  path: { classifier_id: ofFiles.data.id },
  body: { files: [new File([await readFile('new/nail.png')], 'nail.png')], none_threshold: 1, explain: true },
  throwOnError: true,
});
byFiles.data.results.forEach((one, place) => {
  assert.ok(Math.abs(one.confidence! - answer.data.results[place]!.confidence!) <= 1e-5);
});

// ---
import { addExamples, removeExample } from './client/sdk.gen.js';

const bolts = (await readdir('my_pictures/bolt')).sort().slice(0, 3);
const more = await Promise.all(
  bolts.map(async (name) => ({ label: 'bolt', image: await readFile(`my_pictures/bolt/${name}`, 'base64') })),
);
const path = { classifier_id: made.data.id };
const changed = await addExamples({ path, body: { examples: more }, throwOnError: true });
await removeExample({ path: { ...path, example_id: changed.data.added[0]!.id }, throwOnError: true });
// ---

const left = await getClassifier({ path, throwOnError: true });
assert.deepEqual(left.data.labels, [...made.data.labels, { label: 'bolt', shots: 2 }]);

// ---
import { getClassifier } from './client/sdk.gen.js';

const { error } = await getClassifier({ path: { classifier_id: 'clf_none' } });
if (error) {
  console.log(error.status, error.code, error.detail);
}
// ---

assert.ok(error);
assert.deepEqual([error.status, error.code], [404, 'unknown_classifier']);
const wrong = await createClassifierUpload({ body: { files, labels: labels.slice(1) } });
assert.ok(wrong.error);
assert.deepEqual([wrong.error.status, wrong.error.code], [422, 'invalid_request']);
assert.match(wrong.error.detail, /9 labels came with 10 files/);
const unkeyed = await getClassifier({ path, auth: 'of_nobody' });
assert.deepEqual([unkeyed.error?.status, unkeyed.error?.code], [401, 'invalid_key']);

client.setConfig({ auth: process.env.KSHOT_LIMITED_KEY });
let refused = await getClassifier({ path });
for (let asked = 0; asked < 100 && !refused.error; asked++) {
  refused = await getClassifier({ path });
}
assert.deepEqual([refused.error?.status, refused.error?.code], [429, 'rate_limited']);
assert.ok([1, 2].includes(Number(refused.response?.headers.get('Retry-After'))));

// ---
import { setTimeout as sleep } from 'node:timers/promises';
import { listClassifiers } from './client/sdk.gen.js';

let listed = await listClassifiers();
while (listed.response?.status === 429 || listed.response?.status === 503) {
  await sleep(1000 * Number(listed.response.headers.get('Retry-After')));
  listed = await listClassifiers();
}
// ---

assert.ok(listed.data);
const ids = listed.data.data.map((each) => each.id);
assert.ok([made, ofFiles, ofZip].every((each) => ids.includes(each.data.id)));
console.log('the session is over');
