"""One trial: a training at one rate with one seed, validated after each epoch and never tested.

It measures neither time nor memory for anybody to compare, so that it may share its device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtune.core.errors import DivergedError
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.meter import Meter
from fairtune.runs.predictions import Predictions
from fairtune.runs.search import Trial
from fairtune.search import room
from fairtune.training.batches import batches_of
from fairtune.training.job import Job
from fairtune.training.loop import Trained, train_model
from fairtune.training.prediction import predict
from fairtune.training.run import load

# By then a GPU's graphs are captured, and the optimizer's state is there.
TELLING_STEP = 4


class TrialMeter(Meter):
    """A meter that samples nothing, and tells once what the trial holds of the device's memory."""

    def __init__(
        self, *, device: device.Choice, base: Baseline, tell: Callable[[int, int], None]
    ) -> None:
        """Tell the bytes held and free after the first few steps, or at the end of fewer."""
        super().__init__(device=device, base=base, sample=False)
        self.tell: Callable[[int, int], None] | None = tell
        self.seen = 0

    def mark_step(self) -> None:
        """Note the end of a step."""
        super().mark_step()
        self.seen += 1
        if self.seen == TELLING_STEP:
            self.say()

    def say(self) -> None:
        """Tell, once."""
        if self.tell is not None:
            self.tell(*room.held_and_free(on_gpu=self.device.type == "cuda"))
            self.tell = None


@dataclass
class Seen:
    """What the validations of a trial saw, one entry an epoch."""

    accuracy: list[float]
    loss: list[float | None]
    confusion: NDArray[np.int64]
    """After the last of them, true by predicted class."""

    def add(self, found: Predictions) -> float:
        """Take in the predictions of an epoch; return their accuracy."""
        right = float(found.correct.mean())
        shares = found.probabilities[np.arange(len(found.labels)), found.labels]
        # A share too small for fp32 counts as the smallest that it holds.
        sure = np.maximum(shares.astype(np.float64), np.finfo(np.float32).tiny)
        self.accuracy.append(round(right, 6))
        self.loss.append(round(float(-np.log(sure).mean()), 6))
        self.confusion = crossed(found.labels, found.predicted, self.confusion.shape[0])
        return right

    def give_up(self, labels: NDArray[np.int64], epochs: int) -> None:
        """Count the epochs that gave no numbers as naming the commonest class."""
        classes = self.confusion.shape[0]
        commonest = int(np.bincount(labels, minlength=classes).argmax())
        named = np.full_like(labels, commonest)
        self.confusion = crossed(labels, named, classes)
        missing = epochs - len(self.accuracy)
        self.accuracy += [round(float((labels == commonest).mean()), 6)] * missing
        self.loss += [None] * missing


def crossed(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return the rows by true and predicted class, (classes, classes)."""
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def run_trial(job: Job, *, round_: int, tell: Callable[[int, int], None]) -> Trial:
    """Train at the rate of the job's method, and validate after each epoch.

    Args:
        job: the method with its rate, the seed, and the rows; those to test on are not looked at.
        round_: 0 for the range asked for, 1 and 2 for its extensions.
        tell: is told once how many bytes of the device's memory the trial holds and how many are
            free beside it.

    Raises:
        UserError: something in the parameters, the data or the machine is not right.
    """
    began = time.perf_counter()
    train = job.study.train
    chosen = device.choose(train)
    meter = TrialMeter(device=chosen, base=Baseline(at=began), tell=tell)
    model = load(job, chosen).model
    rows = job.splits["validation"]
    empty = np.zeros((job.classes, job.classes), dtype=np.int64)
    seen, diverged, trained = Seen([], [], empty), "", None

    def validate() -> float:
        return seen.add(
            predict(
                model,
                rows,
                batch_size=train.evaluation_batch_size,
                pad_token_id=job.pad_token_id,
                device=chosen,
            )
        )

    try:
        trained = train_model(
            model,
            job.splits["train"],
            train=train,
            learning_rate=job.method.rate,
            seed=job.seed,
            pad_token_id=job.pad_token_id,
            device=chosen,
            meter=meter,
            validate=validate,
            validated=rows,
        )
    except DivergedError as error:
        diverged = str(error)
        seen.give_up(rows.labels, train.epochs)
    meter.say()
    return Trial(
        rate=job.method.rate,
        seed=job.seed,
        round=round_,
        accuracy=seen.accuracy,
        loss=seen.loss,
        confusion=seen.confusion.tolist(),
        steps=steps_of(job, trained),
        seconds=round(time.perf_counter() - began, 3),
        diverged=diverged,
    )


def steps_of(job: Job, trained: Trained | None) -> int:
    """Return the optimizer steps of a trial: those done, or those that it was given."""
    if trained is not None:
        return trained.steps
    train = job.study.train
    return train.epochs * batches_of(len(job.splits["train"]), train.batch_size)
