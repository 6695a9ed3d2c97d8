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
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.core.sources import local_path, reading
from fairtune.data import delimited, hub, json_records
from fairtune.data.cells import name, short, written_group, written_label
from fairtune.data.compression import PACKED, inner_name
from fairtune.data.table import Table, check_columns, wanted

READERS = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".json": None, ".parquet": None}
"""Endings that are read, with the separator of those that have one."""
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
    table = _load(data, split)
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


def _load(data: Data, split: str) -> Table:
    hub.quiet()
    path = local_path(data.source, key="data.source")
    with reading(data.source, data.revision, key="data.source") as name:
        if path is not None and path.is_file():
            return _read_file(path, data)
        found = hub.text_files(path, data, split) if path else None
        if found is None and data.separator is not None:
            raise UserError(
                f"data.separator: '{data.source}' is not made of CSV or TSV files; drop the key"
            )
        if found is not None:
            return _joined([_read_text(file, data, found[1]) for file in found[0]])
        return hub.read_folder(path, data, split) if path else hub.read_hub(name, data, split)


def _read_file(path: Path, data: Data) -> Table:
    """Read a CSV, TSV, JSONL or Parquet file."""
    ending = inner_name(path).suffix.lower()
    if ending not in READERS:
        raise UserError(
            f"data.source: '{path}' ends in none of {', '.join(READERS)}, nor in one of these and "
            f"{', '.join(PACKED)}"
        )
    if data.test_split is not None:
        raise UserError(
            f"data.test_split: '{data.test_split}' is not right: the file '{path}' has no splits; "
            "drop the key, or give a folder with a file for each split"
        )
    if ending == ".parquet":
        if path.suffix.lower() != ending:
            raise UserError(f"data.source: '{path}': packed Parquet is not read; unpack it")
        _no_separator(path, data)
        return hub.read_parquet(path, data)
    return _read_text(path, data)


def _read_text(path: Path, data: Data, separator: str | None = None) -> Table:
    """Read a CSV, TSV or JSON file, or one of a folder whose card names a separator."""
    check = functools.partial(check_columns, data=data, source=str(path))
    usual = READERS.get(inner_name(path).suffix.lower())
    if usual is None:
        _no_separator(path, data)
        return json_records.read(path, wanted(data), check=check)
    chosen = data.separator or (separator if separator not in (None, ",") else usual)
    return delimited.read(path, wanted(data), separator=chosen or ",", check=check)


def _no_separator(path: Path, data: Data) -> None:
    if data.separator is not None:
        raise UserError(f"data.separator: '{path}' is no CSV or TSV file; drop the key")


def _joined(tables: list[Table]) -> Table:
    """Put the files of a split one after another."""
    first = tables[0]
    if len(tables) == 1:
        return first
    return Table(
        columns={name: [c for t in tables for c in t.columns[name]] for name in first.columns},
        as_text=first.as_text,
    )


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
    """Return what tells whether a cell has this value: as text, where either is text."""
    text = str(value)

    def same(cell: Any) -> bool:
        if isinstance(cell, str):
            return cell == text or (isinstance(value, bool) and cell.lower() == text.lower())
        return bool(cell == value) or (isinstance(value, str) and str(cell) == value)

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
    if table.classes is not None:
        # Rows without a label carry -1 in the Hub's format.
        names = table.classes
        return [None if (n := cells[row]) is None or n < 0 else names[n] for row in kept]
    label = written_label if table.as_text else name
    labels: list[str | None] = []
    for row in kept:
        try:
            labels.append(label(cells[row]))
        except ValueError:
            raise UserError(
                f"data.label_column: '{data.label_column}' of '{data.source}' holds "
                f"{short(cells[row])} in {table.place(row)}; a class is a string or a whole number"
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
