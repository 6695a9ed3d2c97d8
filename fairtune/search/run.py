"""Run the trials of one method, those that are finished already from the store."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairtune.core import paths
from fairtune.core.files import read_json
from fairtune.core.params import Params
from fairtune.core.terminal import TrialProgress
from fairtune.runs import token_cache
from fairtune.runs.search import Trial, Trials
from fairtune.runs.token_cache import Encoded
from fairtune.training.job import Job

SEEN = ("train", "validation")
"""The splits that trials look at: not the one to test on."""
# On a GPU: beyond this many, each is only slower (H200, all-mpnet-base-v2).
MOST_ON_GPU = 12


def of_trials(study: Params) -> Params:
    """Return the study as its trials are trained: their epochs, each validated.

    Trials may share a device with one another and with others.
    """
    epochs = study.search.epochs or study.train.epochs
    update = {"epochs": epochs, "validate_every_epoch": True, "allow_busy_gpu": True}
    return study.model_copy(update={"train": study.train.model_copy(update=update)})


def read_rows() -> tuple[dict[str, Encoded], dict[str, Any]]:
    """Return the rows that trials look at, and what the encode stage says of them.

    Raises:
        UserError: they are not there.
    """
    manifest = read_json(paths.ENCODED / paths.MANIFEST, made_by="encode")
    return {name: token_cache.read(paths.ENCODED / f"{name}.parquet") for name in SEEN}, manifest


def run_trials(
    study: Params,
    name: str,
    rates: Sequence[float],
    *,
    splits: Mapping[str, Encoded],
    manifest: Mapping[str, Any],
    round_: int = 0,
) -> Trials:
    """Train a method at each of these rates with each of the search's seeds.

    Args:
        study: the parameters.
        name: the method's; its rate is to be searched.
        rates: the rates to try.
        splits: the encoded rows to train on and to validate on.
        manifest: what the encode stage says of them.
        round_: 0 for the range asked for, 1 and 2 for its extensions.

    Raises:
        UserError: a trial cannot be run.
    """
    asked = study.method(name).searched
    assert asked is not None
    jobs = [
        Job(
            study=of_trials(study).with_rate(name, rate),
            splits=splits,
            manifest=manifest,
            name=name,
            seed=seed,
        )
        for rate in rates
        for seed in study.search.seeds
    ]
    shelf = Shelf(study, splits)
    kept = [shelf.read(job) for job in jobs]
    missing = [job for job, found in zip(jobs, kept, strict=True) if found is None]
    began = time.perf_counter()
    if missing:
        shelf.run(missing, round_=round_, done=len(jobs) - len(missing))
        kept = [shelf.read(job) for job in jobs]
    took = time.perf_counter() - began if missing else 0.0
    found = [one for one in kept if one is not None]
    assert len(found) == len(jobs)
    fresh = {(job.method.rate, job.seed) for job in missing}
    took += sum(
        one.trial.seconds / one.at_once
        for one in found
        if (one.trial.rate, one.trial.seed) not in fresh
    )
    return Trials(
        method=name,
        asked=asked.search,
        epochs=of_trials(study).train.epochs,
        seconds=round(took, 1),
        at_once=max(one.at_once for one in found),
        device=found[0].device,
        trials=[one.trial.model_copy(update={"round": round_}) for one in found],
    )


class Shelf:
    """The finished trials of a search, and the way to more."""

    def __init__(self, study: Params, splits: Mapping[str, Encoded]) -> None:
        """Look at what all trials have in common."""
        from fairtune.preload import server, wire

        server.load_once(list(wire.LIBRARIES))
        from fairtune.hardware import device
        from fairtune.search import store

        self.store = store
        self.kind = device.kind_of(study.train)
        self.shared = store.shared_key(of_trials(study), splits, self.kind)
        self.cores = device.granted_core_numbers() if self.kind == "cpu" else []

    def read(self, job: Job) -> Any:
        """Return a finished trial, None where it is not finished."""
        return self.store.read(self.store.path_of(self.shared, job))

    def run(self, jobs: Sequence[Job], *, round_: int, done: int) -> None:
        """Run trials, and keep each as soon as it is finished.

        Raises:
            UserError: one cannot be run.
        """
        from fairtune.search.pool import Pool
        from fairtune.search.sharing import Sharing

        name = jobs[0].name
        progress = TrialProgress(f"search {name}", done=done, total=done + len(jobs))

        def finished(job: Job, found: tuple[Trial, str], at_once: int) -> None:
            trial, device = found
            kept = self.store.Kept(trial=trial, at_once=at_once, device=device)
            self.store.write(self.store.path_of(self.shared, job), kept)
            progress.trial_done(trial.accuracy[-1], trial.rate)

        sharing = Sharing(wanted=self.kind == "cuda" and len(jobs) > 1)
        pool = Pool(
            work=functools.partial(_work, round_),
            done=finished,
            most={"cpu": len(self.cores) or 1, "cuda": MOST_ON_GPU}.get(self.kind, 1),
            cores=self.cores,
            sharing=bool(sharing),
            stop_sharing=sharing.close,
            label=f"methods.{name}",
        )
        progress.start()
        try:
            pool.run(jobs)
        finally:
            progress.stop()
            sharing.close()


def _work(round_: int, job: Job, tell: Callable[[int, int], None]) -> tuple[Trial, str]:
    """Run one trial in a process of its own; return it with the name of its device."""
    from fairtune.preload import deferral

    deferral.complete()
    from fairtune.hardware import device
    from fairtune.search.trial import run_trial

    trial = run_trial(job, round_=round_, tell=tell)
    return trial, device.choose(job.study.train).name
