"""The flat metrics of one method: few keys, the same in each file, rounded at the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairtune.analysis.costs import mean_or_none
from fairtune.analysis.estimates import accuracy_estimate
from fairtune.runs.record import Run

Metrics = dict[str, float | int | None]


def metrics(runs: Sequence[Run]) -> Metrics:
    """Return the seven metrics of one method over its seeds.

    accuracy: share of test rows predicted right, mean over seeds; accuracy_ci95: half-width of its
    95% interval; trainable_parameters: adapter and head; train_seconds: the training loop alone,
    mean over seeds; gpu_memory_mib, gpu_allocated_mib, host_memory_mib: peaks, mean over seeds,
    None where not measured.
    """
    estimate = accuracy_estimate(np.stack([run.predictions.correct for run in runs]))
    memory = [run.record.memory for run in runs]
    return {
        "accuracy": round(estimate.mean, 4),
        "accuracy_ci95": round(estimate.half_width, 4),
        "trainable_parameters": runs[0].record.counts.trainable,
        "train_seconds": mean_or_none([run.record.times.train_seconds for run in runs]),
        "gpu_memory_mib": mean_or_none([one.gpu_memory_mib for one in memory]),
        "gpu_allocated_mib": mean_or_none([one.gpu_allocated_mib for one in memory]),
        "host_memory_mib": mean_or_none([one.host_memory_mib for one in memory]),
    }
