"""What every backbone promises, and the published sizes of those that papers name."""

import inspect

import pytest
import torch
from torch import Tensor, nn

from meta_core.errors import UnknownName
from meta_core.registry import BACKBONES

SHAPE = (1, 28, 28)
NEEDED = {"timm": {"model": "test_efficientnet"}}
"""Options that a backbone cannot be built without."""

WITH_WIDTH = [
    name for name in BACKBONES.names() if "width" in inspect.signature(BACKBONES.module(name).build).parameters
]


def built(name: str, shape: tuple[int, ...] = SHAPE, **options: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone: nn.Module = BACKBONES.build(name, input_shape=shape, **{**NEEDED.get(name, {}), **options})
    return backbone


def noise(count: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def parameters(backbone: nn.Module) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


@pytest.mark.parametrize("name", BACKBONES.names())
def test_a_row_of_features_is_its_own_pictures_alone(name: str) -> None:
    backbone, pictures = built(name).eval(), noise(9)
    with torch.no_grad():
        together = backbone(pictures)
        alone = torch.cat([backbone(picture[None]) for picture in pictures])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5 * together.abs().max().item())


@pytest.mark.parametrize("name", BACKBONES.names())
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 40, 24)])
def test_features_are_a_row_a_picture(name: str, shape: tuple[int, int, int]) -> None:
    with torch.no_grad():
        features = built(name, shape).eval()(noise(5, shape))
    assert features.ndim == 2
    assert len(features) == 5
    assert features.isfinite().all()


@pytest.mark.parametrize("name", BACKBONES.names())
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    backbone = built(name).train()
    features = backbone(noise(6))
    # A weighted sum: batch norm makes the plain sum of squares a constant, whose gradient is 0.
    (features * noise(6, (1, 1, features.shape[1])).flatten(1)).sum().backward()
    for path, parameter in backbone.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().max() > 0, path


@pytest.mark.parametrize("name", WITH_WIDTH)
def test_a_wider_backbone_has_more_features(name: str) -> None:
    with torch.no_grad():
        widths = [built(name, width=width).eval()(noise(1)).shape[1] for width in (4, 8)]
    assert widths[1] == 2 * widths[0]


def test_conv4_has_64_features_at_28_px() -> None:
    assert built("conv4").eval()(noise(2)).shape == (2, 64)


def test_conv4_with_three_pools_keeps_nine_places() -> None:
    assert built("conv4", pools=3).eval()(noise(2)).shape == (2, 9 * 64)


def test_conv4_has_1600_features_at_84_px() -> None:
    assert built("conv4", (3, 84, 84)).eval()(noise(2, (3, 84, 84))).shape == (2, 1600)


def test_conv4_has_the_published_number_of_parameters() -> None:
    # 113,088 with the 4 · 64 biases of the papers' convolutions, which batch norm makes idle.
    assert parameters(built("conv4", (3, 84, 84))) == 113_088 - 4 * 64


def test_resnet12_has_640_features_at_84_px() -> None:
    assert built("resnet12", (3, 84, 84)).eval()(noise(1, (3, 84, 84))).shape == (1, 640)


def test_resnet12_has_the_published_number_of_parameters() -> None:
    # 12.4 million, of MetaOptNet's ResNet-12 with 64, 160, 320 and 640 filters.
    assert parameters(built("resnet12", (3, 84, 84))) == 12_424_320


def test_resnet12_drops_channels_in_training_alone() -> None:
    backbone, pictures = built("resnet12", width=4, dropout=0.5), noise(8)
    with torch.no_grad():
        assert not torch.equal(backbone.train()(pictures), backbone(pictures))
        assert torch.equal(backbone.eval()(pictures), backbone(pictures))


def test_timm_features_of_several_depths_are_what_the_networks_own_stages_say() -> None:
    backbone = built("timm", (3, 32, 32), model="test_efficientnet", depths=(-2, 1), depth_weights=(0.5, 2.0)).eval()
    pictures = noise(3, (3, 32, 32))
    with torch.no_grad():
        features = backbone(pictures)
        last, stages = backbone.network.forward_intermediates(pictures, output_fmt="NCHW")
        head = backbone.network.forward_head(last, pre_logits=True)
    count = len(stages)
    expected = [2.0 * stages[1].mean((2, 3)), 0.5 * stages[count - 2].mean((2, 3)), head]
    torch.testing.assert_close(features, torch.cat(expected, 1))


def test_timm_deviations_and_powers_make_parts_of_length_one() -> None:
    plain = built("timm", (3, 96, 96), model="test_efficientnet").eval()
    backbone = built("timm", (3, 96, 96), model="test_efficientnet", deviations=True, power=0.5).eval()
    pictures = noise(3, (3, 96, 96))
    with torch.no_grad():
        average, features, places = plain(pictures), backbone(pictures), backbone.network.forward_features(pictures)
    mean, deviation = features.split(average.shape[1], dim=1)
    roots = average.sign() * average.abs().sqrt()
    torch.testing.assert_close(mean, roots / roots.norm(dim=1, keepdim=True), atol=2e-3, rtol=0)
    spread = places.std((2, 3), correction=0).sqrt()
    torch.testing.assert_close(deviation, spread / spread.norm(dim=1, keepdim=True), atol=5e-3, rtol=0)


@pytest.mark.parametrize("model", ["test_efficientnet", "test_vit", "test_resnet"])
def test_timm_deviations_are_of_the_places_of_any_kind_of_network(model: str) -> None:
    size = 160 if model == "test_vit" else 32
    backbone = built("timm", (3, size, size), model=model, deviations=True, depths=(0,), power=0.7).eval()
    with torch.no_grad():
        features = backbone(noise(2, (3, size, size)))
    assert features.isfinite().all()


@pytest.mark.parametrize("model", ["test_efficientnet", "test_resnet"])
def test_timm_pooled_features_are_the_networks_own_up_to_their_length(model: str) -> None:
    options = {"model": model, "depths": (0, 1), "deviations": True, "power": 0.7}
    pictures, shape = noise(3, (3, 96, 96)), (3, 96, 96)
    backbone, plain = built("timm", shape, **options).eval(), built("timm", shape, model=model).eval()
    with torch.no_grad():
        cosines = torch.cosine_similarity(backbone.pooled(backbone(pictures)), plain(pictures))
    torch.testing.assert_close(cosines, torch.ones(3), atol=1e-4, rtol=0)


def test_timm_texture_is_the_deviations_of_the_last_depth() -> None:
    options = {"model": "test_efficientnet", "depths": (0, 1), "deviations": True}
    backbone, pictures = built("timm", (3, 96, 96), **options).eval(), noise(3, (3, 96, 96))
    with torch.no_grad():
        _, stages = backbone.network.forward_intermediates(pictures, indices=[0, 1])
        texture = backbone.texture(backbone(pictures))
    torch.testing.assert_close(texture, stages[-1].std((2, 3), correction=0), atol=1e-3, rtol=0)
    assert built("timm", (3, 96, 96), model="test_efficientnet").texture(texture) is None


def test_timm_refuses_weights_that_do_not_fit_the_depths() -> None:
    with pytest.raises(UnknownName, match="1 depth_weights came for depths"):
        built("timm", (3, 96, 96), model="test_efficientnet", depths=(0, 1), depth_weights=(0.5,))


def test_conv4_may_end_in_layers_that_answer() -> None:
    for down in ("pool", "stride"):
        network = built("conv4", width=8, down=down, hidden=[10], outputs=3)
        assert network.eval()(noise(2)).shape == (2, 3)
        assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [10, 3]


def test_mlp_has_the_paper_s_layers() -> None:
    network = built("mlp", (1,))
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [40, 40, 1]
    assert network(torch.zeros(5, 1)).shape == (5, 1)


def test_mlp_flattens_pictures() -> None:
    assert built("mlp", hidden=[6], outputs=2)(noise(4)).shape == (4, 2)
