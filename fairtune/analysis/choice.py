"""Which method to use: the cheapest that is shown to lose less than the margin.

A choice carries the burden of proof. For each method, p is the largest one-sided p, over its
rivals, of the hypothesis that the rival is better by the margin or more; a method passes where
that is rejected for all of them (an intersection-union test: Berger 1982, Technometrics 24:295),
after Holm (1979, Scand. J. Stat. 6:65) over the methods. "Not shown to be worse" is no such proof:
a small study shows nothing to be worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fairtune.analysis.costs import SAME

Ground = Literal[
    "alone", "settled", "plausible", "highest mean", "no costs", "nothing learned", "no candidate"
]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What follows from a study for one who must choose."""

    method: str | None
    """The choice; None where none can be made."""
    settled: bool
    """Whether the choice is proved; else it is provisional."""
    ground: Ground
    """Why this one: alone (a single candidate), settled (the cheapest that passes), plausible (the
    cheapest whose p is low enough for a provisional choice), highest mean (no such), no costs
    (nothing to tell several that pass apart), nothing learned, no candidate (limits that no method
    keeps)."""
    passing: list[str]
    """Methods that are shown to lose less than the margin."""
    likely: list[str]
    """Methods whose p, not adjusted, is low enough for a provisional choice."""
    p: dict[str, float]
    """Candidate -> p, adjusted after Holm."""
    failed: list[str]
    """Methods left out because a training of theirs learned nothing."""
    cheapest: str | None
    """The cheapest candidate, where costs are known."""
    top: str | None
    """The candidate of the highest mean."""


def choose(
    candidates: Sequence[str],
    *,
    behind: Callable[[str, str], float],
    scores: Mapping[str, float],
    weights: Mapping[str, float | None],
    failed: Sequence[str] = (),
    provable: bool = True,
    plausible: float = 0.2,
    alpha: float = 0.05,
) -> Choice:
    """Choose among methods.

    Args:
        candidates: those that may be chosen, in the study's order; they are each other's rivals.
        behind: one-sided p of the hypothesis that the second is better than the first by the
            margin or more.
        scores: mean of each method.
        weights: costs of each method, None where not measured; within `SAME` they are alike.
        failed: methods with a training that learned nothing: neither candidates nor rivals.
        provable: whether the study has seeds enough to speak of methods.
        plausible: p up to which the cheapest method is a provisional choice.
        alpha: chance of calling a method proved that is not, over all methods.
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.multitest import multipletests

    left = [name for name in candidates if name not in failed]
    raw = {one: max((behind(one, b) for b in left if b != one), default=0.0) for one in left}
    adjusted = multipletests(list(raw.values()), alpha, method="holm")[1] if left else []
    p = {name: float(value) for name, value in zip(left, adjusted, strict=True)}

    def made(method: str | None, ground: Ground, *, settled: bool = False) -> Choice:
        return Choice(
            method=method,
            settled=settled,
            ground=ground,
            passing=passing,
            likely=likely,
            p=p,
            failed=[name for name in candidates if name in failed],
            cheapest=_cheapest(left, weights, scores),
            top=max(left, key=lambda name: scores[name], default=None),
        )

    likely = [name for name in left if raw[name] <= plausible]
    passing = [name for name in left if provable and len(left) > 1 and p[name] <= alpha]
    if not left:
        return made(None, "nothing learned" if candidates else "no candidate")
    if len(left) == 1:
        return made(left[0], "alone")
    if passing:
        proved = passing[0] if len(passing) == 1 else _cheapest(passing, weights, scores)
        return made(proved, "settled" if proved else "no costs", settled=proved is not None)
    provisional = _cheapest(likely, weights, scores)
    if provisional:
        return made(provisional, "plausible")
    return made(max(left, key=lambda name: scores[name]), "highest mean")


def _cheapest(
    names: Sequence[str], weights: Mapping[str, float | None], scores: Mapping[str, float]
) -> str | None:
    """Return the cheapest, of those that cost alike the one of the higher mean; None: no costs."""
    known = {name: weight for name in names if (weight := weights.get(name)) is not None}
    if not known:
        return None
    least = min(known.values())
    alike = [name for name, weight in known.items() if weight <= least * (1 + SAME)]
    return max(alike, key=lambda name: scores[name])


def as_json(choice: Choice) -> dict[str, Any]:
    """Return the choice for a file.

    No empty list: `dvc plots` looks for records in every list of the file.
    """
    rounded = {name: round(value, 4) for name, value in choice.p.items()}
    return {key: value or None for key, value in asdict(choice).items()} | {
        "p": rounded,
        "settled": choice.settled,
    }
