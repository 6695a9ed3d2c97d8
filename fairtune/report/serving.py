"""What it costs to serve each method: the time of one row and the rows a second, form by form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from fairtune.analysis.formats import NOT_MEASURED, number
from fairtune.analysis.quiet import counted, mean
from fairtune.core.params import Params
from fairtune.report.latencies import COMMAND, FormServed, Served, Serving, read_serving
from fairtune.report.quiet import whose
from fairtune.report.study import Evidence, read_records
from fairtune.report.tables import CRAMPED, Exhibit
from fairtune.report.wording import NONE, capital, count, listing, literal, method, methods
from fairtune.runs.record import RunRecord

FORMS: tuple[FormServed, ...] = get_args(FormServed)
UNITS = {"latency_ms": "ms", "rows_per_second": "rows/s"}
"""Figure of a form on the processor -> unit."""
IN_STUDY = {
    "ms": ("inference.latency_ms", "inference.merged_latency_ms"),
    "rows/s": ("inference.samples_per_second", "inference.merged_samples_per_second"),
}
"""Unit -> figures of the records, as trained and merged."""
ELSEWHERE = "it was not measured of this training"


def table(evidence: Evidence) -> Exhibit:
    """Return latency and throughput of each form: a row a figure, a column a method."""
    rows = []
    for unit, figures in IN_STUDY.items():
        for form, path in zip(FORMS, figures, strict=False):
            cells = [_recorded(evidence, name, path, form) for name in evidence.names]
            rows.append([f"{capital(form)} ({unit})", *cells])
    # Without measurements on the processor one form alone is missing: nobody else measures it.
    forms = FORMS if evidence.serving else FORMS[-1:]
    for key, unit in UNITS.items():
        for form in forms:
            cells = [_served(evidence, name, form, key) for name in evidence.names]
            rows.append([f"{capital(form)}, CPU ({unit})", *cells])
    return Exhibit(
        label="serving",
        caption="Serving: one row alone, and rows a second in batches",
        header=["Form", *(method(name) for name in evidence.names)],
        rows=rows,
        note=" ".join(notes(evidence)),
        wide=len(evidence.names) > CRAMPED,
    )


def _recorded(evidence: Evidence, name: str, path: str, form: FormServed) -> str:
    if form == "merged" and evidence.block(name).adapter is None:
        return NONE
    value = evidence.mean(path, name, digits=1)
    return NOT_MEASURED if value is None else number(value, digits=1)


def _served(evidence: Evidence, name: str, form: FormServed, key: str) -> str:
    if form == "merged" and evidence.block(name).adapter is None:
        return NONE
    point = served(evidence, name).get(form)
    value = None if point is None else getattr(point, key)
    return NOT_MEASURED if value is None else number(value, digits=1)


def served(evidence: Evidence, name: str) -> dict[str, Served]:
    """Return the forms of a method that were measured on the processor, of a training at hand."""
    if evidence.serving is None:
        return {}
    found = [point for record in evidence.records[name] for point in evidence.serving.of(record)]
    return {point.form: point for point in found}


def notes(evidence: Evidence) -> list[str]:
    """Return where and how the figures were measured, and why some are missing."""
    on = listing(map(literal, evidence.devices))
    said = [
        f"One row alone: median. As trained and merged: measured by the trainings, on {on} in "
        f"{evidence.first.device.precision}."
    ]
    if any(evidence.block(name).adapter is None for name in evidence.names):
        said.append(f"{NONE} stands where there is no adapter to merge.")
    if evidence.uncosted:
        said.append(f"It is {NOT_MEASURED} for {methods(evidence.uncosted)}, {whose(evidence)}.")
    said += _grouped(evidence, "Merged", partial(_unmerged, evidence))
    if evidence.serving is None:
        return [*said, f"ONNX is {NOT_MEASURED}: {literal(COMMAND)} was not run."]
    said.append(_where(evidence))
    said += _grouped(evidence, "On the CPU it", partial(_stale, evidence))
    for form in FORMS:
        lack = partial(_lack, evidence, form=form)
        said += _grouped(evidence, f"{capital(form)} on the CPU", lack)
    remarks = {
        name: point.note
        for name in evidence.names
        for point in served(evidence, name).values()
        if point.note and point.latency_ms is not None
    }
    return [*said, *(f"{method(name)}: {literal(note)}." for name, note in remarks.items())]


def _grouped(evidence: Evidence, what: str, why: Callable[[str], str]) -> list[str]:
    """Return a sentence a reason on what lacks a figure, with the methods that it holds for."""
    names: dict[str, list[str]] = {}
    for name in evidence.names:
        if reason := why(name):
            names.setdefault(reason, []).append(name)
    return [
        f"{what} is {NOT_MEASURED} for {methods(of_reason)}: {literal(reason)}."
        for reason, of_reason in names.items()
    ]


def _unmerged(evidence: Evidence, name: str) -> str:
    """Return why no run of a method was measured merged; empty where one was or need not be."""
    runs = counted(evidence.records[name], "inference")
    if evidence.block(name).adapter is None or not runs:
        return ""
    return next((r.inference.merge for r in runs if r.inference.merged_latency_ms is None), "")


def _stale(evidence: Evidence, name: str) -> str:
    again = f"{ELSEWHERE}; {COMMAND} measures it anew"
    return "" if served(evidence, name) else again


def _lack(evidence: Evidence, name: str, *, form: FormServed) -> str:
    """Return why a form cannot be had on the processor, unless the trainings say the same."""
    point = served(evidence, name).get(form)
    if point is None or point.latency_ms is not None:
        return ""
    known = form == "merged" and point.note == _unmerged(evidence, name)
    return "" if known else point.note


def _where(evidence: Evidence) -> str:
    """Return on what processor the forms were measured, and how."""
    found = evidence.serving
    assert found is not None
    precisions = {
        form: list(dict.fromkeys(p.precision for p in found.points if p.form == form))
        for form in FORMS
    }
    used = [
        f"{form} in {listing(filter(None, of_form), last='or')}"
        for form, of_form in precisions.items()
        if any(of_form)
    ]
    return (
        f"CPU: {literal(found.device)}, {count(found.threads, 'thread')}, by {literal(COMMAND)} on "
        f"the first {number(found.rows)} test rows, of which the first {number(found.single_rows)} "
        f"alone; {listing(used)}."
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How fast a method answers in one form of serving."""

    milliseconds: float
    """For one row alone."""
    form: str
    """The form and where it was measured, in words."""


def quickest(records: Sequence[RunRecord], found: Serving | None) -> Answer | None:
    """Return the form in which a method answers one row alone fastest; None if none was measured.

    Args:
        records: of the method's runs.
        found: what `fairtune.latency` measured.
    """
    kind = "processor" if records[0].device.type == "cpu" else "GPU"
    known = [
        Answer(milliseconds=value, form=f"{form}, on the study's {kind}")
        for form, path in zip(FORMS, IN_STUDY["ms"], strict=False)
        if (value := mean(records, path)) is not None
    ]
    known += [
        Answer(milliseconds=point.latency_ms, form=f"{point.form}, on the CPU")
        for record in records
        for point in (found.of(record) if found else [])
        if point.latency_ms is not None
    ]
    return min(known, key=lambda answer: answer.milliseconds, default=None)


def read_answers(study: Params) -> dict[str, Answer | None]:
    """Return each method's fastest form of serving, from the runs and what was measured of them.

    Raises:
        UserError: a run is missing, or the file of the measurements is not right.
    """
    found = read_serving()
    return {name: quickest(records, found) for name, records in read_records(study).items()}


def said(evidence: Evidence) -> str:
    """Return in which form each method answers fastest on the processor; empty if not measured."""
    fastest = []
    for name in evidence.names:
        known = {
            form: point.latency_ms
            for form, point in served(evidence, name).items()
            if point.latency_ms is not None
        }
        if len(known) > 1:
            best = min(known, key=lambda form: known[form])
            others = _others({form: ms for form, ms in known.items() if form != best})
            fastest.append(f"{method(name)} {best} ({number(known[best], digits=1)} ms; {others})")
    if not fastest:
        return ""
    return f"On the CPU one row alone is fastest in these forms: {listing(fastest)}."


def _others(known: dict[str, float]) -> str:
    items: Sequence[str] = [f"{form} {number(ms, digits=1)}" for form, ms in known.items()]
    return listing(items)
