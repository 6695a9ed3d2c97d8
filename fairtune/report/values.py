"""All that the paper and its Markdown twin say that depends on the evidence, as one mapping.

Pure functions of what the pipeline wrote: the templates in report/template hold the prose that is
true of every study, and take every number from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fairtune.analysis.formats import number, percent, points
from fairtune.analysis.pairs import POWER
from fairtune.charts import confusion
from fairtune.report import (
    accuracy,
    costs,
    loop,
    manifest,
    quality,
    quiet,
    rates,
    recommendation,
    scaling,
    searches,
    serving,
    tables,
    trainings,
)
from fairtune.report.study import Evidence
from fairtune.report.techniques import used
from fairtune.report.wording import MANY, count, listing, literal, methods

PACKAGE = re.compile(r"^package:([^/]+).*$")
KNOWN_WORKS = (
    ("imdb", ("maas2011",)),
    ("roberta", ("liu2019",)),
    ("minilm", ("wang2020", "reimers2019")),
    ("bert", ("devlin2019",)),
)
"""Part of a data set's or model's name -> the works that describe it; the first hit counts."""

KEPT = {
    "head": "the first {}",
    "tail": "the last {}",
    "both": "the first and the last, {} in all,",
}
"""What is kept of a text that is cut."""


def context(evidence: Evidence, *, notebook: bool = True) -> dict[str, Any]:
    """Return the values of the templates: sentences, tables and the plain facts among the prose.

    Args:
        evidence: the study's.
        notebook: whether the walkthrough lies beside the report.
    """
    return {
        "notebook": notebook,
        "title_block": evidence.study.report,
        "facts": facts(evidence),
        "methods": evidence.names,
        "baseline": evidence.baseline,
        "techniques": used(evidence.study.methods),
        "on_gpu": evidence.memory.on_gpu,
        "memory_name": evidence.memory.name,
        "about_methods": evidence.about_methods,
        "score_name": evidence.score_name,
        "metric": evidence.metric,
        "grouped": evidence.comparison["groups"] is not None,
        "looks": evidence.comparison["looks"] is not None,
        "one_method": len(evidence.names) == 1,
        "accuracies": accuracy.accuracies(evidence),
        "headline": " ".join(
            filter(None, [accuracy.headline(evidence), rates.doubt(evidence.search)])
        ),
        "pair_details": accuracy.details(evidence),
        "ranks": accuracy.ranks(evidence),
        "contenders": accuracy.contenders(evidence),
        "rates": rates.rates(evidence),
        "trainings": trainings.trainings(evidence, evidence.study.seeds),
        "quality": quality.quality(evidence),
        "extremes": {cost: costs.extremes(evidence, cost) for cost in evidence.costs},
        "costs_of": loop.costs_of(evidence),
        "quiet": quiet.note(evidence),
        "memory_source": costs.memory_source(evidence),
        "memory_note": costs.memory_note(evidence),
        "trades": costs.against_baseline(evidence),
        "storage": costs.storage(evidence),
        "head_share": costs.parts(evidence),
        "breakdown": costs.breakdown(evidence),
        "front": costs.front(evidence),
        "merging": costs.merging(evidence),
        "served": serving.said(evidence),
        "prediction": scaling.prediction(evidence),
        "measured_growth": scaling.measured(evidence),
        "agreement": [*scaling.agreement(evidence), *scaling.execution(evidence)],
        "sweep": scaling.about(evidence),
        "use_cases": recommendation.when(evidence),
        "recommendation": recommendation.recommendation(evidence),
        "reach": recommendation.conclusion(evidence),
        "tables": all_tables(evidence),
        "confusion": confusion.caption(evidence.tables.get("confusion", [])),
        "charts": [name for name, table in evidence.tables.items() if table],
    }


def all_tables(evidence: Evidence) -> dict[str, tables.Exhibit]:
    """Return the tables by their labels; what does not apply is left out."""
    made = [
        tables.shared(evidence),
        tables.hyperparameters(evidence),
        searches.chosen(evidence),
        searches.by_budget(evidence),
        manifest.fairness(evidence),
        tables.metrics(evidence),
        tables.verdicts(evidence),
        tables.details(evidence),
        serving.table(evidence),
        tables.prediction(evidence),
        tables.sweep(evidence),
    ]
    return {table.label: table for table in made if table is not None and table.rows}


def facts(evidence: Evidence) -> dict[str, Any]:
    """Return what the prose names of the data, the machine and the settings."""
    study, run = evidence.study, evidence.first
    splits, encoded = evidence.subset["splits"], evidence.encoded["splits"]
    dropped = evidence.subset["dropped"]
    return {
        "count": count(len(evidence.names), "method"),
        "names": methods(evidence.names),
        "model": literal(short_name(study.model.name)),
        "model_cites": works(study.model.name),
        "model_parameters": number(max(r[0].counts.total for r in evidence.records.values())),
        "source": literal(short_name(study.data.source)),
        "source_cites": works(" ".join([study.data.source, *map(str, study.data.where.values())])),
        "classes": classes(evidence.subset["labels"]),
        "rows": {name: number(part["rows"]) for name, part in splits.items()},
        "labels": {name: rows_by_class(part["label_counts"]) for name, part in splits.items()},
        "dropped": listing(f"{number(n)} {reason}" for reason, n in dropped.items()),
        "subset_seed": str(evidence.subset["seed"]),
        "subset_hash": evidence.subset["sha256"][:12],
        "max_length": number(evidence.encoded["max_length"]),
        "kept": KEPT[study.encode.keep].format(number(evidence.encoded["max_length"])),
        "mean_length": number(encoded["train"]["mean_length"], digits=1),
        "median_length": number(encoded["train"]["median_length"]),
        "truncated": percent(encoded["train"]["truncated_share"]),
        "device": listing(map(literal, evidence.devices)),
        "place": place(evidence),
        "same_device": "devices of several kinds" if evidence.mixed else "the same device",
        "driver": listing(map(literal, drivers(evidence))),
        "threads": threads(evidence),
        "precision": run.device.precision,
        "versions": listing(f"{name} {literal(version)}" for name, version in run.versions.items()),
        "epochs": count(study.train.epochs, "epoch"),
        "batch": number(study.train.batch_size),
        "steps": number(run.data.steps),
        "optimizer": literal(run.execution.optimizer),
        "schedule": literal(study.train.schedule),
        "margin": points(study.compare.margin),
        "plausible": number(study.compare.plausible, digits=2),
        "resamples": number(study.compare.resamples),
        "power": f"{POWER:.0%}",
        "seeds": count(evidence.seeds, "seed"),
        "sample_interval": run.memory.sample_interval_ms
        and number(run.memory.sample_interval_ms, digits=1),
    }


def classes(labels: Sequence[str]) -> str:
    """Return how many classes there are, and which: of many only some."""
    said = count(len(labels), "class", "classes")
    if len(labels) > MANY:
        return f"{said}, such as {listing(map(literal, labels[:3]))}"
    return f"{said}: {listing(map(literal, labels))}"


def rows_by_class(counts: Mapping[str, int]) -> str:
    """Return how many rows each class has; of many classes, how few and how many."""
    if len(counts) > MANY:
        least, most = number(min(counts.values())), number(max(counts.values()))
        return f"{least} of each class" if least == most else f"{least} to {most} of each class"
    return listing(f"{number(n)} {literal(label)}" for label, n in counts.items())


def place(evidence: Evidence) -> str:
    """Return on what the runs took place: 'one GPU, NVIDIA H200', or several."""
    kind = {"cuda": "GPU", "mps": "GPU", "cpu": "processor"}[evidence.first.device.type]
    names = listing(map(literal, evidence.devices))
    if len(evidence.devices) == 1:
        return f"one {kind}, {names}"
    return f"{count(len(evidence.devices), 'kind')} of {kind}, {names}"


def drivers(evidence: Evidence) -> list[str]:
    """Return the versions of the driver that the runs had; empty without a GPU."""
    found = (one.device.driver for of in evidence.records.values() for one in of)
    return list(dict.fromkeys(filter(None, found)))


def threads(evidence: Evidence) -> str:
    """Return the threads of the CPU: runs on equal GPUs may have had unlike hosts."""
    found = {run.device.threads for of_method in evidence.records.values() for run in of_method}
    return listing((count(many, "thread") for many in sorted(found)), last="or")


def short_name(name: str) -> str:
    """Return a source as prose names it: 'package:movies/data/x.csv' is 'the package movies'."""
    return PACKAGE.sub(r"\1", name)


def works(name: str) -> tuple[str, ...]:
    """Return the keys of the works that describe a data set or model; none where unknown."""
    low = name.lower()
    return next((keys for part, keys in KNOWN_WORKS if part in low), ())
