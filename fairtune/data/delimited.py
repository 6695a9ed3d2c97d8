"""Read columns of CSV and TSV files as text: no cell is taken for a number, or for a gap.

A row that has not the header's fields is never fitted to them.
"""

from __future__ import annotations

import csv
import functools
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from fairtune.core.errors import UserError
from fairtune.data.compression import opened
from fairtune.data.quotes import check_quotes, labels_within
from fairtune.data.table import SHOWN, Table, listed

SEPARATORS = (",", ";", "\t", "|")
# A cell that a CSV writer has put in quotes, whole.
QUOTED = re.compile(r'"(?:[^"]|"")*"')
HINT = "a cell that holds the separator or a line break must stand in quotes"
csv.field_size_limit(2**31 - 1)


def read(
    path: Path,
    columns: list[str],
    *,
    label: str,
    separator: str,
    check: Callable[[list[str]], None],
) -> Table:
    """Read columns of a file whose first row names them.

    Args:
        path: the file, packed or not.
        columns: to read; the cells of others are not looked at.
        label: the one of them that holds the labels.
        separator: one character between two cells.
        check: called with the header; raises where a column is not there.

    Raises:
        UserError: the separator is another, or rows have not as many cells as the header; names
            their lines; or a quote takes up rows.
    """
    reading = functools.partial(_read, path, columns, label, separator, check)
    return _read_unquoted(reading) if separator == "\t" else reading(quoted=True)


def _read_unquoted(reading: Callable[..., Table]) -> Table:
    """Read a TSV, whose rows are lines unless quotes hold tabs or line breaks.

    Many TSV files have no quoting: a text that begins with a quotation mark is no quoted cell, and
    would swallow rows up to the next mark. Quotes are taken off a column in which all cells that
    begin with one are quoted as a CSV writer does it.
    """
    try:
        table = reading(quoted=False)
    except RowsError as error:
        return _read_quoted(reading, unless=error)
    for name, cells in table.columns.items():
        table.columns[name] = without_quotes(cells)
    return table


def _read_quoted(reading: Callable[..., Table], *, unless: RowsError) -> Table:
    """Read a TSV with quotes, or raise what was wrong without them where they make it no better."""
    try:
        table = reading(quoted=True)
    except UserError:
        raise unless from None
    if any(swallowed(cell, unless.fields) for cells in table.columns.values() for cell in cells):
        raise unless
    return table


def swallowed(cell: str, fields: int) -> bool:
    """Return whether a cell over several lines holds one that would be a row by itself."""
    return "\n" in cell and any(line.count("\t") == fields - 1 for line in cell.splitlines())


def without_quotes(cells: list[str]) -> list[str]:
    """Take quotes off where each cell that begins with one is quoted as a whole."""
    return [bare(cell) for cell in cells] if all(map(is_whole, cells)) else cells


def is_whole(cell: str) -> bool:
    """Return whether a cell has no quote at its beginning, or is quoted as a CSV writer does it."""
    return not cell.startswith('"') or QUOTED.fullmatch(cell) is not None


def bare(cell: str) -> str:
    """Return a cell without the quotes around it."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


class RowsError(UserError):
    """Rows have not as many cells as the header."""

    fields = 0
    """Cells of the header."""


def _read(
    path: Path,
    columns: list[str],
    label: str,
    separator: str,
    check: Callable[[list[str]], None],
    *,
    quoted: bool,
) -> Table:
    found = whole_rows(path, columns, separator, check, quoted=quoted)
    header = next(found)[1]
    places = [header.index(name) for name in columns]
    read: list[list[str]] = [[] for _ in columns]
    lines = array("q")
    within: dict[int, list[str]] = {}
    for line, cells in found:
        lines.append(line)
        for cells_of, place in zip(read, places, strict=True):
            cells_of.append(cells[place])
        if quoted and any("\n" in cell or "\r" in cell for cell in cells):
            within[line] = labels_within(cells, separator, header.index(label))
    check_quotes(path, within, set(read[columns.index(label)]) - {""})
    return Table(
        columns=dict(zip(columns, read, strict=True)), as_text=True, lines=lines, unit="line"
    )


def whole_rows(
    path: Path,
    columns: list[str],
    separator: str,
    check: Callable[[list[str]], None],
    *,
    quoted: bool,
) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and each row with as many cells, one at a time, with their lines.

    Raises:
        UserError: after the last row, where some have not as many cells as the header, or there
            are none; before the first, where the separator is another.
    """
    rows = _rows(path, separator, quoted=quoted)
    header = next(rows, (0, list[str]()))[1]
    header = header if quoted else without_quotes(header)
    if not header:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")
    _check_separator(path, header, columns, separator)
    check(header)
    yield 1, header
    ragged: list[str] = []
    right = wrong = 0
    for line, cells in rows:
        if len(cells) == len(header):
            right += 1
            yield line, cells
            continue
        wrong += 1
        if len(ragged) < SHOWN:
            ragged.append(f"line {line} has {len(cells)}")
    if wrong:
        error = RowsError(
            f"data.source: '{path}': the header has {len(header)} fields, but "
            f"{listed(ragged, wrong)}; {HINT}"
        )
        error.fields = len(header)
        raise error
    if not right:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")


def _rows(path: Path, separator: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each row begins at, and its cells; lines of white space are no rows."""
    with opened(path) as file:
        reader = csv.reader(
            file,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        line = 1
        try:
            for cells in reader:
                if cells and not (len(cells) == 1 and cells[0].isspace()):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise UserError(
                    f"data.source: '{path}': line {line}: a quote is opened and never closed"
                ) from None
            raise UserError(
                f"data.source: '{path}': line {line}: text after a closing quote; within a quoted "
                'cell a quotation mark is written twice ("")'
            ) from None


def _check_separator(path: Path, header: list[str], columns: list[str], separator: str) -> None:
    """Name the separator that the header has, where the one used finds no columns in it."""
    if set(columns) <= set(header):
        return
    line = separator.join(header)
    for other in SEPARATORS:
        cells = line.split(other)
        there = set(columns) <= {cell.strip('"') for cell in cells}
        if other != separator and (there or (len(header) == 1 and len(cells) > 1)):
            raise UserError(
                f"data.separator: {_shown(separator)} is not right: the header of '{path}' is "
                f"separated by {_shown(other)}; set data.separator to {_shown(other)}"
            )


def _shown(separator: str) -> str:
    return '"\\t"' if separator == "\t" else f'"{separator}"'
