"""Turn texts into token ids, once for all methods: the token cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import normalizers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from fairtune.core.errors import UserError
from fairtune.core.params import Model, Params
from fairtune.core.paths import TOKENIZER
from fairtune.core.positions import NO_LIMIT, positions
from fairtune.core.sources import reading
from fairtune.data.vocabulary import check_vocabulary

# Bounds the memory that one call's `Encoding` objects take; larger is no faster.
CHUNK = 2_000
# A real vocabulary has more tokens, letters alone. Where its files are missing, Transformers makes
# a tokenizer of special tokens, to which every word is unknown, and says nothing.
LEAST = 32
Keep = Literal["head", "tail", "both"]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of some texts, in their order."""

    ids: list[list[int]]
    """Ids of each text, special tokens included, at most `max_length`."""
    truncated: int
    """Number of texts that were cut off."""


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer from a folder, a package or the Hub.

    Its `model_max_length` is what both the tokenizer and the model can take.

    Raises:
        UserError: there is none, it cannot be read, it has no padding token, or the model has no
            room for all its tokens. An end token serves for padding.
    """
    logging.set_verbosity_error()
    with reading(model.name, model.revision, key="model.name") as source:
        options = {"revision": model.revision, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(source, **options)
        # What a text spells out is text: one more end token breaks models that count them.
        tokenizer = AutoTokenizer.from_pretrained(source, split_special_tokens=True, **options)
    if len(tokenizer) < LEAST:
        raise UserError(f"model.name: '{model.name}' has no tokenizer: no vocabulary is there")
    settle_padding(tokenizer, model)
    part_special_pieces(tokenizer)
    # Ids and positions beyond the model's tables would only fail in training, and on a GPU without
    # a word about the cause. Many tokenizers have no limit of their own.
    config = config.get_text_config()
    check_vocabulary(tokenizer, getattr(config, "vocab_size", None), model)
    # How it was found is no part of the tokenizer; saved, it would change the cache's hash.
    for key in ("is_local", "local_files_only", "name_or_path"):
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions(config.to_dict()))
    return tokenizer


def settle_padding(tokenizer: PreTrainedTokenizerBase, model: Model) -> None:
    """Let the end token fill up batches where a decoder's tokenizer has no padding token.

    The attention mask hides it there, so that any token would do.

    Raises:
        UserError: it has neither.
    """
    if tokenizer.pad_token_id is not None:
        return
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"model.name: the tokenizer of '{model.name}' has no padding token and no end token "
            "that could serve for it: set pad_token in its tokenizer_config.json"
        )
    tokenizer.pad_token = tokenizer.eos_token


def part_special_pieces(tokenizer: PreTrainedTokenizerBase) -> None:
    """Part a special token in a text where it is a piece like any other to the tokenizer's model.

    So it is in SentencePiece's models, which `split_special_tokens` does not reach. "</s>" is read
    as "< /s>" then, after whatever else is normalised; texts without special tokens are as before.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    steps = [] if backend.normalizer is None else [backend.normalizer]
    for token in tokenizer.all_special_tokens:
        read = tokenizer(token, add_special_tokens=False)["input_ids"]
        number = tokenizer.convert_tokens_to_ids(token)
        # Of an unknown character the model says the same.
        if number != tokenizer.unk_token_id and number in read:
            steps.append(normalizers.Replace(token, f"{token[0]} {token[1:]}"))
    if len(steps) > 1:
        backend.normalizer = normalizers.Sequence(steps)


def padding(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the token that fills up batches, and whether it is the end token."""
    the_end = tokenizer.pad_token_id == tokenizer.eos_token_id
    return f"{tokenizer.pad_token}{' (the end token)' if the_end else ''}"


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Refuse a length that the model cannot take.

    Raises:
        UserError: `max_length` is beyond the limit.
    """
    limit = tokenizer.model_max_length
    if max_length > limit and limit < NO_LIMIT:
        raise UserError(
            f"encode.max_length: {max_length} is beyond what the model takes; at most {limit}"
        )


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int,
    keep: Keep = "head",
) -> Tokens:
    """Tokenize texts and cut long ones down; padding is left to the batch.

    Args:
        tokenizer: the model's.
        texts: the texts.
        max_length: tokens at most, special tokens included.
        keep: what is kept of a longer text: its first tokens, its last, or half of either ("head
            + tail" of Sun et al., How to Fine-Tune BERT for Text Classification?, 2019).
    """
    first, last = surroundings(tokenizer)
    ids: list[list[int]] = []
    truncated = 0
    for start in range(0, len(texts), CHUNK):
        batch = tokenizer(
            list(texts[start : start + CHUNK]),
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        for row in batch["input_ids"]:
            truncated += len(row) > max_length
            ids.append(cut(row, max_length, keep=keep, first=first, last=last))
    return Tokens(ids=ids, truncated=truncated)


def surroundings(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return how many special tokens the tokenizer puts before a text, and how many after it."""
    mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    text = [place for place, special in enumerate(mask) if not special]
    return (text[0], len(mask) - 1 - text[-1]) if text else (0, 0)


def cut(row: list[int], length: int, *, keep: Keep, first: int, last: int) -> list[int]:
    """Return the token ids of a text, cut down to `length`.

    Args:
        row: token ids of the whole text.
        length: how many may stay.
        keep: which of the text's own.
        first: special tokens before the text, which stay.
        last: special tokens after it, which stay.
    """
    if len(row) <= length:
        return row
    own = length - first - last
    tail = {"head": 0, "tail": own, "both": own // 2}[keep]
    end = len(row) - last
    return row[: first + own - tail] + row[end - tail : end] + row[end:]


def summary(tokens: Tokens) -> dict[str, Any]:
    """Return the lengths in tokens and the share of texts that were cut off."""
    lengths = np.array([len(row) for row in tokens.ids])
    return {
        "rows": len(lengths),
        "tokens": int(lengths.sum()),
        "mean_length": round(float(lengths.mean()), 1),
        "median_length": int(np.median(lengths)),
        "longest": int(lengths.max()),
        "truncated_share": round(tokens.truncated / len(lengths), 4),
    }


def manifest(
    study: Params,
    subset: Mapping[str, Any],
    tokens: Mapping[str, Tokens],
    *,
    hashes: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Return what a reader needs to know about the token cache.

    Args:
        study: the parameters.
        subset: what the subset stage says of the rows.
        tokens: token ids of each split.
        hashes: of each split as written, and of the tokenizer's folder.
        tokenizer: the model's.
    """
    return {
        "model": study.model.name,
        "revision": study.model.revision,
        "max_length": study.encode.max_length,
        "keep": study.encode.keep,
        "pad_token_id": tokenizer.pad_token_id,
        "pad_token": padding(tokenizer),
        "tokenizer_sha256": hashes[TOKENIZER],
        "subset_sha256": subset["sha256"],
        "labels": subset["labels"],
        "splits": {name: summary(made) | {"sha256": hashes[name]} for name, made in tokens.items()},
    }


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
