"""Progress for a person at a terminal, and silence in a log."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def at_terminal() -> bool:
    """Return whether somebody watches stderr."""
    return sys.stderr.isatty()


def quiet_libraries() -> None:
    """Keep libraries from talking to the network's counters and from chatting in the log.

    Call it before they are imported: they read these variables then.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not at_terminal():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Deprecations inside transformers and PEFT are for their developers, not for a study's log.
    for library in ("transformers", "peft", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)


class StepProgress:
    """A bar with step, loss and time left; draws nothing where nobody watches."""

    def __init__(self, label: str) -> None:
        """Name the bar."""
        self.label = label
        self.bar: Progress | None = None
        self.task: Any = None

    def start(self, steps: int) -> None:
        """Draw the empty bar."""
        if not at_terminal():
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            # Redrawn only from `update`: a thread of its own would take time from training.
            auto_refresh=False,
        )
        self.bar.start()
        self.task = self.bar.add_task(self.label, total=steps, loss="-")

    def update(self, step: int, loss: float) -> None:
        """Show the steps done and the latest loss."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step, loss=f"{loss:.4f}", refresh=True)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
