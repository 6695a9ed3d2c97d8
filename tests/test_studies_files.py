"""The shipped studies are right: they validate, are pinned, and compare like with like."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fairtune.analysis.rates import choose
from fairtune.core import params
from fairtune.runs.search import parse_search
from fairtune.search import grid

ROOT = Path(__file__).parent.parent
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
REFERENCE = ROOT / "studies" / "imdb-roberta.yaml"
# Ranges within which each kind of method is known to train well.
RATES = {"full": (1e-5, 1e-4), "lora": (1e-4, 3e-3), "qlora": (1e-4, 3e-3), "ia3": (1e-3, 3e-2)}


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return found


def test_the_committed_parameters_are_the_embedded_study_byte_for_byte() -> None:
    embedded = ROOT / "studies" / "embedded.yaml"
    assert (ROOT / "params.yaml").read_bytes() == embedded.read_bytes()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_complete_and_validates(path: Path) -> None:
    study = params.load(path)
    assert set(study.methods) == {"full", "lora", "qlora", "ia3"}
    written = document(path)
    # A study that leaves a key of training out would follow a default that changes one day.
    for section in ("subset", "train", "search", "compare", "report"):
        assert set(written[section]) == set(
            params.Params.model_fields[section].annotation.model_fields
        )


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_lora_and_qlora_differ_in_how_frozen_weights_are_stored_and_in_nothing_else(
    path: Path,
) -> None:
    methods = document(path)["methods"]
    assert methods["qlora"] == {**methods["lora"], "quantize": "nf4"}
    assert "quantize" not in methods["lora"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_each_method_has_a_learning_rate_or_a_range_of_its_own_kind(path: Path) -> None:
    for name, method in params.load(path).methods.items():
        low, high = RATES[name]
        ends = method.searched.search if method.searched else (method.rate, method.rate)
        # The middle of a range, by its decades.
        assert low <= math.sqrt(ends[0] * ends[1]) <= high


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_all_methods_of_a_study_search_in_equally_wide_ranges_or_none_does(path: Path) -> None:
    methods = params.load(path).methods.values()
    widths = [method.searched and method.searched.high / method.searched.low for method in methods]
    assert widths[0] is None or widths == pytest.approx([widths[0]] * len(widths))


def test_the_embedded_study_s_rates_are_those_that_its_search_chooses() -> None:
    study = params.load(ROOT / "studies/embedded.yaml")
    asked = params.load(ROOT / "studies/embedded-search.yaml")
    for name, method in study.methods.items():
        path = ROOT / f"studies/embedded-search/{name}.json"
        found = parse_search(json.loads(path.read_text()), path=path)
        assert method.rate == choose(found.trials, study.compare.metric, "lowest").chosen.rate
        assert found.learning_rate == method.rate
        # It is the search that the preset beside it asks for.
        ranges = asked.method(name).searched
        assert ranges is not None
        assert found.asked == ranges.search
        assert found.seeds == asked.search.seeds
        tried = grid.rates(ranges.low, ranges.high, asked.search.trials)
        assert sorted({trial.rate for trial in found.trials if not trial.round}) == tried
        assert {trial.seed for trial in found.trials} == set(asked.search.seeds)
    assert study.model_copy(update={"methods": {}, "search": {}}) == asked.model_copy(
        update={"methods": {}, "search": {}}
    )


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_holds_no_anchors(path: Path) -> None:
    # `dvc exp run -S` would write through an anchor into every place that uses it.
    assert not re.search(r"(^|[\s:\[,])[&*][A-Za-z]", re.sub(r"#.*", "", path.read_text()))


def test_the_reference_study_is_pinned_and_as_large_as_it_should_be() -> None:
    study = params.load(REFERENCE)
    assert study.model.name == "FacebookAI/roberta-base"
    assert study.data.source == "stanfordnlp/imdb"
    for revision in (study.model.revision, study.data.revision):
        assert re.fullmatch(r"[0-9a-f]{40}", revision or "")
    assert (study.data.split, study.data.test_split) == ("train", "test")
    assert (study.subset.train, study.subset.test) == (3000, 2000)
    assert study.encode.max_length == 512
    assert len(study.seeds) >= 3


def test_the_decoder_study_is_pinned_and_differs_from_the_reference_in_its_model() -> None:
    path = ROOT / "studies" / "decoder.yaml"
    study, reference = params.load(path), params.load(REFERENCE)
    assert study.model.name == "Qwen/Qwen2.5-0.5B"
    assert re.fullmatch(r"[0-9a-f]{40}", study.model.revision or "")
    same = ("data", "subset", "encode", "train", "search", "compare")
    assert all(getattr(study, key) == getattr(reference, key) for key in same)
    for name, method in study.methods.items():
        other = reference.methods[name]
        assert method.model_copy(update={"learning_rate": other.learning_rate}) == other


def test_every_model_and_data_set_of_the_hub_has_its_licence_named() -> None:
    licences = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    for path in STUDIES:
        study = params.load(path)
        for name in (study.model.name, study.data.source):
            assert name.startswith("package:") or f"| {name} | Hub | " in licences


def test_the_embedded_study_fetches_nothing() -> None:
    study = params.load(ROOT / "params.yaml")
    assert study.data.source.startswith("package:")
    assert study.model.name.startswith("package:")
    assert study.subset.test >= 400
