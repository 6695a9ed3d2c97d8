"""Sentences on learning rates: how they were searched, with what budget, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fairtune.analysis.formats import number, rate
from fairtune.report.study import Evidence
from fairtune.report.wording import capital, count, listing, method, methods

TIMES = ("", "once", "twice")
NAMED = 3
"""Verdicts that neighbouring rates overturn which are named one by one."""
GIVEN = "Learning rates were given by the study and not searched."
RULES = {
    "lowest": "of the rates tried, the lowest whose mean {} after the last epoch lies within one "
    "standard error of the best",
    "lowest_loss": "of the rates tried whose mean {} after the last epoch lies within one standard "
    "error of the best, that with the lowest mean validation loss",
}


def rates(evidence: Evidence) -> dict[str, Any]:
    """Return what the templates say of learning rates.

    searched: the subject and verb of the sentence on the rule, empty where no method searched;
    rule: which rate was taken; sentences: what came of it; caption: of the chart.
    """
    found = evidence.search
    if found is None:
        return {"searched": "", "rule": "", "sentences": [GIVEN], "caption": caption(evidence)}
    names = list(found["methods"])
    several = len(names) > 1
    subject = f"The learning {'rates' if several else 'rate'} of {methods(names)}"
    said = [budget(found), extended(found), *edges(found), forgiving(found), collapsed(found),
            *too_low(found)]  # fmt: skip
    return {
        "searched": f"{subject} {'were' if several else 'was'} searched",
        "rule": RULES[found["rule"]].format(f"validation {evidence.search_score}"),
        "sentences": [one for one in [*said, neighbours(evidence)] if one],
        "caption": caption(evidence),
    }


def caption(evidence: Evidence) -> str:
    """Return what the chart shows; empty where there is none."""
    records = evidence.tables.get("rates") or []
    if not records:
        return ""
    marks = {record["mark"] for record in records}
    said = f"{capital(records[0]['metric'])} on validation rows by learning rate"
    if max(record["seeds"] for record in records) > 1:
        said += ": means over seeds, with whiskers from the lowest seed to the highest"
    said += "."
    if marks == {"given"}:
        return f"{said} Each rate was given."
    filled = "chosen or given" if "given" in marks else "chosen"
    said += (
        f" Filled: the rate {filled}; band: one standard error below the best mean; a triangle at "
        "the foot: below the axis."
    )
    absent = [name for name in evidence.names if name not in {r["method"] for r in records}]
    if absent:
        said += f" Left out, for only the accuracy is known of a given rate: {methods(absent)}."
    return said


def _decades(figures: Mapping[str, Any]) -> float:
    low, high = figures["range"]
    return math.log10(high / low)


def _size(figures: Mapping[str, Any]) -> str:
    """Return a budget in words: rates, seeds, epochs and trials."""
    return (
        f"{count(len(figures['rates']), 'rate')} over {number(_decades(figures), digits=1)} "
        f"decades, each with {count(figures['seeds'], 'seed')} of "
        f"{count(figures['epochs'], 'epoch')}, which is {count(figures['trials'], 'trial')}"
    )


def budget(found: Mapping[str, Any]) -> str:
    """Return what each method's search was allowed, and in what the budgets differ."""
    of_methods, differing = list(found["methods"].values()), list(found["unequal"] or [])
    said = []
    # A given rate beside searched ones is one clause; without others the searches are alike.
    if len(differing) == bool(found["given"]):
        whose = "The searched methods" if found["given"] else "All methods"
        said.append(
            f"{whose} had the same budget: {_size(of_methods[0])}."
            if len(of_methods) > 1
            else f"The budget was {_size(of_methods[0])}."
        )
    if differing:
        said.append("The budgets of the study's methods were not equal.")
        said += [f"{capital(clause)}." for clause in differing]
    return " ".join(said)


def extended(found: Mapping[str, Any]) -> str:
    """Return how often the ranges were extended; empty where they were not."""
    times = max(of["extensions"] for of in found["methods"].values())
    if not times:
        return ""
    said = TIMES[times] if times < len(TIMES) else f"{number(times)} times"
    many = len(found["methods"]) > 1
    return (
        f"A best rate had lain on an edge, so {'all ranges were' if many else 'the range was'} "
        f"extended {said}."
    )


def edges(found: Mapping[str, Any]) -> list[str]:
    """Return sentences on best rates that lie on an edge in the end."""
    said = []
    for edge, beyond in (("low", "lower"), ("high", "higher")):
        names = [name for name, of in found["methods"].items() if of["edge"] == edge]
        if names:
            which = "lowest" if edge == "low" else "highest"
            said.append(
                f"For {methods(names)} the best rate is the {which} that was tried: a {beyond} one "
                "may be better."
            )
    return said


def forgiving(found: Mapping[str, Any]) -> str:
    """Return which method forgives a rate that is off, and which does not."""
    widths = {name: of["tolerance_decades"] for name, of in found["methods"].items()}
    most, least = max(widths.values()), min(widths.values())
    alone = "no rate next to the best is within one standard error of it"
    within = "rates next to one another are within one standard error of the best"
    if number(most, digits=1) == number(least, digits=1):
        whose = "every method" if len(widths) > 1 else methods(list(widths))
        if most == 0:
            return f"For {whose} {alone}."
        return f"For {whose} {within} over {number(most, digits=1)} decades."
    top = [name for name, width in widths.items() if width == most]
    last = [name for name, width in widths.items() if width == least]
    verb = "forgives" if len(top) == 1 else "forgive"
    rest = alone if least == 0 else f"they are over {number(least, digits=1)}"
    return (
        f"{capital(methods(top))} {verb} a rate that is off most: {within} over "
        f"{number(most, digits=1)} decades. For {methods(last)} {rest}."
    )


def collapsed(found: Mapping[str, Any]) -> str:
    """Return which methods' chosen rates failed with a seed; empty where none did."""
    said = [
        f"{method(name)} ({len(of['chosen_collapsed'])} of {of['seeds']} trials)"
        for name, of in found["methods"].items()
        if of["chosen_collapsed"]
    ]
    return f"Even at the chosen rate trials learned nothing: {listing(said)}." if said else ""


def too_low(found: Mapping[str, Any]) -> list[str]:
    """Return which chosen rates may be too low, by the loss, a sentence each."""
    said = []
    for name, of in found["methods"].items():
        lower = of.get("lower_loss")
        if lower:
            said.append(
                f"The learning rate of {method(name)} may be too low: of the rates that count as "
                f"equal, {rate(lower['rate'])} had a lower validation loss with every seed "
                f"({_loss(lower['loss'])}, and {_loss(of['chosen_loss'])} at the chosen "
                f"{rate(of['chosen'])}), which its score on few rows does not show."
            )
    return said


def doubt(found: Mapping[str, Any] | None) -> str:
    """Return in one sentence whose rate may be too low; empty where nobody's is."""
    of_methods = found["methods"] if found else {}
    names = [name for name, of in of_methods.items() if of.get("lower_loss")]
    if not names:
        return ""
    what = "learning rate" if len(names) == 1 else "learning rates"
    return f"By the validation loss the {what} of {methods(names)} may be too low."


def _loss(value: float | None) -> str:
    return "no number" if value is None else number(value, digits=3)


def neighbours(evidence: Evidence) -> str:
    """Return whether verdicts would stand at neighbouring rates; empty where none is settled."""
    if evidence.search is None or not evidence.search["neighbours"]:
        return ""
    found = evidence.search["neighbours"]
    broken = {pair: of for pair, of in found.items() if not of["stands"]}
    stand, total = len(found) - len(broken), len(found)
    what = f"verdict{'' if total == 1 else 's'} that the study could settle"
    what += " between searched methods" if evidence.search["given"] else ""
    if total == 1:
        share = f"The one {what} would {'not ' if broken else ''}stand"
    else:
        many = "All" if not broken else f"{number(stand) if stand else 'None'} of the"
        share = f"{many} {number(total)} {what} would stand"
    said = (
        f"{share} at every combination of the chosen rates and those tried next to them, by their "
        f"validation {evidence.score_name}"
    )
    if broken:
        said += f": {_broken(broken)}"
    return f"{said}. This rests on few seeds and on validation rows: a hint, and no proof."


def _broken(broken: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the verdicts that do not stand everywhere, those that stand least first."""
    ordered = sorted(broken.values(), key=lambda of: float(of["share"]))
    said = []
    for of in ordered[:NAMED]:
        first, second = rate(of["breaks"]["first_rate"]), rate(of["breaks"]["second_rate"])
        where = "even at the chosen rates" if not of["at_chosen"] else "among others"
        both, failing = methods([of["first"], of["second"]]), of["combinations"] - of["standing"]
        said.append(
            f"that on {both} fails in {failing} of {of['combinations']}, {where} {first} and "
            f"{second}"
        )
    more = len(ordered) - NAMED
    return "; ".join(said) + (f"; {count(more, 'other')} too" if more > 0 else "")
