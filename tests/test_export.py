"""What is handed on stands by itself: merged or as an adapter, with a card whose lines load it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file

from fairtune import card, export, predict
from fairtune.analysis import estimates
from fairtune.core import params, paths
from fairtune.core.errors import UserError
from fairtune.runs import store
from fairtune.serving import artefact, licences, merging, metadata, upload, usage
from fairtune.serving import card as cards
from stages import compare, record, score
from tests import commands, repositories, trained

# Follows the lines of a card, which leave `classify` behind.
ASKING = """
import json
import pyarrow.parquet as pq
texts = pq.read_table({texts!r}).column("text").to_pylist()
rows = [{{one["label"]: one["score"] for one in row}} for row in classify(texts, top_k=None)]
print(json.dumps(rows))
"""
Folders = dict[str, Path]


def ran(main: Callable[[], None], root: Path, *words: object) -> Any:
    """Run a command in a study's folder."""
    with trained.inside(root):
        return commands.run(main, root, *map(str, words))


def line_of(main: Callable[[], None], root: Path, *words: object) -> str:
    """Run a command that fails, and return the one line that it ends with."""
    done = ran(main, root, *words)
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fairtune: ")
    return str(done.stderr)


@pytest.fixture(scope="module")
def folders(hub_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Export all methods of the Hub's encoder in all forms; return the folders by their names."""
    made = tmp_path_factory.mktemp("exports")
    asked: dict[str, list[str]] = {
        "full": ["full", "--to", "merged"],
        "lora": ["lora", "1", "--to", "merged"],
        "ia3": ["ia3", "--to", "merged"],
        "qlora": ["qlora", "--dequantize", "--to", "merged"],
        "lora-adapter": ["lora", "--to", "adapter"],
        "ia3-adapter": ["ia3", "--to", "adapter"],
        "qlora-adapter": ["qlora", "--to", "adapter"],
    }
    for name, words in asked.items():
        done = ran(export.main, hub_study, *words, made / name)
        assert done.returncode == 0, done.stderr
        (made / f"{name}.out").write_text(done.stdout)
    return {name: made / name for name in asked}


@pytest.fixture(scope="module")
def answers(
    hub_study: Path, folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """Follow each card's lines in one fresh process; return the probabilities by folder."""
    texts = str((hub_study / "data/subset/test.parquet").resolve())
    lines = ["import os", "import torch", "torch.set_num_threads(1)"]
    for folder in folders.values():
        asked = ASKING.format(texts=texts)
        lines += [f"os.chdir({str(folder)!r})", code(folder), asked]
    script = tmp_path_factory.mktemp("script") / "follow.py"
    script.write_text("\n".join(lines))
    printed = trained.fresh(hub_study, str(script)).splitlines()
    found = [json.loads(line) for line in printed if line.startswith('[{"') and '": 0.' in line]
    return {
        name: np.array([[row[label] for label in trained.LABELS] for row in rows])
        for name, rows in zip(folders, found, strict=True)
    }


def code(folder: Path) -> str:
    """Return the lines of Python of a card."""
    return (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]


def recorded(root: Path, method: str) -> np.ndarray:
    with trained.inside(root):
        return store.read_training(method, 1).predictions.probabilities


@pytest.mark.parametrize("name", ["full", "lora", "ia3", "lora-adapter", "ia3-adapter"])
def test_the_lines_of_the_card_load_what_was_trained(
    hub_study: Path, answers: dict[str, np.ndarray], name: str
) -> None:
    expected = recorded(hub_study, name.partition("-")[0])
    assert np.abs(answers[name] - expected).max() < 1e-5


def test_an_adapter_of_4_bit_weights_is_loaded_beside_such(
    hub_study: Path, answers: dict[str, np.ndarray]
) -> None:
    gap = np.abs(answers["qlora-adapter"] - recorded(hub_study, "qlora")).max()
    assert gap < 0.02 < np.abs(answers["qlora"] - recorded(hub_study, "qlora")).max()


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "ia3"])
def test_a_merged_folder_needs_nothing_else(folders: Folders, name: str) -> None:
    files = {path.name for path in folders[name].iterdir()}
    assert files == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        "README.md",
    }
    weights = load_file(folders[name] / "model.safetensors")
    assert not [key for key in weights if "lora" in key or "ia3" in key or "base_layer" in key]
    config = json.loads((folders[name] / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert "quantization_config" not in config


def test_the_export_says_how_far_it_is_from_what_was_trained(folders: Folders) -> None:
    said = folders["lora"].with_name("lora.out").read_text()
    assert "on 24 test rows (tolerance 0.001), and names another class in 0." in said
    assert "5 files" in said
    said = folders["qlora"].with_name("qlora.out").read_text()
    assert "with weights in 4 bits, by at most 0." in said
    assert "tolerance" not in said
    assert said.splitlines()[0].removeprefix("export: ") in cards_text(folders["qlora"])


def cards_text(folder: Path) -> str:
    return (folder / "README.md").read_text().replace("\\", "")


@pytest.mark.parametrize("method", ["full", "lora", "ia3"])
def test_a_decoder_merged_predicts_the_same_with_transformers_alone(
    decoder_study: Path, tmp_path: Path, method: str
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    done = ran(export.main, decoder_study, method, "--to", "merged", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    texts = pq.read_table(decoder_study / "data/subset/test.parquet").column("text").to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = model(**batch).logits.softmax(-1).numpy()
    assert np.abs(found - recorded(decoder_study, method)).max() < 1e-5


def test_weights_in_bf16_take_half_the_room(
    hub_study: Path, folders: Folders, tmp_path: Path
) -> None:
    done = ran(
        export.main, hub_study, "lora", "--to", "merged", tmp_path / "out", "--dtype", "bf16"
    )
    assert "(tolerance 0.05)" in done.stdout
    weights = load_file(tmp_path / "out/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_a_folder_that_predicts_otherwise_is_not_left_behind(
    hub_study: Path, tmp_path: Path
) -> None:
    right = merging.plain_state

    def wrong(state: Any) -> Any:
        found = right(state)
        return found | {"classifier.bias": found["classifier.bias"] + torch.tensor([1.0, 0, 0])}

    with mock.patch.object(merging, "plain_state", wrong):
        line = line_of(export.main, hub_study, "lora", "--to", "merged", tmp_path / "out")
    assert "(tolerance 0.001)" in line
    assert "Nothing was written" in line
    assert not list(tmp_path.iterdir())


def test_weights_in_4_bits_are_merged_only_when_asked(hub_study: Path, tmp_path: Path) -> None:
    line = line_of(export.main, hub_study, "qlora", "--to", "merged", tmp_path / "out")
    assert "in 4 bits" in line
    assert "--dequantize" in line
    assert "--to adapter" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["full", "--to", "adapter", "x"], "full trains the whole model; use --to merged"),
        (["lora", "--to", "murged", "x"], "--to: no form 'murged'; did you mean 'merged'?"),
        (["lora", "9", "--to", "merged", "x"], "seed 9 is not among the seeds"),
        (["lara", "--to", "merged", "x"], "did you mean 'lora'?"),
        (["lora", "--to", "adapter", "data"], "'data' is there already, and not empty"),
        (["lora", "--to", "adapter", "models/lora/1/x"], "lies in models/"),
        (["lora", "--to", "adapter", "no/where"], "its folder is not there"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    hub_study: Path, words: list[str], line: str
) -> None:
    assert line in line_of(export.main, hub_study, *words)
    assert not (hub_study / "x").exists()


def test_an_adapter_that_cannot_be_merged_is_named(hub_study: Path, tmp_path: Path) -> None:
    with mock.patch.object(merging, "merged", lambda model: (model, "PEFT cannot merge this")):
        line = line_of(export.main, hub_study, "lora", "--to", "merged", tmp_path / "out")
    assert "--to merged: PEFT cannot merge this; hand the adapter on as it is" in line


def test_nothing_of_the_trainings_is_altered(hub_study: Path, folders: Folders) -> None:
    assert folders
    for method in trained.METHODS:
        folder = trained.weights(hub_study, method)
        assert not (folder / "README.md").exists()
        assert max(path.stat().st_mtime for path in folder.rglob("*")) < min(
            path.stat().st_mtime for path in folders["full"].iterdir()
        )


def test_dvc_finds_nothing_changed_by_what_uses_a_training(
    encoded: repositories.Repository, tmp_path: Path
) -> None:
    repository = repositories.copy(encoded, tmp_path / "clone")
    assert "train@lora-1" in repository.repro("train@lora-1")
    root, out = repository.root, tmp_path / "out"
    for main, words in (
        (predict.main, ["lora", "--text", "A lovely film"]),
        (card.main, ["lora", "--out", str(tmp_path / "card.md")]),
        (export.main, ["lora", "--to", "merged", str(out)]),
    ):
        done = commands.run(main, root, *words)
        assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").exists()
    assert repository.status("train@lora-1") == {}


# The Hub.


def test_what_would_be_sent_is_listed_and_nothing_is(hub_study: Path, tmp_path: Path) -> None:
    words = ("ia3", "--to", "adapter", tmp_path / "out", "--hub", "someone/ia3")
    with mock.patch.object(upload, "HfApi", side_effect=AssertionError("nothing is asked")):
        done = ran(export.main, hub_study, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    listed = [line.split()[-1] for line in lines if " MiB  " in line]
    assert listed == sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert "base/config.json" in listed
    assert "nothing was sent" in lines[-1]


def test_what_is_sent_is_the_folder_to_a_private_repository(
    hub_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    words = ("ia3", "--to", "adapter", tmp_path / "out", "--hub", "someone/ia3", "--send")
    with mock.patch.object(upload, "HfApi") as api:
        api.return_value.create_repo.return_value = "https://huggingface.co/someone/ia3"
        done = ran(export.main, hub_study, *words)
    assert "sent to https://huggingface.co/someone/ia3" in done.stdout
    api.return_value.create_repo.assert_called_once_with("someone/ia3", private=True, exist_ok=True)
    (sent,) = api.return_value.upload_folder.call_args_list
    assert (sent.kwargs["folder_path"], sent.kwargs["repo_id"]) == (tmp_path / "out", "someone/ia3")


class AnswerError(Exception):
    """An answer of the Hub."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}: of the server")
        self.response = mock.Mock(status_code=status)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AnswerError(401), "`hf auth login`"),
        (AnswerError(500), "could not be written: 500: of the server"),
        (type("ConnectError", (Exception,), {})("no route"), "does not answer"),
    ],
)
def test_what_the_hub_answers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with mock.patch.object(upload, "HfApi") as api:
        api.return_value.create_repo.side_effect = error
        with pytest.raises(UserError, match=re.escape(line)):
            upload.send(tmp_path, "someone/ia3")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--hub", "ia3"], "--hub: 'ia3' is not right; give USER/NAME"),
        (["--hub", "a b/c"], "--hub: 'a b/c' is not right; give USER/NAME"),
        (["--send"], "--send: name the repository"),
        (["--hub", "someone/ia3", "--send"], "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_repository_is_named_before_anything_is_sent(
    hub_study: Path, tmp_path: Path, words: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    words = ["ia3", "--to", "adapter", str(tmp_path / "out"), *words]
    assert line in line_of(export.main, hub_study, *words)
    assert not list(tmp_path.iterdir())


# The card.


@pytest.fixture
def compared(hub_study: Path, tmp_path: Path) -> Path:
    """Return a copy of the study in which the methods have been compared."""
    root = shutil.copytree(hub_study, tmp_path / "study")
    with trained.inside(root):
        for name in trained.METHODS:
            for stage in (record, score):
                with mock.patch("sys.argv", ["stage", name]):
                    stage.main()
        compare.main()
    return root


def test_the_card_s_metadata_is_what_the_hub_reads(hub_study: Path, folders: Folders) -> None:
    data = ModelCard((folders["lora-adapter"] / "README.md").read_text()).data
    assert data.base_model == trained.HUB_NAME
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-classification")
    assert data.base_model_relation == "adapter"
    assert data.license == "unknown"
    assert (
        ModelCard((folders["lora"] / "README.md").read_text()).data.library_name == "transformers"
    )
    results = {result.metric_type: result for result in data.eval_results}
    assert set(results) == {"accuracy", "f1", "balanced_accuracy", "matthews_correlation"}
    with trained.inside(hub_study):
        run = store.read_training("lora", 1)
    accuracy = results["accuracy"]
    assert accuracy.metric_value == pytest.approx(run.record.accuracy.test, abs=1e-4)
    low, high = (float(word) for word in accuracy.metric_name.strip(")").split(" ")[-3::2])
    assert low < accuracy.metric_value < high
    assert accuracy.dataset_name == "reviews.csv"


def test_the_card_names_no_path_of_this_machine(
    hub_study: Path, decoder_study: Path, folders: Folders
) -> None:
    for folder in folders.values():
        assert str(hub_study) not in (folder / "README.md").read_text()
    done = ran(card.main, decoder_study, "lora")
    assert str(decoder_study) not in done.stdout
    assert "folder:encoder" in done.stdout
    assert ModelCard(done.stdout).data.base_model is None


def test_before_the_comparison_the_card_knows_this_training_alone(folders: Folders) -> None:
    text = (folders["lora"] / "README.md").read_text()
    assert "Against other methods: n/a" in text
    assert "Wilson interval over 24 test rows" in text


def test_after_the_comparison_the_card_has_its_verdicts(compared: Path) -> None:
    text = ran(card.main, compared, "lora", "1").stdout
    assert "n/a, as this training" not in text
    assert "this run of" in text or "cannot tell" in text
    for name in ("full", "qlora", "ia3"):
        assert f"Against `{name}`: " in text
    # Of another training than the one compared, verdicts say nothing.
    path = compared / "models/lora/1/run.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"shipped_mib": 99.0}))
    assert "n/a, as this training" in ran(card.main, compared, "lora", "1").stdout


def figures(text: str, section: str) -> dict[str, str]:
    """Return the first two columns of a card's table."""
    rows = text.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:3]] for row in rows if row.startswith("| ")]
    return {name.replace("\\", ""): value for name, value in cells}


def read(value: str) -> float:
    """Return a figure as it was printed, without its unit."""
    return float(value.split()[0].replace(",", "").replace("−", "-"))


@pytest.mark.parametrize("method", trained.METHODS)
def test_a_card_has_the_figures_of_the_metrics_and_the_record(
    compared: Path, tmp_path: Path, method: str
) -> None:
    assert ran(card.main, compared, method, "--out", tmp_path / "card.md").returncode == 0
    loaded = ModelCard.load(tmp_path / "card.md")
    metrics = json.loads((compared / f"metrics/{method}.json").read_text())
    run = json.loads((compared / f"runs/{method}/1/run.json").read_text())

    # The metadata, as the Hub reads it, through the text and back.
    again = ModelCard(f"---\n{loaded.data.to_yaml()}\n---\n").data
    assert again.to_dict() == loaded.data.to_dict()
    (index,) = loaded.data.to_dict()["model-index"]
    assert index["name"] == f"{method} 1"
    (shown,) = index["results"]
    assert shown["dataset"]["split"] == "test"
    assert len(shown["metrics"]) == len(loaded.data.eval_results) == 4
    found = {result.metric_type: result for result in loaded.data.eval_results}
    low, high = (float(word) for word in re.findall(r"-?0\.\d{4}", found["accuracy"].metric_name))
    assert found["accuracy"].metric_value == pytest.approx(metrics["accuracy"], abs=1e-4)
    assert found["f1"].metric_value == pytest.approx(metrics["macro_f1"], abs=1e-4)
    assert (high - low) / 2 == pytest.approx(metrics["accuracy_ci95"], abs=2e-4)

    # The tables.
    scores, costs = figures(loaded.text, "Results"), figures(loaded.text, "Cost")
    assert read(scores["Accuracy"]) == pytest.approx(metrics["accuracy"], abs=1e-4)
    assert read(scores["Macro F1"]) == pytest.approx(metrics["macro_f1"], abs=1e-4)
    assert read(costs["Trained parameters"]) == metrics["trainable_parameters"]
    assert read(costs["Training time"]) == pytest.approx(
        metrics["train_seconds"], rel=0.01, abs=0.1
    )
    assert read(costs["Host memory"]) == pytest.approx(metrics["host_memory_mib"], abs=0.51)
    assert read(costs["One text alone"]) == pytest.approx(run["inference"]["latency_ms"], abs=0.051)
    assert read(costs["Weights shipped"]) == pytest.approx(run["shipped_mib"], abs=0.0051)
    settings = figures(loaded.text, "Training")
    for key in ("learning_rate", "r"):
        if key in trained.METHODS[method]:
            assert float(settings[f"method.{key}"]) == trained.METHODS[method][key]
    of = loaded.text.partition("## Data\n")[2].partition("\n\n## ")[0]
    assert f"{run['data']['rows']['train']} rows for training" in of
    assert run["data"]["subset_sha256"][:12] in of


def test_the_four_bits_of_the_frozen_weights_are_told_first(folders: Folders) -> None:
    def first(name: str) -> str:
        return (folders[name] / "README.md").read_text().partition("## Use")[0]

    assert "the frozen weights held in 4 bits (nf4); this folder holds" in first("qlora-adapter")
    assert "merged into the pretrained model's own weights, not the 4-bit ones. It" in first(
        "qlora"
    )
    for name in ("full", "lora", "lora-adapter", "ia3-adapter"):
        assert "4 bits" not in first(name)


def test_numbers_have_one_form() -> None:
    sample = estimates.accuracy_estimate(np.ones((1, 2_000), dtype=bool))
    assert "Wilson interval over 2,000 test rows" in sample.how


def test_what_was_not_measured_is_not_said_to_be_0(folders: Folders) -> None:
    text = (folders["lora"] / "README.md").read_text()
    assert "| GPU memory | n/a |" in text
    assert "| Energy | n/a |" in text


def test_data_that_the_parameters_name_no_more_is_unknown(compared: Path) -> None:
    manifest = compared / paths.SUBSET / paths.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sha256": "0"}))
    text = ran(card.main, compared, "lora").stdout
    assert "From data that the parameters do not name any more" in text
    assert ModelCard(text).data.eval_results[0].dataset_name == "unknown"


def test_a_card_goes_to_a_file_outside_of_the_trainings(hub_study: Path, tmp_path: Path) -> None:
    assert ran(card.main, hub_study, "ia3", "--out", tmp_path / "card.md").returncode == 0
    assert ModelCard((tmp_path / "card.md").read_text()).data.tags == ["fairtune", "ia3"]
    line = line_of(card.main, hub_study, "ia3", "--out", "models/ia3/1/weights/README.md")
    assert "lies in models/" in line


def changed(root: Path, **parts: Any) -> str:
    """Return the card of a study's adapter whose record has other parts."""
    with trained.inside(root):
        found = artefact.find(params.load(), "lora")
        run = replace(found.run, record=found.record.model_copy(update=parts))
        return cards.write_card(params.load(), replace(found, run=run), form="adapter")


def test_marks_in_names_stay_as_they_are(hub_study: Path) -> None:
    with trained.inside(hub_study):
        rows = store.read_training("lora", 1).record.data
    text = changed(hub_study, data=rows.model_copy(update={"labels": ["a|b", "*c*", "`d` $e$"]}))
    assert r"a\|b, \*c\* and \`d\` <span>\$</span>e<span>\$</span>" in text


def test_a_text_of_which_both_ends_were_read_is_told_of(hub_study: Path) -> None:
    with trained.inside(hub_study):
        given = store.read_training("lora", 1).record.parameters
    both = {"max_length": 16, "keep": "both"}
    text = changed(hub_study, parameters=given | {"encode": both})
    assert "No tokenizer can keep both ends" in text
    assert "No tokenizer can keep both ends" not in changed(hub_study)


def test_a_model_of_a_package_is_loaded_from_it(hub_study: Path) -> None:
    with trained.inside(hub_study):
        found = artefact.find(params.load(), "lora")
        lines = usage.adapter(found, base="package:a_model/inside", revision="0.1.0", head=["a"])
    compile(lines, "card", "exec")
    assert 'name = str(files("a_model") / "inside")  # version 0.1.0' in lines
    assert "revision=" not in lines


def test_a_licence_is_that_of_the_own_card_or_of_the_list_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/licences.md").write_text(
        "| what | where | licence |\n|---|---|---|\n| some-texts 0.1 | package | MIT for all |\n"
        "| someone/model | Hub | Apache 2.0 |\n"
    )
    ask = licences.licence_of
    assert ask("package:some_texts/a.csv", None, kind="dataset").identifier == "unknown"
    listed = ask("someone/model", None, kind="model")
    assert (listed.identifier, listed.said) == ("apache-2.0", "Apache 2.0 (docs/licences.md)")
    assert "unknown" in ask("someone/other", None, kind="model").said
    (tmp_path / "model").mkdir()
    (tmp_path / "model/README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    assert ask("model", None, kind="model").identifier == "cc-by-4.0"


def test_a_name_becomes_one_that_the_hub_takes() -> None:
    assert metadata.slug("package:a/b c.csv") == "package-a-b-c.csv"
    assert metadata.slug("…") == "unknown"


def test_without_the_test_rows_nothing_is_merged(compared: Path, tmp_path: Path) -> None:
    shutil.rmtree(compared / "data/encoded")
    line = line_of(export.main, compared, "lora", "--to", "merged", tmp_path / "out")
    assert "data/encoded/test.parquet: not found; run `dvc repro encode`" in line
    assert ran(export.main, compared, "lora", "--to", "adapter", tmp_path / "a").returncode == 0


def test_weights_that_are_gone_are_named(compared: Path, tmp_path: Path) -> None:
    path = trained.weights(compared, "lora") / "adapter_model.safetensors"
    path.unlink()
    line = line_of(export.main, compared, "lora", "--to", "merged", tmp_path / "out")
    assert "no weights here; run `dvc repro train@lora-1`" in line
