"""Further seeds and looks in params.yaml: nothing else changes, however the file is written."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.design.amendment import amend, amended
from fairtune.design.schedule import further
from tests import tiny
from tests.reports import ROOT

FILES = [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


def changed(old: str, new: str) -> list[str]:
    """Return the lines that differ, marked as `diff` does."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_of_a_study_of_the_project_two_lines_change(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "params.yaml"
    copy.write_text(path.read_text())
    first = len(params.load(copy).seeds) + 2
    seeds, looks = further(params.load(copy).seeds, first), [first, first + 3]
    amend(seeds, looks, path=copy)
    lines = changed(path.read_text(), copy.read_text())
    assert [line for line in lines if line[0] == "+"] == [f"+seeds: {seeds}", f"+  looks: {looks}"]
    assert len(lines) == 4
    assert params.load(copy).compare.looks == looks
    amend(further(seeds, first + 3), path=copy)
    assert changed(path.read_text(), copy.read_text())[-1] == f"+  looks: {looks}"
    assert len(params.load(copy).seeds) == first + 3
    assert sorted(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Flow and block style, comments, no key for the looks, a file that ends with the seeds.
        (
            "seeds: [4]  # one\ncompare: {a: 1}\n",
            "seeds: [4, 5]  # one\ncompare: {looks: [2, 3], a: 1}\n",
        ),
        (
            "seeds:\n- 4 # one\n# then\ncompare:\n  a: 1\n",
            "seeds:\n- 4 # one\n- 5\n# then\ncompare:\n  looks: [2, 3]\n  a: 1\n",
        ),
        (
            "compare:\n  looks: []  # none\nseeds:\n    - 4",
            "compare:\n  looks: [2, 3]  # none\nseeds:\n    - 4\n    - 5",
        ),
        (
            "seeds: [\n  4,  # one\n]\ncompare: {looks: []}\n",
            "seeds: [\n  4, 5,  # one\n]\ncompare: {looks: [2, 3]}\n",
        ),
        (
            "seeds:\r\n  - 4\r\ncompare:\r\n  looks: []\r\n",
            "seeds:\r\n  - 4\r\n  - 5\r\ncompare:\r\n  looks: [2, 3]\r\n",
        ),
        (
            "a: é😀\nseeds: [4]\ncompare: {looks: []}\n",
            "a: é😀\nseeds: [4, 5]\ncompare: {looks: [2, 3]}\n",
        ),
    ],
)
def test_each_way_to_write_them_is_kept(text: str, expected: str) -> None:
    assert amended(text, [4, 5], [2, 3]) == expected


def test_the_looks_alone_may_be_new() -> None:
    text = "seeds: [1, 2]\ncompare: {looks: []}\n"
    assert amended(text, [1, 2], [2, 3]) == "seeds: [1, 2]\ncompare: {looks: [2, 3]}\n"


def test_a_list_that_stands_elsewhere_too_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = "other: &these [4]\nseeds: *these\ncompare: {looks: []}\n"
    path.write_text(text)
    with pytest.raises(UserError, match=r"params.yaml: cannot be amended.*write seeds and compare"):
        amend([4, 5], [2, 3], path=path)
    assert path.read_text() == text
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_study_written_without_looks_is_accepted_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())
    amend([1, 2, 3], [3, 4])
    after = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())
    before["seeds"], before["compare"]["looks"] = [1, 2, 3], [3, 4]
    assert after == before
    assert params.load().seeds == [1, 2, 3]


def test_new_seeds_are_the_next_free_numbers() -> None:
    assert further([42], 3) == [42, 43, 44]
    assert further([7, 100, 3], 5) == [7, 100, 3, 101, 102]
    assert further([1, 2], 2) == [1, 2]
    assert further([42], 3, taken=[43, 45]) == [42, 44, 46], "those of a search are passed over"
    with pytest.raises(UserError, match="seeds: after 4294967295 too few are left"):
        further([2**32 - 1], 2)
