"""Add seeds until every pair of methods has a verdict, or the minutes are spent.

usage: python -m fairtune.settle --minutes N
in:    params.yaml, and runs/ for how long a training takes
out:   params.yaml (further seeds; at the first call the looks), and all that `dvc repro` makes

The looks are planned before anything runs, and paid for (`fairtune.analysis.looks`): who adds seeds
until a verdict comes out finds one too often. A later call goes on with the same plan.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
import functools
import sys
from collections.abc import Sequence
from math import ceil
from typing import Any

from fairtune import check, parallel
from fairtune.analysis import looks
from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.cluster import stages
from fairtune.core import files, params, paths
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.design import pilot, schedule
from fairtune.design.amendment import amend
from fairtune.design.options import number_of
from fairtune.design.schedule import SECONDS_OF_THE_REPORT, Clock, Pace

MOST_MINUTES = 100_000
GO_ON = "`python -m fairtune.settle --minutes {}` goes on"


def settle(clock: Clock) -> str:
    """Look as planned until every pair has a verdict, the plan is done or the budget is spent.

    Args:
        clock: started.

    Returns:
        How it ended, for a person.

    Raises:
        UserError: a parameter is not right, the budget allows no plan, or a stage failed.
    """
    study = check.check()
    if len(study.methods) < 2:
        raise UserError("methods: one alone is compared with nothing; settle needs two or more")
    free, missing = parallel.slots(), check.stale(study)[0]
    if not study.compare.looks:
        judged = not missing and len(study.seeds) >= FEWEST_SEEDS
        if judged and not look(study, free, []):
            return "every pair has a verdict: there is nothing to do"
        many = len(study.seeds)
        study = begin(study, pace_of(study, free), clock, missing)
        missing = check.stale(study)[0]
        if judged:
            print(
                f"settle: note: {many} seeds were judged once before, with the whole level; "
                "together with that look, the chance of a false verdict is up to twice 5%",
                flush=True,
            )
    late = 1.0
    while True:
        pace, many = pace_of(study, free), len(study.seeds)
        need = late * pace.until(many, at_hand=many, missing=missing)
        if missing and need > clock.left:
            return out_of_budget(many, need, clock)
        began = clock.used
        undecided = look(study, free, missing)
        if missing:
            late = max(1.0, (clock.used - began) / need * late)
        tell(study, undecided, clock)
        if not undecided:
            return close(f"every pair has a verdict at {many} seeds: there is nothing more to do")
        following = next((one for one in study.compare.looks if one > many), None)
        if following is None:
            return close(over(undecided))
        need = late * pace_of(study, free).until(following, at_hand=many) + SECONDS_OF_THE_REPORT
        if need > clock.left:
            return close(out_of_budget(following, need, clock))
        amend(schedule.further(study.seeds, following, taken=study.search.seeds))
        study = params.load()
        missing = check.stale(study)[0]


def pace_of(study: Params, free: Sequence[str]) -> Pace:
    """Return how long trainings take here, by the runs at hand.

    Raises:
        UserError: no run tells.
    """
    runs = pilot.at_hand(study)
    if runs is None:
        raise UserError(
            "runs: no seed of params.yaml has a run of every method, which would tell how long a "
            "training takes; run `dvc repro` first (one seed is enough)"
        )
    return Pace(seconds=pilot.seconds_by_method(runs), slots=len(free))


def begin(study: Params, pace: Pace, clock: Clock, missing: Sequence[str]) -> Params:
    """Plan the looks and write them into params.yaml with the seeds of the first; return it.

    Args:
        study: the parameters, with no look planned.
        pace: of this machine.
        clock: of the budget.
        missing: the method of each training that is still to run with the seeds as they are.

    Raises:
        UserError: the budget does not allow two looks.
    """
    many = len(study.seeds)
    planned = schedule.affordable(clock.left, pace, at_hand=many, missing=missing)
    if planned is None:
        first = schedule.first_look(many)
        least = [first, first + 1]
        need = schedule.seconds_of(least, pace, at_hand=many, missing=missing)
        raise UserError(
            f"--minutes: {clock.budget / 60:g} is not right; looks at {first} and {first + 1} "
            f"seeds need about {minutes(need + SECONDS_OF_THE_REPORT)}"
        )
    seeds = schedule.further(study.seeds, planned[0], taken=study.search.seeds)
    amend(seeds, planned)
    print(
        f"settle: looks are planned at {', '.join(map(str, planned))} seeds (compare.looks in "
        f"params.yaml); the first seeds are {', '.join(map(str, seeds))}",
        flush=True,
    )
    return params.load()


def look(study: Params, free: list[str], missing: Sequence[str]) -> list[str]:
    """Run the pipeline up to the verdicts; return the pairs that have none.

    Each training is a stage of the pipeline, so that what is finished is kept whatever comes. It
    stops at the first that fails: DVC's --keep-going would go on after Ctrl-C as well.

    Args:
        study: the parameters.
        free: the slots.
        missing: the method of each training to run.

    Raises:
        UserError: a stage failed.
    """
    try:
        if missing and len(free) > 1:
            stages.in_order(functools.partial(parallel.side_by_side, free=free))
        if stages.dvc("repro", "compare", "score"):
            raise UserError("a stage failed, see above")
    except UserError as error:
        raise UserError(
            f"the look at {len(study.seeds)} seeds was not reached: {error}. Finished trainings "
            f"are kept; once it is put right, {GO_ON.format('N')}"
        ) from None
    content: dict[str, Any] = files.read_json(paths.METRICS / "comparison.json", made_by="compare")
    return [name for name, one in content["pairs"].items() if one["verdict"] == "cannot tell"]


def close(ended: str) -> str:
    """Run what follows the verdicts, the report, when no training is to come; return `ended`.

    Raises:
        UserError: a stage failed.
    """
    if stages.dvc("repro"):
        raise UserError(f"{ended}. But a stage behind the verdicts failed, see above")
    return ended


def tell(study: Params, undecided: Sequence[str], clock: Clock) -> None:
    """Print one line on a look."""
    planned, many = study.compare.looks, len(study.seeds)
    place = planned.index(many) + 1
    spent = sum(looks.levels(planned)[:place])
    pairs = len(study.methods) * (len(study.methods) - 1) // 2
    print(
        f"settle: look {place} of {len(planned)}: {many} seeds, level {spent:.2g} of "
        f"{looks.ALPHA:g} spent, {pairs - len(undecided)} of {pairs} pairs decided, "
        f"{clock.used / 60:.1f} minutes used, {max(0.0, clock.left) / 60:.1f} left",
        flush=True,
    )


def minutes(seconds: float) -> str:
    """Return a time as the least whole number of minutes that covers it."""
    many = max(1, ceil(seconds / 60))
    return f"{many} minute{'s' if many > 1 else ''}"


def out_of_budget(seeds: int, need: float, clock: Clock) -> str:
    """Return that the next look does not fit, and what would."""
    left = max(0.0, clock.left) / 60
    return (
        f"the look at {seeds} seeds needs about {minutes(need)}, and {left:.1f} are left; "
        f"{GO_ON.format(max(1, ceil(need / 60)))}"
    )


def over(undecided: Sequence[str]) -> str:
    """Return that all looks have been taken and some pairs are open."""
    names = ", ".join(name.replace("_vs_", " and ") for name in undecided)
    return (
        f"the last planned look is over, and the study cannot tell {names} apart: there is nothing "
        "more to do. `python -m fairtune.plan` says what would; a look that was not planned would "
        "not keep the level"
    )


def arguments(words: Sequence[str] | None = None) -> float:
    """Return the minutes.

    Raises:
        UserError: they are no positive number.
    """
    parser = argparse.ArgumentParser(prog="python -m fairtune.settle")
    parser.description = "Add seeds until every pair has a verdict, or the minutes are spent."
    parser.add_argument("--minutes", required=True, metavar="N", help="budget, all told")
    given = number_of("--minutes", parser.parse_args(words).minutes, 0, MOST_MINUTES, "60")
    assert given is not None
    return given


def main() -> None:
    """Settle the study within the budget."""
    clock = Clock(60 * arguments())
    stages.answer_signals()
    try:
        print(f"settle: {settle(clock)}")
    except (KeyboardInterrupt, SystemExit):
        print(
            "settle: finished trainings are kept, and params.yaml is one that the pipeline takes; "
            f"{GO_ON.format('N')}",
            file=sys.stderr,
        )
        raise


if __name__ == "__main__":
    errors.run(main)
