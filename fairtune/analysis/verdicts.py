"""A verdict on every pair of methods, corrected for their number, and the ranks that follow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from fairtune.analysis.estimates import BoolArray
from fairtune.analysis.pairs import PairedComparison, paired_comparison

Verdict = Literal["better", "equivalent", "cannot tell"]


@dataclass(frozen=True)
class PairVerdict:
    """`verdict` on one pair of methods; `winner` is the better one, None unless "better".

    adjusted_p, adjusted_equivalence_p: Holm-adjusted over all pairs of the study. significant: the
    methods differ; True beside "equivalent" means a real difference too small to matter.
    """

    method_a: str
    method_b: str
    verdict: Verdict
    winner: str | None
    significant: bool
    adjusted_p: float
    adjusted_equivalence_p: float
    comparison: PairedComparison

    @property
    def loser(self) -> str | None:
        """The other one, None unless "better"."""
        if self.winner is None:
            return None
        return self.method_b if self.winner == self.method_a else self.method_a


@dataclass(frozen=True)
class RankRange:
    """Best and worst rank (1 = most accurate) that the evidence leaves open."""

    best: int
    worst: int

    @property
    def rank(self) -> int | None:
        """The rank, or None where the evidence leaves more than one open."""
        return self.best if self.best == self.worst else None


def compare_all(
    correct_by_method: Mapping[str, BoolArray],
    *,
    margin: float,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[PairVerdict]:
    """A verdict on every pair of methods, in the mapping's order; [] for a single method.

    Both tests are adjusted over all pairs (Holm 1979, Scand. J. Stat. 6:65), so that the chance of
    any false "better" in the whole study is at most alpha, and so is that of any false
    "equivalent". A verdict also asks that the 1 - alpha interval shown with it says the same:

    * "equivalent": TOST rejects and the interval lies inside ±margin. (TOST alone corresponds to
      the 1 - 2 alpha interval; the wider one is asked for, the conservative side.)
    * "better": the test of no difference rejects and the interval excludes 0. A significant
      difference inside the margin stays "equivalent", because the margin is what the user declared
      not to matter; `significant` tells.
    * "cannot tell": neither. It is not evidence of equality.

    Raises ValueError as `paired_comparison` does, and for an empty mapping.
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.multitest import multipletests

    if not correct_by_method:
        raise ValueError("correct_by_method is empty: there is nothing to compare")
    pairs = list(combinations(correct_by_method, 2))
    if not pairs:
        return []
    results = [
        paired_comparison(
            correct_by_method[a],
            correct_by_method[b],
            margin=margin,
            alpha=alpha,
            resamples=resamples,
            seed=seed,
        )
        for a, b in pairs
    ]
    differ = multipletests([r.p_value for r in results], method="holm")[1]
    same = multipletests([r.equivalence_p for r in results], method="holm")[1]
    return [
        _verdict(a, b, result, adjusted_p=float(p), adjusted_equivalence_p=float(q))
        for (a, b), result, p, q in zip(pairs, results, differ, same, strict=True)
    ]


def supported_ranks(
    verdicts: Sequence[PairVerdict], methods: Iterable[str]
) -> dict[str, RankRange]:
    """The ranks by accuracy that the "better" verdicts leave open to each method.

    best = 1 + how many are better, worst = how many methods - how many it beats: simultaneous
    intervals for ranks at the level of the pairwise tests (Al Mohamad, Goeman and van Zwet 2022,
    Biometrics 78:238). methods: all names, also a mapping by name. Print `.rank` where not None.
    """
    names = list(methods)
    won = [(v.winner, v.loser) for v in verdicts if v.winner is not None]
    return {
        name: RankRange(
            best=1 + sum(loser == name for _, loser in won),
            worst=len(names) - sum(winner == name for winner, _ in won),
        )
        for name in names
    }


def _verdict(
    a: str, b: str, result: PairedComparison, *, adjusted_p: float, adjusted_equivalence_p: float
) -> PairVerdict:
    """Apply the rules that `compare_all` states to one pair."""
    low, high, margin, alpha = result.low, result.high, result.margin, result.alpha
    significant = adjusted_p <= alpha and (low > 0 or high < 0)
    verdict: Verdict = "better" if significant else "cannot tell"
    if adjusted_equivalence_p <= alpha and -margin < low and high < margin:
        verdict = "equivalent"
    winner = (a if result.difference > 0 else b) if verdict == "better" else None
    return PairVerdict(
        a, b, verdict, winner, significant, adjusted_p, adjusted_equivalence_p, result
    )
