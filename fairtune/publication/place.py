"""Where published studies lie. Within its folder, a study's files lie as in the workspace."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from fairtune.core import paths
from fairtune.core.errors import UserError, did_you_mean

RESULTS = Path("results")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
HALF = (".part", ".old")
"""Endings of the folders that `fairtune.core.files.fresh_folder` uses while it writes."""
CHARTS = paths.REPORT / "charts"
TWIN = paths.REPORT / "README.md"
PAPER = paths.REPORT / "report.pdf"
MANIFESTS = (paths.SUBSET / paths.MANIFEST, paths.ENCODED / paths.MANIFEST)


def folder(name: str) -> Path:
    """Return the folder of a study.

    Raises:
        UserError: it cannot be called so.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"NAME: '{name}' cannot name a study; use small letters, digits and '-', such as "
            "imdb-base"
        )
    return RESULTS / name


def published() -> list[str]:
    """Return the names of the published studies, in order; none where there is no folder."""
    if not RESULTS.is_dir():
        return []
    return sorted(
        path.name for path in RESULTS.iterdir() if path.is_dir() and path.suffix not in HALF
    )


def found(name: str) -> Path:
    """Return the folder of a study that is there.

    Raises:
        UserError: there is none of this name.
    """
    place = folder(name)
    if not place.is_dir():
        raise UserError(f"{place}: not found; {did_you_mean(name, published())}")
    return place


@contextlib.contextmanager
def at(place: Path) -> Iterator[None]:
    """Read another folder as the workspace is read; an error then names this folder first.

    All paths of the pipeline are relative (`fairtune.core.paths`), so that any reader works there.

    Raises:
        UserError: there is no such folder, or as the block does.
    """
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; name one that holds params.yaml and runs/")
    try:
        with contextlib.chdir(place):
            yield
    except UserError as error:
        if place == Path():
            raise
        raise UserError(f"{place}: {error}") from None
