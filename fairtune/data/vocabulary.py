"""Hold a tokenizer's tokens against the table in which its model looks them up."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from fairtune.core.errors import UserError
from fairtune.core.params import Model


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, known: int | None, model: Model) -> None:
    """Refuse a tokenizer with more tokens than its model; None where that has no table of them.

    Raises:
        UserError: it has; names the padding token where that alone is too many.
    """
    if known is None or len(tokenizer) <= known:
        return
    if tokenizer.pad_token_id == known == len(tokenizer) - 1:
        raise UserError(
            f"model.name: the tokenizer of '{model.name}' has a padding token "
            f"'{tokenizer.pad_token}', its token {known:,}, that its model has not: leave "
            "pad_token out of its tokenizer files, so that the end token serves, or add it to the "
            "model (resize_token_embeddings) and save both"
        )
    raise UserError(
        f"model.name: the tokenizer of '{model.name}' has {len(tokenizer):,} tokens and its "
        f"model {known:,}: they do not belong together"
    )
