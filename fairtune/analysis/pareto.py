"""Which methods another one makes pointless, on one cost and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fairtune.analysis.costs import SAME
from fairtune.analysis.verdicts import PairVerdict


@dataclass(frozen=True)
class FrontPlace:
    """Where a method stands on cost against accuracy, and the methods that put it there."""

    status: Literal["on the front", "possibly dominated", "dominated"]
    by: tuple[str, ...]


def pareto_front(
    costs: Mapping[str, float | None],
    verdicts: Sequence[PairVerdict],
    *,
    tolerance: float = SAME,
) -> dict[str, FrontPlace]:
    """Which methods another one makes pointless, on one cost (lower is better) and accuracy.

    costs: in any unit; None (not measured) leaves a method out of the result. Two costs within
    `tolerance` of each other, relative to the lower, count as equal (timing noise). A method is

    * "dominated" by one that costs no more and is better, or costs less and is equivalent;
    * "possibly dominated" by one that costs no more and has the higher mean score, where the test
      cannot tell them apart, or where too few seeds let it speak of trained models alone;
    * "on the front" otherwise.

    Raises ValueError for a negative cost or tolerance, and where a pair has no verdict.
    """
    measured = {name: cost for name, cost in costs.items() if cost is not None}
    if tolerance < 0 or any(not cost >= 0 for cost in measured.values()):
        raise ValueError("costs and tolerance must be 0 or more")
    by_pair = {frozenset((v.method_a, v.method_b)): v for v in verdicts}
    return {name: _front_place(name, measured, by_pair, tolerance) for name in measured}


def _front_place(
    name: str,
    costs: Mapping[str, float],
    by_pair: Mapping[frozenset[str], PairVerdict],
    tolerance: float,
) -> FrontPlace:
    """Apply the rules that `pareto_front` states to one method."""
    surely, possibly = [], []
    for rival, cost in costs.items():
        if rival == name or cost > costs[name] * (1 + tolerance):
            continue
        verdict = by_pair.get(frozenset((name, rival)))
        if verdict is None:
            raise ValueError(f"no verdict on the pair {name!r}, {rival!r}")
        lead = verdict.comparison.difference * (1 if verdict.method_a == rival else -1)
        costs_less = cost * (1 + tolerance) < costs[name]
        shown = verdict.winner == rival or (verdict.verdict == "equivalent" and costs_less)
        if shown and verdict.comparison.covers_seeds:
            surely.append(rival)
        elif shown or (verdict.verdict == "cannot tell" and lead > 0):
            possibly.append(rival)
    if surely:
        return FrontPlace("dominated", tuple(surely))
    return FrontPlace("possibly dominated" if possibly else "on the front", tuple(possibly))
