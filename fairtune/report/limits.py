"""What a user can afford and wants, and how each method stands to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairtune.analysis.formats import NOT_MEASURED, mebibytes, number, percent, points, seconds
from fairtune.report.quiet import why_uncosted
from fairtune.report.results import Results
from fairtune.report.serving import Answer

FITS, UNCERTAIN, FAILS = "fits", "uncertain", "does not fit"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user can afford, and wants; None where it does not matter."""

    max_memory_mib: float | None = None
    max_seconds: float | None = None
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    """Of one row alone, in the form of serving that answers fastest."""


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


def judge(results: Results, name: str, limits: Limits, answer: Answer | None = None) -> Judgement:
    """Hold one method against the limits.

    Args:
        results: of the study.
        name: of the method.
        limits: what the user can afford.
        answer: its fastest form of serving, where that was measured.
    """
    found = results.metrics[name]
    reasons, misses, uncertain = [], [0.0], False
    alone = None if answer is None else answer.milliseconds
    for what, value, most, show in (
        (results.memory.name, found[results.memory.key], limits.max_memory_mib, mebibytes),
        ("training time", found["train_seconds"], limits.max_seconds, seconds),
        ("time of one row alone", alone, limits.max_latency_ms, milliseconds),
    ):
        if most is None:
            continue
        if value is None:
            uncertain = True
            reasons.append(f"its {what} is {NOT_MEASURED}: {why_uncosted(results)}")
        elif value > most:
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


def candidates(judgements: Sequence[Judgement]) -> list[str]:
    """Return what may be chosen: what surely fits, and only where nothing does what may fit."""
    sure = [one.method for one in judgements if one.status == FITS]
    return sure or [one.method for one in judgements if one.status == UNCERTAIN]


def milliseconds(value: float) -> str:
    """Return the time of one row with its unit."""
    return f"{number(value, digits=1)} ms"
