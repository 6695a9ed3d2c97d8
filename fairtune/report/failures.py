"""Sentences on trainings that learned nothing, or are far from their method's others."""

from __future__ import annotations

from fairtune.analysis.formats import points
from fairtune.report.results import Results
from fairtune.report.wording import NONE, listing, method


def named(results: Results) -> str:
    """Return which trainings learned nothing: '`qlora` with seed 43'."""
    return listing(
        f"{method(name)} with {'seed' if len(seeds) == 1 else 'seeds'} "
        f"{listing(str(seed) for seed in seeds)}"
        for name, seeds in results.failed.items()
    )


def unlearned(results: Results) -> str:
    """Return a sentence on trainings that learned nothing; empty where there are none."""
    if not results.failed:
        return ""
    return (
        f"Nothing shows to have been learned by {named(results)}: the predictions are not "
        "associated with the labels (one-sided test at 5%). Such a training counts in every "
        "figure, and its method is not recommended; a lower learning rate may mend it."
    )


def outlying(results: Results) -> str:
    """Return a sentence on trainings far from their method's others; empty if there are none."""
    found = results.comparison["outlying"]
    said = listing(
        f"{method(name)} with seed {seed} lies {points(gap)} {'above' if gap > 0 else 'below'}"
        for name, gaps in found.items()
        for seed, gap in gaps.items()
    )
    return f"Far from its method's other trainings: {said} their median." if found else ""


def rate(results: Results, name: str) -> str:
    """Return how many of a method's trainings learned nothing: '1 of 3'."""
    many = len(results.failed.get(name, ()))
    return f"{many} of {results.seeds}" if many else NONE


def left_out(results: Results) -> str:
    """Return which methods are not recommended for that; empty where there are none."""
    said = [
        f"{method(name)} is left out: {rate(results, name)} trainings learned nothing."
        for name, seeds in results.failed.items()
    ]
    return " ".join(said)
