"""Constructed evidence for the tests of the report, made of the runs of `tests.studies`.

found = make_evidence(accuracy={"ia3": 0.8})         # in memory
write_study(tmp_path, found, runs)                   # on disk, as the pipeline leaves it
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fairtune.analysis import metrics
from fairtune.analysis.costs import decided_by
from fairtune.analysis.quiet import set_apart
from fairtune.core import paths
from fairtune.core.files import write_json
from fairtune.core.params import Params
from fairtune.report.families import FACTORS
from fairtune.report.latencies import Served, Serving, fingerprint
from fairtune.report.serving import FORMS
from fairtune.report.study import Evidence
from fairtune.runs.record import Run, RunRecord
from fairtune.runs.search import Search
from stages.compare import compare
from tests.searches import make_searches, with_rates
from tests.studies import METHODS, make_runs, with_company, write_runs

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "studies/embedded.yaml"
LENGTHS = (120.5, 128)
"""Mean and median tokens of the constructed texts."""


@functools.cache
def preset() -> dict[str, Any]:
    """Return the embedded study's parameters, read once."""
    content: dict[str, Any] = YAML(typ="safe").load(PRESET.read_text(encoding="utf-8"))
    return content


def make_study(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return parameters that fit the runs."""
    first = next(iter(runs.values()))
    study = copy.deepcopy(preset())
    rows = first[0].record.data.rows
    study["subset"] = {**{name: rows[name] for name in paths.SPLITS}, "seed": 42}
    study["seeds"] = [run.record.seed for run in first]
    study["methods"] = {
        name: dict(of_method[0].record.parameters["method"]) for name, of_method in runs.items()
    }
    study["compare"]["resamples"] = 1000
    return study


def make_manifests(runs: Mapping[str, Sequence[Run]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the manifests of data/subset and data/encoded."""
    data = next(iter(runs.values()))[0].record.data
    splits, encoded = {}, {}
    for name, rows in data.rows.items():
        share, rest = divmod(rows, len(data.labels))
        counts = {label: share + (place < rest) for place, label in enumerate(data.labels)}
        splits[name] = {"rows": rows, "label_counts": counts, "row_ids": []}
        encoded[name] = {
            "rows": rows, "mean_length": LENGTHS[0], "median_length": LENGTHS[1],
            "truncated_share": 0.153,
        }  # fmt: skip
    encoded["train"]["sha256"] = data.encoded_sha256
    subset = {
        "labels": data.labels, "seed": 42, "sha256": data.subset_sha256, "splits": splits,
        "dropped": {"empty": 3, "duplicates": 98, "contradictions": 5},
    }  # fmt: skip
    return subset, {"max_length": 512, "splits": encoded}


def evidence_of(
    runs: dict[str, list[Run]],
    *,
    scaling: dict[str, Any] | None = None,
    looks: Sequence[int] = (),
    metric: str = "accuracy",
    searches: Mapping[str, Search] | None = None,
    mixed: bool = False,
) -> Evidence:
    """Return the evidence that these runs lead to, trained with the rates that searches chose."""
    runs = with_rates(runs, searches or {})
    made = make_study(runs)
    for name, search in (searches or {}).items():
        made["methods"][name]["learning_rate"] = {"search": list(search.asked)}
    made["compare"] |= {"looks": list(looks), "metric": metric, "allow_mixed_devices": mixed}
    study = Params.model_validate(made)
    runs = set_apart(runs, study.compare)
    content, tables = compare(runs, rules=study.compare, searches=searches)
    subset, encoded = make_manifests(runs)
    return Evidence(
        study=study,
        metrics={name: metrics.metrics(of, metric=metric) for name, of in runs.items()},
        comparison=content,
        records={name: [run.record for run in of_method] for name, of_method in runs.items()},
        subset=subset,
        encoded=encoded,
        tables=tables | {"differences": content["differences"]},
        scaling=scaling,
    )


def make_evidence(
    *,
    scaling: dict[str, Any] | None = None,
    shared: Mapping[str, Sequence[int]] | None = None,
    searched: Sequence[str] = (),
    served: bool = False,
    **knobs: Any,
) -> Evidence:
    """Return the evidence of a constructed study.

    Args:
        scaling: what a sweep left.
        shared: method -> seeds whose run shared the GPU.
        searched: methods whose learning rate was searched.
        served: whether the forms of serving were measured on a processor.
        knobs: as for `make_runs`.
    """
    found = evidence_of(
        with_company(make_runs(**knobs), shared or {}),
        scaling=scaling,
        searches=make_searches(searched),
    )
    return replace(found, serving=make_serving(found.records)) if served else found


def make_serving(records: Mapping[str, Sequence[RunRecord]]) -> Serving:
    """Return what `fairtune.latency` leaves of each method's first seed.

    A graph is faster than a merged model, and that than an adapter; weights in 4 bits cannot be
    merged as they are, and the graph of the last method cannot be had.
    """
    points = []
    for place, (name, (record, *_)) in enumerate(records.items()):
        block = record.parameters["method"]
        for step, form in enumerate(FORMS):
            if form == "merged" and "adapter" not in block:
                continue
            why = ""
            if form == "merged" and "quantize" in block:
                why = "merging into 4-bit weights would change them"
            elif form == "ONNX" and place == len(records) - 1:
                why = "torch cannot export it"
            points.append(
                Served(
                    method=name,
                    seed=record.seed,
                    training=fingerprint(record),
                    form=form,
                    precision=None if why else "fp32",
                    latency_ms=None if why else 31.7 + place - 8 * step,
                    rows_per_second=None if why else 41.3 + place + 17 * step,
                    note=why,
                )
            )
    return Serving(
        device="A processor", threads=2, versions={"onnxruntime": "1.32.0"}, rows=128,
        single_rows=10, points=points,
    )  # fmt: skip


def make_sweep(methods: Sequence[str] = METHODS, *, study: Params | None = None) -> dict[str, Any]:
    """Return what a sweep of a study leaves, the last point of the last method out of memory."""
    points: list[dict[str, Any]] = [
        {
            "axis": axis, "value": value, "method": name, "note": "",
            "seconds": round(0.0137 * value * (place + 3), 4),
            "memory_mib": round(417.3 + 3.7 * value * (place + 1), 1),
            "predicted_mib": round(400.3 + 3.1 * value * (place + 1), 1),
            "captured": 0.9, "eager": "the first step makes the optimizer's state",
        }
        for axis, values in {"batch_size": (4, 8, 16), "parameters": (22.7, 355)}.items()
        for value in values
        for place, name in enumerate(methods)
    ]  # fmt: skip
    points[-1] |= dict.fromkeys(("seconds", "memory_mib", "predicted_mib", "captured"))
    points[-1] |= {"note": "out of memory"}
    return {
        "device": "NVIDIA H200", "memory": "gpu_allocated_mib", "fitted_on": "batch_size",
        "fixed_mib": dict.fromkeys(methods, 317.4), "points": points, "complete": True,
        "of": study and decided_by(study),
    }  # fmt: skip


def write_study(
    root: Path, *, shared: Mapping[str, Sequence[int]] | None = None, **knobs: Any
) -> Evidence:
    """Write a constructed study under ``root`` as the pipeline leaves it before the report."""
    return write_study_of(root, with_company(make_runs(**knobs), shared or {}))


def write_study_of(
    root: Path, runs: dict[str, list[Run]], searches: Mapping[str, Search] | None = None
) -> Evidence:
    """Write the study of these runs under ``root`` as the pipeline leaves it before the report."""
    found = evidence_of(runs, searches=searches)
    write_runs(root, runs)
    (root / paths.PARAMS).write_text(json.dumps(make_study(runs)), encoding="utf-8")
    write_json(root / paths.SUBSET / paths.MANIFEST, found.subset)
    write_json(root / paths.ENCODED / paths.MANIFEST, found.encoded)
    write_json(root / paths.METRICS / "comparison.json", found.comparison)
    write_json(root / FACTORS, {"results": []})
    for name, search in (searches or {}).items():
        content = search.model_dump(mode="json")
        write_json(root / paths.run_folder_of(name) / paths.SEARCH_FILE, content)
    for name, of_method in found.metrics.items():
        write_json(root / paths.METRICS / f"{name}.json", of_method)
    for name, table in found.tables.items():
        if name != "differences":
            write_json(root / paths.PLOTS / f"{name}.json", table)
    return found
