"""The workflow of pull requests and the container: valid, safe, and of commands that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.repositories import ROOT, Repository, copy

FILE = ROOT / ".github/workflows/pull-request.yml"
TEXT = FILE.read_text()
WORKFLOW: dict[str, Any] = YAML(typ="safe").load(TEXT)
(JOB,) = WORKFLOW["jobs"].values()
STEPS: list[dict[str, Any]] = JOB["steps"]
SCRIPTS = {step["name"]: step["run"] for step in STEPS if "run" in step}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
BASE = "HEAD~1"


def test_it_runs_for_pull_requests_with_a_token_that_can_only_read() -> None:
    assert set(WORKFLOW["on"]) == {"pull_request"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOB
    assert "secrets" not in TEXT
    checkout = STEPS[0]["with"]
    assert checkout == {"fetch-depth": 0, "persist-credentials": False}


def test_each_step_is_one_of_a_kind_and_ends_by_itself() -> None:
    assert JOB["runs-on"]
    assert JOB["timeout-minutes"] > 0
    for step in STEPS:
        assert len({"run", "uses"} & set(step)) == 1
        assert set(step) <= {"name", "id", "if", "env", "with", "run", "uses", "continue-on-error"}
    assert {"make setup", "make test"} <= set(SCRIPTS.values())


def test_actions_are_pinned_to_a_commit_whose_version_is_said() -> None:
    used = re.findall(r"uses: (.*)", TEXT)
    assert len(used) == sum("uses" in step for step in STEPS) == 3
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_no_script_holds_what_a_stranger_could_write() -> None:
    assert not [script for script in SCRIPTS.values() if "${{" in script]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_every_command_exists(script: str) -> None:
    from dvc.cli import parse_args

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert set(re.findall(r"\bmake ([a-z-]+)", script)) <= TARGETS
    for module in re.findall(r"-m fairtune\.([a-z_]+)", script):
        assert (ROOT / f"fairtune/{module}.py").exists()
    for file in re.findall(r"^(\.ci/\S+)", script, re.MULTILINE):
        assert (ROOT / file).stat().st_mode & 0o111
    for words in re.findall(r"\.venv/bin/dvc ([a-z][^)\n]*)", script):
        parse_args(words.replace('"', "").split())


def test_the_steps_after_the_tests_do_what_they_say(finished: Repository, tmp_path: Path) -> None:
    study = copy(finished, tmp_path / "study")
    (study.root / ".venv").symlink_to(sys.prefix)
    (study.root / ".ci").mkdir()
    (study.root / ".ci/stale").write_bytes((ROOT / ".ci/stale").read_bytes())
    (study.root / ".ci/stale").chmod(0o755)
    summary = tmp_path / "summary.md"
    summary.touch()
    study.edit("report.title", "Another")
    study.commit("another title")
    known = {"BASE": BASE, "HEAD": "HEAD", "PAGE": "https://host.example/page"}
    files = JOB["env"]["FILES"].rpartition("/raw/")[2]
    known |= {"FILES": f"https://host.example/raw/{files}", "GITHUB_STEP_SUMMARY": str(summary)}

    def step(name: str, *, fails: bool = False) -> str:
        return study.run("bash", "-eo", "pipefail", "-c", SCRIPTS[name], fails=fails, **known)

    assert "nothing to pull" in step("Pull what a remote holds")
    stale = "Committed results are those of the committed code"
    step(stale)
    step("Report into the summary")
    step("Draw the charts of both commits on one page")
    step("Link the page")
    text = summary.read_text()
    assert "| report.title | A tiny study | Another |" in text
    assert text.endswith("[The charts of both commits on one page](https://host.example/page)\n")
    assert "vega" in (study.root / "charts.html").read_text()
    # What the page's step keeps is what was drawn.
    (kept,) = [step["with"] for step in STEPS if "upload-artifact" in step.get("uses", "")]
    assert (study.root / kept["path"]).exists()
    # A commit whose results are older than its parameters is found.
    study.edit("train.epochs", 7)
    assert "the committed results are stale" in step(stale, fails=True)
    # And where there is a remote, it is asked.
    study.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    study.dvc("push")
    assert "nothing to pull" not in step("Pull what a remote holds")


def test_the_container_sets_the_project_up_and_brings_dvc_s_extension() -> None:
    about = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    target = about["postCreateCommand"].removeprefix("make ")
    assert target == "setup"
    assert target in TARGETS
    python = re.fullmatch(
        r"mcr\.microsoft\.com/devcontainers/python:1-(3\.\d+)-\w+", about["image"]
    )
    assert python
    assert python[1] in {"3.11", "3.12", "3.13"}
    code = about["customizations"]["vscode"]
    assert "iterative.dvc" in code["extensions"]
    assert {".venv/bin/python"} == {
        path.removeprefix("${containerWorkspaceFolder}/") for path in code["settings"].values()
    }
