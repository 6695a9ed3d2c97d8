"""One run from start to finish: build, train, predict, save, record."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairtune.core import paths, task, terminal
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.hardware import nvml
from fairtune.runs import token_cache
from fairtune.runs.record import Accuracy, Device, Execution, Run, RunRecord
from fairtune.runs.token_cache import Encoded
from fairtune.training.recording import rows_fed, save, times_of, versions

# Rounds that an idle thread of libgomp spins before it sleeps. Left to spin for long, as it does by
# itself, it takes the core from whoever else computes: on two cores with a third busy process a
# step takes 1.9 s so, and 0.6 s with this; on a quiet machine there is no difference.
SPIN_ROUNDS = "10000"


def arguments(
    words: Sequence[str], study: Params, *, command: str = "stages.train"
) -> tuple[str, int]:
    """Return method and seed from the command line.

    Raises:
        UserError: they are missing, or the study has no such method or seed.
    """
    if len(words) != 2 or not words[1].isdigit():
        raise UserError(f"usage: python -m {command} METHOD SEED")
    name, seed = words[0], int(words[1])
    study.method(name)
    if seed not in study.seeds:
        raise UserError(f"seed {seed} is not among the seeds {study.seeds} of params.yaml")
    return name, seed


def run_training(study: Params, *, name: str, seed: int, weights: Path, started: float) -> Run:
    """Train one method with one seed and write its weights.

    Args:
        study: the parameters.
        name: the method.
        seed: the seed.
        weights: folder to write the weights to.
        started: `time.perf_counter` when the process began.

    Raises:
        UserError: something in the parameters, the data or the machine is not right.
    """
    terminal.quiet_libraries()
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_ROUNDS)
    os.environ.setdefault(*nvml.COUNT_BY_PLACE)
    manifest = read_json(paths.ENCODED / paths.MANIFEST, made_by="encode")
    splits = {s: token_cache.read(paths.ENCODED / f"{s}.parquet") for s in paths.SPLITS}
    # Before torch, and with it CUDA, is imported: what the GPU holds now is others'.
    from fairtune.hardware.meter import baseline

    base = baseline(
        allow_busy=study.train.allow_busy_gpu,
        # A torch built for processors alone computes on no GPU, whoever holds it.
        wanted=study.train.device in ("auto", "cuda")
        and not versions().get("torch", "").endswith("+cpu"),
    )
    return _run(
        study, manifest, splits, base, name=name, seed=seed, weights=weights, started=started
    )


def _run(
    study: Params,
    manifest: dict[str, Any],
    splits: dict[str, Encoded],
    base: Any,
    *,
    name: str,
    seed: int,
    weights: Path,
    started: float,
) -> Run:
    import torch

    from fairtune.acceleration.prepare import prepare
    from fairtune.hardware import device
    from fairtune.hardware.meter import Meter, driver
    from fairtune.models import footprint
    from fairtune.models.build import build
    from fairtune.training import loop, prediction
    from fairtune.training.inference import inference

    method = study.method(name)
    chosen = device.choose(study.train)
    meter = Meter(device=chosen, base=base)
    meter.prepare()
    times = {"import_seconds": time.perf_counter() - started}
    lap = time.perf_counter()
    try:
        built = build(
            study.model, method, name=name, labels=len(manifest["labels"]), device=chosen, seed=seed
        )
        prepare(built.model, chosen)
        chosen.synchronize()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"methods.{name}: the GPU's memory does not hold the model {study.model.name}; set "
            "quantize, or take a smaller model"
        ) from error
    times["load_seconds"] = time.perf_counter() - lap
    predicted = footprint.predict(built.model)
    passing = {
        "batch_size": study.train.evaluation_batch_size,
        "pad_token_id": manifest["pad_token_id"],
        "device": chosen,
    }

    def validate() -> float:
        seen = prediction.predict(built.model, splits["validation"], **passing)
        return task.score(seen.correct)

    trained = loop.train_model(
        built.model,
        splits["train"],
        train=study.train,
        learning_rate=method.learning_rate,
        seed=seed,
        pad_token_id=manifest["pad_token_id"],
        device=chosen,
        meter=meter,
        validate=validate,
        label=f"{name} {seed}",
    )
    memory = meter.memory()
    lap = time.perf_counter()
    predictions = prediction.predict(built.model, splits["test"], **passing)
    times["test_seconds"] = time.perf_counter() - lap
    lap = time.perf_counter()
    shipped = save(built.model, weights)
    times["save_seconds"] = time.perf_counter() - lap
    speed = inference(built.model, splits["test"], **passing)
    by_epoch = [accuracy for _, accuracy in trained.validation]
    record = RunRecord(
        method=name,
        seed=seed,
        parameters={
            "model": study.model.model_dump(),
            "encode": study.encode.model_dump(),
            "train": study.train.model_dump(),
            "method": method.model_dump(),
        },
        data=rows_fed(manifest, splits, trained),
        device=Device(
            type=chosen.type,
            name=chosen.name,
            precision=chosen.precision,
            reason=chosen.reason,
            threads=chosen.threads,
            driver=driver(chosen),
            busy=base.busy,
        ),
        versions=versions(),
        counts=built.counts,
        times=times_of(times, meter, trained, rows=len(splits["train"]), study=study),
        memory=memory,
        predicted=predicted,
        energy=meter.energy(),
        inference=speed,
        audit=built.audit,
        execution=Execution(
            captured_steps=trained.captured_steps,
            eager_steps=trained.steps - trained.captured_steps,
            note=trained.note,
            attention=str(getattr(built.model.config, "_attn_implementation", "unknown")),
            optimizer=trained.optimizer,
        ),
        accuracy=Accuracy(
            test=task.score(predictions.correct),
            validation=by_epoch[-1],
            validation_by_epoch=by_epoch if study.train.validate_every_epoch else [],
        ),
        shipped_mib=shipped,
        head_sha256=built.head_sha256,
    )
    return Run(record=record, history=trained.history, predictions=predictions)
