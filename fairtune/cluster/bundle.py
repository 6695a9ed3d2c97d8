"""What the driver hands out: the code, the dependencies of each stage, and what is locked of it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvc.dependency.base import DependencyDoesNotExistError
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.serialize import to_single_stage_lockfile

from fairtune.cluster.errand import CHUNK_BYTES, Blob, Errand
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.core.paths import MODEL, TRIALS
from fairtune.core.sources import local_path

CODE = ("fairtune", "stages")
"""Folders of the code; a stage's dependencies under them travel with it."""
FILES = ("dvc.yaml", "params.yaml", ".dvcignore", "requirements.txt")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.part")


def code(folder: Path) -> None:
    """Copy into a folder what the stages run: code and parameters as they are in the work tree."""
    for name in CODE:
        shutil.copytree(name, folder / name, ignore=LEFT_OUT)
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(name, folder / name)


@dataclass(kw_only=True)
class Bundler:
    """Makes errands; a file that several of them need is hashed once."""

    study: Params
    shared_cache: str | None
    digests: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def errands(self, stages: Sequence[str]) -> list[Errand]:
        """Return the errand of each stage, in the order given.

        Raises:
            UserError: a dependency is missing.
        """
        with Repo() as repo:
            return [self._errand(repo, stage) for stage in stages]

    def _errand(self, repo: Repo, name: str) -> Errand:
        stage = repo.stage.load_one(name=name)
        try:
            stage.save_deps()
        except DependencyDoesNotExistError as error:
            raise UserError(f"{name}: a dependency is missing: {error}") from error
        locked = to_single_stage_lockfile(stage)
        needed = [dep.def_path for dep in stage.deps if Path(dep.def_path).parts[0] not in CODE]
        data = [path for path in map(Path, dict.fromkeys(needed)) if path.name != "params.yaml"]
        if name.startswith("search@") and TRIALS.is_dir():
            data.append(TRIALS)
        return Errand(
            stage=name,
            blobs=[blob for path in data if not _links(path) for blob in self._blobs(path)],
            model=self._model(),
            links_model=MODEL.is_symlink(),
            shared_cache=self.shared_cache,
            locked={key: locked[key] for key in ("cmd", "deps", "params") if key in locked},
        )

    def _model(self) -> list[Blob]:
        """Return the pretrained model's files where the repository holds them, link or not."""
        name = local_path(self.study.model.name, key="model.name")
        if name is None or not within(name, self.study.model.name):
            return []
        return self._blobs(name)

    def _blobs(self, path: Path) -> list[Blob]:
        """Return the files at a path; on the node they lie at the same."""
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return [
            Blob(path=file.as_posix(), md5=self._md5(file), size=file.stat().st_size)
            for file in files
        ]

    def _md5(self, file: Path) -> str:
        seen = file.stat()
        key = (str(file), seen.st_size, seen.st_mtime_ns)
        if key not in self.digests:
            with file.open("rb") as content:
                self.digests[key] = hashlib.file_digest(content, "md5").hexdigest()
        return self.digests[key]


def _links(path: Path) -> bool:
    """Return whether a dependency is the link to the model, which the node makes for itself."""
    return path == MODEL and path.is_symlink()


def within(path: Path, name: str) -> bool:
    """Return whether a model's name is a path from the repository's root down."""
    return not path.is_absolute() and ".." not in path.parts and not name.startswith("~")


def chunks(blob: Blob) -> Iterator[bytes]:
    """Yield the content of a file of the workspace."""
    with Path(blob.path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def restored(stages: Sequence[str]) -> list[str]:
    """Put back what DVC's run cache holds of some stages, and return those that it has not.

    What a driver had received when it was ended is found here. All that is found goes into
    `dvc.lock` at once: `dvc repro` writes the whole file anew for each stage that it restores,
    which takes a thousand of them hours.
    """
    missing, found = [], []
    with Repo() as repo, repo.lock:
        for name in stages:
            stage = repo.stage.load_one(name=name)
            try:
                repo.stage_cache.restore(stage)
            except (RunCacheNotFoundError, DependencyDoesNotExistError):
                missing.append(name)
                continue
            stage.save(run_cache=False)
            found.append(stage)
        if found:
            found[0].dvcfile.dump_stages(found, update_pipeline=False)
    return missing
