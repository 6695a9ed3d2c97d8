"""Run the stale searches and trainings side by side, one on each GPU, and the rest after them.

usage: python -m fairtune.parallel

With one GPU, or none, the trainings run one after another: two that share a device would spoil
each other's time and memory. `FAIRTUNE_SLOTS` sets the number of trainings at once instead.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.core import errors, params
from fairtune.core.errors import UserError
from fairtune.preload import owner

DVC = [sys.executable, "-m", "dvc"]
LOGS = Path(".dvc/tmp/parallel")
SLOTS = "FAIRTUNE_SLOTS"
POLL_SECONDS = 0.2
# After Ctrl-C, a training has this long to end by itself.
PATIENCE_SECONDS = 15.0


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


def of_this_run() -> dict[str, str]:
    """Return an environment in which trainings end with this process and share its imports."""
    this = owner.find(os.getpid())
    return {**os.environ, owner.RUN: str(this)} if this else dict(os.environ)


def dvc(*words: str) -> int:
    """Run DVC to its end and return its status; where this process is to end, end it first."""
    process = subprocess.Popen([*DVC, *words], env=of_this_run())
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def end_like_ctrl_c(number: int, _: Any) -> None:
    """End this process by a signal so that what it started ends first.

    Raises:
        SystemExit: always, with the status that a shell reports of the signal.
    """
    print(f"fairtune: ended by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


def stale(kind: str) -> list[str]:
    """Return the stages of a kind (`search`, `train`) that DVC would run, in the file's order."""
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc status failed: {errors.one_line(Exception(done.stderr))}")
    changed: dict[str, Any] = json.loads(done.stdout)
    return [stage for stage in changed if stage.startswith(f"{kind}@")]


def start(stage: str, slot: str) -> Training:
    """Start one training in a session of its own, so that it can be ended with its children."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{stage}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*DVC, "--wait-for-lock", "repro", "-s", stage],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**of_this_run(), **({"CUDA_VISIBLE_DEVICES": slot} if _gpus() else {})},
            start_new_session=True,
        )
    print(f"parallel: {stage} started on {slot}, log in {log}", flush=True)
    return Training(stage=stage, slot=slot, process=process, log=log, began=time.monotonic())


def run_all(stages: list[str], free: list[str]) -> list[Training]:
    """Run the trainings, as many at once as there are slots; return those that failed."""
    waiting = list(stages)
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


def first_error(log: Path) -> str:
    """Return the first line of a log that tells of fairtune's or DVC's error, or its first line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fairtune:", "ERROR:"))]
    return (told or lines or ["nothing was printed"])[0]


def train(free: list[str]) -> None:
    """Bring the upstream up to date, then run the stale searches and trainings, one on each slot.

    Raises:
        UserError: a stage before them, or one of them, failed.
    """
    if dvc("repro", "encode"):
        raise UserError("the stages before the trainings failed; see above")
    if any(block.searched for block in params.load().methods.values()):
        side_by_side("search", free)
    if dvc("repro", "rates"):
        raise UserError("the choice of the learning rates failed; see above")
    side_by_side("train", free)


def side_by_side(kind: str, free: list[str]) -> None:
    """Run the stale stages of a kind, one on each slot.

    Raises:
        UserError: one of them failed.
    """
    failed = run_all(stale(kind), free)
    for training in failed:
        print(f"parallel: {training.stage}: {first_error(training.log)}", file=sys.stderr)
    if failed:
        names = ", ".join(training.stage for training in failed)
        raise UserError(f"{names} failed, see {LOGS}; the others' results are kept")


def answer_signals() -> None:
    """End what was started also where this process is to end by another signal than Ctrl-C's."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end_like_ctrl_c)


def main() -> None:
    """Train side by side, then run the rest."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    answer_signals()
    free = slots()
    if len(free) > 1:
        train(free)
    else:
        print("parallel: one slot, so the trainings run one after another")
    sys.exit(dvc("repro"))


if __name__ == "__main__":
    errors.run(main)
