"""Predict with a model: the one path that validation, test and the reload proof share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fairtune.core import task
from fairtune.core.errors import DivergedError, UserError
from fairtune.hardware.device import Choice
from fairtune.models.audit import is_4bit
from fairtune.runs.predictions import Predictions
from fairtune.runs.token_cache import Encoded
from fairtune.training.batches import Collator

# On a GPU attention kernels are planned anew for each shape, which takes as long as five passes:
# batches are padded to multiples of this many tokens there.
GPU_MULTIPLE = 64


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and back afterwards.

    On a CPU with AVX-512 bf16, bitsandbytes repacks 4-bit weights for good when they first run in
    evaluation mode; they can train no more then, and predict a hundred times more slowly unless a
    kernel is fetched from the Hub. Such a module has nothing that differs between the modes, so
    it stays in training mode.
    """
    was_training = model.training
    model.eval()
    for module in model.modules():
        if is_4bit(module):
            module.training = True
    try:
        yield
    finally:
        model.train(was_training)


def probabilities(
    model: nn.Module,
    encoded: Encoded,
    *,
    batch_size: int,
    pad_token_id: int,
    device: Choice,
    done: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the model's probabilities for each row, shape (rows, classes), in the split's order.

    Batches are made of rows of like length; `done` is told how many rows each had.
    """
    longest = int(encoded.lengths.max())
    steps = range(GPU_MULTIPLE, longest, GPU_MULTIPLE) if device.type == "cuda" else ()
    collate = Collator(encoded, pad_token_id=pad_token_id, lengths=list(steps))
    order = np.argsort(-encoded.lengths, kind="stable")
    outputs: list[torch.Tensor] = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = collate(order[start : start + batch_size].tolist())
            outputs.append(_forward(model, batch, device))
            if done is not None:
                done(len(outputs[-1]))
        stacked = torch.cat(outputs).cpu().numpy()
    restored = np.empty_like(stacked)
    restored[order] = stacked
    return restored


def _forward(model: nn.Module, batch: dict[str, torch.Tensor], device: Choice) -> torch.Tensor:
    inputs = {
        name: tensor.to(device.torch_device, non_blocking=True)
        for name, tensor in batch.items()
        if name != task.LABELS
    }
    with device.autocast():
        logits = model(**inputs).logits
    found: torch.Tensor = task.probabilities(logits)
    return found


def predict(
    model: nn.Module,
    encoded: Encoded,
    *,
    batch_size: int,
    pad_token_id: int,
    device: Choice,
    done: Callable[[int], None] | None = None,
) -> Predictions:
    """Return the predictions for a split; `done` is told how many rows each batch had.

    Raises:
        UserError: the memory does not suffice.
        DivergedError: the model returns what is not a number.
    """
    try:
        found = probabilities(
            model,
            encoded,
            batch_size=batch_size,
            pad_token_id=pad_token_id,
            device=device,
            done=done,
        )
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of GPU memory at train.evaluation_batch_size {batch_size}; lower it"
        ) from error
    if not np.isfinite(found).all():
        raise DivergedError(
            "the trained model returns what is not a number; lower this method's learning_rate, "
            "or set train.precision to fp32"
        )
    return Predictions(
        row_ids=encoded.row_ids,
        labels=encoded.labels,
        probabilities=found,
        tokens=encoded.lengths,
        groups=encoded.groups,
    )
