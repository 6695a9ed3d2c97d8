"""Sentences on runs that count for accuracy and for no cost.

They shared the GPU, or the study allows devices of several kinds.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairtune.analysis.formats import NOT_MEASURED
from fairtune.analysis.quiet import MIXED
from fairtune.report.results import Results
from fairtune.report.wording import listing, method, methods


def whose(results: Results) -> str:
    """Return why methods have no costs, to follow their names and a comma."""
    if results.mixed:
        return "as devices of several kinds are allowed"
    return "whose runs all shared the GPU"


def why_uncosted(results: Results) -> str:
    """Return why a method has no costs, as a clause on it alone."""
    return MIXED if results.mixed else "its runs all shared the GPU"


def note(results: Results) -> str:
    """Return of how many runs the costs are, where some are left out; empty where none is."""
    if results.mixed:
        return f"Costs are not compared: {MIXED}."
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


def lacking(results: Results, names: Sequence[str]) -> str:
    """Return why these methods have no costs, as a clause."""
    if results.mixed:
        return MIXED
    return f"all runs of {methods(names)} shared the GPU"
