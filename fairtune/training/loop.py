"""Train a built model: plan the batches, make the Trainer, warm up, run, and sum up.

The Hugging Face Trainer runs the loop; it is measured from outside.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import AutocastKwargs
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from fairtune.acceleration.cuda_graphs import first_passes
from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.core.forecast import Forecast
from fairtune.core.params import Train
from fairtune.core.terminal import StepProgress
from fairtune.hardware.device import Choice
from fairtune.hardware.meter import Meter
from fairtune.models import class_weights, uncaptured
from fairtune.models.adapters import work_after_step
from fairtune.runs.token_cache import Encoded
from fairtune.training import work
from fairtune.training.batches import Rows
from fairtune.training.plan import RunPlan, graphs_mode, plan_run
from fairtune.training.settings import OPTIMIZER, arguments, optimizer
from fairtune.training.trainer import FairTrainer
from fairtune.training.watch import AfterStep, Watch


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves besides the model."""

    history: list[dict[str, float]]
    """Points of the loss curve."""
    validation: list[tuple[float, float]]
    """After each epoch: seconds of training so far, validation accuracy."""
    warm_up_seconds: float | None
    """Spent off the clock on first passes and the capture of each shape; None without a GPU."""
    steps: int
    captured_steps: int
    note: str
    """Why steps ran eagerly."""
    padded_lengths: list[int]
    padded_tokens: int
    tokens: int
    order_sha256: str
    optimizer: str
    class_weights: list[float] | None
    """Weight of each class in the loss; None where all rows count alike."""


def train_model(
    model: Any,
    rows: Encoded,
    *,
    train: Train,
    learning_rate: float,
    seed: int,
    pad_token_id: int,
    device: Choice,
    meter: Meter,
    validate: Callable[[], float],
    validated: Encoded | None = None,
    label: str = "train",
) -> Trained:
    """Train a model on the rows and return what was seen.

    Args:
        model: a built model on the device, made fast by `fairtune.acceleration.prepare`.
        rows: the encoded training split.
        train: what all methods share.
        learning_rate: peak learning rate.
        seed: seed of dropout and of the order of the rows.
        pad_token_id: id that fills up a batch.
        device: where and in which precision.
        meter: measures the loop.
        validate: returns the validation accuracy of the model as it is.
        validated: the rows that it predicts, for the progress bar to foresee its time.
        label: name of the progress bar.

    Raises:
        UserError: the loss is no longer a number, the memory does not suffice, or classes are to be
            balanced of which one has no rows.
    """
    weights = weigh_classes(model, rows, train, device)
    after_step = work_after_step(model)
    mode, note = graphs_mode(train, device, eager=uncaptured.of_model(model))
    captured = mode != "off"
    plan = plan_run(rows, train, seed=seed, pad_token_id=pad_token_id, captured=captured)
    progress = StepProgress(label, forecast(model, plan, train, validated))
    watch = Watch(meter=meter, plan=plan.deal, progress=progress, validate=validate)
    watch.every_epoch = train.validate_every_epoch
    with tempfile.TemporaryDirectory() as scratch:
        trainer = FairTrainer(
            plan=plan.deal,
            shapes=plan.shapes,
            graphs_wanted=mode,
            note=note,
            preparing=meter.preparing,
            model=model,
            args=arguments(
                train, learning_rate=learning_rate, seed=seed, device=device, folder=scratch
            ),
            train_dataset=Rows(rows),
            data_collator=plan.collate,
            optimizer_cls_and_kwargs=optimizer(learning_rate, captured=captured),
            callbacks=[watch, *([AfterStep(after_step)] if after_step else [])],
        )
        warmed = run_loop(trainer, plan, device, watch)
    return summed_up(trainer, watch, plan, warmed=warmed, train=train, weights=weights)


def weigh_classes(model: Any, rows: Encoded, train: Train, device: Choice) -> list[float] | None:
    """Weight the classes in the model's loss where that is asked for; return their weights.

    Raises:
        UserError: a class has no training rows.
    """
    if train.class_weights == "none":
        return None
    config = model.config
    names = [str(config.id2label.get(number, number)) for number in range(config.num_labels)]
    weights = task.balanced_weights(rows.labels, names)
    class_weights.install(model, weights, device.torch_device)
    return weights


def forecast(model: Any, plan: RunPlan, train: Train, validated: Encoded | None) -> Forecast:
    """Return what the progress bar tells the time left by: the costs of steps and validations."""
    size = work.dimensions(model.config.to_dict())
    whole = all(parameter.requires_grad for parameter in model.parameters())
    steps = work.step_costs(plan.order, size, whole=whole)
    cost = 0.0
    if validated is not None:
        cost = work.evaluation_cost(validated.lengths, train.evaluation_batch_size, size)
    return Forecast(steps, [cost] * (train.epochs if train.validate_every_epoch else 1))


def run_loop(trainer: FairTrainer, plan: RunPlan, device: Choice, watch: Watch) -> float | None:
    """Warm up on a GPU, and train; return the seconds that warming up took.

    Raises:
        UserError: the memory does not suffice.
    """
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    # Frozen weights are cast once a forward pass either way, and graphs bear no cache.
    trainer.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
    warmed = None
    eager = trainer.graphs_wanted == "off"
    first = plan.shapes if eager else first_passes(trainer.model, plan.shapes, plan.order[0])
    if others := [shape for shape in plan.shapes if shape not in first]:
        trainer.pass_others = lambda: warm_up(trainer.model, map(plan.example, others), device)
    try:
        if device.type == "cuda":
            warmed = warm_up(trainer.model, map(plan.example, first), device)
        trainer.train()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of GPU memory at train.batch_size {plan.deal.batch_size} and "
            f"encode.max_length {int(plan.deal.lengths.max())}; lower one of them"
        ) from error
    finally:
        watch.progress.stop()
        watch.meter.close()
    return warmed


def warm_up(model: Any, batches: Iterable[dict[str, torch.Tensor]], device: Choice) -> float:
    """Run each batch forward and backward, and forget it; return the seconds that took.

    The first pass of a shape on a GPU loads libraries and compiles kernels, which are cached on
    disk: without this the first method to run on a machine would pay for all. Weights and random
    generators stay as they were.
    """
    start = time.perf_counter()
    model.train()
    gpus = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        for batch in batches:
            inputs = {name: tensor.to(device.torch_device) for name, tensor in batch.items()}
            with device.autocast():
                loss = task.loss_of(model, inputs)
            loss.backward()
            for parameter in model.parameters():
                parameter.grad = None
    device.synchronize()
    return time.perf_counter() - start


def summed_up(
    trainer: FairTrainer,
    watch: Watch,
    plan: RunPlan,
    *,
    warmed: float | None,
    train: Train,
    weights: list[float] | None,
) -> Trained:
    """Return what was seen of a finished training."""
    steps = trainer.state.global_step
    captured = trainer.graphs.captured if trainer.graphs else 0
    preparing = watch.meter.preparing_seconds
    return Trained(
        history=watch.history,
        validation=watch.validation,
        warm_up_seconds=None if warmed is None else round(warmed + preparing, 3),
        steps=steps,
        captured_steps=captured,
        note=trainer.note if captured < steps else "",
        padded_lengths=sorted({length for _, length in plan.of_shape}),
        padded_tokens=plan.padded_tokens,
        tokens=int(plan.deal.lengths.sum()) * train.epochs,
        order_sha256=plan.deal.order_sha256(plan.collate.encoded.row_ids, train.epochs),
        optimizer=OPTIMIZER,
        class_weights=weights,
    )
