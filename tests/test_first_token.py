"""A last layer that ends with the first token's state gives the logits and gradients of a whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from fairtune.acceleration import first_token
from fairtune.acceleration.prepare import prepare
from fairtune.core.params import Train
from fairtune.hardware import device
from tests import tiny

SMALL: dict[str, Any] = {**tiny.SMALL, "max_position_embeddings": 64, "pad_token_id": 1}
CPU = device.choose(Train(epochs=1, batch_size=3, device="cpu", precision="fp32"))


def model_of(family: str, **changes: Any) -> Any:
    """Return a classifier of the family with weights that are not small."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, **changes})
    model = AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.2)
    return model


def batch(*, padded: bool) -> dict[str, torch.Tensor]:
    """Return three rows, the second of them half padding where it is asked for."""
    torch.manual_seed(1)
    ids, mask = torch.randint(2, 100, (3, 20)), torch.ones(3, 20, dtype=torch.long)
    if padded:
        ids[1, 10:], mask[1, 10:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0])}


def passes(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return logits and gradients."""
    out = model(**inputs)
    out.loss.backward()
    names = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return out.logits.detach(), names


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", sorted(first_token.FAMILIES))
def test_the_same_logits_and_gradients(family: str, adapted: bool, padded: bool) -> None:
    """Of every parameter, also those of the last layer; and its tokens but the first are left."""
    stock = model_of(family)
    if adapted:
        stock = get_peft_model(
            stock, LoraConfig(target_modules=["query", "value"], init_lora_weights=False)
        )
    fast = copy.deepcopy(stock)
    prepare(fast, CPU)
    inner: Any = fast.get_base_model() if isinstance(fast, PeftModel) else fast
    seen = []
    inner.base_model.encoder.layer[-1].intermediate.register_forward_hook(
        lambda _module, args, _output: seen.append(args[0].shape)
    )
    inputs = batch(padded=padded)
    logits, gradients = passes(fast.train(), inputs)
    expected, wanted = passes(stock.train(), inputs)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    for name, gradient in wanted.items():
        # Without a gradient of its own a token's state moves nothing: 0 and None are alike.
        found = gradients.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(found, gradient, atol=2e-5, rtol=1e-4, msg=name)
    assert set(gradients) <= set(wanted)
    assert seen == [(3, 1, 64)]
    with torch.no_grad():
        torch.testing.assert_close(
            fast.eval()(**inputs).logits, stock.eval()(**inputs).logits, atol=1e-5, rtol=1e-5
        )


def test_with_dropout_it_still_trains() -> None:
    """The one query's attention weights are dropped as all are."""
    model = model_of("bert", attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5)
    prepare(model, CPU)
    inputs = batch(padded=True)
    logits = [passes(model.train(), inputs)[0] for _ in range(2)]
    assert not torch.equal(*logits)
    assert all(one.isfinite().all() for one in logits)


def test_prefixes_are_kept() -> None:
    """Prefix tuning hands in keys and values from before the text."""
    stock = get_peft_model(
        model_of("bert"), PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)
    )
    fast = copy.deepcopy(stock)
    prepare(fast, CPU)
    inputs = batch(padded=True)
    torch.testing.assert_close(
        fast.eval()(**inputs).logits, stock.eval()(**inputs).logits, atol=1e-5, rtol=1e-5
    )


def test_other_heads_keep_all_tokens() -> None:
    """A family whose head is not known, a model that attends by its own code, and stock kernels."""
    distil = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("distilbert", vocab_size=100, dim=32, n_heads=2, n_layers=1)
    )
    eager = model_of("bert")
    eager.set_attn_implementation("eager")
    stock = model_of("bert")
    prepare(distil, CPU)
    prepare(eager, CPU)
    prepare(stock, CPU, kernels="stock")
    for model in (distil, eager, stock):
        assert not any(isinstance(one, first_token.FirstQuery) for one in model.modules())
