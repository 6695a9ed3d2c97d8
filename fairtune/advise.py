"""Say which method fits a budget, from the results at hand, with what is uncertain about it.

usage: python -m fairtune.advise [--max-memory-mib N] [--max-seconds N] [--min-accuracy SHARE]
                                  [--max-latency-ms N] [--json]
in:    params.yaml, metrics/*.json; for the latency also runs
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairtune.analysis import choice as choices
from fairtune.analysis.choice import Choice
from fairtune.analysis.formats import NOT_MEASURED, mebibytes, points, seconds
from fairtune.core import params
from fairtune.report.accuracy import runs_of
from fairtune.report.limits import (
    UNCERTAIN,
    Judgement,
    Limits,
    candidates,
    judge,
    milliseconds,
)
from fairtune.report.markup import plain_text
from fairtune.report.quiet import note
from fairtune.report.recommendation import sentences
from fairtune.report.results import Results, read_results
from fairtune.report.serving import Answer, read_answers
from fairtune.report.trainings import seeds_note
from fairtune.report.wording import capital, methods


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The answer."""

    decision: Choice
    """As metrics/comparison.json has it, among what keeps the limits."""
    runner_up: str | None
    """What would be chosen without the choice."""
    nearest: str | None
    """Where none fits: what comes nearest."""
    memory: str
    """Which memory was held against the limit."""
    text: list[str]
    judgements: list[Judgement]

    @property
    def choice(self) -> str | None:
        """The method; None where none fits or none can be chosen."""
        return self.decision.method


def advise(
    results: Results, limits: Limits, answers: Mapping[str, Answer | None] | None = None
) -> Advice:
    """Return which method fits, the runner-up, and what the study cannot tell.

    The choice follows the rule of the report's recommendation, among what keeps the limits.

    Args:
        results: of the study.
        limits: what the user can afford, and wants.
        answers: method -> its fastest form of serving, where the latency is limited.
    """
    fastest = answers or {}
    judgements = [judge(results, name, limits, fastest.get(name)) for name in results.names]
    left = candidates(judgements)
    choice = results.choice(left)
    others = results.choice([name for name in left if name != choice.method])
    text = [_memory_note(results)] if not results.memory.on_gpu else []
    few = "" if results.about_methods else seeds_note(results)
    nearest = None
    if left:
        text += sentences(results, choice, _figures)
        text += _uncertain(judgements, choice) + _runner_up(results, choice, others)
        text += _served(choice, fastest)
    else:
        nearest = min(judgements, key=lambda one: one.miss).method
        text += _none(judgements, nearest)
    return Advice(
        decision=choice,
        runner_up=others.method,
        nearest=nearest,
        memory=results.memory.name,
        text=text + [one for one in (note(results), few) if one],
        judgements=judgements,
    )


def _memory_note(results: Results) -> str:
    return (
        f"GPU memory was not measured; the {results.memory.name} of the training process stands "
        "in for it."
    )


def _uncertain(judgements: Sequence[Judgement], choice: Choice) -> list[str]:
    """Return why it is uncertain that the choice keeps the limits, if it is."""
    return [
        f"It is uncertain whether it fits: {one.reasons[0]}."
        for one in judgements
        if one.method == choice.method and one.status == UNCERTAIN
    ]


def _runner_up(results: Results, choice: Choice, others: Choice) -> list[str]:
    """Return what would be chosen next, and what the study says of the two."""
    if not (choice.method and others.method):
        return []
    return [
        f"The runner-up is {methods([others.method])}: {_figures(results, others.method)}. "
        f"{_between(results, choice.method, others.method)}"
    ]


def _served(choice: Choice, fastest: Mapping[str, Answer | None]) -> list[str]:
    """Return in which form the choice answers as fast as was asked for."""
    answer = fastest.get(choice.method or "")
    if answer is None:
        return []
    took = milliseconds(answer.milliseconds)
    return [f"{methods([choice.method or ''])} answers one row alone in {took}: {answer.form}."]


def _figures(results: Results, name: str) -> str:
    found = results.metrics[name]
    return (
        f"training time {_shown(found['train_seconds'], seconds)}, "
        f"{results.memory.name} {_shown(found[results.memory.key], mebibytes)}"
    )


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return NOT_MEASURED if value is None else show(value)


def _between(results: Results, first: str, second: str) -> str:
    """Return what the study says of the scores of the two."""
    pair = results.pair(first, second)
    if pair.winner:
        return (
            f"Of the two, {runs_of(results, pair.winner)} is better, by {points(pair.difference)}."
        )
    if pair.verdict == "equivalent":
        return f"The study finds their {results.scores_name} equivalent."
    return (
        f"The study cannot tell their {results.scores_name} apart; it could have detected a "
        f"difference of {points(pair.detectable)}."
    )


def _none(judgements: Sequence[Judgement], nearest: str) -> list[str]:
    """Return that none fits, and why not."""
    text = [f"No method fits. {capital(f'{methods([nearest])} comes nearest.')}"]
    return text + [f"{methods([one.method])}: {'; '.join(one.reasons)}." for one in judgements]


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the answer for programs: the fields of the choice, and what is the advice's own."""
    decision = choices.as_json(advice.decision)
    own = {key: value for key, value in asdict(advice).items() if key != "decision"}
    return {"choice": decision.pop("method"), **decision, **own}


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
    parser.add_argument("--max-latency-ms", type=float, metavar="MS", help="for one row alone")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(words)
    for name in ("max_memory_mib", "max_seconds", "max_latency_ms"):
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
        max_latency_ms=given.max_latency_ms,
    )
    return limits, given.json


def main() -> None:
    """Print the advice."""
    limits, for_programs = arguments()
    study = params.load()
    answers = read_answers(study) if limits.max_latency_ms is not None else None
    advice = advise(read_results(study), limits, answers)
    if for_programs:
        print(json.dumps(as_json(advice), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(plain_text, advice.text)))


if __name__ == "__main__":
    run(main)
