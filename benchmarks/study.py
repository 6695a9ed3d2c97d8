"""Time the whole study, from corpus to report, against the plain way of training its methods.

usage: python -m benchmarks.study [--only fair|plain] [--padding max_length|longest]

Fair is `dvc repro` in a copy of this folder without results. Plain is one process that tokenizes
the same rows, trains the same methods and seeds with the Trainer as it comes, validates after each
epoch, tests and writes a table (`benchmarks.plain`); it draws no rows, saves no model, and has no
report. The libraries are read from the disk before either begins. Run it on a quiet machine.
Writes benchmarks/study.json and prints a table in Markdown. A part that runs alone is put beside
the other one's earlier figures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fairtune.core import params, paths
from fairtune.core.errors import UserError, run
from fairtune.core.files import read_json, write_json
from fairtune.training.recording import versions

OUT = Path("benchmarks/study.json")
ROOT = Path(__file__).parent.parent
# Results, caches and environments: none of them may come along.
RESULTS = ("data", "models", "runs", "dvc_plots", "dvc.lock")
LEFT_OUT = (*RESULTS, "cache", "tmp", "config.local", "*.part")
# What both sides import, and what either does: the first to read them would wait for the disk.
READ = """
import bitsandbytes, datasets, dvc.cli, matplotlib.figure, peft, scipy.stats, torch
import transformers.trainer
if torch.cuda.is_available():
    values = torch.ones(256, 256, device="cuda", dtype=torch.bfloat16)
    print(float((values @ values).sum()))
"""
COMPUTING = ("warm_up_seconds", "train_seconds", "validation_seconds", "test_seconds")
STAGE = re.compile(r"^Running stage '([^'@]+)@?([^']*)'")


def copy(folder: Path) -> dict[str, str]:
    """Copy the project without its results; return an environment whose `python` is this one."""
    hidden = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", *LEFT_OUT)

    def ignored(where: str, names: list[str]) -> set[str]:
        here = Path(where).relative_to(ROOT)
        # Only at the top are these names results: fairtune has a package `data`.
        return hidden(where, names) if here in (Path(), Path(".dvc")) else {"__pycache__"}

    shutil.copytree(ROOT, folder / "study", ignore=ignored)
    shutil.copy(paths.PARAMS, folder / "study" / paths.PARAMS)
    (folder / "study/.dvc/config.local").write_text("[core]\n    no_scm = true\n")
    (folder / "bin").mkdir()
    shim = folder / "bin/python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def read_libraries() -> None:
    """Have the machine read from the disk what both sides import.

    Raises:
        UserError: a library cannot be imported.
    """
    if subprocess.run([sys.executable, "-c", READ], check=False).returncode:
        raise UserError("the libraries cannot be imported; see above")


def fair(folder: Path) -> dict[str, Any]:
    """Run the study in a copy; return its seconds, by stage.

    Raises:
        UserError: a stage failed.
    """
    environment = copy(folder)
    here = folder / "study"
    began = last = time.perf_counter()
    stages: dict[str, float] = {}
    trainings: dict[str, float] = {}
    current = ("dvc, before the first stage", "")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []

    def stop(now: float) -> None:
        stages[current[0]] = stages.get(current[0], 0.0) + now - last
        if current[0] == "train":
            trainings[current[1]] = now - last

    for line in process.stdout:
        lines.append(line)
        print(line, end="", flush=True)
        found = STAGE.match(line)
        if found:
            now = time.perf_counter()
            stop(now)
            last, current = now, (found[1], found[2])
    if process.wait():
        raise UserError(f"dvc repro failed: {''.join(lines[-5:])}")
    ended = time.perf_counter()
    stop(ended)
    return summed(here, ended - began, stages, trainings)


def summed(
    here: Path, seconds: float, stages: dict[str, float], trainings: dict[str, float]
) -> dict[str, Any]:
    """Return the seconds of a finished study: the whole, each stage, and each training's rest."""
    found: dict[str, Any] = {}
    record: dict[str, Any] = {}
    for name, whole in trainings.items():
        method, _, seed = name.rpartition("-")
        folder = here / paths.training_folder(method, int(seed))
        record = read_json(folder / paths.RECORD, made_by="")
        computing = sum(record["times"][key] or 0.0 for key in COMPUTING)
        found[name] = {
            "accuracy": record["accuracy"]["test"],
            "seconds": round(whole, 3),
            "outside_training_and_testing": round(whole - computing, 3),
            **record["times"],
        }
    return {
        "device": record["device"]["name"],
        "precision": record["device"]["precision"],
        "seconds": round(seconds, 3),
        "parts": {name: round(value, 3) for name, value in stages.items()},
        "trainings": found,
    }


def plain(folder: Path, padding: str) -> dict[str, Any]:
    """Train all methods and seeds in one process; return its seconds.

    The rows are those that `fair` drew in the same folder, or else the workspace's.

    Raises:
        UserError: it failed.
    """
    out = folder / "plain.json"
    here = folder / "study"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.plain", str(out), "--padding", padding],
        cwd=here if here.exists() else None,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise UserError("the plain trainings failed; see above")
    found = read_json(out, made_by="")
    del found["versions"]
    parts = {"imports": found.pop("import_seconds"), "tokenize": found.pop("tokenize_seconds")}
    for part in ("load", "train", "validation", "test"):
        each = [one[f"{part}_seconds"] for one in found["trainings"].values()]
        parts[part] = round(sum(each), 3)
    return {"seconds": round(seconds, 3), "parts": parts, **found}


def merged(new: dict[str, Any]) -> dict[str, Any]:
    """Return these figures beside those of the other part, where they are of the same machine."""
    study = params.load()
    shape = {
        "versions": versions(),
        "methods": list(study.methods),
        "seeds": list(study.seeds),
        "epochs": study.train.epochs,
        "batch_size": study.train.batch_size,
        "max_length": study.encode.max_length,
        "rows": study.subset.model_dump(),
    }
    before = json.loads(OUT.read_text()) if OUT.exists() else {}
    device = next(iter(new.values()))["device"]
    kept = before if {**before, **shape} == before and before.get("device") == device else {}
    found = {"device": device, **shape, **{k: kept[k] for k in ("fair", "plain") if k in kept}}
    found.update(new)
    both = "fair" in found and "plain" in found
    found["ratio"] = (
        round(found["plain"]["seconds"] / found["fair"]["seconds"], 3) if both else None
    )
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| | seconds | by part |", "|---|---|---|"]
    for kind in ("fair", "plain"):
        if kind in found:
            parts = ", ".join(f"{name} {value:.1f}" for name, value in found[kind]["parts"].items())
            lines.append(f"| {kind} | {found[kind]['seconds']:.1f} | {parts} |")
    ratio = "n/a" if found["ratio"] is None else found["ratio"]
    return "\n".join([*lines, f"| plain / fair | {ratio} | |"])


def main() -> None:
    """Time both, or one, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("fair", "plain"))
    parser.add_argument("--padding", choices=("max_length", "longest"), default="max_length")
    words = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        read_libraries()
        for kind in (words.only,) if words.only else ("fair", "plain"):
            new = fair(folder) if kind == "fair" else plain(folder, words.padding)
            found = merged({kind: new})
            write_json(OUT, found)
    print(table(found))


if __name__ == "__main__":
    run(main)
