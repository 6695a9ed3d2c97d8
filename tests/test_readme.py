"""The results in the project's README are written from the metrics, and staleness is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairtune.core.errors import UserError
from fairtune.readme import BEGIN, END, filled, main, results
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
