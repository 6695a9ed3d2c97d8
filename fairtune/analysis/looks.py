"""Several looks at a growing study: how the level is divided among them.

Who adds seeds until a verdict comes out finds one too often. Looks that are planned beforehand are
paid for: each has a level of its own, and by Bonferroni's inequality all of them together keep that
of the study. The levels are the increments of the spending function of Lan and DeMets (1983,
Biometrika 70:659) that resembles O'Brien and Fleming's boundaries: little is spent early.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from scipy.special import ndtr, ndtri

from fairtune.core.errors import UserError

ALPHA = 0.05


def levels(looks: Sequence[int], *, alpha: float = ALPHA) -> list[float]:
    """Return the level of each look, whose sum is alpha.

    Args:
        looks: seeds at each look, increasing.
        alpha: level of the study.
    """
    z = float(ndtri(1 - alpha / 2))
    spent = [2 * float(ndtr(-z / sqrt(seeds / looks[-1]))) for seeds in looks]
    return [now - before for before, now in zip([0.0, *spent], spent, strict=False)]


def until(seeds: int, looks: Sequence[int], *, alpha: float = ALPHA) -> list[tuple[int, float]]:
    """Return (seeds, level) of the looks up to now: one with the whole level if none are planned.

    Args:
        seeds: trainings of each method at hand.
        looks: seeds at each planned look, increasing.
        alpha: level of the study.

    Raises:
        UserError: no look is planned at so many seeds.
    """
    if not looks:
        return [(seeds, alpha)]
    if seeds not in looks:
        said = ", ".join(map(str, looks))
        raise UserError(
            f"compare.looks: no look is planned at {seeds} seeds, but at {said}; run as many "
            "seeds, or empty compare.looks for a study that is looked at once"
        )
    known = list(zip(looks, levels(looks, alpha=alpha), strict=True))
    return known[: looks.index(seeds) + 1]


def planned(looks: Sequence[int], *, alpha: float = ALPHA) -> dict[str, float] | None:
    """Return seeds -> level of each planned look, for a file; None where there are none."""
    if not looks:
        return None
    known = zip(looks, levels(looks, alpha=alpha), strict=True)
    return {str(seeds): round(level, 6) for seeds, level in known}
