"""Take in what the nodes send, and keep nothing whose hash is not its name."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from fairtune.cluster.errand import CACHE, RUNS, cached
from fairtune.core.paths import TRIALS

READ_ONLY = 0o444
FILES = itertools.count()
KEPT = (CACHE / "files", CACHE / RUNS, TRIALS)


class SpoiltError(Exception):
    """What came is not what was sent."""


class OtherInputsError(SpoiltError):
    """What came is whole, and of another command, other parameters or other dependencies."""


@dataclass(kw_only=True)
class Intake:
    """Takes in the files of one task, one after another, as they stream in."""

    cache: Path
    """DVC's cache on the driver."""
    locked: Mapping[str, Any]
    """Command, dependencies and parameters that the result must be of."""
    whole: bool = True
    """Whether the outputs of an entry must have come before it."""
    outs: list[str] = field(default_factory=list)
    """Their MD5s."""
    target: Path | None = None
    half: IO[bytes] | None = None
    left: int = 0
    digest: Any = None
    entries: int = 0
    received: int = 0
    """Bytes."""

    def begin(self, name: str, size: int) -> None:
        """Begin a file.

        Args:
            name: its path in the task's repository.
            size: bytes.

        Raises:
            SpoiltError: it is none of those that belong to a result.
        """
        path = Path(name)
        under = next((kept for kept in KEPT if path.is_relative_to(kept)), None)
        if under is None or ".." in path.parts or self.half is not None:
            raise SpoiltError(f"'{name}' is no part of a result")
        at_cache = path.is_relative_to(CACHE)
        self.target = self.cache / path.relative_to(CACHE) if at_cache else path
        self.target.parent.mkdir(parents=True, exist_ok=True)
        # Two tasks may send the same file, such as a tokenizer, at the same time.
        half = self.target.with_name(f"{self.target.name}.{os.getpid()}-{next(FILES)}.part")
        self.half = half.open("wb")
        self.left, self.digest = size, hashlib.md5(usedforsecurity=False)
        if not size:
            self._end()

    def chunk(self, content: bytes) -> None:
        """Take in the next bytes of the file.

        Raises:
            SpoiltError: there are too many, or their hash is not the file's name.
        """
        if self.half is None:
            raise SpoiltError("bytes of no file came")
        self.half.write(content)
        self.digest.update(content)
        self.left -= len(content)
        self.received += len(content)
        if self.left <= 0:
            self._end()

    def _end(self) -> None:
        assert self.half is not None
        assert self.target is not None
        half = Path(self.half.name)
        self.half.close()
        self.half = None
        try:
            if self.left:
                raise SpoiltError(f"{self.target} has {-self.left} bytes too many")
            self._check(half, self.target)
            if self.target.is_relative_to(self.cache / "files"):
                half.chmod(READ_ONLY)
            os.replace(half, self.target)
        finally:
            half.unlink(missing_ok=True)

    def _check(self, half: Path, target: Path) -> None:
        """Check what came against its name, or against what was asked for."""
        if target.is_relative_to(self.cache / "files"):
            named = f"{target.parent.name}{target.name}".removesuffix(".dir")
            if named != self.digest.hexdigest():
                raise SpoiltError(f"{target} came with the hash {self.digest.hexdigest()}")
        elif target.is_relative_to(self.cache / RUNS):
            entry = YAML(typ="safe").load(half)
            self._compare(entry)
            self.outs = [out["md5"] for out in entry["outs"]]
            for md5 in self.outs if self.whole else []:
                self._whole(md5)
            self.entries += 1

    def _compare(self, entry: Mapping[str, Any]) -> None:
        """Check that a stage ran the same command with the same parameters and dependencies.

        Raises:
            OtherInputsError: it did not.
        """
        for key, asked in self.locked.items():
            found = entry.get(key)
            if found != asked:
                raise OtherInputsError(f"it ran with other {key}: {_difference(asked, found)}")

    def _whole(self, md5: str) -> None:
        """Check that the cache has an output, and where it is a folder, all of it."""
        path = cached(self.cache, md5)
        if not path.exists():
            raise SpoiltError(f"its output {md5} did not come")
        if md5.endswith(".dir"):
            for member in YAML(typ="safe").load(path):
                self._whole(member["md5"])

    def close(self) -> None:
        """Drop a file that did not come whole."""
        if self.half is not None:
            self.half.close()
            Path(self.half.name).unlink(missing_ok=True)
            self.half = None


def _difference(asked: Any, found: Any) -> str:
    """Return what of two lists of DVC's lock differs, in a few words."""
    if isinstance(asked, list) and isinstance(found, list):
        by_path = {item.get("path"): item for item in found}
        names = [item["path"] for item in asked if by_path.get(item["path"]) != item]
        return ", ".join(names) or "more than was asked for"
    return f"'{found}' for '{asked}'"
