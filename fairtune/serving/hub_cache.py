"""Put the model of a package into the Hub's cache on this machine, as a download would have."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from fairtune.core import disk
from fairtune.core.errors import UserError
from fairtune.core.published import Published, published
from fairtune.core.sources import local_path

# The Hub keeps files with this ending under their SHA-256, others under the hash that Git gives.
WEIGHTS = ".safetensors"
MAIN = "main"


def put(name: str) -> Path:
    """Put a package's model into the cache under its public name; return its folder there.

    From then on `from_pretrained` finds it without a network. What the cache has already stays. The
    tokenizer is among the files: without one Transformers makes up an empty one, and says nothing.

    Args:
        name: as `model.name` gives it.

    Raises:
        UserError: the Hub has no such model, or has it with other bytes.
    """
    known, folder = published(name), local_path(name, key="model.name")
    if known is None or folder is None:
        raise UserError(
            f"--cache-base: the pretrained model '{name}' is not known under a name of the Hub; "
            "leave the option out, or use --to merged, which needs no other model"
        )
    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=known.name, repo_type="model")
    snapshot = place / "snapshots" / known.commit
    with disk.writing(place):
        for file in known.files:
            _put(folder / file, snapshot / file, place / "blobs" / _blob(known, folder, file))
        main = place / "refs" / MAIN
        if not main.exists():  # where it is, somebody has asked the Hub itself
            main.parent.mkdir(exist_ok=True)
            main.write_text(known.commit, encoding="utf-8")
    return snapshot


def _blob(known: Published, folder: Path, file: str) -> str:
    """Return the name under which the cache keeps a file's content."""
    if file.endswith(WEIGHTS):
        return known.files[file]
    content = (folder / file).read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _put(source: Path, file: Path, blob: Path) -> None:
    if file.exists():
        return
    for folder in (file.parent, blob.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if not blob.exists():
        half = blob.with_name(f"{blob.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(source, half)
            os.replace(half, blob)
        finally:
            half.unlink(missing_ok=True)
    try:
        file.symlink_to(os.path.relpath(blob, file.parent))
    except OSError:  # a system on which not everybody may link
        shutil.copyfile(blob, file)
