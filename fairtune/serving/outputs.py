"""Write rows with what was predicted of them, in the kind of file that they came from."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fairtune.core import disk, task
from fairtune.core.errors import UserError
from fairtune.serving.rows import Chunk, Source

LABEL, PROBABILITY = "label", "probability"
Columns = Mapping[str, Any]
"""New columns by name: lists of class names, or arrays of probabilities."""
Write = Callable[[Chunk, Columns], None]


def names(labels: list[str], *, prefix: str, all_classes: bool) -> list[str]:
    """Return the names of the new columns: the class, its probability, and that of each class."""
    each = [f"{PROBABILITY}_{label}" for label in labels] if all_classes else []
    return [prefix + name for name in (LABEL, PROBABILITY, *each)]


def columns(
    probabilities: NDArray[np.float32], labels: list[str], *, prefix: str, all_classes: bool
) -> Columns:
    """Return the new columns, in the order of their names.

    Args:
        probabilities: shape (rows, classes).
        labels: names of the classes.
        prefix: what stands before each column's name.
        all_classes: whether each class has a column.
    """
    predicted = task.predicted(probabilities)
    cells = [[labels[place] for place in predicted], probabilities.max(axis=1)]
    if all_classes:
        cells += list(probabilities.T)
    keys = names(labels, prefix=prefix, all_classes=all_classes)
    return dict(zip(keys, cells, strict=True))


def is_stream(path: Path) -> bool:
    """Return whether a path is a pipe or a device: there, and neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check(source: Source, out: Path | None, new: list[str], *, path: str) -> None:
    """Refuse new columns of names that the file has, and a place that cannot be written to.

    Raises:
        UserError: it is so.
    """
    clash = next((name for name in new if name in source.columns), None)
    if clash is not None:
        raise UserError(
            f"'{path}' has a column '{clash}' already; give the new ones other names with "
            "--prefix, such as --prefix predicted_"
        )
    if out is None and source.kind == "parquet":
        raise UserError("--out: Parquet is not written to standard output; name a file")
    if out is not None and source.kind == "parquet" and is_stream(out):
        raise UserError(f"--out: '{out}' is a pipe or a device; Parquet needs a file")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        what = "is a folder" if out.is_dir() else "its folder is not there"
        raise UserError(f"--out: '{out}': {what}; name a file")


@contextmanager
def opened(source: Source, out: Path | None, new: list[str]) -> Iterator[Write]:
    """Yield what writes a chunk with its new columns; a file is there only once it is whole.

    A pipe or a device is written to as it is: a file must not take its place. A link stays one.

    Args:
        source: where the rows come from.
        out: the file; None writes to standard output.
        new: names of the new columns.

    Raises:
        UserError: a class's name cannot be written.
    """
    if out is None:
        with disk.writing(disk.STDOUT, alone=True):
            yield _writer(source, sys.stdout, new)
            sys.stdout.flush()
        return
    if is_stream(out):
        with (
            disk.writing(out, alone=True),
            out.open("w", encoding="utf-8", newline="") as file,
        ):
            yield _writer(source, file, new)
        return
    out = out.resolve()
    half = out.with_name(out.name + ".part")
    try:
        with disk.writing(out, alone=True):
            if source.kind == "parquet":
                with _parquet(source, half, new) as write:
                    yield write
            else:
                with half.open("w", encoding="utf-8", newline="") as file:
                    yield _writer(source, file, new)
        os.replace(half, out)
    finally:
        half.unlink(missing_ok=True)


def _writer(source: Source, file: IO[str], new: list[str]) -> Write:
    if source.kind == "jsonl":
        return lambda chunk, added: _write_records(file, chunk, added)
    rows = csv.writer(
        file,
        delimiter=source.separator or ",",
        lineterminator="\n",
        # Without quotes nothing may stand in a cell that needs them, and nothing did.
        quoting=csv.QUOTE_MINIMAL if source.quoted else csv.QUOTE_NONE,
        quotechar='"' if source.quoted else None,
    )
    try:
        rows.writerow([*source.columns, *new])
    except csv.Error:
        raise UserError(
            "a class's name holds a tab or a line break, and the file has no quotes around cells; "
            "write the rows as JSON lines or CSV instead"
        ) from None

    def write(chunk: Chunk, added: Columns) -> None:
        cells = [_as_text(column) for column in added.values()]
        more = zip(*cells, strict=True)
        rows.writerows([*row, *cell] for row, cell in zip(chunk.rows, more, strict=True))

    return write


def _as_text(column: Any) -> list[str]:
    """Return cells as text: of a probability the fewest digits that tell it from others."""
    if isinstance(column, np.ndarray):
        return [np.format_float_positional(value, trim="0") for value in column]
    return [str(cell) for cell in column]


def _write_records(file: IO[str], chunk: Chunk, added: Columns) -> None:
    cells = [
        [float(text) for text in _as_text(column)] if isinstance(column, np.ndarray) else column
        for column in added.values()
    ]
    for row, more in zip(chunk.rows, zip(*cells, strict=True), strict=True):
        whole = row | dict(zip(added, more, strict=True))
        line = json.dumps(whole, ensure_ascii=False)
        try:
            line.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, in another column
            line = json.dumps(whole)
        file.write(line + "\n")


@contextmanager
def _parquet(source: Source, path: Path, new: list[str]) -> Iterator[Write]:
    schema = source.schema
    for place, name in enumerate(new):
        schema = schema.append(pa.field(name, pa.float32() if place else pa.string()))
    with pq.ParquetWriter(path, schema) as file:

        def write(chunk: Chunk, added: Columns) -> None:
            arrays = [pa.array(cells) for cells in added.values()]
            file.write_table(pa.table([*chunk.rows.columns, *arrays], schema=schema))

        yield write
