"""The tables on the searches of learning rates: what was chosen, and what a budget buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairtune.analysis.formats import decimals, number, percent, rate
from fairtune.report.study import Evidence
from fairtune.report.tables import CRAMPED, Exhibit
from fairtune.report.wording import NONE, method


def chosen(evidence: Evidence) -> Exhibit | None:
    """Return the searches, one row a method; None where no method searched."""
    found = evidence.search
    if found is None:
        return None
    return Exhibit(
        label="rates",
        caption="Search of learning rates",
        header=["Method", "Range", "Chosen", "Best", "Within 1 SE", "Tolerance", "Trials",
                "Collapsed", "Search (min)", "Training (min)"],
        rows=[_row(evidence, name, found["methods"].get(name)) for name in evidence.names],
        note="Within 1 SE: rates whose mean score is within one standard error of the best, that "
        "of the spread over seeds; the choice of the validation rows is not in it. "
        "Tolerance: decades that the unbroken run of such rates about the best spans. Collapsed: "
        f"trials that learned nothing. Search: wall-clock of all trials, {_beside(found)}; "
        "training: the loops of the study's own trainings.",
        wide=True,
    )  # fmt: skip


def _beside(found: Mapping[str, Any]) -> str:
    most = max(of["at_once"] for of in found["methods"].values())
    return "one after another" if most == 1 else f"up to {number(most)} at once"


def _row(evidence: Evidence, name: str, of: Mapping[str, Any] | None) -> list[str]:
    seconds = sum(record.times.train_seconds for record in evidence.records[name])
    used, training = rate(evidence.learning_rate(name)), _minutes(seconds)
    if of is None:
        return [method(name), "given", used, *[NONE] * 6, training]
    low, high = of["range"]
    return [
        method(name),
        f"{rate(low)} to {rate(high)}",
        used,
        rate(of["best"]),
        f"{len(of['within'])} of {len(of['rates'])}",
        number(of["tolerance_decades"], digits=1),
        number(of["trials"]),
        number(of["collapsed"]),
        _minutes(of["seconds"]),
        training,
    ]


def _minutes(seconds: float) -> str:
    value = seconds / 60
    return number(value, digits=decimals(value))


def by_budget(evidence: Evidence) -> Exhibit | None:
    """Return the expected best score by budget, a column a method; None where none searched."""
    found = evidence.search
    if found is None:
        return None
    columns = {name: of["expected_best"] for name, of in found["methods"].items()}
    sizes: Sequence[str] = max(columns.values(), key=len)
    return Exhibit(
        label="budget",
        caption=f"Expected best validation {evidence.search_score} by budget",
        header=["Rates", *(method(name) for name in columns)],
        rows=[[size, *(_expected(of.get(size)) for of in columns.values())] for size in sizes],
        note="Of so many rates drawn at random from those tried, by the mean over seeds; in "
        "brackets the minutes of search that they take.",
        wide=len(columns) > CRAMPED,
    )


def _expected(of: Mapping[str, float] | None) -> str:
    return NONE if of is None else f"{percent(of['score'])} ({_minutes(of['seconds'])})"
