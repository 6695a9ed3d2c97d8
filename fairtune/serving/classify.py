"""Ask a trained model about texts, as validation and test did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtune.core.errors import UserError
from fairtune.core.params import Encode, Train
from fairtune.runs.token_cache import Encoded
from fairtune.serving.artefact import Artefact

OPTIONS = {"train.device": "--device", "train.evaluation_batch_size": "--batch-size"}
"""Options of commands that stand for keys of the parameters."""


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A trained model on a device, with its tokenizer."""

    model: Any
    tokenizer: Any
    encode: Encode
    batch_size: int
    device: Any

    def probabilities(
        self, texts: Sequence[str], done: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the classes' probabilities, shape (texts, classes), in the texts' order.

        Batches are made of texts of like length; `done` is told how many each had.

        Raises:
            UserError: the memory does not suffice, or the model returns what is not a number.
        """
        return self.of(self.encoded(texts), done)

    def of(
        self, encoded: Encoded, done: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the probabilities of texts that are token ids already, as `probabilities` does.

        Raises:
            UserError: as there.
        """
        from fairtune.training.prediction import predict

        with named_as_options():
            return predict(
                self.model,
                encoded,
                batch_size=self.batch_size,
                pad_token_id=self.tokenizer.pad_token_id,
                device=self.device,
                done=done,
            ).probabilities

    def encoded(self, texts: Sequence[str]) -> Encoded:
        """Return the texts' token ids, as the study's `encode` makes them."""
        from fairtune.data.tokenization import encode

        ids = encode(
            self.tokenizer, texts, max_length=self.encode.max_length, keep=self.encode.keep
        ).ids
        return Encoded.of(ids)


@contextmanager
def named_as_options() -> Iterator[None]:
    """Let errors name a command's options in place of the keys of the parameters."""
    try:
        yield
    except UserError as error:
        line = str(error)
        for key, option in OPTIONS.items():
            line = line.replace(key, option)
        raise UserError(line) from error


def choose_device(train: Train) -> Any:
    """Return the device that a command was asked for.

    Raises:
        UserError: it is not there.
    """
    from fairtune.hardware import device

    with named_as_options():
        return device.choose(train)


def load_classifier(
    artefact: Artefact, *, wanted: str = "auto", batch_size: int | None = None
) -> Classifier:
    """Load a trained model, made fast as it was in training.

    Args:
        artefact: the finished training.
        wanted: kind of device, as `train.device`.
        batch_size: rows in a forward pass; None takes that of the study's evaluations.

    Raises:
        UserError: its files, the pretrained model or the device are not there.
    """
    from fairtune.acceleration.prepare import prepare

    train = artefact.train.model_copy(update={"device": wanted})
    if train.precision == "fp16":  # asked for where it was trained; not every device has it
        train = train.model_copy(update={"precision": "auto"})
    chosen = choose_device(train)
    tokenizer = artefact.tokenizer()
    model = artefact.load(chosen, pad_token_id=tokenizer.pad_token_id)
    # In bf16 all weights are then held as they are used, in place of being cast for each batch.
    model.requires_grad_(False)
    prepare(model, chosen, kernels=train.kernels)
    return Classifier(
        model=model,
        tokenizer=tokenizer,
        encode=artefact.encode,
        batch_size=batch_size or train.evaluation_batch_size,
        device=chosen,
    )
