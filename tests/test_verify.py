"""Runs held against those that Git keeps, and the metrics held against the runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from fairtune import verify
from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.core.paths import run_folder
from fairtune.runs.record import RunRecord
from fairtune.runs.store import read_run, write_run
from fairtune.verification.agreement import Check
from stages import compare, score
from tests.reports import make_study, write_study
from tests.repositories import environment
from tests.studies import make_runs

METHODS = ("full", "lora")
ROWS = 400


def git(*words: str) -> None:
    subprocess.run(["git", *words], env=environment(), check=True, capture_output=True)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Return what writes a study and commits it, as `dvc repro` leaves it; it is then the folder.

    It lies in a folder of its Git repository, and not at the top.
    """

    def write(**knobs: Any) -> Params:
        here = tmp_path / "study"
        here.mkdir()
        monkeypatch.chdir(here)
        knobs = {"methods": METHODS, "rows": ROWS} | knobs
        write_study(here, **knobs)
        git("init", "-q", "..")
        git("add", "-A")
        git("commit", "-qm", "a study")
        return Params.model_validate(make_study(make_runs(**knobs)))

    return write


def change(
    method: str, seed: int = 42, *, record: dict[str, Any] | None = None, **fields: Any
) -> None:
    """Write a run anew with other predictions, and other keys (dotted) of its record."""
    run = read_run(method, seed)
    content = json.loads(run.record.model_dump_json())
    for key, value in (record or {}).items():
        *parents, last = key.split(".")
        part = content
        for parent in parents:
            part = part[parent]
        part[last] = value
    changed = dataclasses.replace(run.predictions, **fields)
    content["accuracy"]["test"] = (record or {}).get("accuracy.test", task.score(changed.correct))
    write_run(run_folder(method, seed), RunRecord.model_validate(content), run.history, changed)


def flip(method: str, rows: int, *, seed: int = 42, **record: Any) -> None:
    """Turn the classes of so many rows that are right."""
    predictions = read_run(method, seed).predictions
    shares = predictions.probabilities.copy()
    chosen = np.flatnonzero(predictions.correct)[:rows]
    assert len(chosen) == rows
    shares[chosen] = shares[chosen][:, ::-1]
    change(method, seed, probabilities=shares, **record)


def write_figures() -> None:
    """Make the metrics and charts follow from the runs, as `dvc repro` would."""
    for name in METHODS:
        with mock.patch.object(sys, "argv", ["score", name]):
            score.main()
    compare.main()


def checks(params: Params, revision: str = "HEAD") -> dict[str, Check]:
    found = verify.verify(params, revision)
    return {one.method: one for one in found.checks}


def printed(capsys: Any, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run the command here; return its status and what it printed."""
    monkeypatch.setattr(sys, "argv", ["verify", *words])
    with pytest.raises(SystemExit) as left:
        verify.main()
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_a_fresh_clone_is_the_same_and_its_figures_follow(
    study: Callable[..., Params],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study()
    git("clone", "-q", "..", str(tmp_path / "far"))
    monkeypatch.chdir(tmp_path / "far/study")
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 0
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == "method seeds committed here changed p (Holm) answer"
    right = f"{100 * read_run('lora', 42).predictions.correct.mean():.1f}%"
    assert " ".join(lines[2].split()) == f"lora 1 {right} {right} 0 of 400 1.000 the same"
    assert lines[4].startswith("The runs here are those committed at HEAD (")
    assert lines[4].endswith("), to the last digit.")
    assert "Every figure in metrics/ and plots/ follows from the runs here." in lines
    assert lines[-1] == "Times and memory are not compared: they differ by machine."
    assert "What differs" not in out


def test_other_digits_of_the_same_classes_are_agreement_with_what_differs(
    study: Callable[..., Params], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = study()
    shares = read_run("lora", 42).predictions.probabilities
    versions = read_run("lora", 42).record.versions | {"torch": "9.9"}
    other = {"device.precision": "fp32", "device.name": "Another", "versions": versions}
    change("lora", record=other, probabilities=shares * np.float32(1 + 2**-20))
    found = checks(params)
    assert found["full"].answer == "the same"
    lora = found["lora"]
    assert (lora.answer, lora.reason) == ("in agreement", "the same predictions, other digits")
    assert (lora.changed, lora.p_holm) == (0, 1.0)
    assert 0 < (lora.largest_difference or 0) < 1e-5
    assert set(lora.differs) == {"precision", "name of the device", "torch"}
    assert lora.differs["precision"] == ("bf16", "fp32")
    # `compare` would refuse runs of two machines, which does not keep them from being compared.
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 2
    assert "were not checked: the runs differ in: name of the device" in out
    for method in METHODS:
        change(method, record=other)
    write_figures()
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 0
    lines = out.splitlines()
    assert lines[4].startswith("The runs here agree with those committed at HEAD (")
    assert "lora: the same predictions, other digits" in lines
    (line,) = (line for line in lines if line.startswith("What differs"))
    assert line.startswith("What differs, committed -> here (lora): name of the device: ")
    assert "precision: bf16 -> fp32; " in line
    assert line.endswith("torch: 2.13.0 -> 9.9")


def test_a_few_other_rows_are_agreement_and_many_are_a_conflict(
    study: Callable[..., Params], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = study()
    flip("lora", 3)
    found = checks(params)["lora"]
    assert (found.answer, found.changed, found.predictions) == ("in agreement", 3, ROWS)
    # Exact McNemar of 3 rows to 0 is 2 / 2^3; after Holm over two methods twice that.
    assert found.p_value == pytest.approx(0.25)
    assert found.p_holm == pytest.approx(0.5)
    assert (found.accuracy or 0) == pytest.approx((found.committed_accuracy or 0) - 3 / ROWS)
    write_figures()
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 0
    detectable = 100 * (found.detectable or 0)
    assert f"difference that the test could have detected is {detectable:.1f} points." in out
    assert "3 of 400" in out
    nothing = "nothing that the records tell (device, precision, kernels, libraries)"
    assert f"What differs, committed -> here (lora): {nothing}" in out

    flip("lora", 40)
    write_figures()
    status, out, _ = printed(capsys, monkeypatch, "HEAD", "--json")
    assert status == 1
    content = json.loads(out)
    full, lora = content["checks"]
    assert (full["answer"], lora["answer"]) == ("the same", "in conflict")
    assert lora["changed"] > 30
    assert lora["p_holm"] < 1e-6
    assert content["status"] == 1
    assert len(content["commit"]) == 40
    assert content["figures"] == []
    status, out, _ = printed(capsys, monkeypatch)
    assert "The runs here are in conflict with those committed at HEAD (" in out
    assert "< 0.001" in out


def test_holm_s_correction_counts_the_methods(study: Callable[..., Params]) -> None:
    params = study()
    flip("lora", 6)
    alone = checks(params)["lora"]
    assert alone.p_value == pytest.approx(2 / 2**6)  # 0.031, and 0.063 over two methods
    assert (alone.p_holm, alone.answer) == (pytest.approx(4 / 2**6), "in agreement")
    flip("lora", 6, record={})
    # flipped from other rows that are right: now 12 to 0
    assert checks(params)["lora"].answer == "in conflict"


def test_several_seeds_take_the_verdicts_test_which_covers_seeds(
    study: Callable[..., Params],
) -> None:
    params = study(seeds=(1, 2))
    for seed in (1, 2):
        flip("lora", 2, seed=seed)
    found = checks(params)
    assert found["full"].seeds == [1, 2]
    lora = found["lora"]
    assert (lora.answer, lora.changed, lora.predictions) == ("in agreement", 4, 2 * ROWS)
    for seed in (1, 2):
        flip("lora", 60, seed=seed)
    lora = checks(params)["lora"]
    assert lora.answer == "in conflict"
    assert lora.reason == "the accuracies differ by more than the paired test allows"


def test_one_seed_of_two_that_learned_nothing_is_no_agreement(study: Callable[..., Params]) -> None:
    params = study(seeds=(1, 2))
    flip("lora", 180, seed=2)
    found = checks(params)["lora"]
    assert (found.p_value or 0) > 0.05  # the error of two such seeds hides it
    assert (found.answer, found.reason) == ("in conflict", "seed 2 learned nothing here")


def test_other_rows_and_other_parameters_are_not_comparable(
    study: Callable[..., Params], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = study()
    change("full", record={"data.subset_sha256": "0" * 64})
    change("lora", record={"parameters.train.epochs": 9, "parameters.method.r": 16})
    found = checks(params)
    assert {one.answer for one in found.values()} == {"not comparable"}
    assert found["full"].reason == "other data: the subset of rows is another"
    assert found["lora"].reason == (
        "other parameters: train.epochs is 3 there and 9 here, methods.lora.r is 8 there and 16 "
        "here"
    )
    assert found["full"].p_value is found["full"].accuracy is None
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 2
    assert " ".join(out.splitlines()[1].split()) == "full 1 n/a n/a n/a n/a not comparable"
    assert "cannot be compared with those committed at HEAD" in out

    predictions = read_run("lora", 42).predictions
    git("checkout", "-q", "runs")
    change("lora", labels=1 - predictions.labels)
    lora = checks(params)["lora"]
    assert lora.reason == "other data: the test rows or their labels are others"


def test_threads_are_no_difference_where_a_gpu_computes(study: Callable[..., Params]) -> None:
    params = study(gpu=False)
    threads = read_run("lora", 42).record.device.threads
    change("lora", record={"device.threads": threads + 1})
    assert checks(params)["lora"].differs == {"CPU threads": (str(threads), str(threads + 1))}
    change("lora", record={"device.type": "cuda"})
    assert checks(params)["lora"].differs == {"device": ("cpu", "cuda")}


def test_how_a_training_is_carried_out_differs_and_keeps_nothing_from_being_compared(
    study: Callable[..., Params],
) -> None:
    params = study()
    change("lora", record={"parameters.train.kernels": "stock"})
    found = checks(params)["lora"]
    assert found.answer == "the same"
    assert found.differs == {"train.kernels": ("none", "stock")}


def test_methods_and_seeds_of_one_side_alone_are_named(
    study: Callable[..., Params], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(seeds=(1, 2))
    git("rm", "-rq", "runs/lora")
    git("commit", "-qm", "without")
    git("checkout", "-q", "HEAD~1", "--", "runs/lora")
    content = json.loads(Path("params.yaml").read_text())
    content["seeds"] = [1]
    Path("params.yaml").write_text(json.dumps(content))
    write_figures()
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 0
    assert "Not committed, so not compared: lora." in out
    assert "Committed, but not of the study here: full with seeds 2." in out
    assert printed(capsys, monkeypatch, "HEAD~1")[0] == 0


def test_a_figure_that_does_not_follow_is_named_with_its_file_and_key(
    study: Callable[..., Params], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study()
    metrics = json.loads(Path("metrics/lora.json").read_text())
    right = metrics["accuracy"]
    Path("metrics/lora.json").write_text(json.dumps(metrics | {"accuracy": 0.99}))
    content = json.loads(Path("metrics/comparison.json").read_text())
    del content["pairs"]["full_vs_lora"]["winner"]
    Path("metrics/comparison.json").write_text(json.dumps(content))
    table = json.loads(Path("plots/memory.json").read_text())
    Path("plots/memory.json").write_text(json.dumps(table[:1]))
    change("full", record={"accuracy.test": 0.98})
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 1
    assert "runs/full/42/run.json: accuracy.test is 0.98, but the runs here give 0.9" in out
    assert f"metrics/lora.json: accuracy is 0.99, but the runs here give {right}" in out
    assert "metrics/comparison.json: pairs.full_vs_lora.winner is not there, but the runs" in out
    assert "plots/memory.json: length is 1, but the runs here give 2" in out
    assert "are those committed at HEAD" in out
    Path("metrics/lora.json").unlink()
    status, out, _ = printed(capsys, monkeypatch)
    assert status == 2
    assert "metrics/lora.json: not found; run `dvc repro score@lora`" in out


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("run.json", b"{", "runs/lora/42/run.json: not valid JSON; run `dvc repro"),
        ("run.json", b"{}", "runs/lora/42/run.json: method is not what this version writes"),
        ("predictions.parquet", b"PAR1", "runs/lora/42/predictions.parquet: not valid Parquet"),
        (None, b"", "runs/lora/42/run.json: not found; run `dvc repro record@lora`"),
    ],
)
def test_a_run_that_is_missing_or_broken_is_one_line(
    study: Callable[..., Params],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    file: str | None,
    content: bytes,
    line: str,
) -> None:
    study()
    if file:
        Path("runs/lora/42", file).write_bytes(content)
    else:
        shutil.rmtree("runs/lora/42")
    status, out, err = printed(capsys, monkeypatch)
    assert (status, out) == (2, "")
    assert err.startswith(f"fairtune: {line}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("run.json", "broken:runs/lora/42/run.json: not a run's; give a revision"),
        ("history.json", "broken:runs/lora/42/history.json: not a run's; give a revision"),
        ("predictions.parquet", "broken:runs/lora/42/predictions.parquet: not a run's; give"),
    ],
)
def test_a_committed_run_that_is_broken_is_named_with_its_revision(
    study: Callable[..., Params],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    line: str,
) -> None:
    study()
    path = Path("runs/lora/42", file)
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    git("commit", "-qam", "broken")
    git("tag", "broken")
    path.write_bytes(kept)
    status, _, err = printed(capsys, monkeypatch, "broken")
    assert status == 2
    assert err.startswith(f"fairtune: {line}")
    assert printed(capsys, monkeypatch, "HEAD~1")[0] == 0


def test_without_git_a_repository_a_revision_or_runs_there_is_one_line(
    study: Callable[..., Params],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = study()
    for revision in ("nowhere", "--help", "HEAD:runs"):
        with pytest.raises(UserError, match=f"REV: '{revision}' is no commit of this Git"):
            verify.verify(params, revision)
    git("rm", "-rq", "--cached", "runs")
    git("commit", "-qm", "none")
    with pytest.raises(UserError, match="HEAD: no runs are committed there; commit runs/"):
        verify.verify(params, "HEAD")
    shutil.rmtree(tmp_path / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    status, _, err = printed(capsys, monkeypatch)
    assert status == 2
    assert "not a git repository" in err
    assert len(err.splitlines()) == 1
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="git: not found"):
        verify.verify(params, "HEAD")
