"""Find out under which licence a model or a data set is; what is not known is said to be unknown.

Two places are asked: the card that lies with the model or data set on this machine, and the table
of docs/licences.md. Nothing is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import DatasetCard, ModelCard, try_to_load_from_cache

from fairtune.core.errors import UserError
from fairtune.core.sources import PACKAGE, local_path

LISTED = Path("docs/licences.md")
CARD = "README.md"
UNKNOWN = "unknown"
"""The Hub's word for a licence that nobody has told."""
Kind = Literal["model", "dataset"]
# As the Hub writes them.
IDENTIFIERS = {"MIT": "mit", "Apache 2.0": "apache-2.0"}


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The terms of a model or a data set."""

    identifier: str
    """The Hub's, or `UNKNOWN`."""
    said: str
    """In words, with where they stand."""


def licence_of(name: str, revision: str | None, *, kind: Kind) -> Licence:
    """Return the licence of what `model.name` or `data.source` names."""
    listed = _listed(name)
    found = _of_card(name, revision, kind)
    if found is not None:
        more = f"; docs/licences.md: {listed}" if listed else ""
        return Licence(identifier=found, said=f"{found}, as its own card says{more}")
    if listed is not None:
        return Licence(
            identifier=IDENTIFIERS.get(listed, UNKNOWN), said=f"{listed} (docs/licences.md)"
        )
    return Licence(identifier=UNKNOWN, said="unknown: neither a card nor docs/licences.md tells it")


def _of_card(name: str, revision: str | None, kind: Kind) -> str | None:
    """Return the licence that the card beside it names; None where there is none."""
    path = _card(name, revision, kind)
    if path is None or not path.is_file():
        return None
    made = ModelCard if kind == "model" else DatasetCard
    try:
        card = made(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
    except (ValueError, OSError):
        return None
    found = card.data.get("license")
    # Data sets may name several.
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    return found if isinstance(found, str) and found != UNKNOWN else None


def _card(name: str, revision: str | None, kind: Kind) -> Path | None:
    try:
        path = local_path(name, key="model.name")
    except UserError:  # it is gone since
        return None
    if path is not None:
        return path / CARD if path.is_dir() else None
    cached = try_to_load_from_cache(name, CARD, revision=revision, repo_type=kind)
    return Path(cached) if isinstance(cached, str) else None


def _listed(name: str) -> str | None:
    """Return the licence that the table of docs/licences.md has for a name or a package."""
    wanted = name.removeprefix(PACKAGE).partition("/")[0] if name.startswith(PACKAGE) else name
    if not LISTED.is_file():
        return None
    for line in LISTED.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and _plain(cells[0].partition(" ")[0]) == _plain(wanted):
            return cells[2]
    return None


def _plain(name: str) -> str:
    """Return a package's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
