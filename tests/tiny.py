"""Tiny real things for tests: pretrained-like checkpoints, tokenizers trained on the spot, corpora.

    tiny.write_reviews(tmp_path / "reviews.csv", rows=200)
    tiny.write_encoder(tmp_path / "encoder")                     # BERT, WordPiece
    tiny.write_encoder(tmp_path / "encoder", kind="roberta")     # RoBERTa, byte-level BPE
    tiny.write_encoder(tmp_path / "encoder", kind="deberta-v2")  # DeBERTa-v3, SentencePiece
    tiny.write_encoder(tmp_path / "decoder", kind="llama")       # Llama-3, a tokenizer.json
    tiny.write_study(tmp_path, {"train.epochs": 2})              # params.yaml and what it names

Nothing is fetched. Models have two layers, 64 wide (bitsandbytes packs rows of 64 on a CPU). All is
a function of the arguments alone.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from fairtune.runs.token_cache import Encoded

OPENINGS = ("This film", "The story", "Her acting", "The music", "A sequel that", "The ending")
VERBS = ("is", "feels", "was", "looks", "remains", "seemed")
WORDS = {
    "negative": ("awful", "dull", "boring", "a mess", "hollow", "badly cut", "too long"),
    "positive": ("lovely", "moving", "great fun", "a gem", "clever", "well cut", "worth it"),
    "neutral": ("average", "usual", "as expected", "watchable", "plain", "so so", "ordinary"),
}
TAILS = ("from the start", "in every scene", "at times", "all the same", "to my surprise")
LABELS = ("negative", "positive")
POSITIONS = 64
# Their tiny models have four heads, of which two share a key and a value where the family can.
DECODERS = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi",
    "phi3",
    "gpt2",
)
END = "<|endoftext|>"
SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
"""An encoder's configuration, for models that need no checkpoint and no chance."""

STUDY: dict[str, Any] = {
    "data": {"source": "reviews.csv"},
    "subset": {"train": 24, "validation": 12, "test": 12, "seed": 1},
    "model": {"name": "encoder"},
    "encode": {"max_length": 16},
    "train": {
        "epochs": 1,
        "batch_size": 8,
        "logging_steps": 1,
        "device": "cpu",
        "precision": "fp32",
    },
    "seeds": [1],
    "search": {"trials": 3, "seeds": [101, 102], "epochs": None, "extend": True},
    "methods": {
        "full": {"learning_rate": 0.001},
        "lora": {"learning_rate": 0.01, "adapter": "lora", "targets": ["query", "value"], "r": 2},
    },
    "compare": {
        "metric": "accuracy",
        "allow_mixed_devices": False,
        "palette": ["#112233", "#445566"],
    },
    "report": {"title": "A tiny study", "author": "Nobody"},
}


def reviews(rows: int, labels: tuple[str, ...] = LABELS) -> list[tuple[str, str]]:
    """Return different texts with their labels, the labels in turn."""
    parts = itertools.product(range(1, 1000), TAILS, OPENINGS, VERBS)
    made = []
    for index, (number, tail, opening, verb) in zip(range(rows), parts, strict=False):
        label = labels[index % len(labels)]
        words = WORDS[label]
        text = f"{opening} {verb} {words[index % len(words)]} {tail}, scene {number} of {index}."
        made.append((text, label))
    return made


def encoded_rows(count: int = 40, *, longest: int = 20) -> Encoded:
    """Return rows of 4 to `longest` - 1 tokens whose class shows in the first of them."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, longest, count)
    labels = generator.integers(0, 2, count)
    tokens = [
        np.concatenate([[5 + label], generator.integers(8, 30, length - 1)])
        for label, length in zip(labels, lengths, strict=True)
    ]
    return Encoded.of(tokens, row_ids=[f"train/{index}" for index in range(count)], labels=labels)


def write_reviews(path: Path, *, rows: int, labels: tuple[str, ...] = LABELS) -> None:
    """Write a CSV file with the columns text and label."""
    write_csv(path, [("text", "label"), *reviews(rows, labels)])


def write_csv(path: Path, rows: list[tuple[Any, ...]], *, delimiter: str = ",") -> None:
    """Write rows, the header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_hub_dataset(folder: Path, **splits: list[tuple[str, int]]) -> None:
    """Write a dataset in the format of the Hub: Parquet with ClassLabel features, and a card."""
    from datasets import ClassLabel, Dataset, Features, Value

    (folder / "data").mkdir(parents=True)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    for split, rows in splits.items():
        columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        made = Dataset.from_dict(columns, features=features)
        made.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    files = "".join(f"  - split: {s}\n    path: data/{s}-*\n" for s in splits)
    card = f"---\nconfigs:\n- config_name: plain_text\n  data_files:\n{files}  default: true\n---\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def config(kind: str, *, vocabulary: int = 64, **changes: Any) -> Any:
    """Return the configuration of a tiny model of this `model_type`."""
    from transformers import AutoConfig

    # RoBERTa and its kin number positions from the padding token's id on.
    positions = POSITIONS + 2 if kind in {"roberta", "xlm-roberta", "mpnet"} else POSITIONS
    common = {"vocab_size": vocabulary, "max_position_embeddings": positions}
    size = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
    }
    match kind:
        case "distilbert":
            size = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}
        case "electra" | "albert":
            size |= {"embedding_size": 64}
        case "bart":
            size = {"d_model": 64}
            for part in ("encoder", "decoder"):
                size |= {f"{part}_layers": 2, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 128}
        case "fnet":
            del size["num_attention_heads"]
        case "modernbert":
            ids = ("pad", "bos", "eos", "cls", "sep")
            common |= {f"{name}_token_id": number for number, name in enumerate(ids)}
        case "gpt2":
            size |= {"num_attention_heads": 4, "n_inner": 128}
            del size["intermediate_size"]
            common |= {"bos_token_id": 1, "eos_token_id": 1}
        case _ if kind in DECODERS:
            size |= {"num_attention_heads": 4, "num_key_value_heads": 2}
            common |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
            if kind in {"qwen3", "gemma", "gemma2", "gemma3_text"}:
                size |= {"head_dim": 16}
        case "deberta-v2":  # as DeBERTa-v3 has it
            common |= {
                "relative_attention": True,
                "position_biased_input": False,
                "pos_att_type": ["p2c", "c2p"],
                "share_att_key": True,
                "norm_rel_ebd": "layer_norm",
                "position_buckets": 16,
            }
    return AutoConfig.for_model(kind, **{**common, **size, **changes})


def write_encoder(
    folder: Path, *, kind: str = "bert", head: int | None = None, **changes: Any
) -> None:
    """Write a checkpoint with its tokenizer: safetensors, as `from_pretrained` reads them.

    Args:
        folder: made by the call.
        kind: `model_type` of the model.
        head: classes of a head that the checkpoint holds; None writes the encoder alone.
        changes: keys of the model's configuration.
    """
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    folder.mkdir(parents=True)
    made = config(kind, vocabulary=write_tokenizer(folder, kind), **changes)
    made.num_labels = head or 2
    torch.manual_seed(0)
    factory = AutoModel if head is None else AutoModelForSequenceClassification
    factory.from_config(made).save_pretrained(folder)


def write_tokenizer(folder: Path, kind: str) -> int:
    """Train the kind of tokenizer that such a model comes with; return how many tokens it has."""
    match kind:
        case "roberta" | "bart":
            special_tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
            return _write_byte_bpe(folder, special_tokens, tokenizer_class="RobertaTokenizer")
        case "xlm-roberta":
            return _write_unigram(folder, "sentencepiece.bpe.model", {})
        case "deberta-v2":
            ids = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
            names = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
            pieces = {f"{name}_piece": piece for name, piece in names.items()}
            return _write_unigram(folder, "spm.model", {**ids, **pieces})
        case "gpt2":
            return _write_byte_bpe(folder, [END], tokenizer_class="GPT2Tokenizer")
        case "qwen2" | "qwen3":
            special = {"eos_token": END, "pad_token": END}
            return _write_byte_bpe(folder, [END], tokenizer_class="Qwen2Tokenizer", **special)
        case _ if kind in DECODERS:
            return _write_decoder_json(folder, pads=kind.startswith("gemma"))
    tokens = _write_wordpiece(folder)
    if kind == "modernbert":
        _write_json_alone(folder)
    return tokens


def _texts() -> list[str]:
    return [text for text, _ in reviews(300, ("negative", "positive", "neutral"))]


def _write_wordpiece(folder: Path) -> int:
    """BERT's kind: lower case, words in pieces, a `vocab.txt`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(_texts(), trainer)
    vocabulary = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    _write_settings(folder, tokenizer_class="BertTokenizer")
    return len(vocabulary)


def _write_json_alone(folder: Path) -> None:
    """ModernBERT's kind: a `tokenizer.json` and no vocabulary beside it."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(folder)
    (folder / "vocab.txt").unlink()
    tokenizer.save_pretrained(folder)
    _write_settings(
        folder, **tokenizer.special_tokens_map, tokenizer_class="PreTrainedTokenizerFast"
    )


def _byte_bpe(special_tokens: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _write_byte_bpe(folder: Path, special_tokens: list[str], **settings: Any) -> int:
    """RoBERTa's, GPT-2's and Qwen's kind: bytes, merged; a `vocab.json` and a `merges.txt`."""
    tokenizer = _byte_bpe(special_tokens)
    tokenizer.model.save(str(folder))
    _write_settings(folder, **settings)
    return int(tokenizer.get_vocab_size())


def _write_decoder_json(folder: Path, *, pads: bool) -> int:
    """Llama-3's kind: a `tokenizer.json` whose texts begin with a token; Gemma's also pads."""
    from tokenizers import decoders, processors

    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    special |= {"pad_token": "<pad>"} if pads else {}
    tokenizer = _byte_bpe(list(special.values()))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_settings(folder, **special, tokenizer_class="PreTrainedTokenizerFast")
    return int(tokenizer.get_vocab_size())


def _write_unigram(folder: Path, name: str, options: Mapping[str, Any]) -> int:
    """SentencePiece's kind: a unigram model alone, as the Hub's DeBERTa-v3 has it."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_texts()),
        model_writer=model,
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    (folder / name).write_bytes(model.getvalue())
    # Transformers adds a padding and a mask token to XLM-R's and DeBERTa's models.
    return 100 + 10


def _write_settings(folder: Path, **settings: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def study(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the tiny study with dotted keys set: `{"train.epochs": 2}`; None drops a key."""
    made: dict[str, Any] = json.loads(json.dumps(STUDY))
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        section = made
        for parent in parents:
            section = section[parent]
        if value is DROP:
            del section[last]
        else:
            section[last] = value
    return made


DROP = object()


def write_study(folder: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Write `params.yaml`, changed as `study` says, and the corpus that it names."""
    if not (folder / "reviews.csv").exists():
        write_reviews(folder / "reviews.csv", rows=60)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(study(changes), file)
