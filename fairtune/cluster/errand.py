"""What one stage needs to run anywhere, and how it runs on a node: imported by Ray's workers.

A node never sees the workspace. It is handed the code, the stage's dependencies and nothing else,
reproduces the stage in a folder of its own, and streams back what DVC put into its cache there: the
outputs and the entry of the run cache, from which the driver's own DVC restores the stage.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fairtune.cluster import environment
from fairtune.cluster.remote import Remote, RemoteError
from fairtune.core import origins, params
from fairtune.core.paths import MODEL, TRIALS
from fairtune.preload import owner

CHUNK_BYTES = 16 * 2**20
POLL_SECONDS = 0.5
CACHE = Path(".dvc/cache")
RUNS = "runs"
PREFIX = "fairtune-task-"
LOG = "dvc.log"
"""In a task's folder: what the stage prints there."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A file that a stage depends on."""

    path: str
    """From the root of the repository."""
    md5: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A stage to run on a node."""

    stage: str
    blobs: Sequence[Blob]
    """All that it depends on besides the code."""
    model: Sequence[Blob]
    """The pretrained model's files where they lie within the repository; else the node has them."""
    links_model: bool
    """Whether the model is a path, of which DVC watches a link, and not a note of the Hub's."""
    shared_cache: str | None
    """A folder of DVC's cache that the nodes see, too: then nothing goes through the driver."""
    remote: Remote | None
    """A DVC remote that dependencies are fetched from and outputs pushed to."""
    locked: Mapping[str, Any]
    """Command, dependencies and parameters as DVC's lock would hold them: what comes back is of
    these or is refused."""


Send = tuple[str, Any]
"""What a task tells: `on` (its node), `log` (text), `file` (path in the repository, size), `chunk`
(bytes), `failed` (exit status or words), `done` (seconds)."""


def run(
    errand: Errand, read: Callable[[Blob], Iterator[bytes]], *, keeper: str | None = None
) -> Iterator[Send]:
    """Run a stage in a folder of its own, and yield what comes of it.

    Args:
        errand: the stage.
        read: yields the content of a file that the driver holds, in chunks.
        keeper: the process of the node that tasks share their imports through; None: they do not.
    """
    yield "on", socket.gethostname()
    began = time.monotonic()
    try:
        with _folder() as folder:
            _furnish(folder, errand, read)
            status = yield from _reproduce(folder, errand.stage, keeper)
            # Finished trials are kept, also those of a search that is not.
            yield from _files(folder, TRIALS)
            if status:
                yield "failed", status
                return
            if errand.remote is not None:
                errand.remote.publish(folder, errand.stage)
                yield from _files(folder, CACHE / RUNS)
            elif errand.shared_cache is None:
                # The run cache's entry comes last: with it, the stage is whole.
                yield from _files(folder, CACHE / "files")
                yield from _files(folder, CACHE / RUNS)
            else:
                yield from _entry(folder, Path(errand.shared_cache), errand.stage)
    except OSError as error:
        yield "failed", f"{error.strerror or error}: {error.filename or tempfile.gettempdir()}"
        return
    except RemoteError as error:
        yield "failed", str(error)
        return
    yield "done", time.monotonic() - began


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards; first remove those of tasks that were killed.

    The folder is named after the process, so that another one can tell whether it is still at work.
    """
    top = Path(tempfile.gettempdir())
    for left in top.glob(f"{PREFIX}{os.getuid()}-*"):
        if owner.can_watch() and owner.parse(left.name.rpartition("-")[2]) is None:
            shutil.rmtree(left, ignore_errors=True)
    this = owner.find(os.getpid()) or owner.Process(os.getpid(), 0)
    folder = top / f"{PREFIX}{os.getuid()}-{this}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _furnish(folder: Path, errand: Errand, read: Callable[[Blob], Iterator[bytes]]) -> None:
    """Put code and dependencies into the folder, and set DVC up in it."""
    # The runtime environment of the tasks puts the code where the process starts.
    shutil.copytree(Path.cwd(), folder, dirs_exist_ok=True)
    (folder / ".dvc").mkdir(exist_ok=True)
    settings = "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n"
    # What DVC notes of a repository goes with the folder.
    settings += f"    site_cache_dir = {folder / '.dvc/site'}\n"
    if errand.shared_cache is not None:
        settings += f"[cache]\n    dir = {errand.shared_cache}\n"
    (folder / ".dvc/config").write_text(settings, encoding="utf-8")
    blobs = [*errand.blobs, *errand.model]
    if errand.remote is not None:
        errand.remote.furnish(folder, [(blob.md5, blob.path) for blob in blobs])
        blobs = []
    for blob in blobs:
        target = folder / blob.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _from_cache(blob, errand.shared_cache, target):
            with target.open("wb") as file:
                for chunk in read(blob):
                    file.write(chunk)
    if errand.links_model:
        here = Path.cwd()
        os.chdir(folder)
        try:
            study = params.load()
            origins.tie(study.model.name, None, kind="model", place=MODEL)
        finally:
            os.chdir(here)


def cached(cache: str | Path, md5: str) -> Path:
    """Return where DVC keeps a content in its cache."""
    return Path(cache, "files", "md5", md5[:2], md5[2:])


def _from_cache(blob: Blob, cache: str | None, target: Path) -> bool:
    """Copy a file out of a shared cache; return False where there is none, or not this file."""
    if cache is None:
        return False
    try:
        shutil.copyfile(cached(cache, blob.md5), target)
    except FileNotFoundError:
        return False
    return True


def _reproduce(folder: Path, stage: str, keeper: str | None) -> Generator[Send, None, int]:
    """Run the stage by DVC; yield what it prints, return its exit status."""
    log = folder / LOG
    with log.open("w+b") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", "-s", stage],
            cwd=folder,
            env=environment.of_stage(keeper),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=owner.end_with_parent,
        )
        try:
            told = 0
            over = False
            while not over:
                over = process.poll() is not None
                told, text = _since(log, told)
                if text:
                    yield "log", text
                if not over:
                    time.sleep(POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
    return process.returncode


def _since(log: Path, told: int) -> tuple[int, str]:
    """Return how many bytes a log has, and its text behind the first so many of them."""
    with log.open("rb") as file:
        file.seek(told)
        content = file.read()
    return told + len(content), content.decode(errors="replace")


def _files(folder: Path, under: Path) -> Iterator[Send]:
    """Yield all files that lie under a path of the folder."""
    for path in sorted(path for path in (folder / under).rglob("*") if path.is_file()):
        yield from _file(path, path.relative_to(folder))


def _file(path: Path, name: Path) -> Iterator[Send]:
    yield "file", (name.as_posix(), path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield "chunk", chunk


def _entry(folder: Path, cache: Path, stage: str) -> Iterator[Send]:
    """Yield the entry of a shared run cache that holds what DVC has just locked."""
    yaml = YAML(typ="safe")
    outs = yaml.load(folder / "dvc.lock")["stages"][stage]["outs"]
    newest = sorted((cache / RUNS).glob("*/*/*"), key=lambda path: -path.stat().st_mtime)
    for path in newest:
        if yaml.load(path)["outs"] == outs:
            yield from _file(path, CACHE / path.relative_to(cache))
            return
