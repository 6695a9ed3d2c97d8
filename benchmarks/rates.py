"""Train adapters at several learning rates with many seeds: which rates are safe, and which best.

usage: python -m benchmarks.rates [--methods M ...] [--rates R ...] [--seeds A-B]

Everything but rate and seed is the study's (params.yaml, data/encoded). A training that is no
better than naming the commonest class counts as collapsed
(`fairtune.analysis.comparison.unlearned`).
Trainings may share a GPU: accuracy alone counts. Writes benchmarks/rates.json after each training
and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fairtune.analysis import comparison
from fairtune.core import params, paths, terminal
from fairtune.core.errors import UserError, run
from fairtune.core.files import read_json, write_json
from fairtune.runs import token_cache
from fairtune.runs.record import Run, RunRecord
from fairtune.runs.token_cache import Encoded
from fairtune.training import weights
from stages.train import train

RATES = (1e-3, 2e-3, 3e-3)


def seed_range(text: str) -> list[int]:
    """Return the seeds of '42-51', both ends included.

    Raises:
        UserError: it is not two numbers in order.
    """
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise UserError(f"--seeds: '{text}'; write the first and the last, such as 42-51")
    return list(range(int(first), int(last) + 1))


@functools.cache
def rows_of(folder: Path) -> tuple[dict[str, Encoded], dict[str, Any]]:
    """Return the rows of each split of a token cache, and what the encode stage says of them."""
    splits = {name: token_cache.read(folder / f"{name}.parquet") for name in paths.SPLITS}
    return splits, read_json(folder / paths.MANIFEST, made_by="encode")


def trained(study: params.Params, name: str, rate: float, seed: int) -> Run:
    """Train one method at one rate with one seed."""
    block = study.method(name).model_copy(update={"learning_rate": rate})
    shared = study.train.model_copy(update={"allow_busy_gpu": True})
    splits, manifest = rows_of(paths.ENCODED)
    with tempfile.TemporaryDirectory() as scratch:
        return train(
            study.model_copy(update={"methods": {name: block}, "train": shared}),
            splits,
            manifest,
            name=name,
            seed=seed,
            save=functools.partial(weights.save, folder=Path(scratch) / paths.WEIGHTS),
            started=time.perf_counter(),
        )


def accuracies(seeds: list[int], test: list[float], validation: list[float]) -> dict[str, Any]:
    """Return the accuracies of one method over seeds, and what they come to."""
    return {
        "seeds": seeds,
        "test": test,
        "validation": validation,
        "mean_test": round(statistics.mean(test), 4),
        "mean_validation": round(statistics.mean(validation), 4),
        "lowest_test": min(test),
    }


def summed(runs: list[Run]) -> dict[str, Any]:
    """Return the accuracies of one method at one rate, and which seeds collapsed."""
    return {
        **accuracies(
            [one.record.seed for one in runs],
            [one.record.accuracy.test for one in runs],
            [one.record.accuracy.validation for one in runs],
        ),
        "collapsed": comparison.unlearned({"": runs}).get("", []),
    }


def heading(record: RunRecord) -> dict[str, Any]:
    """Return what all trainings have in common, from the record of the first, and no figures."""
    return {
        "device": record.device.name,
        "versions": record.versions,
        "rows": record.data.rows,
        "epochs": record.parameters["train"]["epochs"],
        "methods": {},
    }


def main() -> None:
    """Train all, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["lora", "qlora"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--seeds", default="42-51")
    parser.add_argument("--out", default="benchmarks/rates.json")
    words = parser.parse_args()
    study, seeds = params.load(), seed_range(words.seeds)
    terminal.quiet_libraries()
    found: dict[str, Any] = {}
    print("| method | learning rate | mean test | mean validation | lowest test | collapsed |")
    print("|---|---|---|---|---|---|")
    for name in words.methods:
        for rate in words.rates:
            runs = []
            for seed in seeds:
                runs.append(trained(study, name, rate, seed))
                found = found or heading(runs[0].record)
                row = summed(runs)
                found["methods"].setdefault(name, {})[f"{rate:g}"] = row
                write_json(Path(words.out), found)
            print(
                f"| {name} | {rate:g} | {row['mean_test']:.3f} | "
                f"{row['mean_validation']:.3f} | {row['lowest_test']:.3f} | "
                f"{len(row['collapsed'])} of {len(seeds)} |",
                flush=True,
            )


if __name__ == "__main__":
    run(main)
