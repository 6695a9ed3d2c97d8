"""How long trainings will take on this machine, told before they begin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairtune.core import paths, sources
from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.training.work import Dimensions, dimensions

if TYPE_CHECKING:  # they import torch
    from fairtune.hardware.device import Choice

# Passes forward through bare layers that take as long, measured with the embedded study on two AVX2
# cores in fp32: steps also have dropout, the adapter's own products, unpacked weights and the
# optimizer. An evaluation takes less than one, as the last layer ends with one token of each text.
EVALUATION, STEP, STEP_OF_ADAPTER, STEP_OF_QUANTIZED = 0.8, 3.0, 2.0, 2.4
# A stage starts, loads, saves and times single rows.
SECONDS_OF_A_STAGE = 6.0
# A trial is forked and loads; several do so at once.
SECONDS_OF_A_TRIAL = 1.0
# With less of the cores' time than this the probe tells of a busy machine, and that is said.
LEAST_HAD = 0.7


def model_size(study: Params) -> Dimensions | None:
    """Return the model's dimensions, None where its configuration is not on this machine."""
    folder = sources.local_path(study.model.name, key="model.name")
    file = (folder or Path()) / "config.json"
    if folder is None or not file.is_file():
        return None
    # Of a model cut to its first layers, those.
    return dimensions(
        json.loads(file.read_text(encoding="utf-8")),
        layers=study.model.model_dump().get("layers"),
    )


def mean_lengths(study: Params) -> dict[str, float]:
    """Return the mean tokens of each split's rows: as they were encoded, or the most they can be.

    Args:
        study: the parameters.
    """
    found = dict.fromkeys(paths.SPLITS, float(study.encode.max_length))
    manifest = paths.ENCODED / paths.MANIFEST
    if manifest.is_file():
        seen: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        if seen.get("max_length") == study.encode.max_length:
            found |= {split: float(of["mean_length"]) for split, of in seen["splits"].items()}
    return found


def step_passes(method: Method) -> float:
    """Return how many passes forward take as long as a step of a method."""
    if method.adapter is None:
        return STEP
    return STEP_OF_QUANTIZED if method.quantize else STEP_OF_ADAPTER


def seconds(
    study: Params,
    methods: Sequence[str],
    *,
    size: Dimensions,
    lengths: Mapping[str, float],
    rate: float,
) -> float:
    """Return the seconds that trainings take, one after another.

    Args:
        study: the parameters.
        methods: the method of each training.
        size: the model's dimensions.
        lengths: mean tokens of a row of each split.
        rate: floating point operations a second of passes forward through bare layers.
    """
    epochs, subset = study.train.epochs, study.subset
    passes = epochs if study.train.validate_every_epoch else 1
    evaluated = passes * size.forward(subset.validation, lengths["validation"])
    evaluated += size.forward(subset.test, lengths["test"])
    trained = epochs * size.forward(subset.train, lengths["train"])
    factors = [step_passes(study.method(name)) for name in methods]
    work = sum(factors) * trained + len(methods) * EVALUATION * evaluated
    return work / rate + len(methods) * SECONDS_OF_A_STAGE


def seconds_of_trials(
    study: Params,
    methods: Sequence[str],
    *,
    size: Dimensions,
    lengths: Mapping[str, float],
    rate: float,
) -> float:
    """Return the seconds that trials of learning rates take, without extensions of their ranges.

    On a processor each has a part of the cores, and all together do the same work in the same time.

    Args:
        study: the parameters.
        methods: the method of each trial.
        size: the model's dimensions.
        lengths: mean tokens of a row of each split.
        rate: floating point operations a second of passes forward through bare layers.
    """
    epochs, subset = study.search.epochs or study.train.epochs, study.subset
    evaluated = epochs * size.forward(subset.validation, lengths["validation"])
    trained = epochs * size.forward(subset.train, lengths["train"])
    work = sum(step_passes(study.method(name)) for name in methods) * trained
    work += len(methods) * EVALUATION * evaluated
    return work / rate + len(methods) * SECONDS_OF_A_TRIAL


def probed_rate(device: Choice, size: Dimensions, length: int) -> tuple[float, float]:
    """Return the floating point operations a second of one of the model's layers, measured.

    With them the share of the cores' time that the probe had.

    Args:
        device: a processor.
        size: the model's dimensions.
        length: tokens of a row.
    """
    from fairtune.hardware import speed

    layer = replace(size, layers=1, gated=False, queries=size.hidden, keys=size.hidden)
    took, had = speed.layer_seconds(
        device, hidden=size.hidden, heads=size.heads, inner=size.inner, length=length
    )
    return layer.forward(1, length) / took, had


def machine(device: Choice) -> str:
    """Return where trainings run and in which precision, for a person."""
    import torch

    if device.type != "cpu":
        return f"{device.name}, {device.precision}"
    cores = f"{device.threads} core{'s' if device.threads > 1 else ''}"
    return f"{cores} ({torch.backends.cpu.get_cpu_capability()}), {device.precision}"


def rounded(time: float) -> str:
    """Return seconds as a person would say them: to ten seconds, and from two minutes on to one."""
    if time < 115:
        return f"{max(10, 10 * round(time / 10))} seconds"
    if time < 5400:
        return f"{round(time / 60)} minutes"
    return f"{time / 3600:.1f} hours"


def promise(study: Params, methods: Sequence[str], trials: Sequence[str] = ()) -> str:
    """Return what the trainings will run on and, where that can be told, how long they will take.

    Args:
        study: the parameters.
        methods: the method of each training to run.
        trials: the method of each trial of a learning rate to run before.

    Raises:
        UserError: the device or the precision asked for is not there, or the methods would not
            train alike on it.
    """
    from fairtune.hardware import device

    chosen = device.choose(study.train)
    if chosen.type == "cuda":
        from fairtune.training.plan import check_alike

        check_alike(study, chosen)
    what = " and ".join(
        f"{len(some)} {name}{'s' if len(some) > 1 else ''}"
        for some, name in ((trials, "trial"), (methods, "training"))
        if some
    )
    what += " to run"
    size = model_size(study)
    # A GPU's steps are replayed as graphs, of which a probe of a second tells nothing.
    if chosen.type != "cpu" or size is None:
        return f"{machine(chosen)}: {what}"
    lengths = mean_lengths(study)
    rate, had = probed_rate(chosen, size, max(1, round(lengths["train"])))
    total = seconds(study, methods, size=size, lengths=lengths, rate=rate)
    total += seconds_of_trials(study, trials, size=size, lengths=lengths, rate=rate)
    busy = " if others go on using the cores" if had < LEAST_HAD else ""
    return f"{machine(chosen)}: {what}, about {rounded(total)}{busy}"
