"""The arithmetic of passes, and what a study is estimated to take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from fairtune.training import work
from fairtune.training.batches import Collator
from fairtune.training.plan import plan_run
from tests.test_training import settings
from tests.tiny import encoded_rows

MINILM = {
    "model_type": "bert",
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def test_the_operations_of_a_known_encoder() -> None:
    size = work.dimensions(MINILM)
    assert size is not None
    # 1,769,472 weights a layer, and 192 tokens that each token attends to, twice 384 wide.
    assert size.forward(1, 192) == 2 * 192 * 6 * (1_769_472 + 2 * 192 * 384)
    assert size.forward(16, 192) == 16 * size.forward(1, 192)
    fewer = work.dimensions(MINILM, layers=3)
    assert fewer is not None
    assert fewer.forward(1, 192) == size.forward(1, 192) / 2
    assert work.dimensions(MINILM, layers=9) == size


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "distilbert", "mpnet", "modernbert", "llama", "qwen3", "gpt2"]
)
def test_the_count_is_that_of_the_products_that_run(
    encoder: Callable[..., Path], kind: str
) -> None:
    folder = encoder(kind)
    size = work.dimensions(json.loads((folder / "config.json").read_text()))
    assert size is not None
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.randint(5, 30, (3, 24))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    # The pooler, rotary angles and the like are a few percent of a model as tiny as this.
    assert size.forward(3, 24) == pytest.approx(counter.get_total_flops(), rel=0.06)


def test_a_configuration_that_does_not_tell_leaves_tokens_to_count() -> None:
    assert work.dimensions({"model_type": "t5", "d_model": 512}) is None
    assert work.step_costs([(2, 8), (1, 24)], None, whole=False) == [32.0, 48.0]


def test_an_evaluation_puts_rows_of_like_length_together() -> None:
    lengths = np.array([8, 24, 8, 24, 16])
    assert work.evaluation_cost(lengths, 2, None) == 2 * 24 + 2 * 16 + 8


def test_a_plan_tells_the_shapes_in_the_order_of_the_batches() -> None:
    rows = encoded_rows()
    made = plan_run(rows, settings(), seed=3, pad_token_id=0, captured=False)
    collate = Collator(rows, pad_token_id=0)
    dealt = [batch for epoch in range(2) for batch in made.deal.batches(epoch)]
    assert made.order == [tuple(collate(batch.tolist())["input_ids"].shape) for batch in dealt]
    assert sum(count * length for count, length in made.order) == made.padded_tokens
