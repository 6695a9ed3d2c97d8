"""The tables of the report and the README: captions, headers and cells as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairtune.analysis.costs import MEMORY_COUNTERS
from fairtune.analysis.formats import NOT_MEASURED, interval, number, rate
from fairtune.analysis.metrics import Metric, hundredths, table
from fairtune.report import failures, quiet
from fairtune.report.projection import SHAPES
from fairtune.report.results import Pair, Results
from fairtune.report.scaling import prediction_rows
from fairtune.report.sizes import gaps_note, sweep_rows
from fairtune.report.study import Evidence
from fairtune.report.techniques import titles
from fairtune.report.wording import NONE, capital, method, plain, setting

RATE = "learning_rate"
CRAMPED = 5
"""Methods of which a table with a column for each fits one column of the paper."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One table; a cell may hold a method's name in backticks."""

    label: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    wide: bool = False
    """Over both columns of the paper."""


def metrics(results: Results) -> Exhibit:
    """Return the metrics table: one row a method."""
    other = {counter.key for counter in MEMORY_COUNTERS} - {results.memory.key}
    # Trained models are not ranked as methods.
    ranked = results.about_methods
    columns = [
        metric for metric in table(results.metric) if metric.heading and metric.key not in other
    ]
    rows = []
    for name, of_method in results.metrics.items():
        rank = results.rank(name)
        cells = [_cell(metric, of_method) for metric in columns]
        places = [NONE if rank is None else str(rank)] if ranked else []
        places += [failures.rate(results, name)] if results.failed else []
        rows.append([method(name), cells[0], *places, *cells[1:]])
    headings = [metric.heading for metric in columns]
    more = [*(["Rank"] if ranked else []), *(["Failed"] if results.failed else [])]
    return Exhibit(
        label="metrics",
        caption=f"Test {results.score_name} and costs",
        header=["Method", headings[0], *more, *headings[1:]],
        rows=rows,
        note=" ".join(_metrics_notes(results, ranked=ranked)),
    )


def _metrics_notes(results: Results, *, ranked: bool) -> list[str]:
    """Return what is to be said under the table of metrics."""
    notes = [f"{capital(results.score_name)} with its 95% interval."]
    if ranked:
        notes.append("A rank stands only where the evidence supports it.")
    if results.failed:
        notes.append("Failed: trainings that learned nothing.")
    return [*notes, *filter(None, [quiet.note(results)])]


def _cell(metric: Metric, of_method: Mapping[str, Any]) -> str:
    """Return a figure, with the half-width of its interval where it has one."""
    value = of_method.get(metric.key)
    if value is None:
        return NOT_MEASURED
    shown = metric.show(value)
    half = None if metric.half_width is None else of_method.get(metric.half_width)
    return shown if half is None else f"{shown} ± {metric.show(half)}"


def details(evidence: Evidence) -> Exhibit:
    """Return quality beyond accuracy, speed of training and size: a row a figure."""
    found = evidence.comparison["methods"]
    qualities: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("Macro F1 (%)", "macro_f1", hundredths),
        ("Calibration error (%)", "calibration_error", hundredths),
        ("Brier score", "brier", partial(number, digits=3)),
    )
    rows = [
        [title, *(_shown(found[name][key], show) for name in evidence.names)]
        for title, key, show in qualities
    ]
    figures = (
        ("Warm-up and capture (s)", "times.warm_up_seconds", 1),
        ("Rows/s in training", "times.samples_per_second", 1),
        ("Step, median (ms)", "times.step_median_ms", 1),
        ("Step, 90th perc. (ms)", "times.step_p90_ms", 1),
        ("Size to ship (MiB)", "shipped_mib", 2),
        ("Energy (Wh)", "energy.total_wh", 2),
        ("Energy net of idle (Wh)", "energy.net_wh", 2),
    )
    for title, path, digits in figures:
        values = [evidence.mean(path, name, digits=digits) for name in evidence.names]
        if any(value is not None for value in values):
            cells = [None if value is None else number(value, digits=digits) for value in values]
            lacks = [NOT_MEASURED if n in evidence.uncosted else NONE for n in evidence.names]
            rows.append([title, *(c or lack for c, lack in zip(cells, lacks, strict=True))])
    return Exhibit(
        label="details",
        caption="Further measurements",
        header=["Quantity", *(method(name) for name in evidence.names)],
        rows=rows,
        wide=len(evidence.names) > CRAMPED,
    )


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return NOT_MEASURED if value is None else show(value)


def verdicts(results: Results) -> Exhibit:
    """Return the verdict on each pair."""
    rows = [
        [
            f"{method(pair.first)} − {method(pair.second)}",
            number(100 * pair.difference, digits=1),
            interval(pair.low, pair.high),
            number(pair.p, digits=3) if pair.p >= 0.001 else "< 0.001",
            number(100 * pair.detectable, digits=1),
            _verdict(results, pair),
        ]
        for pair in results.pairs
    ]
    return Exhibit(
        label="verdicts",
        caption=f"Pairwise differences in {results.score_name}, in points",
        header=["Pair", "Diff.", "95% interval", "p", "Detectable", "Verdict"],
        rows=rows,
        note="Intervals and p hold for all pairs together. Equivalent: the 90% interval lies "
        "inside the margin. Detectable: the smallest true difference that the verdict finds in "
        "80% of cases.",
    )


def _verdict(results: Results, pair: Pair) -> str:
    """Return a verdict in few words; that of few seeds is on trained models alone."""
    if not pair.winner:
        return pair.verdict
    runs = "" if results.about_methods else " (this run)" if results.seeds == 1 else " (these runs)"
    return f"{method(pair.winner)} better{runs}"


def hyperparameters(evidence: Evidence) -> Exhibit:
    """Return each method's block: a row a key, a column a method."""
    blocks = {
        name: {key: value for key, value in evidence.block(name).model_dump().items() if value}
        for name in evidence.names
    }
    for name, block in blocks.items():
        how = " (searched)" if evidence.block(name).searched else ""
        block[RATE] = f"{rate(evidence.learning_rate(name))}{how}"
    keys = dict.fromkeys(key for block in blocks.values() for key in block)
    rows = [["technique", *(titles(evidence.block(name)) for name in evidence.names)]]
    rows += [
        [plain(key), *(_choice(key, block.get(key)) for block in blocks.values())] for key in keys
    ]
    return Exhibit(
        label="hyperparameters",
        caption="Settings of each method",
        header=["Setting", *(method(name) for name in evidence.names)],
        rows=rows,
        wide=True,
    )


def _choice(key: str, value: Any) -> str:
    """Return what a method's block says of a key: roles in words, and PEFT's values as written."""
    if key == RATE:
        return str(value)
    roles = key in {"targets", "feedforward"} and isinstance(value, list)
    return plain(", ".join(value)) if roles else setting(value)


def shared(evidence: Evidence) -> Exhibit:
    """Return the settings that all methods share."""
    study, encode = evidence.study, evidence.study.encode
    settings: dict[str, Any] = {"layers": study.model.layers} if study.model.layers else {}
    settings |= {"max length": encode.max_length, "kept of longer texts": encode.keep}
    settings |= {plain(key): value for key, value in study.train.model_dump().items()}
    settings |= {"subset seed": study.subset.seed, "seeds": study.seeds}
    return Exhibit(
        label="shared",
        caption="Settings that all methods share",
        header=["Setting", "Value"],
        rows=[[key, setting(value)] for key, value in settings.items()],
    )


def prediction(evidence: Evidence) -> Exhibit:
    """Return the predicted memory of larger models."""
    return Exhibit(
        label="prediction",
        caption="Predicted memory before activations",
        header=["Method", *(shape.name for shape in SHAPES)],
        rows=prediction_rows(evidence),
        note="Predicted, not measured: weights, gradients and AdamW's moments, by formula. "
        + " ".join(_dimensions()),
    )


def _dimensions() -> Sequence[str]:
    return [
        f"{capital(shape.name)}: {shape.layers} layers of width {number(shape.hidden)}"
        f"{';' if shape is not SHAPES[-1] else '.'}"
        for shape in SHAPES
    ]


def sweep(evidence: Evidence) -> Exhibit | None:
    """Return the points of the sweep, where one was run."""
    rows = sweep_rows(evidence)
    if not rows:
        return None
    predicted = any(one.get("predicted_mib") for one in (evidence.scaling or {})["points"])
    guess = ", and in brackets what was predicted of it" if predicted else ""
    return Exhibit(
        label="sweep",
        caption="Time and peak memory over four quantities, as measured",
        header=["Varied", "Value", *(method(name) for name in evidence.names)],
        rows=rows,
        note="The time of all steps of one pass for the rows, of one step for the others; peak "
        f"memory{guess}.{gaps_note(evidence)}",
        wide=True,
    )
