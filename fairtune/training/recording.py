"""What is written down of a training: its record, and the line that sums it up."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairtune.core import task
from fairtune.runs.breakdown import Breakdown
from fairtune.runs.predictions import Predictions
from fairtune.runs.record import (
    NODE,
    Accuracy,
    Device,
    Execution,
    Inference,
    Memory,
    Rows,
    RunRecord,
    Times,
)
from fairtune.training.job import Job

if TYPE_CHECKING:  # they import torch
    from fairtune.hardware.meter import Meter
    from fairtune.models.build import Built
    from fairtune.training.loop import Trained

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "dvc",
)


# The first step of a training runs eagerly; a larger share than this beside it is told.
MOST_EAGER = 0.05


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of one training, from which its record is made."""

    built: Built
    trained: Trained
    predictions: Predictions
    """Of the test rows."""
    meter: Meter
    laps: dict[str, float]
    """Seconds of each part besides the training loop, by their names in `Times`."""
    memory: Memory
    predicted: Breakdown
    inference: Inference
    shipped_mib: float


def run_record(job: Job, seen: Evidence) -> RunRecord:
    """Return the record of one training: what it was given, and what was seen."""
    study = job.study
    return RunRecord(
        method=job.name,
        seed=job.seed,
        parameters={
            "model": study.model.model_dump(),
            "encode": study.encode.model_dump(),
            "train": study.train.model_dump(),
            "method": job.method.model_dump(),
        },
        data=data_of_run(job, seen.trained),
        device=device_of_run(seen.meter),
        versions=versions(),
        counts=seen.built.counts,
        times=times_of_run(seen, rows=len(job.splits["train"]), epochs=study.train.epochs),
        memory=seen.memory,
        predicted=seen.predicted,
        energy=seen.meter.energy(),
        inference=seen.inference,
        audit=seen.built.audit,
        execution=execution_of_run(seen.built, seen.trained, study.train.class_weights),
        accuracy=accuracy_of_run(seen, by_epoch=study.train.validate_every_epoch),
        shipped_mib=seen.shipped_mib,
        head_sha256=seen.built.head_sha256,
        model_type=getattr(seen.built.model.config, "model_type", None),
    )


def data_of_run(job: Job, trained: Trained) -> Rows:
    """Return what was trained on, and how it was batched."""
    return Rows(
        subset_sha256=job.manifest["subset_sha256"],
        encoded_sha256=job.splits["train"].sha256(),
        order_sha256=trained.order_sha256,
        rows={split: len(rows) for split, rows in job.splits.items()},
        labels=job.manifest["labels"],
        steps=trained.steps,
        tokens=trained.tokens,
        padded_tokens=trained.padded_tokens,
        padded_lengths=trained.padded_lengths,
    )


def device_of_run(meter: Meter) -> Device:
    """Return where the training ran, and who else computed there."""
    from fairtune.hardware.device import driver

    chosen = meter.device
    return Device(
        type=chosen.type,
        name=chosen.name,
        precision=chosen.precision,
        reason=chosen.reason,
        threads=chosen.threads,
        driver=driver(chosen),
        node=os.environ.get(NODE),
        busy="; ".join(filter(None, (meter.base.busy, meter.memory_peaks.others))) or None,
    )


def times_of_run(seen: Evidence, *, rows: int, epochs: int) -> Times:
    """Return the seconds of each part of a run, and what follows from those of the training."""
    median, p90 = seen.meter.step_summary()
    seconds = round(seen.meter.seconds, 3)
    return Times(
        **{key: round(value, 3) for key, value in seen.laps.items()},
        warm_up_seconds=seen.trained.warm_up_seconds,
        train_seconds=seconds,
        validation_seconds=round(seen.meter.paused_seconds, 3),
        samples_per_second=round(rows * epochs / seconds, 2),
        step_median_ms=median,
        step_p90_ms=p90,
        seconds_to_95_percent=time_to_share(seen.trained.validation, 0.95),
        seconds_to_99_percent=time_to_share(seen.trained.validation, 0.99),
    )


def time_to_share(curve: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return the seconds until accuracy first reached a share of its best; None without a curve."""
    if len(curve) < 2:
        return None
    best = max(accuracy for _, accuracy in curve)
    return next(seconds for seconds, accuracy in curve if accuracy >= share * best)


def execution_of_run(built: Built, trained: Trained, class_weights: str) -> Execution:
    """Return how the training's steps ran, and on which loss."""
    from fairtune.acceleration.attention import name_of

    return Execution(
        captured_steps=trained.captured_steps,
        eager_steps=trained.steps - trained.captured_steps,
        note=trained.note,
        attention=name_of(built.model),
        optimizer=trained.optimizer,
        loss=task.loss_name(class_weights),
        class_weights=trained.class_weights,
    )


def accuracy_of_run(seen: Evidence, *, by_epoch: bool) -> Accuracy:
    """Return the accuracy on test and validation rows; of all epochs where each was measured."""
    curve = [accuracy for _, accuracy in seen.trained.validation]
    return Accuracy(
        test=task.score(seen.predictions.correct),
        validation=curve[-1],
        validation_by_epoch=curve if by_epoch else [],
    )


def versions() -> dict[str, str]:
    """Return the versions of what produced the numbers."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def headline(record: RunRecord) -> str:
    """Return one line for the log: also where steps ran eagerly, or the device was shared."""
    ran = record.execution
    steps = ran.eager_steps + ran.captured_steps
    expected = record.device.type == "cuda" and record.parameters["train"]["cuda_graphs"] != "off"
    slow = expected and ran.eager_steps > MOST_EAGER * steps + 1
    more = f"; {ran.eager_steps} of {steps} steps ran eagerly: {ran.note}" if slow else ""
    if record.device.busy:
        more += f"; its costs do not count: {record.device.busy}"
    return (
        f"train: {record.method} seed {record.seed}: accuracy {record.accuracy.test:.4f}, "
        f"{record.times.train_seconds:.1f} s, {record.counts.trainable:,} trained parameters, "
        f"{record.device.type} {record.device.precision}{more}"
    )
