"""Rows drawn together stay together: in the draw, and from the corpus to the predictions."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fairtune import reload
from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.core.params import Data, Subset, Train
from fairtune.data import groups
from fairtune.data.corpus import read
from fairtune.data.splits import Splits, content_hash, draw, manifest, read_corpus
from fairtune.hardware import device
from fairtune.runs import store, token_cache
from fairtune.runs.predictions import Predictions
from fairtune.training import prediction
from fairtune.training.inference import pick_rows, slice_rows
from stages import encode, subset
from tests import tiny
from tests.studies import make_runs

SIZES = Subset(train=24, validation=12, test=12, seed=3)


def films(rows: int, *, of_each: int = 4) -> list[tuple[str, str, str]]:
    """Texts with their labels and films, so many texts of each film."""
    return [
        (text, label, f"film {index // of_each}")
        for index, (text, label) in enumerate(tiny.reviews(rows))
    ]


def corpus(folder: Path, rows: list[tuple[Any, ...]]) -> Data:
    tiny.write_csv(folder / "c.csv", [("text", "label", "film"), *rows])
    return Data(source=str(folder / "c.csv"), group_column="film")


def drawn(data: Data, sizes: Subset = SIZES) -> Splits:
    return draw(read_corpus(data), data, sizes)


def hub(folder: Path, **splits: list[tuple[str, str, str]]) -> Data:
    """A folder in the Hub's format, with a column of films."""
    for split, rows in splits.items():
        columns = dict(zip(("text", "label", "film"), zip(*rows, strict=True), strict=True))
        (folder / "hub").mkdir(exist_ok=True)
        table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
        pq.write_table(table, folder / "hub" / f"{split}.parquet")
    return Data(source=str(folder / "hub"), group_column="film", test_split="test")


def check_apart(splits: Splits) -> None:
    """Assert that no group and no row is in two splits."""
    for column in ("group", "row_id"):
        cells = [set(rows[column]) for rows in splits.named().values()]
        assert sum(map(len, cells)) == len(set.union(*cells))


# The draw


@pytest.mark.parametrize("of_each", [1, 3, 4, 7, 10])
def test_no_group_is_in_two_splits_which_have_their_rows_and_their_classes(
    tmp_path: Path, of_each: int
) -> None:
    splits = drawn(corpus(tmp_path, films(80, of_each=of_each)))
    check_apart(splits)
    for name, rows in splits.named().items():
        assert len(rows) == getattr(SIZES, name)
        assert abs(Counter(rows["label"])[0] - len(rows) / 2) <= 1


def test_groups_of_one_class_each_are_drawn_in_the_classes_proportions(tmp_path: Path) -> None:
    rows = [(text, label, f"{label} {n % 20}") for n, (text, label) in enumerate(tiny.reviews(80))]
    splits = drawn(corpus(tmp_path, rows))
    check_apart(splits)
    for part in splits.named().values():
        assert Counter(part["label"])[0] == len(part) / 2


def test_rows_that_are_too_many_are_left_unused_and_go_to_no_other_split(tmp_path: Path) -> None:
    data = corpus(tmp_path, films(60, of_each=10))
    splits = drawn(data, Subset(train=25, validation=8, test=8, seed=3))
    check_apart(splits)
    assert {name: len(rows) for name, rows in splits.named().items()} == {
        "train": 25, "validation": 8, "test": 8,
    }  # fmt: skip


def test_the_corpus_may_be_used_up_to_the_last_row(tmp_path: Path) -> None:
    sizes = (9, 2, 7, 5, 1, 8, 3, 6, 4, 3)
    of_rows = [f"film {n}" for n, size in enumerate(sizes) for _ in range(size)]
    rows = [(*row, film) for row, film in zip(tiny.reviews(48), of_rows, strict=True)]
    check_apart(splits := drawn(corpus(tmp_path, rows)))
    assert sum(map(len, splits.named().values())) == 48


def test_the_draw_depends_on_the_seed_alone_and_fewer_training_rows_leave_the_test_rows(
    tmp_path: Path,
) -> None:
    data = corpus(tmp_path, films(200))
    first, again = (drawn(data, Subset(train=60, validation=20, test=40, seed=1)) for _ in "ab")
    fewer = drawn(data, Subset(train=20, validation=20, test=40, seed=1))
    other = drawn(data, Subset(train=60, validation=20, test=40, seed=2))
    for name, rows in first.named().items():
        assert rows["row_id"][:] == again.named()[name]["row_id"][:]
        assert rows["row_id"][:] != other.named()[name]["row_id"][:]
        assert name == "train" or rows["row_id"][:] == fewer.named()[name]["row_id"][:]


def possible(counts: NDArray[np.int64], sizes: tuple[int, ...]) -> bool:
    """Whether the groups can be dealt at all, by trying every way."""
    for way in itertools.product(range(len(sizes)), repeat=len(counts)):
        held = [counts[np.array(way) == place].sum(axis=0) for place in range(len(sizes))]
        if all(h.sum() >= size and h.min() > 0 for h, size in zip(held, sizes, strict=True)):
            return True
    return False


@pytest.mark.parametrize("seed", range(40))
def test_few_groups_are_dealt_whenever_that_is_possible(seed: int) -> None:
    chance = np.random.default_rng(seed)
    of_rows = np.repeat(np.arange(5), chance.integers(1, 13, 5))
    labels = chance.permutation(np.arange(len(of_rows)) % 2)
    test, validation = (max(2, int(len(labels) * chance.uniform(0.1, 0.3))) for _ in "ab")
    sizes = {"test": test, "validation": validation, "train": max(2, int(len(labels) * 0.4))}
    counts = np.array([np.bincount(labels[of_rows == n], minlength=2) for n in range(5)])

    def dealt() -> bool:
        try:
            found = groups.draw(
                labels, [f"g{n}" for n in of_rows], sizes, names=["a", "b"], seed=0, where="it"
            )
        except UserError:
            return False
        assert {name: len(rows) for name, rows in found.items()} == sizes
        return True

    assert dealt() == possible(counts, tuple(sizes.values()))


def test_a_copy_stays_in_the_group_that_it_first_stands_in(tmp_path: Path) -> None:
    rows = films(80)
    copies = [(text, label, "film 99") for text, label, _ in rows[:3]]
    data = corpus(tmp_path, [*rows, *copies, ("A film of its own.", "positive", "film 99")])
    splits = drawn(data)
    assert splits.dropped.duplicates == 3
    check_apart(splits)
    by_id = dict(zip(read(data, "train")["row_id"], read(data, "train")["group"], strict=True))
    for part in splits.named().values():
        assert [by_id[row] for row in part["row_id"]] == part["group"][:]


def test_a_filter_comes_before_the_groups(tmp_path: Path) -> None:
    rows = [(*row, n // 4 % 2) for n, row in enumerate(films(160))]
    other = ("No group, and not kept.", "positive", "", 2)
    tiny.write_csv(tmp_path / "c.csv", [("text", "label", "film", "odd"), *rows, other])
    data = Data(source=str(tmp_path / "c.csv"), group_column="film", where={"odd": 1})
    check_apart(splits := drawn(data))
    assert all(int(film.split()[1]) % 2 for film in splits.train["group"])


# A test split of its own


def test_training_rows_in_groups_of_test_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(text, label, f"film {n % 40}") for n, (text, label) in enumerate(tiny.reviews(120))]
    data = hub(tmp_path, train=rows[:80], test=rows[80:])
    splits = drawn(data, Subset(train=24, validation=12, test=12, seed=1))
    check_apart(splits)
    # Each film has two texts in the one split and one in the other.
    assert splits.shared == 24
    assert splits.account() == (
        "120 rows read, 24 in groups of test rows left out, 96 left: 24 train (12 groups), "
        "12 validation (6 groups), 12 test (12 groups) drawn"
    )
    with pytest.raises(UserError, match=r"split 'train' of .* without 24 rows in groups of test r"):
        drawn(data, Subset(train=70, validation=8, test=12, seed=1))


def test_test_rows_of_a_split_that_shares_its_groups_are_drawn_in_whole_groups(
    tmp_path: Path,
) -> None:
    rows = [(text, label, f"film {n % 10}") for n, (text, label) in enumerate(tiny.reviews(240))]
    splits = drawn(hub(tmp_path, train=rows[:120], test=rows[120:]))
    check_apart(splits)
    assert len(set(splits.test["group"])) == 2  # of twelve rows and one class each


def test_a_test_split_of_other_groups_is_drawn_row_by_row_as_without_groups(tmp_path: Path) -> None:
    rows = films(160)
    data = hub(tmp_path, train=rows[:80], test=rows[80:])
    splits, plain = drawn(data), drawn(data.model_copy(update={"group_column": None}))
    check_apart(splits)
    assert splits.shared == 0
    assert splits.test["row_id"][:] == plain.test["row_id"][:]


def test_splits_of_the_same_groups_alone_are_refused(tmp_path: Path) -> None:
    rows = films(120, of_each=1)
    of_films = [(text, label, f"film {n % 2}") for n, (text, label, _) in enumerate(rows)]
    data = hub(tmp_path, train=of_films[:60], test=of_films[60:])
    with pytest.raises(UserError, match=r"^data\.group_column: each group of split 'train' of .*"):
        drawn(data)


# Reading


def test_groups_of_a_file_with_types_are_text_or_whole_numbers(tmp_path: Path) -> None:
    def path(*cells: Any) -> Data:
        rows = [{"text": f"t{n}", "label": n % 2, "film": cell} for n, cell in enumerate(cells)]
        tiny.write_jsonl(tmp_path / "c.jsonl", rows)
        return Data(source=str(tmp_path / "c.jsonl"), group_column="film")

    assert read(path("a", 1, 1.0, True, " b "), "train")["group"][:] == ["a", "1", "1", "True", "b"]
    for cell in (0.5, [1], {"a": 1}):
        with pytest.raises(UserError, match=r"^data\.group_column: 'film' of .* in line 2; a grou"):
            read(path("a", cell), "train")
    for cell in (None, "", " ", float("nan")):
        with pytest.raises(UserError, match=r"^data\.group_column: 'film' .* is empty in line 2; "):
            read(path("a", cell), "train")


def test_groups_of_a_csv_file_are_any_text(tmp_path: Path) -> None:
    names = ["28.11", "01", "1", "1.0", "NA", " x "]
    rows = [(f"t{n}", n % 2, name) for n, name in enumerate(names)]
    found = read(corpus(tmp_path, rows), "train")["group"][:]
    assert found == ["28.11", "01", "1", "1", "NA", "x"]


def test_a_row_without_text_or_label_needs_no_group(tmp_path: Path) -> None:
    data = corpus(tmp_path, [*films(80), ("", "positive", ""), ("no label", "", "")])
    assert drawn(data).dropped.empty == 2


def test_half_a_surrogate_pair_in_a_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "x", "label": "a", "film": "\\ud800"}\n')
    with pytest.raises(UserError, match="line 1: the group holds half of a surrogate pair"):
        read(Data(source=str(tmp_path / "c.jsonl"), group_column="film"), "train")


# What is written


def test_the_manifest_and_the_account_count_the_groups(tmp_path: Path) -> None:
    data = corpus(tmp_path, films(80))
    splits = drawn(data)
    made = manifest(splits, data, SIZES)
    for name, rows in splits.named().items():
        assert made["splits"][name]["groups"] == len(set(rows["group"]))
        assert f"{len(rows)} {name} ({len(set(rows['group']))} groups)" in splits.account()
    assert made["source"]["group_column"] == "film"


def test_the_hash_of_the_rows_changes_with_a_group(tmp_path: Path) -> None:
    rows = films(80)
    one = read(corpus(tmp_path, rows), "train")
    other = read(corpus(tmp_path, [*rows[:-1], (*rows[-1][:2], "film 0")]), "train")
    assert content_hash(one) != content_hash(other)


def test_without_the_key_nothing_says_anything_of_groups(tmp_path: Path) -> None:
    data = corpus(tmp_path, films(80)).model_copy(update={"group_column": None})
    splits = drawn(data)
    made = manifest(splits, data, SIZES)
    assert "group" not in json.dumps(made) + splits.account()
    assert splits.train.column_names == ["row_id", "text", "label"]


@pytest.mark.parametrize("grouped", [True, False])
def test_groups_travel_from_the_corpus_to_the_token_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Callable[..., Path], grouped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path, films(80))
    changes = {"data.source": "c.csv", "model.name": str(encoder())}
    tiny.write_study(tmp_path, changes | ({"data.group_column": "film"} if grouped else {}))
    subset.main()
    encode.main()
    for split in paths.SPLITS:
        rows = pq.read_table(paths.SUBSET / f"{split}.parquet")
        cached = token_cache.read(paths.ENCODED / f"{split}.parquet")
        assert rows.column_names == ["row_id", "text", "label", *(["group"] if grouped else [])]
        assert cached.groups == (rows["group"].to_pylist() if grouped else None)
        assert cached.row_ids == rows["row_id"].to_pylist()
        if grouped:
            assert replace(cached, groups=None).sha256() != cached.sha256()


def test_the_groups_of_rows_are_picked_and_handed_on_to_the_predictions() -> None:
    rows = tiny.encoded_rows(6)
    names = [f"film {n // 2}" for n in range(6)]
    grouped = replace(rows, groups=names)
    assert pick_rows(grouped, [5, 0]).groups == ["film 2", "film 0"]
    assert slice_rows(grouped, 2, start=3).groups == names[3:5]
    assert (pick_rows(rows, [1]).groups, slice_rows(rows, 2).groups) == (None, None)

    class Flat(nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            return SimpleNamespace(logits=torch.zeros(len(input_ids), 2))

    chosen = device.choose(Train(epochs=1, batch_size=2, device="cpu", precision="fp32"))
    for encoded in (rows, grouped):
        found = prediction.predict(Flat(), encoded, batch_size=4, pad_token_id=0, device=chosen)
        assert found.groups == encoded.groups


@pytest.mark.parametrize("count", [None, 7])
def test_predictions_are_read_back_with_their_groups(tmp_path: Path, count: int | None) -> None:
    predictions = make_runs(rows=20, groups=count)["lora"][0].predictions
    path = tmp_path / "predictions.parquet"
    store.write_predictions(path, predictions)
    table = pq.read_table(path)
    assert table.column_names == [field.name for field in store.SCHEMA] + ["group"] * bool(count)
    found = store._predictions(table, place="here", remedy="run it")
    assert found.groups == predictions.groups
    assert count is None or found.groups == [f"group-{row % count:04d}" for row in range(20)]


@pytest.mark.parametrize("column", [pa.array([1, 2]), pa.array(["a", None])], ids=["int", "null"])
def test_a_column_of_groups_that_is_none_is_refused(tmp_path: Path, column: pa.Array) -> None:
    predictions = make_runs(rows=2)["lora"][0].predictions
    store.write_predictions(tmp_path / "p.parquet", predictions)
    table = pq.read_table(tmp_path / "p.parquet").append_column("group", column)
    with pytest.raises(UserError, match="its columns are not what this version writes; run it"):
        store._predictions(table, place="here", remedy="run it")


def test_a_run_on_rows_of_other_groups_is_not_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = replace(tiny.encoded_rows(4), groups=["a", "a", "b", "b"])
    found = Predictions(
        row_ids=rows.row_ids,
        labels=rows.labels,
        probabilities=np.full((4, 2), 0.5, dtype=np.float32),
        tokens=rows.lengths,
        groups=["a", "b", "b", "b"],
    )
    paths.ENCODED.mkdir(parents=True)
    (paths.ENCODED / paths.MANIFEST).write_text("{}")
    token_cache.write(
        paths.ENCODED / "test.parquet",
        row_ids=rows.row_ids,
        labels=rows.labels.tolist(),
        ids=[rows.row(n).tolist() for n in range(4)],
        groups=rows.groups,
    )
    assert token_cache.read(paths.ENCODED / "test.parquet").groups == rows.groups
    monkeypatch.setattr(reload, "read_training", lambda *_: SimpleNamespace(predictions=found))
    with pytest.raises(UserError, match="tested on other rows"):
        reload.prove(SimpleNamespace(), name="lora", seed=1)
