"""The printed figures: one for each table, the same bytes each time, nothing invented."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fairtune.analysis.formats import NOT_MEASURED
from fairtune.charts.gallery import Tables, charts, compare, draw_all
from fairtune.charts.style import STYLE, WIDTH, looks
from fairtune.core.params import Compare
from tests.searches import make_searches, with_rates
from tests.studies import METHODS, PALETTE, make_runs, make_tables, with_company

ROOT = Path(__file__).parent.parent


def study(**knobs: Any) -> Tables:
    return make_tables(make_runs(**knobs))


def drawn(made: Tables, name: str) -> Figure:
    """Return one figure, laid out."""
    with matplotlib.rc_context(STYLE):
        figure = charts()[name].draw(made[name], looks(made["accuracy"]))
        figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_every_table_becomes_an_svg_of_one_column(tmp_path: Path) -> None:
    made = study()
    files = draw_all(made, tmp_path)
    assert {file.stem for file in files} == set(made)
    for file in files:
        assert ET.parse(file).getroot().get("width") == f"{WIDTH * 72:g}pt"


@pytest.mark.parametrize(
    "seconds",
    [(57.26, 47.41, 49.05, 47.27), (50.0, 50.1, 50.2, 50.3), (7.5, 5.0, 5.4, 5.3), (9, 3, 90, 4)],
)
def test_names_of_methods_of_like_cost_do_not_overlap(seconds: tuple[float, ...]) -> None:
    runs = make_runs(rows=500, accuracy={"full": 0.824, "lora": 0.828, "qlora": 0.832, "ia3": 0.81})
    for name, took in zip(METHODS, seconds, strict=True):
        record = runs[name][0].record
        times = record.times.model_copy(update={"train_seconds": took})
        changed = record.model_copy(update={"times": times})
        runs[name][0] = replace(runs[name][0], record=changed)
    figure = drawn(make_tables(runs), "pareto")
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text()]
        boxes = [name.get_window_extent() for name in names]
        assert sorted("\n".join(n.get_text() for n in names).split("\n")) == sorted(METHODS)
        for first, second in itertools.combinations(boxes, 2):
            assert not first.overlaps(second), axes.get_xlabel()


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    made = study(seeds=(1, 2))
    for first, second in zip(
        draw_all(made, tmp_path / "a"), draw_all(made, tmp_path / "b"), strict=True
    ):
        content = first.read_bytes()
        assert content == second.read_bytes()
        assert b"<dc:date>" not in content


@pytest.mark.parametrize(
    "knobs",
    [
        {"gpu": False, "classes": 4, "methods": (*METHODS, "dora")},
        {"methods": ("only",), "rows": 20},
        {"classes": 12, "rows": 240, "methods": tuple(f"method_{i}" for i in range(8))},
        {"accuracy": dict.fromkeys(METHODS, 1.0)},
    ],
    ids=["host memory", "one method", "many of all", "all right"],
)
def test_unusual_studies_are_drawn_with_no_warning(
    knobs: dict[str, Any], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    made = study(**knobs)
    assert len(draw_all(made, tmp_path)) == sum(map(bool, made.values()))
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("name", ["accuracy", "training_time", "memory", "memory_breakdown"])
def test_bars_start_at_zero(name: str) -> None:
    assert drawn(study(), name).axes[0].get_xlim()[0] == 0


def test_parameters_are_on_a_log_axis_that_holds_the_least_and_the_most() -> None:
    axes = drawn(study(), "parameters").axes[0]
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log"
    assert low < 64_512
    assert high > 124_055_040


def test_the_axis_of_host_memory_says_host() -> None:
    figure = drawn(study(gpu=False), "memory")
    assert "host memory" in figure.axes[0].get_xlabel()
    assert "no CUDA device" in figure.axes[0].get_xlabel()


def test_what_was_not_measured_is_written_and_not_drawn() -> None:
    made = study()
    made["training_time"] = [r for r in made["training_time"] if r["method"] != "qlora"]
    figure = drawn(made, "training_time")
    assert texts(figure).count(NOT_MEASURED) == 1
    assert len(figure.axes[0].patches) == 3


def test_methods_differ_by_more_than_colour() -> None:
    look = looks(study()["accuracy"])
    for feature in ("hatch", "marker", "dash"):
        assert len({str(getattr(one, feature)) for one in look.values()}) == len(METHODS)


@pytest.mark.parametrize("name", ["accuracy", "accuracy_interval", "training_time", "memory"])
def test_rows_are_in_the_studys_order_from_the_top(name: str) -> None:
    methods = ("qlora", "ia3", "full")
    axes = drawn(study(methods=methods), name).axes[0]
    labels = {text.get_text(): text.get_window_extent().y0 for text in axes.get_yticklabels()}
    assert sorted(labels, key=lambda label: -labels[label]) == list(methods)


def test_a_chart_is_a_file_and_has_one_name(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fairtune", tmp_path / "fairtune")
    shutil.copy(ROOT / "fairtune/charts/loss.py", tmp_path / "fairtune/charts/energy.py")
    code = "from fairtune.charts.gallery import charts; print(*charts())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {*charts(), "energy"}
    for name in charts():
        for template in ("paper.typ", "README.md"):
            assert f'chart("{name}"' in (ROOT / "report/template" / template).read_text()


def test_rates_that_fail_are_marked_at_the_foot_of_the_axis() -> None:
    searches = make_searches(METHODS)
    tables = compare(
        with_rates(make_runs(), searches),
        rules=Compare(palette=list(PALETTE), resamples=1000),
        searches=searches,
    )[1]
    figure = drawn(tables, "rates")
    panels = {axes.get_title().split()[0]: axes for axes in figure.axes}
    assert list(panels) == list(METHODS)
    for name, axes in panels.items():
        assert axes.get_xscale() == "log"
        foot = axes.get_ylim()[0]
        below = [r["learning_rate"] for r in tables["rates"]
                 if r["method"] == name and r["score"] < foot]  # fmt: skip
        marked = [
            line for line in axes.lines if line.get_marker() == "v" and not line.get_clip_on()
        ]
        assert [list(line.get_xdata()) for line in marked if len(line.get_xdata())] == (
            [below] if below else []
        )
    assert not any(r["score"] < panels["lora"].get_ylim()[0] for r in tables["rates"]
                   if r["mark"] == "chosen")  # fmt: skip
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2))


@pytest.mark.parametrize("shared", [{}, {"full": [1], "qlora": [1, 2, 3]}], ids=["quiet", "shared"])
@pytest.mark.parametrize("name", list(charts()))
def test_no_text_leaves_the_figure(name: str, shared: dict[str, list[int]]) -> None:
    runs = with_company(make_runs(seeds=(1, 2, 3), rows=2000), shared)
    figure = drawn(make_tables(runs), name)
    written = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        written += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in (text for text in written if text.get_text()):
        extent = text.get_window_extent()
        assert figure.bbox.x0 - 1 <= extent.x0 < extent.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert figure.bbox.y0 - 1 <= extent.y0 < extent.y1 <= figure.bbox.y1 + 1, text.get_text()
