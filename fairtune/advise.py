"""Say which method fits a budget, from the results at hand, with what is uncertain about it.

usage: python -m fairtune.advise [--max-memory-mib N] [--max-seconds N] [--min-accuracy SHARE]
                                  [--json]
in:    params.yaml, metrics/*.json
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from fairtune.analysis.formats import NOT_MEASURED, mebibytes, percent, points, seconds
from fairtune.core import params
from fairtune.report.accuracy import seeds_note
from fairtune.report.markup import plain_text
from fairtune.report.quiet import note
from fairtune.report.study import Results, read_results
from fairtune.report.wording import capital, methods

FITS, UNCERTAIN, FAILS = "fits", "uncertain", "does not fit"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user can afford, and wants; None where it does not matter."""

    max_memory_mib: float | None = None
    max_seconds: float | None = None
    min_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One method against the limits."""

    method: str
    status: str
    """fits, uncertain (its accuracy interval holds the minimum) or does not fit."""
    reasons: list[str]
    """What is uncertain or too much, in words."""
    miss: float
    """The largest relative distance beyond a limit; 0 where it fits."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The answer."""

    choice: str | None
    runner_up: str | None
    nearest: str | None
    """Where none fits: what comes nearest."""
    memory: str
    """Which memory was held against the limit."""
    text: list[str]
    judgements: list[Judgement]


def judge(results: Results, name: str, limits: Limits) -> Judgement:
    """Hold one method against the limits."""
    found = results.metrics[name]
    reasons, misses, uncertain = [], [0.0], False
    for what, value, most, show in (
        (results.memory.name, found[results.memory.key], limits.max_memory_mib, mebibytes),
        ("training time", found["train_seconds"], limits.max_seconds, seconds),
    ):
        if most is not None and value is None:
            uncertain = True
            reasons.append(f"its {what} is {NOT_MEASURED}: its runs all shared the GPU")
        elif most is not None and value > most:
            reasons.append(f"its {what} is {show(value)}, over {show(most)}")
            misses.append(value / most - 1)
    least, mean, half = limits.min_accuracy, found["accuracy"], found["accuracy_ci95"]
    if least is not None and mean + half < least:
        reasons.append(f"its accuracy is {percent(mean)}, under {percent(least)}")
        misses.append((least - mean) / least)
    elif least is not None and mean - half < least:
        uncertain = True
        reasons.append(
            f"its accuracy of {percent(mean)} (±{points(half)}) may lie on either side of "
            f"{percent(least)}"
        )
    status = FAILS if max(misses) > 0 else UNCERTAIN if uncertain else FITS
    return Judgement(method=name, status=status, reasons=reasons, miss=round(max(misses), 4))


def order(results: Results, judgements: Sequence[Judgement]) -> list[Judgement]:
    """Return what may fit, the best first: surely fitting, unbeaten, then cheapest, then by mean.

    The costs are weighed as in the report's recommendation (`fairtune.analysis.costs.weight`).
    """
    unbeaten = set(results.unbeaten)

    def key(one: Judgement) -> tuple[bool, bool, float, float]:
        accuracy = results.metrics[one.method]["accuracy"]
        weight = results.weight(one.method)
        weighed = inf if weight is None else weight
        return (one.status != FITS, one.method not in unbeaten, weighed, -accuracy)

    return sorted((one for one in judgements if one.status != FAILS), key=key)


def advise(results: Results, limits: Limits) -> Advice:
    """Return which method fits, the runner-up, and what the study cannot tell."""
    judgements = [judge(results, name, limits) for name in results.names]
    fitting = order(results, judgements)
    text = [_memory_note(results)] if not results.memory.on_gpu else []
    seeds = seeds_note(results) if results.seeds == 1 else ""
    nearest = None
    if fitting:
        text += _choice(results, fitting)
    else:
        nearest = min(judgements, key=lambda one: one.miss).method
        text += _none(judgements, nearest)
    return Advice(
        choice=fitting[0].method if fitting else None,
        runner_up=fitting[1].method if len(fitting) > 1 else None,
        nearest=nearest,
        memory=results.memory.name,
        text=text + [one for one in (note(results), seeds) if one],
        judgements=judgements,
    )


def _memory_note(results: Results) -> str:
    return (
        f"GPU memory was not measured; the {results.memory.name} of the training process stands "
        "in for it."
    )


def _choice(results: Results, fitting: Sequence[Judgement]) -> list[str]:
    """Return sentences on the choice, its uncertainty and the runner-up."""
    best = fitting[0]
    text = [f"Use {methods([best.method])}: {_figures(results, best.method)}."]
    if best.status == UNCERTAIN:
        text.append(f"It is uncertain whether it fits: {best.reasons[0]}.")
    others = [one.method for one in fitting[1:]]
    if others:
        text.append(
            f"The runner-up is {methods([others[0]])}: {_figures(results, others[0])}. "
            f"{_between(results, best.method, others[0])}"
        )
    ahead = [name for name in others if results.pair(name, best.method).winner == name]
    if ahead:
        text.append(f"More accurate, at a higher cost or with less certainty: {methods(ahead)}.")
    return text


def _figures(results: Results, name: str) -> str:
    found = results.metrics[name]
    return (
        f"accuracy {percent(found['accuracy'])} (±{points(found['accuracy_ci95'])}), "
        f"training time {_shown(found['train_seconds'], seconds)}, "
        f"{results.memory.name} {_shown(found[results.memory.key], mebibytes)}"
    )


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return NOT_MEASURED if value is None else show(value)


def _between(results: Results, first: str, second: str) -> str:
    """Return what the study says of the accuracies of the two."""
    pair = results.pair(first, second)
    if pair.winner:
        gap = points(pair.difference)
        return f"The study finds {methods([pair.winner])} more accurate, by {gap}."
    if pair.verdict == "equivalent":
        return "The study finds their accuracies equivalent."
    return (
        "The study cannot tell their accuracies apart; it could have detected a difference of "
        f"{points(pair.detectable)}."
    )


def _none(judgements: Sequence[Judgement], nearest: str) -> list[str]:
    """Return that none fits, and why not."""
    text = [f"No method fits. {capital(f'{methods([nearest])} comes nearest.')}"]
    return text + [f"{methods([one.method])}: {'; '.join(one.reasons)}." for one in judgements]


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the answer for programs."""
    return asdict(advice)


def arguments(words: Sequence[str] | None = None) -> tuple[Limits, bool]:
    """Return the limits, and whether the answer is for a program.

    Raises:
        UserError: a limit is not a positive number, or the accuracy is not a share.
    """
    parser = argparse.ArgumentParser(prog="python -m fairtune.advise", description=__doc__)
    parser.description = "Say which method fits a budget, from the results at hand."
    parser.add_argument("--max-memory-mib", type=float, metavar="MIB", help="memory for training")
    parser.add_argument("--max-seconds", type=float, metavar="SECONDS", help="time for a training")
    parser.add_argument("--min-accuracy", type=float, metavar="SHARE", help="between 0 and 1")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(words)
    for name in ("max_memory_mib", "max_seconds"):
        value = getattr(given, name)
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"--{name.replace('_', '-')}: {value:g} is not right; give more than 0")
    if given.min_accuracy is not None and not 0 <= given.min_accuracy <= 1:
        raise UserError(
            f"--min-accuracy: {given.min_accuracy:g} is not right; give a share such as 0.9"
        )
    limits = Limits(
        max_memory_mib=given.max_memory_mib,
        max_seconds=given.max_seconds,
        min_accuracy=given.min_accuracy,
    )
    return limits, given.json


def main() -> None:
    """Print the advice."""
    limits, for_programs = arguments()
    advice = advise(read_results(params.load()), limits)
    if for_programs:
        print(json.dumps(as_json(advice), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(plain_text, advice.text)))


if __name__ == "__main__":
    run(main)
