"""How large a study must be: simulated studies with the variances of one at hand, or assumed ones.

A study of other rows and seeds is drawn as its statistics would see it: scores with the errors of
so many rows and seeds, and the seeds' variances estimated anew. Its verdicts and its choice then
follow by the rules of `fairtune.analysis.pairs` and `fairtune.analysis.choice`, corrections of the
family included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from fairtune.analysis.components import Components
from fairtune.analysis.crossed import FEWEST_SEEDS, FloatArray
from fairtune.analysis.pairs import POWER
from fairtune.analysis.simulation import Simulation

DRAWS = 2_000
"""Simulated studies: a power of 80% is right within 1.8 points."""
NEEDED_DRAWS = 1_000
"""Of each size that is tried for what a study needs."""
ALPHA = 0.05
"""Level of the family."""
MOST_SEEDS, MOST_ROWS = 50, 50
"""A study is not thought of beyond so many seeds, or so many times its rows."""
SEED_STEPS = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, MOST_SEEDS)
ROW_STEPS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, MOST_ROWS)


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a study of a size would find, as shares of simulated studies."""

    rows: int
    seeds: int
    settled: float
    """The choice is proved."""
    decided: float
    """A pair has a verdict other than "cannot tell", mean over pairs."""
    every: float
    """All pairs have one."""
    pairs: dict[tuple[str, str], float]
    """Each pair has one."""


def power(
    found: Components,
    rows: int,
    seeds: int,
    *,
    margin: float,
    alpha: float = ALPHA,
    draws: int = DRAWS,
    seed: int = 0,
) -> Power:
    """Simulate studies of a size and return what share of them settles what.

    Args:
        found: the components.
        rows: test rows.
        seeds: trainings of each method, at least `FEWEST_SEEDS`.
        margin: of equivalence.
        alpha: level of the family.
        draws: simulated studies.
        seed: of the draws.
    """
    made = Simulation.of(found, rows, seeds, draws=draws, seed=seed)
    outer, inner = _tails(made.fresh(), made.covariance, made.pairs, alpha)
    decided = np.zeros((draws, len(made.pairs)), dtype=bool)
    for place, pair in enumerate(made.pairs):
        gap = np.abs(made.gap(pair))
        decided[:, place] = (gap > made.reach(pair, outer)) | (
            gap + made.reach(pair, inner) < margin
        )
    return Power(
        rows=rows,
        seeds=seeds,
        settled=made.settled(margin, alpha),
        decided=float(decided.mean()) if made.pairs else 1.0,
        every=float(decided.all(axis=1).mean()),
        pairs={
            (found.names[a], found.names[b]): float(decided[:, place].mean())
            for place, (a, b) in enumerate(made.pairs)
        },
    )


def _tails(
    errors: FloatArray, covariance: FloatArray, pairs: list[tuple[int, int]], alpha: float
) -> tuple[float, float]:
    """Return the one-sided tails of the intervals of verdicts and of equivalence."""
    if not pairs:
        return alpha / 2, alpha
    largest = np.zeros(len(errors))
    for a, b in pairs:
        spread = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
        np.maximum(largest, np.abs(errors[:, a] - errors[:, b]) / max(spread, 1e-18) ** 0.5,
                   out=largest)  # fmt: skip
    outer, inner = np.quantile(largest, [1 - alpha, 1 - 2 * alpha])
    return float(ndtr(-outer)), float(ndtr(-inner))


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What would settle a study's choice with the power asked for; None: not within reach."""

    seeds: int | None
    """Trainings of each method, on the same test rows."""
    rows: int | None
    """Test rows, with the same seeds (or as few as verdicts on methods take)."""
    both: tuple[int, int] | None
    """(seeds, rows): the fewest rows among the studies of ten seeds and less."""
    assumed: bool
    """Whether the spread between trainings is assumed."""


def needed(
    found: Components, *, rows: int, seeds: int, margin: float, wanted: float = POWER
) -> Needed:
    """Return the smallest studies that settle the choice in a share `wanted` of cases.

    Args:
        found: the components.
        rows: test rows at hand.
        seeds: trainings of each method at hand.
        margin: of the choice.
        wanted: power.
    """
    fewest = max(seeds, FEWEST_SEEDS)
    larger = [round(rows * factor) for factor in ROW_STEPS]

    def settles(many: int, size: int) -> bool:
        made = Simulation.of(found, size, many, draws=NEEDED_DRAWS)
        return made.settled(margin, ALPHA) >= wanted

    def enough(of: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
        return next(((many, size) for many, size in of if settles(many, size)), None)

    by_seeds = enough((many, rows) for many in SEED_STEPS if many >= fewest)
    by_rows = enough((fewest, size) for size in larger)
    ten = max(10, fewest)
    return Needed(
        seeds=by_seeds and by_seeds[0],
        rows=by_rows and by_rows[1],
        both=by_seeds or enough((ten, size) for size in larger),
        assumed=found.assumed,
    )


@dataclass(frozen=True, kw_only=True)
class PairNeeded:
    """What would decide one pair with the power asked for; None: not within reach."""

    decided: float
    """Share of studies of the size at hand that decide it."""
    seeds: int | None
    """Trainings of each method, on the same test rows."""
    rows: int | None
    """Test rows, with the same seeds (or as few as verdicts on methods take)."""
    both: tuple[int, int] | None
    """(seeds, rows): the fewest rows with ten seeds, or with those at hand if they are more."""


def needed_of_pairs(
    found: Components, *, rows: int, seeds: int, margin: float, wanted: float = POWER
) -> dict[tuple[str, str], PairNeeded]:
    """Return for each pair the smallest studies that decide it in a share `wanted` of cases.

    Args:
        found: the components.
        rows: test rows at hand.
        seeds: trainings of each method at hand.
        margin: of equivalence.
        wanted: power.
    """
    fewest = max(seeds, FEWEST_SEEDS)

    def simulated(size: int, many: int) -> dict[tuple[str, str], float]:
        return power(found, size, many, margin=margin, draws=NEEDED_DRAWS).pairs

    now = simulated(rows, fewest)
    by_seeds = {many: simulated(rows, many) for many in SEED_STEPS if many >= fewest}
    sizes = [round(rows * factor) for factor in ROW_STEPS]
    by_rows = {size: simulated(size, fewest) for size in sizes}
    ten = max(10, fewest)
    of_ten = {size: simulated(size, ten) for size in sizes}

    def least(of: dict[int, dict[tuple[str, str], float]], pair: tuple[str, str]) -> int | None:
        return next((step for step, shares in of.items() if shares[pair] >= wanted), None)

    def of(pair: tuple[str, str]) -> PairNeeded:
        size = least(of_ten, pair)
        return PairNeeded(
            decided=now[pair],
            seeds=least(by_seeds, pair),
            rows=least(by_rows, pair),
            both=None if size is None else (ten, size),
        )

    return {pair: of(pair) for pair in now}
