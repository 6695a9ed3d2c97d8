"""The learning rates that are tried: log-spaced, and what an extension of their range adds."""

from __future__ import annotations

from typing import Literal

from fairtune.core.method import HIGHEST_RATE

# A rate is tried as it is printed.
DIGITS = 3


def rounded(rate: float) -> float:
    """Return a rate with three significant digits."""
    return float(f"{rate:.{DIGITS}g}")


def spacing(low: float, high: float, trials: int) -> float:
    """Return what a rate of the range is to the one below it."""
    return float((high / low) ** (1 / (trials - 1)))


def rates(low: float, high: float, trials: int) -> list[float]:
    """Return the rates of a range, log-spaced, the lowest first; both ends are among them."""
    step = spacing(low, high, trials)
    inner = [rounded(low * step**place) for place in range(1, trials - 1)]
    return [low, *inner, high]


def added(trials: int) -> int:
    """Return how many rates an extension adds: half a range, rounded up."""
    return (trials + 1) // 2


def extension(
    tried: list[float], *, low: float, high: float, trials: int, side: Literal["low", "high"]
) -> list[float]:
    """Return the rates that an extension adds, spaced as the range is, the lowest first.

    Args:
        tried: the rates so far, the lowest first.
        low: the lowest rate asked for.
        high: the highest rate asked for.
        trials: rates in the range asked for.
        side: where to extend; below all the same, where there is no room above.
    """
    step, count = spacing(low, high, trials), added(trials)
    above = [rounded(tried[-1] * step**place) for place in range(1, count + 1)]
    if side == "high" and above[-1] < HIGHEST_RATE:
        return above
    return sorted(rounded(tried[0] / step**place) for place in range(1, count + 1))


def nearer_side(tried: list[float], best: float) -> Literal["low", "high"]:
    """Return the edge that a rate is nearer to, of two equally near the upper."""
    place = tried.index(best)
    return "low" if place < len(tried) - 1 - place else "high"
