"""The folder of the weights is whole: Transformers and PEFT load it as they load others' models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fairtune.core import params, sources
from fairtune.data import tokenization
from fairtune.runs import token_cache
from fairtune.training import weights
from tests import tiny, trained

# What the documentation gives a user to type, for each method of a study in the working directory.
LOADING = """
import json, sys
import pyarrow.parquet as pq
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import (
    AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, pipeline
)
torch.set_num_threads(1)
name, revision = json.loads(sys.argv[1])
texts = pq.read_table("data/subset/test.parquet").column("text").to_pylist()

def asked(**options):
    classify = pipeline("text-classification", truncation=True, top_k=None, **options)
    rows = [{one["label"]: one["score"] for one in row} for row in classify(texts, batch_size=8)]
    return [[row[name] for name in ("negative", "neutral", "positive")] for row in rows]

found = {"full": {"pipeline": asked(model="models/full/1/weights")}}
for method in ("lora", "qlora", "ia3"):
    folder = f"models/{method}/1/weights"
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=["classifier", "score"],
    )
    stored = {"quantization_config": four_bits} if method == "qlora" else {}
    config = AutoConfig.from_pretrained(f"{folder}/base")
    base = AutoModelForSequenceClassification.from_pretrained(
        name, revision=revision, config=config, **stored
    )
    found[method] = {"PEFT": asked(model=PeftModel.from_pretrained(base, folder), tokenizer=folder)}
    if revision:
        both = AutoModelForSequenceClassification.from_pretrained(folder, config=config, **stored)
        found[method]["Transformers"] = asked(model=both, tokenizer=folder)
        auto = AutoPeftModelForSequenceClassification.from_pretrained(
            folder, num_labels=3, **stored
        ).eval()
        batch = AutoTokenizer.from_pretrained(folder)(
            texts, truncation=True, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            found[method]["AutoPeftModel"] = auto(**batch).logits.softmax(-1).tolist()
print(json.dumps(found))
"""
FOUR_BITS = 0.02
"""Largest difference of a probability with 4-bit weights, which the library's kernels for
prediction multiply in bf16 on some processors."""


def recorded(root: Path, method: str) -> NDArray[np.float64]:
    """Return the probabilities that a training wrote down, shape (rows, classes)."""
    table = pq.read_table(root / f"models/{method}/1/predictions.parquet")
    return np.array(table.column("probabilities").to_pylist())


def check(root: Path, base: str, revision: str | None) -> set[str]:
    """Load all methods in a fresh process, compare with the record; return the ways tried."""
    printed = trained.fresh(root, "-c", LOADING, json.dumps([base, revision]))
    found = json.loads(printed.splitlines()[-1])
    assert set(found) == set(trained.METHODS)
    for method, ways in found.items():
        expected = recorded(root, method)
        # How much a tiny model learns differs with the tokenizer that was trained for it.
        assert np.ptp(expected, axis=0).max() > 0.005, "rows that all look alike prove nothing"
        for way, probabilities in ways.items():
            given = np.array(probabilities)
            most = FOUR_BITS if method == "qlora" else 1e-5
            assert np.abs(given - expected).max() < most, (method, way)
            assert np.corrcoef(given[:, 0], expected[:, 0])[0, 1] > 0.99, (method, way)
    return {way for ways in found.values() for way in ways}


def test_a_fresh_process_loads_what_was_trained_on_a_model_of_the_hub(hub_study: Path) -> None:
    assert check(hub_study, trained.HUB_NAME, trained.COMMIT) == {
        "pipeline",
        "PEFT",
        "Transformers",
        "AutoPeftModel",
    }


def test_a_fresh_process_loads_what_was_trained_on_a_decoder(decoder_study: Path) -> None:
    assert check(decoder_study, "encoder", None) == {"pipeline", "PEFT"}


@pytest.mark.parametrize("method", trained.METHODS)
def test_the_classes_have_their_names(hub_study: Path, method: str) -> None:
    folder = trained.weights(hub_study, method)
    place = folder if method == "full" else folder / weights.BASE
    config = json.loads((place / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert config["label2id"] == {"negative": 0, "neutral": 1, "positive": 2}
    assert "quantization_config" not in config


@pytest.mark.parametrize("method", ["lora", "qlora", "ia3"])
def test_an_adapter_names_its_model_as_others_know_it(
    hub_study: Path, decoder_study: Path, method: str
) -> None:
    def named(root: Path) -> tuple[str, str | None]:
        content = json.loads((trained.weights(root, method) / weights.ADAPTER_CONFIG).read_text())
        return content["base_model_name_or_path"], content["revision"]

    assert named(hub_study) == (trained.HUB_NAME, trained.COMMIT)
    assert named(decoder_study) == ("folder:encoder", None)


def test_a_model_of_a_package_is_named_with_its_version(tmp_path: Path) -> None:
    name = "package:huggingface_hub/py.typed"
    found, version = sources.public_name(name, None)
    assert found == name
    assert version
    assert version[0].isdigit()
    assert sources.public_name("package:no_such_package/model", None)[1] is None
    assert sources.public_name(str(tmp_path), "main") == (f"folder:{tmp_path.name}", None)
    assert sources.public_name("someone/model", "abc") == ("someone/model", "abc")


def test_no_file_holds_a_path_of_this_machine(hub_study: Path, decoder_study: Path) -> None:
    for root in (hub_study, decoder_study):
        files = [path for path in (root / "models").rglob("weights/**/*") if path.is_file()]
        assert len(files) > 12
        for path in files:
            content = path.read_bytes()
            assert str(root).encode() not in content, path
            assert str(Path.home()).encode() + b"/" not in content, path


@pytest.mark.parametrize("method", trained.METHODS)
def test_the_tokenizer_reads_texts_as_the_study_did(hub_study: Path, method: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained.weights(hub_study, method))
    assert (tokenizer.model_max_length, tokenizer.truncation_side) == (16, "left")
    texts = pq.read_table(hub_study / "data/subset/test.parquet").column("text").to_pylist()
    cached = token_cache.read(hub_study / "data/encoded/test.parquet")
    whole = tokenizer(texts)["input_ids"]
    assert max(map(len, whole)) > 16, "no text is cut"
    read = tokenizer(texts, truncation=True)["input_ids"]
    assert read == [cached.row(place).tolist() for place in range(len(texts))]
    # What a text spells out is text.
    spelled = tokenizer("a [SEP] b", add_special_tokens=False)["input_ids"]
    assert tokenizer.sep_token_id not in spelled


@pytest.mark.parametrize("keep", ["head", "tail"])
@pytest.mark.parametrize(
    "kind", ["roberta", "xlm-roberta", "deberta-v2", "modernbert", "gpt2", "llama", "qwen2"]
)
def test_every_kind_of_tokenizer_comes_through(
    encoder: Callable[..., Path], tmp_path: Path, kind: str, keep: str
) -> None:
    from transformers import AutoTokenizer

    study = params.Params.model_validate(
        tiny.study({"model.name": str(encoder(kind)), "encode.max_length": 9, "encode.keep": keep})
    )
    ours = tokenization.load_tokenizer(study.model)
    ours.save_pretrained(tmp_path / "cache")
    (tmp_path / "weights").mkdir()
    # Beside a whole model lies its configuration, by which Transformers chooses a class as well.
    shutil.copy(encoder(kind) / "config.json", tmp_path / "weights")
    weights.complete(tmp_path / "weights", tokenizer=tmp_path / "cache", study=study)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "weights")
    special = ours.all_special_tokens[0]
    texts = [text for text, _ in tiny.reviews(20)] + ["short", f"one {special} in between"]
    read = theirs(texts, truncation=True)["input_ids"]
    wanted = tokenization.encode(ours, texts, max_length=9, keep=study.encode.keep).ids
    assert max(map(len, ours(texts)["input_ids"])) > 9
    assert read == wanted
    assert theirs.pad_token_id == ours.pad_token_id


def test_the_side_that_is_cut_off_follows_what_the_study_keeps() -> None:
    assert weights.SIDES == {"head": "right", "tail": "left", "both": "right"}


@pytest.mark.parametrize("method", trained.METHODS)
def test_what_is_shipped_counts_the_weights_alone(hub_study: Path, method: str) -> None:
    folder = trained.weights(hub_study, method)
    record = json.loads((folder.parent / "run.json").read_text())
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
    assert list(sizes) == ["model.safetensors" if method == "full" else "adapter_model.safetensors"]
    assert record["shipped_mib"] == round(sum(sizes.values()) / 2**20, 3)
    assert (folder / "tokenizer.json").exists()
