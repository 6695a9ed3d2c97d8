"""The pipeline under real DVC, on a study so small that a training takes seconds.

The tests share one repository and run in order: each begins where the one before it ended.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from fairtune.preload import owner
from tests import tiny
from tests.repositories import Repository, clone

STUDY = """
data: {source: reviews.csv, text_column: text, label_column: label}
subset: {train: 48, validation: 16, test: 32, seed: 1}
model: {name: encoder}
encode: {max_length: 16}
train: {epochs: 1, batch_size: 8, logging_steps: 2, device: cpu, precision: fp32}
seeds: [1]
search: {trials: 3, seeds: [101, 102], epochs: null, extend: true}
methods:
  lora: {learning_rate: 0.01, adapter: lora, targets: [query, value], r: 2}
  ia3: {learning_rate: 0.01, adapter: ia3, targets: [key, value]}
compare: {metric: accuracy, margin: 0.05, resamples: 1000, allow_mixed_devices: false,
  palette: ["#112233", "#445566"]}
report: {title: A tiny study, author: Nobody}
"""
LATER = ("compare", "score")
FILES = ("history.json", "predictions.parquet", "run.json")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("clone")
    (root / "params.yaml").write_text(STUDY)
    tiny.write_encoder(root / "encoder")
    tiny.write_reviews(root / "reviews.csv", rows=200)
    return clone(root, shares_libraries=owner.can_watch())


def words_of(changes: object) -> set[str]:
    """Return the words by which `dvc status` says what became of outs and deps."""
    if isinstance(changes, dict):
        return set().union(*map(words_of, changes.values()))
    return {str(changes)}


def trainings(stages: list[str]) -> set[str]:
    return {stage for stage in stages if stage.startswith("train@")}


def test_the_first_run_runs_every_stage_once(repository: Repository) -> None:
    ran = repository.repro()
    assert len(ran) == len(set(ran))
    assert {"subset", "encode", "train@lora-1", "train@ia3-1"} <= set(ran)
    assert {"record@lora", "record@ia3", "score@lora", "score@ia3", "compare"} <= set(ran)
    repository.commit("results")


def test_the_second_run_runs_nothing(repository: Repository) -> None:
    assert repository.repro() == []


def test_git_keeps_the_records_without_the_weights_and_names_no_machine(
    repository: Repository,
) -> None:
    kept = repository.run("git", "ls-files", "runs", "models").split()
    assert kept == [f"runs/{name}/1/{file}" for name in ("ia3", "lora") for file in FILES]
    for name in ("lora", "ia3"):
        text = (repository.root / f"runs/{name}/1/run.json").read_text()
        assert str(repository.root) not in text
        assert socket.gethostname() not in text


def test_a_clone_is_up_to_date_and_computes_every_figure_anew_without_training(
    repository: Repository, tmp_path: Path
) -> None:
    repository.run("git", "clone", "-q", str(repository.root), str(tmp_path / "far"))
    far = Repository(tmp_path / "far")
    assert not (far.root / "models").exists()
    assert "Running stage" not in far.dvc("repro", "--allow-missing", "--dry", *LATER)
    assert far.status(*LATER) == {}
    # What DVC's cache holds is not there; nothing is new or modified.
    changed = far.status("subset", "encode", "train", "record")
    seen = set().union(*(words_of(part) for stage in changed.values() for part in stage))
    assert seen == {"deleted", "not in cache"}
    for file in far.root.glob("metrics/*.json"):
        file.unlink()
    far.dvc("repro", "-s", "score@lora", "score@ia3", "compare")
    assert far.run("git", "status", "--porcelain") == ""


def test_an_edit_to_a_chart_s_code_trains_nothing(repository: Repository) -> None:
    style = repository.root / "fairtune/charts/style.py"
    style.write_text(style.read_text() + "# an edit\n")
    assert repository.repro() == ["compare"]


def test_what_desktops_and_editors_leave_behind_runs_nothing(repository: Repository) -> None:
    for name in (".DS_Store", ".ipynb_checkpoints/run.py", ".run.py.swp", "__pycache__/run.pyc"):
        left = repository.root / "fairtune/training" / name
        left.parent.mkdir(exist_ok=True)
        left.write_text("x")
    assert repository.repro() == []


def test_metrics_show_is_one_row_a_method_and_fits_120_columns(repository: Repository) -> None:
    table = repository.dvc("metrics", "show").rstrip().splitlines()
    assert [line.split()[0] for line in table] == ["Path", "metrics/lora.json", "metrics/ia3.json"]
    assert max(len(line.rstrip()) for line in table) <= 120


def test_lora_s_rank_trains_lora_alone(repository: Repository) -> None:
    repository.edit("methods.lora.r", 4)
    ran = repository.repro()
    assert trainings(ran) == {"train@lora-1"}
    assert "score@lora" in ran
    assert "compare" in ran
    assert not {"subset", "encode", "score@ia3"} & set(ran)
    difference = repository.dvc("params", "diff")
    assert re.search(r"methods\.lora\.r\s+2\s+4", difference)
    assert "metrics/lora.json" in repository.dvc("metrics", "diff")


def test_a_parameter_edited_and_edited_back_trains_nothing(repository: Repository) -> None:
    repository.edit("methods.lora.r", 2)
    # What Git keeps is copied again, from a training that DVC's run cache restored.
    assert repository.repro() == ["record@lora"]
    assert repository.repro() == []
    record = json.loads((repository.root / "runs/lora/1/run.json").read_text())
    assert record["parameters"]["method"]["r"] == 2


def test_a_chart_s_colour_runs_compare_and_no_training(repository: Repository) -> None:
    repository.edit("compare.palette", ["#abcdef"])
    ran = repository.repro()
    assert "compare" in ran
    assert not {
        stage for stage in ran if stage.startswith(("train@", "score@", "subset", "encode"))
    }
    table = json.loads((repository.root / "plots/accuracy.json").read_text())
    assert {record["color"] for record in table} == {"#abcdef"}


def test_a_further_seed_trains_that_seed_alone(repository: Repository) -> None:
    repository.edit("seeds", [1, 2])
    # What is made of several seeds is, with the further method, in the next test.
    assert trainings(repository.repro("record")) == {"train@lora-2", "train@ia3-2"}


def test_a_further_peft_method_is_a_block_of_yaml_and_trains_alone(repository: Repository) -> None:
    repository.edit(
        "methods.dora",
        {"learning_rate": 0.01, "adapter": "lora", "targets": ["query"], "r": 2, "use_dora": True},
    )
    ran = repository.repro()
    assert trainings(ran) == {"train@dora-1", "train@dora-2"}
    table = json.loads((repository.root / "plots/accuracy.json").read_text())
    assert [record["method"] for record in table] == ["lora", "ia3", "dora"]
    assert (repository.root / "metrics/dora.json").exists()


def test_one_method_that_fails_leaves_the_others_and_the_next_run_goes_on(
    repository: Repository,
) -> None:
    repository.edit("methods.lora.r", 3)
    repository.edit("methods.dora.use_dorra", True)
    printed = repository.dvc("repro", "--keep-going", "compare", "score", fails=True)
    assert "methods.dora.use_dorra: unknown key" in printed
    assert "Traceback" not in printed
    assert json.loads((repository.root / "models/lora/1/run.json").read_text())["method"] == "lora"
    document = YAML(typ="safe").load((repository.root / "params.yaml").read_text())
    block = document["methods"]["dora"]
    del block["use_dorra"]
    repository.edit("methods.dora", block)
    ran = repository.repro()
    assert not trainings(ran)
    assert "compare" in ran


def test_the_number_of_training_rows_runs_everything(repository: Repository) -> None:
    assert (repository.root / "runs/ia3/2").exists()
    repository.edit("subset.train", 40)
    repository.edit("seeds", [1])
    repository.edit(
        "methods", {"ia3": {"learning_rate": 0.01, "adapter": "ia3", "targets": ["key"]}}
    )
    ran = repository.repro()
    assert {"subset", "encode", "train@ia3-1", "score@ia3", "compare"} <= set(ran)
    # A seed that is no more leaves no run; a method that is no more is not read.
    assert [path.name for path in (repository.root / "runs/ia3").iterdir()] == ["1"]
    table = json.loads((repository.root / "plots/accuracy.json").read_text())
    assert [record["method"] for record in table] == ["ia3"]


def test_a_reloaded_run_predicts_what_was_recorded(repository: Repository) -> None:
    printed = repository.run(sys.executable, "-m", "fairtune.reload", "ia3", "1")
    assert "32 rows predicted again" in printed
    assert "0 other classes" in printed
