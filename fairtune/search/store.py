"""Finished trials, kept by all that they follow from: one is never run twice.

They lie in `data/trials`, no output of any stage: DVC empties the outputs of a stage before it runs
it, and what a search had finished would be lost when it is ended, or given one rate more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import fairtune
from fairtune.core import paths, sources
from fairtune.core.files import write_json
from fairtune.core.params import Params
from fairtune.runs.part import Part
from fairtune.runs.search import Trial
from fairtune.training.job import Job
from fairtune.training.recording import versions

# What a trial's figures follow from; an edit to anything else leaves them as they are.
CODE = ("core", "runs", "hardware", "models", "acceleration", "training", "search")


class Kept(Part):
    """A finished trial, and how many ran beside it."""

    trial: Trial
    at_once: int
    device: str


def code_sha256() -> str:
    """Return the hash of the code that trials run."""
    root = Path(fairtune.__file__).parent
    digest = hashlib.sha256()
    for package in CODE:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def model_of(study: Params) -> Any:
    """Return what tells a pretrained model from another: its commit, or the hash of its files.

    Raises:
        UserError: it is not there.
    """
    folder = sources.local_path(study.model.name, key="model.name")
    if folder is None:
        return study.model.revision
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        found.append([str(path.relative_to(folder)), digest])
    return found


def shared_key(study: Params, splits: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return what all trials of a search have in common.

    Args:
        study: the parameters, the trials' epochs in them.
        splits: the encoded rows to train on and to validate on.
        device: kind of the device: cuda, mps or cpu.
    """
    return {
        "code": code_sha256(),
        "versions": versions(),
        "device": device,
        "model": [study.model.model_dump(), model_of(study)],
        "rows": {name: rows.sha256() for name, rows in splits.items()},
        "train": study.train.model_dump(),
    }


def path_of(shared: Mapping[str, Any], job: Job) -> Path:
    """Return where a trial lies once it is finished."""
    own = {"method": job.method.model_dump(), "seed": job.seed, "labels": job.classes}
    text = json.dumps({**shared, **own}, sort_keys=True)
    return paths.TRIALS / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def read(path: Path) -> Kept | None:
    """Return a finished trial, None where there is none that this version can read."""
    try:
        return Kept.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None


def write(path: Path, kept: Kept) -> None:
    """Keep a finished trial."""
    write_json(path, kept.model_dump(mode="json"))
