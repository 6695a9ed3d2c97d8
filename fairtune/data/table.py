"""The columns that a study needs, as they stand in a source."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairtune.core.errors import UserError, did_you_mean
from fairtune.core.params import Data

# So many rows that are not right are named one by one.
SHOWN = 4


@dataclass(kw_only=True)
class Table:
    """Some columns of a source, of one length, and where in the source each row stands."""

    columns: dict[str, list[Any]]
    """Cells by column: text where `as_text`, else values of any kind; None is missing."""
    as_text: bool = False
    """Whether the source has no types, so that each cell is its text and '' is missing."""
    lines: array[int] = field(default_factory=lambda: array("q"))
    """Number of each row: of its line, or of the row itself; empty where `row` is enough."""
    unit: str = "row"
    """What `lines` counts."""
    classes: list[str] | None = None
    """Names of the labels, where the labels are numbers of classes."""
    files: list[tuple[str, int, array[int], str]] = field(default_factory=list)
    """Of rows of several files, one after another: name, rows, `lines` and `unit` of each file."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return max(map(len, self.columns.values()), default=0)

    def place(self, row: int) -> str:
        """Return where a row stands, for a person."""
        for name, rows, lines, unit in self.files:
            if row < rows:
                return f"{unit} {lines[row] if lines else row + 1} of '{name}'"
            row -= rows
        return f"{self.unit} {self.lines[row] if self.lines else row + 1}"


def wanted(data: Data) -> list[str]:
    """Return the columns that a study needs, each once."""
    groups = [data.group_column] if data.group_column is not None else []
    return list(dict.fromkeys([data.text_column, data.label_column, *groups, *data.where]))


def check_columns(known: list[str], data: Data, *, source: str) -> None:
    """Refuse a source without the columns that are named, or with two of that name.

    Raises:
        UserError: names the key and the columns that are there.
    """
    keys = {"text_column": data.text_column, "label_column": data.label_column}
    if data.group_column is not None:
        keys["group_column"] = data.group_column
    for key, column in [*keys.items(), *(("where", column) for column in data.where)]:
        if column not in known:
            raise UserError(
                f"data.{key}: '{source}' has no column '{column}'; "
                f"{did_you_mean(column, set(known))}"
            )
        if known.count(column) > 1:
            raise UserError(
                f"data.{key}: '{source}' has {known.count(column)} columns '{column}'; "
                "give each a name of its own"
            )


def listed(problems: Iterable[str], count: int) -> str:
    """Return the first few problems, and how many more there are."""
    shown = list(problems)[:SHOWN]
    more = [f"and {count - len(shown):,} more"] if count > len(shown) else []
    return ", ".join([*shown, *more])
