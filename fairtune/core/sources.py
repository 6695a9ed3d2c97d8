"""Find what a study names: a local path, a file inside an installed package, or the Hub.

Both `data.source` and `model.name` use these forms.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from fairtune.core.disk import chain, obstacle
from fairtune.core.errors import UserError

PACKAGE = "package:"
FOLDER = "folder:"
"""What stands before the name of a folder where its path must not: nothing finds it by that."""
# Where DVC runs the experiments of `--queue` and `--temp`.
QUEUE = "/.dvc/tmp/exps/"
HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")
FILE_ENDINGS = {
    *(".csv", ".jsonl", ".json", ".parquet", ".tsv", ".txt"),
    *(".gz", ".bz2", ".xz", ".zip", ".zst", ".7z"),
}
# Seconds that the Hub has to answer before copies on this machine are all that is looked for.
PATIENCE = 8.0
OFFLINE_ERRORS = {
    "ConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "MaxRetryError",
    "ProxyError",
    "gaierror",
}
MISSING_ERRORS = {
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "GatedRepoError",
    "DatasetNotFoundError",
    "HFValidationError",
}


def local_path(name: str, *, key: str) -> Path | None:
    """Return the path that a source names, or None where it names something on the Hub.

    Raises:
        UserError: the package is not installed, or the path does not exist.
    """
    if name.startswith(PACKAGE):
        return _package_path(name, key=key)
    path = Path(name).expanduser()
    if path.exists():
        return path
    looks_local = path.suffix.lower() in FILE_ENDINGS or name.startswith((".", "/", "~"))
    workspace = _workspace()
    left_behind = workspace is not None and (workspace / name).exists()
    if looks_local or left_behind or not HUB_NAME.match(name):
        raise UserError(f"{key}: '{name}' not found; {_where_to_look(name)}")
    return None


def public_name(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return name and version of a model as they may be told to others: no path of this machine.

    A Hub model has its own and the commit, `package:NAME/PATH` the version of the package that is
    installed. A folder keeps its last name alone, behind a word that the Hub knows no name with.
    """
    if name.startswith(PACKAGE):
        return name, package_version(name)
    path = Path(name).expanduser()
    if path.exists() or not HUB_NAME.match(name):  # a folder may be gone since
        return f"{FOLDER}{path.resolve().name}", None
    return name, revision


def package_version(name: str) -> str | None:
    """Return the installed version of the package of ``package:NAME/PATH``; None if unknown."""
    package = name.removeprefix(PACKAGE).partition("/")[0]
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _where_to_look(name: str) -> str:
    """Return what to do about a path that is not there."""
    workspace = _workspace()
    if workspace is None:
        return f"give a path from {Path.cwd()} or an absolute one"
    there = workspace / name
    which = f", '{there}'," if there.exists() else ""
    return (
        "a queued experiment runs in a copy that holds only what Git tracks: give an absolute "
        f"path{which} or add `--copy-paths {name}` to `dvc exp run`"
    )


def _workspace() -> Path | None:
    """Return the folder that an experiment's own is a copy of; None where this is no copy."""
    before, queue, _ = Path.cwd().as_posix().partition(QUEUE)
    return Path(before) if queue else None


def _package_path(name: str, *, key: str) -> Path:
    """Return the path of ``package:NAME/PATH`` without importing the package."""
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{key}: package '{package}' is not installed; run `make setup`, or give a path"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / inside).exists():
        raise UserError(f"{key}: package '{package}' has no '{inside}' in {folder}")
    return folder / inside


@functools.cache
def go_offline_without_hub() -> None:
    """Let the libraries look on this machine alone where the Hub does not answer.

    Without it they would ask five times for each file: 23 s or more, with a warning each, before
    they say that there is no network or take the copy that they had all along.
    """
    if constants.HF_HUB_OFFLINE:
        return
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of httpx, httpx2 or requests, as the version of the library has it
        constants.HF_HUB_OFFLINE = True
        if "datasets" in sys.modules:
            sys.modules["datasets"].config.HF_HUB_OFFLINE = True


@contextmanager
def reading(name: str, revision: str | None = None, *, key: str) -> Iterator[str]:
    """Yield what the libraries read a source by, and turn what goes wrong into one line.

    Raises:
        UserError: the source is not there or cannot be read; names the key.
    """
    path = local_path(name, key=key)
    if path is None:
        go_offline_without_hub()
    try:
        yield str(path or name)
    except UserError:
        raise
    except Exception as error:
        if obstacle(error):
            raise
        raise UserError(_explain(error, f"{key}: '{name}'", revision)) from error


def _explain(error: Exception, what: str, revision: str | None) -> str:
    kinds = {type(link).__name__ for link in chain(error)}
    at = f" at revision '{revision}'" if revision else ""
    if kinds & OFFLINE_ERRORS:
        return (
            f"{what}{at} is neither a path nor a copy on this machine, and the Hugging Face Hub "
            "cannot be reached; connect, or give a local path"
        )
    if kinds & MISSING_ERRORS:
        return f"{what}{at} cannot be had: the Hub has no such entry, or it is private"
    return f"{what}{at} cannot be read: {reason(error)}"


def reason(error: BaseException) -> str:
    """Return what went wrong in a line; the cause where the outer error is a mere wrapper."""
    if type(error).__name__.startswith("DatasetGeneration") and error.__cause__:
        error = error.__cause__
    words = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(words, width=240, placeholder=" ...").rstrip(".")
