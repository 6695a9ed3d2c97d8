"""The table of experiments: readable at 80 columns, with what each experiment changed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fairtune.core.files import write_json
from fairtune.experiments import legend, rows, table
from tests.reports import ROOT


def revision(rev: str, accuracy: dict[str, float], **parameters: object) -> dict[str, Any]:
    """Return a revision as `dvc exp show --json` has it."""
    metrics = {
        f"metrics/{name}.json": {"data": {"accuracy": share, "accuracy_ci95": 0.0331}}
        for name, share in accuracy.items()
    }
    data = {"params": {"params.yaml": {"data": parameters}}, "metrics": metrics}
    return {"rev": rev, "data": data, "error": None}


METHODS = ("full", "lora", "qlora", "ia3")
BASE = dict(zip(METHODS, (0.828, 0.826, 0.832, 0.81), strict=True))
LORA = {"methods": {"lora": {"r": 8, "targets": ["query", "value"]}}}
WIDE = {"methods": {"lora": {"r": 16, "targets": ["query"]}}}


def found() -> list[dict[str, Any]]:
    queued = {"state": "queued"}
    experiments = [
        {"name": "wide", "revs": [revision("b" * 40, BASE | {"lora": 0.8404}, **WIDE)]},
        {"name": "next", "executor": queued, "revs": [revision("c" * 40, {}, **LORA, seeds=[1])]},
        {"name": None, "revs": [{"rev": "d" * 40, "data": None, "error": {"type": "x"}}]},
    ]
    commit = revision("a" * 40, BASE, **LORA) | {"name": "main", "experiments": experiments}
    return [revision("workspace", BASE, **WIDE) | {"experiments": None}, commit]


def printed(width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table(rows(found())))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_at_80_columns_each_methods_accuracy_stands_under_its_name() -> None:
    assert printed(80) == [
        "Experiment   full   lora  qlora    ia3  Changed",
        "workspace    82.8   82.6   83.2   81.0  methods.lora.r=16,",
        '                                        methods.lora.targets=["query"]',
        "main         82.8   82.6   83.2   81.0",
        "  wide       82.8   84.0   83.2   81.0  methods.lora.r=16,",
        '                                        methods.lora.targets=["query"]',
        "  next        n/a    n/a    n/a    n/a  queued, seeds=[1]",
        "  ddddddd     n/a    n/a    n/a    n/a  failed",
    ]


def test_the_legend_says_how_sure_the_figures_are() -> None:
    assert legend(rows(found())).endswith("half-widths of the 95% intervals: up to 3.3 points")


def test_a_name_in_brackets_is_no_markup() -> None:
    made = found()
    made[1]["experiments"][0]["name"] = "[red]x[/red]"
    out = io.StringIO()
    Console(file=out, width=80).print(table(rows(made)))
    assert "[red]x[/red]" in out.getvalue()


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "COLUMNS": "80"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@localhost"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_experiments_of_a_repository_are_shown(tmp_path: Path) -> None:
    dvc = (sys.executable, "-m", "dvc")
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics/lora.json]\nparams: [params.yaml]\n")
    (tmp_path / "params.yaml").write_text(json.dumps(LORA))
    write_json(tmp_path / "metrics/lora.json", {"accuracy": 0.8, "accuracy_ci95": 0.02})
    for words in (
        ("git", "init", "--quiet", "--initial-branch=main"), (*dvc, "init", "--quiet"),
        ("git", "add", "."), ("git", "commit", "--quiet", "--message", "study"),
    ):  # fmt: skip
        assert call(tmp_path, *words).returncode == 0
    (tmp_path / "params.yaml").write_text(json.dumps(WIDE))
    write_json(tmp_path / "metrics/lora.json", {"accuracy": 0.9, "accuracy_ci95": 0.03})
    saved = call(tmp_path, *dvc, "exp", "save", "--quiet", "--name", "wide")
    assert saved.returncode == 0, saved.stderr
    done = call(tmp_path, sys.executable, "-m", "fairtune.experiments")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    changed = ["methods.lora.r=16,", 'methods.lora.targets=["query"]']
    assert lines[0] == ["Experiment", "lora", "Changed"]
    assert lines[1] == ["workspace", "90.0", *changed]
    assert lines[2] == ["main", "80.0"]
    assert lines[3] == ["wide", "90.0", *changed]
    assert done.stdout.splitlines()[-1].endswith("up to 3.0 points")


@pytest.mark.parametrize("words", [[], ["--num", "2"]])
def test_outside_a_repository_one_line_says_so(tmp_path: Path, words: list[str]) -> None:
    done = call(tmp_path, sys.executable, "-m", "fairtune.experiments", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("fairtune: dvc exp show: you are not inside of a DVC repository")
    assert done.stderr.count("\n") == 1
