"""Show that captured steps train as eager ones do: the same loss curve, method by method.

usage: python -m benchmarks.equality [--rows N] [--encoded FOLDER]

Dropout is off, because its random stream differs between the two. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from fairtune.core import params, paths, terminal

terminal.quiet_libraries()

from benchmarks.shapes import write_roberta  # noqa: E402
from fairtune.acceleration.prepare import prepare  # noqa: E402
from fairtune.core.errors import UserError, run  # noqa: E402
from fairtune.hardware import device  # noqa: E402
from fairtune.hardware.baseline import Baseline  # noqa: E402
from fairtune.hardware.meter import Meter  # noqa: E402
from fairtune.models.build import build  # noqa: E402
from fairtune.runs import token_cache  # noqa: E402
from fairtune.training import inference, loop  # noqa: E402
from fairtune.training.batches import batches_of  # noqa: E402

# Sums of the same fp32 numbers in another order differ by far less.
TOLERANCE = 0.002


def curve(
    study: params.Params, rows: Any, *, name: str, mode: str, model: params.Model
) -> list[float]:
    """Return the loss curve of a short training with graphs on or off."""
    train = study.train.model_copy(
        update={
            "cuda_graphs": mode,
            "epochs": 2,
            "allow_busy_gpu": True,
            "logging_steps": 5,
            # Sharper than bf16, in which rounding alone moves the curve.
            "precision": "fp32",
        }
    )
    chosen = device.choose(train)
    block = study.methods[name]
    if "lora_dropout" in block.keywords:
        block = block.model_copy(update={"lora_dropout": 0.0})
    steps = train.epochs * batches_of(len(rows), train.batch_size)
    built = build(model, block, name=name, labels=2, device=chosen, seed=1, steps=steps)
    prepare(built.model, chosen)
    trained = loop.train_model(
        built.model,
        rows,
        train=train,
        learning_rate=2e-5 if block.adapter is None else 5e-4,
        seed=1,
        pad_token_id=1,
        device=chosen,
        meter=Meter(device=chosen, base=Baseline(), sample=False),
        validate=lambda: 0.0,
    )
    captured = trained.captured_steps
    if (captured > 0) != (mode == "on"):
        raise UserError(f"{name}: {captured} of {trained.steps} steps captured in mode {mode}")
    return [point["loss"] for point in trained.history]


def main() -> None:
    """Compare both modes for every method of the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=480)
    parser.add_argument("--encoded", default=str(paths.ENCODED))
    words = parser.parse_args()
    study = params.load()
    rows = inference.slice_rows(token_cache.read(Path(words.encoded) / "train.parquet"), words.rows)
    folder = Path(tempfile.gettempdir()) / "fairtune-roberta-base-no-dropout"
    model = params.Model(name=str(write_roberta(folder, dropout=0.0)))
    print("| method | points | largest difference of the loss |\n|---|---|---|")
    for name in study.methods:
        off, on = (curve(study, rows, name=name, mode=mode, model=model) for mode in ("off", "on"))
        gap = max(abs(a - b) for a, b in zip(off, on, strict=True))
        print(f"| {name} | {len(on)} | {gap:.4f} |", flush=True)
        if gap > TOLERANCE:
            raise UserError(f"{name}: the curves differ by {gap:.4f}, more than {TOLERANCE}")


if __name__ == "__main__":
    run(main)
