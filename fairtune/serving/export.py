"""Put a trained model into a folder that can be handed on: weights, tokenizer, classes, card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.files import fresh_folder
from fairtune.core.params import Params
from fairtune.runs import token_cache
from fairtune.runs.predictions import Predictions
from fairtune.runs.token_cache import Encoded
from fairtune.serving.artefact import Artefact, Form, check_place
from fairtune.serving.card import write_card
from fairtune.serving.classify import choose_device
from fairtune.serving.licences import CARD
from fairtune.serving.merging import DTYPES, HINT, load_plain, merge
from fairtune.training.prediction import predict
from fairtune.training.weights import TOKENIZER_CONFIG, name_base

# Largest difference of a probability between the folder's model and the trained one, by the type
# of the weights in it. Both compute in fp32: merging rounds each weight once, bf16 to 8 bits.
TOLERANCE = {"fp32": 0.001, "bf16": 0.05}
# Files of the weights and what describes them; the others are the tokenizer's.
OF_WEIGHTS = re.compile(r"\.safetensors(\.index\.json)?$|^(adapter_)?config\.json$")


@dataclass(frozen=True, kw_only=True)
class Check:
    """How far the model of a folder is from the trained one, on the test rows."""

    rows: int
    largest_difference: float
    """Of a class probability."""
    changed: int
    """Rows whose predicted class is another."""
    dtype: str
    """Of the weights in the folder."""
    exact: bool
    """Whether it was merged into the weights that it was trained on."""
    how: str = "Loaded again from its folder"
    """What the folder's model was asked by."""

    def __str__(self) -> str:
        """Return it in words."""
        of = "the trained one" if self.exact else "the trained one, with weights in 4 bits,"
        said = (
            f"{self.how}, the model differs from {of} by at most "
            f"{self.largest_difference:.2g} in a probability on {self.rows:,} test rows"
        )
        bound = f" (tolerance {TOLERANCE[self.dtype]:g})" if self.exact else ""
        return f"{said}{bound}, and names another class in {self.changed:,}."


def export_adapter(study: Params, artefact: Artefact, folder: Path) -> None:
    """Write adapter, head, tokenizer and card.

    Raises:
        UserError: the method trains no adapter, or the folder is no place for it.
    """
    if artefact.form == "whole":
        raise UserError(
            f"--to adapter: {artefact.record.method} trains the whole model; use --to merged"
        )
    with place(folder) as part:
        copy_files(artefact, part, weights=True)
        name_base(part, artefact.model)
        write_files(part, study, artefact, form="adapter")


def export_whole(
    study: Params, artefact: Artefact, folder: Path, *, dtype: str, dequantize: bool, wanted: str
) -> Check:
    """Write a model that needs no other, and check it against the trained one on the test rows.

    Args:
        study: the parameters, Hub revisions as commits.
        artefact: the finished training.
        folder: where to write; it is there only once all is right.
        dtype: of the weights, fp32 or bf16.
        dequantize: merge an adapter of 4-bit weights into the model's own.
        wanted: kind of device, as `train.device`.

    Raises:
        UserError: the weights are in 4 bits, the adapter cannot be merged, the folder is no place
            for it, or the model in it predicts otherwise than the trained one.
    """
    check_bits(artefact, kind="merged", dequantize=dequantize)
    examiner = examine(artefact, wanted)
    with place(folder) as part:
        expected = examiner.ask(artefact.load(examiner.device, pad_token_id=examiner.pad_token_id))
        copy_files(artefact, part, weights=False)
        plain = without_adapter(artefact, examiner, dtype=DTYPES[dtype])
        plain.save_pretrained(part)
        found = examiner.ask(load_plain(part, examiner.device.torch_device))
        check = Check(
            rows=len(examiner.rows),
            largest_difference=float(np.abs(found.probabilities - expected.probabilities).max()),
            changed=int((found.predicted != expected.predicted).sum()),
            dtype=dtype,
            exact=artefact.method.quantize is None,
        )
        if check.exact and check.largest_difference > TOLERANCE[dtype]:
            raise UserError(f"--to merged: {check} Nothing was written; {HINT}")
        write_files(part, study, artefact, form="whole", check=str(check))
    return check


def check_bits(artefact: Artefact, *, kind: str, dequantize: bool) -> None:
    """Refuse to merge into weights in 4 bits unless it is asked for.

    Raises:
        UserError: it was not.
    """
    if artefact.method.quantize is not None and not dequantize:
        raise UserError(
            f"--to {kind}: the frozen weights of {artefact.record.method} are in 4 bits, and "
            "merging would change them: add --dequantize to merge into the pretrained model's own "
            "weights (it then predicts otherwise, and the export says by how much), or "
            "use --to adapter"
        )


def without_adapter(artefact: Artefact, examiner: Examiner, *, dtype: Any) -> Any:
    """Return the trained model without an adapter, its weights of this type."""
    model = artefact.load(examiner.device, pad_token_id=examiner.pad_token_id, dequantized=True)
    if artefact.form == "adapter":
        return merge(model, dtype)
    model.config.dtype = dtype
    return model.to(dtype)


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """Asks models about the test rows, all in fp32."""

    rows: Encoded
    pad_token_id: int
    batch_size: int
    device: Any

    def ask(self, model: Any) -> Predictions:
        """Return what a model says."""
        return predict(
            model,
            self.rows,
            batch_size=self.batch_size,
            pad_token_id=self.pad_token_id,
            device=self.device,
        )


def examine(artefact: Artefact, wanted: str) -> Examiner:
    """Return what asks models about the rows that a training was tested on.

    Raises:
        UserError: they are not there any more, or the device is not.
    """
    rows = token_cache.read(paths.ENCODED / "test.parquet")
    if rows.row_ids != artefact.run.predictions.row_ids:
        raise UserError(
            f"{paths.ENCODED}: other rows than {artefact.name} was tested on; run `dvc repro`"
        )
    train = artefact.train.model_copy(update={"device": wanted, "precision": "fp32"})
    return Examiner(
        rows=rows,
        pad_token_id=artefact.tokenizer().pad_token_id,
        batch_size=train.evaluation_batch_size,
        device=choose_device(train),
    )


@contextmanager
def place(folder: Path) -> Iterator[Path]:
    """Yield a folder that becomes this one once all is in it.

    Raises:
        UserError: it holds something already, or lies where nothing may be written.
    """
    check_place(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' is there already, and not empty: name a new folder")
    with fresh_folder(folder) as part:
        yield part


def copy_files(artefact: Artefact, folder: Path, *, weights: bool) -> None:
    """Copy what lies with the weights: the tokenizer, and the weights with their configuration."""
    if not (artefact.folder / TOKENIZER_CONFIG).exists():
        artefact.tokenizer()  # says what to do
    for path in sorted(artefact.folder.iterdir()):
        if path.is_dir() and weights:
            shutil.copytree(path, folder / path.name)
        elif path.is_file() and (weights or not OF_WEIGHTS.search(path.name)):
            shutil.copyfile(path, folder / path.name)


def write_files(
    folder: Path, study: Params, artefact: Artefact, *, form: Form, check: str = ""
) -> None:
    """Write the card, which names what was found of the folder."""
    card = write_card(study, artefact, form=form, check=check)
    (folder / CARD).write_text(card, encoding="utf-8")
