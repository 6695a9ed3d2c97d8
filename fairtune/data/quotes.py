"""Tell a quote around a cell from one that a text begins with, which takes up rows.

Where nothing is quoted, a text that begins with a quotation mark takes up all rows to the next text
that ends in one, and each row that is left still has the header's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairtune.core.errors import UserError


def labels_within(cells: list[str], separator: str, place: int) -> list[str]:
    """Return the label that each line of a row would have as a row by itself; '' if it is none."""
    between = len(cells) - 1
    # Only these end a line of a CSV file; `str.splitlines` knows more. An expression takes longer.
    lines = separator.join(cells).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [
        line.split(separator)[place].strip('"') if line.count(separator) == between else ""
        for line in lines
    ]


def check_quotes(path: Path, within: Mapping[int, list[str]], labels: set[str]) -> None:
    """Refuse a row over several lines that look like rows by themselves, with labels of others.

    Args:
        path: the file.
        within: the lines' labels, as `labels_within` gives them, by the line that a row begins at.
        labels: of all rows.

    Raises:
        UserError: names the line of the quote and the first that it takes up.
    """
    for line, found in within.items():
        known = [label in labels for label in found]
        # The first line of a quoted text, or its last, may well stand beside the row's own label.
        if any(known[1:-1]) or (known[0] and known[-1]):
            taken = line + (known.index(True, 1))
            raise UserError(
                f"data.source: '{path}': line {line}: a quote takes up line {taken} too, which "
                f"looks like a row of label '{found[taken - line]}'; put a cell that begins with a "
                'quotation mark in quotes, and write the mark twice (""), or give the rows as '
                "JSONL or Parquet"
            )
