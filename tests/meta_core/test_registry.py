"""The folder is the list: names, and what is said about a wrong one."""

import sys
from pathlib import Path

import pytest

import meta_core.backbones
from meta_core.errors import UnknownName
from meta_core.registry import BACKBONES, LEARNERS, READERS, TASKS, Registry
from tests.made_up import SPEC, made_up_pictures


@pytest.mark.parametrize("registry", [LEARNERS, BACKBONES, TASKS, READERS], ids=lambda registry: registry.package)
def test_every_entry_can_be_built(registry: Registry) -> None:
    assert registry.names()
    for name in registry.names():
        assert callable(registry.module(name).build)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"no backbone is called 'conv5'; there are: conv4, .*resnet12"):
        BACKBONES.build("conv5", input_shape=(1, 28, 28))


@pytest.mark.parametrize("name", ["", "_private", "os.path", "..errors", "conv4.py"])
def test_no_other_module_can_be_reached(name: str) -> None:
    with pytest.raises(UnknownName):
        BACKBONES.build(name, input_shape=(1, 28, 28))


def test_an_option_that_an_entry_does_not_take_is_named() -> None:
    with pytest.raises(UnknownName, match=r"backbone 'conv4' was given options .*depth"):
        BACKBONES.build("conv4", input_shape=(1, 28, 28), depth=3)


def test_an_option_that_a_task_source_does_not_take_is_named() -> None:
    pictures = made_up_pictures([9] * 6)
    with pytest.raises(UnknownName, match=r"(?s)task source 'pictures' was given options .*wayz"):
        TASKS.build("pictures", pictures=pictures, spec=SPEC, wayz=3)


def test_a_new_file_is_a_new_entry_unless_it_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_shared.py").write_text("")
    (tmp_path / "flat.py").write_text("from torch import nn\n\ndef build(*, input_shape):\n    return nn.Flatten()\n")
    monkeypatch.setattr(meta_core.backbones, "__path__", [*meta_core.backbones.__path__, str(tmp_path)])
    assert "flat" in BACKBONES.names()
    assert "_shared" not in BACKBONES.names()
    try:
        assert type(BACKBONES.build("flat", input_shape=(1, 28, 28))).__name__ == "Flatten"
    finally:
        sys.modules.pop("meta_core.backbones.flat", None)
