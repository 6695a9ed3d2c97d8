"""What was saved predicts what was recorded, in a process that did not train it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from fairtune import reload
from fairtune.core import params, paths
from stages import encode, subset, train
from tests import commands, tiny

ROOT = Path(__file__).parent.parent
LORA = {"learning_rate": 0.01, "adapter": "lora", "targets": ["query", "value"], "r": 2}
METHODS = {
    "full": {"learning_rate": 0.001},
    "lora": LORA,
    "qlora": LORA | {"quantize": "nf4"},
    "ia3": {
        "learning_rate": 0.01,
        "adapter": "ia3",
        "targets": ["key", "value", "feedforward_out"],
        "feedforward": ["feedforward_out"],
    },
    "adalora": {
        "learning_rate": 0.01,
        "adapter": "adalora",
        "targets": ["query", "value"],
        "init_r": 4,
        "target_r": 2,
    },
}
PROOF = """
import contextlib, dataclasses, json, sys
from fairtune import reload
from fairtune.core import params, terminal
terminal.quiet_libraries()
for folder in sys.argv[1:]:
    with contextlib.chdir(folder):
        study = params.load()
        print(json.dumps({
            name: dataclasses.asdict(reload.prove(study, name=name, seed=1))
            for name in study.methods
        }))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Callable[..., Path]) -> Path:
    """Train the methods on a tiny study; return its folder."""
    return study(tmp_path_factory.mktemp("study"), encoder(), METHODS)


@pytest.fixture(scope="module")
def decoders(
    tmp_path_factory: pytest.TempPathFactory, encoder: Callable[..., Path]
) -> dict[str, Path]:
    """Train the methods on two decoders; return the folder of each."""
    # Neither has a padding token: batches are filled up with the end token.
    methods = {name: block for name, block in METHODS.items() if name != "adalora"}
    made = tmp_path_factory.mktemp("decoders")
    return {kind: study(made / kind, encoder(kind), methods) for kind in ("llama", "gpt2")}


@pytest.fixture(scope="module")
def proofs(finished: Path, decoders: dict[str, Path]) -> dict[str, dict[str, dict]]:
    """Reload every run in a new process, one for all studies; return the proofs of each study."""
    roots = {"bert": finished, **decoders}
    done = subprocess.run(
        [sys.executable, "-c", PROOF, *map(str, roots.values())],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()[-len(roots) :]
    return dict(zip(roots, map(json.loads, lines), strict=True))


def study(root: Path, model: Path, methods: dict[str, dict], **changes: object) -> Path:
    """Train methods on a model, in a folder that is returned."""
    changes |= {"model.name": str(model), "methods": methods, "seeds": [1]}
    tiny.write_study(root, changes)
    before = Path.cwd()
    os.chdir(root)
    try:
        subset.main()
        encode.main()
        for name in methods:
            with mock.patch.object(sys, "argv", ["train", name, "1"]):
                train.main()
    finally:
        os.chdir(before)
    return root


def test_a_new_process_reproduces_the_predictions_of_all_methods(
    proofs: dict[str, dict[str, dict]],
) -> None:
    found = proofs["bert"]
    assert set(found) == set(METHODS)
    for name, proof in found.items():
        assert proof["largest_difference"] <= 1e-3, name
        assert proof["changed"] == 0, name


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_new_process_reproduces_the_predictions_of_decoders(
    decoders: dict[str, Path], proofs: dict[str, dict[str, dict]], kind: str
) -> None:
    found = proofs[kind]
    assert set(found) == set(METHODS) - {"adalora"}
    for name, proof in found.items():
        assert proof["largest_difference"] <= 1e-3, name
        assert proof["changed"] == 0, name
    record = json.loads((decoders[kind] / "models/qlora/1/run.json").read_text())
    assert record["audit"]["quantized_modules"]
    assert not [name for name in record["audit"]["quantized_modules"] if "score" in name]
    assert record["audit"]["head_dtypes"] == ["float32"]


@pytest.mark.parametrize("names", [["bad", "good"], ["LABEL_0", "LABEL_1"]])
def test_a_family_whose_usual_number_of_classes_is_another_reads_two_again(
    tmp_path: Path, encoder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    # BART counts the end tokens of a text, which must be as many in each: here some spell one out.
    rows = [
        (f"</s> {text}" if place % 5 == 0 else text, label)
        for place, (text, label) in enumerate(tiny.reviews(60))
    ]
    tiny.write_csv(tmp_path / "reviews.csv", [("text", "label"), *rows])
    lora = {"learning_rate": 0.01, "adapter": "lora", "target_modules": r".*\.(q|v)_proj", "r": 2}
    methods = {"full": {"learning_rate": 0.001}, "lora": lora}
    study(tmp_path, encoder("bart"), methods, **{"data.label_names": names})
    monkeypatch.chdir(tmp_path)
    for name in methods:
        proof = reload.prove(params.load(), name=name, seed=1)
        assert proof.rows == 12
        assert proof.largest_difference <= 1e-3
    config = json.loads((tmp_path / "models/full/1/weights/config.json").read_text())
    assert config.get("id2label") == ({"0": "bad", "1": "good"} if names[0] == "bad" else None)


def test_what_is_shipped_is_safetensors_and_adapters_are_small(finished: Path) -> None:
    for name in METHODS:
        folder = finished / paths.training_folder(name, 1) / paths.WEIGHTS
        assert list(folder.glob("*.safetensors"))
        assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}]
    sizes = {
        name: json.loads((finished / paths.training_folder(name, 1) / paths.RECORD).read_text())
        for name in METHODS
    }
    assert sizes["lora"]["shipped_mib"] < sizes["full"]["shipped_mib"] / 5


def test_the_record_audits_the_four_bits_and_spares_the_head(finished: Path) -> None:
    record = json.loads((finished / "models/qlora/1/run.json").read_text())
    assert record["audit"]["quantized_modules"]
    assert not [name for name in record["audit"]["quantized_modules"] if "classifier" in name]
    assert record["audit"]["head_dtypes"] == ["float32"]
    assert record["memory"]["gpu_memory_mib"] is None


def test_the_head_starts_from_the_same_weights_in_all_methods(finished: Path) -> None:
    records = [
        json.loads((finished / paths.training_folder(name, 1) / paths.RECORD).read_text())
        for name in METHODS
    ]
    assert len({record["head_sha256"] for record in records}) == 1
    assert len({record["data"]["order_sha256"] for record in records}) == 1
    assert {record["model_type"] for record in records} == {"bert"}


def test_ranks_that_adalora_dropped_are_not_shipped(finished: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(finished / "models/adalora/1/weights/adapter_model.safetensors")
    kept = [len(tensor) for name, tensor in weights.items() if "lora_E" in name]
    assert sum(kept) == 2 * 4 < 4 * 4
    record = json.loads((finished / "models/adalora/1/run.json").read_text())
    assert "gradients" in record["execution"]["note"]


def test_weights_that_were_changed_are_found_out(finished: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = finished / "models/lora/1/weights/adapter_model.safetensors"
    kept = path.read_bytes()
    try:
        save_file({name: -20 * tensor for name, tensor in load_file(path).items()}, path)
        done = commands.run(reload.main, finished, "lora", "1")
    finally:
        path.write_bytes(kept)
    assert done.returncode == 1
    assert "the weights are not those of the record" in done.stderr
