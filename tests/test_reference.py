"""The reference study, from a Hub to its report, with a tiny model and tiny data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fairtune.core import params
from tests import hub, tiny
from tests.repositories import ROOT, clone

STUDY = ROOT / "studies/imdb-roberta.yaml"
CLASSES = ("negative", "positive")
# So few rows and trials that the test takes half a minute; the other settings are the study's own.
SMALLER = {
    "subset.train": 96, "subset.validation": 40, "subset.test": 40, "train.batch_size": 8,
    "seeds": [42], "search.trials": 3, "search.extend": False, "compare.resamples": 1000,
}  # fmt: skip
# So small a model learns at rates that are so many times as high, in bf16 as in fp32.
HIGHER = {"full": 20, "lora": 20, "qlora": 20, "ia3": 30}


def rows(count: int, *, after: int = 0) -> list[tuple[str, int]]:
    """Return reviews with the number of their class, as the Hub's IMDb has them."""
    made = tiny.reviews(after + count, CLASSES)[after:]
    return [(text, CLASSES.index(label)) for text, label in made]


def test_the_reference_study_runs_from_a_hub_to_its_report(tmp_path: Path) -> None:
    study = params.load(STUDY)
    model, data = study.model, study.data
    assert model.revision
    assert data.revision
    served = tmp_path / "served"
    # RoBERTa takes 512 tokens, and two of its positions are no tokens'.
    tiny.write_encoder(
        served / "model", kind="roberta", initializer_range=0.1, max_position_embeddings=514
    )
    tiny.write_hub_dataset(served / "data", train=rows(400), test=rows(80, after=400))
    repos = {
        model.name: hub.Repo("model", served / "model", model.revision),
        data.source: hub.Repo("dataset", served / "data", data.revision),
    }
    root = tmp_path / "study"
    root.mkdir()
    shutil.copy(STUDY, root / "params.yaml")
    families = root / "benchmarks/families.json"
    families.parent.mkdir()
    shutil.copy(ROOT / "benchmarks/families.json", families)
    repository = clone(root)
    for key, value in SMALLER.items():
        repository.edit(key, value)
    ranges = {}
    for name, method in study.methods.items():
        assert method.searched
        ranges[name] = [HIGHER[name] * end for end in (method.searched.low, method.searched.high)]
        repository.edit(f"methods.{name}.learning_rate", {"search": ranges[name]})
    with hub.serve(repos) as (address, asked):
        online = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        repository.dvc("repro", "report", **online)
    # Nobody is told of the run: what is asked are the files of the two commits.
    for line in asked:
        assert line == "HEAD /" or any(
            name in line and repo.commit in line for name, repo in repos.items()
        ), line
    record = json.loads((root / "runs/qlora/42/run.json").read_text())
    assert record["parameters"]["model"]["name"] == model.name
    assert record["parameters"]["model"]["revision"] == model.revision
    searched = json.loads((root / "runs/ia3/search.json").read_text())
    assert searched["asked"] == ranges["ia3"]
    assert len(searched["trials"]) == 3 * len(study.search.seeds)
    assert (root / "report/report.pdf").read_bytes().startswith(b"%PDF")
    # The Hub is gone, and nothing is asked of it any more.
    assert repository.status("report") == {}
