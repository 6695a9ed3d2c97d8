"""Read texts to be classified, a chunk of rows at a time, with all else that their rows hold.

A file is read as a study's corpus is. It is looked through once before anything is predicted, so
that a row that is not right is named at once and not after hours; memory does not grow with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fairtune.core.errors import UserError
from fairtune.data import delimited, json_records
from fairtune.data.compression import inner_name
from fairtune.serving.rows import Chunk, Source, check_column, in_chunks, named_as_here, text_of

KINDS = ("csv", "tsv", "jsonl", "parquet")
SEPARATORS = {"csv": ",", "tsv": "\t"}
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
# Rows at a time of a file that is looked through.
LOOKED = 8192


def kind_of(path: Path, given: str | None) -> str:
    """Return which kind of file it is, by what was given or by its ending.

    Raises:
        UserError: the ending is of no kind that is read.
    """
    if given is not None:
        return given
    with named_as_here():
        ending = inner_name(path).suffix.lower()
    if ending not in ENDINGS:
        raise UserError(
            f"'{path}' ends in none of {', '.join(ENDINGS)}: say what it is with --format, one of "
            f"{', '.join(KINDS)}"
        )
    return ENDINGS[ending]


def open_source(path: Path, column: str, *, kind: str, separator: str | None = None) -> Source:
    """Look a file through, and return what reads it.

    Args:
        path: the file, text files packed or not.
        column: that holds the texts.
        kind: one of `KINDS`.
        separator: of the cells, where it is not the usual one.

    Raises:
        UserError: the file is not there or not right, has no such column, or a row has no text.
    """
    if not path.is_file():
        raise UserError(f"'{path}': {'is a folder' if path.is_dir() else 'not found'}; give a file")
    if separator is not None and kind not in SEPARATORS:
        raise UserError(f"--separator: '{path}' is no CSV or TSV file; drop the option")
    with named_as_here():
        if kind == "parquet":
            return _parquet(path, column)
        if kind == "jsonl":
            return _records(path, column)
        return _delimited(path, column, separator or SEPARATORS[kind], kind=kind)


def _delimited(path: Path, column: str, separator: str, *, kind: str) -> Source:
    try:
        found = _layout(path, column, separator, kind=kind, quoted=separator != "\t")
    except delimited.RowsError as error:
        if separator != "\t":
            raise
        try:  # a TSV file with quotes, as `delimited.read` tells it
            found = _layout(path, column, separator, kind=kind, quoted=True, fields=error.fields)
        except UserError:
            raise error from None
    for _ in found.read(LOOKED):
        pass
    return found


def _layout(
    path: Path, column: str, separator: str, *, kind: str, quoted: bool, fields: int | None = None
) -> Source:
    """Return what reads a CSV or TSV file, each of whose rows has as many cells as the header.

    Args:
        path: the file.
        column: that holds the texts.
        separator: between two cells.
        kind: csv or tsv.
        quoted: whether quotes may stand around a cell.
        fields: of the header, where a row of as many in a cell with quotes is no part of the cell.

    Raises:
        UserError: a row has not as many.
    """

    def whole() -> Iterator[tuple[int, list[str]]]:
        return delimited.whole_rows(
            path, [column], separator, lambda known: check_column(path, column, known),
            quoted=quoted,
        )  # fmt: skip

    lines = whole()
    header = next(lines)[1]
    place = header.index(column)
    count, bare = 0, not quoted
    for _, cells in lines:
        count += 1
        bare = bare and delimited.is_whole(cells[place])
        if fields is not None and delimited.swallowed(cells[place], fields):
            raise UserError(f"'{path}': a quote takes up rows")

    def pairs() -> Iterator[tuple[str, list[str]]]:
        for line, cells in itertools.islice(whole(), 1, None):
            cell = delimited.bare(cells[place]) if bare else cells[place]
            yield text_of(cell, f"'{path}': line {line}", column), cells

    return Source(
        kind=kind,
        columns=header,
        count=count,
        read=in_chunks(pairs),
        separator=separator,
        quoted=quoted,
    )


def _records(path: Path, column: str) -> Source:
    def pairs() -> Iterator[tuple[str, dict[str, Any]]]:
        for unit, number, row in json_records.objects(path):
            yield text_of(row.get(column), f"'{path}': {unit} {number}", column), row

    known: dict[str, None] = {}
    count, wrong = 0, None
    for unit, number, row in json_records.objects(path):
        known.update(dict.fromkeys(row))
        count += 1
        try:
            text_of(row.get(column), f"'{path}': {unit} {number}", column)
        except UserError as error:
            wrong = wrong or error
    if not count:
        raise UserError(f"'{path}' is empty: it has no rows")
    check_column(path, column, list(known))
    if wrong is not None:
        raise wrong
    return Source(kind="jsonl", columns=list(known), count=count, read=in_chunks(pairs))


def _parquet(path: Path, column: str) -> Source:
    if path.suffix.lower() in {".gz", ".bz2", ".xz", ".zip"}:
        raise UserError(f"'{path}': packed Parquet is not read; unpack it")
    try:
        with pq.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
    except pa.ArrowInvalid:
        raise UserError(f"'{path}' is no Parquet file, or a broken one") from None
    check_column(path, column, schema.names)
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"--text-column: '{column}' of '{path}' holds {kind}, not text")
    if not count:
        raise UserError(f"'{path}' is empty: it has no rows")

    def batches(size: int, columns: list[str] | None) -> Iterator[Chunk]:
        row = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=size, columns=columns):
                table = pa.Table.from_batches([batch])
                texts = [
                    text_of(value, f"'{path}': row {number}", column)
                    for number, value in enumerate(table.column(column).to_pylist(), row + 1)
                ]
                row += len(texts)
                yield Chunk(texts=texts, rows=table)

    for _ in batches(LOOKED, [column]):
        pass
    return Source(
        kind="parquet",
        columns=schema.names,
        count=count,
        read=lambda size: batches(size, None),
        schema=schema,
    )
