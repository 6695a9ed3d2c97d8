"""A decoder classifies a text by its own last token, whatever stands beside the text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware.device import choose
from fairtune.models.build import build
from fairtune.models.last_token import ALIKE, last_tokens, places, settle_padding
from fairtune.models.pretrained import outline
from tests import tiny

Encoder = Callable[..., Path]
PAD = 2
TEXTS = {
    "plain": [10, 11, 12, 13, 14],
    "the padding token inside": [10, PAD, 12, PAD, 14],
    "the padding token at the end": [10, 11, 12, 13, PAD],
    "padding tokens alone": [PAD, PAD, PAD],
}
# Beyond those with roles, their heads are of their own code as well.
OTHERS = sorted(ALIKE - {"gpt2"})
# What else their tiny configurations need; "initializer_range" has another name in OPT's.
CHANGES: dict[str, dict[str, Any]] = {
    "opt": {"init_std": 0.2},
    "gptj": {"rotary_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
}
CPU = choose(Train(epochs=1, batch_size=4, device="cpu", precision="fp32"))


def drawn(kind: str, pad: int | None = PAD) -> Any:
    """Return a model with weights large enough to tell tokens apart, in evaluation mode."""
    torch.manual_seed(0)
    changes = {"initializer_range": 0.2} | CHANGES.get(kind, {})
    config = tiny.config(kind, num_labels=3, **changes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    settle_padding(model, pad)
    return model


def batch(text: list[int], *, beside: int, side: str) -> dict[str, torch.Tensor]:
    """Return a text with padding on a side, above a longer text."""
    padding, hidden = [PAD] * beside, [0] * beside
    ids, mask = text + padding, [1] * len(text) + hidden
    if side == "left":
        ids, mask = padding + text, hidden + [1] * len(text)
    longer = list(range(20, 20 + len(ids)))
    return {
        "input_ids": torch.tensor([ids, longer]),
        "attention_mask": torch.tensor([mask, [1] * len(ids)]),
    }


@pytest.mark.parametrize("kind", [*tiny.DECODERS, *OTHERS])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@torch.inference_mode()
def test_what_stands_beside_a_text_does_not_change_its_logits(kind: str, text: list[int]) -> None:
    model = drawn(kind)
    ids = torch.tensor([text])
    alone = model.score(model.base_model(ids).last_hidden_state)[0, -1]
    assert alone.std() > 1e-3
    for side in ("right", "left"):
        for beside in (0, 1, 6):
            logits = model(**batch(text, beside=beside, side=side)).logits
            assert logits.shape == (2, 3)
            assert torch.allclose(logits[0], alone, atol=2e-5), (side, beside)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.inference_mode()
def test_transformers_own_pooling_would_read_another_token(kind: str) -> None:
    model = drawn(kind)
    ended = batch(TEXTS["the padding token at the end"], beside=2, side="right")
    own = type(model).__mro__[1].forward
    # Where no text ends with the padding token, the two agree.
    plain = batch(TEXTS["plain"], beside=2, side="right")
    assert torch.allclose(own(model, **plain).logits, model(**plain).logits, atol=1e-5)
    assert not torch.allclose(own(model, **ended).logits[0], model(**ended).logits[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_loss_and_its_gradients_are_those_of_transformers(kind: str) -> None:
    inputs = batch(TEXTS["plain"], beside=3, side="right") | {"labels": torch.tensor([2, 0])}
    model = drawn(kind)
    found = {}
    for name, forward in (("own", type(model).__mro__[1].forward), ("ours", type(model).forward)):
        model.zero_grad()
        loss = forward(model, **inputs).loss
        loss.backward()
        found[name] = [loss, *(p.grad.clone() for p in model.parameters())]
    assert all(
        torch.allclose(one, other, atol=1e-5)
        for one, other in zip(found["own"], found["ours"], strict=True)
    )


def test_a_model_without_a_padding_token_takes_that_of_the_token_cache(encoder: Encoder) -> None:
    built = build(
        Model(name=str(encoder("llama"))), Method(learning_rate=0.01), name="x", labels=2,
        device=CPU, seed=1, pad_token_id=7,
    )  # fmt: skip
    assert built.model.config.pad_token_id == 7
    # The embedding of the end token, which also stands in texts, is trained like any other.
    assert built.model.get_input_embeddings().padding_idx is None


def test_an_encoder_keeps_its_own_forward_pass_and_its_positions() -> None:
    model = outline(tiny.config("roberta"))
    kind = type(model)
    settle_padding(model, 1)
    assert type(model) is kind
    assert model.roberta.embeddings.padding_idx == 1


def test_settling_twice_changes_nothing_and_the_saved_name_is_transformers_own(
    tmp_path: Path,
) -> None:
    model = drawn("llama")
    kind = type(model)
    settle_padding(model, 5)
    assert type(model) is kind
    assert list(inspect.signature(model.forward).parameters)[:2] == ["input_ids", "attention_mask"]
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.architectures == ["LlamaForSequenceClassification"]
    assert again.config.pad_token_id == 5


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("adapter", ["prompt_tuning", "prefix_tuning"])
@torch.inference_mode()
def test_virtual_tokens_before_a_text_leave_its_last_token_in_place(
    encoder: Encoder, kind: str, adapter: str
) -> None:
    block = {"adapter": adapter, "num_virtual_tokens": 4}
    built = build(
        Model(name=str(encoder(kind))), Method(learning_rate=0.01, **block), name="x", labels=3,
        device=CPU, seed=1, pad_token_id=PAD,
    )  # fmt: skip
    model = built.model.eval()
    text = TEXTS["plain"]
    alone = model(input_ids=torch.tensor([text]), attention_mask=torch.ones(1, 5).long()).logits[0]
    for beside in (1, 6):
        logits = model(**batch(text, beside=beside, side="right")).logits
        assert torch.allclose(logits[0], alone, atol=1e-5)


def test_the_last_token_is_the_last_that_the_mask_shows() -> None:
    hidden = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert last_tokens(hidden, mask).tolist() == [[3.0, 4.0, 5.0], [21.0, 22.0, 23.0]]
    prefixed = torch.cat([torch.ones(2, 2).long(), mask], dim=1)
    assert torch.equal(last_tokens(hidden, prefixed), last_tokens(hidden, mask))
    assert places(mask).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
