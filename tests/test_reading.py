"""Other people's files: each cell as it stands, each row or its line, and no row fitted to others.

Each table pairs bytes of a file with the rows read, or with the line that refuses it.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from fairtune.core.errors import UserError
from fairtune.core.params import Data, Subset
from fairtune.data import splits
from fairtune.data.corpus import read, read_part
from tests import hub, tiny

ROOT = Path(__file__).parent.parent
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
    "lines in quotes, of which the last stands beside the label": (
        "c.csv",
        'text,label\n"x, y,\nb",a\nz,b\n',
        [("x, y,\nb", "a"), ("z", "b")],
    ),
    "lines in quotes, of which the first stands beside the label": (
        "c.csv",
        'label,text\na,"x\ny, b"\nb,z\n',
        [("x\ny, b", "a"), ("z", "b")],
    ),
    "breaks of lines that are none of a file": (
        "c.csv",
        "text,label\nv\u2028w\x85x\x0by\x1cz,a\n",
        [("v\u2028w\x85x\x0by\x1cz", "a")],
    ),
    "a separator at the end of all lines": ("c.csv", "text,label,\nx,a,\n", [("x", "a")]),
    "other columns twice, or without a name": (
        "c.csv",
        ",price,text,price,label\n1,2,x,3,a\n",
        [("x", "a")],
    ),
    "a repeated key of another column": (
        "c.jsonl",
        '{"id": 1, "id": 2, "text": "x", "label": 1}\n',
        [("x", "1")],
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
    "a text that begins with a quote, and takes up a row": (
        "c.csv",
        'label,text\na,y\nb,"Great\na,Dull\nb,good"\n',
        {},
        "line 3: a quote takes up line 4 too, which looks like a row of label 'a'; put a cell",
    ),
    "such a text that ends in the next row": (
        "c.csv",
        'label,text\na,y\nb,"Great\na,Dull"\n',
        {},
        "line 3: a quote takes up line 4 too, which looks like a row of label 'a'; put a cell",
    ),
    "such a cell of a column that is not read": (
        "c.csv",
        'text,label,title\nx,a,"Great\ny,b,Dull\nz,a,good"\nw,b,t\n',
        {},
        "data.source: '{}': line 2: a quote takes up line 3 too, which looks like a row of",
    ),
    "such a cell of a TSV with another in quotes": (
        "c.tsv",
        'text\tlabel\ttitle\nx\ta\t"Great\ny\tb\tDull\nz\ta\tgood"\n"p\tq"\tb\tt\n',
        {},
        "the header has 3 fields, but line 5 has 4; a cell",
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
    "columns within each row": (
        "c.json",
        '[{"id": 1, "data": {"text": "x"}, "label": 1}, {"id": 2, "data": {}, "label": 2}]',
        {},
        "data.source: '{}': 'text' stands within 'data' of each row; expected one object a line",
    ),
    "a label twice in an object": (
        "c.jsonl",
        '{"text": "x", "label": 1}\n{"text": "y", "label": 1, "label": 2}\n',
        {},
        "data.source: '{}': line 2 has 'label' more than once; leave one of them",
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


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (1, ["one", "float", "word"]), ("1", ["one", "float", "word"]), ("1.0", ["float"]),
        (True, ["true", "True"]), ("true", ["true"]), ("None", ["None"]), ("nan", ["nan"]),
        ("", ["null", "empty", "gap", "none"]),
    ],
)  # fmt: skip
def test_a_value_of_where_is_neither_another_s_nor_a_gap_s(
    tmp_path: Path, value: Any, texts: list[str]
) -> None:
    cells = {
        "one": 1, "float": 1.0, "word": "1", "true": True, "True": "True", "null": None,
        "empty": "", "gap": float("nan"), "None": "None", "nan": "nan", "no": 0,
    }  # fmt: skip
    rows = [{"text": text, "label": "a", "x": cell} for text, cell in cells.items()]
    tiny.write_jsonl(tmp_path / "c.jsonl", [*rows, {"text": "none", "label": "a"}])
    found = pairs(Data(source=str(tmp_path / "c.jsonl"), where={"x": value}))
    assert [text for text, _ in found] == texts


def test_a_number_with_gaps_is_matched_by_its_text(tmp_path: Path) -> None:
    columns = {"text": ["x", "y"], "label": ["a", "b"], "stars": [1.0, None]}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    data = Data(source=str(tmp_path / "c.parquet"), where={"stars": "1"})
    assert pairs(data) == [("x", "a")]


def test_true_matches_however_it_is_written(tmp_path: Path) -> None:
    content = "text,label,new\nx,a,True\ny,b,true\nz,a,no\n"
    assert len(pairs(source(tmp_path, "c.csv", content, where={"new": True}))) == 2


def test_a_column_of_categories_is_text(tmp_path: Path) -> None:
    cells = pa.array(["a", "b", None]).dictionary_encode()
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": cells}), tmp_path / "c.parquet")
    assert pairs(Data(source=str(tmp_path / "c.parquet")))[:2] == [("x", "a"), ("y", "b")]


def test_other_columns_of_parquet_may_be_of_any_kind(tmp_path: Path) -> None:
    odd = pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))
    texts, labels = pa.array(["x"], pa.string_view()), pa.array([1.0])
    (tmp_path / "d").mkdir()
    for number, other in enumerate((odd, pa.array(["a"]), pa.array([1]))):
        path = tmp_path / "d" / f"{number}.parquet"
        pq.write_table(pa.table({"text": texts, "label": labels, "other": other}), path)
    assert pairs(Data(source=str(tmp_path / "d" / "0.parquet"))) == [("x", "1")]
    assert pairs(Data(source=str(tmp_path / "d"))) == [("x", "1")] * 3


# Folders, and what their cards say

CARD = """---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': bad
          '1': good
configs:
- config_name: default
  data_files:
  - split: train
    path: rows/*
{}---
"""
ROWS = "text,label\nnull,0\nx,1\ny,-1\nz,good\nw,\n"
CLASSES = [("null", "bad"), ("x", "good"), ("y", None), ("z", "good"), ("w", None)]


def carded(folder: Path, settings: str = "", rows: str = ROWS) -> Data:
    """Write a folder with a card and a CSV file."""
    source(folder, "README.md", CARD.format(settings))
    source(folder, "rows/0.csv", rows)
    return Data(source=str(folder))


def test_the_card_names_the_numbered_classes_of_text_files(tmp_path: Path) -> None:
    assert pairs(carded(tmp_path / "c")) == CLASSES
    data = carded(tmp_path / "j")
    (tmp_path / "j" / "rows" / "0.csv").unlink()
    rows = [{"text": text, "label": label} for text, label in (("x", 1), ("y", -1), ("z", "bad"))]
    tiny.write_jsonl(tmp_path / "j" / "rows" / "0.jsonl", rows)
    assert pairs(data) == [("x", "good"), ("y", None), ("z", "bad")]


@pytest.mark.parametrize("label", ["2", "-2", "fair"])
def test_a_class_that_the_card_does_not_know_is_refused(tmp_path: Path, label: str) -> None:
    data = carded(tmp_path, rows=f"text,label\nx,1\ny,{label}\n")
    with pytest.raises(UserError) as caught:
        read(data, "train")
    line = f"in line 3 of '{tmp_path}/rows/0.csv'; its classes are 0 to 1, and -1 is none"
    assert f"holds '{label}' {line}" in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    ["quoting: 3", "skiprows: 1", "names: [text, label]", "encoding: latin-1", "na_values: [x]"],
)
def test_a_card_that_has_cells_read_otherwise_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match=f"sets {setting.partition(':')[0]} for its files, which"):
        read(carded(tmp_path, f"  {setting}\n"), "train")


@pytest.mark.parametrize("setting", ["keep_default_na: false", "encoding: utf-8", "chunksize: 5"])
def test_a_card_that_asks_for_what_is_done_anyway_is_followed(tmp_path: Path, setting: str) -> None:
    assert pairs(carded(tmp_path, f"  {setting}\n")) == CLASSES


def test_files_of_another_kind_are_not_left_out_in_silence(tmp_path: Path) -> None:
    data = source(tmp_path / "d", "one.csv", "text,label\nx,a\n")
    tiny.write_jsonl(tmp_path / "d" / "two.jsonl", [{"text": "y", "label": "b"}])
    folder = Data(source=str(tmp_path / "d"))
    with pytest.raises(UserError, match=r"^data\.source: '.*' holds files of several kinds, '.*"):
        read(folder, "train")
    Path(data.source).rename(tmp_path / "d" / "test.csv")
    (tmp_path / "d" / "two.jsonl").rename(tmp_path / "d" / "train.jsonl")
    with pytest.raises(UserError, match="several kinds; all splits must be of one kind"):
        read(folder, "train")
    # Neither a licence nor what is no data is in the way.
    (tmp_path / "d" / "train.jsonl").unlink()
    (tmp_path / "d" / "LICENSE.txt").touch()
    assert pairs(folder, "test") == [("x", "a")]


def test_a_cell_of_the_second_file_is_named_by_it(tmp_path: Path) -> None:
    source(tmp_path / "d", "0.csv", "text,label\nx,a\n")
    second = source(tmp_path / "d", "1.csv", "text,label\ny,b\nz,0.5\n")
    with pytest.raises(UserError) as caught:
        read(Data(source=str(tmp_path / "d")), "train")
    assert f"holds '0.5' in line 3 of '{second.source}'; a class is" in str(caught.value)


def test_files_that_number_other_classes_are_not_put_together(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number, names in enumerate((["bad", "good"], ["good", "bad"])):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        rows = Dataset.from_dict({"text": ["x"], "label": [0]}, features=features)
        rows.to_parquet(tmp_path / "d" / f"{number}.parquet")
    with pytest.raises(UserError, match=r"^data\.label_column: the files of .* 'label' alike"):
        read(Data(source=str(tmp_path / "d")), "train")


# The Hub

READER = """
import json, sys
from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.data.corpus import read
for keys in json.loads(sys.argv[1]):
    try:
        rows = read(Data(**keys), "train")
        print(json.dumps([rows["text"][:], rows["label"][:]]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def read_by_user(asked: list[dict[str, Any]], **variables: str) -> list[Any]:
    """Read sources in a process of its own, which knows another Hub."""
    command = [sys.executable, "-c", READER, json.dumps(asked)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_text_files_of_the_hub_are_read_like_those_of_a_folder(tmp_path: Path) -> None:
    commits = ["a" * 40, "b" * 40, "c" * 40]
    named = ["someone/plain", "someone/carded", "someone/ragged"]
    source(tmp_path / "0", "train.csv", "text,label\nnull,01\nNA,None\n2020-01-01,1.0\n")
    carded(tmp_path / "1")
    source(tmp_path / "2", "train.csv", "text,label\nx,a\ny,z,b\n")
    repos = {
        name: hub.Repo("dataset", tmp_path / str(number), commits[number])
        for number, name in enumerate(named)
    }
    asked = [{"source": n, "revision": c} for n, c in zip(named, commits, strict=True)]
    home = {"HF_HOME": str(tmp_path / "home")}
    with hub.serve(repos) as (address, _):
        found = read_by_user(asked, HF_ENDPOINT=address, HF_HUB_OFFLINE="0", **home)
    assert found[:2] == [
        [["null", "NA", "2020-01-01"], ["01", "None", "1"]],
        [list(column) for column in zip(*CLASSES, strict=True)],
    ]
    assert "train.csv': the header has 2 fields, but line 3 has 3" in found[2]
    # Without the Hub they are the same, and those of another commit are not there.
    other = {"source": named[0], "revision": "d" * 40}
    none = {"source": "someone/other"}
    later = read_by_user([*asked, other, none], HF_HUB_OFFLINE="1", **home)
    assert later[:3] == found
    assert later[3].startswith(
        f"data.revision: '{'d' * 40}' of 'someone/plain' is not on this mach"
    )
    assert later[3].endswith(f"set the revision to {'a' * 40}")
    assert "'someone/other' is neither a path nor a copy on this machine" in later[4]


def test_rows_that_were_made_by_guesses_are_not_taken_for_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path / "some_texts", "train.csv", "text,label\nnull,01\nx,1\n")
    datasets.load_dataset(str(tmp_path / "some_texts"), cache_dir=str(tmp_path / "first"))
    made = next((tmp_path / "first").glob("*/*/*/*/dataset_info.json")).parent
    cached = tmp_path / "cache" / "someone___some_texts" / "default" / "0.0.0" / ("a" * 40)
    shutil.copytree(made, cached)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="was made by guesses at what its cells are"):
        read(Data(source="someone/some_texts", revision="a" * 40), "train")


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


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            [(f"text {n}", "") for n in range(9)],
            "data.split: split 'train' of '{}' after dropping 9 empty has no rows left; its",
        ),
        (
            [("", n % 2) for n in range(9)],
            "data.split: split 'train' of '{}' after dropping 9 empty has no rows left; its",
        ),
        (
            [("x", 1), ("y", 1), ("", 0), ("y", 1)],
            "two classes or more; found '1' alone after dropping 1 empty, 1 duplicates",
        ),
    ],
    ids=["no labels", "no texts", "one class left"],
)
def test_a_corpus_of_which_too_little_is_left_says_what_was_dropped(
    tmp_path: Path, rows: list[tuple[str, Any]], line: str
) -> None:
    tiny.write_csv(tmp_path / "c.csv", [("text", "label"), *rows])
    data = Data(source=str(tmp_path / "c.csv"))
    with pytest.raises(UserError) as caught:
        splits.draw(splits.read_corpus(data), data, SIZES)
    assert line.format(data.source) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("split", "train[:9]"), ("test_split", "test"), ("config", "en")]
)
def test_a_key_that_a_file_cannot_follow_is_refused(tmp_path: Path, key: str, value: str) -> None:
    data = source(tmp_path, "c.csv", "text,label\nx,a\n", **{key: value})
    with pytest.raises(UserError) as caught:
        splits.read_corpus(data)
    assert f"data.{key}: '{value}' is not right: the file '{data.source}' has no" in str(
        caught.value
    )


def test_a_test_split_without_a_class_is_named(tmp_path: Path) -> None:
    train = [(f"text {n}", n % 2) for n in range(20)]
    tiny.write_hub_dataset(tmp_path / "d", train=train, test=[("x", 0), ("y", 0), ("z", 0)])
    data = Data(source=str(tmp_path / "d"), test_split="test")
    with pytest.raises(UserError, match=r"class 'pos' has 0 of the 3 rows; .* to split 'test'"):
        splits.draw(splits.read_corpus(data), data, SIZES)


def doubt_of(folder: Path, labels: list[str], sizes: Subset) -> str | None:
    """Return what is said against labels; some marks of them are a separator's."""
    rows = [(f"text {n}", label) for n, label in enumerate(labels)]
    tiny.write_csv(folder / "c.csv", [("text", "label"), *rows])
    data = Data(source=str(folder / "c.csv"))
    return splits.draw(splits.read_corpus(data), data, sizes).doubt


def test_labels_that_hardly_occur_twice_are_doubted(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        doubt_of(tmp_path, [f"id {n % 24}" for n in range(40)], SIZES)
    assert str(caught.value).startswith("subset.test: 2 is too few; with 24 classes, each split")
    doubt = "data.label_column: 24 of 24 classes have one or two rows, such as 'id 10': is it the "
    assert doubt in str(caught.value)


TAGS = ("comedy", "drama", "horror", "war")
LARGER = Subset(train=40, validation=20, test=20, seed=1)


@pytest.mark.parametrize(
    ("labels", "example"),
    [
        (["a", "b", "a;b"], "'a;b' looks like 2 labels in a cell, and is one of 3 classes as"),
        ([f"{a}|{b}" for a in TAGS for b in TAGS if a < b], "'drama|war' looks like 2 labels"),
        ([f"['{a}', '{b}']" for a in TAGS for b in TAGS if a < b], "'['drama', 'war']' looks"),
        (["['a']", "['b']", "['a', 'b']"], "'['a', 'b']' looks like 2 labels in a cell"),
    ],
    ids=["of other labels", "recurring", "lists", "lists of other lists"],
)  # fmt: skip
def test_several_labels_in_a_cell_are_doubted(
    tmp_path: Path, labels: list[str], example: str
) -> None:
    found = doubt_of(tmp_path, labels * (120 // len(labels)), LARGER)
    assert found is not None
    assert found.startswith(f"data.label_column: {example}")


@pytest.mark.parametrize(
    "labels",
    [
        [f"class {n}" for n in range(20)],
        ["toys, games", "home, garden", "books", "food"],
        ["1,000", "2,000", "10,000"],
        ["and/or", "either; or", "neither"],
    ],
    ids=["many", "names of two words", "numbers", "marks"],
)
def test_classes_of_many_rows_are_not_doubted(tmp_path: Path, labels: list[str]) -> None:
    assert doubt_of(tmp_path, labels * (120 // len(labels)), LARGER) is None


def test_json_and_csv_of_the_same_rows_are_the_same_corpus(tmp_path: Path) -> None:
    rows = tiny.reviews(30)
    tiny.write_csv(tmp_path / "c.csv", [("text", "label"), *rows])
    entries = [{"text": text, "label": label} for text, label in rows]
    (tmp_path / "c.json").write_text(json.dumps(entries))
    assert pairs(Data(source=str(tmp_path / "c.csv"))) == rows
    assert pairs(Data(source=str(tmp_path / "c.json"))) == rows
