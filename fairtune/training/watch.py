"""What is called from within the Trainer's loop: the watch over it, and an adapter's own work.

The watch keeps the clock, the validation between epochs, the loss curve and the progress bar.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers.trainer_callback import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments

from fairtune.core.errors import DivergedError
from fairtune.core.terminal import StepProgress
from fairtune.hardware.meter import Meter
from fairtune.training.batches import BatchPlan


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
        self.progress.start()
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
        # A GPU may be many steps behind, but for the first: the next waits for it, or is captured.
        if state.global_step == 1 or self.meter.device.type == "cpu":
            self.progress.step_done(state.global_step, self._now())

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
            raise DivergedError(
                f"the loss became {loss} at step {state.global_step}; lower this method's "
                "learning_rate, or set train.precision to fp32"
            )
        epoch = round(state.epoch or 0.0, 4)
        self.history.append({"step": state.global_step, "epoch": epoch, "loss": round(loss, 6)})
        self.progress.step_done(state.global_step, self._now(), loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate, off the clock."""
        if self.every_epoch or state.global_step >= state.max_steps:
            before = self.meter.paused_seconds
            with self.meter.paused():
                accuracy = self.validate()
            self.progress.pause_done(self.meter.paused_seconds - before)
            self.validation.append((round(self.meter.seconds, 3), accuracy))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop the clock."""
        self.meter.stop()
        self.progress.stop()

    def _now(self) -> float:
        """Return the seconds of a clock that stands still off the meter's."""
        return time.perf_counter() - self.meter.paused_seconds - self.meter.preparing_seconds


class AfterStep(TrainerCallback):
    """Lets an adapter do its work after each step, while the step's gradients are still there."""

    def __init__(self, work: Callable[[int], None]) -> None:
        """Call `work` with the number of steps done."""
        self.work = work

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Do it; the Trainer counts the step only afterwards."""
        # A step in fp16 whose gradients overflowed is skipped: they say nothing.
        if not getattr(optimizer, "step_was_skipped", False):
            self.work(state.global_step + 1)
