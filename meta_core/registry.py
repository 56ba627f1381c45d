"""Learners, backbones, task sources and readers by name: a name is a module's file name, what it offers is `build`.

A new one is one new file; nothing else is edited, because the folder is the list.
"""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from meta_core.errors import UnknownName


@dataclass(frozen=True)
class Registry:
    """The modules of one package that have a `build` function.

    Attributes:
        package: dotted name of the package whose modules are the entries.
        kind: what an entry is called in messages.
    """

    package: str
    kind: str

    def names(self) -> list[str]:
        """Names of all entries, sorted."""
        paths = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_"))

    def module(self, name: str) -> ModuleType:
        """The entry's module."""
        return importlib.import_module(f"{self.package}.{name}")

    def build(self, name: str, /, **options: Any) -> Any:
        """What the entry's `build(**options)` returns.

        Raises:
            UnknownName: no entry has the name, or it does not take one of the options.
        """
        if name not in self.names():
            raise UnknownName(f"no {self.kind} is called {name!r}; there are: {', '.join(self.names())}")
        try:
            return self.module(name).build(**options)
        except (TypeError, ValidationError) as error:
            raise UnknownName(f"the {self.kind} {name!r} was given options it does not take: {error}") from error

    def takes(self, name: str, option: str) -> bool:
        """Whether the entry's `build` has an option of this name."""
        return name in self.names() and option in inspect.signature(self.module(name).build).parameters


LEARNERS = Registry("meta_core.learners", "learner")
BACKBONES = Registry("meta_core.backbones", "backbone")
TASKS = Registry("meta_core.tasks", "task source")
READERS = Registry("meta_core.readers", "reader")
