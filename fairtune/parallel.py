"""Run the stale searches and trainings side by side, one on each GPU, and the rest after them.

usage: python -m fairtune.parallel

With one GPU, or none, the trainings run one after another: two that share a device would spoil
each other's time and memory. `FAIRTUNE_SLOTS` sets the number of trainings at once instead.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fairtune.cluster import stages
from fairtune.cluster.stages import PATIENCE_SECONDS
from fairtune.core import errors
from fairtune.core.errors import UserError

LOGS = Path(".dvc/tmp/parallel")
SLOTS = "FAIRTUNE_SLOTS"
POLL_SECONDS = 0.2


@dataclass
class Training:
    """A training under way."""

    stage: str
    slot: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float


def slots() -> list[str]:
    """Return the name of each slot: a GPU as CUDA_VISIBLE_DEVICES names it, or a number.

    Raises:
        UserError: the number asked for is no number.
    """
    gpus = _gpus()
    asked = os.environ.get(SLOTS)
    if asked is None:
        return gpus or ["0"]
    if not asked.isdigit() or int(asked) < 1:
        raise UserError(f"{SLOTS}: '{asked}' is not right; give a whole number from 1 on")
    return [gpus[index % len(gpus)] if gpus else str(index) for index in range(int(asked))]


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def start(stage: str, slot: str) -> Training:
    """Start one training in a session of its own, so that it can be ended with its children."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{stage}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*stages.DVC, "--wait-for-lock", "repro", "-s", stage],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**stages.of_this_run(), **({"CUDA_VISIBLE_DEVICES": slot} if _gpus() else {})},
            start_new_session=True,
        )
    print(f"parallel: {stage} started on {slot}, log in {log}", flush=True)
    return Training(stage=stage, slot=slot, process=process, log=log, began=time.monotonic())


def run_all(names: list[str], free: list[str]) -> list[Training]:
    """Run the trainings, as many at once as there are slots; return those that failed."""
    waiting = list(names)
    running: list[Training] = []
    failed: list[Training] = []
    idle = list(free)
    try:
        while waiting or running:
            while waiting and idle:
                running.append(start(waiting.pop(0), idle.pop(0)))
            time.sleep(POLL_SECONDS)
            for training in [one for one in running if one.process.poll() is not None]:
                running.remove(training)
                idle.append(training.slot)
                seconds = time.monotonic() - training.began
                bad = training.process.returncode != 0
                word = "FAILED" if bad else "done"
                print(f"parallel: {training.stage} {word} after {seconds:.0f} s", flush=True)
                if bad:
                    failed.append(training)
    finally:
        end(running)
    return failed


def end(running: list[Training]) -> None:
    """End trainings that are under way, children and all, and wait for them."""
    for sign, patience in ((signal.SIGINT, PATIENCE_SECONDS), (signal.SIGKILL, 5.0)):
        alive = [one for one in running if one.process.poll() is None]
        for training in alive:
            os.killpg(training.process.pid, sign)
        until = time.monotonic() + patience
        for training in alive:
            try:
                training.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue


def side_by_side(kind: str, free: list[str]) -> None:
    """Run the stale stages of a kind, one on each slot.

    Raises:
        UserError: one of them failed.
    """
    failed = run_all(stages.stale(kind), free)
    for training in failed:
        print(f"parallel: {training.stage}: {stages.first_error(training.log)}", file=sys.stderr)
    if failed:
        names = ", ".join(training.stage for training in failed)
        raise UserError(f"{names} failed, see {LOGS}; the others' results are kept")


def main() -> None:
    """Train side by side, then run the rest."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    stages.answer_signals()
    free = slots()
    if len(free) > 1:
        stages.in_order(functools.partial(side_by_side, free=free))
    else:
        print("parallel: one slot, so the trainings run one after another")
    sys.exit(stages.dvc("repro"))


if __name__ == "__main__":
    errors.run(main)
