"""Rows of texts to be classified, whatever the kind of file that they stand in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fairtune.core.errors import UserError, did_you_mean
from fairtune.data.cells import short, spaced

Item = TypeVar("Item")
# The readers of the corpus name what the parameters call these.
NAMES = {"data.source: ": "", "data.separator": "--separator"}


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows, one after another."""

    texts: list[str]
    """As the model reads them."""
    rows: Any
    """As they stand in the file: lists of cells, objects, or an Arrow table."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of texts that has been looked through, and is right."""

    kind: str
    columns: list[str]
    """All that some row has, in order."""
    count: int
    """Rows."""
    read: Callable[[int], Iterator[Chunk]]
    """Yields the rows in chunks of so many."""
    schema: Any = None
    """Arrow's, of a Parquet file."""
    separator: str | None = None
    """Between the cells of a CSV or TSV file."""
    quoted: bool = True
    """Whether its cells may stand in quotes."""


@contextmanager
def named_as_here() -> Iterator[None]:
    """Let the readers of the corpus name what a user of this command knows."""
    try:
        yield
    except UserError as error:
        line = str(error)
        for theirs, ours in NAMES.items():
            line = line.replace(theirs, ours)
        raise UserError(line) from error


def check_column(path: Path, column: str, known: list[str]) -> None:
    """Refuse a file without the column of the texts, or with two.

    Raises:
        UserError: it is so; names the columns that are there.
    """
    if column not in known:
        raise UserError(
            f"--text-column: '{path}' has no column '{column}'; {did_you_mean(column, set(known))}"
        )
    if known.count(column) > 1:
        raise UserError(
            f"--text-column: '{path}' has {known.count(column)} columns '{column}'; give each a "
            "name of its own"
        )


def text_of(value: Any, place: str, column: str) -> str:
    """Return a text as the model reads it.

    Args:
        value: of the cell.
        place: the file, and where in it the row stands.
        column: its name.

    Raises:
        UserError: the cell holds no text.
    """
    if not isinstance(value, str | None):
        raise UserError(f"{place}: the column '{column}' holds {short(value)}, not text")
    text = spaced(value or "")
    if not text:
        raise UserError(
            f"{place}: the column '{column}' is empty; give the row a text, or leave it out"
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(
            f"{place}: the column '{column}' holds half of a surrogate pair, which is no "
            "character; mend it"
        )
    return text


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each made by a thread while the one before it is worked on.

    What goes wrong with the making of an item is raised where that item would come.
    """
    made = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, made, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, made, end)
            yield item


def in_chunks(
    pairs: Callable[[], Iterable[tuple[str, Any]]],
) -> Callable[[int], Iterator[Chunk]]:
    """Return what yields rows in chunks, from what yields each text with its row."""

    def read(size: int) -> Iterator[Chunk]:
        ahead = iter(pairs())
        while some := list(itertools.islice(ahead, size)):
            texts, rows = map(list, zip(*some, strict=True))
            yield Chunk(texts=texts, rows=rows)

    return read
