"""What the cells of a source say: texts, names of classes and groups, and a cell in a message."""

from __future__ import annotations

import re
from typing import Any

# Numbers as CSV files write them.
WHOLE = re.compile(r"([+-]?[0-9]+)\.0*")
FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]+")

# A match begins where white space does, so that a long run of blanks is walked through once.
BREAK = re.compile(r"(?<!\s)\s*(?:<br\s*/?>\s*)+", flags=re.IGNORECASE)


def spaced(text: str) -> str:
    """Return a text with HTML line breaks as white space, and none around it."""
    # Most texts hold no tag, and looking for one takes longer than all else.
    return (BREAK.sub(" ", text) if "<" in text else text).strip()


def written_label(cell: str) -> str | None:
    """Return a label of a file without types; 1.0 is how a column with gaps writes 1.

    Raises:
        ValueError: it is a number that is not whole.
    """
    label = cell.strip()
    if FRACTION.fullmatch(label) and not WHOLE.fullmatch(label):
        raise ValueError
    return written_group(label)


def written_group(cell: str) -> str | None:
    """Return a group of a file without types: any text, such as 28.11; 1.0 is 1."""
    group = cell.strip()
    if whole := WHOLE.fullmatch(group):
        return whole[1]
    return group or None


def name(value: Any) -> str | None:
    """Return a label or a group of a source with types: 1, 1.0 and '1' are the same.

    Raises:
        ValueError: it is no text and no whole number.
    """
    match value:
        case None:
            return None
        case bool() | str():
            return str(value).strip() or None
        case int():
            return str(value)
        case float() if value.is_integer():
            return number(value)
        case float() if value != value:  # not a number: a gap in a column of numbers
            return None
    raise ValueError


def class_name(value: Any, *, names: list[str]) -> str | None:
    """Return the name of a numbered class; rows without a label carry -1 in the Hub's format.

    Raises:
        ValueError: it is neither the number nor the name of a class.
    """
    label = name(value)
    if label is None or label in names:
        return label
    place = int(WHOLE.sub(r"\1", label))
    if not -1 <= place < len(names):
        raise ValueError
    return names[place] if place >= 0 else None


def number(value: Any) -> str:
    """Return a value as text; 1.0 is how a column with gaps writes 1."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def short(value: Any) -> str:
    """Return a cell for a message, cut where it is long."""
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:60]} ..."
