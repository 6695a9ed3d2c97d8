"""What a training wrote is kept for Git without the weights, small, whole, and read as written."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairtune.core import files
from fairtune.core.errors import UserError
from fairtune.core.paths import RUN_FILES, run_folder, training_folder
from fairtune.runs.store import parse_run, read_run, read_training, write_run
from stages import record
from tests.reports import make_study
from tests.studies import make_runs

SEEDS = (1, 2)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what runs the stage in a folder where LoRA was trained with two seeds."""
    monkeypatch.chdir(tmp_path)
    runs = make_runs(methods=("lora",), seeds=SEEDS)
    Path("params.yaml").write_text(json.dumps(make_study(runs)))
    for run in runs["lora"]:
        folder = training_folder("lora", run.record.seed)
        write_run(folder, run.record, run.history, run.predictions)
        (folder / "weights").mkdir()
        (folder / "weights/adapter_model.safetensors").write_bytes(b"x" * 1000)

    def run_stage(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["record", *(words or ("lora",))])
        record.main()

    return run_stage


def kept() -> list[str]:
    return sorted(str(path) for path in Path("runs").rglob("*") if path.is_file())


def test_the_three_files_of_each_seed_are_kept_and_no_weights(trained: Callable[..., None]) -> None:
    trained()
    assert kept() == sorted(f"runs/lora/{seed}/{file}" for seed in SEEDS for file in RUN_FILES)
    for seed in SEEDS:
        for file in RUN_FILES:
            copied = run_folder("lora", seed) / file
            assert copied.read_bytes() == (training_folder("lora", seed) / file).read_bytes()
        assert read_run("lora", seed).record == read_training("lora", seed).record


def test_a_seed_that_is_no_more_leaves_nothing(trained: Callable[..., None]) -> None:
    trained()
    study = json.loads(Path("params.yaml").read_text())
    Path("params.yaml").write_text(json.dumps(study | {"seeds": [2]}))
    trained()
    assert {path.split("/")[2] for path in kept()} == {"2"}


def test_a_training_that_is_missing_leaves_what_was_kept_before(
    trained: Callable[..., None],
) -> None:
    trained()
    before = kept()
    shutil.rmtree("models/lora/2")
    with pytest.raises(UserError, match=r"models/lora/2/run.json: not found; .*train@lora-2`"):
        trained()
    assert kept() == before
    assert [path.name for path in Path("runs").iterdir()] == ["lora"]


def test_two_processes_do_not_write_the_same_records(trained: Callable[..., None]) -> None:
    with (
        files.fresh_folder(Path("runs/lora")),
        pytest.raises(UserError, match="runs/lora: another process is writing it"),
    ):
        trained()


def test_a_method_that_is_unknown_or_not_named_is_one_line(trained: Callable[..., None]) -> None:
    with pytest.raises(UserError, match=r"lora"):
        trained("loar")
    with pytest.raises(UserError, match=r"usage: python -m stages\.record METHOD"):
        trained("lora", "1")


def test_predictions_are_small_and_come_back_to_the_bit(tmp_path: Path) -> None:
    run = make_runs(methods=("lora",), rows=500)["lora"][0]
    random = np.random.default_rng(1).random((500, 1), dtype=np.float32)
    predictions = dataclasses.replace(
        run.predictions, probabilities=np.hstack([random, 1 - random])
    )
    write_run(tmp_path, run.record, run.history, predictions)
    # 4,000 bytes are the probabilities, which are random here to the last bit.
    assert (tmp_path / "predictions.parquet").stat().st_size < 8_000
    read = parse_run(lambda file: (tmp_path / file).read_bytes(), place="here", remedy="none")
    assert read.predictions.row_ids == predictions.row_ids
    assert read.predictions.probabilities.dtype == np.float32
    for field in ("labels", "probabilities", "tokens", "predicted"):
        assert np.array_equal(getattr(read.predictions, field), getattr(predictions, field))
    assert (read.record, read.history) == (run.record, run.history)


@pytest.mark.parametrize("broken", ["column", "null", "ragged", "empty"])
def test_predictions_of_another_form_are_one_line(
    trained: Callable[..., None], broken: str
) -> None:
    trained()
    path = run_folder("lora", 1) / "predictions.parquet"
    table = pq.read_table(path)
    if broken == "column":
        table = table.drop_columns("tokens")
    elif broken == "empty":
        table = table.slice(0, 0)
    else:
        column, place = ("label", 1) if broken == "null" else ("probabilities", 4)
        values = table.column(column).to_pylist()
        values[3] = None if broken == "null" else [1.0]
        field = table.field(place)
        table = table.set_column(place, field, pa.array(values, field.type))
    pq.write_table(table, path)
    with pytest.raises(UserError, match=r"^runs/lora/1/predictions.parquet: .*repro record@lora`$"):
        read_run("lora", 1)
