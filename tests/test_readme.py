"""The results in the project's README are written from the metrics, and staleness is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairtune.core.errors import UserError
from fairtune.publication import cost_alone
from fairtune.readme import BASE, BASE_BEGIN, BASE_END, BEGIN, END, filled, main, results
from tests import commands
from tests.reports import ROOT, make_evidence, write_study

TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairtune.readme", *words], cwd=folder, capture_output=True,
        text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip


def test_the_block_takes_the_place_of_the_old_one_and_leaves_the_rest() -> None:
    made = filled(TEXT, "new")
    assert made == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nThe end.\n"
    assert filled(made, "new") == made


def test_the_block_has_a_row_for_each_method_and_links_a_chart() -> None:
    block = results(make_evidence(methods=("full", "dora")))
    assert [line.split("|")[1].strip() for line in block.splitlines() if "±" in line] == [
        "`full`",
        "`dora`",
    ]
    assert "(report/charts/accuracy_interval.svg)" in block


@pytest.mark.parametrize("text", ["# Title\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_a_readme_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"README\.md: needs one line '<!-- results:begin -->'"):
        filled(text, "new")


def test_a_stale_readme_fails_the_check_with_one_line_and_a_fresh_one_passes(
    tmp_path: Path,
) -> None:
    write_study(tmp_path)
    (tmp_path / "README.md").write_text(TEXT)
    stale = call(tmp_path, "--check")
    assert stale.returncode == 1
    assert stale.stderr == (
        "fairtune: README.md: its results are stale; run `python -m fairtune.readme`\n"
    )
    for words in ([], ["--check"]):
        done = commands.run(main, tmp_path, *words)
        assert done.returncode == 0, done.stderr


BASE_TEXT = f"# Title\n\n{BASE_BEGIN}\nold\n{BASE_END}\n\n{TEXT}"


def test_the_block_of_a_published_study_names_its_device_and_links_into_its_folder(
    tmp_path: Path,
) -> None:
    write_study(tmp_path)
    write_study(tmp_path / BASE, seeds=(1, 2, 3), accuracy={"ia3": 0.8})
    (tmp_path / "README.md").write_text(BASE_TEXT)
    for words in ([], ["--check"]):
        done = commands.run(main, tmp_path, *words)
        assert done.returncode == 0, done.stderr
    block = (tmp_path / "README.md").read_text().partition(BASE_END)[0]
    assert "old" not in block
    assert "on one NVIDIA H200: [the report](results/imdb-base/report/README.md)" in block
    assert "(results/imdb-base/report/charts/accuracy_interval.svg)" in block
    assert "are better than `ia3`" in block or "is better than `ia3`" in block
    assert sum("±" in line for line in block.splitlines()) == 4
    metrics = tmp_path / BASE / "metrics/lora.json"
    metrics.write_text(metrics.read_text().replace('"accuracy": 0.9', '"accuracy": 0.8'))
    assert "README.md: its results are stale" in commands.run(main, tmp_path, "--check").stderr


def test_markers_without_the_published_study_are_one_line(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "README.md").write_text(BASE_TEXT)
    done = commands.run(main, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "fairtune: results/imdb-base: not found, and README.md has markers for it; publish"
    )
    assert (tmp_path / "README.md").read_text() == BASE_TEXT


def test_a_study_for_its_costs_alone_is_no_headline(tmp_path: Path) -> None:
    write_study(tmp_path)
    write_study(tmp_path / BASE)
    cost_alone.write(tmp_path / BASE, "the weights were random")
    (tmp_path / "README.md").write_text(BASE_TEXT)
    assert commands.run(main, tmp_path).stderr == (
        "fairtune: results/imdb-base: for its costs alone (the weights were random); README.md "
        "needs a study with scores\n"
    )
