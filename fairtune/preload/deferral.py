"""Put the execution of a module off until it is asked for.

bitsandbytes asks the GPU what it can when it is imported, and PEFT imports it: CUDA begun in a
process is of no use to its forks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any


class Deferred(ModuleType):
    """A module that is there but was not executed yet; a missing attribute executes it."""

    def __getattr__(self, name: str) -> Any:
        """Execute the module and return its attribute; the import system's questions are none."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.execute()
        return getattr(self, name)

    def execute(self) -> None:
        """Execute it now."""
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)


class _Parts:
    """Finds no module, but executes a deferred package before one of its parts is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        package, _, part = name.partition(".")
        found = sys.modules.get(package)
        if part and isinstance(found, Deferred):
            found.execute()


def defer(names: Sequence[str]) -> None:
    """Put off these top-level modules, those of them that are installed."""
    sys.meta_path.insert(0, _Parts())
    for name in names:
        spec: ModuleSpec | None = PathFinder.find_spec(name)
        if spec is not None and name not in sys.modules:
            module = module_from_spec(spec)
            module.__class__ = Deferred
            sys.modules[name] = module


def complete() -> None:
    """Execute what was put off in the process that this one was forked from, if anything was."""
    for module in list(sys.modules.values()):
        # By its name: the fork imports fairtune's modules anew, this one with them.
        if type(module).__name__ == Deferred.__name__:
            module.execute()
