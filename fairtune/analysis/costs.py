"""What the methods cost: figures of the runs as means over seeds, and which memory counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fairtune.runs.record import Memory, Run, Runs

Measure = Callable[[Run], float | None]
Counter = Callable[[Memory], float | None]
MEMORIES: tuple[tuple[Counter, str, str], ...] = (
    (lambda m: m.gpu_memory_mib, "GPU memory", "of the process, as nvidia-smi shows it"),
    (lambda m: m.gpu_device_delta_mib, "GPU memory", "of the device, beyond that at the start"),
    (lambda m: m.host_memory_mib, "host memory", "of the process"),
)


def means(runs: Runs, measure: Measure, *, digits: int = 1) -> dict[str, float]:
    """Return the mean over seeds of one figure for each method that has it for every seed."""
    found = {
        method: mean_or_none([measure(run) for run in of_method], digits=digits)
        for method, of_method in runs.items()
    }
    return {method: mean for method, mean in found.items() if mean is not None}


def memory_measure(runs: Runs) -> tuple[Measure, str, str]:
    """Return the memory that the charts show, its short name and what exactly it is.

    The first of `MEMORIES` that every run has: methods measured in different ways would not be
    comparable, so one run without a counter rules it out for all, and the name says what is shown.
    """
    counter, kind, meaning = next(entry for entry in MEMORIES if all_have(runs, entry[0]))
    return lambda run: counter(run.record.memory), kind, meaning


def all_have(runs: Runs, counter: Counter) -> bool:
    """Return whether every run has a counter of memory."""
    everyone = [run for of_method in runs.values() for run in of_method]
    return all(counter(run.record.memory) is not None for run in everyone)


def reason(runs: Runs, counter: str) -> str:
    """Return why a counter of memory is missing, as the first run without it says; '' if none."""
    for run in (run for of_method in runs.values() for run in of_method):
        if getattr(run.record.memory, counter) is None:
            return run.record.memory.unavailable.get(counter, "no reason recorded")
    return ""


def mean_or_none(values: Sequence[float | None], *, digits: int = 1) -> float | None:
    """Return the mean, or None where any value was not measured."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), digits) if known and len(known) == len(values) else None
