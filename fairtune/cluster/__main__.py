"""Run the stale searches and trainings on a Ray cluster, and the rest after them on this host.

usage: python -m fairtune.cluster [--address auto | HOST:PORT] [--cpus N] [--remote [NAME]]

Without an address Ray is started on this host alone. A task takes one GPU and its share of the
cores; where no node has a GPU, all cores of a node, or as many as `--cpus` says. What a node runs
comes back into DVC's cache, and the `dvc repro` at the end finds it there. With `--remote`, inputs
and results are exchanged through a DVC remote, the default one where none is named.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from fairtune.cluster import stages
from fairtune.core.errors import UserError


def main() -> None:
    """Run what is stale on the cluster, then the rest."""
    parser = argparse.ArgumentParser(
        prog="python -m fairtune.cluster", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--address", help="of a cluster: auto, or HOST:PORT; none: this host alone")
    parser.add_argument("--cpus", type=int, help="cores of a task where no node has a GPU")
    parser.add_argument("--remote", nargs="?", const="", metavar="NAME",
                        help="exchange files through a DVC remote, not through Ray")  # fmt: skip
    wanted = parser.parse_args()
    if wanted.cpus is not None and wanted.cpus < 1:
        raise UserError(f"--cpus: {wanted.cpus} is not right; give a whole number from 1 on")
    if importlib.util.find_spec("ray") is None:
        raise UserError("ray is not installed; `make cluster` does it, or: "
                        "pip install -r requirements-cluster.txt")  # fmt: skip
    from fairtune.cluster import configured
    from fairtune.cluster.session import Session

    found = None if wanted.remote is None else configured.find(wanted.remote or None)
    stages.answer_signals()
    with tempfile.TemporaryDirectory(prefix="fairtune-code-") as folder:
        session = Session(address=wanted.address, cpus=wanted.cpus, code=Path(folder), remote=found)
        try:
            stages.in_order(session.run)
        finally:
            session.close()
    sys.exit(stages.dvc("repro"))


if __name__ == "__main__":
    errors.run(main)
