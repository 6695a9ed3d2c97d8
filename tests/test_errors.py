"""Whatever a user gets wrong ends in one line that names the key or file, and loses nothing.

Each row of the tables below is a mistake; each runs the real stage, as `python -m` would.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo

from fairtune import check
from fairtune.core import disk, errors, files, paths
from fairtune.core.errors import UserError, did_you_mean, one_line
from stages import encode, sources, subset, train
from tests import tiny

ROOT = Path(__file__).parent.parent
COMMANDS = ("advise", "check", "page", "parallel", "readme", "scaling.__main__", "verify")
PROGRAMS = [f"fairtune.{name}" for name in COMMANDS] + [
    f"benchmarks.{path.stem}"
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if "ArgumentParser" in path.read_text(encoding="utf-8")
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, subset and encoded."""
    folder = tmp_path_factory.mktemp("study")
    tiny.write_study(folder)
    tiny.write_encoder(folder / "encoder")
    before = Path.cwd()
    os.chdir(folder)
    try:
        subset.main()
        encode.main()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def encoded(study: Path, here: Path) -> Path:
    """A copy of the encoded study to work in."""
    shutil.copytree(study, here, dirs_exist_ok=True)
    return here


def line_of(main: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> str:
    """Run a stage that must fail; return the one line that it leaves on stderr."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        errors.run(main)
    status = caught.value.code
    assert status not in (0, None)
    # `sys.exit` prints a text when the process ends, with status 1.
    printed = capfd.readouterr().err + (status if isinstance(status, str) else "")
    lines = printed.strip().splitlines()
    assert len(lines) == 1, printed
    assert lines[0].startswith("fairtune: ")
    return lines[0].removeprefix("fairtune: ")


def answers(line: str, expected: str) -> bool:
    """Return whether a line is the one expected, up to its end and what " ... " leaves out."""
    return bool(re.match(re.escape(expected).replace(re.escape(" ... "), ".*"), line))


# params.yaml, whatever the stage


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "params.yaml: not found; copy a preset, such as studies/embedded.yaml"),
        (b"", "params.yaml: expected sections such as data"),
        (b"data: [", "params.yaml:1: not valid YAML"),
        (b"\xff\xfe", "params.yaml: not UTF-8 text"),
    ],
    ids=["missing", "empty", "not YAML", "not UTF-8"],
)
@pytest.mark.parametrize("stage", [subset, encode, train])
def test_no_stage_starts_without_parameters(
    here: Path, capfd: Any, stage: Any, content: bytes | None, line: str
) -> None:
    if content is not None:
        (here / "params.yaml").write_bytes(content)
    assert line_of(stage.main, capfd).startswith(line)


@pytest.mark.parametrize("stage", [subset, encode, train])
def test_every_stage_names_the_key_that_is_wrong(here: Path, capfd: Any, stage: Any) -> None:
    tiny.write_study(here, {"train.batch_sise": 8})
    line = line_of(stage.main, capfd)
    assert line.startswith("params.yaml: train.batch_sise: unknown key; did you mean 'batch_size'?")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seeds": 42}, "params.yaml: seeds: 42 is not right; expected a list: One training of"),
        ({"methods": [1]}, "params.yaml: methods: a list is not right; expected keys with values"),
        ({"data.source": "no.csv"}, "data.source: 'no.csv' not found; give a path from"),
        ({"data.source": "no.csv.gz"}, "data.source: 'no.csv.gz' not found; give a path from"),
        ({"model.name": "./none"}, "model.name: './none' not found; give a path from"),
    ],
    ids=str,
)
def test_what_dvc_would_stumble_over_is_said_before(
    here: Path, capfd: Any, changes: dict[str, Any], line: str
) -> None:
    tiny.write_study(here, changes)
    assert line_of(check.check, capfd).startswith(line)


@pytest.mark.parametrize("value", [42, "42", None, [], {"first": 42}, tiny.DROP], ids=range(6))
def test_dvc_says_that_seeds_must_be_a_list(here: Path, value: object) -> None:
    tiny.write_study(here, {"seeds": value})
    assert said_by_dvc(here) == (
        "failed to parse 'stages.seeds in params.yaml must be a list, such as [42].matrix' in "
        "'dvc.yaml': Could not find 'seeds.0'"
    )


@pytest.mark.parametrize("value", ["lora", 1, None, ["lora"]], ids=str)
def test_dvc_names_methods_that_are_no_mapping(here: Path, value: object) -> None:
    tiny.write_study(here, {"methods": value})
    assert said_by_dvc(here).splitlines()[1] == (
        "cannot redefine 'methods' from 'vars[0]' as it already exists in 'params.yaml'"
    )


def test_dvc_makes_the_stages_of_the_parameters_and_no_other(here: Path) -> None:
    tiny.write_study(here, {"seeds": [42, 7]})
    assert said_by_dvc(here) == ""
    with Repo(here) as repo:
        names = {stage.name for stage in repo.index.stages}
    assert {name for name in names if name.startswith("train")} == {
        f"train@{method}-{seed}" for method in ("full", "lora") for seed in (42, 7)
    }
    assert not any(" " in name for name in names)


def said_by_dvc(folder: Path) -> str:
    """Return what DVC finds wrong with a study when it makes its stages of the project's file."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    with Repo.init(folder, no_scm=True) as repo:
        try:
            assert repo.index.stages
        except DvcException as error:
            return str(error)
    return ""


def test_a_link_that_leads_nowhere_is_taken_away_so_that_dvc_can_start(here: Path) -> None:
    tiny.write_study(here)
    (here / "encoder").mkdir()
    paths.CORPUS.parent.mkdir(parents=True)
    paths.CORPUS.symlink_to(here / "gone.csv")
    paths.MODEL.symlink_to(here / "encoder")
    check.check()
    assert not paths.CORPUS.is_symlink()
    assert paths.MODEL.is_symlink()


def test_a_queued_experiment_without_what_git_leaves_out_says_what_dvc_copies(
    here: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_study(here)
    (here / "encoder").mkdir()
    copied = here / ".dvc/tmp/exps/tmp1"
    copied.mkdir(parents=True)
    monkeypatch.chdir(copied)
    tiny.write_study(copied)
    (copied / "reviews.csv").unlink()
    assert line_of(sources.main, capfd) == (
        "data.source: 'reviews.csv' not found; a queued experiment runs in a copy that holds only "
        f"what Git tracks: give an absolute path, '{here}/reviews.csv', or add `--copy-paths "
        "reviews.csv` to `dvc exp run`"
    )
    # A name that could be one of the Hub.
    tiny.write_study(copied)
    assert line_of(sources.main, capfd).startswith(
        "model.name: 'encoder' not found; a queued experiment runs in a copy that holds only what "
        f"Git tracks: give an absolute path, '{here}/encoder', or add"
    )
    # One that is nowhere.
    tiny.write_study(copied, {"data.source": "none.csv"})
    assert line_of(sources.main, capfd).endswith(
        "an absolute path or add `--copy-paths none.csv` to `dvc exp run`"
    )


# subset


def parquet(rows: list[dict[str, Any]], schema: Any = None) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def hub_folder(path: Path) -> None:
    tiny.write_hub_dataset(path, train=[("x", 0), ("y", 1)])


def numbered(rows: int, word: str = "x") -> list[tuple[str, int]]:
    return [(f"{word} {number}", number % 2) for number in range(rows)]


def grouped(rows: int, film: Callable[[int], Any]) -> str:
    lines = (f"text {number},{number % 2},{film(number)}\n" for number in range(rows))
    return "text,label,film\n" + "".join(lines)


def empty_package(path: Path) -> None:
    path.mkdir()
    (path / "__init__.py").touch()


SCHEMA = pa.schema([("text", pa.string()), ("label", pa.int64())])
# A mistake: changed keys, files to write, and the line that answers it; " ... " stands for more.
SUBSET: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "file not there": (
        {"data.source": "no.csv"},
        {},
        "data.source: 'no.csv' not found; give a path",
    ),
    "folder not there": (
        {"data.source": "./no/folder"},
        {},
        "data.source: './no/folder' not found",
    ),
    "folder without data": (
        {"data.source": "d"},
        {"d/notes.md2": b"x"},
        "data.source: 'd' cannot be read: ... data files",
    ),
    "empty folder": (
        {"data.source": "d"},
        {"d": Path.mkdir},
        "data.source: 'd' cannot be read: ... any data files",
    ),
    "unknown ending": (
        {"data.source": "c.txt"},
        {"c.txt": b"x"},
        "data.source: 'c.txt' ends in none of .csv, ... .parquet",
    ),
    "CSV not UTF-8": (
        {"data.source": "c.csv"},
        {"c.csv": "text,label\ncafé,a\n".encode("latin-1")},
        "data.source: 'c.csv' is not UTF-8 text; convert it",
    ),
    "CSV in UTF-16": (
        {"data.source": "c.csv"},
        {"c.csv": "text,label\nx,a\n".encode("utf-16")},
        "data.source: 'c.csv' is not UTF-8 text; convert it",
    ),
    "JSONL not UTF-8": (
        {"data.source": "c.jsonl"},
        {"c.jsonl": '{"text": "é", "label": 1}\n'.encode("latin-1")},
        "data.source: 'c.jsonl' is not UTF-8 text; convert it",
    ),
    "CSV with a row too long": (
        {"data.source": "c.csv"},
        {"c.csv": b"text,label\nx,a\nx,y,z\n"},
        "data.source: 'c.csv': the header has 2 fields, but line 3 has 3; a cell that holds the",
    ),
    "CSV with an open quote": (
        {"data.source": "c.csv"},
        {"c.csv": b'text,label\n"x,a\ny,b\n'},
        "data.source: 'c.csv': line 2: a quote is opened and never closed",
    ),
    "broken JSONL": (
        {"data.source": "c.jsonl"},
        {"c.jsonl": b'{"text": "x", "label": 1}\n{"text":\n'},
        "data.source: 'c.jsonl': line 2 is not JSON: Expecting value; expected one object a line",
    ),
    "broken Parquet": (
        {"data.source": "c.parquet"},
        {"c.parquet": b"PAR1 no more"},
        "data.source: 'c.parquet' cannot be read: Parquet magic bytes not found",
    ),
    "broken Parquet in a folder": (
        {"data.source": "d"},
        {"d/train.parquet": b"PAR1 no more"},
        "data.source: 'd' cannot be read: Parquet magic bytes not found",
    ),
    "empty CSV": (
        {"data.source": "c.csv"},
        {"c.csv": b""},
        "data.source: 'c.csv' is empty",
    ),
    "CSV of a header alone": (
        {"data.source": "c.csv"},
        {"c.csv": b"text,label\n"},
        "data.source: 'c.csv' is empty",
    ),
    "empty JSONL": (
        {"data.source": "c.jsonl"},
        {"c.jsonl": b""},
        "data.source: 'c.jsonl' is empty",
    ),
    "Parquet of no bytes": (
        {"data.source": "c.parquet"},
        {"c.parquet": b""},
        "data.source: 'c.parquet' is empty: it has no rows",
    ),
    "Parquet of no rows": (
        {"data.source": "c.parquet"},
        {"c.parquet": parquet([], SCHEMA)},
        "data.source: 'c.parquet' is empty",
    ),
    "no text column": (
        {"data.text_column": "txet"},
        {},
        "data.text_column: 'reviews.csv' has no column 'txet'; "
        "did you mean 'text'? known: label, text",
    ),
    "no label column": (
        {"data.label_column": "labels"},
        {},
        "data.label_column: 'reviews.csv' has no column 'labels'; did you mean 'label'?",
    ),
    "no column to filter by": (
        {"data.where": {"sorce": "imdb"}},
        {},
        "data.where: 'reviews.csv' has no column 'sorce'; known: label, text",
    ),
    "no group column": (
        {"data.group_column": "lable"},
        {},
        "data.group_column: 'reviews.csv' has no column 'lable'; did you mean 'label'? known: ",
    ),
    "a row without a group": (
        {"data.source": "c.csv", "data.group_column": "film"},
        {"c.csv": b"text,label,film\nx,a,1\ny,b,\n"},
        "data.group_column: 'film' of 'c.csv' is empty in line 3; name the group of each row",
    ),
    "one group": (
        {"data.source": "c.csv", "data.group_column": "film"},
        {"c.csv": grouped(60, lambda n: "Alien")},
        "data.group_column: split 'train' of 'c.csv' has one group, 'Alien'; each of train, "
        "validation, test needs one of its own",
    ),
    "a class of two groups": (
        {"data.source": "c.csv", "data.group_column": "film"},
        {"c.csv": grouped(60, lambda n: n if n % 2 else n % 4)},
        "data.group_column: the 30 rows of class '0' in split 'train' of 'c.csv' are of 2 groups, "
        "'0', '2'; each of train, validation, test needs one of its own",
    ),
    "a group as big as everything": (
        {"data.source": "c.csv", "data.group_column": "film"},
        {"c.csv": grouped(60, lambda n: 0 if n < 50 else n)},
        "subset.train + subset.validation + subset.test: 24 + 12 + 12 rows are asked for, no group "
        "in two of them; split 'train' of 'c.csv' has 60 rows in 11 groups of data.group_column, "
        "the largest of 50, and no way was found: ask for fewer rows",
    ),
    "classes for groups": (
        {"data.group_column": "label"},
        {},
        "data.group_column: split 'train' of 'reviews.csv' has 2 groups, 'negative', 'positive'; ",
    ),
    "a filter that keeps nothing": (
        {"data.where": {"label": "imdb"}},
        {},
        "data.where: no row of 'reviews.csv' has label = 'imdb'",
    ),
    "a text column of numbers": (
        {"data.source": "c.parquet", "data.text_column": "label"},
        {"c.parquet": parquet([{"text": "x", "label": 1}])},
        "data.text_column: 'label' of 'c.parquet' holds int64, not text",
    ),
    "one class": (
        {"data.where": {"label": "positive"}},
        {},
        "data.label_column: a comparison needs two classes or more; found 'positive' alone",
    ),
    "no label at all": (
        {"data.source": "c.csv"},
        {"c.csv": b"text,label\nx,\ny,\n"},
        "data.split: split 'train' of 'c.csv' after dropping 2 empty has no rows left; its rows",
    ),
    "labels between whole numbers": (
        {"data.source": "c.csv"},
        {"c.csv": b"text,label\nx,0.5\ny,1\n"},
        "data.label_column: 'label' of 'c.csv' holds '0.5' in line 2; a class is a string or",
    ),
    "too few names": (
        {"data.label_names": ["bad"]},
        {},
        "data.label_names: ['bad'] is not right; expected 2 different names",
    ),
    "more rows than there are": (
        {"subset.train": 50},
        {},
        "subset.train + subset.validation + subset.test: 74 rows are asked for; "
        "split 'train' of 'reviews.csv' has 60",
    ),
    "more rows than there are without copies": (
        {"data.source": "c.csv"},
        {"c.csv": "text,label\n" + "".join(f"text {n % 40},{n % 2}\n" for n in range(50))},
        "subset.train + ... 48 rows are asked for; ... after dropping 10 duplicates has 40",
    ),
    "more test rows than the test split has": (
        {"data.source": "d", "data.test_split": "test"},
        {"d": lambda path: tiny.write_hub_dataset(path, train=numbered(60), test=numbered(2, "t"))},
        "subset.test: 12 rows are asked for; split 'test' of 'd' has 2",
    ),
    "a class of too few rows": (
        {"data.source": "c.csv"},
        {"c.csv": "text,label\n" + "".join(f"text {n},{min(n, 1)}\n" for n in range(60))},
        "data.label_column: class '0' has 1 of the 60 rows; each of train, validation, test needs",
    ),
    "a split too small for its classes": (
        {"subset.test": 1},
        {},
        "subset.test: 1 is too few; with 2 classes, each split needs 2 rows or more",
    ),
    "a split of a file": (
        {"data.test_split": "test"},
        {},
        "data.test_split: 'test' is not right: the file 'reviews.csv' has no splits; drop the key",
    ),
    "unknown split": (
        {"data.source": "d", "data.split": "trian"},
        {"d": hub_folder},
        "data.split: 'd': Unknown split ... trian",
    ),
    "unknown test split": (
        {"data.source": "d", "data.test_split": "test"},
        {"d": hub_folder},
        "data.test_split: 'd': Unknown split ... ['train']",
    ),
    "unknown configuration": (
        {"data.source": "d", "data.config": "plain"},
        {"d": hub_folder},
        "data.config: 'd': ... Available: ['plain_text']",
    ),
    "Hub data set that cannot be had": (
        {"data.source": "stanfordnlp/imdb", "data.revision": "e628166"},
        {},
        "data.source: 'stanfordnlp/imdb' at revision 'e628166' is neither a path nor a copy on "
        "this machine, and the Hugging Face Hub cannot be reached; connect, or give a local path",
    ),
    "package not installed": (
        {"data.source": "package:movie_revues/c.csv"},
        {},
        "data.source: package 'movie_revues' is not installed; run `make setup`",
    ),
    "a file that the package lacks": (
        {"data.source": "package:some_texts/c.csv"},
        {"some_texts": empty_package},
        "data.source: package 'some_texts' has no 'c.csv' in ... some_texts",
    ),
    "a file where the folder of results should be": (
        {},
        {"data": b"x"},
        "cannot write or read 'data': there is a file where a folder should be",
    ),
}


def put(folder: Path, files: dict[str, Any]) -> None:
    """Write files: bytes, text, or a function that is given the path."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(("changes", "files", "expected"), SUBSET.values(), ids=SUBSET)
def test_subset_names_what_is_wrong_with_the_data(
    here: Path,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    files: dict[str, Any],
    expected: str,
) -> None:
    monkeypatch.syspath_prepend(here)
    tiny.write_study(here, changes)
    put(here, files)
    assert answers(line_of(subset.main, capfd), expected)
    assert not (here / "data" / "subset").exists()


# encode

ENCODE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "before subset": (
        {},
        {"data/subset/manifest.json": None},
        "data/subset/manifest.json: not found; run `dvc repro subset`",
    ),
    "broken manifest": (
        {},
        {"data/subset/manifest.json": b"{"},
        "data/subset/manifest.json: not valid JSON; run `dvc repro --force subset`",
    ),
    "missing rows": (
        {},
        {"data/subset/test.parquet": None},
        "data/subset/test.parquet: not found; run `dvc repro subset`",
    ),
    "broken rows": (
        {},
        {"data/subset/test.parquet": b"PAR1"},
        "data/subset/test.parquet: not valid Parquet; run `dvc repro --force subset`",
    ),
    "model folder not there": (
        {"model.name": "./no-model"},
        {},
        "model.name: './no-model' not found",
    ),
    "folder without configuration": (
        {"model.name": "m"},
        {"m": Path.mkdir},
        "model.name: 'm' cannot be read: ... config.json",
    ),
    "configuration that is not JSON": (
        {},
        {"encoder/config.json": b"{"},
        "model.name: 'encoder' cannot be read: ... config.json",
    ),
    "configuration of an unknown type": (
        {},
        {"encoder/config.json": b'{"model_type": "brt"}'},
        "model.name: 'encoder' cannot be read: ... brt",
    ),
    "folder without tokenizer": (
        {},
        {"encoder/vocab.txt": None, "encoder/tokenizer_config.json": None},
        "model.name: 'encoder' has no tokenizer: no vocabulary is there",
    ),
    "Hub model that cannot be had": (
        {"model.name": "FacebookAI/roberta-base", "model.revision": "e2da8e2"},
        {},
        "model.name: 'FacebookAI/roberta-base' at revision 'e2da8e2' is neither a path nor a copy "
        "on this machine, and the Hugging Face Hub cannot be reached",
    ),
    "package not installed": (
        {"model.name": "package:no_such_model/model"},
        {},
        "model.name: package 'no_such_model' is not installed; run `make setup`",
    ),
    "max_length beyond the model": (
        {"encode.max_length": 65},
        {},
        "encode.max_length: 65 is beyond what the model takes; at most 64",
    ),
}


def edit(folder: Path, files: dict[str, Any]) -> None:
    """Write files; None removes one."""
    put(folder, {name: content for name, content in files.items() if content is not None})
    for name in (name for name, content in files.items() if content is None):
        (folder / name).unlink()


@pytest.mark.parametrize(("changes", "files", "expected"), ENCODE.values(), ids=ENCODE)
def test_encode_names_what_is_wrong_with_the_model_or_the_rows(
    encoded: Path,
    capfd: Any,
    changes: dict[str, Any],
    files: dict[str, Any],
    expected: str,
) -> None:
    tiny.write_study(encoded, changes)
    edit(encoded, files)
    before = contents(encoded / "data" / "encoded")
    assert answers(line_of(encode.main, capfd), expected)
    assert contents(encoded / "data" / "encoded") == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files beside and below a folder, by path."""
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in sorted(folder.parent.glob(f"{folder.name}*/**/*"))
        if path.is_file()
    }


# train


def lora(**keys: Any) -> dict[str, Any]:
    """Change keys of LoRA's block; None drops one."""
    changed = {**tiny.STUDY["methods"]["lora"], **keys}
    return {"methods.lora": {key: value for key, value in changed.items() if value is not None}}


def pickled(path: Path) -> None:
    import torch

    torch.save({}, path)


def configured(**values: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


TRAIN: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no method": ("", {}, {}, "usage: python -m stages.train METHOD SEED"),
    "no seed": ("lora", {}, {}, "usage: python -m stages.train METHOD SEED"),
    "a seed that is no number": ("lora x", {}, {}, "usage: python -m stages.train METHOD SEED"),
    "a typo in the method": (
        "lorra 1",
        {},
        {},
        "no method 'lorra' under methods; did you mean 'lora'? known: full, lora",
    ),
    "a seed not in the list": ("lora 7", {}, {}, "seed 7 is not among the seeds [1]"),
    "before encode": (
        "lora 1",
        {},
        {"data/encoded/manifest.json": None},
        "data/encoded/manifest.json: not found; run `dvc repro encode`",
    ),
    "broken token cache": (
        "lora 1",
        {},
        {"data/encoded/train.parquet": b"PAR1"},
        "data/encoded/train.parquet: not valid Parquet; run `dvc repro --force encode`",
    ),
    "unknown adapter": (
        "lora 1",
        lora(adapter="lorra"),
        {},
        "methods.lora.adapter: PEFT has no 'lorra'; did you mean 'lora'? known: ... vera",
    ),
    "unknown keyword": (
        "lora 1",
        lora(rr=8),
        {},
        "methods.lora.rr: unknown key for lora; did you mean 'r'? known: ... use_dora",
    ),
    "a typo in a key of fairtune": (
        "lora 1",
        lora(quantise="nf4"),
        {},
        "methods.lora.quantise: unknown key for lora; did you mean 'quantize'?",
    ),
    "a key that fairtune sets": (
        "lora 1",
        lora(modules_to_save=["x"]),
        {},
        "methods.lora.modules_to_save: fairtune sets this itself; drop the key",
    ),
    "text for a number": (
        "lora 1",
        lora(r="8"),
        {},
        "methods.lora.r: '8' is not right; expected a number, without quotes",
    ),
    "a number for a switch": (
        "lora 1",
        lora(use_dora=1),
        {},
        "methods.lora.use_dora: 1 is not right; expected true or false",
    ),
    "a rank of nothing": (
        "lora 1",
        lora(r=0),
        {},
        "methods.lora: `r` should be a positive integer value ... 0",
    ),
    "an unknown role": (
        "lora 1",
        lora(targets=["querry"]),
        {},
        "params.yaml: methods.lora.targets.0: 'querry' is not right; ... did you mean 'query'?",
    ),
    "targets that match nothing": (
        "lora 1",
        lora(targets=None, target_modules=".*nothing"),
        {},
        "methods.lora.target_modules: '.*nothing' matches none of the model's modules: "
        "bert.encoder.layer.N.attention.self.query, ",
    ),
    "a pattern that is none": (
        "lora 1",
        lora(targets=None, target_modules="("),
        {},
        "methods.lora.target_modules: '(' is no regular expression: missing )",
    ),
    "names of modules that are not there": (
        "lora 1",
        lora(targets=None, target_modules=["nothing"]),
        {},
        "methods.lora.target_modules: 'nothing' matches none of the model's modules: ... bert.enc",
    ),
    "virtual tokens beside texts that are as long as may be": (
        "lora 1",
        {
            "methods.lora": {
                "learning_rate": 0.01,
                "adapter": "prompt_tuning",
                "num_virtual_tokens": 4,
            },
            "encode.max_length": 62,
        },
        {},
        "methods.lora.num_virtual_tokens: 4 tokens beside texts of up to 62 are beyond what the "
        "model takes, 64; set encode.max_length to 60 or less",
    ),
    "feedforward for an adapter without": (
        "lora 1",
        lora(feedforward=["feedforward_out"]),
        {},
        "methods.lora: the adapter 'lora' takes no feedforward_modules",
    ),
    "quantize without adapter": (
        "full 1",
        {"methods.full.quantize": "nf4"},
        {},
        "params.yaml: methods.full: quantize: nf4 needs an adapter",
    ),
    "quantize to an unknown type": (
        "lora 1",
        lora(quantize="int8"),
        {},
        "params.yaml: methods.lora.quantize: 'int8' is not right; expected 'nf4' or 'fp4'",
    ),
    "weights that are cut short": (
        "full 1",
        {},
        {"encoder/model.safetensors": cut_short},
        "model.name: a .safetensors file of 'encoder' is not whole (Error ... `git lfs pull`",
    ),
    "weights that Git LFS has not fetched": (
        "full 1",
        {},
        {"encoder/model.safetensors": "version https://git-lfs.github.com/spec/v1\nsize 9\n"},
        "model.name: a .safetensors file of 'encoder' is not whole ... by `git lfs pull`",
    ),
    "pickled weights alone": (
        "full 1",
        {},
        {"encoder/model.safetensors": None, "encoder/pytorch_model.bin": pickled},
        "model.name: 'encoder' has no weights in safetensors; pickled ones (.bin) are not read",
    ),
    "broken weights": (
        "full 1",
        {},
        {"encoder/model.safetensors": b"x" * 99},
        "model.name: a .safetensors file of 'encoder' is not whole ... by `git lfs pull`",
    ),
    "an activation that there is not": (
        "full 1",
        {},
        {"encoder/config.json": configured(hidden_act="gelux")},
        "model.name: no bert can be made of its config.json, ... KeyError: 'gelux'",
    ),
    "heads that do not part the width": (
        "full 1",
        {},
        {"encoder/config.json": configured(num_attention_heads=5)},
        "model.name: no bert can be made of its config.json, ... multiple of the number of att",
    ),
    "a padding token beyond the vocabulary": (
        "full 1",
        {},
        {"encoder/config.json": configured(pad_token_id=99999)},
        "model.name: no bert can be made of its config.json, ... AssertionError: Padding_idx must",
    ),
    "a type of model that does not classify text": (
        "full 1",
        {},
        {"encoder/config.json": b'{"model_type": "sam"}'},
        "model.name: Transformers has no sequence classification for a model of type 'sam'",
    ),
    "a head that is not there": (
        "lora 1",
        {"model.head": ["clasifier"]},
        {},
        "model.head: no module 'clasifier' with parameters; did you mean 'classifier'?",
    ),
    "a head that leaves a part out": (
        "lora 1",
        {"model.head": ["bert.pooler.dense"]},
        {},
        "model.head: ['bert.pooler.dense'] leaves out classifier",
    ),
    "half precision on a CPU": (
        "lora 1",
        {"train.precision": "fp16"},
        {},
        "train.precision: fp16 needs a CUDA GPU; on cpu use bf16 or fp32",
    ),
}


@pytest.mark.parametrize(("words", "changes", "files", "expected"), TRAIN.values(), ids=TRAIN)
def test_train_names_what_is_wrong_with_the_method_or_the_model(
    encoded: Path,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    changes: dict[str, Any],
    files: dict[str, Any],
    expected: str,
) -> None:
    tiny.write_study(encoded, changes)
    edit(encoded, files)
    monkeypatch.setattr(sys, "argv", ["train", *words.split()])
    assert answers(line_of(train.main, capfd), expected)
    assert not [path for path in encoded.glob("models/**/*") if path.is_file()]


# As users start them: a process each


def process(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "changes", "line"),
    [
        (["stages.subset"], {"data.source": "no.csv"}, "fairtune: data.source: 'no.csv' not found"),
        (
            ["stages.subset"],
            {"data.source": "c.parquet"},
            "fairtune: data.source: 'c.parquet' cannot",
        ),
        (
            ["stages.train", "lora", "1"],
            lora(r=0),
            "fairtune: methods.lora: `r` should be a positive",
        ),
    ],
)
def test_a_process_ends_with_status_1_and_one_line(
    encoded: Path, words: list[str], changes: dict[str, Any], line: str
) -> None:
    tiny.write_study(encoded, changes)
    put(encoded, {"c.parquet": b"PAR1"})
    done = process(encoded, *words)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith(line)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["stages.subset"], {"data.source": "no/such"}),
        (["stages.encode"], {"model.name": "no/such"}),
    ],
)
def test_without_a_network_a_name_of_the_hub_fails_fast_and_without_a_word_about_retries(
    encoded: Path, words: list[str], changes: dict[str, Any]
) -> None:
    tiny.write_study(encoded, changes)
    began = time.monotonic()
    # A Hub at a port that nobody listens to: the connection is refused, as without a network.
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(encoded)}
    done = process(encoded, *words, **nowhere)
    assert time.monotonic() - began < 12
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "the Hugging Face Hub cannot be reached" in done.stderr


# Disks


def test_a_failing_run_leaves_what_was_there_before(study: Path, here: Path, capfd: Any) -> None:
    shutil.copytree(study, here, dirs_exist_ok=True)
    before = contents(here / "data" / "subset")
    assert len(before) == 4
    tiny.write_study(here, {"subset.train": 5000})
    line_of(subset.main, capfd)
    assert contents(here / "data" / "subset") == before


FULL_DISK = """
set -e
cp -a data kept
mount -t tmpfs -o size={size}k none data
cp -a kept/. data
cp -a data before
cat /dev/zero > data/filler 2> /dev/null || true
truncate -s -{free}k data/filler
status=0
{python} -m {stage} || status=$?
rm data/filler
diff -r data before >&2
exit $status
"""


@pytest.mark.parametrize("stage", ["stages.subset", "stages.encode"])
def test_a_full_disk_is_one_line_and_loses_nothing(encoded: Path, stage: str) -> None:
    # The disk is mounted for this process alone, and is gone with it.
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    able = shutil.which("unshare") and subprocess.run(
        [*alone, "mount -t tmpfs none data"], cwd=encoded, capture_output=True, check=False
    )
    if not able or able.returncode:
        pytest.skip("no right to mount a small disk here")
    script = FULL_DISK.format(size=400, free=8, python=sys.executable, stage=stage)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*alone, script], cwd=encoded, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "free some space, then run again" in done.stderr


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


TEXTS = [f"text {number}" for number in range(20_000)]


def test_what_was_there_is_there_again_when_the_last_move_fails(here: Path) -> None:
    files.write_json(here / "data" / "x.json", 1)
    with pytest.raises(FileNotFoundError), files.fresh_folder(here / "data") as half:
        half.rmdir()
    assert [path.name for path in here.iterdir()] == ["data"]
    assert files.read_json(here / "data" / "x.json", made_by="x") == 1


def test_a_fresh_folder_takes_the_place_of_the_old_one_as_a_whole(here: Path) -> None:
    for name in ("old", "new"):
        with files.fresh_folder(here / "data") as half:
            (half / name).touch()
    assert [path.name for path in here.glob("**/*")] == ["data", "new"]


def test_half_a_json_file_is_never_left(here: Path) -> None:
    files.write_json(here / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="nan"):
        files.write_json(here / "x.json", {"a": float("nan")})
    assert [path.name for path in here.iterdir()] == ["x.json"]
    assert files.read_json(here / "x.json", made_by="x") == {"a": 1}


def by_python(path: Path) -> None:
    path.write_text("x" * 100_000)


def by_arrow(path: Path) -> None:
    pq.write_table(pa.table({"x": TEXTS}), path)


def by_datasets(path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"x": TEXTS}).to_parquet(path)


def by_safetensors(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.ones(50_000)}, path)


def by_tokenizers(path: Path) -> None:
    from tokenizers import Tokenizer, models

    vocabulary = {text: number for number, text in enumerate(TEXTS)}
    Tokenizer(models.WordLevel(vocabulary, unk_token="text 0")).save(str(path))


@pytest.mark.parametrize("write", [by_python, by_arrow, by_datasets, by_safetensors, by_tokenizers])
def test_a_disk_that_takes_no_more_is_known_from_whatever_library_says_so(
    here: Path, capfd: Any, write: Callable[[Path], None]
) -> None:
    with files_of_at_most(20_000):
        line = line_of(lambda: write(here / "file"), capfd)
    assert line.startswith("cannot write")
    assert line.endswith("then run again")


@pytest.mark.parametrize("write", [by_python, by_arrow, by_safetensors, by_tokenizers])
def test_what_was_written_is_named_where_the_library_does_not(
    here: Path, capfd: Any, write: Callable[[Path], None]
) -> None:
    def main() -> None:
        with files.fresh_folder(here / "made") as half:
            write(half / "file")

    with files_of_at_most(20_000):
        line = line_of(main, capfd)
        assert line.startswith(f"cannot write or read '{here / 'made'}': the file would be larger")
        line = line_of(lambda: files.write_json(here / "x.json", "x" * 100_000), capfd)
    assert line.startswith(f"cannot write or read '{here / 'x.json'}': the file would be larger")
    assert not list(here.iterdir())


def test_a_file_beyond_the_limit_loses_nothing_finished(
    study: Path, here: Path, capfd: Any
) -> None:
    shutil.copytree(study, here, dirs_exist_ok=True)
    before = contents(here / "data" / "subset")
    with files_of_at_most(1_000):
        line_of(subset.main, capfd)
    assert contents(here / "data" / "subset") == before


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "the disk quota is used up: free some space"),
        (errno.EACCES, "unlock it for this user"),
        (errno.EROFS, "the disk is read-only: make it writable"),
    ],
)
def test_what_a_disk_refuses_is_answered_with_the_remedy(
    capfd: Any, number: int, remedy: str
) -> None:
    error = OSError(number, os.strerror(number), "data/x")
    line = line_of(raising(error), capfd)
    assert line == f"cannot write or read 'data/x': {remedy}, then run again"
    wrapped = RuntimeError("while writing")
    wrapped.__cause__ = error
    assert line_of(raising(wrapped), capfd) == line


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_without_a_name_is_looked_for(
    capfd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tight = tmp_path / "temporary"
    tight.mkdir()
    monkeypatch.setenv("TMPDIR", str(tight))

    def usage(folder: Path) -> Any:
        return SimpleNamespace(free=2**20 // 2 if Path(folder) == tight else 2**40)

    monkeypatch.setattr(disk.shutil, "disk_usage", usage)
    room = f"'{tight}', 0.5 MiB free"
    expected = f"cannot write or read a file: a disk is full ({room}): free some space, then run"
    assert line_of(raising(FULL), capfd).startswith(expected)
    in_words = RuntimeError("I/O error: No space left on device (os error 28)")
    assert line_of(raising(in_words), capfd).startswith(expected)
    nowhere = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert f"there is no room in {room}; free some" in line_of(raising(nowhere), capfd)


def test_a_disk_with_room_is_not_called_full(capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
    expected = "cannot write or read a file: a disk is full: free some space, then run again"
    assert line_of(raising(FULL), capfd) == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_standard_output_that_takes_no_more_is_named() -> None:
    program = "from fairtune.core.errors import run; run(lambda: print('x'))"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True,
            cwd=ROOT, env=buffered, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.startswith("fairtune: cannot write or read 'standard output': the disk is f")
    assert done.stderr.count("\n") == 1


def test_a_full_disk_is_that_of_what_was_written_where_it_has_the_least_room(
    capfd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room = {tmp_path: 0}

    def usage(folder: Path) -> Any:
        return SimpleNamespace(free=room.get(Path(folder), 2**30))

    def main(*, alone: bool) -> None:
        with disk.writing(tmp_path / "new" / "file", alone=alone):
            raise FULL

    monkeypatch.setattr(disk.shutil, "disk_usage", usage)
    named = f"cannot write or read '{tmp_path / 'new' / 'file'}': the disk is full"
    assert line_of(lambda: main(alone=False), capfd).startswith(named)
    room[tmp_path] = 2**40  # another is full, as the cache of a library
    assert line_of(lambda: main(alone=False), capfd).startswith("cannot write or read a file: a d")
    assert line_of(lambda: main(alone=True), capfd).startswith(named)


def test_of_a_copy_the_target_is_named_and_not_the_source(capfd: Any) -> None:
    copied = OSError(errno.ENOSPC, "full", "report/references.bib", None, "scratch/references.bib")
    assert line_of(raising(copied), capfd).startswith("cannot write or read 'scratch/references.b")
    tree = shutil.Error([("charts/a.svg", "scratch/a.svg", str(FULL))])
    assert line_of(raising(tree), capfd).startswith("cannot write or read 'scratch/a.svg': the d")


def test_a_full_disk_is_the_cause_of_what_followed_it(capfd: Any) -> None:
    def main() -> None:
        try:
            raise OSError(errno.ENOSPC, "full", "data/x.parquet")
        except OSError:
            raise ValueError("a file was not closed")  # noqa: B904

    assert line_of(main, capfd).startswith("cannot write or read 'data/x.parquet': the disk is f")


def test_an_exception_that_is_its_own_cause_ends_all_the_same() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert disk.obstacle(error) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for root")
def test_a_locked_folder_is_one_line(here: Path, capfd: Any) -> None:
    tiny.write_study(here)
    (here / "data").mkdir(mode=0o500)
    line = line_of(subset.main, capfd)
    assert line.startswith("cannot write or read 'data/subset.part': unlock it")


# The helpers


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_a_defect_of_the_code_keeps_its_traceback() -> None:
    for error in (KeyError("x"), OSError(errno.ENOENT, "gone", "x"), OSError("odd")):
        with pytest.raises(type(error)):
            errors.run(raising(error))


def test_an_error_raised_while_a_locked_file_was_handled_is_a_defect_all_the_same() -> None:
    def main() -> None:
        try:
            raise PermissionError(errno.EACCES, "locked", "x")
        except PermissionError:
            raise KeyError("a defect") from None

    with pytest.raises(KeyError):
        errors.run(main)


def test_an_interruption_is_one_line_and_status_130(capfd: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        errors.run(raising(KeyboardInterrupt()))
    assert caught.value.code == 130
    assert capfd.readouterr().err == "fairtune: interrupted\n"


def test_ctrl_c_is_answered_before_anything_else_is_imported() -> None:
    for program in ("stages.train", "fairtune.parallel"):
        words = [sys.executable, "-X", "importtime", "-m", program, "--none"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        names = re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)
        after = names[names.index("runpy") + 1 :]
        before = set(after[: after.index("fairtune.core.interruption")])
        assert before <= {"pkgutil", "__future__", "fairtune.core"}


def test_ctrl_c_within_an_import_is_one_line_whatever_comes_out_of_it(here: Path) -> None:
    put(
        here,
        {
            "heavy.py": "import os, signal\n"
            "try: os.kill(os.getpid(), signal.SIGINT)\n"
            "except KeyboardInterrupt: raise RuntimeError('of the library') from None\n"
        },
    )
    code = "from fairtune.core import errors; errors.run(lambda: __import__('heavy'))"
    assert program(code) == (130, "", "fairtune: interrupted\n")


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [("None", 0, ""), ("os.kill(os.getpid(), signal.SIGINT)", 130, "fairtune: interrupted\n")],
)
def test_what_a_program_imported_is_not_taken_apart_at_its_end(
    here: Path, work: str, status: int, said: str
) -> None:
    # In that time Ctrl-C would end it without a word.
    code = (
        "import atexit, os, signal, sys; sys.argv[0] = '-m'; import fairtune\n"
        "from fairtune.core import errors\n"
        "class Heavy:\n    def __del__(self): print('taken apart')\n"
        "kept = Heavy(); atexit.register(print, 'tidied up')\n"
        f"errors.run(lambda: {work})"
    )
    assert program(code) == (status, "tidied up\n", said)


def program(code: str) -> tuple[int, str, str]:
    """Run Python's code; return its status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}."},
        capture_output=True,
        text=True,
        check=False,
        # A shell without job control starts its background jobs deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("seconds", [0.3, 1.0, 6.0])
def test_ctrl_c_while_a_stage_is_loaded_or_a_notebook_runs_is_one_line(
    here: Path, seconds: float
) -> None:
    put(here, {"notebooks/walkthrough.py": "# %%\nimport time\ntime.sleep(60)\n"})
    started = subprocess.Popen(
        [sys.executable, "-m", "stages.notebook"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell without job control starts its background jobs deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(seconds)
    os.killpg(started.pid, signal.SIGINT)
    assert started.communicate(timeout=30)[1] == "fairtune: interrupted\n"
    assert started.returncode != 0


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from fairtune.core import errors; errors.run(lambda: print('line\\n' * 99999))"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{code}" | head -1; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "line\n141\n"
    assert done.stderr == ""


def test_an_error_of_several_lines_becomes_one(capfd: Any) -> None:
    assert line_of(raising(UserError("a key:\n  is   wrong\n")), capfd) == "a key: is wrong"


def test_did_you_mean_finds_the_nearest_and_lists_all() -> None:
    assert did_you_mean("lorra", ["vera", "lora"]) == "did you mean 'lora'? known: lora, vera"
    assert did_you_mean("zzz", ["vera", "lora"]) == "known: lora, vera"
    assert did_you_mean("zzz", []) == "known: none"


def test_one_line_is_the_first_line_or_the_kind_of_error() -> None:
    assert one_line(ValueError("\n first \n second")) == "first"
    assert one_line(StopIteration()) == "StopIteration"


@pytest.mark.parametrize("program", PROGRAMS)
def test_asking_for_help_gives_help_and_does_nothing(
    program: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(program).main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
    assert not list(here.iterdir())
