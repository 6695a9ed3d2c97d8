"""Start the run's preloaded process before its first training asks for it.

usage: python -m fairtune.preload.ahead

Started by stages that trainings wait for (`fairtune.core.ahead`): the libraries are imported
meanwhile. Whatever is not as it should be is left to the training, which says why.
"""

from __future__ import annotations

from contextlib import suppress

from fairtune.preload import client, wire


def main() -> None:
    """Start it where the run has none, and say nothing."""
    with suppress(Exception):
        client.begin(wire.LIBRARIES)


if __name__ == "__main__":
    main()
