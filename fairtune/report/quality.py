"""Sentences on calibration, agreement and length of the texts."""

from __future__ import annotations

from fairtune.analysis.formats import percent
from fairtune.report.results import Results
from fairtune.report.wording import listing, method


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
