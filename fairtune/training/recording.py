"""What is written down of a training: its record and its weights."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairtune.core.params import Params
from fairtune.core.units import MIB
from fairtune.runs.record import Rows, RunRecord, Times
from fairtune.runs.token_cache import Encoded

if TYPE_CHECKING:  # both import torch
    from fairtune.hardware.meter import Meter
    from fairtune.training.loop import Trained

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


def rows_fed(manifest: dict[str, Any], splits: dict[str, Encoded], trained: Trained) -> Rows:
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


def times_of(
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
