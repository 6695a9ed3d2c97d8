"""Say how many seeds and test rows a question needs, before any training or after a study.

usage: python -m fairtune.plan [--margin SHARE] [--power SHARE] [--seed-effect SHARE] [--json]
       python -m fairtune.plan --from-nothing [--methods N] [--accuracy SHARE] [--agreement R] ...
in:    params.yaml, and runs/ as the pilot where they are those of its methods and seeds
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from rich.console import Console
from rich.table import Table

from fairtune.analysis.comparison import judged
from fairtune.analysis.components import SEED_EFFECT, assumed, components
from fairtune.analysis.formats import NOT_MEASURED, number
from fairtune.analysis.pairs import POWER
from fairtune.analysis.sample import Sample, sample_of_runs
from fairtune.analysis.scores import SCORES
from fairtune.core import params
from fairtune.core.params import Params
from fairtune.design import telling
from fairtune.design.options import number_of
from fairtune.design.outlook import Outlook, outlook
from fairtune.design.pilot import at_hand
from fairtune.runs.record import Runs

ACCURACY, AGREEMENT, MOST_METHODS = 0.9, 0.7, 20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options; None where not given."""

    methods: int | None = None
    accuracy: float | None = None
    agreement: float | None = None
    seed_effect: float | None = None
    margin: float | None = None
    power: float = POWER
    from_nothing: bool = False
    for_programs: bool = False

    @property
    def of_nothing(self) -> str | None:
        """The first option given that has a meaning before any training alone."""
        names = ("methods", "accuracy", "agreement")
        return next((name for name in names if getattr(self, name) is not None), None)


def arguments(words: Sequence[str] | None = None) -> Asked:
    """Return the options.

    Raises:
        UserError: one is not a number, or not within its bounds.
    """
    parser = argparse.ArgumentParser(prog="python -m fairtune.plan")
    parser.description = "Say how many seeds and test rows a question needs."
    add = parser.add_argument
    add("--from-nothing", action="store_true", help="assume all, also where runs are at hand")
    add("--methods", metavar="N", help="how many are compared (default: those of params.yaml)")
    add("--accuracy", metavar="SHARE", help=f"expected, of each method (default: {ACCURACY})")
    add(
        "--agreement",
        metavar="R",
        help=f"correlation of two methods' outcomes, right or wrong, on a row (default: "
        f"{AGREEMENT}; in the committed study of small encoders the six pairs have 0.67 to 0.87)",
    )
    add(
        "--seed-effect",
        metavar="SHARE",
        help=f"standard deviation between the trainings of a method (default: {SEED_EFFECT}, or "
        "as three seeds or more show it)",
    )
    add("--margin", metavar="SHARE", help="difference that matters (default: compare.margin)")
    add("--power", metavar="SHARE", help=f"chance wanted (default: {POWER})")
    add("--json", action="store_true", help="for programs")
    given = parser.parse_args(words)
    methods = number_of("--methods", given.methods, 2, MOST_METHODS, whole=True)
    power = number_of("--power", given.power, 0, 1, "0.8")
    return Asked(
        methods=None if methods is None else int(methods),
        accuracy=number_of("--accuracy", given.accuracy, 0, 1, "0.9"),
        agreement=number_of("--agreement", given.agreement, 0, 1, "0.7"),
        seed_effect=number_of("--seed-effect", given.seed_effect, 0, 0.5, "0.005"),
        margin=number_of("--margin", given.margin, 0, 0.5, "0.01"),
        power=POWER if power is None else power,
        from_nothing=given.from_nothing,
        for_programs=given.json,
    )


def plan(study: Params, asked: Asked) -> tuple[Outlook, list[str]]:
    """Return what is within reach, and what there is to say.

    Raises:
        UserError: an option has no meaning here, or there is one method alone.
    """
    if asked.from_nothing:
        return _from_nothing(study, asked, _runs_if_right(study))
    runs = at_hand(study)
    if runs is None:
        return _from_nothing(study, asked, None)
    if asked.of_nothing:
        raise UserError(
            f"--{asked.of_nothing}: the runs at hand tell; add --from-nothing to assume it instead"
        )
    return _from_pilot(study, asked, runs)


def _runs_if_right(study: Params) -> Runs | None:
    """Return the runs at hand, which tell the times, or None where they are of something else."""
    try:
        return at_hand(study)
    except UserError:
        return None


def _from_nothing(study: Params, asked: Asked, runs: Runs | None) -> tuple[Outlook, list[str]]:
    methods = asked.methods or len(study.methods)
    if methods < 2:
        raise UserError("methods: one alone is compared with nothing; give --methods 2 or more")
    accuracy = asked.accuracy or ACCURACY
    agreement = asked.agreement or AGREEMENT
    effect = asked.seed_effect or SEED_EFFECT
    found = outlook(
        assumed(methods, accuracy=accuracy, agreement=agreement, seed_effect=effect),
        rows=study.subset.test,
        seeds=0,
        margin=asked.margin or study.compare.margin,
        wanted=asked.power,
        runs=runs if methods == len(study.methods) else None,
    )
    text = telling.assumptions(methods, accuracy=accuracy, agreement=agreement, seed_effect=effect)
    notes = [text]
    if study.compare.metric != "accuracy":
        notes.append(
            f"compare.metric is {study.compare.metric}, of which nothing is known before a "
            "training: the answer is accuracy's."
        )
    return found, notes + telling.sentences(found)


def _from_pilot(study: Params, asked: Asked, runs: Runs) -> tuple[Outlook, list[str]]:
    if len(runs) < 2:
        raise UserError("methods: one alone is compared with nothing; plan needs two or more")
    sample = sample_of_runs(runs, score=SCORES[study.compare.metric])
    if asked.seed_effect is not None and sample.covers_seeds:
        raise UserError(
            f"--seed-effect: the {sample.seeds} seeds at hand show it; add --from-nothing to "
            "assume it instead"
        )
    margin = asked.margin or study.compare.margin
    found = components(sample, seed_effect=asked.seed_effect or SEED_EFFECT)
    pairs = open_pairs(sample, study, margin=margin)
    told = outlook(
        found,
        rows=sample.rows,
        seeds=sample.seeds,
        margin=margin,
        wanted=asked.power,
        pairs=pairs,
        runs=runs,
    )
    text = [telling.grounds(found, seeds=sample.seeds, rows=sample.rows), *telling.sentences(told)]
    if not pairs:
        text.append("Every pair has a verdict.")
    if study.compare.looks:
        text.append("Looks are planned (compare.looks): they cost a little of these chances.")
    return told, text


def open_pairs(sample: Sample, study: Params, *, margin: float) -> list[tuple[str, str]]:
    """Return the pairs without a verdict on the methods."""
    looks = study.compare.looks
    if not sample.covers_seeds or (looks and sample.seeds not in looks):
        return list(combinations(sample.names, 2))
    verdicts = judged(sample, study.compare.model_copy(update={"margin": margin}))
    return [(one.method_a, one.method_b) for one in verdicts if one.verdict == "cannot tell"]


def table(found: Outlook) -> Table:
    """Return the sizes as a table."""
    made = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for heading in ("Seeds", "Test rows", "Choice settled", "A pair decided", "Minutes"):
        made.add_column(heading, justify="right")
    for one in found.sizes:
        shares = [f"{100 * share:.0f}%" for share in (one.settled, one.decided)]
        made.add_row(str(one.seeds), number(one.test_rows), *shares, _minutes(one.minutes))
    return made


def _minutes(value: float | None) -> str:
    return NOT_MEASURED if value is None else number(value, digits=0 if value >= 10 else 1)


def as_json(found: Outlook, text: Sequence[str]) -> dict[str, Any]:
    """Return the answer for programs."""
    pairs = {f"{a}_vs_{b}": asdict(one) for (a, b), one in found.pairs.items()}
    return asdict(found) | {"pairs": pairs, "text": list(text)}


def main() -> None:
    """Print the plan."""
    asked = arguments()
    found, text = plan(params.load(), asked)
    if asked.for_programs:
        print(json.dumps(as_json(found, text), indent=2, ensure_ascii=False))
        return
    print(text[0])
    Console(highlight=False).print(table(found))
    print("\n".join(text[1:]))


if __name__ == "__main__":
    run(main)
