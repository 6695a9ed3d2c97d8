"""Token ids + one method + one seed -> a trained model and its run record, in one process.

usage: python -m stages.train METHOD SEED
in:    data/encoded
out:   models/METHOD/SEED/{run.json, history.json, predictions.parquet, weights/}
"""

from __future__ import annotations

import sys
import time

from fairtune import errors, experiment, files, layout, params, results

STARTED = time.perf_counter()


def main() -> None:
    """Train, measure and write one run."""
    study = params.load()
    name, seed = experiment.arguments(sys.argv[1:], study)
    with files.fresh_folder(layout.run_folder(name, seed)) as folder:
        run = experiment.run(
            study, name=name, seed=seed, weights=folder / layout.WEIGHTS, started=STARTED
        )
        results.write_run(folder, run.record, run.history, run.predictions)
    print(experiment.headline(run.record))


if __name__ == "__main__":
    errors.run(main)
