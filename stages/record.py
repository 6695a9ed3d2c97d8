"""What the trainings of one method wrote -> their records, for Git: all but the weights.

usage: python -m stages.record METHOD
in:    models/METHOD, data/rates/METHOD
out:   runs/METHOD/SEED/{run.json, history.json, predictions.parquet}, runs/METHOD/search.json where
       its learning rate was searched
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fairtune.core import files, params, paths


def record(name: str, seeds: Sequence[int], folder: Path) -> None:
    """Copy the records of a method's trainings into a folder, a folder a seed, and its search.

    Raises:
        UserError: a training has not been done.
    """
    for seed in seeds:
        here = folder / str(seed)
        here.mkdir()
        for file in paths.RUN_FILES:
            made = paths.training_folder(name, seed) / file
            if not made.is_file():
                raise errors.UserError(f"{made}: not found; run `dvc repro train@{name}-{seed}`")
            shutil.copyfile(made, here / file)
    search = paths.RATES / name / paths.SEARCH_FILE
    if search.is_file():
        shutil.copyfile(search, folder / paths.SEARCH_FILE)


def main() -> None:
    """Put the records of one method where Git keeps them; seeds of before are not among them."""
    study = params.load()
    if len(sys.argv) != 2:
        raise errors.UserError("usage: python -m stages.record METHOD")
    name = sys.argv[1]
    study.method(name)
    with files.fresh_folder(paths.RUNS / name) as folder:
        record(name, study.seeds, folder)


if __name__ == "__main__":
    errors.run(main)
