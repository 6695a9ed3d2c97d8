"""The table of the sweep over sizes: a row for each size, a cell for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairtune.analysis.formats import number
from fairtune.report.scaling import AXES, value
from fairtune.report.study import Evidence
from fairtune.report.wording import NONE, listing, literal

Point = dict[str, Any]
SHORT = 0.1
"""Seconds below which a time is printed in milliseconds."""
LONGEST_CELL = 20
"""Letters of a reason that a cell has room for, such as "out of memory"."""


def sweep_rows(evidence: Evidence) -> list[list[str]]:
    """Return a row a size: what was varied, its value, seconds and MiB by method.

    A size is left out of which no method was measured for a reason that has no room in a cell.
    """
    reasons = gaps(evidence)
    rows = []
    for (axis, at), points in _sizes(evidence).items():
        if not _is_left_out(points, evidence, reasons):
            cells = [_cell(points.get(name), reasons) for name in evidence.names]
            rows.append([AXES.get(axis, axis), value(at), *cells])
    return rows


def gaps(evidence: Evidence) -> list[str]:
    """Return the reasons, too long for a cell, why points were not measured; each once."""
    points = (evidence.scaling or {}).get("points", [])
    notes = dict.fromkeys(p["note"] for p in points if p["seconds"] is None)
    return [note for note in notes if len(note) > LONGEST_CELL]


def gaps_note(evidence: Evidence) -> str:
    """Return what stands behind numbers in cells, and which sizes are left out; often empty."""
    reasons = gaps(evidence)
    if not reasons:
        return ""
    told = [f"({at}) {literal(why)}" for at, why in enumerate(reasons, start=1)]
    left_out: dict[str, list[str]] = {}
    for (axis, at), points in _sizes(evidence).items():
        if _is_left_out(points, evidence, reasons):
            left_out.setdefault(AXES.get(axis, axis), []).append(value(at))
    sizes = "; ".join(f"{listing(ats)} {varied}" for varied, ats in left_out.items())
    return f" Not measured: {'; '.join(told)}.{f' Left out for that: {sizes}.' if sizes else ''}"


def _sizes(evidence: Evidence) -> dict[tuple[str, float], dict[str, Point]]:
    """Return the points of the sweep: axis and value -> method -> point."""
    found: dict[tuple[str, float], dict[str, Point]] = {}
    for point in (evidence.scaling or {}).get("points", []):
        found.setdefault((point["axis"], point["value"]), {})[point["method"]] = point
    return found


def _is_left_out(points: dict[str, Point], evidence: Evidence, reasons: Sequence[str]) -> bool:
    return all(name in points and points[name]["note"] in reasons for name in evidence.names)


def _cell(point: Point | None, reasons: Sequence[str]) -> str:
    if point is None:
        return NONE
    if point["seconds"] is not None:
        return _measured(point)
    note = point["note"]
    return f"n/a ({reasons.index(note) + 1})" if note in reasons else literal(note)


def _measured(point: Point) -> str:
    """Return a point's time and memory, and in brackets the memory that was predicted."""
    seconds = point["seconds"]
    short = seconds < SHORT
    time = f"{number(1000 * seconds, digits=1)} ms" if short else f"{number(seconds, digits=2)} s"
    guess = point.get("predicted_mib")
    beside = "" if guess is None else f" ({number(guess)})"
    return f"{time}, {number(point['memory_mib'])}{beside} MiB"
