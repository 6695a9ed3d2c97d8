"""Read labelled texts from a file, a folder, a package or the Hub.

A corpus is a `datasets.Dataset` with the columns row_id (string), text (string) and label: a
string as read, a ClassLabel once cleaned (`fairtune.data.cleaning`). Where `data.group_column` is
set, it has the column group (string) too.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, Value

from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.data import sources
from fairtune.data.cells import class_name, name, number, short, written_group, written_label
from fairtune.data.table import Table

COLUMNS = ("row_id", "text", "label")
GROUP = "group"
"""A further column, of string, where `data.group_column` is set."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of a source, as it was read."""

    rows: Dataset
    """Those that `data.where` keeps."""
    read: int
    """Rows of the source, kept or not."""


def read(data: Data, split: str) -> Dataset:
    """Read one split of the source as row_id, text and label, in the source's order.

    Raises:
        UserError: the source cannot be had or read, or a column is not there or not of its kind.
    """
    return read_part(data, split).rows


def read_part(data: Data, split: str) -> Part:
    """Read one split as `read` does, and count the rows of the source."""
    table = sources.load(data, split)
    kept = _matching(table, data)
    texts = _texts(table, data, kept)
    ids = [f"{split}/{row}" for row in kept]
    columns: dict[str, list[Any]] = {
        "row_id": ids, "text": texts, "label": _labels(table, data, kept)
    }  # fmt: skip
    if data.group_column is not None:
        columns[GROUP] = _groups(table, data, kept, columns)
    features = Features(dict.fromkeys(columns, Value("string")))
    try:
        rows = Dataset.from_dict(columns, features=features)
    except UnicodeEncodeError as error:
        row, column = next(
            (row, column) for column, cells in columns.items()
            for row, cell in zip(kept, cells, strict=True) if _broken(cell)
        )  # fmt: skip
        raise UserError(
            f"data.source: '{data.source}': {table.place(row)}: the {column} holds half of a "
            "surrogate pair, which is no character; mend it"
        ) from error
    return Part(rows=rows, read=len(table))


def _broken(text: str | None) -> bool:
    return text is not None and any("\ud800" <= character <= "\udfff" for character in text)


def _matching(table: Table, data: Data) -> list[int]:
    """Return the numbers of the rows that `data.where` keeps."""
    kept = list(range(len(table)))
    for column, value in data.where.items():
        cells = table.columns[column]
        same = _comparison(value)
        found = [row for row in kept if same(cells[row])]
        if not found:
            common = Counter(repr(cells[row]) for row in kept).most_common(3)
            raise UserError(
                f"data.where: no row of '{data.source}' has {column} = {value!r}; most have "
                f"{', '.join(cell for cell, _ in common)}"
            )
        kept = found
    return kept


def _comparison(value: str | int | bool) -> Callable[[Any], bool]:
    """Return what tells whether a cell has this value: as text, where either is text.

    A cell without a value is an empty one. True is never 1, and is itself however it is written.
    """
    text = str(value)

    def same(cell: Any) -> bool:
        if cell is None or cell != cell:  # not a number: a gap in a column of numbers
            return text == ""
        if isinstance(cell, bool) or isinstance(value, bool):
            either = isinstance(cell, bool | str) and isinstance(value, bool | str)
            return either and str(cell).lower() == text.lower()
        if isinstance(cell, str) or isinstance(value, str):
            return text in (str(cell), number(cell))
        return bool(cell == value)

    return same


def _texts(table: Table, data: Data, kept: list[int]) -> list[str | None]:
    """Return the texts as they are."""
    cells = table.columns[data.text_column]
    for row in kept:
        if not isinstance(cells[row], str | None):
            raise UserError(
                f"data.text_column: '{data.text_column}' of '{data.source}' holds "
                f"{short(cells[row])} in {table.place(row)}, not text"
            )
    return [cells[row] for row in kept]


def _labels(table: Table, data: Data, kept: list[int]) -> list[str | None]:
    """Return the labels as text."""
    cells = table.columns[data.label_column]
    label: Callable[[Any], str | None] = written_label if table.as_text else name
    expected = "a class is a string or a whole number"
    if table.classes is not None:
        label = functools.partial(class_name, names=table.classes)
        expected = f"its classes are 0 to {len(table.classes) - 1}, and -1 is none"
    labels: list[str | None] = []
    for row in kept:
        try:
            labels.append(label(cells[row]))
        except ValueError:
            raise UserError(
                f"data.label_column: '{data.label_column}' of '{data.source}' holds "
                f"{short(cells[row])} in {table.place(row)}; {expected}"
            ) from None
    return labels


def _groups(table: Table, data: Data, kept: list[int], columns: dict[str, list[Any]]) -> list[str]:
    """Return the groups as text; '' of rows that have no text or no label, and so are dropped.

    Raises:
        UserError: a row has no group, or what cannot name one.
    """
    cells = table.columns[str(data.group_column)]
    group = written_group if table.as_text else name
    groups = []
    where = f"data.group_column: '{data.group_column}' of '{data.source}'"
    for row, text, label in zip(kept, columns["text"], columns["label"], strict=True):
        try:
            found = group(cells[row])
        except ValueError:
            raise UserError(
                f"{where} holds {short(cells[row])} in {table.place(row)}; a group is a string or "
                "a whole number"
            ) from None
        if found is None and label is not None and (text or "").strip():
            raise UserError(
                f"{where} is empty in {table.place(row)}; name the group of each row, one of its "
                "own where it was drawn alone, or leave the row out"
            )
        groups.append(found or "")
    return groups
