"""Names of classes, titles and authors may hold any marks: every output shows them as written."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from dvc_render import VegaRenderer
from dvc_render.html import HTML
from markdown_it import MarkdownIt
from matplotlib.text import Text
from pypdf import PdfReader

from fairtune.charts import fonts, gallery, style
from fairtune.charts.confusion import COMMONEST, MATRIX_CLASSES
from fairtune.charts.gallery import Tables
from fairtune.charts.names import JOINER, distinct, for_page, plain, short, shorten, shown
from fairtune.core.params import Report
from fairtune.report import markup, typeset
from fairtune.report.study import Evidence
from fairtune.report.values import context
from fairtune.report.wording import literal
from tests.reports import evidence_of
from tests.studies import METHODS, make_runs, make_tables, with_labels
from tests.test_page import TEMPLATES, charts, svg, words
from tests.test_typeset import set_paper

NAMES = [
    "$0-$50", "$50_$100", "a_b*c", "#let x = 1", "@ref", "<b>&amp;</b>", "`code`", "[red]x[/red]",
    "C:\\new", "x|y", "1. one", "- x", "\\alpha", "{{x}} << y >>", '"quoted"', "a.b[0]", "~~it's~~",
    "</script><!--", "{refresh_tag}", "= h // c",
]  # fmt: skip
LONG = "A very long name of a class, which goes on and on until it has just eighty signs"
BLOCK = Report(
    title='1. $x_1$ costs $5 & "more": #let *b* <i>&lt;</i> @ref -- [y](z) `code` #',
    author="O'Neil \\alpha | $1_$2",
    affiliation="#lab_1 *x* {{ y }}",
)


def evidence(names: list[str], **knobs: object) -> Evidence:
    """Return a study with these classes and the title block above."""
    runs = with_labels(make_runs(classes=len(names), rows=20 * len(names), **knobs), names)  # type: ignore[arg-type]
    found = evidence_of(runs)
    return dataclasses.replace(found, study=found.study.model_copy(update={"report": BLOCK}))


def tables(names: list[str], **knobs: object) -> Tables:
    return make_tables(
        with_labels(make_runs(classes=len(names), rows=20 * len(names), **knobs), names)  # type: ignore[arg-type]
    )


def bare(text: str) -> str:
    """Return a text without what setting it in lines may change."""
    return re.sub(r"[\s\-\u00ad]", "", text)


def many(count: int) -> list[str]:
    return (NAMES + [f"class {place} of many" for place in range(count)])[:count]


@pytest.fixture(scope="module", params=[NAMES[:10], NAMES[10:]], ids=["first", "second"])
def named(request: pytest.FixtureRequest) -> tuple[list[str], Evidence]:
    """A study whose classes have some of the names, and the names."""
    return request.param, evidence(request.param, methods=("full", "lora"))


def test_the_paper_shows_names_and_title_as_written(
    named: tuple[list[str], Evidence], tmp_path: Path
) -> None:
    names, found = named
    gallery.draw_all(found.tables, tmp_path)
    reader = PdfReader(io.BytesIO(set_paper(found, tmp_path)))
    text = bare("".join(page.extract_text() for page in reader.pages))
    for written in (*names, BLOCK.title, BLOCK.author, BLOCK.affiliation):
        assert bare(written) in text
    assert reader.metadata is not None
    assert reader.metadata.title == BLOCK.title
    assert reader.metadata.author == BLOCK.author


def test_the_markdown_twin_shows_names_and_title_as_written(
    named: tuple[list[str], Evidence],
) -> None:
    names, found = named
    source = typeset.markdown(context(found), Path("report/template"))
    page = MarkdownIt("commonmark").enable("table").render(source)
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    for written in (*names, BLOCK.author, BLOCK.affiliation):
        assert written in text
    [title] = re.findall("<h1>(.*?)</h1>", page)
    assert html.unescape(title.replace("<span>", "").replace("</span>", "")) == BLOCK.title
    rows = [line for line in source.splitlines() if line.startswith("| Classes")]
    assert [len(re.split(r"(?<!\\)\|", row)) for row in rows] == [4]
    # GitHub and Jupyter would take two bare dollar signs for mathematics.
    without = re.sub(r"\$\$.*?\$\$", "", source).replace(r"<span>\$</span>", "")
    assert "$" not in without


@pytest.mark.parametrize("text", ["1. one", "12) x", "- x", "+ x", "# x", "> x", "= x", "    x"])
def test_a_literal_text_starts_no_list_heading_or_code(text: str) -> None:
    page = MarkdownIt("commonmark").render(markup.markdown_text(literal(text)))
    assert html.unescape(page) == f"<p>{text.strip()}</p>\n"


def test_figures_show_names_as_written_and_read_no_mathematics() -> None:
    made = tables([*NAMES[:-1], LONG])
    with gallery.styled(made):
        for name, chart in gallery.charts().items():
            figure = chart.draw(made[name], style.looks(made["accuracy"]))
            figure.savefig(io.BytesIO(), format="svg")
            assert not any(text.get_parse_math() for text in figure.findobj(Text)), name
            if name == "confusion":
                axes = figure.axes[0]
                labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:-1] == NAMES[:-1]
    assert labels[-1] == "A very lon…hty signs"


@pytest.mark.parametrize("names", [NAMES[:4], NAMES], ids=["few", "twenty"])
def test_dvcs_charts_show_names_as_written(names: list[str]) -> None:
    drawing = svg("confusion", workspace=tables(names, methods=("full", "lora")))
    found = {plain(html.unescape(word)) for word in words(drawing)}
    assert set(names) <= found


class Scripts(HTMLParser):
    """Collects the scripts of a page as a browser finds them."""

    def __init__(self) -> None:
        """Start with nothing found."""
        super().__init__()
        self.found: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        if self.inside:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1] += data


def test_a_name_cannot_end_the_script_of_dvcs_page() -> None:
    records = tables(NAMES, methods=("full", "lora"))["confusion"]
    points = [{**record, "rev": "workspace"} for record in records]
    about = charts()["confusion"]
    renderer = VegaRenderer(points, "confusion", template_dir=str(TEMPLATES), **about)
    page = HTML("<main>{plot_divs}</main>").with_element(renderer.generate_html()).embed()
    reader = Scripts()
    reader.feed(page)
    [script] = reader.found
    filled = json.loads(script[script.index("{") : script.rindex(";", 0, script.rindex(";"))])
    assert [plain(point["actual"]) for point in filled["data"]["values"]][::20][:20] == NAMES


def test_of_many_classes_the_commonest_confusions_are_drawn() -> None:
    runs = with_labels(make_runs(classes=77, rows=1540, seeds=(1, 2)), many(77))
    expected: dict[tuple[int, int], int] = {}
    for run in (run for of_method in runs.values() for run in of_method):
        pairs = np.stack([run.predictions.labels, run.predictions.predicted], axis=1)
        for actual, predicted in pairs[pairs[:, 0] != pairs[:, 1]].tolist():
            expected[actual, predicted] = expected.get((actual, predicted), 0) + 1
    records = make_tables(runs)["confusion"]
    assert len(records) == COMMONEST * len(METHODS)
    totals: dict[str, int] = {}
    for record in records:
        assert record["share"] == round(record["count"] / 40, 4)  # 20 rows a class, two seeds
        totals[record["pair"]] = totals.get(record["pair"], 0) + record["count"]
    assert list(totals.values()) == sorted(expected.values(), reverse=True)[:COMMONEST]
    drawn, every = sum(totals.values()), sum(expected.values())
    assert records[0]["panel"] == (
        f"the 20 commonest confusions (actual → predicted) of 77 classes: {drawn} of {every:,} "
        f"errors ({100 * drawn / every:.1f}%)"
    )
    values = context(evidence_of(runs))
    assert f"of 77 classes: {drawn} of {every:,} errors" in values["confusion"]
    assert values["facts"]["classes"].startswith("77 classes, such as ")
    with gallery.styled({"confusion": records}):
        made = make_tables(runs)
        figure = gallery.charts()["confusion"].draw(records, style.looks(made["accuracy"]))
        figure.draw_without_rendering()
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == [f"{r['count']} ({r['share']:.0%})" for r in records]
    text = " ".join(words(svg("confusion", workspace=made)))
    assert records[0]["panel"] in html.unescape(text)


@pytest.mark.parametrize("classes", [MATRIX_CLASSES, MATRIX_CLASSES + 1])
def test_a_grid_is_drawn_up_to_twenty_classes(classes: int) -> None:
    records = tables(many(classes), methods=("full", "lora"))["confusion"]
    assert ("pair" in records[0]) is (classes > MATRIX_CLASSES)
    assert len(records) == 2 * (classes**2 if classes <= MATRIX_CLASSES else COMMONEST)


def test_many_classes_without_an_error_have_no_confusions() -> None:
    perfect = dict.fromkeys(METHODS, 1.0)
    found = evidence(many(MATRIX_CLASSES + 1), accuracy=perfect)
    assert found.tables["confusion"] == []
    assert "confusion" not in context(found)["charts"]


@pytest.mark.parametrize("classes", [2, 12, 20, 77])
def test_every_figure_of_twelve_methods_fits_on_a_page(classes: int) -> None:
    methods = (*METHODS, *(f"method_{place}" for place in range(8)))
    made = tables(many(classes), methods=methods)
    with gallery.styled(made):
        look = style.looks(made["accuracy"])
        for name, chart in gallery.charts().items():
            assert chart.draw(made[name], look).get_size_inches()[1] <= style.TALLEST, name
    assert len({(one.color, one.marker) for one in look.values()}) == len(methods)


def test_a_letter_without_a_font_is_named_and_drawn_with_no_warning(
    recwarn: pytest.WarningsRecorder, tmp_path: Path
) -> None:
    nowhere = "\U000e0fff"
    made = tables([f"a{nowhere}", "b"], methods=("full", "lora"))
    gallery.draw_all(made, tmp_path)
    assert [str(warning.message) for warning in recwarn] == []
    assert gallery.fonts_of(made).missing == nowhere
    said = fonts.without_glyph(nowhere)
    assert said.isascii()
    assert said.startswith("no font of this machine has U+E0FFF: boxes stand for")


def test_letters_that_the_papers_font_lacks_come_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fonts.fonts_for(["plain → text"]).files == []
    assert fonts.fonts_for(["\N{GRINNING FACE}"]).missing == ""
    monkeypatch.setattr(fonts, "BUNDLED", ["STIXGeneral"])
    found = fonts.fonts_for(["\N{GRINNING FACE}"])
    assert found.missing == ""
    assert len(found.families) == len(found.files) + 1 == 2


def test_a_name_is_one_line_and_never_empty() -> None:
    assert shown("a\n b\t\x07c\ud800") == "a b c"
    assert shown(" ") == shown("") == '" "'
    assert shown("\ufdd0x\ufdd1") == "x"
    assert shown("\u200b") == '"\u200b"'
    assert shown("é 猫 \N{GRINNING FACE}") == "é 猫 \N{GRINNING FACE}"


def test_a_name_does_not_turn_the_text_after_it() -> None:
    assert shown("a\u202eb \u2067c") == "ab c"
    assert shown("\u05d0\u05d1\u200fc") == "\u05d0\u05d1\u200fc"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://x.org/a_b", r"https\://x.org/a\_b"),
        ("www.x.org/a_b", r"www\.x.org/a\_b"),
        (":joy: 10:30:12 :+1:", r"<span>\:</span>joy: 10:30:12 <span>\:</span>+1:"),
        (
            r"\(x\) \[y\] \z",
            r"<span>\\</span>(x<span>\\</span>) <span>\\</span>\[y<span>\\</span>\] \\z",
        ),
    ],
)
def test_no_link_emoji_or_mathematics_begins_in_a_literal_text(text: str, written: str) -> None:
    assert markup.markdown_text(literal(text)) == written
    page = MarkdownIt("commonmark").render(written)
    assert html.unescape(re.sub(r"<[^>]*>", "", page)).strip() == text


INTENTS = [f"top_up_by_{way}_transfer_charge" for way in ("bank", "wire", "cash")]


def test_long_names_that_differ_in_the_middle_are_drawn_apart() -> None:
    assert shorten([*INTENTS, "top_up"], 17) == [
        "top_…bank_transf…", "top_…wire_transf…", "top_…cash_transf…", "top_up",
    ]  # fmt: skip
    many_of = [f"{LONG[:40]}{place:02d}{LONG[40:]}" for place in range(30)]
    for most in (17, 20, 28):
        made = shorten(many_of, most)
        assert len(set(made)) == 30
        assert max(map(len, made)) <= most
    made = tables(many_of[:6], methods=("full", "lora"))
    with gallery.styled(made):
        look = style.looks(made["accuracy"])
        axes = gallery.charts()["confusion"].draw(made["confusion"], look).axes[0]
        assert len({label.get_text() for label in axes.get_yticklabels()}) == 6
    drawn = {html.unescape(word) for word in words(svg("confusion", workspace=made))}
    assert {record["actual_short"] for record in made["confusion"]} <= drawn
    assert [record["actual"] for record in made["confusion"]][::6][:6] == many_of[:6]
    pairs = make_tables(with_labels(make_runs(classes=30, rows=600), many_of))
    with gallery.styled(pairs):
        figure = gallery.charts()["confusion"].draw(pairs["confusion"], look_of(pairs))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == COMMONEST


@pytest.mark.parametrize("classes", [2, 3, 5, 20])
def test_grids_keep_their_size_above_long_names(
    classes: int, recwarn: pytest.WarningsRecorder
) -> None:
    long = [f"{LONG[:20].upper()}{place:02d}{LONG[40:].upper()}" for place in range(classes)]
    made = tables(long, methods=("full", "lora"))
    with gallery.styled(made):
        figure = gallery.charts()["confusion"].draw(made["confusion"], look_of(made))
        figure.draw_without_rendering()
    assert [str(warning.message) for warning in recwarn] == []
    heights = [axes.get_position().height for axes in figure.axes if axes.get_visible()]
    assert min(heights) * figure.get_size_inches()[1] > 0.6


def look_of(made: Tables) -> dict[str, style.Look]:
    return style.looks(made["accuracy"])


def test_a_word_longer_than_a_line_is_broken_in_the_paper(tmp_path: Path) -> None:
    word = "x" * 200
    report = BLOCK.model_copy(update={"title": word, "author": word, "affiliation": word})
    found = evidence([f"a{word}", "b"], methods=("full", "lora"))
    found = dataclasses.replace(found, study=found.study.model_copy(update={"report": report}))
    gallery.draw_all(found.tables, tmp_path)
    reader = PdfReader(io.BytesIO(set_paper(found, tmp_path)))
    lines = "\n".join(page.extract_text() for page in reader.pages).splitlines()
    assert not any("x" * 120 in line.replace("\u200b", "") for line in lines)
    text = re.sub(r"[\s\u200b]", "", "".join(lines))
    assert text.count(word) >= 4


@pytest.mark.parametrize("methods", [7, 12, 42])
def test_no_two_methods_have_one_line_in_dvcs_chart_of_the_loss(methods: int) -> None:
    palette = {f"m{place}": place % 6 for place in range(methods)}
    template = json.loads((TEMPLATES / "loss.json").read_text(encoding="utf-8"))
    for part in template["hconcat"]:
        dashes = part["encoding"]["strokeDash"]["scale"]["range"]
        pairs = {(color, place % len(dashes)) for place, color in enumerate(palette.values())}
        assert len(pairs) == methods


def test_classes_that_look_alike_stay_apart() -> None:
    assert distinct(["a", "a", "b", "a (2)", "a"]) == ["a", "a (2)", "b", "a (2) (2)", "a (3)"]
    records = tables(["a b", "a  b", "c"], methods=("full",))["confusion"]
    assert len({(record["actual"], record["predicted"]) for record in records}) == 9
    alike = [f"{LONG[:40]}{place:02d}{LONG[40:]}" for place in range(30)]
    records = tables(alike, methods=("full", "lora"), accuracy={"full": 0.5, "lora": 0.5})[
        "confusion"
    ]
    assert len({record["pair"] for record in records}) == COMMONEST


@pytest.mark.parametrize("most", [2, 5, 20, 80])
def test_a_long_name_keeps_its_start_and_its_end(most: int) -> None:
    assert len(LONG) == 80
    made = short(LONG, most)
    assert len(made) <= most
    if most < 80:
        head, tail = made.split("…")
        assert LONG.startswith(head)
        assert LONG.endswith(tail)
    else:
        assert made == LONG


def test_only_marks_of_the_page_are_broken_up() -> None:
    assert for_page("a < b {x} <b>") == "a < b {x} <b>"
    assert for_page("</b>") == f"<{JOINER}/b>"
    assert plain(for_page("</b><!-- {refresh_tag}")) == "</b><!-- {refresh_tag}"


def test_text_is_prose_names_and_literal_texts() -> None:
    text = f"`lora` on {literal('`a` $b')}, so"
    assert markup.plain_text(text) == "lora on `a` $b, so"
    assert markup.typst_text(text) == '#emph[lora]; on #"`a` $b";, so'
    assert markup.typst_text(literal('C:\\x "y"')) == '#"C:\\\\x \\"y\\"";'
    assert markup.markdown_text(text) == r"`lora` on \`a\` <span>\$</span>b, so"
