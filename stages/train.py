"""Token ids + one method + one seed -> a trained model and its run record, in a process of its own.

usage: python -m stages.train METHOD SEED
in:    data/encoded, data/rates/METHOD/rate.json
out:   models/METHOD/SEED/{run.json, history.json, predictions.parquet, weights/}
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fairtune.preload import client, owner

if TYPE_CHECKING:
    from fairtune.core import params
    from fairtune.hardware.baseline import Baseline
    from fairtune.runs import token_cache
    from fairtune.runs.record import Run

STARTED = time.perf_counter()


def train(
    study: params.Params,
    splits: Mapping[str, token_cache.Encoded],
    manifest: Mapping[str, Any],
    *,
    name: str,
    seed: int,
    save: Callable[[Any], float],
    base: Baseline,
    started: float = STARTED,
) -> Run:
    """Train one method with one seed; `save` writes a model's weights and returns their MiB.

    `base` is the GPU before torch begins CUDA: what it holds then is others'.
    """
    from fairtune.preload import deferral
    from fairtune.training.job import Job

    deferral.complete()
    from fairtune.training.run import run_training

    job = Job(study=study, splits=splits, manifest=manifest, name=name, seed=seed)
    return run_training(job, save=save, base=base, started=started)


def main(started: float = STARTED) -> None:
    """Train, measure and write one run."""
    from fairtune.core import files, origins, params, paths, rates
    from fairtune.runs import store, token_cache
    from fairtune.training import recording, start, weights

    study = origins.pinned(params.load())
    name, seed = start.arguments(sys.argv[1:], study)
    start.set_up_process()
    # First of all: from now on the GPU's idle power is taken, for a second at least.
    base = start.look_at_gpu(study.train)
    study = rates.settled(study, name)
    with files.fresh_folder(paths.training_folder(name, seed)) as folder:
        manifest = files.read_json(paths.ENCODED / paths.MANIFEST, made_by="encode")
        splits = {s: token_cache.read(paths.ENCODED / f"{s}.parquet") for s in paths.SPLITS}
        tokenizer = paths.ENCODED / paths.TOKENIZER
        save = functools.partial(weights.save, folder=folder / paths.WEIGHTS)
        run = train(
            study, splits, manifest, name=name, seed=seed, save=save, base=base, started=started
        )
        weights.complete(folder / paths.WEIGHTS, tokenizer=tokenizer, study=study)
        store.write_run(folder, run.record, run.history, run.predictions)
    print(recording.headline(run.record))


def start_process() -> None:
    """Train in a fork of the run's preloaded process, where there is one, or in this process."""
    status = client.elsewhere("stages.train", "main", started=STARTED)
    if status is None:
        owner.end_with(owner.runners())
        main()
    else:
        sys.exit(status)


if __name__ == "__main__":
    errors.run(start_process)
