"""What studies of several sizes would settle, and how long they would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairtune.analysis.components import Components
from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.analysis.planning import Needed, PairNeeded, needed, needed_of_pairs, power
from fairtune.design.pilot import seconds_by_method
from fairtune.runs.record import Runs

SEEDS = (3, 5, 10, 20)
"""Seeds of the sizes shown, with those at hand."""
FACTORS = (1, 2, 5)
"""Times the test rows at hand."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A study of a size."""

    seeds: int
    test_rows: int
    settled: float
    """Chance that the choice is proved."""
    decided: float
    """Chance that a pair has a verdict other than "cannot tell", mean over pairs."""
    minutes: float | None
    """Of all its trainings one after another; None where no run tells."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is within reach."""

    seeds: int
    """At hand; 0 before any training."""
    test_rows: int
    """At hand, or planned."""
    margin: float
    power: float
    """Wanted."""
    assumed: bool
    """Whether the spread between trainings is assumed."""
    settled: float
    """Chance that the choice is proved by a study as at hand, of three seeds or more."""
    sizes: list[Size]
    needed: Needed
    pairs: dict[tuple[str, str], PairNeeded]
    """Of the pairs that are asked for."""


def outlook(
    found: Components,
    *,
    rows: int,
    seeds: int,
    margin: float,
    wanted: float,
    pairs: Sequence[tuple[str, str]] = (),
    runs: Runs | None = None,
) -> Outlook:
    """Return what studies of several sizes would settle.

    Args:
        found: the components.
        rows: test rows at hand, or planned.
        seeds: trainings of each method at hand; 0 before any.
        margin: of equivalence and of the choice.
        wanted: power.
        pairs: those whose needs are told one by one.
        runs: that tell the times; None where there are none.
    """
    fewest = max(seeds, FEWEST_SEEDS)
    sizes = []
    for many in sorted({*SEEDS, fewest}):
        for factor in FACTORS:
            chance = power(found, rows * factor, many, margin=margin)
            sizes.append(
                Size(
                    seeds=many,
                    test_rows=rows * factor,
                    settled=chance.settled,
                    decided=chance.decided,
                    minutes=minutes(runs, seeds=many, test_rows=factor),
                )
            )
    by_pair = (
        needed_of_pairs(found, rows=rows, seeds=fewest, margin=margin, wanted=wanted)
        if pairs
        else {}
    )
    return Outlook(
        seeds=seeds,
        test_rows=rows,
        margin=margin,
        power=wanted,
        assumed=found.assumed,
        settled=next(one.settled for one in sizes if (one.seeds, one.test_rows) == (fewest, rows)),
        sizes=sizes,
        needed=needed(found, rows=rows, seeds=fewest, margin=margin, wanted=wanted),
        pairs={pair: by_pair[pair] for pair in pairs},
    )


def minutes(runs: Runs | None, *, seeds: int, test_rows: float) -> float | None:
    """Return the minutes of all trainings of a study, one after another; None: no run tells.

    Args:
        runs: method -> one run a seed.
        seeds: trainings of each method.
        test_rows: times the test rows of the runs.
    """
    if runs is None:
        return None
    return round(seeds * sum(seconds_by_method(runs, test_rows=test_rows).values()) / 60, 2)
