"""Other people's files: each cell as it stands, each row or its line, and no row fitted to others.

Each table pairs bytes of a file with the rows read, or with the line that refuses it.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairtune.core.errors import UserError
from fairtune.core.params import Data, Subset
from fairtune.data import splits
from fairtune.data.corpus import read, read_part
from tests import tiny

SIZES = Subset(train=4, validation=2, test=2, seed=1)


def source(folder: Path, name: str, content: bytes | str, **keys: Any) -> Data:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Data(source=str(path), **keys)


def pairs(data: Data, split: str = "train") -> list[tuple[str, str]]:
    rows = read(data, split)
    return list(zip(rows["text"], rows["label"], strict=True))


READ: dict[str, tuple[str, str, list[tuple[str | None, str | None]]]] = {
    "words for nothing": (
        "c.csv",
        "text,label\nNA,None\nnull,nan\n",
        [("NA", "None"), ("null", "nan")],
    ),
    "labels with zeros before": ("c.csv", "text,label\nx,01\ny,1\n", [("x", "01"), ("y", "1")]),
    "a column of floats": ("c.csv", "text,label\nx,1.0\ny,\n", [("x", "1"), ("y", None)]),
    "blank lines": ("c.csv", "\ntext,label\n\nx,a\n  \ny,b\n\n", [("x", "a"), ("y", "b")]),
    "other columns of any kind": (
        "c.csv",
        "price,text,label\n1,x,a\nNA,y,b\n",
        [("x", "a"), ("y", "b")],
    ),
    "line ends of Windows": ("c.csv", "text,label\r\nx,a\r\n", [("x", "a")]),
    "line ends of old Macs": ("c.csv", "text,label\rx,a\r", [("x", "a")]),
    "a NUL": ("c.csv", "text,label\nx\0y,a\n", [("x\0y", "a")]),
    "line breaks in quotes": ("c.csv", 'text,label\n"x\r\ny",a\n', [("x\r\ny", "a")]),
    "quotes inside a text": ("c.csv", 'text,label\n5" disc,a\n', [('5" disc', "a")]),
    "a TSV without quoting": (
        "c.tsv",
        'text\tlabel\n"Great" film\ta\n"Dull\tb\na 12"\ta\n',
        [('"Great" film', "a"), ('"Dull', "b"), ('a 12"', "a")],
    ),
    "a TSV all in quotes": (
        "c.tsv",
        '"text"\t"label"\n"x ""y"""\t"a"\n"z"\t"b"\n',
        [('x "y"', "a"), ("z", "b")],
    ),
    "a TSV with breaks in quotes": (
        "c.tsv",
        'text\tlabel\n"x\ny"\ta\n"p\tq"\tb\n',
        [("x\ny", "a"), ("p\tq", "b")],
    ),
    "JSON lines": (
        "c.jsonl",
        '{"text": "2020-01-01", "label": 1}\n\n{"label": "01", "price": []}\n',
        [("2020-01-01", "1"), (None, "01")],
    ),
    "a list over several lines": (
        "c.json",
        '[\n {"text": "x", "label": true},\n {"text": "y", "label": 1.0}\n]',
        [("x", "True"), ("y", "1")],
    ),
    "JSON lines that end in .json": ("c.json", '{"text": "x", "label": 1}\n', [("x", "1")]),
}


@pytest.mark.parametrize(("name", "content", "rows"), READ.values(), ids=READ)
def test_cells_are_read_as_they_stand(
    tmp_path: Path, name: str, content: str, rows: list[tuple[str, str]]
) -> None:
    filled = [(text or None, label) for text, label in pairs(source(tmp_path, name, content))]
    assert filled == rows


LONG = "text,label\n" + "x,a\n" * 9
REFUSED: dict[str, tuple[str, bytes | str, dict[str, Any], str]] = {
    "a comma more in all rows": (
        "c.csv",
        "text,label\nWell, good,a\nBad, bad,b\n",
        {},
        "data.source: '{}': the header has 2 fields, but line 2 has 3, line 3 has 3; a cell that",
    ),
    "a comma more in one row": (
        "c.csv",
        LONG + "x,y,b\n",
        {},
        "the header has 2 fields, but line 11 has 3; a cell",
    ),
    "a cell too few after a text of two lines": (
        "c.csv",
        'text,label\n"x\ny",a\nz\n',
        {},
        "the header has 2 fields, but line 4 has 1; a cell",
    ),
    "many such rows": (
        "c.csv",
        "text,label\n" + "x\n" * 9,
        {},
        "line 2 has 1, line 3 has 1, line 4 has 1, line 5 has 1, and 5 more; a cell",
    ),
    "a comma at the end of each row": ("c.csv", "text,label\nx,a,\n", {}, "but line 2 has 3; a"),
    "text after a quote": (
        "c.csv",
        LONG + '"Great" film,b\n',
        {},
        "line 11: text after a closing quote; within a quoted cell a quotation mark is written tw",
    ),
    "a tab too many in a TSV of quotes": (
        "c.tsv",
        'text\tlabel\n"Dull\tb\nx\ty\tb\na 12"\ta\n',
        {},
        "the header has 2 fields, but line 3 has 3; a cell",
    ),
    "a semicolon": (
        "c.csv",
        "text;label\nx, y;a\n",
        {},
        'data.separator: "," is not right: the header of \'{}\' is separated by ";"; set data.sep',
    ),
    "tabs in a CSV": (
        "c.csv",
        "text\tlabel\nx\ta\n",
        {},
        'is separated by "\\t"; set data.sep',
    ),
    "commas where tabs are said to be": (
        "c.tsv",
        "text,label\nx,a\n",
        {},
        'data.separator: "\\t" is not right: the header of \'{}\' is separated by ","; set',
    ),
    "a separator of JSON": (
        "c.jsonl",
        '{"text": "x", "label": 1}',
        {"separator": ";"},
        "data.separator: '{}' is no CSV or TSV file; drop the key",
    ),
    "a column twice": (
        "c.csv",
        "text,label,text\nx,a,y\n",
        {},
        "data.text_column: '{}' has 2 columns 'text'; give each a name of its own",
    ),
    "not UTF-8": (
        "c.csv",
        LONG.encode() + "café,b\n".encode("cp1252"),
        {},
        "data.source: '{}' is not UTF-8 text; convert it (byte 0xe9 in line 11)",
    ),
    "rows within an object": (
        "c.json",
        '{"version": 1,\n "data": [{"text": "x", "label": 1}, {"text": "y", "label": 2}]}',
        {},
        "data.source: '{}' is one object with a list of 2 under 'data': write that list alone; ex",
    ),
    "columns within an object": (
        "c.json",
        '{"comment": ["x"], "label": [1]}',
        {},
        "data.source: '{}' is one object; expected one object a line",
    ),
    "a row that is no object": (
        "c.jsonl",
        '{"text": "x", "label": 1}\n["y", 2]\n',
        {},
        "data.source: '{}': line 2 is no object but a list; expected one object a line",
    ),
    "a text that is a number": (
        "c.jsonl",
        '{"text": "x", "label": 1}\n{"text": 5, "label": 2}\n',
        {},
        "data.text_column: 'text' of '{}' holds 5 in line 2, not text",
    ),
    "half a character": (
        "c.jsonl",
        '{"text": "x", "label": 1}\n{"text": "\\ud83d", "label": 2}\n',
        {},
        "data.source: '{}': line 2: the text holds half of a surrogate pair",
    ),
    "a label between whole numbers": (
        "c.csv",
        LONG + "y,0.5\n",
        {},
        "data.label_column: 'label' of '{}' holds '0.5' in line 11; a class is",
    ),
    "a value of where that no row has": (
        "c.csv",
        "text,label\nx,1.0\n",
        {"where": {"label": 1}},
        "data.where: no row of '{}' has label = 1; most have '1.0'",
    ),
    "gzip that ends too early": (
        "c.csv.gz",
        gzip.compress(LONG.encode() * 99)[:-20],
        {},
        "data.source: '{}' cannot be unpacked: Compressed file ended before the end",
    ),
    "no gzip at all": ("c.csv.gz", b"text,label", {}, "'{}' cannot be unpacked: Not a gzipped"),
    "no zip at all": ("c.zip", b"text,label", {}, "cannot be"),
    "a tar": ("c.csv.tar.gz", b"", {}, "'{}' is packed in a way that is not read; unpack it, or"),
    "zstd": ("c.csv.zst", b"", {}, "pack it as one of .gz, .bz2, .xz, .zip"),
    "packed Parquet": ("c.parquet.gz", b"", {}, "'{}': packed Parquet is not read; unpack it"),
}


@pytest.mark.parametrize(("name", "content", "keys", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_rightly_is_refused_by_its_line(
    tmp_path: Path, name: str, content: bytes | str, keys: dict[str, Any], line: str
) -> None:
    data = source(tmp_path, name, content, **keys)
    with pytest.raises(UserError) as caught:
        read(data, "train")
    assert line.format(data.source) in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
@pytest.mark.parametrize(
    ("name", "content"),
    [("c.csv", b"text,label\nx,a\n"), ("c.jsonl", b'{"text": "x", "label": "a"}\n')],
)
def test_packed_files_are_read(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes], name: str, content: bytes
) -> None:
    assert pairs(source(tmp_path, name + ending, pack(content))) == [("x", "a")]


def test_a_zip_of_one_file_is_read_and_one_of_two_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("in/c.tsv", "text\tlabel\nx\ta\n")
        archive.writestr("__MACOSX/in/._c.tsv", b"\0")
    data = Data(source=str(tmp_path / "c.zip"))
    assert pairs(data) == [("x", "a")]
    with zipfile.ZipFile(tmp_path / "c.zip", "a") as archive:
        archive.writestr("in/d.tsv", "text\tlabel\nx\ta\n")
    with pytest.raises(UserError, match=r"holds 2 files; a \.zip must hold one"):
        read(data, "train")


@pytest.mark.parametrize("separator", [";", "|", "\t", "\\t"])
def test_a_separator_is_what_the_parameters_say(tmp_path: Path, separator: str) -> None:
    written = separator.replace("\\t", "\t")
    content = f"text{written}label\nx, y{written}a\n"
    assert pairs(source(tmp_path, "c.csv", content, separator=separator)) == [("x, y", "a")]


def test_a_folder_of_text_files_is_read_like_one_of_them(tmp_path: Path) -> None:
    content = "text,label\nNA,None\nx,01\n"
    data = source(tmp_path / "d", "train.csv", content)
    source(tmp_path / "d", "test.csv", "text,label\nnull,1\n")
    folder = Data(source=str(tmp_path / "d"), test_split="test")
    assert pairs(folder) == pairs(data) == [("NA", "None"), ("x", "01")]
    assert pairs(folder, "test") == [("null", "1")]
    with pytest.raises(UserError, match=r"^data\.split: 'train\[:1\]' is not right: .* train, te"):
        read(Data(source=folder.source, split="train[:1]"), "train[:1]")


def test_a_split_of_several_files_is_all_of_them(tmp_path: Path) -> None:
    for number in (0, 1):
        source(tmp_path / "d" / "train", f"{number}.csv", f"text,label\nx{number},{number}\n")
    assert pairs(Data(source=str(tmp_path / "d"))) == [("x0", "0"), ("x1", "1")]


@pytest.mark.parametrize("value", ["1", 1])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_value_of_where_matches_as_text_where_either_is_text(
    tmp_path: Path, value: Any, ending: str
) -> None:
    rows = [{"text": f"t{stars}", "label": "a", "stars": stars} for stars in (1, 2)]
    path = tmp_path / f"c.{ending}"
    match ending:
        case "csv":
            tiny.write_csv(path, [("text", "label", "stars"), *(tuple(r.values()) for r in rows)])
        case "jsonl":
            tiny.write_jsonl(path, rows)
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    assert pairs(Data(source=str(path), where={"stars": value})) == [("t1", "a")]


def test_true_matches_however_it_is_written(tmp_path: Path) -> None:
    content = "text,label,new\nx,a,True\ny,b,true\nz,a,no\n"
    assert len(pairs(source(tmp_path, "c.csv", content, where={"new": True}))) == 2


def test_a_column_of_categories_is_text(tmp_path: Path) -> None:
    cells = pa.array(["a", "b", None]).dictionary_encode()
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": cells}), tmp_path / "c.parquet")
    assert pairs(Data(source=str(tmp_path / "c.parquet")))[:2] == [("x", "a"), ("y", "b")]


# What becomes of the rows


def test_rows_read_left_out_dropped_and_left_add_up(tmp_path: Path) -> None:
    rows = [(f"text {n}", n % 2, "in") for n in range(20)]
    rows += [("text 0", 0, "in"), ("", 1, "in"), ("both", 0, "in"), ("both", 1, "in")]
    rows += [("x", 1, "out")] * 3
    tiny.write_csv(tmp_path / "c.csv", [("text", "label", "site"), *rows])
    data = Data(source=str(tmp_path / "c.csv"), where={"site": "in"})
    part = read_part(data, "train")
    assert (part.read, len(part.rows)) == (27, 24)
    drawn = splits.draw({"train": part}, data, SIZES)
    assert (drawn.read, drawn.filtered, drawn.dropped.rows, drawn.left) == (27, 3, 4, 20)
    assert drawn.account() == (
        "27 rows read, 3 not as data.where asks, 1 empty, 1 duplicates, 2 contradictions dropped, "
        "20 left: 4 train, 2 validation, 2 test drawn"
    )


@pytest.mark.parametrize(
    ("test", "line"),
    [
        (
            [(f"new {n}", -1) for n in range(9)],
            "data.test_split: split 'test' of '{}' after dropping 9 empty has no rows left; its "
            "rows have no text or no label: give a split that is labelled",
        ),
        (
            [(f"text {n}", n % 2) for n in range(9)],
            "data.test_split: split 'test' of '{}' after dropping 9 duplicates has no rows left",
        ),
        (
            [("x", 0), ("x", 1)],
            "data.test_split: split 'test' of '{}' after dropping 2 contradictions has no rows",
        ),
    ],
    ids=["no labels", "copies", "contradictions"],
)
def test_a_split_of_which_nothing_is_left_is_named_with_what_was_dropped(
    tmp_path: Path, test: list[tuple[str, int]], line: str
) -> None:
    train = [(f"text {n}", n % 2) for n in range(20)]
    tiny.write_hub_dataset(tmp_path / "d", train=train, test=test)
    data = Data(source=str(tmp_path / "d"), test_split="test")
    with pytest.raises(UserError) as caught:
        splits.draw(splits.read_corpus(data), data, SIZES)
    assert line.format(data.source) in str(caught.value)


def test_a_test_split_without_a_class_is_named(tmp_path: Path) -> None:
    train = [(f"text {n}", n % 2) for n in range(20)]
    tiny.write_hub_dataset(tmp_path / "d", train=train, test=[("x", 0), ("y", 0), ("z", 0)])
    data = Data(source=str(tmp_path / "d"), test_split="test")
    with pytest.raises(UserError, match=r"class 'pos' has 0 of the 3 rows; .* to split 'test'"):
        splits.draw(splits.read_corpus(data), data, SIZES)


def test_labels_that_hardly_occur_twice_are_doubted(tmp_path: Path) -> None:
    tags = ("comedy", "drama", "horror", "war")
    labels = [f"{a};{b};{n % 2}" for n in range(4) for a in tags for b in tags if a != b][:40]
    rows = [(f"text {n}", label) for n, label in enumerate(labels)]
    tiny.write_csv(tmp_path / "c.csv", [("text", "label"), *rows])
    data = Data(source=str(tmp_path / "c.csv"))
    with pytest.raises(UserError) as caught:
        splits.draw(splits.read_corpus(data), data, SIZES)
    assert str(caught.value).startswith("subset.test: 2 is too few; with 24 classes, each split")
    doubt = "data.label_column: 24 of 24 classes have one or two rows, such as 'comedy;horror;0': "
    assert doubt in str(caught.value)


def test_classes_of_many_rows_are_not_doubted(tmp_path: Path) -> None:
    rows = [(f"text {n}", f"class {n % 20}") for n in range(100)]
    tiny.write_csv(tmp_path / "c.csv", [("text", "label"), *rows])
    data = Data(source=str(tmp_path / "c.csv"))
    sizes = Subset(train=40, validation=20, test=20, seed=1)
    assert splits.draw(splits.read_corpus(data), data, sizes).doubt is None


def test_json_and_csv_of_the_same_rows_are_the_same_corpus(tmp_path: Path) -> None:
    rows = tiny.reviews(30)
    tiny.write_csv(tmp_path / "c.csv", [("text", "label"), *rows])
    entries = [{"text": text, "label": label} for text, label in rows]
    (tmp_path / "c.json").write_text(json.dumps(entries))
    assert pairs(Data(source=str(tmp_path / "c.csv"))) == rows
    assert pairs(Data(source=str(tmp_path / "c.json"))) == rows
