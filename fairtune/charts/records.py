"""What the records behind the charts are, and what they share.

A record is a flat dict of plain values; each chart is a list of records with the same keys. Shares
lie between 0 and 1. `label` is printed beside the mark; `panel` says what is drawn, and records of
unlike panels never share an axis; `note` says where the figures come from. What was not
measured has no record: 0 would look like a free lunch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairtune.runs.record import Runs

Record = dict[str, Any]


def colors(methods: Sequence[str], palette: Sequence[str]) -> dict[str, str]:
    """Return the colour of each method: the palette in their order, from its start when it ends."""
    return {method: palette[place % len(palette)] for place, method in enumerate(methods)}


def seeds_text(runs: Runs) -> str:
    """Return how many trainings stand behind a mean: 'one seed', 'mean of 3 seeds'."""
    count = max(len(of_method) for of_method in runs.values())
    return "one seed" if count == 1 else f"mean of {count} seeds"
