"""The runs that Git keeps at a revision."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.runs.record import Run
from fairtune.runs.store import parse_run


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What lies under runs/ at a revision."""

    revision: str
    """As the user named it."""
    commit: str
    """Its full name."""
    seeds: dict[str, list[int]]
    """Seeds of each method, ascending."""

    def read(self, method: str, seed: int) -> Run:
        """Read one run.

        Raises:
            UserError: a file is missing there or is not what this version writes.
        """
        folder = paths.run_folder(method, seed).as_posix()
        return parse_run(
            # './': from this folder on, which need not be the top of the Git repository.
            lambda file: git("show", f"{self.commit}:./{folder}/{file}"),
            place=f"{self.revision}:{folder}",
            remedy="give a revision whose runs are those of this version",
        )


def committed(revision: str) -> Committed:
    """Look up which runs Git keeps at a revision.

    Raises:
        UserError: there is no Git, no repository, no such revision, or no run at it.
    """
    commit = commit_of(revision)
    listed = git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{paths.RUNS.as_posix()}/")
    found = _seeds(listed.decode().split("\0"))
    if not found:
        raise UserError(
            f"{revision}: no runs are committed there; commit runs/ after `dvc repro`, or give "
            "another revision"
        )
    return Committed(revision=revision, commit=commit, seeds=found)


def commit_of(revision: str) -> str:
    """Return the full name of a commit.

    Raises:
        UserError: there is no Git, no repository or no such revision.
    """
    git("rev-parse", "--git-dir")
    words = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    try:
        return git("rev-parse", *words).decode().strip()
    except UserError:
        raise UserError(
            f"REV: '{revision}' is no commit of this Git repository; give one, such as HEAD, "
            "HEAD~1 or a branch"
        ) from None


def _seeds(files: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for file in files:
        match PurePosixPath(file).parts:
            case (_, method, seed, paths.RECORD) if seed.isdigit():
                found.setdefault(method, []).append(int(seed))
    return {method: sorted(seeds) for method, seeds in found.items()}


def git(*words: str) -> bytes:
    """Run git and return what it printed.

    Raises:
        UserError: it is not there, or fails.
    """
    try:
        done = subprocess.run(["git", *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("git: not found; what is committed is read from Git: install it") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"]
        raise UserError(f"git {words[0]}: {said[0]}; run this in a clone of the project")
    return done.stdout
