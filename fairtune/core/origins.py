"""Tie the corpus and the model to the pipeline, so that DVC notices when they change.

`data.source` and `model.name` may lie anywhere, or in a package, or on the Hub, which DVC's list of
dependencies cannot say. The stage `sources` therefore leaves at one fixed place either a link to
the file or folder, whose content DVC hashes through the link, or a note of the Hub's commit.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants
from huggingface_hub.file_download import repo_folder_name

from fairtune.core import files
from fairtune.core.params import Params
from fairtune.core.paths import CORPUS, MODEL
from fairtune.core.sources import go_offline_without_hub, local_path, reading

COMMIT = re.compile(r"[0-9a-f]{40}")
Kind = Literal["dataset", "model"]
KEYS: dict[Kind, str] = {"dataset": "data.source", "model": "model.name"}


def tie(name: str, revision: str | None, *, kind: Kind, place: Path) -> str | None:
    """Leave a link to a source, or a note of the Hub's commit, at a place.

    Returns:
        A warning where the source is on the Hub and not pinned to a commit.

    Raises:
        UserError: the source is not there.
    """
    key = KEYS[kind]
    path = local_path(name, key=key)
    if path is not None:
        _link(place, path)
        return None
    commit = _commit(name, revision, kind=kind)
    if place.is_symlink():
        place.unlink()  # else the note would be written to where it leads
    files.write_json(place, {"hub": name, "commit": commit})
    if revision and COMMIT.fullmatch(revision):
        return None
    pin = f"{key.partition('.')[0]}.revision"
    found = f"set it to {commit}, the commit of now" if commit else "set it to a commit"
    return f"{pin}: '{name}' is not pinned, and its authors may change it; {found}"


def _link(place: Path, path: Path) -> None:
    """Put a link to a path at a place; within the repository it is relative, as this may move."""
    place.parent.mkdir(parents=True, exist_ok=True)
    target = path.absolute()
    if target.is_relative_to(Path.cwd()):
        target = Path(os.path.relpath(target, place.parent.resolve()))
    half = place.with_name(place.name + ".part")
    half.unlink(missing_ok=True)
    half.symlink_to(target)
    os.replace(half, place)


def _commit(name: str, revision: str | None, *, kind: Kind) -> str | None:
    """Return the commit that a revision stands for; None where neither Hub nor cache tells."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    go_offline_without_hub()
    if not constants.HF_HUB_OFFLINE:
        with reading(name, revision, key=KEYS[kind]):
            return HfApi().repo_info(name, revision=revision, repo_type=kind).sha
    folder = repo_folder_name(repo_id=name, repo_type=kind)
    known = Path(constants.HF_HUB_CACHE, folder, "refs", revision or "main")
    return known.read_text(encoding="utf-8").strip() if known.is_file() else None


def pinned(study: Params) -> Params:
    """Return the study with each Hub revision as the commit that `sources` noted.

    All stages then read the same commit, and what they record names it.
    """
    data = study.data.model_copy(
        update={"revision": _noted(CORPUS, study.data.source) or study.data.revision}
    )
    model = study.model.model_copy(
        update={"revision": _noted(MODEL, study.model.name) or study.model.revision}
    )
    return study.model_copy(update={"data": data, "model": model})


def _noted(place: Path, name: str) -> str | None:
    """Return the commit noted for a source of the Hub; None for any other source."""
    if place.is_symlink() or not place.is_file():
        return None
    try:
        note = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return note.get("commit") if note.get("hub") == name else None
