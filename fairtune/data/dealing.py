"""Deal whole groups to sets of rows, so that each set has its rows and its classes.

Groups are taken in an order that the seed decides, until they hold the rows of each class that a
set is to have. What they hold beyond that is of no use to other sets. Where so many rows are asked
for that this does not work out, the classes' shares are met less exactly, and at last the groups
are packed so that the fewest rows go to waste; of few groups, all ways are tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairtune.data.shares import Counts, nearest, shares

# How exactly the groups of a set must hold the classes' shares: the first at which all sets work
# out, in one of so many orders of the groups, is taken. At 0 each class has one row at least.
EXACTNESS = (1.0, 0.9, 0.7, 0.4, 0.0)
ORDERS = 6
# So many groups are dealt in all ways, 3 ** 10 for three sets, where no order works out.
FEW = 10

Dealt = tuple[NDArray[np.int64], Counts]
"""The groups of a set, and how many rows of each class it has."""


def deal(counts: NDArray[np.int64], sizes: Sequence[int], *, seed: int) -> list[Dealt] | None:
    """Return each set's groups and its rows of each class; None where no way was found.

    Args:
        counts: rows of each class in each group, shape (groups, classes).
        sizes: rows of each set, in the order in which they are drawn.
        seed: decides the order of the groups.
    """
    for exactness in EXACTNESS:
        for turn in range(ORDERS):
            order = np.random.default_rng([seed, turn]).permutation(len(counts))
            sets = _Draw(counts, order, exactness).sets(sizes)
            if sets is not None:
                return sets
    return _best_of_all(counts, sizes) if len(counts) <= FEW else None


def _best_of_all(counts: NDArray[np.int64], sizes: Sequence[int]) -> list[Dealt] | None:
    """Try all ways to deal few groups; return the one nearest to the classes' shares, or None."""
    ways = np.indices((len(sizes),) * len(counts)).reshape(len(counts), -1).T
    fits = np.ones(len(ways), dtype=bool)
    lacking = np.zeros(len(ways), dtype=np.int64)
    wanted = [shares(counts.sum(axis=0), size, later=0) for size in sizes]
    for place, (size, share) in enumerate(zip(sizes, wanted, strict=True)):
        held = (ways == place) @ counts
        fits &= (held.sum(axis=1) >= size) & (held > 0).all(axis=1)
        lacking += np.maximum(share - held, 0).sum(axis=1)
    if not fits.any():
        return None
    best = ways[np.where(fits, lacking, lacking.max() + 1).argmin()]
    chosen = [np.flatnonzero(best == place) for place in range(len(sizes))]
    return [
        (one, nearest(share, counts[one].sum(axis=0)))
        for one, share in zip(chosen, wanted, strict=True)
    ]


class _Draw:
    """One try to deal the groups, in one order."""

    def __init__(self, counts: NDArray[np.int64], order: NDArray[np.int64], exactness: float):
        """Deal groups of which `counts` has the rows of each class, shape (groups, classes)."""
        self.counts = counts
        self.order = order
        self.exactness = exactness
        self.free = np.ones(len(counts), dtype=bool)
        self.spare = 0
        """Rows that the later sets do not need."""
        self.holders = np.zeros(counts.shape[1], dtype=np.int64)
        """Groups of each class that the later sets do not need."""

    def sets(self, sizes: Sequence[int]) -> list[Dealt] | None:
        """Return each set's groups and its rows of each class; None where it does not work out."""
        made = []
        for place, size in enumerate(sizes):
            later = sizes[place + 1 :]
            left = self.counts[self.free]
            self.spare = int(left.sum()) - sum(later)
            self.holders = (left > 0).sum(axis=0) - len(later)
            if self.spare < size or self.holders.min() < 1:
                return None
            wanted = shares(left.sum(axis=0), size, later=len(later))
            chosen = self._choose(wanted)
            if chosen is None:
                return None
            made.append((chosen, nearest(wanted, self.counts[chosen].sum(axis=0))))
        return made

    def _choose(self, wanted: Counts) -> NDArray[np.int64] | None:
        """Take groups that hold a set with about the classes wanted; None where that fails."""
        need = np.clip(np.floor(wanted * self.exactness).astype(np.int64), 1, wanted)
        chosen: list[int] = []
        any_class = int((wanted - need).sum())
        if self.exactness:
            # Groups that go in whole, in the order of the draw.
            for group in self.order[self.free[self.order]]:
                if need.sum() + any_class == 0:
                    break
                over = int(np.maximum(self.counts[group] - need, 0).sum())
                if over <= any_class and self._take(group, chosen):
                    need = np.maximum(need - self.counts[group], 0)
                    any_class -= over
        else:
            any_class, need = 0, np.minimum(need, 1)
        while need.sum() + any_class > 0:
            # Then the one that leaves the fewest rows unused for each that is used.
            ahead = self.order[self.free[self.order]]
            rows = self.counts[ahead]
            within = np.minimum(rows, need).sum(axis=1)
            over = rows.sum(axis=1) - within
            used = within + np.minimum(over, any_class)
            waste = np.where(used > 0, rows.sum(axis=1) / np.maximum(used, 1), np.inf)
            best = next((g for g in np.argsort(waste, kind="stable") if self._able(ahead[g])), None)
            if best is None or not used[best]:
                return None
            self._take(ahead[best], chosen)
            any_class -= min(int(over[best]), any_class)
            need = np.maximum(need - rows[best], 0)
        missing = int(wanted.sum() - self.counts[chosen].sum())
        if missing > 0 and not self._pack(missing, chosen):
            return None
        return np.array(chosen, dtype=np.int64)

    def _able(self, group: int) -> bool:
        """Return whether the later sets can do without a group."""
        rows = self.counts[group]
        return bool(rows.sum() <= self.spare and (self.holders > 0)[rows > 0].all())

    def _take(self, group: int, chosen: list[int]) -> bool:
        """Take a group if the later sets can do without it."""
        if not self._able(group):
            return False
        self.free[group] = False
        self.spare -= int(self.counts[group].sum())
        self.holders -= self.counts[group] > 0
        chosen.append(int(group))
        return True

    def _pack(self, missing: int, chosen: list[int]) -> bool:
        """Take groups whose rows sum up to what is missing, or to the least beyond (subset sum)."""
        ahead = [int(group) for group in self.order[self.free[self.order]] if self._able(group)]
        rows = [int(self.counts[group].sum()) for group in ahead]
        within = (1 << (self.spare + 1)) - 1 if rows else 0
        within &= (1 << (missing + max(rows, default=0))) - 1
        # Bit n: some of the groups so far have n rows.
        sums = [1]
        for count in rows:
            sums.append((sums[-1] | sums[-1] << count) & within)
        beyond = sums[-1] >> missing
        if not beyond:
            return False
        left = missing + (beyond & -beyond).bit_length() - 1
        for place in reversed(range(len(rows))):
            if not sums[place] >> left & 1:
                left -= rows[place]
                if not self._take(ahead[place], chosen):
                    return False
        return True
