"""Train a built model with the Hugging Face Trainer, measured from outside."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers.trainer import Trainer
from transformers.trainer_callback import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments

from fairtune.batches import BatchPlan, Collator, Rows, bucket_lengths
from fairtune.device import Choice
from fairtune.encoded import Encoded
from fairtune.errors import UserError, one_line
from fairtune.graphs import MOST_GRAPHS, ReplayableAdamW, StepGraphs
from fairtune.measure import Meter
from fairtune.params import Train
from fairtune.progress import StepProgress

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


class FairTrainer(Trainer):
    """The Trainer with a fixed plan of batches and, on CUDA, captured steps.

    What the Trainer offers (schedules, callbacks, clipping, logging, resuming) stays in force: a
    captured step does what `training_step`, the clipping and the optimizer's step would have done.
    """

    def __init__(
        self,
        *,
        plan: BatchPlan,
        shapes: list[tuple[int, int]],
        graphs_wanted: str,
        note: str,
        preparing: Callable[[], AbstractContextManager[None]],
        **keywords: Any,
    ) -> None:
        """Take batches of these shapes from `plan`.

        Args:
            plan: deals the batches.
            shapes: of the batches, rows and padded length, most tokens first.
            graphs_wanted: auto, on or off.
            note: why steps run eagerly where they do.
            preparing: keeps what is done within it off the clock.
            keywords: the Trainer's own.
        """
        self.plan = plan
        self.shapes = shapes
        self.graphs_wanted = graphs_wanted
        self.note = note
        self.preparing = preparing
        self.graphs: StepGraphs | None = None
        self.replayed_norm: torch.Tensor | None = None
        super().__init__(**keywords)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the plan, on the device."""
        loader: DataLoader[Any] = DataLoader(
            cast("Rows", self.train_dataset),
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Replay the step as a graph where there can be one, else run it as the Trainer does."""
        self.replayed_norm = None
        # The first step runs eagerly: it makes the optimizer's state and loads the libraries.
        if self.graphs_wanted == "off" or not self.optimizer.state:  # type: ignore[union-attr]
            return super().training_step(model, inputs)
        try:
            if self.graphs is None:
                with self.preparing():
                    self.graphs = self._capture(model, inputs)
            if self.graphs.fits(inputs):
                loss, self.replayed_norm = self.graphs.step(inputs)
                return loss
            self.note = "more shapes of batches than graphs"
        except RuntimeError as error:
            # All graphs at once may hold more than one eager step, which is then tried.
            if isinstance(error, torch.OutOfMemoryError) and self.graphs_wanted == "on":
                raise
            failed = f"capture failed: {one_line(error)[:120]}"
            if self.graphs_wanted == "on":
                raise UserError(f"train.cuda_graphs: 'on', but {failed}; set auto") from error
            self.graphs_wanted, self.note = "off", failed
        if self.graphs_wanted == "off":  # just now: what the graphs took is free again
            torch.cuda.empty_cache()
        return super().training_step(model, inputs)

    def _capture(self, model: Any, inputs: dict[str, Any]) -> StepGraphs:
        model.train()
        optimizer = self.optimizer.optimizer  # type: ignore[union-attr]
        assert isinstance(optimizer, ReplayableAdamW)
        graphs = StepGraphs(
            loss_of=lambda batch: cast("torch.Tensor", self.compute_loss(model, batch)),
            parameters=[parameter for parameter in model.parameters() if parameter.requires_grad],
            optimizer=optimizer,
            max_norm=self.args.max_grad_norm,
            shapes=self.shapes,
        )
        graphs.capture(inputs)
        return graphs

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip, unless the graph did."""
        if self.replayed_norm is not None:
            return self.replayed_norm
        return super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> None:
        """Leave the mean over the batch to the model: there is no gradient accumulation."""

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the estimate walks through all parameters at every step."""
        return 0


class Watch(TrainerCallback):
    """Starts and stops the meter, validates between epochs off the clock, keeps the loss curve."""

    def __init__(
        self,
        *,
        meter: Meter,
        plan: BatchPlan,
        progress: StepProgress,
        validate: Callable[[], float],
    ) -> None:
        """Watch one training."""
        self.meter = meter
        self.plan = plan
        self.progress = progress
        self.validate = validate
        self.every_epoch = True
        self.history: list[dict[str, float]] = []
        self.validation: list[tuple[float, float]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock."""
        self.progress.start(state.max_steps)
        self.meter.start()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Let the plan deal this epoch's batches."""
        self.plan.epoch = round(state.epoch or 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the step; the last is logged always, so that no loss goes unseen."""
        self.meter.mark_step()
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keep a point of the loss curve."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} at step {state.global_step}; lower this method's "
                "learning_rate, or set train.precision to fp32"
            )
        epoch = round(state.epoch or 0.0, 4)
        self.history.append({"step": state.global_step, "epoch": epoch, "loss": round(loss, 6)})
        self.progress.update(state.global_step, loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate, off the clock."""
        if self.every_epoch or state.global_step >= state.max_steps:
            with self.meter.paused():
                accuracy = self.validate()
            self.validation.append((round(self.meter.seconds, 3), accuracy))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop the clock."""
        self.meter.stop()
        self.progress.stop()


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
                loss = model(**inputs).loss
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
        label_names=["labels"],
    )
