"""One run from start to finish: build, train, test, save, and write down what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fairtune.acceleration.prepare import prepare
from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.device import Choice
from fairtune.hardware.meter import Meter
from fairtune.models import footprint, saved_form
from fairtune.models.build import Built, build
from fairtune.runs.predictions import Predictions
from fairtune.runs.record import Run
from fairtune.training.batches import batches_of
from fairtune.training.inference import measure_inference
from fairtune.training.job import Job
from fairtune.training.loop import train_model
from fairtune.training.plan import check_alike
from fairtune.training.prediction import predict
from fairtune.training.recording import Evidence, run_record


def run_training(job: Job, *, save: Callable[[Any], float], base: Baseline, started: float) -> Run:
    """Train one method with one seed.

    Args:
        job: what to train, and on what.
        save: writes the weights of a model and returns their size in MiB.
        base: the GPU before this process touched it.
        started: `time.perf_counter` when the process began.

    Raises:
        UserError: something in the parameters, the data or the machine is not right.
    """
    chosen = device.choose(job.study.train)
    meter = Meter(device=chosen, base=base)
    meter.prepare()
    laps = {"import_seconds": time.perf_counter() - started}
    with lap(laps, "load_seconds"):
        built = load(job, chosen)
    predicted = footprint.predict(built.model)
    passing: dict[str, Any] = {
        "batch_size": job.study.train.evaluation_batch_size,
        "pad_token_id": job.pad_token_id,
        "device": chosen,
    }

    def predictions(split: str) -> Predictions:
        return predict(built.model, job.splits[split], **passing)

    trained = train_model(
        built.model,
        job.splits["train"],
        train=job.study.train,
        learning_rate=job.method.rate,
        seed=job.seed,
        pad_token_id=job.pad_token_id,
        device=chosen,
        meter=meter,
        validate=lambda: task.score(predictions("validation").correct),
        validated=job.splits["validation"],
        label=f"{job.name} {job.seed}",
    )
    memory = meter.memory()
    with lap(laps, "save_seconds"):
        shipped = hand_on(built.model, save)
    with lap(laps, "test_seconds"):
        tested = predictions("test")
    seen = Evidence(
        built=built,
        trained=trained,
        predictions=tested,
        meter=meter,
        laps=laps,
        memory=memory,
        predicted=predicted,
        inference=measure_inference(
            built.model, job.splits["test"], test_seconds=laps["test_seconds"], **passing
        ),
        shipped_mib=shipped,
    )
    return Run(record=run_record(job, seen), history=trained.history, predictions=tested)


def hand_on(model: Any, save: Callable[[Any], float]) -> float:
    """Save a trained model, and go on with it as it was saved; return what `save` returns."""
    shipped = save(model)
    saved_form.take(model)
    return shipped


@contextmanager
def lap(laps: dict[str, float], part: str) -> Iterator[None]:
    """Note the seconds that a part of the run takes."""
    start = time.perf_counter()
    yield
    laps[part] = time.perf_counter() - start


def load(job: Job, chosen: Choice) -> Built:
    """Return the method's model on the device, made fast.

    Raises:
        UserError: the model cannot be had, the method does not fit it, or the memory does not
            suffice.
    """
    train = job.study.train
    check_alike(job.study, chosen)
    steps = train.epochs * batches_of(len(job.splits["train"]), train.batch_size)
    try:
        built = build(
            job.study.model,
            job.method,
            name=job.name,
            labels=job.classes,
            device=chosen,
            seed=job.seed,
            steps=steps,
            pad_token_id=job.pad_token_id,
            # A text that is predicted later may be as long, though none of the corpus is.
            longest=job.study.encode.max_length,
        )
        task.name_classes(built.model.config, job.manifest["labels"])
        prepare(built.model, chosen, kernels=train.kernels)
        chosen.synchronize()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"methods.{job.name}: the GPU's memory does not hold the model "
            f"{job.study.model.name}; set quantize, or take a smaller model"
        ) from error
    return built
