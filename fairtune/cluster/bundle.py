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
from fairtune.cluster.remote import Remote
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.core.paths import MODEL, TRIALS
from fairtune.core.sources import PACKAGE, local_path

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
    remote: Remote | None
    digests: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def errands(self, stages: Sequence[str]) -> list[Errand]:
        """Return the errand of each stage, in the order given.

        Where a remote is to hold what they need, it does so now.

        Raises:
            UserError: a dependency is missing, or the remote did not take it.
        """
        with Repo() as repo:
            made = [self._errand(repo, stage) for stage in stages]
        if self.remote is not None:
            blobs = [blob for errand in made for blob in (*errand.blobs, *errand.model)]
            sent = self.remote.push({blob.md5: blob.path for blob in blobs})
            print(f"cluster: {sent / 2**20:.1f} MiB of inputs went to DVC's remote "
                  f"'{self.remote.name}', which lacked them")  # fmt: skip
        return made

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
            remote=self.remote,
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


def restored(stages: Sequence[str], remote: Remote | None = None) -> list[str]:
    """Put back what DVC's run cache holds of some stages, and return those that it has not.

    What a driver had received when it was ended is found here. All that is found goes into
    `dvc.lock` at once: `dvc repro` writes the whole file anew for each stage that it restores,
    which takes a thousand of them hours.

    Args:
        stages: their names.
        remote: has the outputs that are not in the cache here.

    Raises:
        RemoteError: the remote does not answer; what is here is put back.
    """
    with Repo() as repo:
        missing = _restored(repo, stages)
    if missing and remote:
        # DVC takes a remote that does not answer for one that has nothing.
        remote.reach()
        with remote.asked(), remote.repository() as repo:
            missing = _restored(repo, missing, pull=True)
    return missing


def _restored(repo: Repo, stages: Sequence[str], *, pull: bool = False) -> list[str]:
    missing, found = [], []
    with repo.lock:
        for name in stages:
            stage = repo.stage.load_one(name=name)
            try:
                repo.stage_cache.restore(stage, pull=pull)
            except (RunCacheNotFoundError, DependencyDoesNotExistError):
                missing.append(name)
                continue
            stage.save(run_cache=False)
            found.append(stage)
        if found:
            found[0].dvcfile.dump_stages(found, update_pipeline=False)
    return missing


def own_model(study: Params) -> str | None:
    """Return the path of a model that each node must have for itself; None where it is sent."""
    name = study.model.name
    path = local_path(name, key="model.name")
    if path is None or name.startswith(PACKAGE) or within(path, name):
        return None
    return str(path)


def cache_folder() -> Path:
    """Return the folder of DVC's cache."""
    with Repo() as repo:
        return Path(repo.cache.legacy.path).absolute()
