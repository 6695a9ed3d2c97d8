"""Look at the nodes before anything runs: same packages, one kind of device, the model there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairtune.core.errors import UserError
from fairtune.hardware.processor import processor_name

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
LOCK = Path("requirements.txt")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a node is asked for."""

    packages: Sequence[str]
    model: str | None
    """A path that each node must have for itself; None where it is sent, or of the Hub."""
    token: str | None
    """A file in DVC's cache that a node sees where it shares the folder."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node is."""

    host: str
    python: str
    versions: Mapping[str, str | None]
    gpus: Sequence[str]
    processor: str
    model_md5: str | None
    shares_cache: bool


def packages() -> list[str]:
    """Return the names of the packages that the lock of requirements pins."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [match[1] for match in map(PINNED.match, lines) if match]


def look(asked: Asked) -> Seen:
    """Return what the machine is that this process runs on."""
    return Seen(
        host=socket.gethostname(),
        python=".".join(platform.python_version_tuple()[:2]),
        versions={name: _version(name) for name in asked.packages},
        gpus=_gpus(),
        processor=processor_name(),
        model_md5=None if asked.model is None else _content(Path(asked.model).expanduser()),
        shares_cache=asked.token is not None and Path(asked.token).is_file(),
    )


def _version(name: str) -> str | None:
    """Return the installed version, without what tells builds apart (`+cpu`, `+cu130`)."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    """Return the names of all GPUs of the machine, whichever this process may use."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        names = map(pynvml.nvmlDeviceGetName, handles)
        return [name.decode() if isinstance(name, bytes) else name for name in names]
    except pynvml.NVMLError:
        return []


def _content(path: Path) -> str | None:
    """Return a hash of a file, or of a folder's files and their names; None where it is not."""
    if not path.exists():
        return None
    digest = hashlib.md5(usedforsecurity=False)
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as content:
            of_file = hashlib.file_digest(content, "md5").hexdigest()
        digest.update(f"{file.relative_to(path)}\n{of_file}\n".encode())
    return digest.hexdigest()


def check(here: Seen, nodes: Sequence[Seen], *, model: str, mixed: bool) -> None:
    """Check that what the nodes give can be set side by side.

    Args:
        here: the driver's machine.
        nodes: those that tasks may run on.
        model: what `model.name` names.
        mixed: whether the study allows devices of several kinds.

    Raises:
        UserError: packages or the model differ, by name, or the devices do and may not.
    """
    for node in nodes:
        if node.python != here.python:
            raise UserError(f"node {node.host}: Python {node.python}, and {here.python} here")
        others = [
            f"{name} {node.versions.get(name) or 'not installed'} (here {version})"
            for name, version in here.versions.items()
            if node.versions.get(name) != version
        ]
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            raise UserError(
                f"node {node.host}: {', '.join(others[:3])}{more}; install the same "
                "requirements.txt on every node"
            )
        if node.model_md5 != here.model_md5:
            what = "has no such path" if node.model_md5 is None else "has other files there"
            raise UserError(
                f"model.name: '{model}': node {node.host} {what}; put the model into the "
                "repository's folder, from where it is sent, or at the same path on every node"
            )
    if not mixed:
        _one_kind(nodes)


def _one_kind(nodes: Sequence[Seen]) -> None:
    """Check that all trainings will run on devices of one kind."""
    found: dict[str, str] = {}
    for node in nodes:
        for name in node.gpus or [node.processor]:
            found.setdefault(name, node.host)
    if len(found) > 1:
        kinds = ", ".join(f"{name} ({host})" for name, host in found.items())
        raise UserError(
            f"the nodes have {kinds}: times on devices of several kinds cannot be compared; give "
            "the cluster nodes of one kind, or set compare.allow_mixed_devices to true, and no "
            "times are"
        )
