"""What makes training fast computes what it replaces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairtune import casts, dropout


def test_dropout_keeps_the_share_that_it_should() -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, 1003)
    for p in (0.1, 0.5):
        kept = dropout.keep_mask(values, p).float().mean().item()
        assert kept == pytest.approx(1 - p, abs=0.002)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = dropout.keep_mask(torch.ones(4_000_000), 0.5).float()
    for step in (1, 2, 3, 4):
        both = (kept[:-step] * kept[step:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.002)


def test_dropout_scales_what_it_keeps_and_passes_on_gradients() -> None:
    torch.manual_seed(0)
    layer = dropout.FastDropout(0.25)
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


def test_normalisation_in_bf16_is_within_rounding_of_fp32() -> None:
    torch.manual_seed(0)
    plain = nn.LayerNorm(64)
    nn.init.normal_(plain.weight, 1.0, 0.1)
    model = nn.Sequential(nn.LayerNorm(64))
    model.load_state_dict({f"0.{k}": v for k, v in plain.state_dict().items()})
    casts.save_casts(model)
    values = torch.randn(32, 64)
    assert torch.equal(model(values), plain(values))
    with torch.autocast("cpu", torch.bfloat16):
        low = model(values)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), plain(values), atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
