"""What a user of the generated Python client does; the parts between the rules are those of docs/clients.md."""

# ---
import os
from base64 import b64encode
from pathlib import Path

from kshot_client import AuthenticatedClient
from kshot_client.api.classifiers import create_classifier
from kshot_client.models import ClassifierOut, CreateClassifier, ExampleIn

kshot = AuthenticatedClient(base_url="http://127.0.0.1:8000", token=os.environ["KSHOT_KEY"])

pictures = [path for label in ("screw", "nail") for path in sorted(Path("my_pictures", label).iterdir())[:5]]
labels = [path.parent.name for path in pictures]
examples = [
    ExampleIn(label=label, image=b64encode(path.read_bytes()).decode())
    for label, path in zip(labels, pictures, strict=True)
]
made = create_classifier.sync(client=kshot, body=CreateClassifier(examples=examples, name="by JSON"))
assert isinstance(made, ClassifierOut), made  # else a Problem: its `detail` says what to do
print(made.id, made.model, [(each.label, each.shots) for each in made.labels])
# ---

assert [(each.label, each.shots) for each in made.labels] == [("screw", 5), ("nail", 5)]

# ---
from io import BytesIO

from kshot_client.api.classifiers import create_classifier_archive, create_classifier_upload
from kshot_client.models import CreateClassifierArchiveForm, CreateClassifierUploadForm
from kshot_client.types import File

files = [File(BytesIO(path.read_bytes()), path.name) for path in pictures]
of_files = create_classifier_upload.sync(client=kshot, body=CreateClassifierUploadForm(files=files, labels=labels))

with Path("my_pictures.zip").open("rb") as archive:
    zipped = CreateClassifierArchiveForm(archive=File(archive, "my_pictures.zip"), ttl_seconds=3600)
    of_zip = create_classifier_archive.sync(client=kshot, body=zipped)
# ---

assert isinstance(of_files, ClassifierOut), of_files
assert isinstance(of_zip, ClassifierOut), of_zip
assert {"screw", "nail", "bolt"} < {each.label for each in of_zip.labels}
assert of_zip.expires_at is not None

# ---
from kshot_client.api.classify import classify
from kshot_client.models import Classification, ClassifyImages

asked = b64encode(Path("new/nail.png").read_bytes()).decode()
answer = classify.sync(made.id, client=kshot, body=ClassifyImages(images=[asked], none_threshold=1))
assert isinstance(answer, Classification), answer
for result in answer.results:
    print(result.prediction, result.confidence, result.none_probability)
# ---

assert [result.prediction for result in answer.results] == ["nail"]

from kshot_client.api.classify import classify_upload
from kshot_client.models import ClassifyUploadForm

query = File(BytesIO(Path("new/nail.png").read_bytes()), "nail.png")
by_files = classify_upload.sync(
    of_files.id, client=kshot, body=ClassifyUploadForm(files=[query], none_threshold=1, explain=True)
)
assert isinstance(by_files, Classification), by_files
for one, other in zip(by_files.results, answer.results, strict=True):
    assert isinstance(one.confidence, float)
    assert isinstance(other.confidence, float)
    assert abs(one.confidence - other.confidence) <= 1e-5

# ---
from kshot_client.api.examples import add_examples, remove_example
from kshot_client.models import AddExamples, ChangedClassifier

bolts = sorted(Path("my_pictures/bolt").iterdir())[:3]
more = AddExamples(examples=[ExampleIn(label="bolt", image=b64encode(path.read_bytes()).decode()) for path in bolts])
changed = add_examples.sync(made.id, client=kshot, body=more)
assert isinstance(changed, ChangedClassifier), changed

removed = remove_example.sync_detailed(made.id, changed.added[0].id, client=kshot)
assert removed.status_code == 204, removed.parsed
# ---

from kshot_client.api.classifiers import get_classifier

left = get_classifier.sync(made.id, client=kshot)
assert isinstance(left, ClassifierOut), left
assert [(each.label, each.shots) for each in left.labels] == [("screw", 5), ("nail", 5), ("bolt", 2)]

# ---
from kshot_client.api.classifiers import get_classifier
from kshot_client.models import Problem

nothing = get_classifier.sync("clf_none", client=kshot)
assert isinstance(nothing, Problem)
print(nothing.status, nothing.code, nothing.detail)
# ---

assert (nothing.status, nothing.code) == (404, "unknown_classifier")
wrong = create_classifier_upload.sync(client=kshot, body=CreateClassifierUploadForm(files=files, labels=labels[:-1]))
assert isinstance(wrong, Problem)
assert (wrong.status, wrong.code) == (422, "invalid_request")
assert "9 labels came with 10 files" in wrong.detail
stranger = AuthenticatedClient(base_url="http://127.0.0.1:8000", token="of_nobody")
unkeyed = get_classifier.sync(made.id, client=stranger)
assert isinstance(unkeyed, Problem)
assert (unkeyed.status, unkeyed.code) == (401, "invalid_key")
limited = AuthenticatedClient(base_url="http://127.0.0.1:8000", token=os.environ["KSHOT_LIMITED_KEY"])
for _ in range(100):
    refused = get_classifier.sync_detailed(made.id, client=limited)
    if refused.status_code != 200:
        break
assert refused.status_code == 429
assert isinstance(refused.parsed, Problem)
assert (refused.parsed.status, refused.parsed.code) == (429, "rate_limited")
assert 1 <= int(refused.headers["Retry-After"]) <= 2
kshot = limited

# ---
import time

from kshot_client.api.classifiers import list_classifiers
from kshot_client.models import ClassifierPage

listed = list_classifiers.sync_detailed(client=kshot)
while listed.status_code in (429, 503):
    time.sleep(float(listed.headers["Retry-After"]))
    listed = list_classifiers.sync_detailed(client=kshot)
# ---

assert isinstance(listed.parsed, ClassifierPage), listed.parsed
assert {of_files.id, of_zip.id, made.id} <= {each.id for each in listed.parsed.data}
print("the session is over")
