"""A model's first layers alone: the rest is neither loaded nor saved, what stays is as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware import device
from fairtune.models.build import build

CPU = device.choose(Train(epochs=1, batch_size=2, device="cpu", precision="fp32"))
LAYER = re.compile(r"(?:layer|layers|h)\.(\d+)\.")
FULL = Method(learning_rate=0.01)


def made(folder: Path, layers: int | None, method: Method = FULL) -> Any:
    model = Model(name=str(folder), layers=layers)
    return build(model, method, name="x", labels=2, device=CPU, seed=1, pad_token_id=0).model


def numbers(names: Any) -> set[int]:
    """Return the numbers of the layers that parameters belong to."""
    return {int(found[1]) for found in map(LAYER.search, names) if found}


@pytest.mark.parametrize(
    "kind", ["bert", "distilbert", "deberta-v2", "modernbert", "gpt2", "qwen2", "gemma"]
)
def test_the_first_layers_are_those_of_the_whole(
    encoder: Callable[..., Path], kind: str, tmp_path: Path
) -> None:
    folder = encoder(kind)
    known = AutoConfig.from_pretrained(folder).num_hidden_layers
    assert known > 1
    whole, cut = made(folder, None), made(folder, 1)
    assert numbers(dict(whole.named_parameters())) == set(range(known))
    assert numbers(dict(cut.named_parameters())) == {0}
    other = dict(whole.named_parameters())
    for name, parameter in cut.named_parameters():
        torch.testing.assert_close(parameter, other[name], rtol=0, atol=0, msg=name)
    cut.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert numbers(load_file(tmp_path / "model.safetensors")) == {0}
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        found = again.eval()(**inputs).logits
        torch.testing.assert_close(found, cut.eval()(**inputs).logits)


def test_an_adapter_of_a_cut_model_has_its_layers_alone(encoder: Callable[..., Path]) -> None:
    method = Method(learning_rate=0.01, adapter="lora", targets=["query"], r=2, quantize="nf4")
    model = made(encoder(), 1, method)
    assert numbers(name for name, _ in model.named_parameters() if "lora_" in name) == {0}


def test_more_layers_than_there_are_is_refused(encoder: Callable[..., Path]) -> None:
    known = AutoConfig.from_pretrained(encoder()).num_hidden_layers
    with pytest.raises(UserError, match=rf"^model\.layers: 99, but the model has {known}; null"):
        made(encoder(), 99)
