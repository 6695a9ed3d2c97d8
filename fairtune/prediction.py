"""Predict with a model: the one path that validation, test and the reload proof share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fairtune.batches import Collator
from fairtune.device import Choice
from fairtune.encoded import Encoded
from fairtune.errors import UserError
from fairtune.methods import is_4bit
from fairtune.results import Inference, Predictions

# Rows that inference speed is measured on, and single rows that latency is.
SPEED_ROWS = 128
LATENCY_ROWS = 20
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
) -> NDArray[np.float32]:
    """Return the softmax outputs for each row, shape (rows, classes), in the split's order.

    Batches are made of rows of like length; the sums of the softmax are in fp32.
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
        stacked = torch.cat(outputs).cpu().numpy()
    restored = np.empty_like(stacked)
    restored[order] = stacked
    return restored


def _forward(model: nn.Module, batch: dict[str, torch.Tensor], device: Choice) -> torch.Tensor:
    inputs = {
        name: tensor.to(device.torch_device, non_blocking=True)
        for name, tensor in batch.items()
        if name != "labels"
    }
    with device.autocast():
        logits: torch.Tensor = model(**inputs).logits
    return logits.float().softmax(dim=-1)


def predict(
    model: nn.Module, encoded: Encoded, *, batch_size: int, pad_token_id: int, device: Choice
) -> Predictions:
    """Return the predictions for a split.

    Raises:
        UserError: the memory does not suffice, or the model returns what is not a number.
    """
    try:
        found = probabilities(
            model, encoded, batch_size=batch_size, pad_token_id=pad_token_id, device=device
        )
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of GPU memory at train.evaluation_batch_size {batch_size}; lower it"
        ) from error
    if not np.isfinite(found).all():
        raise UserError(
            "the trained model returns what is not a number; lower this method's learning_rate, "
            "or set train.precision to fp32"
        )
    return Predictions(row_ids=encoded.row_ids, labels=encoded.labels, probabilities=found)


def speed(
    model: nn.Module, encoded: Encoded, *, batch_size: int, pad_token_id: int, device: Choice
) -> tuple[float, float]:
    """Return the latency of one row in milliseconds (median) and rows per second in batches."""
    sample = head_rows(encoded, SPEED_ROWS)
    singles = [
        head_rows(encoded, 1, start=index) for index in range(min(LATENCY_ROWS, len(sample)))
    ]

    def timed(rows: Encoded, size: int) -> float:
        device.synchronize()
        start = time.perf_counter()
        probabilities(model, rows, batch_size=size, pad_token_id=pad_token_id, device=device)
        return time.perf_counter() - start

    # Each length once before it counts: some kernels are planned anew for every shape.
    for single in singles:
        timed(single, 1)
    times = [timed(single, 1) for single in singles]
    timed(sample, batch_size)
    throughput = len(sample) / timed(sample, batch_size)
    return round(1000 * float(np.median(times)), 3), round(throughput, 1)


def head_rows(encoded: Encoded, count: int, *, start: int = 0) -> Encoded:
    """Return `count` rows from `start` on."""
    end = min(start + count, len(encoded))
    offsets = encoded.offsets[start : end + 1]
    return Encoded(
        row_ids=encoded.row_ids[start:end],
        labels=encoded.labels[start:end],
        tokens=encoded.tokens[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
    )


def inference(
    model: Any, encoded: Encoded, *, batch_size: int, pad_token_id: int, device: Choice
) -> Inference:
    """Measure prediction with the adapter as trained, then merged into the weights.

    The model is of no further use afterwards: merging changes it.
    """

    def measured() -> tuple[float, float]:
        return speed(
            model, encoded, batch_size=batch_size, pad_token_id=pad_token_id, device=device
        )

    latency, throughput = measured()
    model, merge = merged(model)
    after = measured() if merge == "merged" else (None, None)
    return Inference(
        latency_ms=latency,
        samples_per_second=throughput,
        merged_latency_ms=after[0],
        merged_samples_per_second=after[1],
        merge=merge,
    )


def merged(model: Any) -> tuple[Any, str]:
    """Merge the adapter into the weights, or say why that is not done."""
    if not hasattr(model, "peft_config"):
        return model, "no adapter"
    if any(is_4bit(module) for module in model.modules()):
        return model, "merging into 4-bit weights would change them"
    try:
        # Not `merge_and_unload`: for IA3 it fails on heads that are more than one linear layer.
        model.merge_adapter()
        return model, "merged"
    except (NotImplementedError, AttributeError, ValueError, TypeError) as error:
        return model, f"PEFT cannot merge this adapter ({type(error).__name__})"
