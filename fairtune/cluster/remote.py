"""Exchange files through a DVC remote of any kind: the driver's inputs, the nodes' results.

Storage is DVC's business alone. Contents go by their MD5 as with `dvc push` and `dvc fetch`, each
of them only where the other end lacks it, and DVC checks the hash of what it fetched.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.fs import LocalFileSystem, MemoryFileSystem
from dvc.repo import Repo
from dvc_data.hashfile.db.reference import ReferenceHashFileDB
from dvc_data.hashfile.hash_info import HashInfo

from fairtune.core.errors import UserError, one_line

LOGGERS = ("dvc", "dvc_data", "dvc_objects")
BARS = ("dvc.progress", "dvc_data.callbacks")
WRITABLE = 0o644
NOTHING = "0" * 32
"""A hash that no file has."""


class RemoteError(UserError):
    """A remote does not answer, or did not take or give all; a later try may work."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A DVC remote as driver and nodes know it."""

    name: str
    settings: Mapping[str, Any]
    """What a task is told of it: its URL and options, no secrets."""

    @contextmanager
    def repository(self, folder: Path | None = None) -> Iterator[Repo]:
        """Yield a repository whose default remote this is.

        Args:
            folder: a task's, which is told the settings; None: the driver's, which has its own.
        """
        told = {**({} if folder is None else self.settings), "verify": True}
        root = None if folder is None else str(folder)
        with Repo(root, remote=self.name, remote_config=told) as repo:
            yield repo

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Let DVC ask the remote; yield what it logs as failed, which it prints no more.

        Raises:
            RemoteError: DVC raised anything. Each kind of storage has errors of its own.
        """
        problems: list[str] = []
        loggers = [logging.getLogger(name) for name in LOGGERS]
        before = [(logger, logger.handlers) for logger in loggers]
        bars = [(logger, logger.level) for logger in map(logging.getLogger, BARS)]
        for logger in loggers:
            logger.handlers = [_Listener(problems)]
        for logger, _ in bars:
            logger.setLevel(logging.CRITICAL)
        try:
            yield problems
        except UserError:
            raise
        except Exception as error:
            raise self.error(problems, one_line(error)) from error
        finally:
            for logger, handlers in before:
                logger.handlers = handlers
            for logger, level in bars:
                logger.setLevel(level)

    def error(self, problems: Sequence[str], otherwise: str) -> RemoteError:
        """Return the error that tells the first problem."""
        return RemoteError(f"DVC's remote '{self.name}': {next(iter(problems), otherwise)}")

    def push(self, files: Mapping[str, str]) -> int:
        """Send files of the workspace that the remote lacks; return how many bytes went.

        Args:
            files: the path of each content by its MD5. DVC's cache need not hold them.

        Raises:
            RemoteError: not all went.
        """
        with self.asked() as problems, self.repository() as repo:
            storage = repo.cloud.get_remote_odb(self.name, "push")
            staged = ReferenceHashFileDB(
                MemoryFileSystem(), "memory://fairtune", hash_name=storage.hash_name
            )
            staged.add([os.path.abspath(path) for path in files.values()], LocalFileSystem(),
                       list(files))  # fmt: skip
            wanted = {HashInfo(storage.hash_name, md5) for md5 in files}
            # Without the index that DVC keeps of a remote: somebody else may have cleared it out.
            result = repo.cloud.transfer(staged, storage, wanted)
            if result.failed:
                raise self.error(problems, f"{len(result.failed)} files could not be sent")
            return sum(os.stat(files[one.value]).st_size for one in result.transferred)

    def fetch(self, md5s: Collection[str], folder: Path | None = None) -> int:
        """Bring what DVC's cache lacks of some contents; return how many bytes came.

        Args:
            md5s: of files, or of folders (`.dir`), which come with their files.
            folder: a task's; None: the driver's repository.

        Raises:
            RemoteError: not all came, or not with the hashes that they were asked by.
        """
        with self.asked() as problems, self.repository(folder) as repo:
            came = self._pull(repo, md5s, problems)
            lists = [repo.cache.local.oid_to_path(md5) for md5 in md5s if md5.endswith(".dir")]
            members = {
                member["md5"] for path in lists for member in json.loads(Path(path).read_bytes())
            }
            return came + self._pull(repo, members, problems)

    def _pull(self, repo: Repo, md5s: Collection[str], problems: Sequence[str]) -> int:
        wanted = {HashInfo("md5", md5) for md5 in md5s}
        result = repo.cloud.pull(wanted)
        path = repo.cache.local.oid_to_path
        lacking = [md5 for md5 in md5s if not os.path.isfile(path(md5))]
        if lacking:
            has = self._has(repo, lacking[0])
            what = "has other content under" if has else "has no file of"
            raise self.error(problems, f"it {what} the hash {lacking[0]}")
        return sum(os.stat(path(one.value)).st_size for one in result.transferred)

    def reach(self) -> None:
        """Ask the remote for anything.

        Raises:
            RemoteError: it does not answer.
        """
        with self.asked(), self.repository() as repo:
            self._has(repo, NOTHING)

    def _has(self, repo: Repo, md5: str) -> bool:
        """Return whether the remote has a content; DVC's own `exists` would hide why not."""
        storage = repo.cloud.get_remote_odb(self.name)
        try:
            storage.fs.info(storage.oid_to_path(md5))
        except FileNotFoundError as error:
            # Over HTTP a server that does not answer has no file either.
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                raise cause from None
            return False
        return True

    def furnish(self, folder: Path, files: Iterable[tuple[str, str]]) -> None:
        """Put files into a task's folder.

        Args:
            folder: DVC is set up in it, and its cache is of no more use to what is put there.
            files: the MD5 of each, and its path from the folder down.

        Raises:
            RemoteError: not all came.
        """
        paths: dict[str, list[str]] = {}
        for md5, path in files:
            paths.setdefault(md5, []).append(path)
        self.fetch(list(paths), folder)
        with self.repository(folder) as repo:
            for md5, (path, *others) in paths.items():
                first = folder / path
                first.parent.mkdir(parents=True, exist_ok=True)
                os.replace(repo.cache.local.oid_to_path(md5), first)
                first.chmod(WRITABLE)
                for other in map(folder.joinpath, others):
                    other.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(first, other)

    def publish(self, folder: Path, stage: str) -> None:
        """Send what a stage gave: its outputs, and the entry of the run cache where it can be kept.

        The cache of a task's folder holds the entry of its own stage and no other.

        Raises:
            RemoteError: not all went.
        """
        # DVC looks for a stage without a file in the working folder, which is not the task's.
        target = f"{folder / 'dvc.yaml'}:{stage}"
        with self.asked() as problems, self.repository(folder) as repo:
            repo.push(targets=[target], remote=self.name, run_cache=True)
            if problems:
                raise self.error(problems, "")


class _Listener(logging.Handler):
    """Keeps what DVC logs as an error instead of raising it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.problems.append(one_line(error or Exception(record.getMessage())))
