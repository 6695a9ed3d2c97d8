"""When a growing study is looked at, and how long it takes until then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.analysis.planning import MOST_SEEDS
from fairtune.core.errors import UserError

ENDS = 2**32
"""Seeds are less than this."""
MOST_LOOKS = 5
"""More cost level and time, and end a study hardly sooner."""
SECONDS_OF_A_LOOK = 10.0
"""The stages behind the trainings up to the verdicts, whatever the number of methods."""
SECONDS_OF_A_METHOD = 5.0
"""The stages `record` and `score` of one method."""
SECONDS_OF_THE_REPORT = 60.0
"""The report and the notebook, made once, after the last look."""


@dataclass(frozen=True)
class Clock:
    """The budget, in seconds, and what is left of it."""

    budget: float
    began: float = field(default_factory=time.monotonic)

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.budget - self.used


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long trainings and looks take on this machine."""

    seconds: Mapping[str, float]
    """Of a training of each method."""
    slots: int = 1
    """Trainings at once."""

    def trainings(self, methods: Sequence[str]) -> float:
        """Return the seconds of these trainings, each given by its method."""
        each = [self.seconds[name] for name in methods]
        return max(sum(each) / self.slots, max(each, default=0.0))

    @property
    def look(self) -> float:
        """The seconds from the last training to the verdicts."""
        return SECONDS_OF_A_LOOK + SECONDS_OF_A_METHOD * len(self.seconds)

    def until(self, seeds: int, *, at_hand: int, missing: Sequence[str] = ()) -> float:
        """Return the seconds until the verdicts at so many seeds, of a single look.

        Args:
            seeds: trainings of each method at the look.
            at_hand: seeds that are planned already.
            missing: the method of each training that is still to run with those.
        """
        new = [name for name in self.seconds for _ in range(seeds - at_hand)]
        return self.trainings([*missing, *new]) + self.look


def looks_between(first: int, last: int) -> list[int]:
    """Return numbers of seeds at which to look: at most five, evenly spread, two apart or more.

    Args:
        first: seeds at the first look.
        last: seeds at the last, more than at the first.
    """
    span = last - first
    many = min(MOST_LOOKS, 1 + -(-span // 2))
    return [first + round(span * place / (many - 1)) for place in range(many)]


def first_look(seeds: int) -> int:
    """Return the seeds at the first look of a study with so many."""
    return max(FEWEST_SEEDS, seeds)


def seconds_of(looks: Sequence[int], pace: Pace, *, at_hand: int, missing: Sequence[str]) -> float:
    """Return the seconds of a whole plan, should no look end it.

    Args:
        looks: seeds at each look.
        pace: of this machine.
        at_hand: seeds that are planned already.
        missing: the method of each training that is still to run with those.
    """
    return pace.until(looks[-1], at_hand=at_hand, missing=missing) + pace.look * (len(looks) - 1)


def affordable(
    budget: float, pace: Pace, *, at_hand: int, missing: Sequence[str]
) -> list[int] | None:
    """Return the looks of the longest plan that a budget allows; None where it allows none.

    Args:
        budget: seconds.
        pace: of this machine.
        at_hand: seeds that are planned already.
        missing: the method of each training that is still to run with those.
    """
    first = first_look(at_hand)
    for last in range(max(MOST_SEEDS, first + 1), first, -1):
        looks = looks_between(first, last)
        if (
            seconds_of(looks, pace, at_hand=at_hand, missing=missing)
            <= budget - SECONDS_OF_THE_REPORT
        ):
            return looks
    return None


def further(seeds: Sequence[int], many: int, *, taken: Sequence[int] = ()) -> list[int]:
    """Return seeds and, behind them, the next whole numbers after the largest, so many in all.

    Args:
        seeds: those at hand.
        many: how many there are to be.
        taken: numbers to pass over: the seeds of a search.

    Raises:
        UserError: there are none.
    """
    after = (seed for seed in range(max(seeds) + 1, ENDS) if seed not in taken)
    added = list(islice(after, many - len(seeds)))
    if len(added) < many - len(seeds):
        raise UserError(f"seeds: after {max(seeds)} too few are left under 2^32; take smaller ones")
    return [*seeds, *added]
