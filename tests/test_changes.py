"""What changed of a study, in Markdown: the tables hold, whatever texts the parameters hold."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from fairtune import changes
from fairtune.core.errors import UserError
from tests import commands
from tests.repositories import Repository, copy

TITLE = "1. $x_1$ | `code` <b>&amp;</b> *y*"
URL = "https://host.example/us/study/raw/{commit}"
CHART = "report/charts/accuracy_interval.svg"


@pytest.fixture(scope="module")
def changed(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study with two commits: another rank, a title of marks, a verdict and a chart."""
    made = copy(finished, tmp_path_factory.mktemp("changed"))
    chart(made, "<svg>old</svg>")
    chart(made, "<svg>same</svg>", "report/charts/loss.svg")
    made.commit("charts")
    made.edit("methods.lora.r", 4)
    made.edit("report.title", TITLE)
    chart(made, "<svg>new</svg>")
    set_json(made, "metrics/full.json", lambda found: found.update(accuracy=0.5))
    set_json(made, "metrics/comparison.json", decide)
    made.commit("a change")
    return made


@pytest.fixture(scope="module")
def text(changed: Repository) -> str:
    return told(changed, "HEAD~1")


@pytest.fixture
def no_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out DVC's part, which takes seconds."""
    monkeypatch.setattr(changes, "dvc", lambda *words: "{}")


def chart(repository: Repository, text: str, name: str = CHART) -> None:
    path = repository.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def set_json(repository: Repository, name: str, change: Callable[[Any], object]) -> None:
    path = repository.root / name
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def decide(found: dict[str, Any]) -> None:
    """Let full win, and be recommended for sure."""
    pair = found["pairs"]["full_vs_lora"]
    pair.update(verdict="better", winner="full", loser="lora", difference=0.25, low=0.1, high=0.4)
    found["choice"].update(method="full", settled=True)


def told(repository: Repository, *words: str) -> str:
    done = commands.run(changes.main, repository.root, *words)
    assert not done.returncode, done.stderr
    return done.stdout


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of all tables as GitHub's Markdown reads them."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 3:
            found[-1][-1].append(
                "".join(part.content for part in token.children or [] if part.type != "html_inline")
            )
    return found


def short(repository: Repository, revision: str) -> str:
    return repository.run("git", "rev-parse", revision).strip()[:10]


def test_verdicts_metrics_and_parameters_stand_side_by_side(changed: Repository, text: str) -> None:
    since = short(changed, "HEAD~1")
    verdicts, metrics, parameters = tables(text)
    assert verdicts[0][1:] == [since, "now", f"verdict {since}", "verdict now"]
    ((pair, _, difference, before, now),) = verdicts[1:]
    assert (pair, difference, now) == (
        "full − lora",
        "25.0 [10.0, 40.0]",
        "full better (these runs)",
    )
    assert before != now
    assert "**`full` better (these runs)**" in text
    assert re.search(rf"^Recommended: `\w+` \(provisional\) at {since}, `full` \(settled\) now\.$",
                     text, re.MULTILINE)  # fmt: skip
    assert metrics[0] == ["Path", "Metric", since, "workspace", "Change"]
    (row,) = metrics[1:]
    assert row[:2] == ["metrics/full.json", "accuracy"]
    assert row[3] == "0.5"
    # DVC's own table of parameters would have more cells in the title's row.
    assert parameters == [
        ["Parameter", since, "now"],
        ["methods.lora.r", "2", "4"],
        ["report.title", "A tiny study", TITLE],
    ]


@pytest.mark.usefixtures("no_dvc")
def test_the_charts_that_changed_are_pictures_of_both_commits(
    changed: Repository, text: str
) -> None:
    # Here, where an editor shows files.
    assert f"![accuracy_interval]({CHART})" in text
    text = told(changed, "HEAD~1", "--pictures", URL)
    names = [changed.run("git", "rev-parse", revision).strip() for revision in ("HEAD~1", "HEAD")]
    shown = re.findall(r'<img src="([^"]+)" alt="accuracy_interval" width="\d+">', text)
    assert shown == [f"{URL.replace('{commit}', name)}/{CHART}" for name in names]
    assert "loss" not in text
    # Of another commit, as the one that a pull request offers.
    earlier = told(changed, "HEAD~1", "--pictures", URL, "--head", "HEAD~1")
    assert earlier.count(f"{names[0]}/{CHART}") == 2


@pytest.mark.usefixtures("no_dvc")
def test_a_chart_that_came_or_went_has_one_picture(changed: Repository) -> None:
    text = told(changed, "HEAD~2", "--pictures", URL)
    first = changed.run("git", "rev-parse", "HEAD~2").strip()
    assert first not in text
    assert "| none | <img " in text


def test_where_nothing_changed_that_is_said(changed: Repository) -> None:
    text = told(changed, "HEAD")
    for said in ("No metric changed.", "No parameter changed.", "No chart of the report changed."):
        assert said in text
    assert "**" not in text


@pytest.mark.usefixtures("no_dvc")
@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.unlink(), lambda path: path.write_text("{"), lambda p: p.write_text("[]")],
    ids=["missing", "broken", "no object"],
)
def test_a_study_without_verdicts_is_shown_as_far_as_it_goes(
    changed: Repository, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    study = copy(changed, tmp_path)
    spoil(study.root / "metrics/comparison.json")
    text = told(study, "HEAD")
    assert "`full` (settled) at " in text
    assert ", n/a now." in text
    assert "There are no verdicts here: metrics/comparison.json is missing or not right." in text
    assert tables(text)[0][1][2] == "n/a"
    study.commit("spoilt")
    study.run("git", "checkout", "-q", "HEAD~1", "--", "metrics/comparison.json")
    again = told(study, "HEAD")
    assert "Recommended: n/a at " in again
    assert tables(again)[0][1][1] == "n/a"


@pytest.mark.usefixtures("no_dvc")
def test_results_of_other_parameters_are_not_called_a_finding(
    changed: Repository, tmp_path: Path
) -> None:
    study = copy(changed, tmp_path)
    study.edit("methods.dora", {"learning_rate": 0.01, "adapter": "lora", "targets": ["query"]})
    said = "The results here are not those of the parameters: metrics/comparison.json: other"
    assert said in told(study, "HEAD").replace("\\", "")


def test_what_dvc_cannot_do_is_one_line(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(UserError, match=r"^dvc metrics diff: Only"):
        changes.metrics("HEAD")


def test_pairs_are_the_same_whichever_method_stands_first() -> None:
    about = {"difference": 0.02, "low": 0.01, "high": 0.03, "winner": "a", "verdict": "better"}
    found = {"about": "methods", "pairs": {"a_vs_b": about}}
    assert changes.pair(found, "a_vs_b") == ("2.0 [1.0, 3.0]", "`a` better")
    assert changes.pair(found, "b_vs_a") == ("−2.0 [−3.0, −1.0]", "`a` better")
    one = changes.verdicts(found, {"pairs": {"b_vs_a": {**about, "winner": None}}}, "x")
    assert len(one) == 3
    assert changes.verdicts(None, None, "x") == ["No verdicts, neither then nor now."]
    assert changes.choice({"choice": {"method": None, "settled": False}}) == "none"


@pytest.mark.usefixtures("no_dvc")
def test_a_file_is_written_and_a_mistake_is_one_line(changed: Repository, tmp_path: Path) -> None:
    out = tmp_path / "changes.md"
    assert told(changed, "HEAD", "--out", str(out)) == ""
    assert out.read_text() == told(changed, "HEAD")
    for words, said in (
        (("nosuch",), "REV: 'nosuch' is no commit of this Git repository"),
        (("HEAD", "--out", str(tmp_path)), f"--out: '{tmp_path}': Is a directory"),
        (("HEAD~1", "--pictures", URL, "--head", "nope"), "REV: 'nope' is no commit"),
    ):
        done = commands.run(changes.main, changed.root, *words)
        assert done.returncode == 1
        assert done.stderr.startswith(f"fairtune: {said}")
        assert done.stderr.count("\n") == 1
