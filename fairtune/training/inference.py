"""Measure the speed of prediction, with the adapter as trained and merged into the weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from fairtune.hardware.device import Choice
from fairtune.models.audit import is_4bit
from fairtune.runs.record import Inference
from fairtune.runs.token_cache import Encoded
from fairtune.training.prediction import probabilities

# Rows that inference speed is measured on, and single rows that latency is: a row more of these is
# a tenth of a second on a processor, and a GPU plans its kernels anew for the length of each.
SPEED_ROWS = {"cpu": 16}
MOST_SPEED_ROWS, LATENCY_ROWS = 128, 10


class Stopwatch:
    """Times predictions of a model, whose adapter may be merged meanwhile."""

    def __init__(
        self,
        model: nn.Module,
        encoded: Encoded,
        *,
        batch_size: int,
        pad_token_id: int,
        device: Choice,
    ) -> None:
        """Choose rows of the split: the first on a GPU, on a CPU those of middle length."""
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.pad_token_id = pad_token_id
        self.warms = device.type != "cpu"
        self.sample = sample_rows(encoded, device)
        count = min(LATENCY_ROWS, len(encoded))
        self.singles = [slice_rows(encoded, 1, start=index) for index in range(count)]

    def timed(self, rows: Encoded, size: int) -> float:
        """Return the seconds that predicting these rows takes."""
        self.device.synchronize()
        start = time.perf_counter()
        probabilities(
            self.model,
            rows,
            batch_size=size,
            pad_token_id=self.pad_token_id,
            device=self.device,
        )
        return time.perf_counter() - start

    def latency_ms(self) -> float:
        """Return the median time of one row alone, in milliseconds."""
        # Each length once before it counts: GPU kernels are planned anew for every shape.
        for single in self.singles if self.warms else self.singles[:1]:
            self.timed(single, 1)
        times = [self.timed(single, 1) for single in self.singles]
        return round(1000 * float(np.median(times)), 3)

    def rows_per_second(self) -> float:
        """Return the throughput in batches of the sample's rows."""
        if self.warms:
            self.timed(self.sample, self.batch_size)
        return len(self.sample) / self.timed(self.sample, self.batch_size)


def sample_rows(encoded: Encoded, device: Choice) -> Encoded:
    """Return the rows that throughput is measured on."""
    if device.type not in SPEED_ROWS:
        return slice_rows(encoded, MOST_SPEED_ROWS)
    order = np.argsort(encoded.lengths, kind="stable")
    count = min(SPEED_ROWS[device.type], len(order))
    first = (len(order) - count) // 2
    return pick_rows(encoded, order[first : first + count].tolist())


def pick_rows(encoded: Encoded, places: Sequence[int]) -> Encoded:
    """Return the rows at these places, in this order."""
    return Encoded.of(
        [encoded.row(place) for place in places],
        row_ids=[encoded.row_ids[place] for place in places],
        labels=encoded.labels[list(places)],
        groups=encoded.groups and [encoded.groups[place] for place in places],
    )


def slice_rows(encoded: Encoded, count: int, *, start: int = 0) -> Encoded:
    """Return `count` rows from `start` on."""
    end = min(start + count, len(encoded))
    offsets = encoded.offsets[start : end + 1]
    return Encoded(
        row_ids=encoded.row_ids[start:end],
        labels=encoded.labels[start:end],
        tokens=encoded.tokens[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        groups=encoded.groups and encoded.groups[start:end],
    )


def measure_inference(
    model: Any,
    encoded: Encoded,
    *,
    test_seconds: float,
    batch_size: int,
    pad_token_id: int,
    device: Choice,
) -> Inference:
    """Measure prediction with the adapter as trained, then merged into the weights.

    On a CPU the throughput as trained is that of the pass over the test rows, and the merged one
    is to it as the two are on a few rows. On a GPU, where the first pass of a shape takes long,
    both are measured on rows whose shapes have run before.

    The model is of no further use afterwards: merging changes it.

    Args:
        model: the trained model.
        encoded: the test rows.
        test_seconds: what predicting all of them took.
        batch_size: rows in a batch.
        pad_token_id: id that fills up a batch.
        device: where and in which precision.
    """
    watch = Stopwatch(
        model, encoded, batch_size=batch_size, pad_token_id=pad_token_id, device=device
    )
    latency = watch.latency_ms()
    whole = None if watch.warms else len(encoded) / test_seconds
    # Without an adapter there is nothing to compare the few rows with.
    few = watch.rows_per_second() if whole is None or hasattr(model, "peft_config") else whole
    throughput = few if whole is None else whole
    watch.model, merge = merged(model)
    after: tuple[float | None, float | None] = (None, None)
    if merge == "merged":
        after = (watch.latency_ms(), round(throughput * watch.rows_per_second() / few, 1))
    return Inference(
        latency_ms=latency,
        samples_per_second=round(throughput, 1),
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
