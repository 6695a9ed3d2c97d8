"""The page of `dvc plots show` and `dvc plots diff`: complete, and drawn with no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from dvc_render import VegaRenderer
from ruamel.yaml import YAML

from fairtune.charts import rates
from fairtune.charts.gallery import Tables
from fairtune.charts.records import Compared
from fairtune.core.files import write_json
from fairtune.page import page
from tests.searches import make_searches
from tests.studies import PALETTE, make_runs, make_tables

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / ".dvc/plots"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")


def charts() -> dict[str, dict[str, Any]]:
    """Return what dvc.yaml says of each chart, by the name of its table."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    entries = [item for entry in stages["compare"]["plots"] for item in entry.items()]
    # The verdicts' file holds the records of the differences.
    return {Path(path).stem.replace("comparison", "differences"): about for path, about in entries}


def study(**knobs: Any) -> Tables:
    return make_tables(make_runs(**knobs))


def svg(name: str, **revisions: Tables) -> str:
    """Return the chart of one table as `dvc plots show` or `diff` fills its template."""
    points = [{**record, "rev": rev} for rev, made in revisions.items() for record in made[name]]
    renderer = VegaRenderer(points, name, template_dir=str(TEMPLATES), **charts()[name])
    return str(vl_convert.vegalite_to_svg(renderer.get_filled_template()))


def words(drawing: str) -> list[str]:
    return re.findall(r">([^<>]+)</(?:text|tspan)>", drawing)  # a line of several is a tspan


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC repository with two revisions of a study and the page made for it."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(TEMPLATES, root / ".dvc/plots")
    entries = [{f"plots/{name}.json": about} for name, about in charts().items()]
    document = {"stages": {"compare": {"cmd": "true", "plots": entries}}}
    YAML(typ="safe").dump(document, root / "dvc.yaml")
    # The axes bear the name of the study's metric.
    (root / "params.yaml").write_text("compare: {metric: accuracy}\n")
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    command(root, "git", "init", "--quiet")
    for made in (study(rows=200, gpu=False), study(rows=300)):
        for name, table in made.items():
            write_json(root / "plots" / f"{name}.json", table)
        command(root, "git", "add", ".")
        author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        command(root, "git", *author, "commit", "--quiet", "--message", "study")
    command(root, sys.executable, "-m", "fairtune.page")
    return root


def command(root: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        words, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["show", "diff"])
def made_page(request: pytest.FixtureRequest, repository: Path) -> Path:
    """The page that DVC makes of one revision, and of two."""
    revisions = ["HEAD~1"] if request.param == "diff" else []
    folder = f"page-{request.param}"
    said = command(
        repository, sys.executable, "-m", "dvc", "plots", request.param, *revisions, "-o", folder
    )
    assert "WARNING" not in said
    return repository / folder / "index.html"


class Links(HTMLParser):
    """Collects what a browser would load."""

    def __init__(self) -> None:
        """Start with nothing found."""
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loaded = {"script": "src", "link": "href", "img": "src", "iframe": "src"}.get(tag)
        self.found += [value or "" for name, value in attrs if name == loaded]


def test_dvc_yaml_names_a_chart_and_a_template_for_every_table() -> None:
    assert set(charts()) == set(study())
    used = {about["template"] for about in charts().values()}
    assert used == {path.stem for path in TEMPLATES.glob("*.json")}
    assert all(about["cache"] is False for about in charts().values())


def test_every_axis_of_dvc_yaml_is_a_field_of_its_table() -> None:
    made = study()
    for name, about in charts().items():
        assert {about["x"], about["y"]} <= set(made[name][0]), name


@pytest.mark.parametrize("name", list(study()))
def test_a_template_draws_every_method_with_no_name_of_one_revision(name: str) -> None:
    drawing = svg(name, workspace=study(methods=("zeta", "alpha", "mid_1")))
    text = " ".join(words(drawing))
    assert "· workspace" not in text
    assert all(text.count(method) for method in ("zeta", "alpha", "mid_1"))
    assert text.index("zeta") < text.index("alpha") < text.index("mid_1") or name == "pareto"


def test_the_template_of_the_rates_draws_searched_and_given_ones() -> None:
    runs = make_runs(seeds=(1, 2))
    searches = make_searches(("full", "lora"))
    records = rates.records(
        Compared(runs=runs, verdicts=[], palette=PALETTE, margin=0.01, searches=searches)
    )
    drawing = svg("rates", workspace={"rates": records})
    text = " ".join(words(drawing))
    for record in records:
        assert record["panel"] in text
    # A point for each rate, and a band for each method that searched.
    assert len(re.findall(r'aria-roledescription="point"', drawing)) == len(records)
    assert len(re.findall(r'aria-roledescription="rect mark"', drawing)) == 2
    assert "NaN" not in drawing


BY_REVISION = [name for name in study() if name != "pareto"]  # which draws a trail in its place


@pytest.mark.parametrize("name", BY_REVISION)
def test_a_template_tells_two_revisions_apart(name: str) -> None:
    # DVC hands the workspace over first.
    both = {"workspace": study(), "HEAD~1": study(accuracy={"lora": 0.8})}
    text = " ".join(words(svg(name, **both)))
    assert text.count("· HEAD~1") == text.count("· workspace") > 0


def test_the_page_has_dvcs_placeholder_once_and_refuses_libraries_that_hold_it() -> None:
    assert page("let a = 1;").count("{plot_divs}") == 1
    with pytest.raises(ValueError, match="plot_divs"):
        page("let a = '{plot_divs}';")


def test_the_page_loads_nothing(made_page: Path) -> None:
    links = Links()
    links.feed(made_page.read_text(encoding="utf-8"))
    assert links.found == []


def test_the_page_holds_every_chart_once(made_page: Path) -> None:
    text = made_page.read_text(encoding="utf-8")
    assert text.count("vegaEmbed('#") == len(charts())
    for about in charts().values():
        assert json.dumps(about["title"]) in text


@needs_browser
def test_a_browser_without_network_draws_every_chart(made_page: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --disable-quic --dump-dom"
    done = subprocess.run(
        [BROWSER, *flags.split(), "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", made_page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    body = done.stdout[done.stdout.index("<main>") :]
    drawn = body.count("<canvas") + len(re.findall(r"<svg[^>]*marks", body))
    assert drawn == len(charts())
    visible = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL)
    assert not re.search(r"error(?! \d)|undefined|NaN", visible, flags=re.IGNORECASE), visible
