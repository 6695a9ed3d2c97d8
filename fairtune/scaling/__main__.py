"""Time and memory of each method over rows, length, batch and model size: `make scaling`.

usage: python -m fairtune.scaling
in:    params.yaml (its methods, its model and its training settings)
out:   metrics/scaling.json

Not part of the pipeline. Each point is the loop that trainings use, in a process of its own, on the
device that the study uses. A GPU gets larger sizes than a processor, up to decoders of billions of
parameters.
"""

from __future__ import annotations

import argparse

from fairtune.core import params, paths
from fairtune.core.errors import run
from fairtune.core.files import write_json
from fairtune.scaling.sweep import sweep


def main() -> None:
    """Run the sweep and write what it found."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    path = paths.METRICS / "scaling.json"
    write_json(path, sweep(params.load(), keep=lambda found: write_json(path, found)))
    print(f"scaling: {path}; `dvc repro report` takes it up")


if __name__ == "__main__":
    run(main)
