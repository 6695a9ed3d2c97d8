"""The scaling sweep: its grid, a point in a process of its own, and what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.scaling.isolation import OUT_OF_MEMORY, apart
from fairtune.scaling.point import Cost, Size
from fairtune.scaling.sweep import PROBE, _point, points
from tests.reports import make_study
from tests.studies import make_runs


def test_each_point_varies_one_quantity_and_keeps_the_others() -> None:
    made = list(points(on_gpu=False, longest=510, widths=True))
    assert {axis for axis, _ in made} == {"rows", "max_length", "batch_size", "hidden"}
    lengths = {size.max_length for axis, size in made if axis != "max_length"}
    assert len(lengths) == 1
    assert len(made) == len(set(made))


def test_no_text_is_longer_than_the_encoder_takes() -> None:
    made = points(on_gpu=True, longest=200, widths=False)
    assert max(size.max_length for _, size in made) == 200


def test_a_point_without_enough_memory_is_recorded_as_such() -> None:
    point = _point("rows", 64, "full", kind="note", cost=OUT_OF_MEMORY)
    assert (point["seconds"], point["memory_mib"], point["note"]) == (None, None, "out of memory")
    done = _point("rows", 64, "full", kind="done", cost=Cost(seconds=1.5, memory_mib=200.0))
    assert (done["seconds"], done["note"]) == (1.5, "")


def tiny_encoder(folder: Path) -> None:
    """Write a two-layer encoder with random weights."""
    from transformers import AutoModelForSequenceClassification, BertConfig

    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


def test_a_method_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    study = Params.model_validate(make_study(make_runs(methods=("lora",))))
    block = Method.model_validate(
        {"learning_rate": 1e-3, "adapter": "lora", "targets": ["query", "value"], "r": 2}
    )
    size = Size(rows=8, max_length=16, batch_size=4, width=1)
    keywords = {"study": study, "name": "lora", "size": size, "whole_pass": False}
    kind, cost = apart(PROBE, "measure", method=block, folder=tmp_path / "encoder", **keywords)
    assert kind == "done", cost
    assert cost.seconds > 0
    assert cost.memory_mib > 50
    with pytest.raises(UserError, match=r"'.*nothing' not found"):
        apart(PROBE, "measure", method=block, folder=tmp_path / "nothing", **keywords)
