"""One run from start to finish: build, train, predict, save, record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairtune import encoded as cache
from fairtune import layout, nvml, progress
from fairtune.encoded import Encoded
from fairtune.errors import UserError
from fairtune.files import read_json
from fairtune.params import Params
from fairtune.results import Accuracy, Device, Execution, Rows, Run, RunRecord, Times

if TYPE_CHECKING:  # both import torch
    from fairtune.measure import Meter
    from fairtune.training import Trained

MIB = 2**20
# Rounds that an idle thread of libgomp spins before it sleeps. Left to spin for long, as it does by
# itself, it takes the core from whoever else computes: on two cores with a third busy process a
# step takes 1.9 s so, and 0.6 s with this; on a quiet machine there is no difference.
SPIN_ROUNDS = "10000"
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


def run(study: Params, *, name: str, seed: int, weights: Path, started: float) -> Run:
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
    progress.quiet_libraries()
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_ROUNDS)
    os.environ.setdefault(*nvml.COUNT_BY_PLACE)
    manifest = read_json(layout.ENCODED / layout.MANIFEST, made_by="encode")
    splits = {s: cache.read(layout.ENCODED / f"{s}.parquet") for s in layout.SPLITS}
    # Before torch, and with it CUDA, is imported: what the GPU holds now is others'.
    from fairtune import measure

    base = measure.baseline(
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

    from fairtune import breakdown, device, measure, methods, prediction, speed, training

    method = study.method(name)
    chosen = device.choose(study.train)
    meter = measure.Meter(device=chosen, base=base)
    meter.prepare()
    times = {"import_seconds": time.perf_counter() - started}
    lap = time.perf_counter()
    try:
        built = methods.build(
            study.model, method, name=name, labels=len(manifest["labels"]), device=chosen, seed=seed
        )
        speed.prepare(built.model, chosen)
        chosen.synchronize()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"methods.{name}: the GPU's memory does not hold the model {study.model.name}; set "
            "quantize, or take a smaller model"
        ) from error
    times["load_seconds"] = time.perf_counter() - lap
    predicted = breakdown.predict(built.model)
    passing = {
        "batch_size": study.train.evaluation_batch_size,
        "pad_token_id": manifest["pad_token_id"],
        "device": chosen,
    }

    def validate() -> float:
        seen = prediction.predict(built.model, splits["validation"], **passing)
        return round(float(seen.correct.mean()), 6)

    trained = training.train_model(
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
    inference = prediction.inference(built.model, splits["test"], **passing)
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
        data=_rows(manifest, splits, trained),
        device=Device(
            type=chosen.type,
            name=chosen.name,
            precision=chosen.precision,
            reason=chosen.reason,
            threads=chosen.threads,
            driver=measure.driver(chosen),
            busy=base.busy,
        ),
        versions=versions(),
        counts=built.counts,
        times=_times(times, meter, trained, rows=len(splits["train"]), study=study),
        memory=memory,
        predicted=predicted,
        energy=meter.energy(),
        inference=inference,
        audit=built.audit,
        execution=Execution(
            captured_steps=trained.captured_steps,
            eager_steps=trained.steps - trained.captured_steps,
            note=trained.note,
            attention=str(getattr(built.model.config, "_attn_implementation", "unknown")),
            optimizer=trained.optimizer,
        ),
        accuracy=Accuracy(
            test=round(float(predictions.correct.mean()), 6),
            validation=by_epoch[-1],
            validation_by_epoch=by_epoch if study.train.validate_every_epoch else [],
        ),
        shipped_mib=shipped,
        head_sha256=built.head_sha256,
    )
    return Run(record=record, history=trained.history, predictions=predictions)


def _rows(manifest: dict[str, Any], splits: dict[str, Encoded], trained: Trained) -> Rows:
    """Return what was trained on, and how it was batched."""
    return Rows(
        subset_sha256=manifest["subset_sha256"],
        encoded_sha256=splits["train"].sha256(),
        order_sha256=trained.order_sha256,
        rows={split: len(rows) for split, rows in splits.items()},
        labels=manifest["labels"],
        steps=trained.steps,
        tokens=trained.tokens,
        padded_tokens=trained.padded_tokens,
        padded_lengths=trained.padded_lengths,
    )


def _times(
    laps: dict[str, float],
    meter: Meter,
    trained: Trained,
    *,
    rows: int,
    study: Params,
) -> Times:
    """Return the seconds of each part of a run, and what follows from those of the training."""
    median, p90 = meter.step_summary()
    seconds = round(meter.seconds, 3)
    return Times(
        **{key: round(value, 3) for key, value in laps.items()},
        warm_up_seconds=trained.warm_up_seconds,
        train_seconds=seconds,
        validation_seconds=round(meter.paused_seconds, 3),
        samples_per_second=round(rows * study.train.epochs / seconds, 2),
        step_median_ms=median,
        step_p90_ms=p90,
        seconds_to_95_percent=time_to_share(trained.validation, 0.95),
        seconds_to_99_percent=time_to_share(trained.validation, 0.99),
    )


def time_to_share(curve: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return the seconds until accuracy first reached a share of its best; None without a curve."""
    if len(curve) < 2:
        return None
    best = max(accuracy for _, accuracy in curve)
    return next(seconds for seconds, accuracy in curve if accuracy >= share * best)


def save(model: Any, folder: Path) -> float:
    """Write what must be shipped as safetensors; return its size in MiB."""
    folder.mkdir(parents=True)
    # PEFT would ask the Hub for the base model's vocabulary to decide on the embeddings.
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **options)
    return round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / MIB, 3)


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
    """Return one line for the log."""
    return (
        f"train: {record.method} seed {record.seed}: accuracy {record.accuracy.test:.4f}, "
        f"{record.times.train_seconds:.1f} s, {record.counts.trainable:,} trained parameters, "
        f"{record.device.type} {record.device.precision}"
    )
