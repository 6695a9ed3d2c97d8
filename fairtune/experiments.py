"""Show DVC's experiments with the accuracy of each method and what each experiment changed.

usage: python -m fairtune.experiments [--num N]
in:    what `dvc exp show` knows

`dvc exp show` has a column for each metric of each method, which no terminal is wide enough for.
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairtune.analysis.formats import NOT_MEASURED, points
from fairtune.analysis.metrics import hundredths
from fairtune.charts.names import shown
from fairtune.core import paths

WORKSPACE = "workspace"
"""What DVC calls the files as they are."""
COMMIT = 7
"""Letters of a commit's hash."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The workspace, a commit or an experiment."""

    name: str
    accuracy: Mapping[str, float | None]
    """By method; of those that have been scored."""
    half_widths: Sequence[float]
    """Of the 95% intervals of these accuracies."""
    parameters: Mapping[str, str]
    """By dotted key."""
    base: Mapping[str, str]
    """Those of the commit that it started from."""
    state: str = ""
    """queued, running or failed, where it is not done."""

    @property
    def changed(self) -> str:
        """What differs from the commit that it started from."""
        keys = dict.fromkeys([*self.parameters, *self.base])
        said = [
            f"{key}={self.parameters.get(key, '(none)')}"
            for key in keys
            if self.parameters.get(key) != self.base.get(key)
        ]
        return ", ".join([self.state, *said] if self.state else said)


def rows(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each revision, as `dvc exp show --json` lists them: the workspace first."""
    made = []
    commits = [one for one in found if one["rev"] != WORKSPACE]
    for commit in found:
        home = (commits or [commit])[0] if commit["rev"] == WORKSPACE else commit
        base = _parameters(home)
        made.append(_row(commit, name=commit.get("name") or _short(commit["rev"]), base=base))
        for experiment in commit.get("experiments") or []:
            last = experiment["revs"][0]
            state = (experiment.get("executor") or {}).get("state") or ""
            name = experiment.get("name") or _short(last["rev"])
            made.append(_row(last, name=f"  {name}", base=base, state=state))
    return made


def _short(revision: str) -> str:
    return revision if revision == WORKSPACE else revision[:COMMIT]


def _row(
    revision: Mapping[str, Any], *, name: str, base: Mapping[str, str], state: str = ""
) -> Row:
    metrics = {
        PurePosixPath(path).stem: of_file.get("data") or {}
        for path, of_file in ((revision.get("data") or {}).get("metrics") or {}).items()
    }
    scored = {method: of_file for method, of_file in metrics.items() if "accuracy" in of_file}
    halves = [of_file.get("accuracy_ci95") for of_file in scored.values()]
    failed = "" if revision.get("data") else "failed"
    return Row(
        name=name,
        accuracy={method: of_file["accuracy"] for method, of_file in scored.items()},
        half_widths=[half for half in halves if half is not None],
        parameters=_parameters(revision) or base,
        base=base,
        state="" if state == "success" else state or failed,
    )


def _parameters(revision: Mapping[str, Any]) -> dict[str, str]:
    files = (revision.get("data") or {}).get("params") or {}
    return dict(_flat((files.get(str(paths.PARAMS)) or {}).get("data") or {}))


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value, ensure_ascii=False).strip('"')


def table(found: Sequence[Row]) -> Table:
    """Return the experiments as a table: a row each, a column a method."""
    methods = list(dict.fromkeys(method for row in found for method in row.accuracy))
    made = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    made.add_column("Experiment", overflow="fold", no_wrap=True)
    for method in methods:
        made.add_column(method, justify="right", overflow="fold", min_width=5)
    made.add_column("Changed", overflow="fold")
    for row in found:
        cells = [_accuracy(row.accuracy.get(method)) for method in methods]
        made.add_row(*map(Text, [row.name, *cells, shown(row.changed) if row.changed else ""]))
    return made


def _accuracy(share: float | None) -> str:
    return NOT_MEASURED if share is None else hundredths(share)


def legend(found: Sequence[Row]) -> str:
    """Return what the figures are, and how sure."""
    halves = [half for row in found for half in row.half_widths]
    most = f"; half-widths of the 95% intervals: up to {points(max(halves))}" if halves else ""
    return f"accuracy on the test rows, %{most}"


def read(words: Sequence[str]) -> list[dict[str, Any]]:
    """Ask DVC.

    Raises:
        UserError: DVC cannot tell, as outside a git repository.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"dvc exp show: {said[0].removeprefix('ERROR: ')}")
    return list(json.loads(done.stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num", type=int, metavar="N", help="of the last N commits (default: 1)")
    number = parser.parse_args().num
    found = rows(read([] if number is None else ["--num", str(number)]))
    console = Console(highlight=False)
    console.print(table(found))
    console.print(Text(legend(found)))


if __name__ == "__main__":
    run(main)
