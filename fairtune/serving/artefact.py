"""A finished training as it lies in `models/`: what it was, and how to use it.

All is as its record says, whatever the parameters say by now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairtune.core.errors import UserError, did_you_mean
from fairtune.core.method import Method
from fairtune.core.params import Encode, Model, Params, Train
from fairtune.core.paths import MODELS, WEIGHTS, training_folder
from fairtune.runs.record import Run, RunRecord
from fairtune.runs.store import read_training
from fairtune.serving.loading import load
from fairtune.training.weights import TOKENIZER_CONFIG

Form = Literal["adapter", "whole", "onnx"]
"""An adapter beside its model, or a model that stands by itself: as weights, or an ONNX graph."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A trained model on disk, and the record of its training."""

    run: Run
    folder: Path
    """Of the weights."""

    @property
    def record(self) -> RunRecord:
        """What the training was, and cost."""
        return self.run.record

    @property
    def name(self) -> str:
        """The method's and the seed, as `train@` names them."""
        return f"{self.record.method}-{self.record.seed}"

    @property
    def form(self) -> Form:
        """Whether it is an adapter beside its model, or a model that stands by itself."""
        return "whole" if self.method.adapter is None else "adapter"

    @property
    def labels(self) -> list[str]:
        """The classes' names, in the order of the model's outputs."""
        return self.record.data.labels

    @property
    def model(self) -> Model:
        """The pretrained model, a Hub revision as the commit."""
        return Model.model_validate(self.record.parameters["model"])

    @property
    def encode(self) -> Encode:
        """How texts became token ids."""
        return Encode.model_validate(self.record.parameters["encode"])

    @property
    def train(self) -> Train:
        """How it was trained."""
        return Train.model_validate(self.record.parameters["train"])

    @property
    def method(self) -> Method:
        """The method's block."""
        return Method.model_validate(self.record.parameters["method"])

    def tokenizer(self) -> Any:
        """Return the tokenizer that lies with the weights.

        Raises:
            UserError: there is none.
        """
        from transformers import AutoTokenizer

        if not (self.folder / TOKENIZER_CONFIG).exists():
            raise UserError(f"{self.folder}: no tokenizer here; run `dvc repro train@{self.name}`")
        return AutoTokenizer.from_pretrained(self.folder)

    def load(self, chosen: Any, *, pad_token_id: int, dequantized: bool = False) -> Any:
        """Return the trained model on a device, its classes named.

        Args:
            chosen: the device.
            pad_token_id: token that fills up batches.
            dequantized: take the pretrained model's own weights in place of 4-bit ones.

        Raises:
            UserError: the weights or the pretrained model are not there.
        """
        from fairtune.core import task

        method = self.method
        if dequantized:
            method = method.model_copy(update={"quantize": None})
        found = load(
            self.model,
            method,
            folder=self.folder,
            labels=len(self.labels),
            pad_token_id=pad_token_id,
            chosen=chosen,
        )
        task.name_classes(found.config, self.labels)
        return found


def find(study: Params, name: str, seed: int | None = None) -> Artefact:
    """Return a finished training of the study.

    Args:
        study: the parameters.
        name: of the method.
        seed: None takes the study's first.

    Raises:
        UserError: the study has no such method or seed, or it has not been trained.
    """
    study.method(name)
    chosen = study.seeds[0] if seed is None else seed
    if chosen not in study.seeds:
        known = did_you_mean(str(chosen), map(str, study.seeds)).partition("known: ")[2]
        raise UserError(f"seed {chosen} is not among the seeds of params.yaml: {known}")
    return Artefact(run=read_training(name, chosen), folder=training_folder(name, chosen) / WEIGHTS)


def check_place(path: Path) -> None:
    """Refuse to write among the trainings, where DVC would find them changed, or to nowhere.

    Raises:
        UserError: the path lies there, or its folder is not there.
    """
    if path.resolve().is_relative_to(MODELS.resolve()):
        raise UserError(
            f"'{path}' lies in {MODELS}/, whose content is DVC's: name a place outside of it"
        )
    if not path.absolute().parent.is_dir():
        raise UserError(f"'{path}': its folder is not there; name a place in one that is")
