"""The recommended weights in DVC's registry, and what a clone does with them, under real DVC."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fairtune import predict, registry
from fairtune.core.errors import UserError
from tests import commands
from tests.repositories import ROOT, Repository, copy

STAGES = "stages:\n  # A comment.\n  a: {cmd: 'true'}\n"
OTHER = "artifacts:\n  mine:\n    path: x # kept\n    type: data\n"
TEXT = "A lovely film in every scene"


def choice(method: str | None = "lora", *, settled: bool = False) -> dict[str, Any]:
    return {"method": method, "settled": settled}


WANTED = registry.artefact(choice(), 42)
NEXT = registry.artefact(choice("ia3", settled=True), 7)


@pytest.fixture(scope="module")
def origin(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study whose recommended weights are registered, and all of them pushed."""
    made = copy(finished, tmp_path_factory.mktemp("origin"))
    write(made)
    made.commit("the artefact")
    made.dvc("remote", "add", "--local", "--default", "store", str(made.root.parent / "store"))
    made.dvc("push")
    made.run("gto", "register", "recommended", "--version", "v0.1.0")
    return made


@pytest.fixture
def far(origin: Repository, tmp_path: Path) -> Repository:
    """A clone that knows the remote and has nothing of it."""
    origin.run("git", "clone", "-q", str(origin.root), str(tmp_path / "far"))
    made = Repository(tmp_path / "far")
    shutil.copy(origin.root / ".dvc/config.local", made.root / ".dvc")
    return made


def write(repository: Repository, *words: str) -> str:
    done = commands.run(registry.main, repository.root, *words)
    assert not done.returncode, done.stderr
    return done.stdout


def refused(repository: Repository, *words: str) -> str:
    done = commands.run(registry.main, repository.root, *words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


def chosen(repository: Repository) -> tuple[str, str]:
    """Return the method that the study recommends, and the other one."""
    found = json.loads((repository.root / "metrics/comparison.json").read_text())
    method = found["choice"]["method"]
    (other,) = set(found["methods"]) - {method}
    return method, other


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


def test_an_artefact_names_the_weights_and_how_sure_the_choice_is() -> None:
    assert WANTED == {
        "path": "models/lora/42/weights",
        "type": "model",
        "desc": "The study's provisional choice: lora, seed 42 (python -m fairtune.advise)",
        "labels": ["text-classification", "lora", "provisional"],
    }
    assert NEXT is not None
    assert NEXT["labels"][-1] == "settled"
    assert registry.artefact(choice(None), 42) is None


@pytest.mark.parametrize("before", [STAGES, OTHER + STAGES, STAGES + OTHER, STAGES.rstrip()])
def test_the_artefact_comes_goes_and_changes_and_all_else_stays(before: str) -> None:
    text = registry.filled(before, WANTED)
    assert load(text)["artifacts"]["recommended"] == WANTED
    assert set(before.splitlines()) <= set(text.splitlines())
    assert registry.filled(text, WANTED) == text
    changed = registry.filled(text, NEXT)
    assert load(changed)["artifacts"]["recommended"] == NEXT
    assert len(changed.splitlines()) == len(text.splitlines())
    # DVC reads no dvc.yaml whose section is empty: it goes with its only entry.
    gone = registry.filled(changed, None)
    assert gone.rstrip() == before.rstrip()
    assert registry.filled(before, None).rstrip() == before.rstrip()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("artifacts: {recommended: {path: x}}\n", "written in a way that cannot be changed here"),
        ("artifacts: [x]\n", "expected names with what they are; found"),
        ("stages: [\n", "not right: while parsing a flow node; mend it by hand"),
    ],
)
def test_a_section_that_cannot_be_changed_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=r"^dvc\.yaml: ") as found:
        registry.filled(text, WANTED)
    assert said in str(found.value)


def test_what_is_missing_or_stale_fails_the_check_and_is_put_right(
    finished: Repository, tmp_path: Path
) -> None:
    study = copy(finished, tmp_path)
    first, second = chosen(study)
    assert refused(study, "--check") == (
        "fairtune: dvc.yaml: artifacts.recommended: missing, but metrics/comparison.json leads to "
        f"models/{first}/1/weights; run `python -m fairtune.registry` and commit it\n"
    )
    assert write(study) == (
        f"registry: dvc.yaml: artifacts.recommended leads to models/{first}/1/weights\n"
    )
    assert write(study, "--check") == write(study) == ""
    # DVC has nothing to run for it.
    assert study.status() == {}
    verdicts = study.root / "metrics/comparison.json"
    found = json.loads(verdicts.read_text())
    found["choice"]["method"] = second
    verdicts.write_text(json.dumps(found))
    stale = f"'models/{first}/1/weights', but metrics/comparison.json leads to models/{second}/1/"
    assert stale in refused(study, "--check")
    found["choice"]["method"] = None
    verdicts.write_text(json.dumps(found))
    assert "leads to nothing: no method is recommended" in write(study)
    assert "artifacts" not in load((study.root / "dvc.yaml").read_text())
    assert write(study, "--check") == ""


def test_the_artefact_is_the_same_for_dvc_and_bears_gto_s_version(origin: Repository) -> None:
    from dvc.repo import Repo

    with Repo(str(origin.root)) as repo:
        (known,) = repo.artifacts.read()["dvc.yaml"].values()
    assert (
        known.to_dict() == load((origin.root / "dvc.yaml").read_text())["artifacts"]["recommended"]
    )
    shown = json.loads(origin.run("gto", "show", "--json"))
    assert shown["recommended"]["version"] == "v0.1.0"
    assert origin.status() == {}


def test_a_registered_version_is_got_without_a_clone(origin: Repository, tmp_path: Path) -> None:
    place = tmp_path / "got"
    origin.dvc(
        "artifacts", "get", str(origin.root), "recommended", "--rev", "v0.1.0", "-o", str(place)
    )
    weights = origin.root / "models" / chosen(origin)[0] / "1/weights"
    files = {path.relative_to(weights) for path in weights.rglob("*") if path.is_file()}
    assert {path.relative_to(place) for path in place.rglob("*") if path.is_file()} == files
    for file in files:
        assert (place / file).read_bytes() == (weights / file).read_bytes()


@pytest.mark.parametrize("target", ["train@lora-1", "models/lora/1"])
def test_a_clone_pulls_one_method_s_weights_and_predicts_as_the_origin_does(
    origin: Repository, far: Repository, target: str
) -> None:
    before = commands.run(predict.main, far.root, "lora", "--text", TEXT)
    assert before.returncode == 1
    far.dvc("pull", target)
    assert [path.name for path in (far.root / "models").iterdir()] == ["lora"]
    assert not (far.root / "data").exists()
    words = ("lora", "--text", TEXT, "--all-classes")
    here, there = (commands.run(predict.main, one.root, *words) for one in (origin, far))
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert len(here.stdout.split()) == 4
    # What was pulled is what is committed, and no stage is stale for it.
    assert far.run("git", "status", "--porcelain") == ""
    assert "Running stage" not in far.dvc("repro", "--allow-missing", "--dry")


def test_a_weight_that_was_not_pulled_is_named_with_what_to_do(far: Repository) -> None:
    done = commands.run(predict.main, far.root, "lora", "--text", TEXT)
    assert done.returncode == 1
    assert "models/lora/1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_remote_of_the_configuration_is_a_comment_that_can_be_taken_off(
    finished: Repository, tmp_path: Path
) -> None:
    study = copy(finished, tmp_path)
    config = study.root / ".dvc/config"
    assert config.read_text() == (ROOT / ".dvc/config").read_text()
    assert study.dvc("remote", "list") == ""
    marks = ("# remote", "# ['remote", "#     url")
    lines = [
        line.replace("# ", "", 1) if line.strip().startswith(marks) else line
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines))
    assert study.dvc("remote", "list").split() == ["storage", "/srv/dvc/fairtune", "(default)"]


@pytest.mark.parametrize("file", [".ci/run", "Makefile"])
def test_a_run_writes_it_and_ci_checks_it(file: str) -> None:
    assert "-m fairtune.registry" in (ROOT / file).read_text()
