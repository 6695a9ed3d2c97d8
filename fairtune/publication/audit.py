"""A published study computed anew from its records and predictions, and held against its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from itertools import zip_longest
from math import isclose
from pathlib import Path
from typing import Any

from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.parquet import read_table
from fairtune.publication import edition, part
from fairtune.publication.place import CHARTS
from fairtune.publication.union import Union, join
from fairtune.runs.search import read_searches
from fairtune.verification.figures import ABSENT, Mismatch, differing, of_records, of_searches

THERE = "a file"
SHOWN = 80
"""Characters of a value or a line in an answer."""
BEFORE = 20
"""Of these, those before the first that differs."""
MOST = 10
"""Differences of one file that are named one by one."""
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
IDENTIFIER = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""What matplotlib calls a shape in a figure: a letter, and a hash of its coordinates."""
MAKER = re.compile(rb"Typst \d+\.\d+\.\d+")
"""What set a paper, as its PDF says."""
POINTS = 0.01
"""By how much a coordinate may differ: processors round the last digits otherwise."""


def differences(place: Path) -> list[Mismatch]:
    """Return what in a study's folder does not follow from its records and predictions.

    All that is computed is written again into another folder, as `publish` would, and the two are
    compared: JSON by its values, charts by their coordinates, the Markdown report by its lines and
    the paper by its bytes, which are the same where Typst and the fonts are.

    Raises:
        UserError: a run, a manifest or the parameters are missing or not right.
    """
    union = join([part.read(place)])
    found = [*_of_runs(union), *_of_predictions(union)]
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch) / place.name
        again.mkdir()
        try:
            # With the charts of the study: other last digits in them are other bytes of the paper.
            edition.write(union, again, charts=place / CHARTS)
        except UserError:  # one of them may be no figure, which is then found
            edition.write(union, again)
        found += compared(place, again)
    return found


def lines(place: Path, found: list[Mismatch]) -> list[str]:
    """Return a line a difference: file, key, found, expected; of many in one file the first."""
    said: list[str] = []
    for file in dict.fromkeys(one.file for one in found):
        of_file = [one for one in found if one.file == file]
        for one in of_file[:MOST]:
            key = f" {one.key}:" if one.key else ""
            said.append(f"{place / file}:{key} found {_shown(one.found)}, expected "
                        f"{_shown(one.expected)}")  # fmt: skip
        if len(of_file) > MOST:
            said.append(f"{place / file}: and {len(of_file) - MOST:,} more")
    return said


def _of_runs(union: Union) -> Iterator[Mismatch]:
    for one in union.parts:
        yield from of_records(one.runs)
        with contextlib.chdir(one.folder):
            searches = read_searches(one.runs)
        yield from of_searches(one.runs, searches)


def _of_predictions(union: Union) -> Iterator[Mismatch]:
    """Yield predicted classes that are not the most probable ones."""
    for one in union.parts:
        for method, of_method in one.runs.items():
            for run in of_method:
                file = paths.run_folder(method, run.record.seed) / paths.PREDICTIONS
                kept = read_table(one.folder / file, made_by="record").column("predicted")
                for row, (found, expected) in enumerate(
                    zip(kept.to_pylist(), run.predictions.predicted.tolist(), strict=True)
                ):
                    if found != expected:
                        key = f"predicted of {run.predictions.row_ids[row]}"
                        yield Mismatch(file=str(file), key=key, found=found, expected=expected)


def compared(found: Path, expected: Path) -> Iterator[Mismatch]:
    """Yield what differs between a study's folder and the one that it should be."""
    here, there = _files(found), _files(expected)
    for file in sorted(here | there):
        if file not in there:
            yield Mismatch(file=file, key="", found=THERE, expected=ABSENT)
        elif file not in here:
            yield Mismatch(file=file, key="", found=ABSENT, expected=THERE)
        else:
            ours, theirs = (folder.joinpath(file).read_bytes() for folder in (found, expected))
            if ours != theirs:
                yield from READERS.get(Path(file).suffix, _by_bytes)(file, ours, theirs)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _by_values(file: str, found: bytes, expected: bytes) -> Iterator[Mismatch]:
    try:
        content = json.loads(found)
    except ValueError:
        yield Mismatch(file=file, key="", found="no JSON", expected="JSON")
        return
    yield from differing(file, "", content, json.loads(expected))


def _by_lines(file: str, found: bytes, expected: bytes) -> Iterator[Mismatch]:
    ours, theirs = (text.decode(errors="replace").splitlines() for text in (found, expected))
    for place, (one, other) in enumerate(zip_longest(ours, theirs, fillvalue=ABSENT), start=1):
        if one != other:
            first = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            begin = max(0, first - BEFORE)
            yield Mismatch(
                file=file, key=f"line {place}", found=one[begin:], expected=other[begin:]
            )


def _by_coordinates(file: str, found: bytes, expected: bytes) -> Iterator[Mismatch]:
    ours, theirs = (_tokens(text.decode(errors="replace")) for text in (found, expected))
    if len(ours) != len(theirs):
        yield Mismatch(
            file=file, key="coordinates", found=len(ours) // 2, expected=len(theirs) // 2
        )
        return
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        # Numbers stand at odd places.
        if one != other and not (place % 2 and isclose(float(one), float(other), abs_tol=POINTS)):
            yield Mismatch(file=file, key="the drawing", found=one, expected=other)
            return


def _tokens(figure: str) -> list[str]:
    """Return a figure as text and numbers by turns, its shapes numbered as they first occur."""
    names: dict[str, str] = {}

    def numbered(name: re.Match[str]) -> str:
        return names.setdefault(name[0], f"shape {len(names)}")

    return NUMBER.split(IDENTIFIER.sub(numbered, figure))


def _by_bytes(file: str, found: bytes, expected: bytes) -> Iterator[Mismatch]:
    ours, theirs = (f"sha256 {hashlib.sha256(one).hexdigest()[:12]}" for one in (found, expected))
    key = "content"
    by, now = (MAKER.search(one) for one in (found, expected))
    if by and now and by[0] != now[0]:
        key = f"content (set by {by[0].decode()}, here is {now[0].decode()})"
    yield Mismatch(file=file, key=key, found=ours, expected=theirs)


READERS: dict[str, Callable[[str, bytes, bytes], Iterator[Mismatch]]] = {
    ".json": _by_values,
    ".md": _by_lines,
    ".svg": _by_coordinates,
}
"""Ending of a file -> how it is compared; others byte for byte."""


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
