"""A model's folder: what was saved is what is loaded, and what is not whole is refused by the file's name."""

import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from meta_core import checkpoint
from meta_core.batching import adapt_many, predict_many
from meta_core.card import Accuracy, Card, Part, card_text
from meta_core.checkpoint import load, measure_state, read_card
from meta_core.episode import SupportSet
from meta_core.errors import InvalidCheckpoint
from meta_core.learner import AdaptOptions, Learner
from meta_core.preprocess import normalize
from tests.made_up import SPEC, made_up_pictures, small_learner, write_model

FILES = {"card.json", "learner.safetensors", "encoder.onnx", "README.md"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder that no test may change."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "tiny")


def logits(learner: Learner) -> torch.Tensor:
    """Of four pictures, adapted to three classes of two."""
    pictures = normalize(made_up_pictures([10]).images, SPEC)
    with torch.no_grad():
        support = SupportSet(learner.encode(pictures[:6]), torch.eye(3).repeat(2, 1), torch.ones(6))
        states = adapt_many(learner, [support], options=AdaptOptions())
        return predict_many(learner, states, [learner.encode(pictures[6:])])[0]


def rewrite_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def rewrite_hash(folder: Path, name: str) -> None:
    """As someone would who wants a changed file to be loaded."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    rewrite_card(folder, files=read_card(folder).files | {name: digest})


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_was_saved_gives_identical_logits(saved: Path) -> None:
    assert torch.equal(logits(load(saved).learner), logits(small_learner("protonet", shape=SPEC.shape)))


def test_a_loaded_learner_is_frozen_and_in_eval_mode(saved: Path) -> None:
    learner = load(saved).learner
    assert not learner.training
    assert not any(parameter.requires_grad for parameter in learner.parameters())


def test_a_folder_holds_what_it_should_and_the_card_says_so(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == FILES
    card = load(saved).card
    assert card.name == "tiny"
    assert card.version == "1.2.3"
    assert card.features == (8,)
    assert card.state_bytes.at(ways=5, examples=20) == 5 * 8 * 4
    assert set(card.files) == {"learner.safetensors", "encoder.onnx"}
    assert read_card(saved) == card


def test_nothing_in_the_folder_is_a_pickle(saved: Path) -> None:
    for file in saved.iterdir():
        assert not zipfile.is_zipfile(file), f"{file.name} may be an archive of torch.save"
        assert file.read_bytes()[:1] != b"\x80", f"{file.name} begins as a pickle does"
    assert safetensors.torch.load_file(saved / "learner.safetensors")


def test_another_user_can_read_every_file(saved: Path) -> None:
    for file in saved.iterdir():
        assert file.stat().st_mode & stat.S_IROTH, file.name


@pytest.mark.parametrize("examples", [1, 2, 7, 64])
def test_the_onnx_encoder_agrees_with_torch(saved: Path, examples: int) -> None:
    pictures = normalize(made_up_pictures([examples]).images, SPEC)
    session = onnxruntime.InferenceSession(saved / "encoder.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"inputs": pictures.numpy()})
    with torch.no_grad():
        expected = load(saved).learner.encode(pictures).numpy()
    assert features.shape == (examples, 8)
    np.testing.assert_allclose(features, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["learner.safetensors", "encoder.onnx"])
def test_one_changed_byte_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match=rf"tiny: {name} is damaged.*copy the whole model folder again"):
        load(folder)


@pytest.mark.parametrize("name", ["learner.safetensors", "encoder.onnx"])
def test_a_truncated_file_is_found(folder: Path, name: str) -> None:
    os.truncate(folder / name, 1000)
    with pytest.raises(InvalidCheckpoint, match=f"tiny: {name} is damaged"):
        load(folder)


@pytest.mark.parametrize("name", ["learner.safetensors", "encoder.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidCheckpoint, match=f"tiny: {name} is missing"):
        load(folder)


def test_a_folder_without_a_card_is_no_model(folder: Path, tmp_path: Path) -> None:
    (folder / "card.json").unlink()
    for path in (folder, tmp_path / "nowhere"):
        with pytest.raises(InvalidCheckpoint, match=r"has no card\.json"):
            load(path)


def test_another_models_encoder_is_found(folder: Path, tmp_path: Path) -> None:
    other = small_learner("protonet", shape=SPEC.shape, seed=1)
    write_model(tmp_path / "other", other)
    shutil.copy(tmp_path / "other" / "encoder.onnx", folder / "encoder.onnx")
    with pytest.raises(InvalidCheckpoint, match=r"encoder\.onnx is damaged or of another model"):
        load(folder)


FOREIGN: dict[str, Callable[[str], str | bytes]] = {
    "another program's": lambda _: '{"name": "a-package", "version": "1.0.0"}',
    "a list": lambda _: "[]",
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "not text": lambda _: b"\xff\xfe\x00\x80",
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_card_is_refused_by_name(folder: Path, change: Callable[[str], str | bytes]) -> None:
    found = change((folder / "card.json").read_text())
    (folder / "card.json").write_bytes(found.encode() if isinstance(found, str) else found)
    with pytest.raises(InvalidCheckpoint, match=r"tiny: card\.json is not a card of format 1"):
        load(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    rewrite_card(folder, format=2, novelty="a field of the future")
    with pytest.raises(InvalidCheckpoint, match=r"card\.json is not a card of format 1: format: "):
        load(folder)


def test_an_unknown_field_is_named(folder: Path) -> None:
    rewrite_card(folder, colour="blue")
    with pytest.raises(InvalidCheckpoint, match=r"card\.json.*colour"):
        load(folder)


def test_a_learner_that_is_not_registered_is_named(folder: Path) -> None:
    rewrite_card(folder, learner={"name": "oracle", "options": {}})
    with pytest.raises(InvalidCheckpoint, match=r"tiny: .*no learner is called 'oracle'"):
        load(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    rewrite_card(folder, backbone={"name": "conv4", "options": {"width": 16}})
    with pytest.raises(InvalidCheckpoint, match=r"tiny: learner\.safetensors does not hold the learner of card\.json"):
        load(folder)


def test_what_is_no_safetensors_is_refused_even_with_its_hash(folder: Path) -> None:
    (folder / "learner.safetensors").write_bytes(b"\x80\x04not tensors at all")
    rewrite_hash(folder, "learner.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"tiny: learner\.safetensors does not hold"):
        load(folder)


def test_an_input_of_another_size_than_the_weights_were_saved_for_is_refused(folder: Path) -> None:
    rewrite_card(folder, input=SPEC.model_copy(update={"height": 32, "width": 32}).model_dump())
    with pytest.raises(InvalidCheckpoint, match=r"tiny: .*\(8,\), they are \(32,\)"):
        load(folder)


def test_saving_replaces_an_older_model_whole(folder: Path) -> None:
    (folder / "leftover.txt").write_text("of version 1")
    card = write_model(folder)
    assert {file.name for file in folder.iterdir()} == FILES
    assert load(folder).card == card


def test_a_failed_save_leaves_the_old_model_whole(folder: Path) -> None:
    before = contents(folder)
    learner = small_learner("protonet", shape=SPEC.shape, seed=1)
    computed = {"files", "features", "state_bytes", "most_ways", "adapt"}
    description = read_card(folder).model_dump(exclude=computed | {"training"})
    with pytest.raises(ValidationError, match="training"):
        checkpoint.save(folder, learner, description=description)
    assert contents(folder) == before


def test_a_failed_first_save_leaves_no_model(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        checkpoint.save(tmp_path / "tiny", small_learner("protonet", shape=SPEC.shape), description={"input": SPEC})
    assert not (tmp_path / "tiny").exists()


def test_saving_leaves_the_learners_answers_alone(tmp_path: Path) -> None:
    learner = small_learner("protonet", shape=SPEC.shape)
    before = logits(learner)
    write_model(tmp_path / "tiny", learner)
    assert torch.equal(logits(learner), before)


def test_the_state_of_prototypes_is_measured_exactly() -> None:
    size = measure_state(small_learner("protonet"), (8,))
    assert size.model_dump() == {"fixed": 0, "per_way": 8 * 4, "per_example": 0, "per_target": 0}


def test_the_readme_tells_what_the_card_tells(saved: Path) -> None:
    figures = [
        Accuracy(data="made-up", ways=5, shots=1, queries=15, episodes=600, accuracy=91.234, ci95=0.456),
        Accuracy(data="made-up", ways=20, shots=1, queries=1, episodes=20, accuracy=95, ci95=1, protocol="lake"),
    ]
    text = card_text(read_card(saved).model_copy(update={"accuracy": figures}))
    assert "# tiny 1.2.3" in text
    assert "| made-up | 600 episodes, 15 queries a class | 5 | 1 | 91.23 ± 0.46 |" in text
    assert "| made-up | Lake's 20 one-shot runs | 20 | 1 | 95.00 ± 1.00 |" in text
    assert "32 bytes a class" in text
    assert "Apache-2.0" in text


def test_a_model_that_was_not_meta_trained_says_whose_weights_it_has(saved: Path) -> None:
    text = card_text(read_card(saved).model_copy(update={"origin": "somebody's net (MIT licence)", "training": None}))
    assert "weights: somebody's net (MIT licence)" in text
    assert "Not meta-trained" in text
    assert "Recipe" not in text
    assert "curve.png" not in text
    assert "Not measured yet" in text


def test_the_readme_does_not_call_classes_unseen_that_pretraining_may_have_seen(saved: Path) -> None:
    row = Accuracy(data="made-up", ways=5, shots=1, queries=15, episodes=600, accuracy=91, ci95=1)
    card = read_card(saved).model_copy(update={"accuracy": [row]})
    assert "classes never trained on" in card_text(card)
    started = card_text(card.model_copy(update={"origin": "somebody's net"}))
    assert "never trained on" not in started
    assert "meta-training never saw and pretraining may have seen" in started
    assert "Recipe `tiny`" in started


@pytest.mark.parametrize(
    ("short", "name", "options"),
    [("conv4", "conv4", {}), ("timm:vit.tag_in1k", "timm", {"model": "vit.tag_in1k"})],
)
def test_a_part_may_be_written_short(short: str, name: str, options: dict[str, str]) -> None:
    assert Part.model_validate(short) == Part(name=name, options=options)


def test_every_card_survives_json(saved: Path) -> None:
    card = read_card(saved)
    assert Card.model_validate_json(card.model_dump_json()) == card
