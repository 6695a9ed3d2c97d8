"""Bring the pipeline up to date around its searches and trainings, which others run at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fairtune.core import errors, params
from fairtune.core.errors import UserError
from fairtune.preload import owner

DVC = [sys.executable, "-m", "dvc"]
# After Ctrl-C, what runs has this long to end by itself.
PATIENCE_SECONDS = 15.0


def of_this_run() -> dict[str, str]:
    """Return an environment in which trainings end with this process and share its imports."""
    this = owner.find(os.getpid())
    return {**os.environ, owner.RUN: str(this)} if this else dict(os.environ)


def dvc(*words: str) -> int:
    """Run DVC to its end and return its status; where this process is to end, end it first.

    In a session of its own, so that its stages can be ended with it: DVC is deaf to Ctrl-C while
    one runs, and would go on with the next.
    """
    process = subprocess.Popen([*DVC, *words], env=of_this_run(), start_new_session=True)
    try:
        return process.wait()
    finally:
        for sign in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, sign)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_SECONDS)


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


def in_order(at_once: Callable[[str], None]) -> None:
    """Bring the upstream up to date, then the stale searches and trainings, many at once.

    Args:
        at_once: runs the stale stages of a kind, `search` or `train`.

    Raises:
        UserError: a stage before them, or one of them, failed.
    """
    if dvc("repro", "encode"):
        raise UserError("the stages before the trainings failed; see above")
    if any(block.searched for block in params.load().methods.values()):
        at_once("search")
    if dvc("repro", "rates"):
        raise UserError("the choice of the learning rates failed; see above")
    at_once("train")


def first_error(log: Path) -> str:
    """Return the first line of a log that tells of fairtune's or DVC's error, or its first line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fairtune:", "ERROR:"))]
    return (told or lines or ["nothing was printed"])[0]


def answer_signals() -> None:
    """End what was started also where this process is to end by another signal than Ctrl-C's."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end_like_ctrl_c)
