"""Any source is read alike; the draw is stratified, seeded, disjoint and free of copies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from fairtune.core.errors import UserError
from fairtune.core.params import Data, Subset
from fairtune.data.cleaning import Dropped, clean
from fairtune.data.corpus import read
from fairtune.data.splits import Splits, content_hash, divide, manifest, read_corpus, shares
from stages import subset as subset_stage
from tests import tiny

ROOT = Path(__file__).parent.parent
THREE = ("negative", "positive", "neutral")


def source(folder: Path, rows: int = 60, labels: tuple[str, ...] = tiny.LABELS) -> Data:
    tiny.write_reviews(folder / "reviews.csv", rows=rows, labels=labels)
    return Data(source=str(folder / "reviews.csv"))


def csv_of(
    folder: Path, *rows: tuple[Any, ...], header: tuple[str, ...] = ("text", "label")
) -> Data:
    tiny.write_csv(folder / "c.csv", [header, *rows])
    return Data(source=str(folder / "c.csv"))


def pool(counts: dict[str, int]) -> Dataset:
    """A cleaned corpus with this many rows of each class, one class after the other."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    columns = {
        "row_id": [f"train/{index}" for index in range(len(labels))],
        "text": [f"text {index}" for index in range(len(labels))],
        "label": labels,
    }
    return clean({"train": Dataset.from_dict(columns)})[0]["train"]


def counts_of(rows: Dataset) -> dict[str, int]:
    names = rows.features["label"].names
    return dict(Counter(names[label] for label in rows["label"]))


def ids_of(splits: Splits) -> dict[str, set[str]]:
    return {name: set(rows["row_id"]) for name, rows in splits.named().items()}


# The draw


def draw(data: Data, sizes: Subset) -> Splits:
    """Read a corpus and draw from it, as the stage does."""
    return subset_stage.subset(read_corpus(data), data, sizes)


@pytest.mark.parametrize(
    "counts",
    [
        {"a": 50, "b": 50},
        {"a": 90, "b": 10},
        {"a": 61, "b": 28, "c": 11},
        {"a": 97, "b": 3},
        {f"class {n:02}": 5 for n in range(20)},
        {"a": 3, "b": 3, "c": 94},
    ],
    ids=str,
)
@pytest.mark.parametrize("sizes", [(20, 20, 20), (60, 20, 20), (25, 20, 55)])
def test_a_split_has_its_exact_size_and_each_class_in_proportion(
    counts: dict[str, int], sizes: tuple[int, int, int]
) -> None:
    asked = dict(zip(("test", "validation", "train"), sizes, strict=True))
    parts = divide(pool(counts), asked, seed=3)
    assert {name: len(rows) for name, rows in parts.items()} == asked
    ids = [row_id for rows in parts.values() for row_id in rows["row_id"]]
    assert len(set(ids)) == sum(sizes)
    for name, rows in parts.items():
        found = counts_of(rows)
        assert set(found) == set(counts)
        for label, count in counts.items():
            exact = asked[name] * count / sum(counts.values())
            # A class of three rows owes one to each split, which shifts the others by as many.
            assert abs(found[label] - exact) <= (1 if min(counts.values()) > 3 else 3)


def test_halves_of_a_balanced_corpus_are_balanced() -> None:
    parts = divide(pool({"a": 500, "b": 500}), {"test": 100, "train": 400}, seed=0)
    assert counts_of(parts["test"]) == {"a": 50, "b": 50}
    assert counts_of(parts["train"]) == {"a": 200, "b": 200}


@pytest.mark.parametrize("size", range(3, 12))
def test_shares_are_those_of_the_largest_remainder_wherever_each_class_has_one(size: int) -> None:
    left = np.array([50, 30, 20])
    exact = size * left / 100
    floors = np.floor(exact).astype(int)
    order = np.argsort(floors - exact, kind="stable")
    expected = floors.copy()
    expected[order[: size - floors.sum()]] += 1
    if expected.min() >= 1:
        assert shares(left, size, later=0).tolist() == expected.tolist()
    assert shares(left, size, later=0).sum() == size


def test_a_corpus_may_be_used_up_to_the_last_row() -> None:
    parts = divide(pool({"a": 5, "b": 4}), {"test": 3, "validation": 2, "train": 4}, seed=1)
    assert sum(len(rows) for rows in parts.values()) == 9
    assert all(set(counts_of(rows)) == {"a", "b"} for rows in parts.values())


def test_the_same_seed_draws_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    data = source(tmp_path)
    subset = Subset(train=20, validation=10, test=10, seed=5)
    first, again = draw(data, subset), draw(data, subset)
    for name in first.named():
        assert list(first.named()[name]["row_id"]) == list(again.named()[name]["row_id"])
    other = draw(data, subset.model_copy(update={"seed": 6}))
    assert ids_of(first)["train"] != ids_of(other)["train"]
    assert ids_of(first)["test"] != ids_of(other)["test"]


def test_fewer_training_rows_leave_the_test_rows_and_train_on_some_of_the_same(
    tmp_path: Path,
) -> None:
    data = source(tmp_path)
    more = draw(data, Subset(train=40, validation=10, test=10, seed=5))
    fewer = draw(data, Subset(train=16, validation=10, test=10, seed=5))
    assert list(more.test["row_id"]) == list(fewer.test["row_id"])
    assert list(more.validation["row_id"]) == list(fewer.validation["row_id"])
    assert ids_of(fewer)["train"] < ids_of(more)["train"]


def test_rows_are_shuffled_not_sorted_by_class(tmp_path: Path) -> None:
    splits = draw(source(tmp_path), Subset(train=40, validation=10, test=10, seed=5))
    labels = list(splits.train["label"])
    assert labels != sorted(labels)
    assert labels != sorted(labels, reverse=True)


@pytest.mark.parametrize(
    ("counts", "sizes", "line"),
    [
        (
            {"a": 5, "b": 5},
            {"test": 4, "train": 7},
            "subset.train + subset.test: 11 rows are asked for; the corpus has 10",
        ),
        (
            {"a": 5, "b": 5, "c": 5},
            {"test": 2, "train": 7},
            "subset.test: 2 is too few; with 3 classes, each split needs 3 rows or more",
        ),
        (
            {"a": 9, "b": 1},
            {"test": 2, "train": 3},
            "class 'b' has 1 of the 10 rows; each of train, test needs one",
        ),
    ],
)
def test_sizes_that_cannot_be_met_are_refused(
    counts: dict[str, int], sizes: dict[str, int], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        divide(pool(counts), sizes, seed=0)
    assert line in str(caught.value)


# Cleaning


def test_copies_are_dropped_and_only_the_first_is_kept(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", "a"), ("y", "b"), ("x", "a"), ("x ", "a"))
    pools, dropped = clean({"train": read(data, "train")})
    assert list(pools["train"]["row_id"]) == ["train/0", "train/1"]
    assert dropped["train"] == Dropped(empty=0, duplicates=2, contradictions=0)


def test_all_copies_of_a_text_with_two_labels_are_dropped(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", "a"), ("y", "b"), ("x", "b"), ("x", "a"), ("z", "a"))
    pools, dropped = clean({"train": read(data, "train")})
    assert list(pools["train"]["text"]) == ["y", "z"]
    assert dropped["train"] == Dropped(empty=0, duplicates=0, contradictions=3)


def test_a_text_of_the_training_split_is_dropped_from_the_test_split(tmp_path: Path) -> None:
    rows = [(text, int(label == "positive")) for text, label in tiny.reviews(80)]
    tiny.write_hub_dataset(tmp_path / "hub", train=rows[:50], test=[*rows[40:], rows[0]])
    data = Data(source=str(tmp_path / "hub"), test_split="test")
    splits = draw(data, Subset(train=30, validation=10, test=30, seed=1))
    assert splits.dropped == Dropped(empty=0, duplicates=11, contradictions=0)
    texts = {name: set(rows["text"]) for name, rows in splits.named().items()}
    assert not texts["test"] & (texts["train"] | texts["validation"])
    assert {row_id.split("/")[0] for row_id in ids_of(splits)["test"]} == {"test"}
    assert {row_id.split("/")[0] for row_id in ids_of(splits)["train"]} == {"train"}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Good.<br /><br />Very good.", "Good. Very good."),
        ("Good.<br>Very<BR/>good.  <br />", "Good. Very good."),
        ("  a\t<br />\n b ", "a b"),
        ("two  blanks stay,\nand so does a line", "two  blanks stay,\nand so does a line"),
        ("1 < 2 > 1 <bread>", "1 < 2 > 1 <bread>"),
    ],
)
def test_html_breaks_are_white_space_and_nothing_else_is_touched(text: str, cleaned: str) -> None:
    columns = {"row_id": ["0", "1"], "text": [text, "other"], "label": ["a", "b"]}
    pools, _ = clean({"train": Dataset.from_dict(columns)})
    assert pools["train"][0]["text"] == cleaned


def test_a_long_run_of_blanks_is_walked_through_once_and_not_from_each_of_them() -> None:
    columns = {"row_id": ["0", "1"], "text": ["a" + " " * 30_000 + "b", "c"], "label": ["a", "b"]}
    began = time.process_time()
    pools, _ = clean({"train": Dataset.from_dict(columns)})
    assert time.process_time() - began < 1  # 10 ms; from each of them, 7 s
    assert len(pools["train"][0]["text"]) == 30_002


def test_rows_without_text_or_label_are_dropped_and_counted(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", "a"), ("", "b"), ("y", "b"), ("<br />", "a"), ("z", ""))
    pools, dropped = clean({"train": read(data, "train")})
    assert list(pools["train"]["text"]) == ["x", "y"]
    assert dropped["train"].empty == 3


# Labels


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("no", "yes", "no"), ["no", "yes"]),
        ((10, 9, 10), ["9", "10"]),
        ((1.0, 0.0, 1.0), ["0", "1"]),
        (("c", "a", "b"), ["a", "b", "c"]),
        ((-1, 0, 1), ["-1", "0", "1"]),
        (("NA", "None", "null"), ["NA", "None", "null"]),
        (("True", "False", "True"), ["False", "True"]),
        (("01", "1", "001"), ["001", "01", "1"]),
        (("1", "0", "1.0"), ["0", "1"]),
        (("?", "0.", "?"), ["0", "?"]),
        (("1e3", "1,000", "nan"), ["1,000", "1e3", "nan"]),
        ((" a", "b ", "b"), ["a", "b"]),
    ],
    ids=str,
)
def test_a_class_is_any_word_or_whole_number(
    tmp_path: Path, labels: tuple[Any, ...], names: list[str]
) -> None:
    data = csv_of(tmp_path, *((f"text {i}", label) for i, label in enumerate(labels)))
    pools, dropped = clean({"train": read(data, "train")})
    assert pools["train"].features["label"].names == names
    assert (len(pools["train"]), dropped["train"].empty) == (3, 0)


def test_a_gap_in_a_column_of_numbers_does_not_make_other_classes_of_them(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", 1), ("y", 0), ("z", ""))
    pools, dropped = clean({"train": read(data, "train")})
    assert pools["train"].features["label"].names == ["0", "1"]
    assert dropped["train"].empty == 1


def test_a_text_of_digits_or_a_word_for_nothing_is_a_text(tmp_path: Path) -> None:
    rows = read(csv_of(tmp_path, ("1984", "a"), ("None", "b"), ("007", "b")), "train")
    assert list(rows["text"]) == ["1984", "None", "007"]


@pytest.mark.parametrize("label", [0.5, [1, 2], {"a": 1}])
def test_a_label_that_is_no_word_and_no_whole_number_is_refused(tmp_path: Path, label: Any) -> None:
    tiny.write_jsonl(tmp_path / "c.jsonl", [{"text": f"t{i}", "label": label} for i in range(4)])
    with pytest.raises(
        UserError, match=r"^data\.label_column: 'label' of .* in line 1; a class is a string or"
    ):
        read(Data(source=str(tmp_path / "c.jsonl")), "train")


def test_class_labels_of_the_hub_are_read_by_name_and_minus_one_is_no_label(tmp_path: Path) -> None:
    tiny.write_hub_dataset(tmp_path / "hub", train=[("x", 0), ("y", 1), ("z", -1)])
    pools, dropped = clean({"train": read(Data(source=str(tmp_path / "hub")), "train")})
    assert pools["train"].features["label"].names == ["neg", "pos"]
    assert list(pools["train"]["label"]) == [0, 1]
    assert dropped["train"].empty == 1


def test_names_are_shown_for_the_classes_in_the_order_of_their_labels(tmp_path: Path) -> None:
    rows = read(csv_of(tmp_path, ("x", 1), ("y", 0), ("z", 1)), "train")
    pools, _ = clean({"train": rows}, label_names=["bad", "good"])
    assert counts_of(pools["train"]) == {"good": 2, "bad": 1}
    for names in (["bad"], ["bad", "bad"], ["a", "b", "c"]):
        with pytest.raises(
            UserError, match=r"data\.label_names: .* 2 different names, for 0, 1 in"
        ):
            clean({"train": rows}, label_names=names)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    rows = read(csv_of(tmp_path, ("x", "a"), ("y", "a")), "train")
    with pytest.raises(UserError, match="needs two classes or more; found 'a' alone"):
        clean({"train": rows})


# Sources


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    records = [{"text": text, "label": label} for text, label in rows]
    match path.suffix:
        case ".csv":
            tiny.write_csv(path, [("text", "label"), *rows])
        case ".tsv":
            tiny.write_csv(path, [("text", "label"), *rows], delimiter="\t")
        case ".jsonl":
            tiny.write_jsonl(path, records)
        case ".json":
            path.write_text(json.dumps(records))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)


TRICKY = [
    ('quoted, with a comma and a "word"', "a"),
    ("two\nlines", "b"),
    ("Café, naïve, 映画, 🎬", "a"),
    ("tab\there", "b"),
]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet", "CSV"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"c.{ending.lower()}"
    write(path, TRICKY)
    if ending.isupper():
        path = path.rename(tmp_path / f"c.{ending}")
    rows = read(Data(source=str(path)), "train")
    assert list(zip(rows["text"], rows["label"], strict=True)) == TRICKY
    assert list(rows["row_id"]) == [f"train/{index}" for index in range(4)]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("text,label\nx,a\n", encoding="utf-8-sig")
    assert list(read(Data(source=str(tmp_path / "c.csv")), "train")["text"]) == ["x"]


def test_a_path_with_brackets_is_a_path(tmp_path: Path) -> None:
    data = csv_of(tmp_path / "a[1]*", ("x", "a"), ("y", "b"))
    assert len(read(data, "train")) == 2


def test_an_edited_file_is_read_anew(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", "a"), ("y", "b"))
    before = os.stat(data.source)
    assert list(read(data, "train")["text"]) == ["x", "y"]
    csv_of(tmp_path, ("z", "a"), ("y", "b"))
    os.utime(data.source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(read(data, "train")["text"]) == ["z", "y"]


def test_a_file_of_a_package_is_read_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_reviews"
    write(package / "data" / "c.csv", TRICKY)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    rows = read(Data(source="package:some_reviews/data/c.csv"), "train")
    assert len(rows) == 4
    assert "some_reviews" not in sys.modules


def test_rows_are_kept_by_the_values_of_other_columns(tmp_path: Path) -> None:
    header = ("text", "label", "site", "stars")
    rows = [
        ("w", "a", "imdb", 1),
        ("x", "b", "imdb", 2),
        ("y", "a", "rt", 1),
        ("z", "b", "imdb", 1),
    ]
    data = csv_of(tmp_path, *rows, header=header)
    kept = read(data.model_copy(update={"where": {"site": "imdb", "stars": 1}}), "train")
    assert list(kept["text"]) == ["w", "z"]
    # An id says where a row stands in the source, filtered or not.
    assert list(kept["row_id"]) == ["train/0", "train/3"]


def test_other_columns_may_hold_text_and_label(tmp_path: Path) -> None:
    data = csv_of(tmp_path, ("x", "a"), ("y", "b"), header=("review", "verdict"))
    named = data.model_copy(update={"text_column": "review", "label_column": "verdict"})
    assert list(read(named, "train")["text"]) == ["x", "y"]


@pytest.mark.parametrize("revision", [None, "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"])
def test_the_hub_path_reads_a_folder_in_the_hub_s_format(
    tmp_path: Path, revision: str | None
) -> None:
    rows = [(text, int(label == "positive")) for text, label in tiny.reviews(120)]
    tiny.write_hub_dataset(
        tmp_path / "imdb", train=rows[:60], test=rows[60:], unsupervised=rows[:2]
    )
    data = Data(
        source=str(tmp_path / "imdb"),
        config="plain_text",
        revision=revision,
        test_split="test",
        label_names=["negative", "positive"],
    )
    splits = draw(data, Subset(train=30, validation=10, test=40, seed=42))
    assert counts_of(splits.train) == {"negative": 15, "positive": 15}
    assert counts_of(splits.test) == {"negative": 20, "positive": 20}


def test_a_cached_copy_of_another_commit_is_refused_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = "a" * 40, "b" * 40
    tiny.write_hub_dataset(tmp_path / "some_texts", train=[("x", 0), ("y", 1)])
    datasets.load_dataset(str(tmp_path / "some_texts"), cache_dir=str(tmp_path / "first"))
    made = next((tmp_path / "first").glob("*/*/*/*/dataset_info.json")).parent
    # As the Hub's data sets lie in the cache: name, configuration, version, commit.
    cached = tmp_path / "cache" / "someone___some_texts" / "plain_text" / "0.0.0" / here
    shutil.copytree(made, cached)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = Data(source="someone/some_texts", config="plain_text", revision=here)
    assert list(read(data, "train")["text"]) == ["x", "y"]
    with pytest.raises(
        UserError, match=r"^data\.revision: .* of another commit than 'bbb"
    ) as caught:
        read(data.model_copy(update={"revision": other}), "train")
    assert f"set the revision to {here}" in str(caught.value)


# What is written


def test_the_manifest_says_what_was_drawn(tmp_path: Path) -> None:
    data = source(tmp_path, labels=THREE)
    subset = Subset(train=30, validation=9, test=12, seed=4)
    splits = draw(data, subset)
    made = manifest(splits, data, subset)
    assert made["labels"] == sorted(THREE)
    assert made["seed"] == 4
    assert made["source"]["source"] == data.source
    assert made["dropped"] == {"empty": 0, "duplicates": 0, "contradictions": 0}
    for name, rows in splits.named().items():
        part = made["splits"][name]
        assert part["row_ids"] == list(rows["row_id"])
        assert part["rows"] == len(rows) == sum(part["label_counts"].values())
        assert part["label_counts"] == counts_of(rows)
        lines = zip(rows["row_id"], rows["text"], rows["label"], strict=True)
        content = "".join(f"{i}\x1f{text}\x1f{label}\x1e" for i, text, label in lines)
        assert part["sha256"] == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize("column", ["row_id", "text", "label"])
def test_the_hash_changes_with_any_cell(column: str) -> None:
    rows = {"row_id": ["0", "1"], "text": ["x", "y"], "label": [0, 1]}
    changed = {**rows, column: rows[column][::-1]}
    assert content_hash(Dataset.from_dict(rows)) != content_hash(Dataset.from_dict(changed))


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for number in ("1", "2"):
        folder = tmp_path / number
        tiny.write_study(folder, {"data.source": str(tmp_path / "reviews.csv")})
        tiny.write_reviews(tmp_path / "reviews.csv", rows=60)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": number}
        subprocess.run(
            [sys.executable, "-m", "stages.subset"], cwd=folder, env=environment, check=True
        )
        written.append({p.name: p.read_bytes() for p in (folder / "data" / "subset").iterdir()})
    assert set(written[0]) == {
        "train.parquet",
        "validation.parquet",
        "test.parquet",
        "manifest.json",
    }
    assert written[0] == written[1]
