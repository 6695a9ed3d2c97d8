"""What the records behind the charts are, and what they share.

A record is a flat dict of plain values; each chart is a list of records with the same keys. Shares
lie between 0 and 1. `label` is printed beside the mark; `panel` says what is drawn, and records of
unlike panels never share an axis; `note` says where the figures come from. What was not
measured has no record: 0 would look like a free lunch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairtune.analysis.quiet import MIXED, is_mixed, shared
from fairtune.analysis.scores import SCORES, Score
from fairtune.analysis.verdicts import PairVerdict
from fairtune.runs.record import Runs
from fairtune.runs.search import Search

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the records of every chart are made of."""

    runs: Runs
    """Method -> one run a seed; its order is the order of the charts."""
    verdicts: Sequence[PairVerdict]
    """On every pair of methods."""
    palette: Sequence[str]
    """Colours of the methods, in their order."""
    margin: float
    """Difference below which two methods count as equivalent."""
    score: Score = SCORES["accuracy"]
    """What the study decides by."""
    failed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Method -> seeds of the trainings that learned nothing."""
    searches: Mapping[str, Search] = field(default_factory=dict)
    """Method -> the search of its learning rate, of those that searched."""

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each method: the palette in order, from its start when it ends."""
        return {
            method: self.palette[place % len(self.palette)]
            for place, method in enumerate(self.runs)
        }


def seeds_text(runs: Runs) -> str:
    """Return how many trainings stand behind a mean: 'one seed', 'mean of 3 seeds'."""
    count = max(len(of_method) for of_method in runs.values())
    return "one seed" if count == 1 else f"mean of {count} seeds"


def failures_text(compared: Compared, method: str) -> str:
    """Return how many of a method's trainings learned nothing, to follow a label; '' if none."""
    failed, total = len(compared.failed.get(method, ())), len(compared.runs[method])
    return f" ({failed} of {total} learned nothing)" if failed else ""


def cost_label(text: str, method: str, runs: Runs) -> str:
    """Return a cost as it is printed, with the number of runs behind it where some are left out."""
    left_out = len(shared(runs).get(method, ()))
    total = len(runs[method])
    return f"{text} ({total - left_out} of {total} runs)" if left_out else text


def left_out_text(runs: Runs) -> str:
    """Return why runs are left out of the costs, to follow a note; empty where none is."""
    if is_mixed(runs):
        return f" · n/a: {MIXED}"
    left_out = {method: len(seeds) for method, seeds in shared(runs).items()}
    gone = [method for method, count in left_out.items() if count == len(runs[method])]
    said = " · other runs shared the GPU" if len(left_out) > len(gone) else ""
    return said + (f" · {', '.join(gone)} n/a: all runs shared the GPU" if gone else "")
