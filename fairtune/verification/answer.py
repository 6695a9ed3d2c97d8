"""The answer in words, a table first, and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairtune.analysis.formats import NOT_MEASURED, number, p_value, percent, points
from fairtune.verification.agreement import (
    AGREES,
    CONFLICT,
    NOT_COMMITTED,
    NOT_COMPARABLE,
    SAME,
    Check,
)
from fairtune.verification.differences import Pair
from fairtune.verification.figures import Mismatch

FINE, CONTRADICTED, UNCOMPARED = 0, 1, 2
HEADINGS = ("method", "seeds", "committed", "here", "changed", "p (Holm)", "answer")
MOST_FIGURES = 10
"""Figures named one by one; a file of another study has hundreds."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came out for a whole study."""

    revision: str
    commit: str
    checks: list[Check]
    left_out: dict[str, list[int]]
    """Committed runs that the study here does not have, method -> seeds."""
    figures: list[Mismatch]
    """Figures of metrics/ and plots/ that do not follow from the runs."""
    unchecked: str = ""
    """Why the figures could not be computed or read; empty where they were."""

    @property
    def status(self) -> int:
        """The exit status: 0 the same or in agreement, 1 contradicted, 2 not comparable."""
        answers = {one.answer for one in self.checks}
        if CONFLICT in answers or self.figures:
            return CONTRADICTED
        return UNCOMPARED if NOT_COMPARABLE in answers or self.unchecked else FINE


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the answer for programs."""
    return {**asdict(answer), "status": answer.status}


def text(answer: Answer) -> str:
    """Return the table and what is to be said under it."""
    lines = [*table(answer.checks), "", *_verdict(answer)]
    lines += [f"{one.method}: {one.reason}" for one in answer.checks if one.reason]
    lines += _detectable(answer.checks) + _circumstances(answer.checks) + _left_out(answer)
    lines += _figures(answer.figures, answer.unchecked)
    lines.append("Times and memory are not compared: they differ by machine.")
    return "\n".join(lines)


def table(checks: Sequence[Check]) -> list[str]:
    """Return a line a method, in columns."""
    rows = [HEADINGS, *map(_row, checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(one: Check) -> tuple[str, ...]:
    changed = p = NOT_MEASURED
    if one.changed is not None and one.predictions is not None:
        changed = f"{number(one.changed)} of {number(one.predictions)}"
    if one.p_holm is not None:
        p = p_value(one.p_holm).removeprefix("p ").removeprefix("= ")
    accuracies = [
        NOT_MEASURED if share is None else percent(share)
        for share in (one.committed_accuracy, one.accuracy)
    ]
    return (one.method, number(len(one.seeds)), *accuracies, changed, p, one.answer)


def _verdict(answer: Answer) -> list[str]:
    """Return the answer for the whole study in a sentence or two."""
    names = {
        kind: ", ".join(one.method for one in answer.checks if one.answer == kind)
        for kind in (SAME, AGREES, CONFLICT, NOT_COMPARABLE, NOT_COMMITTED)
    }
    there = f"those committed at {answer.revision} ({answer.commit[:8]})"
    said = []
    if names[CONFLICT]:
        said.append(f"The runs here are in conflict with {there}: {names[CONFLICT]}.")
    if names[NOT_COMPARABLE]:
        said.append(f"The runs here cannot be compared with {there}: {names[NOT_COMPARABLE]}.")
    if not said:
        same = f"are {there}, to the last digit" if not names[AGREES] else f"agree with {there}"
        said.append(f"The runs here {same}.")
    if names[NOT_COMMITTED]:
        said.append(f"Not committed, so not compared: {names[NOT_COMMITTED]}.")
    return said


def _detectable(checks: Sequence[Check]) -> list[str]:
    found = [one.detectable for one in checks if one.answer == AGREES and one.detectable]
    if not found:
        return []
    least, most = points(min(found)).removesuffix(" points"), points(max(found))
    gap = most if points(min(found)) == most else f"{least} to {most}"
    return [
        "Agreement is no proof of equality: the smallest difference that the test could have "
        f"detected is {gap}."
    ]


def _circumstances(checks: Sequence[Check]) -> list[str]:
    """Return what differs for what is not the same, methods with the same list together."""
    groups: dict[tuple[tuple[str, Pair], ...], list[str]] = {}
    for one in checks:
        if one.answer not in (SAME, NOT_COMMITTED):
            groups.setdefault(tuple(one.differs.items()), []).append(one.method)
    lines = []
    for differs, methods in groups.items():
        said = "; ".join(f"{what}: {there} -> {here}" for what, (there, here) in differs)
        nothing = "nothing that the records tell (device, precision, kernels, libraries)"
        lines.append(f"What differs, committed -> here ({', '.join(methods)}): {said or nothing}")
    return lines


def _left_out(answer: Answer) -> list[str]:
    said = ", ".join(
        f"{method} with seeds {', '.join(map(str, seeds))}"
        for method, seeds in answer.left_out.items()
    )
    return [f"Committed, but not of the study here: {said}."] if said else []


def _figures(figures: Sequence[Mismatch], unchecked: str) -> list[str]:
    if unchecked:
        return [f"The figures in metrics/ and plots/ were not checked: {unchecked}"]
    if not figures:
        return ["Every figure in metrics/ and plots/ follows from the runs here."]
    lines = [
        f"{one.file}: {one.key} is {one.found}, but the runs here give {one.expected}"
        for one in figures[:MOST_FIGURES]
    ]
    more = len(figures) - MOST_FIGURES
    if more > 0:
        lines.append(f"and {number(more)} figures more that do not follow from the runs here")
    return lines
