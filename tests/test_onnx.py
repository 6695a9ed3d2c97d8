"""A trained model as an ONNX graph predicts as the model did, or is refused with the reason."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard

from fairtune import export, latency
from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.models.last_token import settle_padding
from fairtune.report import latencies
from fairtune.runs import store
from fairtune.serving import artefact, onnx_export, onnx_graph
from fairtune.serving import latency as serving_latency
from tests import tiny, trained
from tests.test_export import ASKING, code, line_of, ran, recorded

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in onnx_graph.NEEDED),
    reason="the packages of requirements-onnx.txt are not installed",
)
PAD = 2
CLASSES = 3
# Rows and tokens that no graph is traced on.
SHAPES = ((1, 3), (1, 16), (4, 9), (3, 33))


def tiny_model(kind: str, **changes: Any) -> Any:
    """Return a tiny classifier of a family, its weights large enough to tell texts apart.

    It has one layer: the studies' models have two, and each costs the exporter a second.
    """
    from transformers import AutoModelForSequenceClassification

    layers = {"n_layers" if kind == "distilbert" else "num_hidden_layers": 1}
    config = tiny.config(kind, vocabulary=100, initializer_range=0.1, **layers, **changes)
    config.num_labels, config.pad_token_id = CLASSES, PAD
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    settle_padding(model, PAD)
    return model


def batch(rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """Return rows of which all but the first are filled up from their middle on."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 90, (rows, tokens)))
    mask = torch.ones_like(ids)
    mask[1:, tokens // 2 + 1 :] = 0
    return {"input_ids": ids.where(mask > 0, PAD), "attention_mask": mask}


@needs_onnx
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "mpnet", "llama"])
def test_a_graph_takes_any_number_of_rows_and_tokens(kind: str, tmp_path: Path) -> None:
    model, path = tiny_model(kind), tmp_path / "model.onnx"
    onnx_graph.write_graph(model, path, batch(2, 8))
    graph = onnx_graph.OnnxModel(path, family=kind)
    assert [one.name for one in graph.session.get_inputs()] == list(onnx_graph.INPUTS)
    answers = []
    for shape in SHAPES:
        with torch.inference_mode():
            expected = model(**batch(*shape)).logits.numpy()
            found = graph(**batch(*shape)).logits.numpy()
        assert found.shape == (shape[0], CLASSES)
        assert np.abs(found - expected).max() < 1e-5
        answers.append(found[0])
    assert np.ptp(answers, axis=0).max() > 0.01, "it must read the texts"


@needs_onnx
def test_weights_too_large_for_one_file_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "MOST_IN_ONE_FILE", 0)
    model = tiny_model("distilbert")
    (tmp_path / "part").mkdir()
    onnx_graph.write_graph(model, tmp_path / "part/model.onnx", batch(2, 8))
    folder = (tmp_path / "part").rename(tmp_path / "moved")
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "model.onnx.data"}
    graph = onnx_graph.OnnxModel(folder / "model.onnx", family="distilbert")
    with torch.inference_mode():
        gap = graph(**batch(3, 9)).logits - model(**batch(3, 9)).logits
    assert gap.abs().max() < 1e-5


@needs_onnx
def test_a_family_that_cannot_be_exported_is_refused_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # How many windows a text has is a number that is computed within the model.
    model = tiny_model("longformer", attention_window=[4])
    with pytest.raises(UserError) as error:
        onnx_graph.write_graph(model, tmp_path / "model.onnx", batch(2, 8))
    assert re.fullmatch(
        "a model of the family 'longformer' cannot be exported to ONNX: .*data-dependent .*",
        str(error.value),
    )
    assert not list(tmp_path.iterdir())
    assert not "".join(capfd.readouterr())


@needs_onnx
def test_a_graph_that_cannot_be_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="the family 'bert' cannot be exported to ONNX: "):
        onnx_graph.OnnxModel(tmp_path / "model.onnx", family="bert")


@pytest.mark.parametrize("name", onnx_graph.NEEDED)
def test_without_the_packages_one_line_says_how_to_install_them(
    hub_study: Path, tmp_path: Path, name: str
) -> None:
    found: Callable[[str], object] = importlib.util.find_spec
    without = mock.patch.object(
        importlib.util, "find_spec", lambda asked: None if asked == name else found(asked) or 1
    )
    with without:
        line = line_of(export.main, hub_study, "lora", "--to", "onnx", tmp_path / "out")
    assert line == (
        f"fairtune: --to onnx: {name} is not installed; run `make onnx`, or "
        "`pip install -r requirements-onnx.txt`\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_graph_is_written_in_fp32_alone(hub_study: Path, tmp_path: Path) -> None:
    words = ("lora", "--to", "onnx", tmp_path / "out", "--dtype", "bf16")
    assert "--dtype: bf16 is not right for --to onnx" in line_of(export.main, hub_study, *words)


@pytest.fixture(scope="module")
def write_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Return a `write_graph` that writes each model once and copies the file for its equals."""
    write, made = onnx_export.write_graph, tmp_path_factory.mktemp("written")

    def copied(model: Any, path: Path, example: Any) -> None:
        told = hashlib.sha256(model.config.to_json_string().encode())
        for name, tensor in model.state_dict().items():
            told.update(name.encode() + tensor.numpy().tobytes())
        kept = made / f"{told.hexdigest()}.onnx"
        if not kept.exists():
            write(model, kept, example)
        shutil.copy(kept, path)

    return copied


@pytest.fixture(scope="module")
def folders(
    hub_study: Path, write_once: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Export methods of the Hub's encoder as graphs; what was printed lies beside each folder."""
    made = tmp_path_factory.mktemp("graphs")
    asked = {"full": [], "lora": ["1"], "qlora": ["--dequantize"]}
    for name, words in asked.items():
        with mock.patch.object(onnx_export, "write_graph", write_once):
            done = ran(export.main, hub_study, name, *words, "--to", "onnx", made / name)
        assert done.returncode == 0, done.stderr
        (made / f"{name}.out").write_text(done.stdout)
    return {name: made / name for name in asked}


@needs_onnx
def test_the_folder_holds_all_that_onnx_runtime_needs(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == {
            *("config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json", "README.md")
        }
        config = json.loads((folder / "config.json").read_text())
        assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
        assert config["architectures"] == ["BertForSequenceClassification"]
    data = ModelCard((folders["lora"] / "README.md").read_text()).data
    assert data.library_name == "onnx"


@needs_onnx
def test_the_export_says_how_far_the_graph_is_from_what_was_trained(
    folders: dict[str, Path],
) -> None:
    said = {name: folder.with_name(f"{name}.out").read_text() for name, folder in folders.items()}
    for name in ("full", "lora"):
        assert "Run by ONNX Runtime on the processor, the model differs from" in said[name]
        assert "on 24 test rows (tolerance 0.001), and names another class in 0." in said[name]
    assert "with weights in 4 bits, by at most 0." in said["qlora"]
    assert "tolerance" not in said["qlora"]
    card = (folders["lora"] / "README.md").read_text()
    assert said["lora"].splitlines()[0].removeprefix("export: ") in card.replace("\\", "")


@needs_onnx
def test_the_lines_of_the_card_answer_in_the_shapes_of_a_pipeline(
    hub_study: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import pipeline

    assert ran(export.main, hub_study, "lora", "--to", "merged", tmp_path / "m").returncode == 0
    monkeypatch.chdir(folders["lora"])
    names: dict[str, Any] = {}
    exec(compile(code(folders["lora"]), "card", "exec"), names)
    ours = names["classify"]
    theirs = pipeline("text-classification", model=str(tmp_path / "m"), truncation=True)
    for text in ("A lovely film", ["A lovely film", "dull"]):
        for asked in ({}, {"top_k": None}):
            assert shape(ours(text, **asked)) == shape(theirs(text, **asked)), (text, asked)


def shape(answer: Any) -> Any:
    """Return lists and keys of an answer, without its scores."""
    if isinstance(answer, list):
        return [shape(part) for part in answer]
    return answer["label"], set(answer)


@needs_onnx
def test_the_lines_of_the_card_run_the_graph_without_torch(
    hub_study: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    texts = str((hub_study / "data/subset/test.parquet").resolve())
    lines = ["import os, sys", "sys.modules['torch'] = None"]
    for folder in folders.values():
        asked = ASKING.format(texts=texts)
        lines += [f"os.chdir({str(folder)!r})", code(folder), asked]
    (tmp_path / "follow.py").write_text("\n".join(lines))
    printed = trained.fresh(hub_study, str(tmp_path / "follow.py")).splitlines()
    found = [json.loads(line) for line in printed if line.startswith('[{"')]
    assert len(found) == len(folders)
    for name, rows in zip(folders, found, strict=True):
        answers = np.array([[row[label] for label in trained.LABELS] for row in rows])
        gap = np.abs(answers - recorded(hub_study, name)).max()
        assert gap < (0.1 if name == "qlora" else 1e-5)


@needs_onnx
def test_a_decoder_reads_its_last_token_in_the_graph_too(
    decoder_study: Path, tmp_path: Path
) -> None:
    done = ran(export.main, decoder_study, "lora", "--to", "onnx", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    from transformers import AutoTokenizer

    texts = pq.read_table(decoder_study / "data/subset/test.parquet").column("text").to_pylist()
    read = AutoTokenizer.from_pretrained(tmp_path / "out")(
        texts, truncation=True, padding=True, return_tensors="pt"
    )
    graph = onnx_graph.OnnxModel(tmp_path / "out/model.onnx", family="llama")
    found = graph(**read).logits.softmax(-1).numpy()
    assert np.abs(found - recorded(decoder_study, "lora")).max() < 1e-5


@needs_onnx
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_graph_that_predicts_otherwise_is_not_left_behind(
    hub_study: Path, write_once: Callable[..., None], tmp_path: Path, method: str
) -> None:
    import onnx

    def wrong(model: Any, path: Path, example: Any) -> None:
        write_once(model, path, example)
        graph = onnx.load(path)
        (bias,) = (one for one in graph.graph.initializer if one.name == "model.classifier.bias")
        other = onnx.numpy_helper.to_array(bias) + np.array([1, 0, 0], np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(other, bias.name))
        onnx.save(graph, path)

    words = (method, "--dequantize", "--to", "onnx", tmp_path / "out")
    with mock.patch.object(onnx_export, "write_graph", wrong):
        line = line_of(export.main, hub_study, *words)
    assert "the graph differs by 0." in line
    assert "(tolerance 0.001). Nothing was written" in line
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_weights_in_4_bits_are_merged_only_when_asked(hub_study: Path, tmp_path: Path) -> None:
    line = line_of(export.main, hub_study, "qlora", "--to", "onnx", tmp_path / "out")
    assert "--to onnx: the frozen weights of qlora are in 4 bits" in line
    assert not list(tmp_path.iterdir())


# What serving costs.


@pytest.fixture(scope="module")
def measured(
    hub_study: Path, write_once: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Measure all methods in a copy of the study; what was printed lies beside it."""
    root = shutil.copytree(hub_study, tmp_path_factory.mktemp("measured") / "study")
    with mock.patch.object(onnx_export, "write_graph", write_once):
        done = ran(latency.main, root)
    assert done.returncode == 0, done.stderr
    (root / "said").write_text(done.stdout)
    return root


@needs_onnx
def test_each_form_of_each_method_is_measured_on_the_processor(measured: Path) -> None:
    with trained.inside(measured):
        found = latencies.read_serving()
        assert found is not None
        of = {
            name: {point.form: point for point in found.of(store.read_training(name, 1).record)}
            for name in trained.METHODS
        }
    assert found.rows == 24
    assert found.single_rows == 10
    assert list(of["full"]) == ["as trained", "ONNX"]
    for name in ("lora", "qlora", "ia3"):
        assert list(of[name]) == ["as trained", "merged", "ONNX"]
    lack = of["qlora"]["merged"]
    assert (lack.latency_ms, lack.precision) == (None, None)
    assert lack.note == "merging into 4-bit weights would change them"
    assert of["qlora"]["ONNX"].note == serving_latency.DEQUANTIZED
    for points in of.values():
        for point in points.values():
            if point is not lack:
                assert point.latency_ms
                assert point.rows_per_second
                # A row in a batch takes no longer than a row alone, by and large.
                assert point.rows_per_second > 100 / point.latency_ms
    said = (measured / "said").read_text()
    assert "latency: qlora, merged: n/a: merging into 4-bit weights would change them" in said
    assert "metrics/serving.json; `dvc repro report` takes it up" in said


@needs_onnx
def test_a_family_without_a_graph_is_measured_in_the_other_forms(hub_study: Path) -> None:
    refused = mock.patch.object(serving_latency, "written", side_effect=UserError("no such graph"))
    with trained.inside(hub_study), refused:
        found = list(serving_latency.forms(artefact.find(params.load(), "lora")))
    assert [point.form for point in found] == ["as trained", "merged", "ONNX"]
    assert found[-1].latency_ms is None
    assert found[-1].note == "no such graph"


def test_nothing_is_measured_without_the_packages(hub_study: Path) -> None:
    with mock.patch.object(importlib.util, "find_spec", return_value=None):
        line = line_of(latency.main, hub_study)
    assert line.startswith("fairtune: fairtune.latency: onnx is not installed; run `make onnx`")
    assert not (hub_study / latencies.SERVING).exists()
