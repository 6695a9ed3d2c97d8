"""What a run will do, known before it begins: its batches, their padded lengths, and its mode.

All of it depends on the rows' lengths, the settings and the device, and not on the method, but for
methods that no CUDA graph can hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fairtune.acceleration.cuda_graphs import MOST_GRAPHS
from fairtune.core.errors import UserError
from fairtune.core.params import Params, Train
from fairtune.hardware.device import Choice
from fairtune.models.uncaptured import of_method
from fairtune.runs.token_cache import Encoded
from fairtune.training.batches import BatchPlan, Collator, bucket_lengths

CAPTURABLE = ("bf16", "fp32")
# Capturing a graph takes as long as replaying about this many steps (H200, RoBERTa-base's shape).
CAPTURE_STEPS = 5
# The last batch of an epoch may be short: each length may need two graphs.
MOST_LENGTHS = MOST_GRAPHS // 2

Shape = tuple[int, int]
"""Rows of a batch and the length that they are padded to."""


def graphs_mode(train: Train, device: Choice, *, eager: str | None) -> tuple[str, str]:
    """Return auto, on or off, and why steps run eagerly where they do.

    Args:
        train: what all methods share.
        device: where and in which precision.
        eager: why the method's steps cannot be replayed; None where they can.

    Raises:
        UserError: graphs are asked for where there can be none.
    """
    if train.kernels == "stock":
        if train.cuda_graphs == "on":
            raise UserError("train.cuda_graphs: 'on', but train.kernels is stock; set auto or off")
        return "off", "train.kernels is stock"
    able = device.type == "cuda" and device.precision in CAPTURABLE
    if train.cuda_graphs == "on" and not able:
        raise UserError(
            f"train.cuda_graphs: 'on' needs a CUDA GPU in bf16 or fp32; this is {device.type} in "
            f"{device.precision}: set auto or off"
        )
    if train.cuda_graphs == "on" and eager:
        raise UserError(f"train.cuda_graphs: 'on', but {eager}; set off")
    if train.cuda_graphs == "off":
        return "off", "train.cuda_graphs is off"
    if eager:
        return "off", eager
    if not able:
        return "off", f"no CUDA graphs on {device.type} in {device.precision}"
    return train.cuda_graphs, "the first step makes the optimizer's state"


def check_alike(study: Params, device: Choice) -> None:
    """Refuse methods of which some would train with CUDA graphs and others cannot.

    Their costs would not be compared, which is better said before anything is trained.

    Raises:
        UserError: it names them, and what to do.
    """
    eager = {name: why for name, of in study.methods.items() if (why := of_method(of))}
    replayed = [name for name in study.methods if name not in eager]
    mode, _ = graphs_mode(study.train, device, eager=None)
    if mode == "off" or not eager or not replayed:
        return
    name, why = next(iter(eager.items()))
    raise UserError(
        f"train.cuda_graphs: '{mode}' replays the steps of {', '.join(replayed)} as CUDA graphs, "
        f"and of {', '.join(eager)} it cannot ({name}: {why}): set it to 'off', so that all train "
        "alike and their costs can be compared"
    )


def padded_lengths(maxima: NDArray[np.int64]) -> list[int]:
    """Return the lengths to pad batches to where each length is captured once.

    Args:
        maxima: longest row of each batch of the run, shape (batches,).
    """
    return bucket_lengths(maxima, price=CAPTURE_STEPS * float(maxima.mean()), most=MOST_LENGTHS)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """All batches of a run, by the shape that they are padded to."""

    deal: BatchPlan
    """Deals the batches, epoch by epoch."""
    collate: Collator
    """Makes tensors of a batch's row numbers."""
    of_shape: dict[Shape, list[NDArray[np.int64]]]
    """Row numbers of the batches of each shape."""
    order: list[Shape]
    """The shape of each batch of the run, in the order in which they are dealt."""

    @property
    def shapes(self) -> list[Shape]:
        """The shapes, most tokens first."""
        return sorted(self.of_shape, key=lambda shape: -shape[0] * shape[1])

    def example(self, shape: Shape) -> dict[str, torch.Tensor]:
        """Return the first batch of a shape."""
        return self.collate(self.of_shape[shape][0].tolist())

    @property
    def padded_tokens(self) -> int:
        """Tokens of all batches, padding included."""
        return sum(rows * length * len(dealt) for (rows, length), dealt in self.of_shape.items())


def plan_run(
    rows: Encoded, train: Train, *, seed: int, pad_token_id: int, captured: bool
) -> RunPlan:
    """Deal the batches of all epochs and choose the lengths that they are padded to.

    Args:
        rows: the encoded training split.
        train: what all methods share.
        seed: seed of the order of the rows.
        pad_token_id: id that fills up a batch.
        captured: each shape is to become a CUDA graph, so that there should be few.
    """
    deal = BatchPlan(
        rows.lengths, batch_size=train.batch_size, seed=seed, group=train.group_by_length
    )
    batches = [batch for epoch in range(train.epochs) for batch in deal.batches(epoch)]
    maxima = np.array([rows.lengths[batch].max() for batch in batches])
    lengths = padded_lengths(maxima) if captured else []
    collate = Collator(rows, pad_token_id=pad_token_id, lengths=lengths)
    order = [
        (len(batch), collate.padded_length(int(longest)))
        for batch, longest in zip(batches, maxima, strict=True)
    ]
    of_shape: dict[Shape, list[NDArray[np.int64]]] = {}
    for batch, shape in zip(batches, order, strict=True):
        of_shape.setdefault(shape, []).append(batch)
    return RunPlan(deal=deal, collate=collate, of_shape=of_shape, order=order)
