"""How many rows of each class a set of rows gets: largest remainder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def shares(left: Counts, size: int, *, later: int) -> Counts:
    """Return how many rows of each class a set of this size gets, by largest remainder.

    Each class gets one row at least, and keeps one for each of the sets drawn `later`.

    Args:
        left: rows of each class that can be drawn, shape (classes,).
        size: rows of the set.
        later: sets drawn afterwards.
    """
    exact = size * left / left.sum()
    counts: Counts = np.clip(np.floor(exact).astype(np.int64), 1, left - later)
    while gap := size - int(counts.sum()):
        step = 1 if gap > 0 else -1
        free = counts < left - later if gap > 0 else counts > 1
        counts[np.where(free, step * (exact - counts), -np.inf).argmax()] += step
    return counts


def nearest(wanted: Counts, there: Counts) -> Counts:
    """Return as many rows of each class as are wanted and there, the rest from the other classes.

    Args:
        wanted: shares of a set, shape (classes,).
        there: rows of each class to take them from; as many in all, or more.
    """
    counts = np.minimum(wanted, there)
    while counts.sum() < wanted.sum():
        counts[np.where(counts < there, there - counts, -1).argmax()] += 1
    return counts
