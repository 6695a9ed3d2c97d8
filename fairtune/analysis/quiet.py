"""Which runs the costs come from: those that had the device to themselves.

Whoever else computes there slows a training down and shares its memory, so such a run counts for
accuracy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np

from fairtune.runs.record import RunRecord, Runs

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


def shared(runs: Runs) -> dict[str, dict[str, str]]:
    """Return the runs that shared the GPU: method -> seed -> who else computed there."""
    found = {
        method: {
            str(run.record.seed): run.record.device.busy
            for run in of_method
            if run.record.device.busy
        }
        for method, of_method in runs.items()
    }
    return {method: seeds for method, seeds in found.items() if seeds}
