"""Prove that what was saved predicts what was recorded: load it in a new process and compare.

usage: python -m fairtune.reload METHOD SEED
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import sys
from dataclasses import dataclass

import numpy as np

from fairtune.core import origins, params, paths, terminal
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.runs import token_cache
from fairtune.runs.store import read_training
from fairtune.serving.loading import load
from fairtune.training.start import arguments

# Largest difference of a probability. On one machine the two passes agree to the bit; bf16 on
# another processor rounds differently by up to about this much.
TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How far the reloaded model is from the recorded predictions."""

    rows: int
    largest_difference: float
    """Of a class probability."""
    changed: int
    """Rows whose predicted class is another."""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest_difference <= TOLERANCE


def prove(study: Params, *, name: str, seed: int) -> Proof:
    """Load a finished run's weights and predict the test rows again.

    Raises:
        UserError: the run or its weights are not there.
    """
    run = read_training(name, seed)
    manifest = read_json(paths.ENCODED / paths.MANIFEST, made_by="encode")
    rows = token_cache.read(paths.ENCODED / "test.parquet")
    if (rows.row_ids, rows.groups) != (run.predictions.row_ids, run.predictions.groups):
        raise UserError(
            f"{paths.training_folder(name, seed)}: tested on other rows; run `dvc repro`"
        )
    from fairtune.acceleration.prepare import prepare
    from fairtune.hardware import device
    from fairtune.training import prediction

    chosen = device.choose(study.train)
    model = load(
        study.model,
        study.method(name),
        folder=paths.training_folder(name, seed) / paths.WEIGHTS,
        labels=len(manifest["labels"]),
        pad_token_id=int(manifest["pad_token_id"]),
        chosen=chosen,
    )
    prepare(model, chosen, kernels=study.train.kernels)
    again = prediction.predict(
        model,
        rows,
        batch_size=study.train.evaluation_batch_size,
        pad_token_id=manifest["pad_token_id"],
        device=chosen,
    )
    gap = np.abs(again.probabilities - run.predictions.probabilities)
    return Proof(
        rows=len(rows),
        largest_difference=float(gap.max()),
        changed=int((again.predicted != run.predictions.predicted).sum()),
    )


def main() -> None:
    """Prove one run, or fail."""
    terminal.quiet_libraries()
    study = origins.pinned(params.load())
    name, seed = arguments(sys.argv[1:], study, command="fairtune.reload")
    proof = prove(study, name=name, seed=seed)
    line = (
        f"{name} seed {seed}: {proof.rows} rows predicted again, largest difference of a "
        f"probability {proof.largest_difference:.2g} (tolerance {TOLERANCE}), "
        f"{proof.changed} other classes"
    )
    if not proof.holds:
        raise UserError(f"{line}: the weights are not those of the record")
    print(f"reload: {line}")


if __name__ == "__main__":
    errors.run(main)
