"""Progress for a person at a terminal, and silence in a log."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
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

from fairtune.core.forecast import Forecast
from fairtune.core.quiet import at_terminal

# Steps without a loss are shown this often at most.
REDRAW_SECONDS = 0.25


def quiet_libraries() -> None:
    """Keep libraries that heed no variable (`fairtune.core.quiet`) from chatting in the log."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Deprecations inside transformers and PEFT are for their developers, not for a study's log.
    for library in ("transformers", "peft", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)


class StepProgress:
    """A bar with step, loss and time left; draws nothing where nobody watches."""

    def __init__(self, label: str, forecast: Forecast) -> None:
        """Name the bar, and say what it will count."""
        self.label = label
        self.forecast = forecast
        self.bar: Progress | None = None
        self.task: Any = None
        self.drawn = 0.0

    def start(self) -> None:
        """Draw the empty bar."""
        if not at_terminal():
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=Console(stderr=True),
            # Redrawn only from `update`: a thread of its own would take time from training.
            auto_refresh=False,
        )
        self.bar.start()
        self.task = self.bar.add_task(self.label, total=1.0, loss="-", **self._fields())

    def step_done(self, step: int, seconds: float, loss: float | None = None) -> None:
        """Show the steps done and, where it is known, their loss.

        Args:
            step: steps done.
            seconds: of a clock that stands still in pauses.
            loss: the latest.
        """
        if self.bar is None:
            return
        self.forecast.step_done(step, seconds)
        # Steps of milliseconds are not all shown: that would take longer than they do.
        if loss is not None:
            self._draw(loss=f"{loss:.4f}")
        elif time.monotonic() - self.drawn >= REDRAW_SECONDS:
            self._draw()

    def pause_done(self, seconds: float) -> None:
        """Show that a pause is over, which took so long."""
        if self.bar is not None:
            self.forecast.pause_done(seconds)
            self._draw()

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _draw(self, **fields: Any) -> None:
        assert self.bar is not None
        self.drawn = time.monotonic()
        fields |= self._fields()
        self.bar.update(self.task, completed=self.forecast.share, refresh=True, **fields)

    def _fields(self) -> dict[str, Any]:
        left = self.forecast.left()
        return {
            "steps": f"{self.forecast.done}/{len(self.forecast)}",
            "left": "-:--:--" if left is None else str(timedelta(seconds=round(left))),
        }


class TrialProgress:
    """A bar with the trials done, the best and the time left; silent where nobody watches."""

    def __init__(self, label: str, *, done: int, total: int) -> None:
        """Name the bar, and say how many trials there are and are done already."""
        self.label = label
        self.done = self.before = done
        self.total = total
        self.best: tuple[float, float] | None = None
        self.began = time.monotonic()
        self.bar: Progress | None = None
        self.task: Any = None

    def start(self) -> None:
        """Draw the bar."""
        if not at_terminal():
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} trials"),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=Console(stderr=True),
            # A process with a thread of its own is not one to fork from.
            auto_refresh=False,
        )
        self.bar.start()
        self.task = self.bar.add_task(
            self.label, completed=self.done, total=self.total, **self._fields()
        )
        self.bar.refresh()

    def trial_done(self, score: float, rate: float) -> None:
        """Show one trial more.

        Args:
            score: share of the validation rows that it predicts right.
            rate: its learning rate.
        """
        self.done += 1
        self.best = max(self.best or (score, rate), (score, rate))
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, refresh=True, **self._fields())

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _fields(self) -> dict[str, Any]:
        fresh = self.done - self.before
        best = f"best {self.best[0]:.1%} at {self.best[1]:g}" if self.best else "best -"
        if not fresh:
            return {"best": best, "left": "-:--:--"}
        left = (time.monotonic() - self.began) / fresh * (self.total - self.done)
        return {"best": best, "left": str(timedelta(seconds=round(left)))}


@contextmanager
def counted(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield what a bar is told of things done; it draws nothing where nobody watches.

    Args:
        label: of the bar.
        total: how many things there are.
    """
    if not at_terminal():
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
