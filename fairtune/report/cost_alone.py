"""The report of a study that is for its costs alone: its scores and verdicts are n/a, and why."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from fairtune.analysis.formats import NOT_MEASURED
from fairtune.charts import gallery
from fairtune.report import costs, loop, manifest, quiet, scaling, serving, tables, typeset
from fairtune.report.study import Evidence
from fairtune.report.tables import Exhibit
from fairtune.report.techniques import used
from fairtune.report.values import facts
from fairtune.report.wording import capital, count, listing, literal, method

TEMPLATE = "cost-alone.md"
CHARTS = ("training_time", "memory", "memory_breakdown", "parameters")
"""The charts of such a study: those that show no score and no prediction."""
ORDER = "parameters"
"""The one of them in which no method is ever missing."""


def report(evidence: Evidence, reason: str, *, charts: Path) -> str:
    """Draw the charts into a folder; return the report in Markdown. There is no paper.

    Args:
        evidence: the study's, its scores null.
        reason: why no score counts.
        charts: folder of the figures.

    Raises:
        UserError: the template is not right.
    """
    twin = typeset.markdown(values(evidence, reason), name=TEMPLATE)
    gallery.draw_all(evidence.tables, charts, order=ORDER)
    return twin


def values(evidence: Evidence, reason: str) -> dict[str, Any]:
    """Return the values of the template."""
    seeds = evidence.study.seeds
    return {
        "title_block": evidence.study.report,
        "reason": literal(reason),
        "score_name": evidence.score_name,
        "facts": facts(evidence),
        "techniques": used(evidence.study.methods),
        "seeds": f"{count(len(seeds), 'seed')} ({listing(str(seed) for seed in seeds)})",
        "extremes": {cost: costs.extremes(evidence, cost) for cost in evidence.costs},
        "costs_of": loop.costs_of(evidence),
        "quiet": quiet.note(evidence),
        "memory_name": evidence.memory.name,
        "memory_note": costs.memory_note(evidence),
        "storage": costs.storage(evidence),
        "head_share": costs.parts(evidence),
        "breakdown": costs.breakdown(evidence),
        "merging": costs.merging(evidence),
        "served": serving.said(evidence),
        "prediction": scaling.prediction(evidence),
        "measured_growth": scaling.measured(evidence),
        "agreement": [*scaling.agreement(evidence), *scaling.execution(evidence)],
        "sweep": scaling.about(evidence),
        "tables": _tables(evidence, reason),
        "charts": [name for name, table in evidence.tables.items() if table],
    }


def _tables(evidence: Evidence, reason: str) -> dict[str, Exhibit]:
    """Return the tables by their labels; what does not apply is left out."""
    why = f"{capital(evidence.score_name)} is {NOT_MEASURED}: {literal(reason)}."
    figures = tables.metrics(evidence)
    made = [
        replace(figures, note=" ".join(filter(None, [why, quiet.note(evidence)]))),
        verdicts(evidence, reason),
        tables.shared(evidence),
        tables.hyperparameters(evidence),
        manifest.fairness(evidence),
        tables.details(evidence),
        serving.table(evidence),
        tables.prediction(evidence),
        tables.sweep(evidence),
    ]
    return {table.label: table for table in made if table is not None and table.rows}


def verdicts(evidence: Evidence, reason: str) -> Exhibit:
    """Return that there is a verdict on no pair, and why."""
    rows = [
        [f"{method(first)} − {method(second)}", NOT_MEASURED]
        for first, second in combinations(evidence.names, 2)
    ]
    return Exhibit(
        label="verdicts",
        caption=f"Pairwise differences in {evidence.score_name}",
        header=["Pair", "Verdict"],
        rows=rows,
        note=f"No verdict: {literal(reason)}.",
    )
