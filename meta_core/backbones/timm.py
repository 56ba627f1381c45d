"""Any image model of timm (Wightman 2019, "PyTorch Image Models") by its name, without its classifier."""

import difflib
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from meta_core.errors import UnknownName
from meta_core.preprocess import InputSpec

_TINY = 1e-6
"""Where roots and lengths are 0 their gradient is infinite."""

_INTERPOLATIONS = ("box", "bilinear", "bicubic", "lanczos")


def build(
    *,
    input_shape: tuple[int, int, int],
    model: str,
    depths: tuple[int, ...] = (),
    depth_weights: tuple[float, ...] = (),
    deviations: bool = False,
    power: float | None = None,
) -> "TimmBackbone":
    """A timm model with fresh weights: (N, *input_shape) → (N, D). `meta_core.pretrained` gives it trained ones.

    Args:
        input_shape: channels, height, width of a picture.
        model: timm's name, with the tag of its weights or without: `resnet10t`, `vit_small_patch14_dinov2.lvd142m`.
        depths: stages of timm's `feature_info` (blocks of a transformer), from 0, or from -1 backwards, whose averages
            over all places stand before the pooled features.
        depth_weights: factors on what comes of each of `depths`, in their order; 1 each if not given.
        deviations: behind each average, the standard deviation over all places too: textures show in it.
        power: of each of these parts every number is raised to it, its sign kept, and the part is scaled to length 1
            (power normalization, Perronnin et al. 2010): no part and no feature drowns the others. Left as they are
            if not given.

    Raises:
        UnknownName: timm has no such model, it does not take such pictures, or it has no such stages.
    """
    network = create(model, input_shape=input_shape)
    return TimmBackbone(
        network, depths=tuple(depths), depth_weights=tuple(depth_weights), deviations=deviations, power=power
    )


class TimmBackbone(nn.Module):
    """What a timm model's classifier would see, pooled, behind what earlier stages see.

    Args:
        network: of `timm.create_model`, without a classifier.
        depths: see `build`, and so for the others.
        depth_weights: a factor each.
        deviations: whether standard deviations stand behind averages.
        power: of the numbers.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        depths: tuple[int, ...] = (),
        depth_weights: tuple[float, ...] = (),
        deviations: bool = False,
        power: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.depths = _checked(network, depths)
        if depth_weights and not len(depth_weights) == len(depths) == len(self.depths):
            raise UnknownName(f"{len(depth_weights)} depth_weights came for depths {depths}; expected one for each")
        # A network is asked for its stages in its own order.
        count = len(network.feature_info) if depths else 1  # type: ignore[arg-type]
        given = dict(zip((depth % count for depth in depths), depth_weights, strict=False))
        self.depth_weights = tuple(given.get(depth, 1.0) for depth in self.depths)
        self.deviations, self.power = deviations, power

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *input) → (N, D)."""
        network: Any = self.network  # timm's models share methods, but no class that has them
        if self.depths:
            last, stages = network.forward_intermediates(inputs, indices=self.depths, output_fmt="NCHW")
        else:
            last, stages = network.forward_features(inputs), []
        parts = [
            weight * self._normalized(part)
            for stage, weight in zip(stages, self.depth_weights, strict=True)
            for part in (stage.mean((2, 3)), *self._deviation(stage))
        ]
        pooled = (network.forward_head(last, pre_logits=True), *self._deviation(last))
        return torch.cat([*parts, *(self._normalized(part) for part in pooled)], 1)

    def pooled(self, features: Tensor) -> Tensor:
        """Out of what `forward` gave, (N, D), the pooled features of the last stage, up to their length: (N, D')."""
        network: Any = self.network
        behind = network.num_features if self.deviations else 0
        part = features[:, features.shape[1] - behind - network.head_hidden_size : features.shape[1] - behind]
        return part if self.power is None else part.sign() * part.abs().pow(1 / self.power)

    def texture(self, features: Tensor) -> Tensor | None:
        """Out of what `forward` gave, (N, D), the deviations of the last of `depths`: (N, D'); None if none are in."""
        network: Any = self.network
        if not (self.depths and self.deviations):
            return None
        end = features.shape[1] - network.head_hidden_size - network.num_features
        return features[:, end - network.feature_info[self.depths[-1]]["num_chs"] : end]

    def _deviation(self, places: Tensor) -> tuple[Tensor, ...]:
        """Standard deviation over the places of a map (N, C, H, W) or of tokens (N, places, C), if it is wanted."""
        if not self.deviations:
            return ()
        axes = [2, 3] if places.ndim == 4 else [1]
        squares = (places - places.mean(axes, keepdim=True)).square().mean(axes)
        return ((squares + _TINY).sqrt(),)

    def _normalized(self, part: Tensor) -> Tensor:
        if self.power is None:
            return part
        raised: Tensor = part.sign() * (part.abs() + _TINY).pow(self.power)
        lengths: Tensor = raised.norm(dim=1, keepdim=True).clamp_min(_TINY)
        return raised / lengths


def create(model: str, *, input_shape: tuple[int, int, int], **options: Any) -> nn.Module:
    """`timm.create_model` for pictures of one shape, without a classifier unless `options` ask for one.

    Raises:
        UnknownName: timm has no such model, or it does not take such pictures.
    """
    fixed_size = pretrained_cfg(model).fixed_input_size
    channels, height, width = input_shape
    # Where positions are learned, timm builds the model for one size; the others take any.
    sized = {"img_size": (height, width)} if fixed_size else {}
    try:
        network: nn.Module = timm.create_model(model, **{"num_classes": 0, "in_chans": channels, **sized, **options})
    except (AssertionError, ValueError) as error:
        raise UnknownName(f"timm's {model} does not take {channels}×{height}×{width} pictures: {error}") from error
    return network


def pretrained_cfg(model: str) -> Any:
    """What timm knows of a model's weights: their size of input, normalization, licence and place on the hub.

    Raises:
        UnknownName: timm has no such model, or no weights of that tag.
    """
    if not timm.is_model(model):  # also keeps off names such as `hf-hub:…`, for which timm would ask the network
        close = difflib.get_close_matches(model, timm.list_models(), n=4, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise UnknownName(f"timm {timm.__version__} has no model {model!r}; {hint}")
    try:
        return timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        architecture = model.partition(".")[0]
        tags = ", ".join(timm.list_models(f"{architecture}.*", pretrained=True)) or "none"
        raise UnknownName(f"timm has no weights {model!r}; of this model it has: {tags}") from error


def input_spec(model: str, *, side: int | None = None) -> InputSpec:
    """What a timm model takes: the size, interpolation and normalization of its pretraining.

    Timm shrinks a picture and crops its middle; here the largest middle part that fits is taken (`fit = "crop"`): what
    a user's picture shows may well stand at its border.

    Args:
        model: timm's name, with the tag of its weights or without.
        side: height and width, pixels, in place of those of its pretraining.

    Raises:
        UnknownName: timm has no such model, or no weights of that tag.
    """
    known = pretrained_cfg(model).to_dict()
    config = resolve_data_config(pretrained_cfg=known)  # type: ignore[no-untyped-call]
    channels, height, width = config["input_size"]
    return InputSpec(
        channels=channels,
        height=side or height,
        width=side or width,
        interpolation=config["interpolation"] if config["interpolation"] in _INTERPOLATIONS else "bicubic",
        mean=config["mean"],
        std=config["std"],
    )


def _checked(network: nn.Module, depths: tuple[int, ...]) -> tuple[int, ...]:
    """In the network's order, counted from the front."""
    if not depths:
        return ()
    name = type(network).__name__
    if not hasattr(network, "forward_intermediates"):
        raise UnknownName(f"timm's {name} tells no intermediate features; leave depths out")
    count = len(network.feature_info)  # type: ignore[arg-type]
    wrong = [depth for depth in depths if not -count <= depth < count]
    if wrong:
        raise UnknownName(f"depths {wrong} came; this {name} has stages 0 to {count - 1}")
    return tuple(sorted({depth % count for depth in depths}))
