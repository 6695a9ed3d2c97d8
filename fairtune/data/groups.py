"""Draw sets of rows that have no group in common: rows of one film, author or patient.

`fairtune.data.dealing` says which groups a set is drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from fairtune.core.errors import UserError
from fairtune.data.corpus import GROUP
from fairtune.data.dealing import deal
from fairtune.data.shares import Counts

SHOWN = 3


def draw(
    labels: NDArray[np.int64],
    groups: Sequence[str],
    sizes: dict[str, int],
    *,
    names: Sequence[str],
    seed: int,
    where: str,
) -> dict[str, NDArray[np.int64]]:
    """Return the row numbers of sets of these sizes, shuffled; no group is in two sets.

    Args:
        labels: class of each row, shape (rows,).
        groups: group of each row.
        sizes: rows of each set, in the order in which they are drawn.
        names: of the classes.
        seed: of the draw.
        where: what the rows are, for errors.

    Raises:
        UserError: there are too few groups, in all or of a class, or no way was found.
    """
    known, codes = np.unique(np.array(groups, dtype=object), return_inverse=True)
    counts = np.zeros((len(known), len(names)), dtype=np.int64)
    np.add.at(counts, (codes, labels), 1)
    _check(counts, known, names, sizes, where=where)
    sets = deal(counts, list(sizes.values()), seed=seed)
    if sets is not None:
        generator = np.random.default_rng(seed)
        rows = generator.permutation(len(labels))
        return {
            name: generator.permutation(_rows(rows, labels, codes, *one))
            for name, one in zip(sizes, sets, strict=True)
        }
    asked = " + ".join(f"{size:,}" for size in reversed(sizes.values()))
    raise UserError(
        f"{' + '.join(f'subset.{name}' for name in reversed(sizes))}: {asked} rows are asked for, "
        f"no group in two of them; {where} has {len(labels):,} rows in {len(known):,} groups of "
        f"data.group_column, the largest of {counts.sum(axis=1).max():,}, and no way was found: "
        "ask for fewer rows"
    )


def common(one: Dataset, other: Dataset) -> bool:
    """Return whether rows of two splits are of one group; False where they are in no groups."""
    return GROUP in one.features and not set(one[GROUP][:]).isdisjoint(other[GROUP][:])


def apart(pool: Dataset, test: Dataset, *, where: str) -> Dataset:
    """Return the rows whose group has no test row.

    Raises:
        UserError: there are none.
    """
    tested = set(test[GROUP][:])
    kept = [row for row, group in enumerate(pool[GROUP][:]) if group not in tested]
    if not kept:
        raise UserError(
            f"data.group_column: each group of {where} has test rows; drop data.test_split, or "
            "name a split of other groups"
        )
    return pool if len(kept) == len(pool) else pool.select(kept)


def number_of(rows: Dataset) -> int:
    """Return the number of groups that rows are of."""
    return len(set(rows[GROUP][:]))


def _check(
    counts: NDArray[np.int64],
    known: NDArray[np.object_],
    names: Sequence[str],
    sizes: dict[str, int],
    *,
    where: str,
) -> None:
    """Refuse a corpus, or a class, of fewer groups than there are sets."""
    needed = f"each of {', '.join(reversed(sizes))} needs one of its own"
    if len(known) < len(sizes):
        raise UserError(f"data.group_column: {where} has {_listed(known)}; {needed}")
    for name, of_class in zip(names, counts.T, strict=True):
        holders = known[of_class > 0]
        if len(holders) < len(sizes):
            raise UserError(
                f"data.group_column: the {of_class.sum():,} rows of class '{name}' in {where} are "
                f"of {_listed(holders)}; {needed}"
            )


def _listed(groups: NDArray[np.object_]) -> str:
    """Return few groups in words."""
    shown = ", ".join(repr(group)[:60] for group in groups[:SHOWN])
    return f"one group, {shown}" if len(groups) == 1 else f"{len(groups)} groups, {shown}"


def _rows(
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    codes: NDArray[np.int64],
    chosen: NDArray[np.int64],
    share: Counts,
) -> NDArray[np.int64]:
    """Return the first rows of the chosen groups in this order, as many of each class as asked."""
    rows = order[np.isin(codes[order], chosen)]
    return np.concatenate([rows[labels[rows] == c][:count] for c, count in enumerate(share)])
