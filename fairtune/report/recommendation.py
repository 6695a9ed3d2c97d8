"""Which method to use: the recommendation, and what speaks for each method."""

from __future__ import annotations

from collections.abc import Callable

from fairtune.analysis.choice import Choice
from fairtune.analysis.components import SEED_EFFECT
from fairtune.analysis.costs import SAME, costs
from fairtune.analysis.crossed import FEWEST_SEEDS
from fairtune.analysis.formats import NOT_MEASURED, number, percent, points
from fairtune.analysis.planning import MOST_ROWS, MOST_SEEDS
from fairtune.report import failures
from fairtune.report.quiet import lacking, whose
from fairtune.report.results import Results
from fairtune.report.study import Evidence
from fairtune.report.wording import capital, count, listing, method, methods

Figures = Callable[[Results, str], str]


def recommendation(evidence: Evidence) -> str:
    """Return the recommendation with its grounds."""
    return " ".join(sentences(evidence, evidence.choice(), _figures))


def sentences(results: Results, choice: Choice, figures: Figures) -> list[str]:
    """Return a choice in sentences: what, on what ground, at what risk, and what would settle it.

    Args:
        results: the study's.
        choice: among all methods, or those that keep some limits.
        figures: returns the costs of a method, to stand in brackets.
    """
    if choice.method is None:
        return [_none(results, choice)]
    shown = (
        f"{method(choice.method)} ({results.score_name} "
        f"{percent(results.score(choice.method))}; {figures(results, choice.method)})"
    )
    margin = points(results.comparison["margin"])
    left_out = [failures.left_out(results)] if choice.failed else []
    if choice.ground == "alone":
        what = (
            "a second method is needed to judge" if len(results.names) == 1 else "no other is left"
        )
        return [f"We take {shown}; {what}.", *left_out]
    if choice.settled:
        ground, which = "It is the only method", ""
        if len(choice.passing) > 1:
            ground = "By the product of time and memory it is the cheapest of those"
            which = f", {methods(choice.passing)}"
        return [
            f"We recommend {shown}.",
            f"{ground} shown to lose less than {margin} of {results.score_name} against the "
            f"best{which}.",
            *_below(results, choice),
            *left_out,
            *_uncosted(results, choice),
        ]
    ground = "It is the only one of which a loss of"
    if len(choice.likely) > 1:
        ground = (
            "It is the cheapest, by the product of time and memory, of those of which a loss of"
        )
    if choice.ground == "highest mean":
        ground, close = "It has the highest mean.", ""
        if choice.cheapest not in (None, choice.method):
            ground = "It has the highest mean; of no cheaper one can a loss of"
            close = f"{margin} or more against the best be called unlikely."
    else:
        close = f"{margin} or more against the best is unlikely (p up to {_plausible(results)})."
    return [
        f"The choice is not settled. Provisionally we take {shown}. {ground} {close}".rstrip(),
        *_stakes(results, choice),
        *left_out,
        *_uncosted(results, choice),
        *settling(results, choice),
    ]


def _plausible(results: Results) -> str:
    return number(results.comparison["plausible"], digits=2)


def _none(results: Results, choice: Choice) -> str:
    """Return that nothing is recommended, and why."""
    if choice.ground == "no costs":
        return (
            f"We recommend no method: {methods(choice.passing)} are shown to lose less than "
            f"{points(results.comparison['margin'])} against the best, and their costs are "
            f"{NOT_MEASURED}, because {lacking(results, choice.passing)}."
        )
    if set(results.failed) == set(results.names):
        return "We recommend no method: each has trainings that learned nothing."
    return f"We recommend no method. {failures.left_out(results)}".rstrip()


def _uncosted(results: Results, choice: Choice) -> list[str]:
    """Return which methods were not weighed, for want of costs."""
    gone = [name for name in choice.p if name in results.uncosted]
    return [f"The costs of {methods(gone)}, {whose(results)}, were not weighed."] if gone else []


def _below(results: Results, choice: Choice) -> list[str]:
    """Return what the choice may lose, where another has the higher mean."""
    top, best = str(choice.top), str(choice.method)
    pair = results.pair(top, best) if top != best else None
    if pair is None or pair.difference <= 0:
        return []
    return [
        f"Its {results.score_name} lies {points(pair.difference)} below that of {method(top)}; "
        f"the interval allows for a loss of up to {points(max(pair.high, 0.0))}."
    ]


def _stakes(results: Results, choice: Choice) -> list[str]:
    """Return what the choice may lose, and what the cheapest would save and may lose."""
    stakes = _below(results, choice)
    top, best = str(choice.top), str(choice.method)
    cheapest = choice.cheapest
    ours, least = results.weight(best), cheapest and results.weight(cheapest)
    if cheapest and cheapest != best and ours and least:
        pair = results.pair(top, cheapest)
        stakes.append(
            f"The cheapest, {method(cheapest)}, would save {percent(1 - least / ours)} of that "
            f"product, and may lose up to {points(max(pair.high, 0.0))} against {method(top)}."
        )
    return stakes


def settling(results: Results, choice: Choice) -> list[str]:
    """Return what would settle the choice, from simulated studies of other sizes."""
    found = results.comparison["needed"]
    if found is None or len(choice.p) < len(results.names):
        return []
    ways = []
    if found["seeds"] and found["seeds"] > results.seeds:
        ways.append(f"{count(found['seeds'], 'seed')} on the same test rows")
    fewest = max(results.seeds, FEWEST_SEEDS)
    if found["rows"] and found["rows"] > results.comparison["test_rows"]:
        ways.append(f"{number(found['rows'])} test rows with {count(fewest, 'seed')}")
    both = found["both"]
    if both and not found["seeds"]:
        ways.append(f"{count(both[0], 'seed')} and {number(both[1])} test rows")
    assumed = (
        f"; the spread between trainings, {points(SEED_EFFECT)}, is assumed, as "
        f"{count(results.seeds, 'seed')} cannot tell it"
        if found["assumed"]
        else ""
    )
    how = f"with the variances found here, in {found['power']:.0%} of simulated studies{assumed}"
    if not ways:
        return [f"Nothing within {MOST_SEEDS} seeds and {MOST_ROWS} times the rows would settle it "
                f"({how})."]  # fmt: skip
    alone = "" if found["seeds"] else "Seeds alone would not settle it. "
    return [f"{alone}{capital(listing(ways, last='or'))} would settle it ({how})."]


def _figures(results: Results, name: str) -> str:
    """Return the costs that the recommendation weighs, of one method."""
    shown = []
    for cost in costs(results.memory).values():
        if cost.weighed and cost.metric:
            value = results.metrics[name][cost.metric]
            shown.append(f"{cost.name} {NOT_MEASURED if value is None else cost.show(value)}")
    return listing(shown)


def when(evidence: Evidence) -> list[tuple[str, str]]:
    """Return, for each method, what speaks for it and what against it."""
    return [(name, _case(evidence, name)) for name in evidence.names]


def _case(evidence: Evidence, name: str) -> str:
    good = _strengths(evidence, name)
    better = [str(pair.winner) for pair in evidence.pairs if pair.loser == name]
    if good:
        text = f"Use it when {listing((f'the {what}' for what in good), last='or')} decides."
    else:
        text = "It leads in no measured quantity here."
    if name in evidence.uncosted:
        text += f" Its time and memory are {NOT_MEASURED}."
    if better:
        gap = max(abs(evidence.pair(name, other).difference) for other in better)
        subject = "It is" if evidence.about_methods else "Here it is"
        text += f" {subject} {_worse(evidence)} than {methods(better)}, by up to {points(gap)}."
    elif len(evidence.names) > 1 and evidence.about_methods:
        text += " No method is shown to be better."
    return f"{text} {_property(evidence, name)}".strip()


def _worse(evidence: Evidence) -> str:
    return "less accurate" if evidence.metric == "accuracy" else f"lower in {evidence.score_name}"


def _strengths(evidence: Evidence, name: str) -> list[str]:
    """Return the quantities in which a method is best, or within noise of the best."""
    if len(evidence.names) == 1:
        return []
    found = [evidence.score_name] if evidence.rank(name) == 1 else []
    for key, cost in evidence.costs.items():
        what, values = cost.name, evidence.spent(key)
        if name not in values:
            continue
        least, most = min(values.values()), max(values.values())
        if values[name] <= least * (1 + SAME) and most > least * (1 + SAME):
            found.append(what)
    return found


def _property(evidence: Evidence, name: str) -> str:
    """Return what the method's nature allows, whatever the figures say."""
    block = evidence.block(name)
    shipped = evidence.costs["shipped"].show(evidence.spent("shipped")[name])
    if block.adapter is None:
        return f"Each further task adds a whole model ({shipped})."
    said = f"Each further task adds {shipped} to one shared model"
    if any(run.inference.merged_latency_ms is not None for run in evidence.records[name]):
        said += ", and the adapter can be merged away"
    if block.quantize:
        said += "; the frozen weights take about an eighth of their size, which counts for models"
        said += " larger than this one"
    return said + "."


def conclusion(evidence: Evidence) -> str:
    """Return how far the conclusion carries."""
    rows = evidence.comparison["test_rows"]
    seeds = count(evidence.seeds, "seed")
    return (
        f"The finding holds for this model, this data set and these settings, with "
        f"{rows:,} test rows and {seeds}; a larger test set or more seeds would narrow the "
        "intervals."
    )
