"""How many tokens a model has positions for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Tokenizers without a limit of their own report a number of this size or more.
NO_LIMIT = 1_000_000
# They number positions from the padding token's id on: RoBERTa's table of 514 holds 512 tokens.
FROM_PADDING = {
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
    "ibert",
}


def positions(config: Mapping[str, Any]) -> int:
    """Return how many tokens a model's table of positions holds; NO_LIMIT without a table."""
    # GPT-2's configuration has another name for it.
    count = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)
    # DeBERTa's positions are relative unless it says that it adds them to its input.
    if count <= 0 or config.get("position_biased_input") is False:
        return NO_LIMIT
    if config.get("model_type") in FROM_PADDING:
        count -= int(config.get("pad_token_id") or 0) + 1
    return count
