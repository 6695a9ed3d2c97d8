"""Start the run's preloaded process before its first training asks for it, or work in a fork of it.

usage: python -m fairtune.preload.ahead [STAGE]

Started by stages that trainings wait for (`fairtune.core.ahead`): the libraries are imported
meanwhile. Whatever is not as it should be is left to the training, which says why. With a stage,
one that needs the same libraries, this does its work.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import importlib
import sys
import time
from contextlib import suppress

from fairtune.preload import client, wire

STARTED = time.perf_counter()


def begin() -> None:
    """Start it where the run has none, and say nothing."""
    with suppress(Exception):
        client.begin(wire.LIBRARIES)


def work(stage: str) -> None:
    """Do a stage's work in a fork of the process that is there, or else here."""
    sys.argv[:] = [stage]
    status = client.elsewhere(stage, "main", started=STARTED, launching=False)
    if status is not None:
        sys.exit(status)
    begin()
    importlib.import_module(stage).main()


def main() -> None:
    """Do what is asked for."""
    if len(sys.argv) > 1:
        errors.run(lambda: work(sys.argv[1]))
    else:
        begin()


if __name__ == "__main__":
    main()
