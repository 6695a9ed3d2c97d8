"""What makes training fast computes what it replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from fairtune.acceleration import activation, attention, bf16, dropout
from fairtune.acceleration.prepare import (
    HALF_HEAP,
    MMAP_THRESHOLD,
    TRIM_THRESHOLD,
    keep_freed_memory,
    prepare,
)
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware import device
from fairtune.models import footprint
from fairtune.models.audit import is_4bit
from fairtune.models.build import build

LORA = Method(learning_rate=1e-3, adapter="lora", targets=["query", "value"], r=2)
IA3 = Method(
    learning_rate=1e-3,
    adapter="ia3",
    targets=["key", "value", "feedforward_out"],
    feedforward=["feedforward_out"],
)
BF16 = device.choose(Train(epochs=1, batch_size=1, device="cpu", precision="bf16"))


def test_dropout_drops_the_share_that_it_should() -> None:
    torch.manual_seed(0)
    values = torch.ones(100, 103, dtype=torch.bfloat16)
    for p in (0.05, 0.1, 0.5):
        shares = [(dropout.drop(values, p)[0] == 0).float().mean().item() for _ in range(400)]
        # 4 million draws, and which level of a byte was drawn in 400 calls.
        assert np.mean(shares) == pytest.approx(p, abs=0.0006)


def test_a_level_lies_beside_the_probability_and_meets_it_on_average() -> None:
    torch.manual_seed(0)
    levels = [dropout.draw_level(0.1) for _ in range(4000)]
    assert set(levels) == {25, 26}
    assert np.mean(levels) / dropout.LEVELS == pytest.approx(0.1, abs=0.0005)
    assert dropout.draw_level(1.0) == dropout.LEVELS


def test_everything_can_be_dropped() -> None:
    assert not dropout.FastDropout(1.0)(torch.ones(9)).any()


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = -dropout.keep_mask(torch.ones(4_000_000), 128).float()
    for step in (1, 2, 4, 8):
        both = (kept[:-step] * kept[step:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.002)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_zeroing_is_that_of_where(dtype: torch.dtype) -> None:
    values = torch.randn(7, 5, 3, dtype=dtype).transpose(0, 1)
    values[0, 0, 0], values[0, 0, 1] = float("inf"), float("nan")
    keep = torch.rand(5, 7, 3) < 0.5
    expected = torch.where(keep, values, torch.zeros((), dtype=dtype))
    assert torch.equal(
        dropout.zeroed(values, -keep.to(torch.int8)).nan_to_num(7.0), expected.nan_to_num(7.0)
    )


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_the_tanh_form_of_gelu_is_that_which_is_written_out(name: str) -> None:
    model = nn.Sequential(ACT2FN[name])
    written_out = ACT2FN[name]
    activation.install(model)
    assert type(model[0]) is activation.TanhGelu
    values = torch.linspace(-8, 8, 1000, dtype=torch.float64, requires_grad=True)
    again = values.detach().clone().requires_grad_()
    found, expected = model(values), written_out(again)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-7)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(values.grad, again.grad, atol=1e-7, rtol=1e-6)


def test_dropout_scales_what_it_keeps_and_passes_on_gradients() -> None:
    torch.manual_seed(0)
    layer = dropout.FastDropout(0.25)  # 64 of 256: one level
    values = torch.ones(64, 64, requires_grad=True)
    out = layer(values)
    assert sorted(out.unique().tolist()) == pytest.approx([0.0, 4 / 3])
    out.sum().backward()
    assert torch.equal(values.grad, out.detach())


def test_dropout_follows_the_seed_and_is_off_in_evaluation() -> None:
    layer = dropout.FastDropout(0.5)
    values = torch.randn(100)
    torch.manual_seed(3)
    first = layer(values)
    torch.manual_seed(3)
    assert torch.equal(first, layer(values))
    assert torch.equal(layer.eval()(values), values)


def test_attention_without_dropout_is_torch_s_own() -> None:
    query, key, value = (torch.randn(2, 3, 5, 8) for _ in range(3))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, :, :, 3:] = False
    module = nn.Module()
    module.is_causal = False
    plain = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    out, _ = dropout.attention(module, query, key, value, mask, dropout=0.0)
    assert torch.allclose(out, plain.transpose(1, 2), atol=1e-6)


def test_attention_with_dropout_is_right_on_average_and_ignores_masked_tokens() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, 4, 8) for _ in range(3))
    mask = torch.tensor([True, True, True, False]).expand(1, 1, 4, 4)
    plain = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    many = [
        dropout.attention(nn.Module(), query, key, value, mask, dropout=0.3)[0] for _ in range(4000)
    ]
    mean = torch.stack(many).mean(dim=0)
    assert torch.allclose(mean, plain.transpose(1, 2), atol=0.06)


def test_a_decoder_sees_no_later_token_while_it_trains() -> None:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 1}
    model = GPT2Model(GPT2Config(**sizes, eos_token_id=2, attn_pdrop=0.1))
    prepare(model, device.choose(Train(epochs=1, batch_size=1, device="cpu")))
    first = torch.tensor([[5, 6, 7, 8]])
    second = torch.tensor([[5, 6, 7, 9]])
    outputs = []
    for ids in (first, second):
        torch.manual_seed(1)
        outputs.append(model.train()(ids).last_hidden_state)
    assert torch.equal(outputs[0][:, :3], outputs[1][:, :3])
    assert not torch.equal(outputs[0][:, 3], outputs[1][:, 3])


def test_heads_that_share_keys_are_torch_s_own() -> None:
    query, key, value = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    module = nn.Module()
    module.num_key_value_groups = 2
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    out, _ = dropout.attention(module, query, key, value, mask, dropout=0.1)
    assert out.shape == (1, 5, 4, 8)


def test_a_c_library_that_refuses_the_largest_number_gets_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        def __init__(self, _: None) -> None:
            """Stand for the C library."""

        @staticmethod
        def mallopt(key: int, value: int) -> int:
            asked.append((key, value))
            return int(key == TRIM_THRESHOLD or value <= HALF_HEAP)

    monkeypatch.setattr("ctypes.CDLL", Library)
    monkeypatch.setattr("sys.platform", "linux")
    assert keep_freed_memory()
    assert asked[-1] == (MMAP_THRESHOLD, HALF_HEAP)


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (2, 1, 5, 5)])
def test_a_mask_is_added_as_it_would_be_filled_in(shape: tuple[int, ...]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    mask[1, ..., 3:] = False
    scores = torch.randn(2, 3, 5, 5)
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    added = attention.additive(mask.expand(2, 1, 5, 5), scores.dtype)
    assert torch.allclose((scores + added).softmax(dim=-1), filled)


def test_normalisation_in_bf16_is_within_rounding_of_fp32() -> None:
    torch.manual_seed(0)
    plain = nn.LayerNorm(64)
    nn.init.normal_(plain.weight, 1.0, 0.1)
    model = nn.Sequential(nn.LayerNorm(64))
    model.load_state_dict({f"0.{k}": v for k, v in plain.state_dict().items()})
    bf16.save_casts(model)
    values = torch.randn(32, 64)
    assert torch.equal(model(values), plain(values))
    with torch.autocast("cpu", torch.bfloat16):
        low = model(values)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), plain(values), atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_additive_mask_is_only_for_the_precision_of_the_pass() -> None:
    padding = torch.tensor([[True, True, False]])
    keywords = {"batch_size": 1, "q_length": 3, "kv_length": 3, "attention_mask": padding}
    keywords["mask_function"] = lambda *_: torch.tensor(True)
    plain = attention.additive_mask(**keywords)
    assert plain.dtype == torch.bool
    with torch.autocast("cpu", torch.bfloat16):
        added = attention.additive_mask(**keywords)
    assert added.dtype == torch.bfloat16
    assert torch.equal(added == 0, plain)


def test_a_model_with_the_additive_mask_predicts_the_same(built: Callable[[Method], Any]) -> None:
    model = built(Method(learning_rate=1e-3)).eval()
    with BF16.autocast(), torch.no_grad():
        plain = model(**inputs()).logits
        attention.install(model)
        assert model.config._attn_implementation == attention.NAME
        assert torch.allclose(model(**inputs()).logits, plain, atol=0.02)


def inputs() -> dict[str, torch.Tensor]:
    """Return a padded batch with labels."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(8, 30, (4, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[2, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1, 0])}


def pass_through(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a model's loss and the gradients of what it trains, in evaluation mode."""
    model.eval()
    with BF16.autocast():
        loss = model(**inputs()).loss
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), found


@pytest.fixture
def built(encoder: Callable[..., Path]) -> Callable[[Method], Any]:
    """Return a function that builds a model whose adapter is not at its start."""

    def make(method: Method) -> Any:
        model = build(
            Model(name=str(encoder())), method, name="m", labels=2, device=BF16, seed=1
        ).model
        torch.manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "ia3_l" in name:
                nn.init.normal_(parameter, 1.0 if "ia3_l" in name else 0.0, 0.3)
        return model

    return make


@pytest.mark.parametrize(
    "method",
    [
        Method(learning_rate=1e-3),
        LORA,
        LORA.model_copy(update={"quantize": "nf4"}),
        IA3,
        Method(learning_rate=1e-3, adapter="lora", targets=["query"], r=2, use_dora=True),
        Method(learning_rate=1e-3, adapter="lora", targets=["query"], r=2, lora_bias=True),
        Method(learning_rate=1e-3, adapter="adalora", targets=["query"], init_r=2, total_step=9),
    ],
    ids=["full", "lora", "qlora", "ia3", "dora", "lora with biases", "adalora"],
)
def test_a_fast_model_has_the_loss_and_the_gradients_of_the_plain_one(
    built: Callable[[Method], Any], method: Method
) -> None:
    model = built(method)
    loss, gradients = pass_through(model)
    prepare(model, BF16)
    fast_loss, fast_gradients = pass_through(model)
    assert fast_loss.item() == pytest.approx(loss.item(), rel=0.02)
    assert gradients.keys() == fast_gradients.keys()
    for name, gradient in gradients.items():
        gap = (fast_gradients[name] - gradient).norm() / gradient.norm().clamp_min(1e-3)
        assert gap < 0.1, f"{name}: {gap:.3f}"


@pytest.mark.parametrize("method", [LORA, IA3], ids=["lora", "ia3"])
def test_frozen_layers_are_held_in_bf16_and_what_is_trained_in_fp32(
    built: Callable[[Method], Any], method: Method
) -> None:
    model = built(method)
    before = footprint.predict(model)
    prepare(model, BF16)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert {p.dtype for p in trained} == {torch.float32}
    for name, module in model.named_modules():
        if type(module) is nn.Linear and not module.weight.requires_grad:
            assert module.weight.dtype == torch.bfloat16, name
        if isinstance(module, nn.Embedding):
            assert module.weight.dtype == torch.bfloat16, name
    after = footprint.predict(model)
    assert after.weights_mib < before.weights_mib
    assert after.gradients_mib == before.gradients_mib


def test_full_fine_tuning_holds_everything_in_fp32(built: Callable[[Method], Any]) -> None:
    model = built(Method(learning_rate=1e-3))
    prepare(model, BF16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_nothing_is_cast_in_fp32(built: Callable[[Method], Any]) -> None:
    model = built(LORA)
    prepare(model, device.choose(Train(epochs=1, batch_size=1, device="cpu", precision="fp32")))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_weights_that_an_adapter_reads_itself_stay_in_fp32(built: Callable[[Method], Any]) -> None:
    dora = Method(learning_rate=1e-3, adapter="lora", targets=["query"], r=2, use_dora=True)
    model = built(dora)
    prepare(model, BF16)
    kinds = {
        name.rpartition(".base_layer")[0].rpartition(".")[2]: module.weight.dtype
        for name, module in model.named_modules()
        if name.endswith(".base_layer")
    }
    assert kinds == {"query": torch.float32}


def test_a_layer_with_its_adapter_off_or_merged_is_peft_s_own(
    built: Callable[[Method], Any],
) -> None:
    model = built(LORA)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data *= 20
    prepare(model.eval(), BF16)
    with BF16.autocast(), torch.no_grad():
        on = model(**inputs()).logits
        with model.disable_adapter():
            off = model(**inputs()).logits
        model.merge_adapter()
        merged = model(**inputs()).logits
    assert (on - off).abs().max() > 10 * (on - merged).abs().max()


def test_a_model_in_evaluation_drops_nothing_once_it_is_prepared(
    built: Callable[[Method], Any],
) -> None:
    model = built(LORA).eval()
    prepare(model, BF16)
    assert any(isinstance(module, dropout.FastDropout) for module in model.modules())
    with BF16.autocast(), torch.no_grad():
        assert torch.equal(*(model(**inputs()).logits for _ in range(2)))


def test_scales_of_4_bit_weights_are_unpacked_to_what_they_stand_for(
    built: Callable[[Method], Any],
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    model = built(LORA.model_copy(update={"quantize": "nf4"}))
    layers = [m for m in model.modules() if is_4bit(m)]
    assert layers
    assert all(layer.weight.quant_state.nested for layer in layers)
    before = [dequantize_4bit(layer.weight, layer.weight.quant_state) for layer in layers]
    prepare(model, BF16)
    prepare(model, BF16)
    assert not any(layer.weight.quant_state.nested for layer in layers)
    for layer, weight in zip(layers, before, strict=True):
        after = dequantize_4bit(layer.weight, layer.weight.quant_state)
        assert after.dtype == torch.bfloat16
        assert torch.equal(after, weight.to(torch.bfloat16))
