"""The environment in which a stage runs on a node."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from fairtune.core import ahead
from fairtune.preload import owner
from fairtune.runs.record import NODE

RAYS = "RAY_"


def of_stage(keeper: str | None) -> dict[str, str]:
    """Return the environment of a stage: alike for all tasks of a node, and nothing in it of Ray's.

    Args:
        keeper: the process of the node that tasks share their imports through; where it is None,
            or gone, they do not.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith(RAYS)}
    found[NODE] = socket.gethostname()
    python = str(Path(sys.executable).parent)
    others = [folder for folder in _folders(found, "PATH") if folder != python]
    found["PATH"] = os.pathsep.join([python, *others])
    # Ray's workers find their code by it; the stage shall find its own.
    here = os.path.realpath(".")
    kept = [path for path in _folders(found, "PYTHONPATH") if os.path.realpath(path) != here]
    found.pop("PYTHONPATH", None)
    if kept:
        found["PYTHONPATH"] = os.pathsep.join(kept)
    if keeper is not None and owner.parse(keeper):
        return found | {owner.RUN: keeper, owner.CODE: os.getcwd()}
    # What imports the libraries for several trainings is of no use to one.
    this = owner.find(os.getpid())
    return found | {ahead.SWITCH: "0"} | ({owner.RUN: str(this)} if this else {})


def _folders(environment: dict[str, str], name: str) -> list[str]:
    return [one for one in environment.get(name, "").split(os.pathsep) if one]
