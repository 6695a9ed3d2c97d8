"""Texts are classified as the run's own test rows were, in files of any kind and size."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import resource
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fairtune import predict
from fairtune.core import params, terminal
from fairtune.core.errors import UserError
from fairtune.runs import store
from fairtune.serving import artefact, classify, inputs, outputs
from fairtune.serving.rows import ahead
from tests import commands, tiny, trained

Ask = Callable[..., Any]
COLUMNS = ["label", "probability"]
EACH = [f"probability_{name}" for name in trained.LABELS]


@pytest.fixture
def ask(hub_study: Path) -> Ask:
    """Return what runs the command in the study's folder, and gives back how it ended."""

    def run(*words: object, stdin: bytes = b"") -> Any:
        with (
            trained.inside(hub_study),
            mock.patch.object(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin))),
        ):
            return commands.run(predict.main, hub_study, *map(str, words))

    return run


@pytest.fixture
def refused(ask: Ask) -> Callable[..., str]:
    """Return what runs the command, and gives back the one line that it ends with."""

    def run(*words: object, **given: Any) -> str:
        done = ask(*words, **given)
        assert done.returncode == 1, done.stdout
        assert done.stderr.startswith("fairtune: ")
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
        return str(done.stderr)

    return run


@pytest.fixture(scope="module")
def texts(hub_study: Path) -> list[str]:
    """Return the texts of the test rows."""
    table = pq.read_table(hub_study / "data/subset/test.parquet")
    return list(table.column("text").to_pylist())


def write(path: Path, texts: list[str]) -> Path:
    """Write texts with their numbers, in the kind of file that the name says."""
    numbers = list(range(len(texts)))
    match path.suffix:
        case ".csv" | ".tsv":
            rows = [("number", "text"), *zip(numbers, texts, strict=True)]
            tiny.write_csv(path, rows, delimiter="," if path.suffix == ".csv" else "\t")
        case ".jsonl":
            tiny.write_jsonl(path, [{"number": n, "text": texts[n]} for n in numbers])
        case ".parquet":
            pq.write_table(pa.table({"number": numbers, "text": texts}), path)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Read rows of a file of any kind."""
    match path.suffix:
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case ".parquet":
            return list(pq.read_table(path).to_pylist())
    separator = "," if path.suffix == ".csv" else "\t"
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


@pytest.mark.parametrize("method", trained.METHODS)
def test_the_test_rows_are_predicted_as_the_run_recorded(
    hub_study: Path, texts: list[str], ask: Ask, tmp_path: Path, method: str
) -> None:
    source, out = write(tmp_path / "rows.jsonl", texts), tmp_path / "out.jsonl"
    assert ask(method, 1, source, "--out", out, "--all-classes").returncode == 0
    rows = read(out)
    with trained.inside(hub_study):
        recorded = store.read_training(method, 1).predictions
    found = np.array([[row[name] for name in EACH] for row in rows], dtype=np.float32)
    assert np.abs(found - recorded.probabilities).max() < 1e-6
    assert [row["label"] for row in rows] == [trained.LABELS[c] for c in recorded.predicted]
    assert np.allclose([row["probability"] for row in rows], found.max(axis=1))


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_each_kind_of_file_comes_back_whole_and_in_order(
    ask: Ask, tmp_path: Path, texts: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "CHUNK", 5)
    awkward = ['said "so", and more', 'a "quoted" end', "żółw, déjà vu", "<br /> a break <br />"]
    given = [*awkward, *texts]
    source, out = write(tmp_path / f"rows.{kind}", given), tmp_path / f"out.{kind}"
    done = ask("lora", source, "--out", out)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    rows = read(out)
    assert list(rows[0]) == ["number", "text", *COLUMNS]
    assert [int(row["number"]) for row in rows] == list(range(len(given)))
    assert [row["text"] for row in rows] == given
    assert {row["label"] for row in rows} <= set(trained.LABELS)
    assert all(1 / 3 < float(row["probability"]) < 1 for row in rows)
    assert not list(tmp_path.glob("*.part"))


def test_a_chunk_s_size_changes_no_prediction(
    ask: Ask, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, found = write(tmp_path / "rows.csv", texts), []
    for size in (4, 1000):
        monkeypatch.setattr(predict, "CHUNK", size)
        rows = csv.DictReader(io.StringIO(ask("lora", source).stdout))
        found.append([float(row["probability"]) for row in rows])
    assert len(found[0]) == len(texts)
    assert np.allclose(*found, atol=1e-6)


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_memory_holds_a_chunk_and_not_the_file(tmp_path: Path, kind: str) -> None:
    def peak(count: int) -> int:
        """Return the most bytes held while so many rows are read and written."""
        path = write(tmp_path / f"rows{count}.{kind}", [f"text {n}" for n in range(count)])
        tracemalloc.start()
        source = inputs.open_source(path, "text", kind=kind)
        assert source.count == count
        seen = 0
        with outputs.opened(source, tmp_path / f"out.{kind}", COLUMNS) as write_chunk:
            for chunk in source.read(500):
                found = np.full((len(chunk.texts), 3), 1 / 3, np.float32)
                labels = list(trained.LABELS)
                write_chunk(chunk, outputs.columns(found, labels, prefix="", all_classes=False))
                seen += len(chunk.texts)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == count
        assert len(read(tmp_path / f"out.{kind}")) == count
        return held

    with mock.patch.object(inputs, "LOOKED", 500):
        peak(500)  # imports and caches
        assert peak(10_000) < 1.5 * peak(1_000)


def test_a_gpu_s_next_rows_are_made_while_it_computes(texts: list[str], tmp_path: Path) -> None:
    """On a processor the rows are made in turn with the predictions."""
    source = inputs.open_source(write(tmp_path / "rows.csv", texts), "text", kind="csv")
    made: list[str] = []
    second = threading.Event()

    def encoded(some: list[str]) -> list[str]:
        made.append(threading.current_thread().name)
        if len(made) == 2:
            second.set()
        return [text.upper() for text in some]

    here = threading.current_thread().name
    for kind in ("cpu", "cuda"):
        made.clear()
        second.clear()
        asked: Any = SimpleNamespace(device=SimpleNamespace(type=kind), encoded=encoded)
        with mock.patch.object(predict, "CHUNK", 4):
            pairs = predict.chunks(asked, source)
            first = next(pairs)
            assert second.wait(5 if kind == "cuda" else 0) == (kind == "cuda")
            every = [first, *pairs]
        assert [text for chunk, _ in every for text in chunk.texts] == texts
        assert [ids for _, ids in every] == [[t.upper() for t in chunk.texts] for chunk, _ in every]
        assert (here in made) == (kind == "cpu")


def test_what_goes_wrong_with_the_rows_ahead_is_raised_in_its_place() -> None:
    def three() -> Iterator[int]:
        yield 1
        yield 2
        raise UserError("the third is not right")

    found = ahead(three())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(UserError, match="the third"):
        next(found)
    assert list(ahead([])) == []


def test_standard_input_is_read_and_standard_output_written(ask: Ask, texts: list[str]) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[:3])
    done = ask("lora", "-", "--format", "jsonl", stdin=lines.encode())
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == texts[:3]
    done = ask("lora", "-", stdin=b"text\nlovely\n")
    assert done.stdout.splitlines()[0] == "text,label,probability"


def test_options_may_stand_anywhere_and_a_person_sees_a_bar(
    ask: Ask, tmp_path: Path, texts: list[str]
) -> None:
    source, out = write(tmp_path / "rows.csv", texts), tmp_path / "out.csv"
    with mock.patch.object(terminal, "at_terminal", return_value=True):
        done = ask("--batch-size", 7, "lora", "--out", out, 1, "--all-classes", source)
    assert f"{len(texts)}/{len(texts)}" in done.stderr
    assert len(read(out)) == len(texts)


def test_one_text_is_answered_with_its_class(ask: Ask) -> None:
    label, probability = ask("full", "--text", "A lovely film").stdout.split()
    assert label in trained.LABELS
    lines = ask("full", "1", "--text", "A lovely film", "--all-classes").stdout.splitlines()
    assert lines[0] == f"{label} {probability}"
    assert sorted(line.split()[0] for line in lines) == sorted(trained.LABELS)
    assert sum(float(line.split()[1]) for line in lines) == pytest.approx(1, abs=2e-4)


def test_a_class_is_one_line_that_moves_no_cursor() -> None:
    classifier: Any = SimpleNamespace(probabilities=lambda _: np.array([[0.25, 0.75]]))
    labels = ["a\nb", "\x1b[31mred\x1b[0m \u202e"]
    said = predict.classify_text(classifier, "x", labels, every=True)
    assert said == "[31mred[0m 0.7500\na b 0.2500"


def test_packed_files_other_columns_and_separators_are_read(ask: Ask, tmp_path: Path) -> None:
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(b"id;review\n1;lovely\n"))
    done = ask("lora", packed, "--text-column", "review", "--separator", ";")
    assert done.stdout.splitlines()[0] == "id;review;label;probability"


def test_a_tsv_file_without_quotes_keeps_its_marks(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('id\ttext\n1\t"Lovely" is not the word\n2\tdull\n')
    lines = ask("lora", path).stdout.splitlines()
    assert lines[1].startswith('1\t"Lovely" is not the word\t')
    path.write_text('id\ttext\n1\t"two\nlines"\n2\tdull\n')
    rows = list(csv.reader(io.StringIO(ask("lora", path).stdout), delimiter="\t"))
    assert rows[1][:2] == ["1", "two\nlines"]


def test_what_a_file_has_already_is_not_overwritten(
    refused: Callable[..., str], ask: Ask, hub_study: Path
) -> None:
    line = refused("lora", "reviews.csv")
    assert "'reviews.csv' has a column 'label' already" in line
    assert "--prefix" in line
    done = ask("lora", "reviews.csv", "--prefix", "predicted_")
    assert done.stdout.splitlines()[0] == "text,label,predicted_label,predicted_probability"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", "id,text\n1,fine\n2,\n", "line 3: the column 'text' is empty"),
        ("a.csv", "id,text\n1,fine\n2,a,b\n", "the header has 2 fields, but line 3 has 3"),
        ("a.csv", 'id,text\n1,"open\n', "line 2: a quote is opened and never closed"),
        ("a.csv", "id,review\n1,fine\n", "has no column 'text'; known: id, review"),
        ("a.csv", "id;text\n1;fine\n", '--separator: "," is not right'),
        ("a.csv", "", "is empty"),
        ("a.csv", "id,text\n", "is empty"),
        ("a.tsv", "id\ttext\n1\tfine\n2\n", "line 3 has 1"),
        ("a.tsv", "id\ttext\n1\t \n", "line 2: the column 'text' is empty"),
        ("a.jsonl", '{"text": "fine"}\n{"text": 3}\n', "line 2: the column 'text' holds 3"),
        ("a.jsonl", '{"text": "fine"}\n{"id": 3}\n', "line 2: the column 'text' is empty"),
        ("a.jsonl", '{"text": "fine"}\n{"text"\n', "line 2 is not JSON"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "line 1: the column 'text' holds half"),
        ("a.jsonl", '{"review": "fine"}\n', "has no column 'text'; known: review"),
        ("a.parquet", "no parquet", "is no Parquet file"),
        ("a.xlsx", "", "ends in none of .csv"),
    ],
)
def test_a_file_that_is_not_right_is_named_with_the_row(
    refused: Callable[..., str], tmp_path: Path, name: str, content: str, line: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with mock.patch.object(predict, "load_classifier", side_effect=AssertionError("too late")):
        said = refused("lora", path)
    assert line in said
    assert "data.source" not in said


def test_rows_of_parquet_are_named_by_their_number(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["fine", None]}), path)
    assert "row 2: the column 'text' is empty" in refused("lora", path, "--out", tmp_path / "b")
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert "holds int64, not text" in refused("lora", path)
    pq.write_table(pa.table({"text": ["fine"]}), path)
    assert "name a file" in refused("lora", path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lara", "--text", "a"], "no method 'lara' under methods; did you mean 'lora'?"),
        (["lora", "7", "--text", "a"], "seed 7 is not among the seeds of params.yaml: 1"),
        (["lora", "no.csv"], "'no.csv': not found"),
        (["lora", "data"], "ends in none of .csv"),
        (["lora", "--text", " "], "--text: it is empty"),
        (["lora", "--text", "a", "--device", "mps"], "--device: 'mps' is not on this machine"),
        (["lora", "reviews.csv", "--prefix", "p_", "--out", "no/x.csv"], "its folder is not there"),
        (["lora", "reviews.csv", "--prefix", "p_", "--out", "x.jsonl"], "end its name in .csv"),
        (["lora", "reviews.csv", "--prefix", "p_", "--out", "x.csv.gz"], "is not packed"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    refused: Callable[..., str], words: list[str], line: str
) -> None:
    assert line in refused(*words)


def test_what_standard_input_lacks_is_said_of_it(refused: Callable[..., str]) -> None:
    line = refused("lora", "-", stdin=b'text\nfine\n \n""\n')
    assert "standard input: line 4: the column 'text' is empty" in line


def test_a_training_that_is_not_there_is_named(
    tmp_path: Path, hub_study: Path, encoder: Callable[..., Path]
) -> None:
    tiny.write_study(tmp_path, {"model.name": str(encoder())})
    done = commands.run(predict.main, tmp_path, "lora", "--text", "fine")
    assert done.returncode == 1
    assert "models/lora/1/run.json: not found; run `dvc repro train@lora-1`" in done.stderr


def test_nothing_half_is_left_where_predicting_fails(
    ask: Ask, tmp_path: Path, texts: list[str]
) -> None:
    source, out = write(tmp_path / "rows.csv", texts), tmp_path / "out.csv"
    with (
        mock.patch.object(outputs, "columns", side_effect=KeyboardInterrupt),
    ):
        assert ask("lora", source, "--out", out).returncode == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_disk_that_takes_no_more_is_that_of_what_is_written(
    refused: Callable[..., str], texts: list[str], tmp_path: Path, kind: str
) -> None:
    source, out = write(tmp_path / f"rows.{kind}", texts), tmp_path / f"out.{kind}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        line = refused("lora", source, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"cannot write or read '{out}': the file would be larger than is allowed here" in line
    assert not out.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_device_is_named(
    refused: Callable[..., str], texts: list[str], tmp_path: Path
) -> None:
    rows = write(tmp_path / "rows.csv", texts[:3])
    assert "'/dev/full': the disk is full" in refused("lora", rows, "--out", "/dev/full")


def test_a_pipe_is_written_to_and_not_replaced(
    ask: Ask, refused: Callable[..., str], texts: list[str], tmp_path: Path
) -> None:
    pipe, rows = tmp_path / "pipe", write(tmp_path / "rows.csv", texts[:3])
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # holds what is written, so that nobody waits
    try:
        assert ask("lora", rows, "--out", pipe).returncode == 0
        found = list(csv.DictReader(io.StringIO(os.read(end, 65536).decode())))
    finally:
        os.close(end)
    assert [row["text"] for row in found] == texts[:3]
    assert pipe.is_fifo()
    table = write(tmp_path / "rows.parquet", texts[:3])
    assert "Parquet needs a file" in refused("lora", table, "--out", pipe)


@contextlib.contextmanager
def piped(content: bytes) -> Iterator[str]:
    """Yield the name that a shell gives a pipe for `<(command)`; the content fits a pipe."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="a system without /dev/fd")
def test_a_pipe_is_read_as_standard_input_is(
    ask: Ask, refused: Callable[..., str], texts: list[str]
) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[:3]).encode()
    wanted = ask("lora", "-", "--format", "jsonl", stdin=lines).stdout
    assert len(wanted.splitlines()) == 3
    with piped(lines) as name:
        assert ask("lora", name, "--format", "jsonl").stdout == wanted
    with piped(b"text\nlovely\n") as name:
        assert ask("lora", name).stdout == ask("lora", "-", stdin=b"text\nlovely\n").stdout
    with piped(b'text\nlovely\n""\n') as name:
        assert f"'{name}': line 3: the column 'text' is empty" in refused("lora", name)


def test_a_pipe_with_an_ending_is_of_its_kind(ask: Ask, tmp_path: Path) -> None:
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"text": "lovely"}\n',))
    writer.start()
    done = ask("lora", pipe)
    writer.join()
    assert json.loads(done.stdout)["text"] == "lovely"


def test_a_link_stays_one(ask: Ask, texts: list[str], tmp_path: Path) -> None:
    link, kept = tmp_path / "link.csv", tmp_path / "kept.csv"
    link.symlink_to(kept)
    rows = write(tmp_path / "rows.csv", texts[:3])
    assert ask("lora", rows, "--out", link).returncode == 0
    assert link.is_symlink()
    assert len(list(csv.DictReader(io.StringIO(kept.read_text())))) == 3


def test_no_weight_is_cast_for_each_batch_in_bf16(hub_study: Path, texts: list[str]) -> None:
    with trained.inside(hub_study):
        found = artefact.find(params.load(), "full")
    parameters = found.record.parameters
    low = parameters | {"train": parameters["train"] | {"precision": "bf16"}}
    run = replace(found.run, record=found.record.model_copy(update={"parameters": low}))
    with trained.inside(hub_study):
        held = classify.load_classifier(replace(found, run=run))
        with mock.patch.object(torch.nn.Module, "requires_grad_"):
            cast = classify.load_classifier(replace(found, run=run))

    def kinds(classifier: classify.Classifier) -> set[torch.dtype]:
        layers = classifier.model.modules()
        return {layer.weight.dtype for layer in layers if isinstance(layer, torch.nn.Linear)}

    assert (kinds(held), kinds(cast)) == ({torch.bfloat16}, {torch.float32})
    assert np.array_equal(held.probabilities(texts), cast.probabilities(texts))


def test_the_command_runs_as_users_start_it(hub_study: Path) -> None:
    printed = trained.fresh(hub_study, "-m", "fairtune.predict", "ia3", "--text", "A gem")
    assert printed.split()[0] in trained.LABELS
