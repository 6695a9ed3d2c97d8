"""Measure the speed of prediction, with the adapter as trained and merged into the weights."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from torch import nn

from fairtune.hardware.device import Choice
from fairtune.models.audit import is_4bit
from fairtune.runs.record import Inference
from fairtune.runs.token_cache import Encoded
from fairtune.training.prediction import probabilities

# Rows that inference speed is measured on, and single rows that latency is.
SPEED_ROWS = 128
LATENCY_ROWS = 20


def prediction_speed(
    model: nn.Module, encoded: Encoded, *, batch_size: int, pad_token_id: int, device: Choice
) -> tuple[float, float]:
    """Return the latency of one row in milliseconds (median) and rows per second in batches."""
    sample = slice_rows(encoded, SPEED_ROWS)
    singles = [
        slice_rows(encoded, 1, start=index) for index in range(min(LATENCY_ROWS, len(sample)))
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


def slice_rows(encoded: Encoded, count: int, *, start: int = 0) -> Encoded:
    """Return `count` rows from `start` on."""
    end = min(start + count, len(encoded))
    offsets = encoded.offsets[start : end + 1]
    return Encoded(
        row_ids=encoded.row_ids[start:end],
        labels=encoded.labels[start:end],
        tokens=encoded.tokens[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
    )


def measure_inference(
    model: Any, encoded: Encoded, *, batch_size: int, pad_token_id: int, device: Choice
) -> Inference:
    """Measure prediction with the adapter as trained, then merged into the weights.

    The model is of no further use afterwards: merging changes it.
    """

    def measured() -> tuple[float, float]:
        return prediction_speed(
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
