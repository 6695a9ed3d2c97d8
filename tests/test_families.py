"""What the costs are of: the training loop, and how much slower a plain Trainer was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.report import typeset, wording
from fairtune.report.families import FACTORS, Factor, kind, read_factors
from fairtune.report.loop import costs_of
from fairtune.report.study import Evidence
from fairtune.report.values import context
from fairtune.runs.record import RunRecord
from tests.reports import ROOT, make_evidence

HERE = "NVIDIA H200"
"""The GPU of the constructed studies."""


def factor(method: str, plain: float | None, fair: float | None, **keys: Any) -> Factor:
    entry = {
        "device": HERE, "type": "cuda", "family": "roberta", "method": method,
        "plain_samples_per_second": plain, "fair_samples_per_second": fair,
        "captured_share": 0.99, "note": "", **keys,
    }  # fmt: skip
    return Factor.model_validate(entry)


FOUR = (
    factor("full", 400.0, 880.0),
    factor("lora", 361.0, 1811.0),
    factor("qlora", 100.0, 1234.0),
    factor("ia3", 300.0, 900.0),
)


def said(*factors: Factor, **knobs: Any) -> str:
    return as_written(costs_of(dataclasses.replace(make_evidence(**knobs), factors=factors)))


def as_written(text: str) -> str:
    """Return a text without the marks around what came from outside."""
    return text.replace(wording.BEGIN, "").replace(wording.END, "")


def changed(found: Evidence, **parts: dict[str, Any]) -> Evidence:
    """Return the evidence whose records differ in some of their parts."""

    def new(record: RunRecord) -> RunRecord:
        update: dict[str, Any] = {
            part: getattr(record, part).model_copy(update=values) for part, values in parts.items()
        }
        return record.model_copy(update=update)

    records = {name: [new(one) for one in of] for name, of in found.records.items()}
    return dataclasses.replace(found, records=records, factors=FOUR)


def test_each_method_has_the_factor_of_its_kind_on_this_device() -> None:
    text = said(*FOUR, factor("lora", 1.0, 99.0, device="NVIDIA A100"))
    assert text == (
        "The costs are those of fairtune's own training loop, which replays captured CUDA graphs, "
        "holds frozen layers in bf16 and pads batches to a few lengths (buckets). For the same "
        "rows, a plain Trainer with stock PEFT takes 2.2 times as long for `full`, 5.0 times as "
        "long for `lora`, 12.3 times as long for `qlora` and 3.0 times as long for `ia3`, as the "
        "project's benchmark measured it for the same family of models on one NVIDIA H200."
    )


def test_where_this_device_was_not_measured_another_one_is_named() -> None:
    others = [one.model_copy(update={"device": "NVIDIA H100 80GB HBM3"}) for one in FOUR]
    assert said(*others).endswith("on one NVIDIA H100 80GB HBM3.")


@pytest.mark.parametrize("keys", [{"family": "bert"}, {"type": "cpu"}])
def test_what_was_not_measured_gets_no_number(keys: dict[str, Any]) -> None:
    others = [one.model_copy(update=keys) for one in FOUR]
    text = said(*others)
    assert text.endswith("was not measured for models of the family roberta on a GPU.")
    assert not set("0123456789") & set(text.replace("bf16", ""))


def test_a_processor_is_held_against_a_processor_and_captures_nothing() -> None:
    text = said(*FOUR, gpu=False)
    assert "pads each batch to its longest text" in text
    assert "graphs" not in text
    assert text.endswith("was not measured for models of the family roberta on a processor.")
    cpu = factor("lora", 10.0, 21.0, type="cpu", device="a CPU", captured_share=None)
    assert "takes 2.1 times as long for `lora`, as" in said(cpu, gpu=False)


def test_a_model_of_unknown_family_is_not_matched_with_any() -> None:
    found = make_evidence()
    records = {
        name: [one.model_copy(update={"model_type": None}) for one in of]
        for name, of in found.records.items()
    }
    text = costs_of(dataclasses.replace(found, records=records, factors=FOUR))
    assert text.endswith("was not measured for this model on a GPU.")


def test_a_method_without_a_factor_is_told_with_the_reason() -> None:
    failed = factor("qlora", None, 1234.0, note="the plain Trainer fails on bf16")
    text = said(*FOUR[:2], failed, methods=("full", "lora", "qlora", "ia3", "vera"))
    assert "For `qlora` there is no factor: the plain Trainer fails on bf16." in text
    assert "For `ia3` it was not measured." in text
    text = said(FOUR[0], factor("lora", None, None), methods=("full", "lora"))
    assert "For `lora` there is no factor: it was not measured." in text


def test_another_method_of_peft_has_no_factor_and_the_text_says_so() -> None:
    found = make_evidence(methods=("full", "lora"))
    other = found.study.methods["lora"].model_copy(update={"adapter": "vera"})
    study = found.study.model_copy(update={"methods": {**found.study.methods, "lora": other}})
    text = costs_of(dataclasses.replace(found, study=study, factors=FOUR))
    assert "For `lora` there is no factor: the benchmark knows full fine-tuning, LoRA" in text
    assert "5.0" not in text


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({}, "full"),
        ({"adapter": "LORA"}, "lora"),
        ({"adapter": "lora", "quantize": "fp4"}, "qlora"),
        ({"adapter": "ia3"}, "ia3"),
        ({"adapter": "ia3", "quantize": "nf4"}, None),
        ({"adapter": "lora", "use_dora": True}, None),
        ({"adapter": "adalora"}, None),
    ],
)
def test_the_kind_of_a_method_follows_from_its_block(block: dict[str, Any], name: str) -> None:
    assert kind(Method.model_validate({"learning_rate": 1e-3, **block})) == name


def test_eager_steps_are_not_held_against_captured_ones() -> None:
    text = costs_of(changed(make_evidence(), execution={"captured_steps": 0}))
    assert "measured with captured steps alone, and those of this study ran eagerly" in text
    assert "times as long" not in text


def test_stock_kernels_are_said_to_be_stock() -> None:
    found = make_evidence()
    for of_method in found.records.values():
        for record in of_method:
            record.parameters["train"]["kernels"] = "stock"
    assert costs_of(dataclasses.replace(found, factors=FOUR)) == (
        "The costs are those of PEFT's and Transformers' own layers, run eagerly: the study sets "
        "train.kernels to stock."
    )


def test_the_paper_and_its_twin_say_it() -> None:
    values = context(dataclasses.replace(make_evidence(), factors=FOUR))
    assert "takes 2.2 times as long for `full`" in typeset.markdown(values)
    assert "takes 2.2 times as long for #emph[full];" in typeset.typst_source(values)


def test_the_shipped_file_is_read() -> None:
    assert all(one.family for one in read_factors(ROOT / FACTORS))


def test_the_format_of_the_file_is_that_of_the_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "families.json"
    path.write_text(json.dumps({"results": [one.model_dump() for one in FOUR]}))
    assert tuple(read_factors(path)) == FOUR
    assert FOUR[1].times == pytest.approx(1811 / 361)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "not found; restore it from git"),
        ("{", "not valid JSON; restore it from git"),
        ("[]", "Input should be a valid dictionary"),
        ('{"results": [{"device": 7}]}', "results.0.device: Input should be a valid string"),
    ],
)
def test_a_file_that_is_not_right_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "families.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"families\.json: ") as caught:
        read_factors(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
