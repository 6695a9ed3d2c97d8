"""A verdict on every pair of methods, corrected for their number, and the ranks that follow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fairtune.analysis.pairs import PairedComparison, compare_pairs
from fairtune.analysis.sample import RESAMPLES, Sample

Verdict = Literal["better", "equivalent", "cannot tell"]


@dataclass(frozen=True)
class PairVerdict:
    """`verdict` on one pair of methods; `winner` is the better one, None unless "better".

    significant: the methods differ; True beside "equivalent" means a real difference too small to
    matter.
    """

    method_a: str
    method_b: str
    verdict: Verdict
    winner: str | None
    significant: bool
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
    sample: Sample,
    *,
    margin: float,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[PairVerdict]:
    """A verdict on every pair of methods, in the study's order; [] for a single method.

    Verdicts are read from the simultaneous intervals of `fairtune.analysis.pairs`, so that the
    chance of any false "better" in the whole study is at most alpha, and so is that of any false
    "equivalent":

    * "equivalent": the interval at level 1 - 2 alpha lies inside ±margin, which is to say that both
      one-sided tests reject at alpha (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657).
    * "better": the interval at level 1 - alpha leaves out 0. A significant difference inside the
      margin stays "equivalent", because the margin is what the user declared not to matter;
      `significant` tells.
    * "cannot tell": neither. It is not evidence of equality.

    With fewer seeds than `sample.fewest` they speak of the trained models, not of the methods.

    Raises ValueError as `compare_pairs` does.
    """
    compared = compare_pairs(sample, margin=margin, alpha=alpha, resamples=resamples, seed=seed)
    return [_verdict(a, b, found) for (a, b), found in compared.items()]


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


def _verdict(a: str, b: str, found: PairedComparison) -> PairVerdict:
    """Apply the rules that `compare_all` states to one pair."""
    significant = found.low > 0 or found.high < 0
    verdict: Verdict = "better" if significant else "cannot tell"
    if -found.margin < found.inner_low and found.inner_high < found.margin:
        verdict = "equivalent"
    winner = (a if found.difference > 0 else b) if verdict == "better" else None
    return PairVerdict(a, b, verdict, winner, significant, found)
