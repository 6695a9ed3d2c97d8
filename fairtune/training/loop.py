"""Train a built model with the Hugging Face Trainer, measured from outside."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.trainer_callback import (
    PrinterCallback,
    ProgressCallback,
)
from transformers.training_args import TrainingArguments

from fairtune.acceleration.cuda_graphs import MOST_GRAPHS, ReplayableAdamW
from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.core.params import Train
from fairtune.core.terminal import StepProgress
from fairtune.hardware.device import Choice
from fairtune.hardware.meter import Meter
from fairtune.runs.token_cache import Encoded
from fairtune.training.batches import BatchPlan, Collator, Rows, bucket_lengths
from fairtune.training.trainer import FairTrainer
from fairtune.training.watch import Watch

CAPTURABLE = ("bf16", "fp32")
# Capturing a graph takes as long as replaying about this many steps (H200, RoBERTa-base's shape).
CAPTURE_STEPS = 5
# The last batch of an epoch may be short: each length may need two graphs.
MOST_LENGTHS = MOST_GRAPHS // 2


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves besides the model."""

    history: list[dict[str, float]]
    """Points of the loss curve."""
    validation: list[tuple[float, float]]
    """After each epoch: seconds of training so far, validation accuracy."""
    warm_up_seconds: float | None
    """Spent off the clock on each shape of batch, its capture included; None without a GPU."""
    steps: int
    captured_steps: int
    note: str
    """Why steps ran eagerly."""
    padded_lengths: list[int]
    padded_tokens: int
    tokens: int
    order_sha256: str
    optimizer: str


def graphs_mode(train: Train, device: Choice) -> tuple[str, str]:
    """Return auto, on or off, and why steps run eagerly where they do.

    Raises:
        UserError: graphs are asked for where there can be none.
    """
    able = device.type == "cuda" and device.precision in CAPTURABLE
    if train.cuda_graphs == "on" and not able:
        raise UserError(
            f"train.cuda_graphs: 'on' needs a CUDA GPU in bf16 or fp32; this is {device.type} in "
            f"{device.precision}: set auto or off"
        )
    if train.cuda_graphs == "off":
        return "off", "train.cuda_graphs is off"
    if not able:
        return "off", f"no CUDA graphs on {device.type} in {device.precision}"
    return train.cuda_graphs, "the first step makes the optimizer's state"


def padded_lengths(maxima: NDArray[np.int64]) -> list[int]:
    """Return the lengths to pad batches to where each length is captured once.

    Args:
        maxima: longest row of each batch of the run, shape (batches,).
    """
    return bucket_lengths(maxima, price=CAPTURE_STEPS * float(maxima.mean()), most=MOST_LENGTHS)


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
    label: str = "train",
) -> Trained:
    """Train a model on the rows and return what was seen.

    Args:
        model: a built model on the device, made fast by `speed.prepare`.
        rows: the encoded training split.
        train: what all methods share.
        learning_rate: peak learning rate.
        seed: seed of dropout and of the order of the rows.
        pad_token_id: id that fills up a batch.
        device: where and in which precision.
        meter: measures the loop.
        validate: returns the validation accuracy of the model as it is.
        label: name of the progress bar.

    Raises:
        UserError: the loss is no longer a number, or the memory does not suffice.
    """
    mode, note = graphs_mode(train, device)
    plan = BatchPlan(
        rows.lengths, batch_size=train.batch_size, seed=seed, group=train.group_by_length
    )
    dealt = [batch for epoch in range(train.epochs) for batch in plan.batches(epoch)]
    maxima = np.array([rows.lengths[batch].max() for batch in dealt])
    lengths = [] if mode == "off" else padded_lengths(maxima)
    collator = Collator(rows, pad_token_id=pad_token_id, lengths=lengths)
    of_shape: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
    for batch, longest in zip(dealt, maxima, strict=True):
        shape = (len(batch), collator.padded_length(int(longest)))
        of_shape.setdefault(shape, []).append(batch)
    shapes = sorted(of_shape, key=lambda shape: -shape[0] * shape[1])
    watch = Watch(meter=meter, plan=plan, progress=StepProgress(label), validate=validate)
    watch.every_epoch = train.validate_every_epoch
    with tempfile.TemporaryDirectory() as scratch:
        trainer = FairTrainer(
            plan=plan,
            shapes=shapes,
            graphs_wanted=mode,
            note=note,
            preparing=meter.preparing,
            model=model,
            args=arguments(
                train, learning_rate=learning_rate, seed=seed, device=device, folder=scratch
            ),
            train_dataset=Rows(rows),
            data_collator=collator,
            optimizer_cls_and_kwargs=optimizer(train, learning_rate, device=device, mode=mode),
            callbacks=[watch],
        )
        for printer in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(printer)
        # Frozen weights are cast once a forward pass either way, and graphs bear no cache.
        trainer.accelerator.autocast_handler = _no_cache()
        warmed = None
        try:
            if device.type == "cuda":
                examples = (collator(of_shape[shape][0].tolist()) for shape in shapes)
                warmed = warm_up(model, examples, device)
            trainer.train()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"out of GPU memory at train.batch_size {train.batch_size} and "
                f"encode.max_length {int(rows.lengths.max())}; lower one of them"
            ) from error
        finally:
            watch.progress.stop()
            meter.close()
    return _summary(trainer, watch, of_shape, warmed=warmed, rows=rows, train=train)


def _summary(
    trainer: FairTrainer,
    watch: Watch,
    of_shape: dict[tuple[int, int], list[NDArray[np.int64]]],
    *,
    warmed: float | None,
    rows: Encoded,
    train: Train,
) -> Trained:
    captured = trainer.graphs.captured if trainer.graphs else 0
    return Trained(
        history=watch.history,
        validation=watch.validation,
        warm_up_seconds=None
        if warmed is None
        else round(warmed + watch.meter.preparing_seconds, 3),
        steps=trainer.state.global_step,
        captured_steps=captured,
        note=trainer.note if captured < trainer.state.global_step else "",
        padded_lengths=sorted({length for _, length in of_shape}),
        padded_tokens=sum(s * length * len(batches) for (s, length), batches in of_shape.items()),
        tokens=int(rows.lengths.sum()) * train.epochs,
        order_sha256=trainer.plan.order_sha256(rows.row_ids, train.epochs),
        optimizer="AdamW (torch, fused)",
    )


def _no_cache() -> Any:
    from accelerate.utils import AutocastKwargs

    return AutocastKwargs(cache_enabled=False)


def optimizer(
    train: Train, learning_rate: float, *, device: Choice, mode: str
) -> tuple[type[ReplayableAdamW], dict[str, Any]]:
    """Return the optimizer's class and arguments: AdamW, fused, the same for all methods."""
    keywords: dict[str, Any] = {"lr": learning_rate, "fused": True}
    if mode != "off":
        keywords["capturable"] = True
    return ReplayableAdamW, keywords


def arguments(
    train: Train, *, learning_rate: float, seed: int, device: Choice, folder: str
) -> TrainingArguments:
    """Return the Trainer's arguments; nothing is saved, sent or evaluated by the Trainer itself."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        logging_steps=train.logging_steps,
        # The filter looks at every step's loss, which makes the host wait for the device.
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        bf16=device.precision == "bf16",
        fp16=device.precision == "fp16",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        accelerator_config={"non_blocking": True},
        seed=seed,
        label_names=[task.LABELS],
    )
