"""Models of timm as backbones: their features, at several depths, and what they take. Random weights, no network."""

import pytest
import torch
from torch import Tensor

from meta_core.backbones.timm import TimmBackbone, build, input_spec
from meta_core.errors import UnknownName

SHAPE = (3, 64, 64)


def built(model: str, shape: tuple[int, int, int] = SHAPE, depths: tuple[int, ...] = ()) -> TimmBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(input_shape=shape, model=model, depths=depths).eval()


@torch.no_grad()
def features(backbone: TimmBackbone, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return backbone(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("model", "depths", "widths"),
    [
        ("test_resnet", (1, 3), (32, 192, 96)),
        ("test_vit", (0, 4), (64, 64, 64)),
        ("tf_efficientnet_lite0", (2, 3), (40, 112, 1280)),
    ],
)
def test_earlier_depths_stand_before_the_pooled_features(
    model: str, depths: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    plain, deep = built(model), built(model, depths=depths)
    deep.load_state_dict(plain.state_dict())
    found = features(deep)
    assert found.shape == (3, sum(widths))
    torch.testing.assert_close(found[:, -widths[-1] :], features(plain), rtol=1e-5, atol=1e-6)
    seen: list[Tensor] = []
    stage = deep.network.get_submodule(deep.network.feature_info[depths[0]]["module"])
    stage.register_forward_hook(lambda _, __, output: seen.append(output))
    features(deep)
    places = seen[0][:, 1:].mean(1) if seen[0].ndim == 3 else seen[0].mean((2, 3))  # without the class token
    torch.testing.assert_close(found[:, : widths[0]], places, rtol=1e-5, atol=1e-6)


def test_depths_are_taken_in_the_networks_order_and_counted_from_both_ends() -> None:
    assert built("test_resnet", depths=(-1, 1, 4)).depths == (1, 4)


def test_a_transformer_is_built_for_the_pictures_size() -> None:
    shape = (1, 32, 48)
    assert features(built("test_vit", shape), shape).shape == (3, 64)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_row_with_depths_is_its_own_pictures_alone(model: str) -> None:
    backbone = built(model, depths=(1,))
    pictures = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = torch.cat([backbone(picture[None]) for picture in pictures])
        torch.testing.assert_close(alone, backbone(pictures), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("resnet10", "did you mean resnet10t"),
        ("test_resnet.in22k", r"no weights 'test_resnet.in22k'.*test_resnet.r160_in1k"),
        ("hf-hub:timm/test_resnet", "has no model 'hf-hub:timm/test_resnet'"),
        ("zzz", r"see timm.list_models\(\)"),
    ],
)
def test_a_name_that_timm_does_not_have_is_told_with_those_it_has(model: str, told: str) -> None:
    with pytest.raises(UnknownName, match=told):
        build(input_shape=SHAPE, model=model)


def test_a_depth_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownName, match=r"depths \[5\] came; this ResNet has stages 0 to 4"):
        build(input_shape=SHAPE, model="test_resnet", depths=(2, 5))


def test_the_input_is_that_of_pretraining() -> None:
    spec = input_spec("test_vit")
    assert (spec.shape, spec.interpolation, spec.mean, spec.std) == ((3, 160, 160), "bicubic", (0.5,) * 3, (0.5,) * 3)
    assert input_spec("resnet10t").mean == (0.485, 0.456, 0.406)
    assert input_spec("test_resnet", side=96).shape == (3, 96, 96)


@pytest.mark.parametrize(("model", "side"), [("lite0", 224), ("lite1", 240), ("lite2", 260)])
def test_the_packages_models_take_pixels_over_127_5_minus_1(model: str, side: int) -> None:
    spec = input_spec(f"tf_efficientnet_{model}")
    assert (spec.shape, spec.mean, spec.std) == ((3, side, side), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
