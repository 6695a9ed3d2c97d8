"""Which rows make up each training batch, and how a batch is padded.

The plan depends on lengths, batch size and seed alone, so that every method sees the same rows in
the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from fairtune.core import task
from fairtune.runs.token_cache import Encoded

# Batches are cut from runs of this many batches sorted by length: enough for batches of like
# length, few enough that the order stays random.
POOL = 50
# Lengths that tensor cores and vector units like are multiples of 8.
MULTIPLE = 8


def plan_epoch(
    lengths: NDArray[np.int64], *, batch_size: int, seed: int, epoch: int, group: bool
) -> list[NDArray[np.int64]]:
    """Return the row numbers of each batch of one epoch; the last drawn may be short.

    Args:
        lengths: tokens of each row, shape (rows,).
        batch_size: rows in a batch.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        group: put rows of like length together.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if group:
        step = batch_size * POOL
        pools = [order[start : start + step] for start in range(0, len(order), step)]
        order = np.concatenate([pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if group:
        shuffled = generator.permutation(len(batches))
        batches = [batches[index] for index in shuffled]
    return batches


def batches_of(rows: int, batch_size: int) -> int:
    """Return how many batches an epoch has, the last drawn perhaps short."""
    return -(-rows // batch_size)


class BatchPlan(Sampler[list[int]]):
    """The batches of a run, epoch by epoch; `epoch` says which comes next."""

    def __init__(
        self, lengths: NDArray[np.int64], *, batch_size: int, seed: int, group: bool
    ) -> None:
        """Plan for these rows."""
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.epoch = 0

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of one epoch."""
        return plan_epoch(
            self.lengths,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            group=self.group,
        )

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches(self.epoch):
            yield batch.tolist()

    def __len__(self) -> int:
        return batches_of(len(self.lengths), self.batch_size)

    def order_sha256(self, row_ids: Sequence[str], epochs: int) -> str:
        """Return the hash of the row ids of every batch of the run, in order."""
        digest = hashlib.sha256()
        for epoch in range(epochs):
            for batch in self.batches(epoch):
                digest.update("\x1f".join(row_ids[index] for index in batch).encode())
                digest.update(b"\x1e")
        return digest.hexdigest()


class Rows(Dataset[int]):
    """Row numbers; `Collator` turns the numbers of a batch into tensors in one go."""

    def __init__(self, encoded: Encoded) -> None:
        """Stand for these rows."""
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> int:
        return index


class Collator:
    """Pad the rows of a batch to the longest of them, rounded up to a known length."""

    def __init__(self, encoded: Encoded, *, pad_token_id: int, lengths: Sequence[int] = ()) -> None:
        """Pad with this id; `lengths` are the sizes to round up to (none: multiples of 8).

        No batch is longer than the longest row: a model may have no positions beyond it.
        """
        self.encoded = encoded
        self.pad_token_id = pad_token_id
        self.limit = int(encoded.lengths.max())
        self.lengths = sorted({min(length, self.limit) for length in lengths})

    def padded_length(self, longest: int) -> int:
        """Return the length that a batch with this longest row is padded to."""
        for length in self.lengths:
            if longest <= length:
                return length
        return min(-(-longest // MULTIPLE) * MULTIPLE, self.limit)

    def __call__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return input_ids and attention_mask (rows, length) and the classes (rows,)."""
        tokens = [self.encoded.row(index) for index in rows]
        length = self.padded_length(max(len(row) for row in tokens))
        ids = np.full((len(rows), length), self.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for place, row in enumerate(tokens):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            task.LABELS: torch.from_numpy(self.encoded.labels[list(rows)]),
        }


def bucket_lengths(
    batch_maxima: NDArray[np.int64], *, price: float = 0.0, most: int | None = None
) -> list[int]:
    """Choose the padded lengths, so that padding and capturing together cost the least.

    Args:
        batch_maxima: longest row of each batch of the run, shape (batches,).
        price: what one more length costs, in tokens of padding of one row.
        most: most lengths to choose.

    Returns:
        Ascending multiples of 8; the last holds the longest batch. Among all choices of at most
        `most` lengths the one with the least padded length plus price (dynamic programming).
    """
    sizes, counts = np.unique(-(-batch_maxima // MULTIPLE) * MULTIPLE, return_counts=True)
    total = len(sizes)
    most = min(most or total, total)
    seen = np.concatenate([[0], np.cumsum(counts)])
    best = np.full((most + 1, total + 1), np.inf)
    best[0, 0] = 0.0
    cut = np.zeros((most + 1, total + 1), dtype=int)
    for used in range(1, most + 1):
        for end in range(1, total + 1):
            costs = best[used - 1, :end] + sizes[end - 1] * (seen[end] - seen[:end]) + price
            cut[used, end] = int(costs.argmin())
            best[used, end] = costs.min()
    chosen: list[int] = []
    end = total
    for used in range(int(best[:, total].argmin()), 0, -1):
        chosen.append(int(sizes[end - 1]))
        end = int(cut[used, end])
    return chosen[::-1]
