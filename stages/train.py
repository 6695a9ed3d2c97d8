"""Token ids + one method + one seed -> a trained model and its run record, in one process.

usage: python -m stages.train METHOD SEED
in:    data/encoded
out:   models/METHOD/SEED/{run.json, history.json, predictions.parquet, weights/}
"""

from __future__ import annotations

import sys
import time

from fairtune.core import errors, files, params, paths
from fairtune.runs.store import write_run
from fairtune.training.recording import headline
from fairtune.training.run import arguments, run_training

STARTED = time.perf_counter()


def main() -> None:
    """Train, measure and write one run."""
    study = params.load()
    name, seed = arguments(sys.argv[1:], study)
    with files.fresh_folder(paths.run_folder(name, seed)) as folder:
        run = run_training(
            study, name=name, seed=seed, weights=folder / paths.WEIGHTS, started=STARTED
        )
        write_run(folder, run.record, run.history, run.predictions)
    print(headline(run.record))


if __name__ == "__main__":
    errors.run(main)
