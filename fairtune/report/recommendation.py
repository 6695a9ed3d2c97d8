"""Which method to use: the recommendation, and what speaks for each method."""

from __future__ import annotations

from fairtune.analysis.costs import SAME
from fairtune.analysis.formats import NOT_MEASURED, percent, points
from fairtune.report.quiet import WHOSE, lacking
from fairtune.report.study import Evidence
from fairtune.report.wording import count, listing, method, methods


def recommended(evidence: Evidence) -> str | None:
    """Return the method with the lowest costs among those that no other beats on accuracy.

    Costs are the product of time and memory (`fairtune.analysis.costs.weight`). A method without
    costs is chosen only where nothing has to be weighed; None where no choice is left.
    """
    weights = {name: evidence.weight(name) for name in evidence.unbeaten}
    known = {name: weight for name, weight in weights.items() if weight is not None}
    if known and len(weights) > 1:
        return min(known, key=lambda name: known[name])
    return evidence.unbeaten[0] if len(weights) == 1 else None


def recommendation(evidence: Evidence) -> str:
    """Return the recommendation with its grounds."""
    best = recommended(evidence)
    if best is None:
        return (
            f"We recommend no method: none is shown to be better than "
            f"{methods(evidence.unbeaten)}, and their costs are {NOT_MEASURED}, because "
            f"{lacking(evidence.unbeaten)}."
        )
    accuracy, figures = percent(evidence.metrics[best]["accuracy"]), _figures(evidence, best)
    if len(evidence.names) == 1:
        return f"{method(best)} reaches {accuracy} ({figures}); a second method is needed to judge."
    if len(evidence.unbeaten) == 1:
        return (
            f"We recommend {method(best)} for this task: no other method is as accurate "
            f"({accuracy}; {figures})."
        )
    unweighed = [name for name in evidence.unbeaten if name in evidence.uncosted]
    left_out = (
        f" The costs of {methods(unweighed)}, {WHOSE}, were not weighed." if unweighed else ""
    )
    of_these = "those with costs" if unweighed else "these"
    return (
        f"We recommend {method(best)} for this task. No method is shown to be better than "
        f"{methods(evidence.unbeaten)}, and of {of_these} {method(best)} has the lowest product of "
        f"time and memory ({accuracy}; {figures}).{left_out}{_risk(evidence, best)}"
    )


def _figures(evidence: Evidence, name: str) -> str:
    """Return the costs that the recommendation weighs, of one method."""
    said = []
    for key, cost in evidence.costs.items():
        if cost.weighed:
            value = evidence.spent(key).get(name)
            said.append(f"{cost.name} {NOT_MEASURED if value is None else cost.show(value)}")
    return listing(said)


def _risk(evidence: Evidence, best: str) -> str:
    """Return what accuracy the recommendation may cost, where another has the higher mean."""
    top = max(evidence.unbeaten, key=lambda name: float(evidence.metrics[name]["accuracy"]))
    pair = evidence.pair(top, best) if top != best else None
    if pair is None or pair.difference <= 0:
        return ""
    return (
        f" Its accuracy lies {points(pair.difference)} below that of {method(top)}; the interval "
        f"allows for a loss of up to {points(pair.high)}."
    )


def when(evidence: Evidence) -> list[tuple[str, str]]:
    """Return, for each method, what speaks for it and what against it."""
    return [(name, _case(evidence, name)) for name in evidence.names]


def _case(evidence: Evidence, name: str) -> str:
    good = _strengths(evidence, name)
    better = [str(pair.winner) for pair in evidence.pairs if pair.loser == name]
    if good:
        said = f"Use it when {listing((f'the {what}' for what in good), last='or')} decides."
    else:
        said = "It leads in no measured quantity here."
    if name in evidence.uncosted:
        said += f" Its time and memory are {NOT_MEASURED}."
    if better:
        gap = max(abs(evidence.pair(name, other).difference) for other in better)
        said += f" It is less accurate than {methods(better)}, by up to {points(gap)}."
    elif len(evidence.names) > 1:
        said += " No method is shown to be more accurate."
    return f"{said} {_property(evidence, name)}".strip()


def _strengths(evidence: Evidence, name: str) -> list[str]:
    """Return the quantities in which a method is best, or within noise of the best."""
    if len(evidence.names) == 1:
        return []
    found = ["accuracy"] if evidence.rank(name) == 1 else []
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
