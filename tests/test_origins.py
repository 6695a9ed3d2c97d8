"""What a study reads from outside is a dependency: DVC sees each byte of it, and no path of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from fairtune.core import origins, params, paths
from stages import sources
from tests import tiny
from tests.repositories import ROOT, Repository, clone

COMMIT = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"


def ran(repository: Repository) -> list[str]:
    """Reproduce up to the token cache; return the stages that ran."""
    stages = repository.encode()
    assert repository.status("sources", "subset", "encode") == {}
    return stages


def test_dvc_runs_what_a_changed_corpus_or_model_touches_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "clone"
    root.mkdir()
    tiny.write_encoder(root / "encoder")
    tiny.write_encoder(root / "other", intermediate_size=64)
    tiny.write_study(root)
    repository = clone(root, pipeline=(ROOT / "dvc.yaml").read_text().partition("  train:")[0])
    assert ran(repository) == ["sources", "subset", "encode"]
    assert ran(repository) == []

    corpus = root / "reviews.csv"
    before = corpus.read_bytes()
    corpus.write_bytes(before + b"One more,positive\n")
    assert "data/sources/corpus" in json.dumps(repository.status())
    assert ran(repository) == ["sources", "subset", "encode"]
    corpus.write_bytes(before)
    assert ran(repository) == ["sources"]  # the others come from the run cache

    # Of a link that leads elsewhere, the rows of before are not those of the parameters of before.
    corpus.rename(root / "first.csv")
    (root / "second.csv").write_bytes(before + b"Another one,positive\n")
    corpus.symlink_to("second.csv")
    repository.edit("subset.seed", 2)
    assert ran(repository) == ["sources", "subset", "encode"]
    repository.edit("subset.seed", 1)
    assert ran(repository) == ["subset", "encode"]
    (root / "first.csv").replace(corpus)
    assert ran(repository) == ["sources"]

    (root / "encoder").rename(root / "first")
    (root / "other").rename(root / "encoder")
    assert ran(repository) == ["sources", "encode"]

    package = tmp_path / "site" / "some_texts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(corpus, package / "c.csv")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    repository.edit("data.source", "package:some_texts/c.csv")
    assert ran(repository)[:2] == ["sources", "subset"]
    (package / "c.csv").write_bytes(before + b"Of a later version,positive\n")
    assert ran(repository) == ["sources", "subset", "encode"]
    repository.commit("results")

    # Another machine, where the same package lies elsewhere.
    package.parent.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    subprocess.run(["git", "clone", "-q", root, tmp_path / "far"], check=True)
    far = Repository(tmp_path / "far")
    assert str(tmp_path) not in (far.root / "dvc.lock").read_text()
    shutil.rmtree(far.root / ".dvc" / "cache", ignore_errors=True)
    assert "Running" not in far.dvc("repro", "--allow-missing", "--dry", "encode")
    for untracked in ("encoder", "reviews.csv"):
        assert (far.root / untracked).exists()
    assert "Running stage 'sources'" in far.dvc("repro", "sources")
    assert far.status("sources") == {}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_depends_on_the_model_and_the_rows_on_the_corpus() -> None:
    stages = (ROOT / "dvc.yaml").read_text().partition("stages:")[2].split("\n  ")
    text = "\n  ".join(stages)
    for stage, dep in (("subset", "corpus"), ("encode", "model"), ("train", "model")):
        block = text.partition(f"\n  {stage}:")[2].partition("outs:")[0]
        assert f"- data/sources/{dep}\n" in block


def test_links_lead_where_the_parameters_say_and_follow_them(here: Path) -> None:
    (here / "encoder").mkdir()
    tiny.write_study(here)
    assert sources.sources(params.load()) == []
    assert paths.CORPUS.resolve() == here / "reviews.csv"
    assert not paths.CORPUS.readlink().is_absolute()
    assert paths.MODEL.resolve() == here / "encoder"
    shutil.copy(here / "reviews.csv", here / "others.csv")
    tiny.write_study(here, {"data.source": "others.csv"})
    sources.sources(params.load())
    assert paths.CORPUS.resolve() == here / "others.csv"
    assert (here / "reviews.csv").is_file()


def hub(here: Path, **changes: Any) -> params.Params:
    names = {"data.source": "someone/texts", "model.name": "someone/encoder"}
    tiny.write_study(here, names | changes)
    return params.load()


def test_a_commit_of_the_hub_is_noted_and_all_stages_read_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "hub"))
    known = here / "hub" / "datasets--someone--texts" / "refs" / "main"
    known.parent.mkdir(parents=True)
    known.write_text(COMMIT)
    study = hub(here, **{"model.revision": "a" * 40})
    (warning,) = sources.sources(study)
    assert warning == (
        "data.revision: 'someone/texts' is not pinned, and its authors may change it; "
        f"set it to {COMMIT}, the commit of now"
    )
    assert json.loads(paths.CORPUS.read_text()) == {"hub": "someone/texts", "commit": COMMIT}
    read = origins.pinned(study)
    assert (read.data.revision, read.model.revision) == (COMMIT, "a" * 40)
    # A note of another source is none of this one.
    assert origins.pinned(hub(here, **{"data.source": "someone/else"})).data.revision is None


def test_a_note_takes_the_place_of_a_link_and_leaves_what_it_led_to(here: Path) -> None:
    (here / "encoder").mkdir()
    tiny.write_study(here)
    sources.sources(params.load())
    before = (here / "reviews.csv").read_text()
    study = hub(here, **{"data.revision": COMMIT, "model.revision": COMMIT})
    assert sources.sources(study) == []
    assert (here / "reviews.csv").read_text() == before
    assert not paths.CORPUS.is_symlink()
    assert list((here / "encoder").iterdir()) == []


def test_without_hub_and_copy_no_commit_is_made_up(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "hub"))
    study = hub(here)
    assert all("set it to a commit" in warning for warning in sources.sources(study))
    assert json.loads(paths.MODEL.read_text())["commit"] is None
    assert origins.pinned(study) == study
