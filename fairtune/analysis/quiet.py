"""Which runs the costs come from: those that had the device to themselves, all of one kind.

Whoever else computes there slows a training down and shares its memory, so such a run counts for
accuracy alone. So do all runs of a study that allows devices of several kinds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np

from fairtune.core.params import Compare
from fairtune.runs.record import Run, RunRecord, Runs

MIXED = "the study allows devices of several kinds"
"""In place of who else computed there, or before it."""
BESIDES = ", and "

FALSIFIED = ("times", "memory", "energy", "inference")
"""Parts of a record that other use of the device falsifies."""


def counted(records: Iterable[RunRecord], field: str) -> list[RunRecord]:
    """Return the runs whose figure counts: all, or the quiet ones where sharing falsifies it.

    Args:
        records: of one method.
        field: of the record, such as `times.train_seconds`.
    """
    falsified = field.partition(".")[0] in FALSIFIED
    return [record for record in records if not (falsified and record.device.busy)]


def mean(records: Iterable[RunRecord], field: str, *, digits: int = 1) -> float | None:
    """Return the mean of a figure over the runs that count; None without such or without it."""
    return mean_or_none([attrgetter(field)(one) for one in counted(records, field)], digits=digits)


def mean_or_none(values: Sequence[float | None], *, digits: int = 1) -> float | None:
    """Return the mean, or None where any value was not measured."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), digits) if known and len(known) == len(values) else None


def means(runs: Runs, field: str, *, digits: int = 1) -> dict[str, float]:
    """Return the mean of one figure for each method that has it for every run that counts."""
    found = {
        method: mean([run.record for run in of_method], field, digits=digits)
        for method, of_method in runs.items()
    }
    return {method: value for method, value in found.items() if value is not None}


def set_apart(runs: Runs, rules: Compare) -> dict[str, list[Run]]:
    """Return the runs, marked as without costs where the rules allow devices of several kinds.

    What was measured of a run stays; `counted` leaves it out.
    """
    if not rules.allow_mixed_devices:
        return {method: list(of_method) for method, of_method in runs.items()}
    return {method: [_apart(run) for run in of_method] for method, of_method in runs.items()}


def _apart(run: Run) -> Run:
    record = run.record
    other = record.device.busy or ""
    if _is_apart(other):
        return run
    marked = f"{MIXED}{BESIDES}{other}" if other else MIXED
    device = record.device.model_copy(update={"busy": marked})
    return dataclasses.replace(run, record=record.model_copy(update={"device": device}))


def is_mixed(runs: Runs) -> bool:
    """Return whether `set_apart` marked runs: they may be of devices of several kinds."""
    return any(_is_apart(run.record.device.busy or "") for of in runs.values() for run in of)


def _is_apart(busy: str) -> bool:
    return busy.startswith(MIXED)


def shared(runs: Runs, *, apart: bool = True) -> dict[str, dict[str, str]]:
    """Return the runs whose costs do not count: method -> seed -> who else computed there.

    Args:
        runs: of each method.
        apart: also those that `set_apart` marked.
    """
    found: dict[str, dict[str, str]] = {}
    for method, of_method in runs.items():
        for run in of_method:
            why = run.record.device.busy or ""
            if not apart:
                why = why.removeprefix(MIXED).removeprefix(BESIDES)
            if why:
                found.setdefault(method, {})[str(run.record.seed)] = why
    return found
