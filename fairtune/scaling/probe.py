"""One point of the scaling sweep: one pass of the trainings' own loop over rows of some size."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from fairtune.training.start import look_at_gpu, set_up_process

set_up_process()  # before the libraries are imported: they read it then

import numpy as np  # noqa: E402
import torch  # noqa: E402

from fairtune.acceleration.prepare import prepare  # noqa: E402
from fairtune.core.errors import UserError  # noqa: E402
from fairtune.core.method import Method  # noqa: E402
from fairtune.core.params import Model, Params  # noqa: E402
from fairtune.hardware.device import choose  # noqa: E402
from fairtune.hardware.meter import Meter  # noqa: E402
from fairtune.models import footprint, uncaptured  # noqa: E402
from fairtune.models.build import build  # noqa: E402
from fairtune.runs.token_cache import Encoded  # noqa: E402
from fairtune.scaling.encoders import CLASSES, SEED, encoders  # noqa: E402
from fairtune.scaling.isolation import BusyError, MeasureError  # noqa: E402
from fairtune.scaling.point import OWN, Cost, Machine, Size  # noqa: E402
from fairtune.training.batches import batches_of  # noqa: E402
from fairtune.training.loop import Trained, train_model  # noqa: E402
from fairtune.training.plan import graphs_mode  # noqa: E402


def describe(study: Params) -> Machine:
    """Return the device, which must be free and work, and the encoders of the sweep there.

    Raises:
        UserError: the parameters name a device, a precision or a model that cannot be had.
    """
    look_at_gpu(study.train)
    chosen = choose(study.train)
    torch.zeros(1, device=chosen.torch_device)  # a fork that cannot use CUDA fails here
    return Machine(
        type=chosen.type,
        name=chosen.name,
        precision=chosen.precision,
        encoders=encoders(study.model, on_gpu=chosen.type == "cuda"),
    )


def random_rows(size: Size, *, vocabulary: int) -> Encoded:
    """Return rows of random token ids, all of one length; no id is a special token's."""
    drawn = np.random.default_rng(SEED)
    shape = (size.rows, size.max_length)
    return Encoded(
        row_ids=[f"train/{row}" for row in range(size.rows)],
        labels=drawn.integers(0, CLASSES, size.rows),
        tokens=drawn.integers(vocabulary // 2, vocabulary, shape).astype(np.int32).ravel(),
        offsets=np.arange(size.rows + 1) * size.max_length,
    )


def measure(study: Params, method: Method, *, name: str, size: Size, folder: Path) -> Cost:
    """Train one method for one pass over random rows, by the study's own settings.

    Args:
        study: the parameters; rows, length, batch and epochs are the point's.
        method: the method's block.
        name: its name, for errors.
        size: what the point varies.
        folder: of the encoder's checkpoint where it is not the study's own; takes scratch files.

    Raises:
        UserError: the parameters are not right.
        BusyError: another process uses the GPU.
        MeasureError: the training failed.
    """
    tempfile.tempdir = str(folder)
    train = study.train.model_copy(
        update={
            "epochs": 1, "batch_size": size.batch_size, "validate_every_epoch": False,
            "allow_busy_gpu": True,
            # The labels are random, and the weighting costs nothing.
            "class_weights": "none",
        }
    )  # fmt: skip
    base = look_at_gpu(train)
    if base.busy and not study.train.allow_busy_gpu:
        raise BusyError(base.busy)
    chosen = choose(train)
    # A point tells no energy, and is not to wait for the idle power.
    meter = Meter(device=chosen, base=dataclasses.replace(base, joules=None))
    meter.prepare()
    model = study.model if size.encoder == OWN else Model(name=str(folder))
    built = build(
        model, method, name=name, labels=CLASSES, device=chosen, seed=SEED,
        steps=batches_of(size.rows, size.batch_size),
    )  # fmt: skip
    graphs_mode(train, chosen, eager=uncaptured.of_model(built.model))
    prepare(built.model, chosen)
    held = footprint.predict(built.model)
    config = built.model.config
    try:
        trained = train_model(
            built.model,
            random_rows(size, vocabulary=int(config.vocab_size)),
            train=train,
            learning_rate=method.any_rate,
            seed=SEED,
            pad_token_id=config.pad_token_id or 0,
            device=chosen,
            meter=meter,
            validate=lambda: 0.0,
        )
    except UserError as error:  # the parameters were checked above
        raise MeasureError(str(error)) from error
    return _cost(trained, meter, held_mib=held.total_mib)


def _cost(trained: Trained, meter: Meter, *, held_mib: float) -> Cost:
    steps = meter.steps.milliseconds()
    step = float(np.median(steps)) / 1000 if steps else meter.seconds / trained.steps
    memory = meter.memory().model_dump()
    return Cost(
        pass_seconds=round(meter.seconds, 4),
        step_seconds=round(step, 5),
        memory={key: value for key, value in memory.items() if key.endswith("_mib")},
        held_mib=round(held_mib, 1),
        captured=round(trained.captured_steps / trained.steps, 4),
        eager=trained.note,
    )
