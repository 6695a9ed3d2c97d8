"""Sentences on the score: who is better, who is equivalent, and what the study cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from fairtune.analysis.formats import interval, number, p_value, percent, points
from fairtune.report.results import Pair, Results
from fairtune.report.wording import capital, count, listing, method, methods

EVERY_OTHER = "every other method"


def accuracies(results: Results) -> str:
    """Return the score of every method with its interval, in one clause."""
    return listing(
        f"{method(name)} {percent(results.score(name))} (±{points(results.half_width(name))})"
        for name in results.names
    )


def runs_of(results: Results, name: str) -> str:
    """Return a method's name, or that of its trained models where verdicts are on these."""
    if results.about_methods:
        return method(name)
    return f"{'this run' if results.seeds == 1 else 'these runs'} of {method(name)}"


def _better(results: Results, winners: Sequence[str], losers: Sequence[str]) -> str:
    """Return that methods, or trained models of them, are better than others."""
    if results.about_methods:
        verb = "is" if len(winners) == 1 else "are"
        return f"{methods(winners)} {verb} better than {methods(losers)}"
    alone = results.seeds == len(winners) == 1
    whose = listing(runs_of(results, winner) for winner in winners)
    return f"{whose} {'beats' if alone else 'beat'} {_that_of(results)} {methods(losers)}"


def _that_of(results: Results) -> str:
    return "that of" if results.seeds == 1 else "those of"


def headline(results: Results) -> str:
    """Return the finding in one or two sentences."""
    names, pairs = results.names, results.pairs
    if all(len(results.failed.get(name, ())) == results.seeds for name in names):
        return (
            "No training learned anything: predictions that are not associated with the labels say "
            "nothing of the methods."
        )
    if len(names) == 1:
        return f"Only {method(names[0])} was trained, so there is nothing to compare it with."
    if not results.about_methods:
        return _of_trainings(results)
    alone = [name for name in names if results.rank(name) == 1]
    if alone:
        others = [name for name in names if name != alone[0]]
        against = f"{methods(others)}" if len(others) < 3 else EVERY_OTHER
        return f"{_first(results, alone[0])}: it is better than {against}."
    if all(pair.verdict == "equivalent" for pair in pairs):
        margin = points(results.comparison["margin"])
        return (
            f"The {results.scores_name} of {methods(names)} are equivalent within the margin of "
            f"{margin}."
        )
    if all(pair.verdict == "cannot tell" for pair in pairs):
        return (
            f"The study cannot tell the {results.scores_name} of {methods(names)} apart. "
            f"{detectable(pairs)} This is not evidence that they are equal."
        )
    return _mixed(results)


def _first(results: Results, name: str) -> str:
    """Return that a method is the best, with its score."""
    score = percent(results.score(name))
    if results.metric == "accuracy":
        return f"{method(name)} is the most accurate ({score})"
    return f"{method(name)} has the highest {results.score_name} ({score})"


def _of_trainings(results: Results) -> str:
    """Return what a study of few seeds says: it speaks of its trained models alone."""
    said = (
        f"With {count(results.seeds, 'seed')} this study speaks of its trained models, not of the "
        "methods"
    )
    margin = points(results.comparison["margin"])
    if all(pair.verdict == "equivalent" for pair in results.pairs):
        return f"{said}, and these are equivalent within the margin of {margin}."
    if all(pair.verdict == "cannot tell" for pair in results.pairs):
        return f"{said}, and it cannot tell these apart. {detectable(results.pairs)}"
    return f"{said}. {_mixed(results)}"


def _mixed(results: Results) -> str:
    """Return what the pairs say where they say different things."""
    beaten: dict[tuple[str, ...], list[str]] = {}
    for winner in results.names:
        losers = tuple(str(pair.loser) for pair in results.pairs if pair.winner == winner)
        if losers:
            beaten.setdefault(losers, []).append(winner)
    parts = [_better(results, winners, losers) for losers, winners in beaten.items()]
    equal = [pair for pair in results.pairs if pair.verdict == "equivalent"]
    if equal:
        parts.append(_alike(results, equal))
    said = f"{'; '.join(parts)}."
    open_pairs = [pair for pair in results.pairs if pair.verdict == "cannot tell"]
    if open_pairs:
        said += f" The study cannot tell {_rest(open_pairs)} apart."
    return capital(said)


def _alike(results: Results, pairs: Sequence[Pair]) -> str:
    """Return that the pairs are equivalent, each by itself: the relation is not transitive."""
    first, *others = map(_both, pairs)
    what, those = ("", "") if results.about_methods else ("the runs of ", "those of ")
    return f"{what}{first} are equivalent" + "".join(f", as are {those}{one}" for one in others)


def _rest(open_pairs: list[Pair]) -> str:
    """Return the pairs without a verdict: the one by its names, several as a count."""
    if len(open_pairs) == 1:
        return _both(open_pairs[0])
    return f"the other {count(len(open_pairs), 'pair')}"


def _both(pair: Pair) -> str:
    return f"{method(pair.first)} and {method(pair.second)}"


def detectable(pairs: list[Pair]) -> str:
    """Return the smallest true differences that the study would have found, as a sentence."""
    least, most = min(p.detectable for p in pairs), max(p.detectable for p in pairs)
    if points(least) == points(most):
        return f"The smallest difference that it could have detected is {points(least)}."
    low = number(100 * least, digits=1)
    return (
        f"The smallest difference that it could have detected is {low} to {points(most)}, "
        "depending on the pair."
    )


def details(results: Results) -> list[str]:
    """Return sentences on all pairs: each that is decided, and the rest together."""
    said = [_decided(results, pair) for pair in results.pairs if pair.winner]
    said += [_equivalent(results, pair) for pair in results.pairs if pair.verdict == "equivalent"]
    open_pairs = [pair for pair in results.pairs if pair.verdict == "cannot tell"]
    if open_pairs:
        every = len(open_pairs) == len(results.pairs) > 1
        which = "any two methods" if every else _rest(open_pairs)
        said.append(f"The study cannot tell {which} apart. {detectable(open_pairs)}")
    return said


def _decided(results: Results, pair: Pair) -> str:
    turned = pair.winner == pair.second
    low, high = (-pair.high, -pair.low) if turned else (pair.low, pair.high)
    return (
        f"{capital(_better(results, [str(pair.winner)], [str(pair.loser)]))} by "
        f"{points(pair.difference)} (95% interval {interval(low, high)}, {p_value(pair.p)}"
        f"{_at(results, pair)})."
    )


def _at(results: Results, pair: Pair) -> str:
    """Return at how many seeds a pair was decided, where an earlier look did."""
    return f"; decided at {count(pair.seeds, 'seed')}" if pair.seeds < results.seeds else ""


def _equivalent(results: Results, pair: Pair) -> str:
    margin = results.comparison["margin"]
    real = " The difference is real but too small to matter." if pair.significant else ""
    return (
        f"{_both(pair)} are equivalent: the 90% interval of their difference, "
        f"{interval(pair.equivalence_low, pair.equivalence_high)}, lies inside the margin of "
        f"{points(margin)}{_at(results, pair)}.{real}"
    )


def against(results: Results, name: str, base: str) -> str:
    """Return in a clause what the study says of one method's score against another's."""
    pair = results.pair(name, base)
    subject = "it" if results.about_methods else "its runs" if results.seeds > 1 else "its run"
    verb = "are" if subject == "its runs" else "is"
    if pair.winner:
        higher = pair.winner == name
        if results.metric == "accuracy":
            kind = "more" if higher else "less"
            return f"{subject} {verb} {kind} accurate by {points(pair.difference)}"
        kind = "higher" if higher else "lower"
        return f"its {results.score_name} is {kind} by {points(pair.difference)}"
    if pair.verdict == "equivalent":
        return f"the {results.scores_name} are equivalent"
    return f"the study cannot tell the {results.scores_name} apart"


def ranks(results: Results) -> str:
    """Return which ranks the evidence supports."""
    known = {name: results.rank(name) for name in results.names}
    supported = [name for name, rank in known.items() if rank is not None]
    if len(results.names) == 1:
        return ""
    if not results.about_methods:
        return f"{capital(count(results.seeds, 'seed'))} cannot rank the methods."
    if not supported:
        return f"The evidence supports no ranking of the methods by {results.score_name}."
    said = listing(f"{method(name)} (rank {known[name]})" for name in supported)
    rest = "" if len(supported) == len(known) else "; it leaves the other ranks open"
    return f"The evidence supports a rank for {said}{rest}."


def contenders(results: Results) -> str:
    """Return which methods may be the best, and which cannot be; '' where none can be told."""
    left = results.unbeaten
    if len(results.names) == 1 or not results.about_methods:
        return ""
    if len(left) == len(results.names):
        return "None of them is shown to be worse than another."
    beaten = [name for name in results.names if name not in left]
    said = f"{methods(beaten)} {'is' if len(beaten) == 1 else 'are'} shown to be worse"
    return f"{said} than another method; {methods(left)} {'is' if len(left) == 1 else 'are'} not."
