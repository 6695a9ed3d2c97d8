"""All tasks in one view at a terminal; a line for each event in a log."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fairtune.core.quiet import at_terminal

# A cluster that has no room for any task is worth a line so often.
QUIET_SECONDS = 60.0
MOST_ROWS = 30


class View:
    """Shows where each task runs, and about how long all of them will take."""

    def __init__(self, kind: str, total: int, slots: int) -> None:
        """Name what is counted.

        Args:
            kind: `search` or `train`.
            total: tasks.
            slots: tasks that the cluster runs at once.
        """
        self.kind, self.total, self.slots = kind, total, max(1, slots)
        self.running: dict[str, float] = {}
        self.seconds: list[float] = []
        self.lost = 0
        self.rows: dict[str, int] = {}
        self.heard = time.monotonic()
        self.bar: Progress | None = None
        if at_terminal():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                refresh_per_second=2,
            )
            self.bar.start()
            self.main = self.bar.add_task(f"cluster: {kind}", total=total, note=self._note())

    def say(self, text: str) -> None:
        """Print a line, above the bars where there are any."""
        if self.bar is not None:
            self.bar.console.print(f"cluster: {text}", markup=False, highlight=False)
        else:
            print(f"cluster: {text}", flush=True)

    def waits(self, stage: str) -> None:
        """Show that a stage waits for a node."""
        self._leave(stage)

    def runs(self, stage: str, host: str, attempt: int) -> None:
        """Show that a stage has begun on a node."""
        self.running[stage] = self.heard = time.monotonic()
        more = f" (attempt {attempt})" if attempt > 1 else ""
        if self.bar is None:
            self.say(f"{stage} runs on {host}{more}")
        elif len(self.rows) < MOST_ROWS:
            self.rows[stage] = self.bar.add_task(f"  {stage}{more}", total=None, note=f"on {host}")
        self._show()

    def done(self, stage: str, seconds: float) -> None:
        """Show that a stage is done, and after how many seconds."""
        self._leave(stage)
        self.seconds.append(seconds)
        self.say(f"{stage} done after {seconds:.0f} s")
        self._show()

    def again(self, stage: str, host: str, problem: str) -> None:
        """Show that a stage failed on a node and is tried anew."""
        self._leave(stage)
        self.say(f"{stage} failed on {host or 'its way to a node'}, is tried anew: {problem}")

    def failed(self, stage: str, problem: str) -> None:
        """Show that a stage failed for good."""
        self._leave(stage)
        self.lost += 1
        self.say(f"{stage} FAILED: {problem}")
        self._show()

    def tick(self) -> None:
        """Say so where nothing has begun for a while."""
        if self.running:
            self.heard = time.monotonic()
        elif time.monotonic() - self.heard > QUIET_SECONDS:
            self.heard = time.monotonic()
            self.say("no node has room for a task; they wait")

    def close(self) -> None:
        """Leave the view as it stands."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def left(self) -> float | None:
        """Return the seconds that are left, about; None before a task is done."""
        if not self.seconds:
            return None
        mean = sum(self.seconds) / len(self.seconds)
        now = time.monotonic()
        begun = sum(max(0.0, mean - (now - since)) for since in self.running.values())
        waiting = self.total - len(self.seconds) - self.lost - len(self.running)
        return (begun + mean * waiting) / min(self.slots, max(1, waiting + len(self.running)))

    def _leave(self, stage: str) -> None:
        self.running.pop(stage, None)
        row = self.rows.pop(stage, None)
        if self.bar is not None and row is not None:
            self.bar.remove_task(row)  # type: ignore[arg-type]

    def _note(self) -> str:
        left = self.left()
        waiting = self.total - len(self.seconds) - self.lost - len(self.running)
        parts = [f"{len(self.running)} run", f"{waiting} wait"]
        parts += [f"{self.lost} failed"] if self.lost else []
        parts += [] if left is None else [f"left {timedelta(seconds=round(left))}"]
        return ", ".join(parts)

    def _show(self) -> None:
        if self.bar is not None:
            self.bar.update(self.main, completed=len(self.seconds), note=self._note())
