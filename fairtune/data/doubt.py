"""Say what speaks against the labels of a corpus being its classes."""

from __future__ import annotations

import re
from collections import Counter

from datasets import Dataset

# A class of so few rows is rare. Where most are, a label is hardly a class.
RARE = 2
MANY_CLASSES = 10
SEPARATORS = (";", "|", ",")
# What lists of labels are written with.
AROUND = " \t[](){}'\""


def doubtful(pool: Dataset) -> str | None:
    """Return why the labels may be no classes, but several in a cell, or ids; None if they may be.

    Args:
        pool: a cleaned corpus.
    """
    names = pool.features["label"].names
    counts = Counter(pool["label"][:])
    if why := _several([names[label] for label in sorted(counts)]):
        return why
    rare = [label for label, count in counts.items() if count <= RARE]
    if len(counts) < MANY_CLASSES or len(rare) * 2 <= len(counts):
        return None
    # The longest shows best what the labels are: several in a cell, a text, an id.
    example = _short(max((names[label] for label in rare), key=len))
    return (
        f"data.label_column: {len(rare):,} of {len(counts):,} classes have one or two rows, such "
        f"as '{example}': is it the column of the labels, with one label in each cell?"
    )


def _several(labels: list[str]) -> str | None:
    """Return which label looks like several, where its parts are labels too, or recur in most."""
    known = {label.strip(AROUND) for label in labels}
    for separator in SEPARATORS:
        parts = {label: _parts(label, separator) for label in labels if separator in label}
        parts = {label: of_label for label, of_label in parts.items() if len(of_label) > 1}
        whole = [label for label, of_label in parts.items() if set(of_label) <= known]
        distinct = {part for of_label in parts.values() for part in of_label}
        if whole or (len(parts) * 2 > len(labels) and len(distinct) < len(parts)):
            example = min(whole or parts, key=len)
            return (
                f"data.label_column: '{_short(example)}' looks like {len(parts[example])} labels "
                f"in a cell, and is one of {len(labels):,} classes as it stands: give one label in "
                "each cell"
            )
    return None


def _parts(label: str, separator: str) -> list[str]:
    found = [part.strip(AROUND) for part in label.split(separator)]
    return found if all(found) else []


def _short(label: str) -> str:
    label = re.sub(r"\s+", " ", label)
    return label if len(label) <= 60 else f"{label[:60]} ..."
