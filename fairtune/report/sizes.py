"""The table of the sweep over sizes: a row for each size, a cell for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairtune.analysis.formats import number
from fairtune.report.scaling import AXES, value
from fairtune.report.study import Evidence
from fairtune.report.wording import NONE, listing, literal

SHORT = 0.1
"""Seconds below which a time is printed in milliseconds."""
NUMBERED = "n/a ("
LONGEST_CELL = 20
"""Letters of a reason that a cell has room for, such as "out of memory"."""


def sweep_rows(evidence: Evidence) -> list[list[str]]:
    """Return a row a point of the sweep: what was varied, its value, seconds and MiB by method.

    A size is left out of which no method was measured for a reason that has no room in a cell.
    """
    points = (evidence.scaling or {}).get("points", [])
    keys = list(dict.fromkeys((p["axis"], p["value"]) for p in points))
    known = {(p["axis"], p["value"], p["method"]): p for p in points}
    reasons = gaps(evidence)
    rows = []
    for axis, at in keys:
        cells = []
        for name in evidence.names:
            point = known.get((axis, at, name))
            if point is None:
                cells.append(NONE)
            elif point["seconds"] is None:
                cells.append(_gap(point["note"], reasons))
            else:
                cells.append(_measured(point))
        if not all(cell.startswith(NUMBERED) for cell in cells):
            rows.append([AXES.get(axis, axis), value(at), *cells])
    return rows


def gaps(evidence: Evidence) -> list[str]:
    """Return the reasons, too long for a cell, why points were not measured; each once."""
    points = (evidence.scaling or {}).get("points", [])
    notes = dict.fromkeys(p["note"] for p in points if p["seconds"] is None)
    return [note for note in notes if len(note) > LONGEST_CELL]


def _gap(note: str, reasons: Sequence[str]) -> str:
    """Return what stands for a point that was not measured: the reason, or where it stands."""
    return literal(note) if note not in reasons else f"{NUMBERED}{reasons.index(note) + 1})"


def gaps_note(evidence: Evidence) -> str:
    """Return what stands behind numbers in cells, and which sizes are left out; often empty."""
    told = [f"({at}) {literal(why)}" for at, why in enumerate(gaps(evidence), start=1)]
    if not told:
        return ""
    kept = {(row[0], row[1]) for row in sweep_rows(evidence)}
    left_out: dict[str, list[str]] = {}
    for point in (evidence.scaling or {})["points"]:
        varied, at = AXES.get(point["axis"], point["axis"]), value(point["value"])
        if (varied, at) not in kept and at not in left_out.setdefault(varied, []):
            left_out[varied].append(at)
    sizes = "; ".join(f"{listing(ats)} {varied}" for varied, ats in left_out.items() if ats)
    return f" Not measured: {'; '.join(told)}.{f' Left out for that: {sizes}.' if sizes else ''}"


def _measured(point: dict[str, Any]) -> str:
    """Return a point's time and memory, and in brackets the memory that was predicted."""
    seconds = point["seconds"]
    short = seconds < SHORT
    time = f"{number(1000 * seconds, digits=1)} ms" if short else f"{number(seconds, digits=2)} s"
    guess = point.get("predicted_mib")
    beside = "" if guess is None else f" ({number(guess)})"
    return f"{time}, {number(point['memory_mib'])}{beside} MiB"
