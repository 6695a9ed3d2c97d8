"""What the methods cost: one table of costs, and which memory counts.

Less is better in all of them. A further cost is one entry of `COSTS`: the Pareto chart, the
report's sentences and the advice loop over the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from fairtune.analysis.formats import mebibytes, number, seconds
from fairtune.analysis.quiet import counted
from fairtune.core.params import Params
from fairtune.runs.record import RunRecord, Runs

EXECUTION = ("device", "precision", "kernels", "cuda_graphs")
"""Of the training settings those that say how a step is computed."""


def decided_by(study: Params) -> dict[str, Any]:
    """Return the settings that the cost of a step depends on, to tell whose a measurement is.

    A learning rate moves no cost, nor does how long a training is.
    """
    return {
        "model": study.model.model_dump(mode="json"),
        "train": study.train.model_dump(mode="json", include=set(EXECUTION)),
        "methods": {
            name: block.model_dump(mode="json", exclude={"learning_rate"}, exclude_none=True)
            for name, block in study.methods.items()
        },
    }


SAME = 0.02
"""Share by which two costs may differ and still count as alike: two runs of one setting do."""


@dataclass(frozen=True, kw_only=True)
class MemoryCounter:
    """One of the counters of memory that a run keeps."""

    key: str
    """In metrics/<method>.json, and of the record's memory."""
    name: str
    """What charts, tables and prose call it."""
    meaning: str
    """What exactly is counted, and by whom; follows the name."""
    source: str
    """The same in a sentence of the report."""
    heading: str
    """Of its column in the table of metrics."""

    @property
    def on_gpu(self) -> bool:
        """Whether it counts a GPU's memory."""
        return self.key.startswith("gpu")


MEMORY_COUNTERS = (
    MemoryCounter(
        key="gpu_memory_mib",
        name="GPU memory",
        meaning="of the process, as nvidia-smi shows it",
        source="the peak that the process holds on the device, as the driver reports it",
        heading="GPU mem. (MiB)",
    ),
    MemoryCounter(
        key="gpu_allocated_mib",
        name="GPU memory",
        meaning="that tensors occupy, as torch counts it",
        source="the peak that tensors occupy on the device, as torch counts it",
        heading="GPU mem. (MiB)",
    ),
    MemoryCounter(
        key="host_memory_mib",
        name="host memory",
        meaning="of the process",
        source="the peak resident memory of the training process",
        heading="Host mem. (MiB)",
    ),
)
"""The most telling first; the last is always there."""


def memory_counter(measured: Callable[[str], bool]) -> MemoryCounter:
    """Return the memory that charts, tables and prose show: the first that all runs have.

    Methods measured in different ways would not be comparable, so one run without a counter rules
    it out for all.

    Args:
        measured: whether every run has the counter of this key.
    """
    return next(counter for counter in MEMORY_COUNTERS if measured(counter.key))


def memory_of_runs(runs: Runs) -> MemoryCounter:
    """Return the memory that is shown of these runs."""
    return memory_counter(lambda key: all_have(runs, key))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Something that a method costs."""

    key: str
    """Its name in the charts' records and in the report's templates."""
    name: str
    """What prose calls it."""
    axis: str
    """What a chart calls it, with its unit."""
    show: Callable[[float], str]
    """Prints a figure with its unit."""
    field: str
    """Where a run's record holds it, such as `times.train_seconds`."""
    metric: str | None
    """Its key in metrics/<method>.json, None where it stands in the records alone."""
    weighed: bool = False
    """Whether the recommendation weighs it: it decides whether a training is possible."""


COSTS = (
    Cost(
        key="training_time",
        name="training time",
        axis="training time (s)",
        show=seconds,
        field="times.train_seconds",
        metric="train_seconds",
        weighed=True,
    ),
    # Which memory is filled in by `costs`.
    Cost(
        key="memory",
        name="memory",
        axis="memory (MiB)",
        show=mebibytes,
        field="memory",
        metric="memory",
        weighed=True,
    ),
    Cost(
        key="parameters",
        name="number of trained parameters",
        axis="trained parameters",
        show=number,
        field="counts.trainable",
        metric="trainable_parameters",
    ),
    Cost(
        key="shipped",
        name="size to ship",
        axis="size to ship (MiB)",
        show=mebibytes,
        field="shipped_mib",
        metric=None,
    ),
)


def costs(memory: MemoryCounter) -> dict[str, Cost]:
    """Return the table of costs by key, where this counter is the memory that is shown."""
    return {
        cost.key: replace(
            cost,
            name=memory.name,
            axis=f"{memory.name} (MiB)",
            field=f"memory.{memory.key}",
            metric=memory.key,
        )
        if cost.key == "memory"
        else cost
        for cost in COSTS
    }


def weight(metrics: Mapping[str, Any], memory: MemoryCounter) -> float | None:
    """Return what the recommendation weighs of one method: time x memory.

    A product, so that units do not matter; None where one of them was not measured.

    Args:
        metrics: of the method.
        memory: the counter that is shown.
    """
    weighed = [cost.metric for cost in costs(memory).values() if cost.weighed and cost.metric]
    values = [metrics[key] for key in weighed]
    return None if None in values else float(prod(values))


def all_have(runs: Runs, counter: str) -> bool:
    """Return whether every run that counts has a counter of memory."""
    return all(value is not None for _, value in _counted(runs, counter))


def reason(runs: Runs, counter: str) -> str:
    """Return why a counter of memory is missing, as the first run without it says; '' if none."""
    return next(
        (
            record.memory.unavailable.get(counter, "no reason recorded")
            for record, value in _counted(runs, counter)
            if value is None
        ),
        "",
    )


def _counted(runs: Runs, counter: str) -> list[tuple[RunRecord, float | None]]:
    """Return the runs whose memory counts, or all where none does, each with its counter."""
    records = [run.record for of_method in runs.values() for run in of_method]
    # Where none counts nothing is shown; its name follows from what was measured all the same.
    counting = counted(records, f"memory.{counter}") or records
    return [(one, getattr(one.memory, counter)) for one in counting]
