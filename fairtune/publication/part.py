"""A part of a study: a folder with its parameters, its manifests and its runs, read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.core import params, paths
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.publication import cost_alone
from fairtune.publication.place import MANIFESTS, at
from fairtune.runs.record import Run, RunRecord
from fairtune.runs.store import read_runs


@dataclass(frozen=True, kw_only=True)
class Part:
    """The workspace, a published study, or what one machine made of a study."""

    folder: Path
    study: Params
    text: str
    """Of params.yaml."""
    manifests: Mapping[Path, Any]
    """Of the splits and of the token cache, by their files."""
    runs: Mapping[str, list[Run]]
    reason: str | None
    """Why the study is of costs alone; None where it is not."""

    @property
    def records(self) -> Iterator[RunRecord]:
        """The record of every run."""
        return (run.record for of_method in self.runs.values() for run in of_method)


def read(folder: Path) -> Part:
    """Read a part.

    Raises:
        UserError: a file is missing or is not right, or the runs are of other rows than the
            manifests.
    """
    with at(folder):
        study = params.load()
        for file in (*MANIFESTS, *_files(study)):
            if not file.is_file():
                raise UserError(f"{file}: not found; a study is published with it")
        part = Part(
            folder=folder,
            study=study,
            text=paths.PARAMS.read_text(encoding="utf-8"),
            manifests={path: read_json(path, made_by=path.parent.name) for path in MANIFESTS},
            runs=read_runs(list(study.methods), study.seeds),
            reason=cost_alone.read(),
        )
        _belong(part)
    return part


def _files(study: Params) -> Iterator[Path]:
    """Yield the files of the runs that the parameters name."""
    for method in study.methods:
        for seed in study.seeds:
            yield from (paths.run_folder(method, seed) / file for file in paths.RUN_FILES)


def _belong(part: Part) -> None:
    """Refuse manifests of other rows or token ids than those that the runs were fed.

    Raises:
        UserError: names the manifest, the run and both hashes.
    """
    subset, encoded = (part.manifests[path] for path in MANIFESTS)
    for record in part.records:
        for path, key, said, fed in (
            (MANIFESTS[0], "sha256", subset.get("sha256"), record.data.subset_sha256),
            (
                MANIFESTS[1],
                "splits.train.sha256",
                encoded.get("splits", {}).get("train", {}).get("sha256"),
                record.data.encoded_sha256,
            ),
        ):
            if said != fed:
                raise UserError(
                    f"{path}: {key} is {str(said)[:12]}, and {record.method} with seed "
                    f"{record.seed} was fed {fed[:12]}; put the manifest of these runs there"
                )
