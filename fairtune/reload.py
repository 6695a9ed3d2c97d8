"""Prove that what was saved predicts what was recorded: load it in a new process and compare.

usage: python -m fairtune.reload METHOD SEED
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairtune.core import origins, params, paths, task, terminal
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.runs import token_cache
from fairtune.runs.store import read_training
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
    model = load(study, name=name, seed=seed, manifest=manifest, chosen=chosen)
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


def load(study: Params, *, name: str, seed: int, manifest: Mapping[str, Any], chosen: Any) -> Any:
    """Return the trained model from its folder: the whole model, or base and adapter.

    Args:
        study: the parameters.
        name: the method's.
        seed: the run's.
        manifest: what the encode stage says of the texts.
        chosen: the device.

    Raises:
        UserError: the weights are not there.
    """
    from peft import PeftModel

    from fairtune.models.build import head_modules
    from fairtune.models.last_token import settle_padding
    from fairtune.models.pretrained import auto_class, load_base, load_config

    pad_token_id = int(manifest["pad_token_id"])
    folder = paths.training_folder(name, seed) / paths.WEIGHTS
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: no weights here; run `dvc repro train@{name}-{seed}`")
    method = study.method(name)
    if method.adapter is None:
        # Classes that are named as Transformers would name them are not in what was saved.
        keys = task.config_keys(len(manifest["labels"]))
        whole = auto_class().from_pretrained(folder, use_safetensors=True, **keys)
        settle_padding(whole, pad_token_id)
        return whole.to(chosen.torch_device)
    config = load_config(study.model, labels=len(manifest["labels"]))
    head = study.model.head or head_modules(config)
    base, _ = load_base(study.model, method, config=config, head=head, device=chosen)
    settle_padding(base, pad_token_id)
    return PeftModel.from_pretrained(base, str(folder)).to(chosen.torch_device)


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
