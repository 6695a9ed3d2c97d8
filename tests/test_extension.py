"""What the DVC extension of VS Code asks DVC, in the way that it asks: the study is in the answers.

It is asked of the committed study, and of a tiny one that has all its files.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fairtune.charts import gallery
from tests.repositories import FILES, ROOT, Repository, copy

KEPT = ("metrics", "plots", "runs", ".dvc/plots")


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A clone of the project's study as Git keeps it, without code: no data and no weights."""
    root = tmp_path_factory.mktemp("committed")
    for folder in KEPT:
        shutil.copytree(ROOT / folder, root / folder)
    for file in (*FILES, "dvc.yaml", "dvc.lock", "params.yaml"):
        (root / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    made = Repository(root)
    made.run("git", "init", "-q")
    made.commit("the study")
    return made


@pytest.fixture(params=["committed", "finished"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    found: Repository = request.getfixturevalue(request.param)
    return copy(found, tmp_path) if request.param == "finished" else found


def answer(repository: Repository, *words: str) -> Any:
    """Return what DVC answers: its status is 0, and its output JSON and nothing else."""
    printed = repository.dvc(*words, "--json")
    # Warnings go to the other stream, which stands behind it here.
    return json.JSONDecoder().raw_decode(printed)[0]


def parameters(repository: Repository) -> Any:
    return YAML(typ="safe").load((repository.root / "params.yaml").read_text())


def test_the_table_of_experiments_has_metrics_and_parameters(study: Repository) -> None:
    workspace, commit = answer(study, "exp", "show", "-n", "1")
    wanted = {}
    for name in parameters(study)["methods"]:
        of_method = json.loads((study.root / f"metrics/{name}.json").read_text())
        # DVC leaves out what is null: what was not measured.
        known = {key: value for key, value in of_method.items() if value is not None}
        wanted[f"metrics/{name}.json"] = known
    for found in (workspace, commit):
        assert found["error"] is None
        shown = found["data"]["metrics"]
        assert {name: of_file["data"] for name, of_file in shown.items()} == wanted
        assert (
            found["data"]["params"]["params.yaml"]["data"]["methods"]
            == (parameters(study)["methods"])
        )


def test_the_plots_have_every_chart_of_both_revisions(study: Repository) -> None:
    found = answer(study, "plots", "diff", "workspace", "HEAD", "-o", ".dvc/tmp/plots", "--split")
    charts = [name.replace("differences", "comparison") for name in gallery.charts()]
    here = {f"{'metrics' if name == 'comparison' else 'plots'}/{name}.json" for name in charts}
    missing = {name for name in here if not (study.root / name).exists()}
    assert set(found["data"]) == here
    assert {error["name"] for error in found.get("errors", [])} == missing
    for name in here - missing:
        (plot,) = found["data"][name]
        assert plot["type"] == "vega"
        # The extension puts the parts, the records among them, into the template itself.
        assert "DVC_METRIC_DATA" in json.dumps(plot["content"])
        records = plot["anchor_definitions"]["<DVC_METRIC_DATA>"]
        assert {record["rev"] for record in records} == {"workspace", "HEAD"}
        assert len(records) % 2 == 0


def test_the_state_of_the_data_is_told(
    committed: Repository, finished: Repository, tmp_path: Path
) -> None:
    words = ("data", "status", "--granular", "--unchanged")
    whole = answer(copy(finished, tmp_path), *words)
    weights = {path for path in whole["unchanged"] if path.startswith("models/")}
    assert {"models/full/1/weights/model.safetensors", "models/lora/1/run.json"} <= weights
    assert "uncommitted" not in whole
    # A clone's files are not there, which is no change.
    far = answer(committed, *words)
    study = parameters(committed)
    folders = {f"models/{name}/{study['seeds'][0]}/" for name in study["methods"]}
    assert folders <= set(far["not_in_cache"])
    assert set(far["uncommitted"]) == {"deleted"}
    assert answer(committed, "data", "status")["not_in_cache"]
