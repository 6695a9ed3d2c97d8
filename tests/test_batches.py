"""The plan of batches is fair, whole and frugal; padding is masked."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fairtune.runs import token_cache
from fairtune.training.batches import (
    MULTIPLE,
    BatchPlan,
    Collator,
    Rows,
    bucket_lengths,
    plan_epoch,
)

LENGTHS = np.random.default_rng(0).integers(5, 200, size=203)


def padded(batches: list[NDArray[np.int64]], lengths: NDArray[np.int64]) -> int:
    return sum(len(batch) * int(lengths[batch].max()) for batch in batches)


def rows_of(folder: Path, lengths: list[int]) -> token_cache.Encoded:
    ids = [list(range(5, 5 + length)) for length in lengths]
    names = [f"row {index}" for index in range(len(ids))]
    token_cache.write(
        folder / "x.parquet", row_ids=names, labels=[n % 3 for n in range(len(ids))], ids=ids
    )
    return token_cache.read(folder / "x.parquet")


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(("rows", "size"), [(203, 16), (32, 16), (5, 16), (16, 1)])
def test_an_epoch_deals_every_row_once(rows: int, size: int, group: bool) -> None:
    batches = plan_epoch(LENGTHS[:rows], batch_size=size, seed=1, epoch=0, group=group)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert sorted(len(batch) for batch in batches)[1:] == [size] * (len(batches) - 1)


@pytest.mark.parametrize("group", [True, False])
def test_the_plan_follows_from_lengths_size_seed_and_epoch_alone(group: bool) -> None:
    def dealt(seed: int, epoch: int) -> list[list[int]]:
        plan = plan_epoch(LENGTHS, batch_size=16, seed=seed, epoch=epoch, group=group)
        return [batch.tolist() for batch in plan]

    assert dealt(1, 0) == dealt(1, 0)
    assert dealt(1, 0) != dealt(2, 0)
    assert dealt(1, 0) != dealt(1, 1)


def test_grouped_batches_have_much_less_padding_and_no_order_of_length() -> None:
    grouped = plan_epoch(LENGTHS, batch_size=16, seed=1, epoch=0, group=True)
    plain = plan_epoch(LENGTHS, batch_size=16, seed=1, epoch=0, group=False)
    tokens = int(LENGTHS.sum())
    assert padded(grouped, LENGTHS) - tokens < 0.2 * (padded(plain, LENGTHS) - tokens)
    longest = [int(LENGTHS[batch].max()) for batch in grouped]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_the_sampler_deals_the_plan_of_its_epoch() -> None:
    plan = BatchPlan(LENGTHS, batch_size=16, seed=3, group=True)
    assert len(plan) == len(list(plan)) == 13
    first = list(plan)
    plan.epoch = 1
    assert list(plan) == [batch.tolist() for batch in plan.batches(1)] != first


def test_the_hash_of_the_order_knows_rows_batches_and_epochs() -> None:
    names = [f"row {index}" for index in range(len(LENGTHS))]

    def hashed(*, size: int = 16, seed: int = 3, epochs: int = 2, ids: list[str] = names) -> str:
        plan = BatchPlan(LENGTHS, batch_size=size, seed=seed, group=True)
        return plan.order_sha256(ids, epochs)

    assert hashed() == hashed()
    others = [hashed(size=8), hashed(seed=4), hashed(epochs=3), hashed(ids=names[::-1])]
    assert len({hashed(), *others}) == 5


def test_padding_is_masked_and_every_token_is_in_its_place(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [3, 9, 12, 30])
    batch = Collator(rows, pad_token_id=1)([0, 2, 1])
    assert batch["input_ids"].shape == (3, 16)
    for place, (row, length) in enumerate([(0, 3), (2, 12), (1, 9)]):
        assert batch["input_ids"][place, :length].tolist() == rows.row(row).tolist()
        assert batch["input_ids"][place, length:].tolist() == [1] * (16 - length)
        assert batch["attention_mask"][place].tolist() == [1] * length + [0] * (16 - length)
    assert batch["labels"].tolist() == [0, 2, 1]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_batch_is_padded_to_the_next_bucket_and_never_beyond_the_longest_row(
    tmp_path: Path,
) -> None:
    # A model may have no positions beyond its longest row: 30 is not rounded up to 32.
    rows = rows_of(tmp_path, [3, 9, 12, 30])
    free, bucketed = (
        Collator(rows, pad_token_id=0),
        Collator(rows, pad_token_id=0, lengths=[16, 32]),
    )
    assert [free.padded_length(n) for n in (1, 8, 9, 24, 25, 30)] == [8, 8, 16, 24, 30, 30]
    assert [bucketed.padded_length(n) for n in (1, 16, 17, 30)] == [16, 16, 30, 30]


def test_the_data_set_stands_for_its_rows(tmp_path: Path) -> None:
    rows = Rows(rows_of(tmp_path, [3, 4]))
    assert [rows[index] for index in range(len(rows))] == [0, 1]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("buckets", [1, 2, 3])
def test_bucket_lengths_need_the_fewest_padded_tokens_of_all_choices(
    seed: int, buckets: int
) -> None:
    maxima = np.random.default_rng(seed).integers(1, 90, size=25)
    sizes = sorted({int(-(-n // MULTIPLE) * MULTIPLE) for n in maxima})

    def cost(chosen: tuple[int, ...]) -> int:
        return sum(min(size for size in chosen if size >= n) for n in maxima)

    every = [
        (*choice, sizes[-1])
        for count in range(buckets)
        for choice in combinations(sizes[:-1], count)
    ]
    found = bucket_lengths(maxima, most=buckets)
    assert len(found) <= buckets
    assert found == sorted(found)
    assert all(size % MULTIPLE == 0 for size in found)
    assert cost(tuple(found)) == min(cost(choice) for choice in every)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("price", [1.0, 40.0, 400.0])
def test_more_lengths_are_chosen_only_where_they_save_more_than_they_cost(
    seed: int, price: float
) -> None:
    maxima = np.random.default_rng(seed).integers(1, 90, size=25)
    sizes = sorted({int(-(-n // MULTIPLE) * MULTIPLE) for n in maxima})

    def cost(chosen: tuple[int, ...]) -> float:
        return sum(min(s for s in chosen if s >= n) for n in maxima) + price * len(chosen)

    every = [
        (*choice, sizes[-1])
        for count in range(len(sizes))
        for choice in combinations(sizes[:-1], count)
    ]
    found = bucket_lengths(maxima, price=price)
    assert cost(tuple(found)) == pytest.approx(min(cost(choice) for choice in every))


def test_one_length_needs_one_bucket() -> None:
    assert bucket_lengths(np.array([128] * 40)) == [128]
    assert bucket_lengths(np.array([3])) == [8]
