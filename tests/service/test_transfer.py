"""Classifiers as files: exported, imported elsewhere, asked without the service, and files that lie."""

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from meta_core import portable
from meta_core.checkpoint import load
from meta_core.portable import ClassifierCard, Portable
from meta_core.preprocess import decode
from tests.service.gradient import MAML
from tests.service.running import MODELS, Service, assert_same, digits, examples
from tests.service.test_changing import MORE, PAIRS, QUERIES, asked, create, listed

ELSEWHERE = "omniglot-protonet"


def exported(client: httpx.Client, classifier_id: str, **query: str) -> bytes:
    answer = client.get(f"/v1/classifiers/{classifier_id}/export", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].endswith(f'.{query.get("format", "safetensors")}"')
    return answer.content


def imported(client: httpx.Client, data: bytes, **form: Any) -> httpx.Response:
    return client.post("/v1/classifiers/import", files={"file": ("a.safetensors", data)}, data=form)


@pytest.mark.parametrize("model", ["omniglot-protonet", "omniglot-maml", "photos"])
def test_an_imported_classifier_answers_as_the_exported_one(
    every_client: httpx.Client, client: httpx.Client, model: str
) -> None:
    """In another process, which serves the models for drawings; photos go back to where they came from."""
    other = every_client if model == "photos" else client
    made = create(every_client, model=model, name="mine", metadata={"a": [1]})
    answer = imported(other, exported(every_client, made["id"]), ttl_seconds=1000)
    assert answer.status_code == 201, answer.text
    taken = answer.json()
    same = ("name", "model", "version", "labels", "examples", "metadata", "adapt")
    assert [taken[field] for field in same] == [made[field] for field in same]
    assert (taken["id"] != made["id"], taken["expires_at"] is not None) == (True, True)
    assert other.get(answer.headers["location"]).json() == taken
    assert_same(asked(other, taken["id"]), asked(every_client, made["id"]))


def test_an_imported_classifier_is_added_to_like_any_other(client: httpx.Client) -> None:
    first = create(client)
    taken = imported(client, exported(client, first["id"]), name="other").json()
    assert taken["report"]["leave_one_out_accuracy"] == first["report"]["leave_one_out_accuracy"]
    for made in (first, taken):
        added = client.post(f"/v1/classifiers/{made['id']}/examples", json={"examples": examples(MORE)})
        assert added.status_code == 201, added.text
    assert_same(asked(client, taken["id"]), asked(client, first["id"]))
    ids = [{example["id"] for example in listed(client, made["id"])} for made in (first, taken)]
    assert not ids[0] & ids[1]


def test_the_file_answers_without_the_service(client: httpx.Client, tmp_path: Path) -> None:
    made = create(client)
    (tmp_path / "mine.safetensors").write_bytes(exported(client, made["id"]))
    labels, answers = portable.classify(tmp_path / "mine.safetensors", [data for _, data in QUERIES], models=MODELS)
    rows = [dict(zip(labels, row.tolist(), strict=True)) for row in answers.probabilities]
    assert_same(rows, asked(client, made["id"]))


@pytest.mark.parametrize("model", [pytest.param("photos", marks=pytest.mark.faults), MAML])  # a minute of exporting
def test_as_onnx_it_answers_without_this_software(every_client: httpx.Client, tmp_path: Path, model: str) -> None:
    made = create(every_client, model=model)
    (tmp_path / "mine.onnx").write_bytes(exported(every_client, made["id"], format="onnx"))
    spec = every_client.get(f"/v1/models/{model}").json()["input"]
    arrays = [decode(data, portable_spec(spec)) for _, data in QUERIES]
    np.save(tmp_path / "pictures.npy", np.stack(arrays))
    script = (
        "import json, sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession('mine.onnx', providers=['CPUExecutionProvider'])\n"
        "answers = session.run(None, {'pictures': numpy.load('pictures.npy')})\n"
        "told = json.loads(session.get_modelmeta().custom_metadata_map['kshot'])\n"
        "assert 'torch' not in sys.modules and 'meta_core' not in sys.modules\n"
        "print(json.dumps([told['labels'], *[answer.tolist() for answer in answers]]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    labels, probabilities, *none = json.loads(ran.stdout)
    assert_same([dict(zip(labels, row, strict=True)) for row in probabilities], asked(every_client, made["id"]))
    images = {"images": [example["image"] for example in examples(QUERIES)]}
    results = every_client.post(f"/v1/classifiers/{made['id']}/classify", json=images).json()["results"]
    expected = [result["none_probability"] for result in results]
    assert (none[0] if none else [None] * len(expected)) == pytest.approx(expected, abs=1e-5)


def portable_spec(spec: dict[str, Any]) -> Any:
    return type(load(MODELS / ELSEWHERE).card.input).model_validate(spec)


@pytest.fixture(scope="module")
def good(service: Service) -> bytes:
    """A good file of nine examples of three labels."""
    answer = httpx.post(f"{service.url}/v1/classifiers", json={"examples": examples(PAIRS)}, timeout=60)
    data = httpx.get(f"{service.url}/v1/classifiers/{answer.json()['id']}/export", timeout=60).content
    assert isinstance(data, bytes)
    return data


def with_card(**changes: Any) -> Callable[[Portable], Portable]:
    return lambda whole: whole._replace(card=whole.card.model_copy(update=changes))


def with_state(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Portable], Portable]:
    return lambda whole: whole._replace(state={name: change(tensor) for name, tensor in whole.state.items()})


def with_examples(**changes: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Portable], Portable]:
    def changed(whole: Portable) -> Portable:
        parts = {name: change(getattr(whole.examples, name)) for name, change in changes.items()}
        return whole._replace(examples=whole.examples._replace(**parts))

    return changed


LIES: dict[str, tuple[Callable[[Portable], Portable], int, str]] = {
    "another model": (with_card(model="nothing"), 409, "model_version_missing"),
    "another version": (with_card(version="9.9.9"), 409, "model_version_missing"),
    "other weights": (with_card(encoder_sha256="0" * 64), 409, "model_version_missing"),
    "another precision": (with_card(precision="bf16"), 409, "model_version_missing"),
    "a path for a model": (with_card(model="../../etc"), 409, "model_version_missing"),
    "labels that are the same": (with_card(labels=("3", "3", "8")), 422, "invalid_classifier_file"),
    "labels in another order": (with_examples(labels=lambda t: t.flip(0)), 422, "invalid_classifier_file"),
    "a label that prints backwards": (with_card(labels=("3", "4", "\u202e")), 422, "invalid_request"),
    "a name with a line break": (with_card(name="a\nb"), 422, "invalid_request"),
    "too many labels": (with_card(labels=("3", "4", "8", "9"), shots=(3, 3, 3, 0)), 422, "invalid_classifier_file"),
    "shots of nobody": (with_card(shots=(3, 3, 4)), 422, "invalid_classifier_file"),
    "huge metadata": (with_card(metadata={"x": "y" * 20_000}), 422, "invalid_request"),
    "options of another learner": (with_card(options={"steps": 3}), 422, "invalid_options"),
    "half a step": (with_card(options={"steps": 2.5}), 422, "invalid_classifier_file"),
    "unknown options": (with_card(options={"evil": 1}), 422, "invalid_classifier_file"),
    "a state of another shape": (with_state(lambda t: t[:, :-1]), 422, "invalid_classifier_file"),
    "a state of another type": (with_state(lambda t: t.double()), 422, "invalid_classifier_file"),
    "a state that is no number": (with_state(lambda t: t * torch.nan), 422, "invalid_classifier_file"),
    "another tensor": (
        lambda whole: whole._replace(state=whole.state | {"more": torch.zeros(3)}),
        422,
        "invalid_classifier_file",
    ),
    "no state": (lambda whole: whole._replace(state={}), 422, "invalid_classifier_file"),
    "labels out of range": (with_examples(labels=lambda t: t + 1), 422, "invalid_classifier_file"),
    "negative labels": (with_examples(labels=lambda t: t - 1), 422, "invalid_classifier_file"),
    "labels as a table": (with_examples(labels=lambda t: t[:, None]), 422, "invalid_classifier_file"),
    "features that are no number": (with_examples(features=lambda t: t / 0), 422, "invalid_classifier_file"),
    "features of another width": (with_examples(features=lambda t: t[:, 1:]), 422, "invalid_classifier_file"),
    "fewer features": (with_examples(features=lambda t: t[1:]), 422, "invalid_classifier_file"),
    "short hashes": (with_examples(sha256=lambda t: t[:, 1:]), 422, "invalid_classifier_file"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(client: httpx.Client, good: bytes, lie: str) -> None:
    """Its hash fits: whoever lies can count."""
    change, status, code = LIES[lie]
    answer = imported(client, portable.dumps(change(portable.loads(good))))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def _flipped(good: bytes) -> bytes:
    return good[:-5] + bytes([good[-5] ^ 1]) + good[-4:]


def _pickled(_: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"prototypes": torch.zeros(3)}, buffer)
    return buffer.getvalue()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "seven bytes": lambda good: good[:7],
    "cut off": lambda good: good[:-1],
    "cut off in the header": lambda good: good[:100],
    "more behind": lambda good: good + b"more",
    "one bit": _flipped,
    "a header that says it is huge": lambda good: (2**63 - 1).to_bytes(8, "little") + good[8:],
    "a header of zero bytes": lambda good: bytes(8) + good[8:],
    "a nested header": lambda _: (n := b'{"a":' * 20_000 + b"1" + b"}" * 20_000) and len(n).to_bytes(8, "little") + n,
    "no card": lambda _: (n := b"{}".ljust(8)) and len(n).to_bytes(8, "little") + n,
    "a tensor of terabytes": lambda _: (
        (n := b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'.ljust(80))
        and len(n).to_bytes(8, "little") + n
    ),
    "a pickle": lambda _: pickle.dumps({"a": 1}),
    "torch's own": _pickled,
    "onnx": lambda _: (MODELS / ELSEWHERE / "encoder.onnx").read_bytes(),
    "a model's weights": lambda _: (MODELS / ELSEWHERE / "learner.safetensors").read_bytes(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused(client: httpx.Client, good: bytes, damage: str) -> None:
    answer = imported(client, DAMAGE[damage](good))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_classifier_file"), answer.text


def test_the_card_of_a_good_file_is_read(client: httpx.Client, good: bytes) -> None:
    """What the lies above are told with is taken as it is where it does not lie."""
    card = portable.loads(good).card
    assert isinstance(card, ClassifierCard)
    assert (card.labels, card.shots) == (("3", "4", "8"), (3, 3, 3))
    assert imported(client, portable.dumps(portable.loads(good))).status_code == 201


def test_what_is_not_there_cannot_be_exported(client: httpx.Client) -> None:
    assert client.get("/v1/classifiers/clf_none/export").json()["code"] == "unknown_classifier"
    pairs = digits(1, labels=(1, 2))
    answer = client.get(f"/v1/classifiers/{create(client, pairs)['id']}/export", params={"format": "pickle"})
    assert answer.status_code == 422
