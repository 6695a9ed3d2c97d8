"""Sentences on scalability: measured by a sweep where one was run, and predicted by formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairtune.analysis.costs import MEMORY_COUNTERS
from fairtune.analysis.formats import number
from fairtune.report.projection import SHAPES, Shape, predict
from fairtune.report.study import SWEEP, Evidence
from fairtune.report.wording import NONE, listing, literal, method, methods
from fairtune.runs.breakdown import Breakdown

GIB = 1024
AXES = {
    "rows": "training rows",
    "max_length": "tokens in a text",
    "batch_size": "rows in a batch",
    "parameters": "million parameters of the encoder",
}
"""What a sweep varies: key in metrics/scaling.json -> name in prose."""
CLOSE = 0.15
"""Share by which a prediction may be off without a reason given."""
REASONS = {
    "rows": "a process may keep memory that it freed",
    "max_length": "what attention keeps may grow faster than the text",
    "parameters": "other families of encoders keep other activations",
}
"""Why a prediction that was fitted on another axis may be off."""


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
    found = evidence.scaling or {}
    points = found.get("points", [])
    said = [_axis(axis, points, evidence.names) for axis in AXES]
    said += _lacking_points(points, evidence.names)
    if found and not found.get("complete", True):
        said.append("The sweep was ended before it had measured all its points.")
    return list(filter(None, said))


def _axis(axis: str, points: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return by how much time and memory grow from the least to the largest value of one axis."""
    grown: dict[tuple[float, float], list[tuple[str, float, float]]] = {}
    for name in names:
        mine = sorted(
            (p for p in points if p["axis"] == axis and p["method"] == name),
            key=lambda p: float(p["value"]),
        )
        done = [p for p in mine if p["seconds"] is not None]
        if len(done) < 2:
            continue
        first, last = done[0], done[-1]
        time, memory = (last[of] / first[of] for of in ("seconds", "memory_mib"))
        grown.setdefault((first["value"], last["value"]), []).append((name, time, memory))
    # A method of which a point lacks has other ends, and its factors are of those.
    said = [
        f"From {value(low)} to {value(high)} {AXES[axis]}, time grows by a factor of "
        f"{listing(f'{method(name)} {number(time, digits=1)}' for name, time, _ in found)}, and "
        f"memory by {listing(f'{method(name)} {number(of, digits=1)}' for name, _, of in found)}."
        for (low, high), found in grown.items()
    ]
    return " ".join(said)


def _lacking_points(points: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """Return which points were not measured, a sentence for each reason."""
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        if point["seconds"] is None and point["method"] in names:
            by_reason.setdefault(point["note"], []).append(point)
    said = []
    for why, of in by_reason.items():
        whose = [name for name in names if name in {point["method"] for point in of}]
        over = listing(AXES[axis] for axis in AXES if axis in {point["axis"] for point in of})
        said.append(
            f"Over {over} not every point of {methods(whose)} was measured ({literal(why)})."
        )
    return said


def value(of: float) -> str:
    """Return a value of an axis."""
    return number(of, digits=0 if float(of).is_integer() else 1)


def agreement(evidence: Evidence) -> list[str]:
    """Return how near the memory that was predicted comes to what was measured, axis by axis."""
    found = evidence.scaling or {}
    fitted = found.get("fitted_on")
    told = []
    for axis in AXES:
        off = deviation(axis, found.get("points", []))
        if off is None:
            continue
        if axis == fitted:
            told.append(f"over {AXES[axis]}, where it was fitted, at most {off:.0%}")
        else:
            why = f" ({REASONS[axis]})" if off > CLOSE and axis in REASONS else ""
            told.append(f"over {AXES[axis]} at most {off:.0%}{why}")
    known = found.get("fixed_mib", {})
    fixed = [f"{method(n)} {number(known[n])} MiB" for n in evidence.names if n in known]
    if not told or not fixed:
        return []
    return [
        "Memory was predicted as well: weights, gradients and AdamW's moments from the model "
        "itself, and activations in proportion to the tokens of a step and the outputs of the "
        f"encoder's linear layers. It is off {listing(told)}. What neither grows with is fitted "
        f"too: {listing(fixed)}."
    ]


def deviation(axis: str, points: Sequence[dict[str, Any]]) -> float | None:
    """Return the largest share by which predicted memory differs from measured on one axis."""
    shares = [
        abs(point["predicted_mib"] / point["memory_mib"] - 1)
        for point in points
        if point["axis"] == axis and point["memory_mib"] and point.get("predicted_mib")
    ]
    return max(shares) if shares else None


def execution(evidence: Evidence) -> list[str]:
    """Return which methods ran steps of the sweep eagerly on a GPU where others were captured."""
    points = [
        p for p in (evidence.scaling or {}).get("points", []) if p.get("captured") is not None
    ]
    if not any(point["captured"] for point in points):
        return []
    said = []
    for name in evidence.names:
        whole = [p for p in points if p["method"] == name and not p["captured"]]
        reasons = dict.fromkeys(literal(p["eager"]) for p in whole)
        if whole:
            said.append(f"Points of {method(name)} ran eagerly ({'; '.join(reasons)}).")
    return said or ["All steps but the first were replayed as CUDA graphs."]


def about(evidence: Evidence) -> dict[str, str]:
    """Return where the sweep ran, which memory it measured, and why there is none."""
    found = evidence.scaling or {}
    named = {counter.key: f"{counter.name} {counter.meaning}" for counter in MEMORY_COUNTERS}
    memory = str(found.get("memory", ""))
    # Older sweeps say it in words.
    return {
        "device": literal(found.get("device", "")),
        "memory": named.get(memory, memory),
        "lacking": _lacking(evidence),
    }


def _lacking(evidence: Evidence) -> str:
    if evidence.scaling:
        return ""
    why = "No sweep over sizes was run"
    if evidence.other_sweep:
        other = "another model, other methods or another way to compute"
        why = f"The sweep in {literal(SWEEP)} was of {other}"
    return f"{why}, so what follows is predicted and not measured."
