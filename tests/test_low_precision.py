"""Layers that work in bf16 compute what they replace, but for rounding."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from fairtune.acceleration import attention, bf16, gated, low_precision, rotary
from fairtune.acceleration.prepare import prepare
from fairtune.core.params import Train
from fairtune.hardware import device

BF16 = device.choose(Train(epochs=1, batch_size=1, device="cpu", precision="bf16"))
DECODERS = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3"]


def decoder(family: str) -> Any:
    """Return a small classifier of a family, frozen but for its head."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=100,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2 if family != "phi" else 4,
        head_dim=16,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("score")
        if "norm" in name:  # scales that are all one would hide that they are left out
            parameter.data.normal_(0.3, 0.2)
    return model


def rows() -> dict[str, torch.Tensor]:
    """Return three rows of up to 24 tokens, padded on the right."""
    torch.manual_seed(1)
    ids = torch.randint(3, 100, (3, 24))
    mask = torch.ones_like(ids)
    ids[1, 10:], mask[1, 10:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any) -> torch.Tensor:
    """Return a model's logits within autocast."""
    with torch.no_grad(), BF16.autocast():
        found: torch.Tensor = model(**rows()).logits.float()
    return found


@pytest.mark.parametrize("family", [*DECODERS, "gpt2", "modernbert"])
def test_a_prepared_decoder_predicts_what_it_did_but_for_rounding(family: str) -> None:
    if family in ("gpt2", "modernbert"):
        config = AutoConfig.for_model(family, vocab_size=100, pad_token_id=0, bos_token_id=1)
        config.eos_token_id = 2
        for key, value in {
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 96, "cls_token_id": 1, "sep_token_id": 2,
        }.items():  # fmt: skip
            if hasattr(config, key):
                setattr(config, key, value)
        if family == "modernbert":
            config.layer_types = config.layer_types[:2]
        torch.manual_seed(0)
        plain = AutoModelForSequenceClassification.from_config(config).eval()
        plain.requires_grad_(False)
    else:
        plain = decoder(family).eval()
    fast = copy.deepcopy(plain)
    prepare(fast, BF16)
    expected, found = logits(plain), logits(fast)
    assert expected.std() > 0.01
    gap = (found - expected).norm() / expected.norm()
    assert gap < 0.05, gap


@pytest.mark.parametrize("family", DECODERS)
def test_what_is_frozen_is_held_in_bf16_and_so_are_the_sums_between_layers(family: str) -> None:
    model = decoder(family)
    prepare(model, BF16)
    held = {p.dtype for n, p in model.named_parameters() if not n.startswith("score")}
    assert held == {torch.bfloat16}
    assert model.score.weight.dtype == torch.float32
    seen: set[torch.dtype] = set()
    for layer in model.model.layers:
        layer.register_forward_hook(lambda *parts: seen.add(parts[-1].dtype))
    logits(model)
    assert seen == {torch.bfloat16}
    assert model.config.use_cache is False


def test_what_is_trained_stays_in_fp32_and_hands_on_bf16() -> None:
    model = decoder("llama")
    model.requires_grad_(True)
    prepare(model, BF16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    seen: set[torch.dtype] = set()
    for layer in model.model.layers:
        layer.register_forward_hook(lambda *parts: seen.add(parts[-1].dtype))
    logits(model)
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_a_norm_outside_autocast_is_its_own(family: str) -> None:
    (norm,) = [m for n, m in decoder(family).named_modules() if n == "model.norm"]
    fast = copy.deepcopy(norm)
    bf16.save_casts(fast)
    assert isinstance(fast, low_precision.LowPrecisionRMSNorm)
    fast.weight.data = norm.weight.data
    values = torch.randn(2, 5, 64)
    assert torch.equal(fast(values), norm(values))


def test_torch_s_own_norm_and_unknown_ones_are_left_alone() -> None:
    class OddRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(3)), 1e-6

    for norm in (nn.RMSNorm(8), OddRMSNorm()):
        kind = type(norm)
        bf16.save_casts(norm)
        assert type(norm) is kind


@pytest.mark.parametrize("family", rotary.FAMILIES)
def test_positions_are_turned_as_transformers_does(family: str) -> None:
    import importlib

    name = {"gemma3_text": "gemma3"}.get(family, family)
    module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    plain = getattr(module.apply_rotary_pos_emb, "plain", module.apply_rotary_pos_emb)
    turn = rotary.fast(plain)
    torch.manual_seed(0)
    angles = torch.rand(1, 7, 8) * 6
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    exact = [torch.randn(2, 4, 7, 16, requires_grad=True) for _ in range(2)]
    low = [one.detach().bfloat16().requires_grad_() for one in exact]
    expected = plain(*exact, cos, sin)
    found = turn(*low, cos, sin)
    weights = torch.randn_like(expected[0])
    sum((one * weights).sum() for one in expected).backward()
    sum((one.float() * weights).sum() for one in found).backward()
    for ours, theirs in zip([*found, *(x.grad for x in low)], [*expected, *(x.grad for x in exact)],
                            strict=True):  # fmt: skip
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), theirs.float(), atol=0.05, rtol=0.02)
    # In fp32 the family's own function is used.
    assert all(torch.equal(a, b) for a, b in zip(turn(*exact, cos, sin), expected, strict=True))


def test_a_4bit_layer_hands_on_bf16() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(64, 64, compute_dtype=torch.bfloat16, quant_type="nf4").to("cpu")
    values = torch.randn(3, 64)
    with BF16.autocast():
        assert layer(values).dtype == torch.float32
        bf16.save_casts(layer)
        assert isinstance(layer, low_precision.LowPrecision4bit)
        assert layer(values).dtype == torch.bfloat16
    assert layer(values).dtype == torch.float32


def test_a_causal_mask_is_left_out_where_padding_is_on_the_right() -> None:
    from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

    given = {
        "batch_size": 2, "q_length": 6, "kv_length": 6, "allow_is_causal_skip": True,
        "attention_mask": torch.tensor([[True] * 6, [True] * 3 + [False] * 3]), "device": "cpu",
    }  # fmt: skip
    assert attention.additive_mask(**given, mask_function=causal_mask_function) is None
    near = attention.additive_mask(**given, mask_function=sliding_window_causal_mask_function(2))
    assert near is not None
    longer = {**given, "kv_length": 8, "attention_mask": torch.ones(2, 8, dtype=torch.bool)}
    longer["q_offset"] = 2
    del longer["allow_is_causal_skip"]
    assert attention.additive_mask(**longer, mask_function=causal_mask_function) is not None


def test_an_eager_mask_is_that_of_transformers() -> None:
    from transformers.masking_utils import causal_mask_function
    from transformers.masking_utils import eager_mask as plain

    given = {
        "batch_size": 2, "q_length": 6, "kv_length": 6, "mask_function": causal_mask_function,
        "attention_mask": torch.tensor([[True] * 6, [True] * 3 + [False] * 3]), "device": "cpu",
        "dtype": torch.float32,
    }  # fmt: skip
    assert torch.equal(attention.eager_mask(**given), plain(**given))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma", "phi3", "modernbert"])
def test_a_gated_layer_computes_the_same_and_keeps_one_tensor_less(family: str) -> None:
    from tests.tiny import config

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config(family))
    (layer,) = [m for n, m in model.named_modules() if n == "model.layers.0.mlp"]
    fast = copy.deepcopy(layer)
    gated.install(fast)
    assert type(fast) is not type(layer)
    layer.requires_grad_(False)
    fast.requires_grad_(False)
    kept: list[int] = []
    found = []
    for one in (layer, fast):
        values = torch.linspace(-3, 3, 5 * 64).view(1, 5, 64).requires_grad_()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t
        ):
            out = one(values)
        kept.append(len(sizes))
        out.square().sum().backward()
        found.append((out.detach(), values.grad))
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert kept[1] < kept[0]
