"""What the sweep leaves in metrics/scaling.json: what was measured, and what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairtune.analysis.costs import MemoryCounter, memory_counter
from fairtune.scaling import prediction
from fairtune.scaling.grid import Point
from fairtune.scaling.point import OWN, Cost, Machine, Size

Outcome = tuple[str, Any]
"""`done` with a Cost, or `note` with the reason why there is none."""


def summary(
    machine: Machine, places: Sequence[Point], known: Mapping[tuple[Size, str], Outcome]
) -> dict[str, Any]:
    """Return the content of metrics/scaling.json.

    Args:
        machine: where it ran.
        places: the points.
        known: what came of each size and method.
    """
    costs = [content for kind, content in known.values() if kind == "done"]
    counter = memory_counter(lambda key: all(cost.memory.get(key) is not None for cost in costs))
    names = list(dict.fromkeys(name for _, name in known))
    outputs = {encoder.name: encoder.outputs for encoder in machine.encoders}
    factors = {name: _factors(name, places, known, outputs, counter) for name in names}
    found = []
    for place in places:
        load = place.size.tokens * outputs[place.size.encoder]
        for name in names:
            kind, content = known[place.size, name]
            cost = content if kind == "done" else None
            point = _point(place, name, cost, memory=counter, note="" if cost else str(content))
            held = None if cost is None else cost.held_mib
            guess = None if held is None else prediction.predicted(load, held, factors[name])
            found.append(point | {"held_mib": held, "predicted_mib": guess})
    return {
        "device": machine.name,
        "precision": machine.precision,
        # The counter's key, as in metrics/<method>.json: what it is called is the reader's to say.
        "memory": counter.key,
        "fitted_on": prediction.FITTED,
        "fixed_mib": {name: round(pair[0], 1) for name, pair in factors.items() if pair},
        "points": found,
    }


def _factors(
    name: str,
    places: Sequence[Point],
    known: Mapping[tuple[Size, str], Outcome],
    outputs: Mapping[str, int],
    memory: MemoryCounter,
) -> tuple[float, float] | None:
    """Return what the activations of a method are predicted by."""
    fitted = [
        (place.size.tokens * outputs[OWN], content)
        for place in places
        if place.axis == prediction.FITTED
        for kind, content in [known[place.size, name]]
        if kind == "done"
    ]
    return prediction.fit(
        [load for load, _ in fitted],
        [cost.held_mib for _, cost in fitted],
        [float(cost.memory[memory.key]) for _, cost in fitted],
    )


def _point(
    place: Point, name: str, cost: Cost | None, *, memory: MemoryCounter, note: str
) -> dict[str, Any]:
    whole_pass = place.axis == "rows"
    return {
        "axis": place.axis,
        "value": place.value,
        "method": name,
        "seconds": cost and (cost.pass_seconds if whole_pass else cost.step_seconds),
        "memory_mib": cost and cost.memory[memory.key],
        "captured": cost and cost.captured,
        "eager": cost.eager if cost else "",
        "note": note,
    }
