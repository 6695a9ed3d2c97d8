"""A search of learning rates under real DVC, on a study so small that a trial takes half a second.

The tests share one repository and run in order: each begins where the one before it ended. Both
methods train the whole of a tiny encoder that knows nothing: its adapters alone may learn nothing.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairtune.preload import owner
from tests import tiny
from tests.repositories import ROOT, Repository, clone, forking, until

STUDY = """
data: {source: reviews.csv, text_column: text, label_column: label}
subset: {train: 96, validation: 64, test: 16, seed: 1}
model: {name: encoder}
encode: {max_length: 32}
train: {epochs: 2, batch_size: 8, logging_steps: 8, device: cpu, precision: fp32}
seeds: [1]
search: {trials: 3, seeds: [101, 102], epochs: null, extend: false}
methods:
  full: {learning_rate: {search: [0.001, 0.01]}}
  whole: {learning_rate: {search: [0.0012, 0.012]}}
  ia3: {learning_rate: 0.01, adapter: ia3, targets: [key, value]}
compare: {metric: accuracy, margin: 0.05, resamples: 1000, allow_mixed_devices: false,
  palette: ["#112233", "#445566"]}
report: {title: A tiny study, author: Nobody}
"""
LAST = "record"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("clone")
    (root / "params.yaml").write_text(STUDY)
    # Weights this large tell texts apart sooner: two dozen steps are enough.
    tiny.write_encoder(root / "encoder", initializer_range=0.1)
    tiny.write_reviews(root / "reviews.csv", rows=250)
    pipeline = (ROOT / "dvc.yaml").read_text()
    return clone(
        root,
        pipeline=pipeline[: pipeline.index("  score:")],
        shares_libraries=owner.can_watch(),
    )


def searches(repository: Repository) -> dict[str, Any]:
    files = (repository.root / "runs").glob("*/search.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def finished(repository: Repository) -> dict[Path, int]:
    """Return the trials that are kept, with the time at which each was written."""
    files = (repository.root / "data/trials").glob("*.json")
    return {file: file.stat().st_mtime_ns for file in files}


def test_all_methods_that_search_are_given_the_same_and_one_with_a_rate_nothing(
    repository: Repository,
) -> None:
    ran = repository.repro(LAST)
    assert {"search@full", "search@whole", "search@ia3", "rates", "train@whole-1"} <= set(ran)
    assert ran.index("rates") < ran.index("train@full-1")
    found = searches(repository)
    assert set(found) == {"full", "whole"}
    for search in found.values():
        tried = {(trial["rate"], trial["seed"]) for trial in search["trials"]}
        assert len(tried) == len(search["trials"]) == 6
        assert {trial["seed"] for trial in search["trials"]} == {101, 102}
        assert {trial["steps"] for trial in search["trials"]} == {24}
        assert {len(trial["accuracy"]) for trial in search["trials"]} == {2}
        # The validation rows, and not those to test on.
        assert {sum(map(sum, trial["confusion"])) for trial in search["trials"]} == {64}
    assert len(finished(repository)) == 12
    assert repository.status() == {}


def test_each_training_takes_the_rate_that_was_chosen(repository: Repository) -> None:
    for name, search in searches(repository).items():
        record = json.loads((repository.root / f"runs/{name}/1/run.json").read_text())
        assert record["parameters"]["method"]["learning_rate"] == search["learning_rate"]
        assert search["learning_rate"] in {trial["rate"] for trial in search["trials"]}
    given = json.loads((repository.root / "runs/ia3/1/run.json").read_text())
    assert given["parameters"]["method"]["learning_rate"] == 0.01
    repository.commit("results")


def test_another_range_searches_and_trains_its_method_alone(repository: Repository) -> None:
    repository.edit("methods.whole.learning_rate", {"search": [0.0015, 0.015]})
    ran = repository.repro(LAST)
    # The copies for Git look at all rates, and cost nothing.
    assert {one for one in ran if not one.startswith("record@")} == {
        "search@whole",
        "rates",
        "train@whole-1",
    }


def test_a_range_edited_back_is_restored_and_nothing_is_tried(repository: Repository) -> None:
    before = finished(repository)
    repository.edit("methods.whole.learning_rate", {"search": [0.0012, 0.012]})
    assert not {one.partition("@")[0] for one in repository.repro(LAST)} & {"search", "train"}
    assert finished(repository) == before


def test_what_is_finished_is_not_run_again_when_trials_are_added(repository: Repository) -> None:
    before = finished(repository)
    repository.edit("search.trials", 5)
    assert {"search@full", "search@whole"} <= set(repository.repro("rates"))
    after = finished(repository)
    assert before.items() <= after.items()
    # Two rates of either method, with two seeds.
    assert len(after) - len(before) == 8


def test_what_was_finished_before_a_kill_stays(repository: Repository) -> None:
    before = finished(repository)
    repository.edit("search.seeds", [101, 102, 103])
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "rates"],
        cwd=repository.root,
        env=forking(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: len(finished(repository)) > len(before))
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = finished(repository)
    repository.repro("rates")
    after = finished(repository)
    assert kept.items() <= after.items()
    # Five rates of either method, with the further seed.
    assert len(after) == len(before) + 10


def test_a_search_in_which_nothing_is_learned_ends_before_the_trainings(
    repository: Repository,
) -> None:
    repository.edit("search.seeds", [101, 102])
    repository.edit("search.trials", 3)
    repository.edit("methods.full.learning_rate", {"search": [1e-9, 1e-8]})
    printed = repository.dvc("repro", LAST, fails=True)
    assert "fairtune: methods.full.learning_rate: none of 3 rates from 1e-09 to 1e-08" in printed
    assert "train@" not in printed
    assert "Traceback" not in printed
