"""Read one split of a source as a table, whatever kind of files it is made of."""

from __future__ import annotations

import functools
from pathlib import Path

from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.core.sources import local_path, reading
from fairtune.data import delimited, hub, json_records, listing, parquet
from fairtune.data.compression import PACKED, inner_name
from fairtune.data.table import Table, check_columns, wanted

READERS = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".json": None, ".parquet": None}
"""Endings that are read, with the separator of those that have one."""


def load(data: Data, split: str) -> Table:
    """Read the columns of one split that the study needs.

    Raises:
        UserError: the source cannot be had or read, or a column is not there or not of its kind.
    """
    hub.quiet()
    path = local_path(data.source, key="data.source")
    with reading(data.source, data.revision, key="data.source") as name:
        if path is not None and path.is_file():
            return _read_file(path, data)
        found = listing.of_folder(path, data) if path else listing.of_hub(name, data)
        if data.separator is not None and (found is None or found.kind != "csv"):
            raise UserError(
                f"data.separator: '{data.source}' is not made of CSV or TSV files; drop the key"
            )
        # `datasets` can take parts of splits of Parquet files.
        if found is None or (found.kind == "parquet" and split not in found.splits):
            return hub.read_folder(path, data, split) if path else hub.read_hub(name, data, split)
        names = found.files(data, split)
        return _joined(names, [_read_listed(file, data, found) for file in names], data)


def _read_listed(file: Path, data: Data, found: listing.Listing) -> Table:
    """Read a file of a folder or a Hub dataset, of which a card may tell more."""
    if found.kind == "parquet":
        table = parquet.read(file, data)
    else:
        table = _read_text(file, data, found.separator)
    table.classes = found.classes.get(data.label_column, table.classes)
    return table


def _read_file(path: Path, data: Data) -> Table:
    """Read a CSV, TSV, JSONL or Parquet file."""
    ending = inner_name(path).suffix.lower()
    if ending not in READERS:
        raise UserError(
            f"data.source: '{path}' ends in none of {', '.join(READERS)}, nor in one of these and "
            f"{', '.join(PACKED)}"
        )
    usual = {"split": "train", "test_split": None, "config": None}
    for key, value in usual.items():
        if (given := getattr(data, key)) != value:
            raise UserError(
                f"data.{key}: '{given}' is not right: the file '{path}' has no "
                f"{'configurations' if key == 'config' else 'splits'}; drop the key, or give a "
                "folder with a file for each split"
            )
    if ending == ".parquet":
        if path.suffix.lower() != ending:
            raise UserError(f"data.source: '{path}': packed Parquet is not read; unpack it")
        _no_separator(path, data)
        return parquet.read(path, data)
    return _read_text(path, data)


def _read_text(path: Path, data: Data, separator: str | None = None) -> Table:
    """Read a CSV, TSV or JSON file, or one of a folder whose card names a separator."""
    check = functools.partial(check_columns, data=data, source=str(path))
    usual = READERS.get(inner_name(path).suffix.lower())
    if usual is None:
        _no_separator(path, data)
        return json_records.read(path, wanted(data), check=check)
    chosen = data.separator or (separator if separator not in (None, ",") else usual)
    return delimited.read(
        path, wanted(data), label=data.label_column, separator=chosen or ",", check=check
    )


def _no_separator(path: Path, data: Data) -> None:
    if data.separator is not None:
        raise UserError(f"data.separator: '{path}' is no CSV or TSV file; drop the key")


def _joined(names: list[Path], tables: list[Table], data: Data) -> Table:
    """Put the files of a split one after another.

    Raises:
        UserError: the same number is another class in another file.
    """
    first = tables[0]
    if any(table.classes != first.classes for table in tables):
        raise UserError(
            f"data.label_column: the files of '{data.source}' do not name the classes of "
            f"'{data.label_column}' alike; write them with the same names"
        )
    return Table(
        columns={name: [c for t in tables for c in t.columns[name]] for name in first.columns},
        as_text=first.as_text,
        classes=first.classes,
        files=[(str(n), len(t), t.lines, t.unit) for n, t in zip(names, tables, strict=True)],
    )
