"""Simulate whole studies whose truth is known, and count how often what they say is right.

usage: python -m benchmarks.verdicts [--studies N] [--processes N]
out:   benchmarks/verdicts.json, and the table of benchmarks/README.md on standard output

Rows have a difficulty that all methods share (a probit model of accuracy 90%), methods an own part
on each row, trainings an effect of their seed. `equal`: all methods are as good. `worse`: the
cheapest is 2 points worse. `better`: the first is better than the second by what the study before
it, of equal methods, called detectable, both as far from 90%: a better classifier errs on fewer
rows, and is told from others the more easily. One seed speaks of trained models: there the
difference is that of the models, seeds included.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.special import ndtri
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from tqdm import tqdm

from fairtune.analysis.choice import Choice, choose
from fairtune.analysis.comparison import judged
from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.analysis.pairs import Family
from fairtune.analysis.sample import Sample, sample_of
from fairtune.analysis.verdicts import PairVerdict, compare_all
from fairtune.core.params import Compare

OUT = Path(__file__).with_suffix(".json")
ACCURACY, MARGIN, RESAMPLES = 0.9, 0.01, 1_000
LARGEST = 0.18
"""Difference that accuracies of 90% in the mean have room for: 99 and 81%."""
NEARLY_ALL = 0.9
"""Share of the studies that must have a detectable difference below it. The others are those that
found the seeds' variance large: without them too few would be found."""
AGAIN = {2: 4, 4: 4, 8: 8}
"""By the number of methods, studies whose true difference is that which one study calls detectable:
with one of them for each, chance alone would move a share of 80% of 400 by 2 points."""
SPREAD = sqrt(3**2 + 1 + 1)
"""Of the model: difficulty that all share, the method's own on a row, and chance."""
SLOPE = float(norm.pdf(ndtri(ACCURACY))) / SPREAD
"""Accuracy that one unit of the model is worth."""
SEEDS, ROWS, METHODS, EFFECTS = (1, 3, 5, 10), (500, 2000), (2, 4, 8), (0.003, 0.006)
LOOKS = (3, 5, 8, 10)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One kind of study."""

    methods: int
    seeds: int
    rows: int
    effect: float
    """Standard deviation between the trainings of a method, as a share of rows."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Shares of simulated studies, or of their pairs."""

    setting: Setting
    studies: int
    false_better: float
    """Studies of equal methods that call any of them better."""
    false_equivalent: float
    """Studies with a method 2 points worse that call it equivalent to any."""
    covered: float
    """Studies whose intervals all hold the true difference."""
    contradicted: int
    """Pairs whose verdict contradicts the interval beside it."""
    tried: int
    """Studies whose detectable difference is below `LARGEST`: the model has no room for others."""
    detected: float | None
    """Of these, pairs with a true difference of that size that the verdict finds: 80%. None: not
    judged, as fewer than `NEARLY_ALL` of the studies were tried."""
    by_holm: float | None
    """One of these pairs for each study, by Holm's steps in place of the largest error."""
    settled: float
    """Studies of equal methods whose choice is proved."""
    proved_worse: float
    """Studies that prove the choice of a method 2 points worse, the cheapest."""
    chosen_worse: float
    """Studies that take it provisionally."""


def study(random: np.random.Generator, setting: Setting, gains: Mapping[int, float]) -> Sample:
    """Return one study; gains: place of a method -> how much better it is."""
    shape = setting.seeds, setting.rows
    difficulty, right = random.normal(0, 3, setting.rows), {}
    for place in range(setting.methods):
        mean = ndtri(ACCURACY + gains.get(place, 0.0)) * SPREAD
        own = difficulty + random.normal(size=setting.rows)
        seed = random.normal(0, setting.effect / SLOPE, (setting.seeds, 1))
        right[f"m{place}"] = mean + own + seed + random.normal(size=shape) > 0
    return sample_of(right)


def chosen(sample: Sample, verdicts: list[PairVerdict]) -> Choice:
    """Return the choice where the first method is the cheapest, and each costs more than before."""
    behind = {}
    for found in verdicts:
        pair = found.method_a, found.method_b
        behind[pair], behind[pair[::-1]] = found.comparison.behind_a, found.comparison.behind_b
    return choose(
        sample.names,
        behind=lambda one, rival: behind[one, rival],
        scores=sample.scores,
        weights={name: 1.0 + place for place, name in enumerate(sample.names)},
        provable=sample.covers_seeds,
    )


def contradictions(verdicts: list[PairVerdict]) -> int:
    """Return how many verdicts do not follow from the intervals beside them."""
    wrong = 0
    for verdict in verdicts:
        pair = verdict.comparison
        apart = pair.low > 0 or pair.high < 0
        inside = max(-pair.inner_low, pair.inner_high) < MARGIN
        said = "equivalent" if inside else "better" if apart else "cannot tell"
        wrong += verdict.verdict != said or (pair.p_value <= pair.alpha) != apart
    return wrong


def holm(sample: Sample) -> dict[tuple[str, str], bool]:
    """Return which pairs Holm's steps call different, from each pair's own p."""
    family = Family(sample=sample, margin=MARGIN, resamples=100)
    gaps = {(a, b): abs(sample.scores[a] - sample.scores[b]) for a, b in family.pairs}
    p = [min(1.0, 2 * family.errors[pair].tail(gap)) for pair, gap in gaps.items()]
    return dict(zip(gaps, multipletests(p, method="holm")[0], strict=True))


def simulate(job: tuple[Setting, int, int]) -> Found:
    """Return what `studies` studies of each truth say."""
    setting, studies, seed = job
    gc.freeze()  # statsmodels collects garbage at each Holm: six times the work of a study
    random, others = (np.random.default_rng((seed, part)) for part in range(2))
    counts = dict.fromkeys(Found.__annotations__, 0.0)
    for _ in range(studies):
        sample = study(random, setting, {})
        verdicts = compare_all(sample, margin=MARGIN, resamples=RESAMPLES)
        counts["false_better"] += any(one.significant for one in verdicts)
        counts["covered"] += all(one.comparison.low <= 0 <= one.comparison.high for one in verdicts)
        counts["contradicted"] += contradictions(verdicts)
        counts["settled"] += chosen(sample, verdicts).settled
        size = verdicts[0].comparison.detectable
        if size < LARGEST:
            counts["tried"] += 1
            of = replace(setting, effect=0.0) if setting.seeds < FEWEST_SEEDS else setting
            for turn in range(AGAIN[setting.methods]):
                sample = study(others, of, {0: size / 2, 1: -size / 2})
                family = Family(sample=sample, margin=MARGIN, resamples=RESAMPLES)
                counts["detected"] += (family.compare("m0", "m1").low > 0) / AGAIN[setting.methods]
                if turn == 0:
                    counts["by_holm"] += holm(sample)["m0", "m1"]
        sample = study(random, setting, {0: -2 * MARGIN})
        found = compare_all(sample, margin=MARGIN, resamples=RESAMPLES)
        counts["contradicted"] += contradictions(found)
        counts["false_equivalent"] += any(
            one.verdict == "equivalent" and one.method_a == "m0" for one in found
        )
        choice = chosen(sample, found)
        counts["proved_worse"] += choice.settled and choice.method == "m0"
        counts["chosen_worse"] += not choice.settled and choice.method == "m0"
    tried = counts.pop("tried")
    shares: dict[str, float | None] = {
        key: value if key == "contradicted" else round(value / studies, 4)
        for key, value in counts.items()
        if key not in ("setting", "studies")
    }
    enough = tried >= NEARLY_ALL * studies
    for key in ("detected", "by_holm"):
        shares[key] = round(counts[key] / tried, 4) if enough else None
    return Found(setting=setting, studies=studies, tried=int(tried), **shares)  # type: ignore[arg-type]


def growing(job: tuple[float, int, int]) -> dict[str, float]:
    """Return how often studies of four equal methods that grow until decided call one better."""
    effect, studies, seed = job
    gc.freeze()
    random = np.random.default_rng(seed)
    setting = Setting(methods=4, seeds=LOOKS[-1], rows=2000, effect=effect)
    rules = Compare(palette=["#000000"], margin=MARGIN, resamples=RESAMPLES, looks=list(LOOKS))
    planned, unplanned = 0, 0
    for _ in range(studies):
        sample = study(random, setting, {})
        planned += any(one.significant for one in judged(sample, rules))
        unplanned += any(
            one.significant
            for seeds in LOOKS
            for one in compare_all(sample.first(seeds), margin=MARGIN, resamples=RESAMPLES)
        )
    return {
        "effect": effect,
        "studies": studies,
        "planned": round(planned / studies, 4),
        "unplanned": round(unplanned / studies, 4),
    }


def table(found: list[Found]) -> str:
    """Return the table of benchmarks/README.md."""
    head = (
        "| methods | seeds | rows | seed effect | false better | all intervals hold | false "
        "equivalent | detectable found | by Holm | settled | worse: settled on | worse: "
        "provisional |\n" + "|---" * 12 + "|"
    )
    lines = []
    for one in found:
        kind = one.setting
        shares = (
            one.false_better, one.covered, one.false_equivalent, one.detected, one.by_holm,
            one.settled, one.proved_worse, one.chosen_worse,
        )  # fmt: skip
        cells = ["n/a" if share is None else f"{100 * share:.1f}" for share in shares]
        lines.append(
            f"| {kind.methods} | {kind.seeds} | {kind.rows:,} | {100 * kind.effect:.1f} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join([head, *lines])


def main() -> None:
    """Simulate all settings, write what was found and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--studies",
        type=int,
        default=400,
        help="of each setting and truth; of eight methods half as many",
    )
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    settings = [
        Setting(methods=methods, seeds=seeds, rows=rows, effect=effect)
        for methods, seeds, rows, effect in product(METHODS, SEEDS, ROWS, EFFECTS)
    ]
    # Eight methods have 28 pairs, and take longest.
    jobs = [
        (setting, given.studies // (2 if setting.methods == METHODS[-1] else 1), place)
        for place, setting in enumerate(settings)
    ]
    with ProcessPoolExecutor(given.processes) as pool:
        found = list(tqdm(pool.map(simulate, jobs), total=len(jobs), unit="setting"))
        grown = list(pool.map(growing, [(effect, given.studies, 99) for effect in EFFECTS]))
    content = {"settings": [asdict(one) for one in found], "growing": grown, "looks": LOOKS}
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    for one in grown:
        print(
            f"growing, seed effect {one['effect']}: {one['planned']} (unplanned {one['unplanned']})"
        )


if __name__ == "__main__":
    main()
