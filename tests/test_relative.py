"""Relative positions made from distances are those of Transformers' own code."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, DebertaV2Config, MPNetConfig

from fairtune.acceleration import attention, deberta, mpnet, relative
from fairtune.acceleration.prepare import prepare
from fairtune.core.params import Train
from fairtune.hardware import device
from tests import tiny

SMALL: dict[str, Any] = {**tiny.SMALL, "max_position_embeddings": 300}
RELATIVE = {**SMALL, "relative_attention": True, "position_biased_input": False}
CONFIGS = {
    # As DeBERTa-v3 has it, with few buckets so that long distances share one.
    "v3": DebertaV2Config(
        **RELATIVE,
        position_buckets=8,
        max_relative_positions=-1,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        type_vocab_size=0,
    ),
    "projections of their own": DebertaV2Config(
        **RELATIVE, max_relative_positions=20, pos_att_type=["c2p", "p2c"]
    ),
    "content to position alone": DebertaV2Config(
        **RELATIVE, max_relative_positions=300, pos_att_type=["c2p"]
    ),
    "no position scores": DebertaV2Config(**RELATIVE, pos_att_type=[]),
    "mpnet": MPNetConfig(**SMALL),
}


def model_of(name: str) -> Any:
    """Return a classifier whose positions weigh as much as its contents."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(CONFIGS[name])
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.2)
    return model


def batch(name: str, tokens: int) -> dict[str, torch.Tensor]:
    """Return three rows, the second of them half padding."""
    torch.manual_seed(tokens)
    ids = torch.randint(5, 100, (3, tokens))
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 :] = 0
    ids[1, tokens // 2 :] = CONFIGS[name].pad_token_id
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1])}


def learnt(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, list[Any]]:
    """Return the logits and all gradients."""
    model.zero_grad()
    out = model(**inputs)
    out.loss.backward()
    return out.logits.detach(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("tokens", [5, 16, 47, 200])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_gradients_are_those_of_transformers(name: str, tokens: int) -> None:
    plain = model_of(name)
    fast = copy.deepcopy(plain)
    (mpnet if name == "mpnet" else deberta).install(fast)
    changed = [m for m in fast.modules() if type(m).__name__.startswith("Fast")]
    assert len(changed) == 3  # the encoder and two layers of attention
    inputs = batch(name, tokens)
    logits, gradients = learnt(plain, inputs)
    fast_logits, fast_gradients = learnt(fast, inputs)
    assert logits.std() > 0
    torch.testing.assert_close(fast_logits, logits, atol=2e-5, rtol=1e-4)
    for ours, theirs in zip(fast_gradients, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["v3", "mpnet"])
def test_buckets_are_worked_out_once_for_each_length(name: str) -> None:
    model = model_of(name)
    (mpnet if name == "mpnet" else deberta).install(model)
    for tokens in (16, 24, 16):
        model(**batch(name, tokens))
    (encoder,) = (m for m in model.modules() if type(m).__name__ == "FastEncoder")
    assert set(encoder.known_buckets) == {16, 24}
    kept = encoder.known_buckets[16]
    model(**batch(name, 16))
    assert encoder.known_buckets[16] is kept
    assert not any("known" in key for key in model.state_dict())


@pytest.mark.parametrize("name", ["v3", "mpnet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_prepared_model_predicts_the_same_and_says_how_it_attends(
    name: str, precision: str
) -> None:
    chosen = device.choose(Train(epochs=1, batch_size=1, device="cpu", precision=precision))
    plain = model_of(name).eval()
    fast = copy.deepcopy(plain)
    prepare(fast, chosen)
    inputs = batch(name, 24)
    with torch.no_grad(), chosen.autocast():
        expected, found = (torch.softmax(m(**inputs).logits.float(), -1) for m in (plain, fast))
    torch.testing.assert_close(found, expected, atol=1e-5 if precision == "fp32" else 0.05, rtol=0)
    assert attention.name_of(plain) == "eager"
    assert attention.name_of(fast) == "sdpa_relative"


def test_stock_kernels_leave_a_model_as_it_is() -> None:
    model = model_of("mpnet")
    before = [type(module) for module in model.modules()]
    chosen = device.choose(Train(epochs=1, batch_size=1, device="cpu", precision="bf16"))
    prepare(model, chosen, kernels="stock")
    assert [type(module) for module in model.modules()] == before
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_scores_by_distance_are_put_into_pairs() -> None:
    tokens = 6
    columns = torch.arange(2 * tokens).repeat(tokens, 1)
    of_queries = relative.shifted(columns)
    i, j = torch.meshgrid(torch.arange(tokens), torch.arange(tokens), indexing="ij")
    assert torch.equal(of_queries, tokens - 1 - i + j)
    apart = relative.distances(tokens, torch.device("cpu"))
    assert torch.equal(apart[of_queries], j - i)


def test_gradients_of_pairs_go_back_to_their_distances() -> None:
    torch.manual_seed(0)
    made = [torch.randn(2, 3, 5, 10, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for of_queries, of_keys in ((made[0], None), (None, made[1]), (made[0], made[1])):
        given = [one for one in (of_queries, of_keys) if one is not None]
        assert torch.autograd.gradcheck(
            lambda *parts, q=of_queries, k=of_keys: relative.paired(
                None if q is None else parts[0], None if k is None else parts[-1]
            ),
            given,
        )
