"""Sentences on runs that shared the GPU: they count for accuracy and for no cost."""

from __future__ import annotations

from collections.abc import Sequence

from fairtune.analysis.formats import NOT_MEASURED
from fairtune.report.results import Results
from fairtune.report.wording import listing, method, methods

WHOSE = "whose runs all shared the GPU"
"""Follows the names of methods without costs."""


def note(results: Results) -> str:
    """Return of how many runs the costs are, where some shared the GPU; empty where none did."""
    if not results.shared:
        return ""
    said = listing(
        f"{method(name)} {share(len(seeds), results.seeds)}"
        for name, seeds in results.shared.items()
    )
    return f"Costs count only runs that had the GPU to themselves: {said}."


def share(left_out: int, runs: int) -> str:
    """Return how many runs a cost is of: '2 of 3 runs (1 shared the GPU)'."""
    if left_out < runs:
        return f"{runs - left_out} of {runs} runs ({left_out} shared the GPU)"
    which = "its run" if runs == 1 else f"all {runs} runs"
    return f"{NOT_MEASURED} ({which} shared the GPU)"


def lacking(names: Sequence[str]) -> str:
    """Return why these methods have no costs, as a clause."""
    return f"all runs of {methods(names)} shared the GPU"
