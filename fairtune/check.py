"""Check what DVC reads before any stage does, and say what trainings to come will take.

usage: python -m fairtune.check

DVC makes the trainings of `seeds` and `methods`, and follows the links in data/sources. Of a number
where a list should be, or of a link to what has gone, it says nothing that names the key.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
import json
import subprocess
import sys
from typing import Any

from fairtune.core import params, paths, sources

# What comes before the trainings: where it changes, they run again.
UPSTREAM = {"sources", "subset", "encode"}
SEARCH, TRAIN = "search@", "train@"


def check() -> params.Params:
    """Check the parameters and the paths in them; take away links that lead nowhere.

    Raises:
        UserError: a key, a value or a path is not right.
    """
    study = params.load()
    for place in (paths.CORPUS, paths.MODEL):
        if place.is_symlink() and not place.exists():
            place.unlink()
    sources.local_path(study.data.source, key="data.source")
    sources.local_path(study.model.name, key="model.name")
    return study


def stale(study: params.Params) -> tuple[list[str], list[str]]:
    """Return the method of each training and of each trial that DVC will run.

    None of either where DVC cannot tell. Trials that are kept from before count, too.

    Args:
        study: the parameters.
    """
    words = [sys.executable, "-m", "dvc", "status", "--json", *sorted(UPSTREAM), "search", "train"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return [], []  # `dvc repro` comes next, and says why
    changed: dict[str, Any] = json.loads(done.stdout)
    of_each = study.search.trials * len(study.search.seeds)
    searching = [name for name, block in study.methods.items() if block.searched]
    if UPSTREAM & set(changed):
        trainings = [method for method in study.methods for _ in study.seeds]
        return trainings, [method for method in searching for _ in range(of_each)]
    trainings = [
        name.removeprefix(TRAIN).rpartition("-")[0] for name in changed if name.startswith(TRAIN)
    ]
    again = [method for method in searching if f"{SEARCH}{method}" in changed]
    return trainings, [method for method in again for _ in range(of_each)]


def main() -> None:
    """Check, and say nothing where all is right and nothing is to be trained."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    study = check()
    trainings, trials = stale(study)
    if trainings or trials:
        from fairtune.training import promise, start

        start.set_up_process()
        print(f"check: {promise.promise(study, trainings, trials)}", flush=True)


if __name__ == "__main__":
    errors.run(main)
