"""Read columns of JSON files: one object a line, or a list of objects."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fairtune.core.errors import UserError
from fairtune.data.compression import opened
from fairtune.data.table import Table

EXPECTED = "expected one object a line, or a list of objects, whose keys are the columns"


class Repeated(dict[str, Any]):
    """An object that has keys more than once; the last of each is taken."""

    names: set[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    repeated = Repeated(row)
    counts = Counter(name for name, _ in pairs)
    repeated.names = {name for name, count in counts.items() if count > 1}
    return repeated


DECODE = json.JSONDecoder(object_pairs_hook=_object).decode


def read(path: Path, columns: list[str], *, check: Callable[[list[str]], None]) -> Table:
    """Read columns of a file; a key that an object lacks is missing there.

    Args:
        path: the file, packed or not.
        columns: to read; other keys are not looked at.
        check: called with all keys; raises where a column is not there.

    Raises:
        UserError: the file is not JSON, or JSON of another shape; names the line.
    """
    known: dict[str, None] = {}
    read: list[list[Any]] = [[] for _ in columns]
    numbers = array("q")
    unit, nested = "line", ""
    inner: dict[str, str] = {}
    for counted, number, row in objects(path):
        if not numbers:
            unit, nested, inner = counted, _nested(row), _within(row)
        known.update(dict.fromkeys(row))
        numbers.append(number)
        if isinstance(row, Repeated) and (twice := row.names & set(columns)):
            raise UserError(
                f"data.source: '{path}': {unit} {number} has '{min(twice)}' more than once; leave "
                "one of them"
            )
        for cells, name in zip(read, columns, strict=True):
            cells.append(row.get(name))
    if not numbers:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")
    if len(numbers) == 1 and columns[0] not in known:
        raise UserError(f"data.source: '{path}' is one object{nested}; {EXPECTED}")
    if deep := next((name for name in columns if name not in known and name in inner), None):
        raise UserError(
            f"data.source: '{path}': '{deep}' stands within '{inner[deep]}' of each row; {EXPECTED}"
        )
    check(list(known))
    return Table(columns=dict(zip(columns, read, strict=True)), lines=numbers, unit=unit)


def objects(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield what a row's number counts, the number, and the row: one at a time from lines.

    Raises:
        UserError: the file is not JSON, or a row is no object; names the line.
    """
    for unit, number, row in _rows(path):
        if not isinstance(row, dict):
            raise UserError(
                f"data.source: '{path}': {unit} {number} is no object but {_kind(row)}; {EXPECTED}"
            )
        yield unit, number, row


def _rows(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Yield what a row's number counts, the number, and the row."""
    with opened(path) as file:
        first = True
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = DECODE(line)
            except json.JSONDecodeError as error:
                if not first or line.lstrip()[0] not in "[{":
                    raise _broken(path, number, error) from None
                try:  # one value over several lines
                    row = DECODE(line + file.read())
                except json.JSONDecodeError as whole:
                    at = number + whole.lineno - 1 if line.lstrip()[0] == "[" else number
                    raise _broken(path, at, error) from None
            if first and isinstance(row, list):
                yield from (("row", place, entry) for place, entry in enumerate(row, 1))
            else:
                yield "line", number, row
            first = False


def _broken(path: Path, line: int, error: json.JSONDecodeError) -> UserError:
    return UserError(f"data.source: '{path}': line {line} is not JSON: {error.msg}; {EXPECTED}")


def _nested(row: dict[str, Any]) -> str:
    """Return where the rows are, in an object that holds a list of them."""
    for key, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f" with a list of {len(value):,} under '{key}': write that list alone"
    return ""


def _within(row: dict[str, Any]) -> dict[str, str]:
    """Return which key of a row holds an object with a key, by the latter."""
    return {name: key for key, value in row.items() if isinstance(value, dict) for name in value}


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
