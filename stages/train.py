"""Token ids + one method + one seed -> a trained model and its run record, in one process.

usage: python -m stages.train METHOD SEED
in:    data/encoded
out:   models/METHOD/SEED/{run.json, history.json, predictions.parquet, weights/}
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from fairtune.core import files, origins, params, paths
from fairtune.runs import store, token_cache
from fairtune.runs.record import Run
from fairtune.training import recording, start, weights
from fairtune.training.job import Job

STARTED = time.perf_counter()


def train(
    study: params.Params,
    splits: Mapping[str, token_cache.Encoded],
    manifest: Mapping[str, Any],
    *,
    name: str,
    seed: int,
    save: Callable[[Any], float],
    started: float = STARTED,
) -> Run:
    """Train one method with one seed; `save` writes a model's weights and returns their MiB."""
    start.set_up_process()
    # Before torch, and with it CUDA, is imported: what the GPU holds now is others'.
    base = start.look_at_gpu(study.train)
    from fairtune.training.run import run_training

    job = Job(study=study, splits=splits, manifest=manifest, name=name, seed=seed)
    return run_training(job, save=save, base=base, started=started)


def main() -> None:
    """Train, measure and write one run."""
    study = origins.pinned(params.load())
    name, seed = start.arguments(sys.argv[1:], study)
    with files.fresh_folder(paths.run_folder(name, seed)) as folder:
        manifest = files.read_json(paths.ENCODED / paths.MANIFEST, made_by="encode")
        splits = {s: token_cache.read(paths.ENCODED / f"{s}.parquet") for s in paths.SPLITS}
        save = functools.partial(weights.save, folder=folder / paths.WEIGHTS)
        run = train(study, splits, manifest, name=name, seed=seed, save=save)
        store.write_run(folder, run.record, run.history, run.predictions)
    print(recording.headline(run.record))


if __name__ == "__main__":
    errors.run(main)
