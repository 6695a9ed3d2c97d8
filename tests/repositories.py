"""Clones of the project with a tiny study in them, in which tests run real DVC."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fairtune.core import ahead
from fairtune.preload import owner
from tests import commands, holder, tiny
from tests.held import sitecustomize

ROOT = Path(__file__).parent.parent
FOLDERS = ("fairtune", "stages", ".dvc/plots", "report/template", "notebooks")
RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
# Two methods that train in a moment.
METHODS = {
    "lora": {"learning_rate": 0.01, "adapter": "lora", "targets": ["query"], "r": 2},
    "ia3": {"learning_rate": 0.01, "adapter": "ia3", "targets": ["key"]},
}
# Two that learn a tiny study, so that one of them is recommended.
LEARNING: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 0.003},
    "lora": {"learning_rate": 0.02, "adapter": "lora", "targets": ["query", "value"], "r": 2},
}
FILES = (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")


class Repository:
    """A clone with a tiny study in it.

    Where its runs share their libraries, they are imported once for all trainings of all runs, in a
    process that ends with the tests; else once for each run, as a user's are.
    """

    def __init__(self, root: Path, *, shares_libraries: bool = False) -> None:
        self.root = root
        self.variables = {owner.RUN: str(owner.find(os.getpid()))} if shares_libraries else {}

    def run(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command, with more in its environment, and return all that it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=forking() | self.variables | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert bool(done.returncode) == fails, printed
        return printed

    def dvc(self, *words: str, fails: bool = False, **variables: str) -> str:
        """Run DVC."""
        return self.run(sys.executable, "-m", "dvc", *words, fails=fails, **variables)

    def status(self, *targets: str) -> dict[str, Any]:
        """Return what DVC finds changed in the stages, as `dvc status --json` prints it.

        It is asked in this process: one of its own takes longer to begin than to answer.
        """
        from dvc.repo import Repo

        with contextlib.chdir(self.root), Repo() as repo:
            found: dict[str, Any] = repo.status(targets=list(targets) or None)
        return found

    def encode(self) -> list[str]:
        """Reproduce up to the token cache, where no training follows; return the stages that ran.

        Nor is the process started that trainings would be forked from.
        """
        printed = self.dvc("repro", "encode", **{ahead.SWITCH: "0"})
        return RUNNING.findall(printed)

    def repro(self, *targets: str, fails: bool = False) -> list[str]:
        """Reproduce the pipeline, or up to some stages; return the stages that ran, in order."""
        # The report and the notebook have tests of their own.
        printed = self.dvc("repro", *(targets or ("compare", "score")), fails=fails)
        return RUNNING.findall(printed)

    def edit(self, key: str, value: object) -> None:
        """Set a dotted key of params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        document = yaml.load(path.read_text())
        *parents, last = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
        with path.open("w") as file:
            yaml.dump(document, file)

    def commit(self, message: str) -> None:
        """Commit all that git tracks."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def environment() -> dict[str, str]:
    """Return an environment in which `python` is this one and git knows an author."""
    python = str(Path(sys.executable).parent)
    author = {
        f"GIT_{role}_{what}": "t@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    # Named once: so it is on a cluster's nodes, and a process is forked only from one of its own
    # environment.
    others = [one for one in os.environ["PATH"].split(os.pathsep) if one != python]
    path = os.pathsep.join([python, *others])
    # The test's name changes, and a training is forked only from a process of its own environment.
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    quiet = {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    made = {**kept, **author, **quiet, "PATH": path}
    return made | holder.variables(made)


def forking() -> dict[str, str]:
    """Return such an environment, in which DVC and the stages fork from the tests' processes."""
    return environment() | {sitecustomize.FORKS: "1"}


def clone(root: Path, *, pipeline: str | None = None, shares_libraries: bool = False) -> Repository:
    """Copy the project to a folder that holds a study and commit both.

    Args:
        root: holds `params.yaml` and what it names.
        pipeline: text of dvc.yaml; None takes the project's.
        shares_libraries: whether one process holds the libraries for the trainings of all runs.
    """
    # With the compiled files: their sources keep their times.
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder)
    for file in FILES:
        shutil.copy(ROOT / file, root / file)
    (root / "dvc.yaml").write_text(pipeline or (ROOT / "dvc.yaml").read_text())
    made = Repository(root, shares_libraries=shares_libraries)
    made.run("git", "init", "-q")
    made.commit("a tiny study")
    return made


def encoded(root: Path) -> Repository:
    """Make a clone of a pipeline that ends with `record`, and run all before the trainings."""
    tiny.write_encoder(root / "encoder")
    tiny.write_study(root, {"methods": METHODS})
    pipeline = (ROOT / "dvc.yaml").read_text()
    made = clone(root, pipeline=pipeline[: pipeline.index("  score:")])
    made.encode()
    return made


def finished(root: Path) -> Repository:
    """Make a clone of a pipeline that ends with `compare`, and run and commit all of it.

    The stages run in this process, and DVC then commits what they made: each would else spend
    seconds to begin.
    """
    from stages import compare, encode, rates, record, score, search, sources, subset, train

    # Weights this large tell texts apart before any training, and a tokenizer of RoBERTa's kind is
    # the same each time it is trained.
    tiny.write_encoder(root / "encoder", kind="roberta", initializer_range=0.1)
    tiny.write_reviews(root / "reviews.csv", rows=150)
    changes = {"subset.train": 96, "subset.test": 32, "train.epochs": 6, "compare.resamples": 1000}
    tiny.write_study(root, {**changes, "methods": LEARNING})
    pipeline = (ROOT / "dvc.yaml").read_text()
    made = clone(root, pipeline=pipeline[: pipeline.index("  report:")])
    each = [(name,) for name in LEARNING]
    for main, words in (
        (sources.main, [()]), (subset.main, [()]), (encode.main, [()]),
        (search.start_process, each), (rates.start_process, [()]),
        (train.main, [(name, "1") for name in LEARNING]),
        (record.main, each), (score.main, each), (compare.main, [()]),
    ):  # fmt: skip
        for given in words:
            done = commands.run(main, root, *given)
            assert not done.returncode, done.stderr
    made.dvc("commit", "--force")
    made.commit("results")
    return made


def copy(repository: Repository, root: Path) -> Repository:
    """Return a copy of a repository, its cache and what it ran included.

    Args:
        repository: the one to copy; it stays as it is.
        root: an empty folder.
    """
    shutil.copytree(repository.root, root, symlinks=True, dirs_exist_ok=True)
    return Repository(root)


def until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for something that is true, and return it."""
    end = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return seen


def inside(folder: Path) -> list[str]:
    """Return the commands of the processes that run in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(path / "cwd")) == folder.resolve():
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
