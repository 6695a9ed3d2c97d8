"""Whether verdicts would stand at the learning rates next to those chosen.

Only the chosen rate is trained with the study's seeds and tested; of its neighbours the trials on
validation rows are known. So this is a hint from few trainings, and no proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from fairtune.analysis.rates import RateScore, choose, summed
from fairtune.analysis.verdicts import PairVerdict
from fairtune.runs.search import Search

TIE = 1e-9
"""Of mean scores: what rounding leaves of equal ones."""


def near(search: Search, metric: str) -> list[RateScore]:
    """Return the chosen rate and the rates tried next to it, the chosen one first.

    Args:
        search: of one method.
        metric: what the scores are to be; the choice itself went by that of the search.
    """
    chosen = choose(search.trials, search.metric, search.rule).chosen.rate
    tried = summed(search.trials, metric)
    place = next(n for n, one in enumerate(tried) if one.rate == chosen)
    return [tried[place], *tried[max(place - 1, 0) : place], *tried[place + 1 : place + 2]]


def neighbours(
    searches: Mapping[str, Search],
    found: Sequence[PairVerdict],
    *,
    metric: str,
    margin: float,
) -> dict[str, dict[str, Any]]:
    """Return of each settled verdict whether validation scores bear it out at neighbouring rates.

    Each of the chosen rate and its neighbours of one method is held against each of the other:
    `better` stands where the winner's mean validation score is ahead, `equivalent` where the two
    differ by less than the margin. Pairs with a method whose rate was given are left out, for it
    has no neighbours.

    Returns:
        For each pair: first and second (the methods), verdict, winner, combinations, standing (how
        many bear it out) and their share, stands (all do), at_chosen (the chosen rates themselves
        do) and breaks, the first that does not (the rates, and by how much the first method is
        ahead); None where all do.
    """
    around = {name: near(search, metric) for name, search in searches.items()}
    made = {}
    for verdict in found:
        a, b = verdict.method_a, verdict.method_b
        if verdict.verdict == "cannot tell" or a not in around or b not in around:
            continue
        held = [
            (one, other, _holds(verdict, one.mean - other.mean, margin))
            for one, other in product(around[a], around[b])
        ]
        broken = next(((one, other) for one, other, holds in held if not holds), None)
        standing = sum(holds for _, _, holds in held)
        made[f"{a}_vs_{b}"] = {
            "first": a,
            "second": b,
            "verdict": verdict.verdict,
            "winner": verdict.winner,
            "combinations": len(held),
            "standing": standing,
            "share": round(standing / len(held), 4),
            "stands": broken is None,
            "at_chosen": held[0][2],
            "breaks": broken
            and {
                "first_rate": broken[0].rate,
                "second_rate": broken[1].rate,
                "difference": round(broken[0].mean - broken[1].mean, 4),
            },
        }
    return made


def _holds(verdict: PairVerdict, difference: float, margin: float) -> bool:
    """Return whether a difference, first minus second method, bears a verdict out."""
    if verdict.verdict == "equivalent":
        return abs(difference) < margin - TIE
    return difference > TIE if verdict.winner == verdict.method_a else difference < -TIE
