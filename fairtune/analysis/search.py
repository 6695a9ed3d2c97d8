"""What is shown of the searches of learning rates: the rates, the budgets, and what a budget buys.

All of it follows from the trials as they were run, not from the settings that asked for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairtune.analysis.formats import rate
from fairtune.analysis.neighbours import neighbours
from fairtune.analysis.rates import RateChoice, RateScore, choose
from fairtune.analysis.verdicts import PairVerdict
from fairtune.runs.search import Search, Trial


def summary(
    searches: Mapping[str, Search],
    methods: Sequence[str],
    found: Sequence[PairVerdict],
    *,
    metric: str,
    margin: float,
) -> dict[str, Any] | None:
    """Return what `metrics/comparison.json` holds of the searches; None where no method searched.

    Args:
        searches: method -> its search; methods with a given rate are absent.
        methods: all of the study, in its order.
        found: the verdicts on their pairs.
        metric: the score that the verdicts go by.
        margin: the difference below which two methods count as equivalent.
    """
    searched = {name: searches[name] for name in methods if name in searches}
    if not searched:
        return None
    given = [name for name in methods if name not in searched]
    differing = unequal(searched, given)
    return {
        "metric": next(iter(searched.values())).metric,
        "rule": next(iter(searched.values())).rule,
        "equal_budget": not differing,
        # No empty list here and below: `dvc plots` looks for records in every list of the file.
        "unequal": differing or None,
        "given": given or None,
        "methods": {name: figures(search) for name, search in searched.items()},
        "neighbours": neighbours(searched, found, metric=metric, margin=margin) or None,
    }


def figures(search: Search) -> dict[str, Any]:
    """Return one method's search, for a file: the choice and all that it was made from.

    Rates are keys of mappings, the lowest first; scores and shares lie between 0 and 1, times are
    in seconds, and what is expected of n rates has the seconds that these take.
    """
    choice = choose(search.trials, search.metric, search.rule)
    seeds = sorted({trial.seed for trial in search.trials})
    return {
        "asked": list(search.asked),
        "range": [choice.tried[0].rate, choice.tried[-1].rate],
        "extensions": search.extensions,
        "rates": {rate_key(one.rate): _rate(one, seeds) for one in choice.tried},
        "seeds": len(seeds),
        "epochs": max(len(trial.accuracy) for trial in search.trials),
        "steps": max(trial.steps for trial in search.trials),
        "trials": len(search.trials),
        "collapsed": sum(len(one.collapsed) for one in choice.tried),
        "best": choice.best.rate,
        "best_score": round(choice.best.mean, 4),
        "standard_error": round(choice.standard_error, 6),
        "chosen": choice.chosen.rate,
        "chosen_score": round(choice.chosen.mean, 4),
        "chosen_collapsed": choice.chosen.collapsed or None,
        "chosen_loss": _finite(choice.chosen),
        "lower_loss": _lower_loss(choice),
        "within": [one.rate for one in choice.within],
        "edge": choice.edge,
        "tolerance_decades": round(tolerance(choice), 2),
        "seconds": round(search.seconds, 1),
        "at_once": search.at_once,
        "expected_best": _expected(choice, search.seconds),
    }


def doubts(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which chosen rates may be too low by the loss, a line each.

    Args:
        methods: the figures of each that searched.
    """
    return [
        f"methods.{name}: its learning rate, {rate(found['chosen'])}, may be too low: of the rates "
        f"that count as equal, {rate(found['lower_loss']['rate'])} has a lower validation loss "
        "with every seed; begin learning_rate.search higher, or give it more seeds or validation "
        "rows"
        for name, found in methods.items()
        if found["lower_loss"]
    ]


def _lower_loss(choice: RateChoice) -> dict[str, float | None] | None:
    """Return the rate by which the chosen may be too low, with its loss; None without one."""
    lower = choice.lower_loss
    return None if lower is None else {"rate": lower.rate, "loss": _finite(lower)}


def _finite(one: RateScore) -> float | None:
    return round(one.loss, 4) if math.isfinite(one.loss) else None


def rate_key(rate: float) -> str:
    """Return a rate as a key."""
    return f"{rate:g}"


def _rate(one: RateScore, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "score": round(one.mean, 4),
        "of_seeds": {
            str(seed): round(found, 4) for seed, found in zip(seeds, one.scores, strict=True)
        },
        "collapsed": one.collapsed or None,
    }


def tolerance(choice: RateChoice) -> float:
    """Return how far the rate may be off: a width in decades.

    That of the run of neighbouring tried rates about the best whose mean scores are all within one
    standard error of it: from the lowest of the run to the highest, 0 where the best stands alone.
    A rate within one standard error beyond one that is not does not count.
    """
    good = [choice.best.mean - one.mean <= choice.standard_error for one in choice.tried]
    first = last = choice.tried.index(choice.best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return math.log10(choice.tried[last].rate / choice.tried[first].rate)


def expected_best(values: Sequence[float]) -> list[float]:
    """Return the expected best of n = 1 to N values drawn without replacement from N.

    The sum over the ordered values v(i) of v(i) C(i - 1, n - 1) / C(N, n), which is unbiased (Tang
    et al. 2020, Showing Your Work Doesn't Always Work, ACL); that with replacement (Dodge et al.
    2019, Show Your Work, EMNLP), from which the idea comes, is too low.

    Args:
        values: at least one, in any order.
    """
    ordered = sorted(values)
    return [
        math.fsum(math.comb(place, size - 1) * value for place, value in enumerate(ordered))
        / math.comb(len(ordered), size)
        for size in range(1, len(ordered) + 1)
    ]


def _expected(choice: RateChoice, seconds: float) -> dict[str, dict[str, float]]:
    """Return the expected best score of n rates, and their share of the search's time."""
    many = len(choice.tried)
    return {
        str(size): {"score": round(value, 4), "seconds": round(seconds * size / many, 1)}
        for size, value in enumerate(expected_best([one.mean for one in choice.tried]), start=1)
    }


def _full(trials: Sequence[Trial]) -> Sequence[Trial]:
    """Return the trials that ran to their end: one that diverges may stop early."""
    return [trial for trial in trials if not trial.diverged] or trials


def _seen(values: set[int]) -> str:
    return ", ".join(map(str, sorted(values)))


BUDGET: dict[str, Callable[[Sequence[Trial]], str]] = {
    "the number of learning rates differs": lambda ts: str(len({t.rate for t in ts})),
    "the number of trials differs": lambda ts: str(len(ts)),
    "the seeds differ": lambda ts: _seen({t.seed for t in ts}),
    "the epochs of a trial differ": lambda ts: _seen({len(t.accuracy) for t in _full(ts)}),
    "the optimizer steps of a trial differ": lambda ts: _seen({t.steps for t in _full(ts)}),
}
"""What is said where a part of the budget is not the same for all -> that part, of trials."""
WIDTHS_DIFFER = "the decades that the learning rates span differ"
ROUNDED_DECADES = 0.02
"""Rates are tried in three figures, which moves the ends of a range by less than that."""


def _decades(trials: Sequence[Trial]) -> float:
    rates = [trial.rate for trial in trials]
    return math.log10(max(rates) / min(rates))


def unequal(searches: Mapping[str, Search], given: Sequence[str]) -> list[str]:
    """Return what differs between the budgets, a clause each; empty where they are equal.

    Args:
        searches: at least one method's.
        given: methods whose rate was given, which had no search at all.
    """
    parts = {
        differs: {name: read(search.trials) for name, search in searches.items()}
        for differs, read in BUDGET.items()
    }
    widths = {name: _decades(search.trials) for name, search in searches.items()}
    if max(widths.values()) - min(widths.values()) > ROUNDED_DECADES:
        parts[WIDTHS_DIFFER] = {name: f"{width:.2f}" for name, width in widths.items()}
    said = []
    for differs, part in parts.items():
        holders: dict[str, list[str]] = {}
        for name, value in part.items():
            holders.setdefault(value, []).append(f"`{name}`")
        if len(holders) > 1:
            each = "; ".join(f"{value} for {_listed(names)}" for value, names in holders.items())
            said.append(f"{differs} ({each})")
    if given:
        had = _listed([f"`{name}`" for name in given])
        others = _listed([f"`{name}`" for name in searches])
        said.append(
            f"{had} had a given learning rate and no search, while {others} "
            f"{'was' if len(searches) == 1 else 'were'} searched"
        )
    return said


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
