"""Sentences on what verdicts rest on: seeds, looks, groups, failed trainings, unequal classes."""

from __future__ import annotations

from fairtune.analysis.formats import number, percent
from fairtune.report import failures
from fairtune.report.results import Results
from fairtune.report.wording import count, listing

OTHER_SEEDS = "other seeds may give another order"


def seeds_note(results: Results) -> str:
    """Return how often each method was trained, and what few trainings leave open."""
    said = f"Each method was trained with {count(results.seeds, 'seed')}"
    return f"{said}." if results.about_methods else f"{said}: {OTHER_SEEDS}."


def trainings(results: Results, seeds: list[int]) -> str:
    """Return how often each method was trained, what that leaves open, and what went wrong."""
    if results.about_methods:
        said = (
            f"Each method was trained with {count(len(seeds), 'seed')} "
            f"({listing(str(seed) for seed in seeds)}). Intervals and tests cover both the choice "
            "of test rows and that of seeds."
        )
    else:
        times = "once, with one seed" if results.seeds == 1 else "with two seeds"
        said = (
            f"Each method was trained {times} ({listing(str(seed) for seed in seeds)}). The "
            "intervals therefore cover the choice of test rows, not the luck of a training: "
            f"{OTHER_SEEDS}."
        )
    more = (looks(results), groups(results), failures.unlearned(results),
            failures.outlying(results), unequal(results))  # fmt: skip
    return " ".join([said, *filter(None, more)])


def looks(results: Results) -> str:
    """Return how often a growing study was looked at; '' where looks were not planned."""
    planned = results.comparison["looks"]
    if not planned:
        return ""
    done = [seeds for seeds in planned if int(seeds) <= results.seeds]
    return (
        f"The study grew: it was looked at {count(len(done), 'time')} of {len(planned)} planned, "
        f"at {listing(done)} seeds. Each look has a level of its own, 5% in all, and what a look "
        "decided stays decided."
    )


def groups(results: Results) -> str:
    """Return that rows were drawn in groups; '' where they were not."""
    many = results.comparison["groups"]
    if many is None:
        return ""
    return (
        f"The test rows were drawn in {number(many)} groups, which no split parts; intervals and "
        "tests take a group as what was drawn."
    )


def unequal(results: Results) -> str:
    """Return a warning of unequal classes where accuracy decides; '' otherwise."""
    if not results.comparison["unequal_classes"] or results.metric != "accuracy":
        return ""
    share = percent(results.comparison["commonest_class"])
    return (
        f"The classes are unequal: {share} of the test rows are of one, and naming it alone would "
        "be right as often. Accuracy counts rare classes little; macro F1, balanced accuracy and "
        "Matthews' correlation weigh them."
    )
