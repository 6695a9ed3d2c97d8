"""Clean labelled texts: line breaks, empty, repeated and contradictory rows, class names."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value

from fairtune.core.errors import UserError
from fairtune.data.cells import spaced
from fairtune.data.corpus import COLUMNS, GROUP


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Rows left out of the corpus, counted by reason."""

    empty: int
    """Rows without a text or a label."""
    duplicates: int
    """Later copies of a text that occurs before with the same label."""
    contradictions: int
    """All copies of a text that occurs with different labels."""

    def __add__(self, other: Dropped) -> Dropped:
        """Return the counts of two splits together."""
        counts = asdict(other)
        return Dropped(**{why: count + counts[why] for why, count in asdict(self).items()})

    @property
    def rows(self) -> int:
        """Rows left out, for whatever reason."""
        return sum(asdict(self).values())

    def __str__(self) -> str:
        """Return the counts in words, those of nothing left out."""
        return ", ".join(f"{count:,} {why}" for why, count in asdict(self).items() if count)


def clean(
    corpus: Mapping[str, Dataset], *, label_names: list[str] | None = None
) -> tuple[dict[str, Dataset], dict[str, Dropped]]:
    """Treat HTML line breaks as white space and drop empty, repeated and contradictory rows.

    Copies are looked for across all the splits given: a text never stands in two of them. Of
    copies in several groups the first stays, in its group.

    Returns:
        What is left of each split, maybe nothing, and what was dropped of it.

    Raises:
        UserError: one class is left, or the names given are too few or too many.
    """
    columns = (*COLUMNS, *(name for name in next(iter(corpus.values())).features if name == GROUP))
    rows = [
        (split, row_id, spaced(text or ""), label, group)
        for split, part in corpus.items()
        for row_id, text, label, *group in zip(*(part[name][:] for name in columns), strict=True)
    ]
    seen: dict[str, set[str]] = {}
    for _, _, text, label, _ in rows:
        if text and label is not None:
            seen.setdefault(text, set()).add(label)
    labels = sorted({label for of_text in seen.values() for label in of_text}, key=_natural)
    numbers = {label: number for number, label in enumerate(labels)}
    kept: dict[str, list[tuple[Any, ...]]] = {split: [] for split in corpus}
    dropped = {split: Counter(empty=0, duplicates=0, contradictions=0) for split in corpus}
    for split, row_id, text, label, group in rows:
        if not text or label is None:
            dropped[split]["empty"] += 1
        elif text not in seen:
            dropped[split]["duplicates"] += 1
        elif len(seen[text]) > 1:
            dropped[split]["contradictions"] += 1
        else:
            del seen[text]
            kept[split].append((row_id, text, numbers[label], *group))
    counts = {split: Dropped(**why) for split, why in dropped.items()}
    names = _names(labels, label_names, functools.reduce(Dropped.__add__, counts.values()))
    pools = {split: _pool(part, columns, names) for split, part in kept.items()}
    return pools, counts


def _pool(rows: list[tuple[Any, ...]], columns: tuple[str, ...], names: list[str]) -> Dataset:
    cells = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    kinds = dict.fromkeys(columns, Value("string")) | {"label": ClassLabel(names=names)}
    return Dataset.from_dict(dict(zip(columns, cells, strict=True)), features=Features(kinds))


def _names(labels: list[str], names: list[str] | None, dropped: Dropped) -> list[str]:
    """Return the names to show for the classes, of which there may be none where no row is left."""
    if len(labels) == 1:
        left_out = f" after dropping {dropped}" if dropped.rows else ""
        raise UserError(
            "data.label_column: a comparison needs two classes or more; found "
            f"{labels[0]!r} alone{left_out}"
        )
    if not labels:
        return []
    if names is not None and (len(names) != len(labels) or len(set(names)) != len(names)):
        raise UserError(
            f"data.label_names: {names} is not right; expected {len(labels)} different names, for "
            f"{', '.join(labels)} in this order"
        )
    return names or labels


def _natural(label: str) -> tuple[bool, int, str]:
    """Sort whole numbers by value and before words."""
    number = int(label) if re.fullmatch(r"[+-]?[0-9]{1,18}", label) else None
    return (number is None, number or 0, label)
