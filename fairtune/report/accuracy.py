"""Sentences on accuracy: who is better, who is equivalent, and what the study cannot tell."""

from __future__ import annotations

from fairtune.analysis.formats import interval, number, p_value, percent, points
from fairtune.report.study import Pair, Results
from fairtune.report.wording import capital, count, listing, method, methods

OTHER_SEEDS = "other seeds may give another order"


def accuracies(results: Results) -> str:
    """Return the accuracy of every method with its interval, in one clause."""
    return listing(
        f"{method(name)} {percent(found['accuracy'])} (±{points(found['accuracy_ci95'])})"
        for name, found in results.metrics.items()
    )


def headline(results: Results) -> str:
    """Return the finding on accuracy in one or two sentences."""
    names, pairs = results.names, results.pairs
    if len(names) == 1:
        return f"Only {method(names[0])} was trained, so there is nothing to compare it with."
    alone = [name for name in names if results.rank(name) == 1]
    if alone:
        others = [name for name in names if name != alone[0]]
        best = percent(results.metrics[alone[0]]["accuracy"])
        against = f"{methods(others)}" if len(others) < 3 else "every other method"
        return f"{method(alone[0])} is the most accurate ({best}): it is better than {against}."
    if all(pair.verdict == "equivalent" for pair in pairs):
        margin = points(results.comparison["margin"])
        return f"The accuracies of {methods(names)} are equivalent within the margin of {margin}."
    if all(pair.verdict == "cannot tell" for pair in pairs):
        return (
            f"The study cannot tell the accuracies of {methods(names)} apart. "
            f"{detectable(pairs)} This is not evidence that they are equal."
        )
    return _mixed(results)


def _mixed(results: Results) -> str:
    """Return what the pairs say where they say different things."""
    parts = []
    for winner in results.names:
        losers = [str(pair.loser) for pair in results.pairs if pair.winner == winner]
        if losers:
            parts.append(f"{method(winner)} is better than {methods(losers)}")
    equal = [pair for pair in results.pairs if pair.verdict == "equivalent"]
    if equal:
        parts.append(f"{listing(_both(pair) for pair in equal)} are equivalent")
    said = f"{'; '.join(parts)}."
    open_pairs = [pair for pair in results.pairs if pair.verdict == "cannot tell"]
    if open_pairs:
        said += f" The study cannot tell {_rest(open_pairs)} apart."
    return capital(said)


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
    said = [_decided(pair) for pair in results.pairs if pair.winner]
    said += [
        _equivalent(pair, results.comparison["margin"])
        for pair in results.pairs
        if pair.verdict == "equivalent"
    ]
    open_pairs = [pair for pair in results.pairs if pair.verdict == "cannot tell"]
    if open_pairs:
        every = len(open_pairs) == len(results.pairs) > 1
        which = "any two methods" if every else _rest(open_pairs)
        said.append(f"The study cannot tell {which} apart. {detectable(open_pairs)}")
    return said


def _decided(pair: Pair) -> str:
    turned = pair.winner == pair.second
    low, high = (-pair.high, -pair.low) if turned else (pair.low, pair.high)
    return (
        f"{method(str(pair.winner))} is better than {method(str(pair.loser))} by "
        f"{points(pair.difference)} (95% interval {interval(low, high)}, {p_value(pair.p_holm)})."
    )


def _equivalent(pair: Pair, margin: float) -> str:
    real = " The difference is real but too small to matter." if pair.significant else ""
    return (
        f"{_both(pair)} are equivalent: the interval of their difference, "
        f"{interval(pair.low, pair.high)}, lies inside the margin of {points(margin)}.{real}"
    )


def ranks(results: Results) -> str:
    """Return which ranks the evidence supports."""
    known = {name: results.rank(name) for name in results.names}
    supported = [name for name, rank in known.items() if rank is not None]
    if len(results.names) == 1:
        return ""
    if not supported:
        return "The evidence supports no ranking of the methods by accuracy."
    said = listing(f"{method(name)} (rank {known[name]})" for name in supported)
    rest = "" if len(supported) == len(known) else "; it leaves the other ranks open"
    return f"The evidence supports a rank for {said}{rest}."


def contenders(results: Results) -> str:
    """Return which methods may be the most accurate, and which cannot be."""
    left = results.unbeaten
    if len(results.names) == 1:
        return ""
    if len(left) == len(results.names):
        return "None of them is shown to be worse than another."
    beaten = [name for name in results.names if name not in left]
    said = f"{methods(beaten)} {'is' if len(beaten) == 1 else 'are'} shown to be less accurate"
    return f"{said} than another method; {methods(left)} {'is' if len(left) == 1 else 'are'} not."


def seeds_note(results: Results) -> str:
    """Return how often each method was trained, and what a single training leaves open."""
    said = f"Each method was trained with {count(results.seeds, 'seed')}"
    return f"{said}: {OTHER_SEEDS}." if results.seeds == 1 else f"{said}."


def trainings(results: Results, seeds: list[int]) -> str:
    """Return how often each method was trained, what that leaves open, and what did not learn."""
    if results.seeds == 1:
        said = (
            f"Each method was trained once, with one seed ({seeds[0]}). The intervals therefore "
            f"cover the choice of test rows, not the luck of a training: {OTHER_SEEDS}."
        )
    else:
        said = (
            f"Each method was trained with {count(len(seeds), 'seed')} "
            f"({listing(str(seed) for seed in seeds)}). Intervals and tests cover both the choice "
            "of test rows and that of seeds."
        )
    return f"{said} {unlearned(results)}".rstrip()


def unlearned(results: Results) -> str:
    """Return a sentence on trainings that learned nothing; empty where there are none."""
    failed = results.comparison["unlearned"]
    if not failed:
        return ""
    named = listing(
        f"{method(name)} with {'seed' if len(seeds) == 1 else 'seeds'} "
        f"{listing(str(seed) for seed in seeds)}"
        for name, seeds in failed.items()
    )
    return (
        f"Nothing shows to have been learned by {named}: no more test rows are right than naming "
        "the commonest class would get (exact binomial test at 5%). Such a training counts in "
        "every figure; a lower learning rate may mend it."
    )


def quality(results: Results) -> list[str]:
    """Return sentences on calibration, agreement and length of the texts."""
    found = results.comparison["methods"]
    errors = {name: found[name]["calibration_error"] for name in results.names}
    best, worst = min(errors, key=lambda n: errors[n]), max(errors, key=lambda n: errors[n])
    said = []
    if percent(errors[best]) != percent(errors[worst]):
        said.append(
            f"The calibration error is lowest for {method(best)} ({percent(errors[best])}) and "
            f"highest for {method(worst)} ({percent(errors[worst])})."
        )
    else:
        said.append(f"The calibration error is {percent(errors[best])}.")
    shares = [pair["share"] for pair in results.comparison["agreement"].values()]
    if shares and percent(min(shares)) != percent(max(shares)):
        said.append(
            f"Two methods predict the same class on {percent(min(shares))} to "
            f"{percent(max(shares))} of the rows."
        )
    elif shares:
        said.append(f"Two methods predict the same class on {percent(shares[0])} of the rows.")
    return said + _lengths(results)


def _lengths(results: Results) -> list[str]:
    """Return a sentence on short and long texts, where there are buckets to compare."""
    buckets = {
        name: results.comparison["methods"][name]["accuracy_by_tokens"] for name in results.names
    }
    ranges = list(next(iter(buckets.values())))
    if len(ranges) < 2:
        return []
    shifts = listing(
        f"{method(name)} {percent(by[ranges[0]])} and {percent(by[ranges[-1]])}"
        for name, by in buckets.items()
    )
    return [
        f"On the shortest texts ({ranges[0]} tokens) and the longest ({ranges[-1]} tokens) the "
        f"accuracy is, for {shifts}."
    ]
