"""Read labelled texts from a file, a folder, a package or the Hub.

A corpus is a `datasets.Dataset` with the columns row_id (string), text (string) and label: a
string as read, a ClassLabel once cleaned (`fairtune.data.cleaning`).
"""

from __future__ import annotations

import functools
import re
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
from fairtune.data.compression import PACKED, inner_name
from fairtune.data.table import Table, check_columns, wanted

READERS = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".json": None, ".parquet": None}
"""Endings that are read, with the separator of those that have one."""
COLUMNS = ("row_id", "text", "label")
# Numbers as CSV files write them.
WHOLE = re.compile(r"([+-]?[0-9]+)\.0*")
FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]+")


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
    columns = {"row_id": ids, "text": texts, "label": _labels(table, data, kept)}
    features = Features(dict.fromkeys(COLUMNS, Value("string")))
    try:
        rows = Dataset.from_dict(columns, features=features)
    except UnicodeEncodeError as error:
        row = next(row for row, text in zip(kept, texts, strict=True) if _broken(text))
        raise UserError(
            f"data.source: '{data.source}': {table.place(row)}: the text holds half of a surrogate "
            "pair, which is no character; mend it"
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
                f"{_short(cells[row])} in {table.place(row)}, not text"
            )
    return [cells[row] for row in kept]


def _labels(table: Table, data: Data, kept: list[int]) -> list[str | None]:
    """Return the labels as text."""
    cells = table.columns[data.label_column]
    if table.classes is not None:
        # Rows without a label carry -1 in the Hub's format.
        names = table.classes
        return [None if (n := cells[row]) is None or n < 0 else names[n] for row in kept]
    label = _written_label if table.as_text else _label
    labels: list[str | None] = []
    for row in kept:
        try:
            labels.append(label(cells[row]))
        except ValueError:
            raise UserError(
                f"data.label_column: '{data.label_column}' of '{data.source}' holds "
                f"{_short(cells[row])} in {table.place(row)}; a class is a string or a whole number"
            ) from None
    return labels


def _written_label(cell: str) -> str | None:
    """Return a label of a file without types; 1.0 is how a column with gaps writes 1."""
    label = cell.strip()
    if whole := WHOLE.fullmatch(label):
        return whole[1]
    if FRACTION.fullmatch(label):
        raise ValueError
    return label or None


def _label(value: Any) -> str | None:
    """Return a label of a source with types: 1, 1.0 and '1' are the same class."""
    match value:
        case None:
            return None
        case bool() | str():
            return str(value).strip() or None
        case int():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
        case float() if value != value:  # not a number: a gap in a column of numbers
            return None
    raise ValueError


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:60]} ..."
