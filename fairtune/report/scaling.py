"""Sentences on scalability: measured by a sweep where one was run, else predicted by formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairtune.analysis.costs import MEMORY_COUNTERS
from fairtune.analysis.formats import number
from fairtune.report.projection import SHAPES, Shape, predict
from fairtune.report.study import Evidence
from fairtune.report.wording import NONE, listing, method, methods
from fairtune.runs.breakdown import Breakdown

GIB = 1024
AXES = {
    "rows": "training rows",
    "max_length": "tokens in a text",
    "batch_size": "rows in a batch",
    "hidden": "units of the encoder's width",
}
"""What a sweep varies: key in metrics/scaling.json -> name in prose."""


def gibibytes(mib: float) -> str:
    """Return an amount of memory in GiB."""
    return f"{number(mib / GIB, digits=1)} GiB"


def predicted(evidence: Evidence, shape: Shape) -> dict[str, float]:
    """Return the predicted MiB of each method on a shape; those without a formula are left out."""
    found = {name: _predict(evidence, name, shape) for name in evidence.names}
    return {name: parts.total_mib for name, parts in found.items() if parts is not None}


def _predict(evidence: Evidence, name: str, shape: Shape) -> Breakdown | None:
    precision = evidence.records[name][0].device.precision
    return predict(shape, evidence.block(name), precision=precision)


def prediction(evidence: Evidence) -> list[str]:
    """Return what the formula says of larger models."""
    small, large = SHAPES[0], SHAPES[-1]
    now, then = predicted(evidence, small), predicted(evidence, large)
    if not then:
        return ["No formula is known for the adapters of this study, so nothing is predicted."]
    least = min(then, key=lambda name: then[name])
    amounts = listing(f"{method(name)} {gibibytes(size)}" for name, size in then.items())
    said = [
        f"On the {large.name} shape the prediction is {amounts} before any activation; on the "
        f"{small.name} shape the same methods differ by no more than "
        f"{gibibytes(max(now.values()) - min(now.values()))}."
    ]
    if len(then) > 1:
        said.append(f"The larger the model, the more the storage of {method(least)} counts.")
    left_out = [name for name in evidence.names if name not in then]
    if left_out:
        said.append(f"For {methods(left_out)} no formula is known.")
    return said


def prediction_rows(evidence: Evidence) -> list[list[str]]:
    """Return a row a method: weights, gradients and moments together on each shape."""
    return [
        [method(name), *(_cell(_predict(evidence, name, shape)) for shape in SHAPES)]
        for name in evidence.names
    ]


def _cell(parts: Breakdown | None) -> str:
    return NONE if parts is None else gibibytes(parts.total_mib)


def measured(evidence: Evidence) -> list[str]:
    """Return what the sweep says, a sentence for each quantity that it varied."""
    points = (evidence.scaling or {}).get("points", [])
    return [said for axis in AXES if (said := _axis(axis, points, evidence.names))]


def _axis(axis: str, points: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return by how much time and memory grow from the least to the largest value of one axis."""
    times, memories, failed = [], [], []
    ends: list[float] = []
    for name in names:
        mine = sorted(
            (p for p in points if p["axis"] == axis and p["method"] == name),
            key=lambda p: float(p["value"]),
        )
        done = [p for p in mine if p["seconds"] is not None]
        failed += [name] if len(done) < len(mine) else []
        if len(done) < 2:
            continue
        ends = [done[0]["value"], done[-1]["value"]]
        times.append(f"{method(name)} {number(done[-1]['seconds'] / done[0]['seconds'], digits=1)}")
        ratio = done[-1]["memory_mib"] / done[0]["memory_mib"]
        memories.append(f"{method(name)} {number(ratio, digits=1)}")
    if not times:
        return ""
    said = (
        f"From {number(ends[0])} to {number(ends[1])} {AXES[axis]}, time grows by a factor of "
        f"{listing(times)}, and memory by {listing(memories)}."
    )
    return said + (f" Some points of {methods(failed)} ran out of memory." if failed else "")


def about(evidence: Evidence) -> dict[str, str]:
    """Return where the sweep ran, and which memory it measured."""
    found = evidence.scaling or {}
    named = {counter.key: f"{counter.name} {counter.meaning}" for counter in MEMORY_COUNTERS}
    memory = str(found.get("memory", ""))
    # Older sweeps say it in words.
    return {"device": found.get("device", ""), "memory": named.get(memory, memory)}


def sweep_rows(evidence: Evidence) -> list[list[str]]:
    """Return a row a point of the sweep: what was varied, its value, seconds and MiB by method."""
    points = (evidence.scaling or {}).get("points", [])
    keys = list(dict.fromkeys((p["axis"], p["value"]) for p in points))
    known = {(p["axis"], p["value"], p["method"]): p for p in points}
    rows = []
    for axis, value in keys:
        cells = []
        for name in evidence.names:
            point = known.get((axis, value, name))
            if point is None:
                cells.append(NONE)
            elif point["seconds"] is None:
                cells.append(point["note"])
            else:
                seconds = number(point["seconds"], digits=2)
                cells.append(f"{seconds} s, {number(point['memory_mib'])} MiB")
        rows.append([AXES.get(axis, axis), number(value), *cells])
    return rows
