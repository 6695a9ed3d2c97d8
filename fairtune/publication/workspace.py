"""The workspace that a study is published from: whether it is up to date, and what stays in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fairtune.analysis.formats import number
from fairtune.core import paths
from fairtune.core.errors import UserError, one_line
from fairtune.core.paths import MODELS
from fairtune.core.units import MIB

NOTEBOOK = paths.REPORT / "walkthrough.ipynb"


def require_fresh() -> None:
    """Refuse a workspace in which DVC would run a stage.

    Raises:
        UserError: names the stages, or what keeps DVC from telling.
    """
    words = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.removeprefix("ERROR: ")
        raise UserError(f"dvc status failed: {one_line(Exception(said))}")
    changed: dict[str, Any] = json.loads(done.stdout)
    if changed:
        raise UserError(
            f"the workspace is stale: {', '.join(changed)}; run `dvc repro`, then publish"
        )


def mib(files: Iterable[Path]) -> float:
    """Return the size of files in MiB."""
    return sum(path.stat().st_size for path in files) / MIB


def inside(folder: Path) -> list[Path]:
    """Return the files below a folder; none where it is not there."""
    return [path for path in folder.rglob("*") if path.is_file()]


def left_out(folders: Iterable[Path]) -> list[str]:
    """Return what of the parts is not published, with its size: weights, data and the notebook."""
    weights: list[Path] = []
    data: list[Path] = []
    notebooks: list[Path] = []
    for folder in folders:
        weights += [one for one in inside(folder / MODELS) if paths.WEIGHTS in one.parts]
        made = inside(folder / paths.SUBSET) + inside(folder / paths.ENCODED)
        data += [one for one in made if one.name != paths.MANIFEST]
        notebooks += [one for one in [folder / NOTEBOOK] if one.is_file()]
    named = {"weights": weights, "rows and token ids": data, "the notebook": notebooks}
    return [f"{what} ({size(files)})" for what, files in named.items() if files]


def size(files: Iterable[Path]) -> str:
    """Return the size of files as text."""
    return f"{number(mib(files), digits=1)} MiB"
