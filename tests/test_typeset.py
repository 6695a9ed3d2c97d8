"""The paper: rendered for unlike studies, every numeral backed, one line for what is wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from pypdf import PdfReader

from fairtune.analysis.formats import rate
from fairtune.analysis.pairs import POWER
from fairtune.analysis.scores import SCORES
from fairtune.charts.gallery import draw_all
from fairtune.core.errors import UserError
from fairtune.report import markup, typeset
from fairtune.report.projection import SHAPES
from fairtune.report.scaling import predicted
from fairtune.report.study import Evidence
from fairtune.report.values import context, short_name
from stages import report as stage
from tests import commands
from tests.reports import LENGTHS, ROOT, evidence_of, make_evidence, make_sweep, write_study
from tests.studies import COMPANY, METHODS, make_runs, make_tables

Papers = Callable[[str], tuple[Evidence, str]]
TEMPLATES = ROOT / "report/template"
# Numerals that no input holds: the level of the intervals (95%), the bits of a quantised weight,
# the least p-value that is printed, the percentile of the step times and the level that equivalence
# is read from (90), the level of tests (5%), the spread of trainings that is assumed (0.5), how far
# other sizes are thought of (50), and the one of equation 1.
CONSTANTS = {"95", "4", "0.001", "90", "5", "0.5", "50", "1"}
NUMERAL = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)*(?!\w)%?")
STUDIES: dict[str, dict[str, Any]] = {
    "clear winner": {
        "rows": 2000, "accuracy": {"full": 0.96, "lora": 0.9, "ia3": 0.85}, "seeds": (1, 2, 3),
    },
    "no difference": {
        "rows": 20_000, "accuracy": dict.fromkeys(METHODS, 0.93), "agreement": 0.999,
        "seeds": (1, 2, 3), "seed_spread": 0.0,
    },
    "a collapse": {"rows": 1000, "accuracy": {"qlora": 0.5}},
    "three seeds": {"seeds": (1, 2, 3), "rows": 1000},
    "no GPU": {"gpu": False},
    "a fifth method": {"methods": (*METHODS, "dora")},
    "a method missing": {"methods": ("full", "ia3")},
    "one method": {"methods": ("lora",)},
    "many classes": {"classes": 7, "rows": 700},
    "a sweep": {"scaling": make_sweep()},
    "serving": {"served": True},
    "a shared GPU": {"seeds": (1, 2, 3), "shared": {"lora": [2], "qlora": [1, 2, 3]}},
    "a search": {"rows": 2000, "seeds": (1, 2, 3), "searched": METHODS},
    "a search of two": {"rows": 2000, "seeds": (1, 2, 3), "searched": ("full", "lora")},
    "only shared runs": {"seeds": (1, 2), "shared": dict.fromkeys(METHODS, (1, 2))},
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of figures for all papers: their text is drawn, so what they show does not matter."""
    folder: Path = tmp_path_factory.mktemp("charts")
    draw_all(make_tables(make_runs()), folder)
    return folder


@pytest.fixture(scope="module")
def blank(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of the same sizes without a stroke: the reader of a PDF goes through each of them."""
    folder: Path = tmp_path_factory.mktemp("blank")
    for path in drawn.glob("*.svg"):
        figure = path.read_text(encoding="utf-8")
        assert "<text" not in figure, "its text would be the paper's"
        opening = re.search(r"<svg[^>]*>", figure)
        assert opening
        (folder / path.name).write_text(f"{opening[0]}</svg>", encoding="utf-8")
    return folder


def set_paper(found: Evidence, charts: Path, templates: Path = TEMPLATES) -> bytes:
    source = typeset.typst_source(context(found), templates)
    return typeset.pdf(source, charts=charts, templates=templates)


def text_of(pdf: bytes) -> str:
    """Return the paper's text as one line, words that a line break split put together again."""
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    return re.sub(r"\s+", " ", re.sub(r"-\s*\n", "-", "\n".join(pages)))


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of nested values with the key that it stands under."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in UNSAID:
                continue
            # The share of a range of lengths, '10 to 128', is what the level above says.
            yield from numbers(item, key if re.match(r"\d", str(name)) else str(name))
            for part in re.findall(r"\d+", str(name)):
                yield "", float(part)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, float(value)


UNSAID = {
    "only_first_right", "only_second_right", "p_mcnemar", "p_equivalence", "kappa", "first_behind",
    "second_behind",
}  # fmt: skip
SHARES = {
    "accuracy", "accuracy_ci95", "difference", "low", "high", "detectable", "macro_f1",
    "calibration_error", "share", "accuracy_by_tokens", "truncated_share", "margin",
    "equivalence_low", "equivalence_high", "score", *SCORES, *(f"{key}_ci95" for key in SCORES),
}  # fmt: skip


# Decimals of what was measured, by its name in the metrics and the records.
MEASURED = {
    "merged_samples_per_second": (1,), "rows_per_second": (1,),
    "train_seconds": (0, 1, 2), "gpu_memory_mib": (0,), "gpu_allocated_mib": (0,),
    "host_memory_mib": (0,), "samples_per_second": (1,), "step_median_ms": (1,),
    "step_p90_ms": (1,), "latency_ms": (1,), "merged_latency_ms": (1,),
    "total_wh": (2,), "net_wh": (2,),
    "shipped_mib": (0, 2), "seconds": (2,), "memory_mib": (0,), "predicted_mib": (0,),
    "sample_interval_ms": (1,), "mean_length": (1,), "warm_up_seconds": (1,),
}  # fmt: skip


def figures(key: str, value: float) -> set[str]:
    """Return the forms in which one number may be printed; the sign stands apart."""
    size = abs(value)
    if key in SHARES:
        return {f"{100 * size:,.1f}"}
    if key == "plausible":
        return {f"{size:.2f}"}
    if key in {"p", "brier"}:
        return {f"{size:.3f}"}
    if key in MEASURED:
        return {f"{size:,.{digits}f}" for digits in MEASURED[key]}
    return {f"{size:.0f}", f"{size:,.0f}"} if value.is_integer() else {f"{size:,.1f}"}


def settings(value: float) -> set[str]:
    return {f"{value:.10f}".rstrip("0").rstrip("."), f"{value:,.0f}" if value >= 1 else "0"}


def relations(found: Evidence) -> set[str]:
    """Return the relations that sentences draw: most to least, all to the baseline, and twins."""
    printed = set()
    pairs = {(found.baseline, name) for name in found.names} | set(pairwise(found.names))
    for values in map(found.spent, found.costs):
        ordered = sorted(values, key=lambda name: values[name])
        for base, name in {*pairs, *zip(ordered[:1], ordered[-1:], strict=True)}:
            if not {base, name} <= set(values):
                continue
            ratio = values[name] / values[base]
            printed |= {f"{abs(round(100 * (ratio - 1)))}%"} if ratio < 2 else set()
            printed |= {f"{ratio:,.1f}", f"{ratio:,.0f}"} if ratio >= 2 else set()
    # What the cheapest would save of time x memory.
    weights = [weight for name in found.names if (weight := found.weight(name))]
    printed |= {f"{100 * (1 - one / other):.1f}" for one in weights for other in weights}
    return printed | growths(found)


def growths(found: Evidence) -> set[str]:
    """Return the factors by which the sweep's costs grow, and by how much predictions are off."""
    printed: set[str] = set()
    points = (found.scaling or {}).get("points", [])
    for first in points:
        mine = [p for p in points if (p["axis"], p["method"]) == (first["axis"], first["method"])]
        done = [p for p in mine if p["seconds"]]
        for key in ("seconds", "memory_mib"):
            printed.add(f"{done[-1][key] / done[0][key]:.1f}")
    printed |= {f"{size:.0f}" for size in (found.scaling or {}).get("fixed_mib", {}).values()}
    for axis in {point["axis"] for point in points}:
        both = [p for p in points if p["axis"] == axis and p["memory_mib"]]
        printed.add(f"{max(abs(p['predicted_mib'] / p['memory_mib'] - 1) for p in both):.0%}")
    return printed


def backed(found: Evidence) -> set[str]:
    """Return every numeral that an input backs, at the precision used."""
    printed = set(CONSTANTS) | {f"{100 * POWER:.0f}"} | relations(found)
    served = found.serving and found.serving.model_dump()
    inputs = [
        *(found.metrics, found.comparison, found.subset, found.encoded, found.scaling, LENGTHS),
        served,
    ]
    for key, value in numbers([dict(one) if isinstance(one, dict) else one for one in inputs]):
        printed |= figures(key, value)
    for _, value in numbers(found.study.model_dump(exclude={"report", "data"})):
        printed |= settings(value)
    printed |= figures("margin", found.study.compare.margin)
    for name, of_method in found.records.items():
        counts = of_method[0].counts
        printed |= {f"{100 * counts.head / counts.trainable:.1f}", f"{counts.total:,}"}
        for field in MEASURED:
            for path in (f"times.{field}", f"inference.{field}", f"energy.{field}", field):
                printed |= of_record(found, path, name)
        printed |= figures("sample_interval_ms", of_method[0].memory.sample_interval_ms or 0)
        if found.metrics[name]["gpu_allocated_mib"]:
            rest = 1 - of_method[0].predicted.total_mib / found.metrics[name]["gpu_allocated_mib"]
            printed.add(f"{100 * rest:.1f}")
    for shape in SHAPES:
        sizes = list(predicted(found, shape).values())
        spread = [max(sizes, default=0) - min(sizes, default=0)]
        printed |= {f"{size / 1024:.1f}" for size in [*sizes, *spread]}
        printed |= {f"{n:,}" for n in (shape.layers, shape.hidden)}
    printed |= searches(found)
    ranks = {str(place) for place in range(1, len(found.names) + 1)}
    return printed | ranks


def searches(found: Evidence) -> set[str]:
    """Return the figures of the searches that are printed otherwise than they are kept."""
    if found.comparison["search"] is None:
        return set()
    seconds = [sum(r.times.train_seconds for r in runs) for runs in found.records.values()]
    decades = []
    for of in found.comparison["search"]["methods"].values():
        seconds += [of["seconds"], *(one["seconds"] for one in of["expected_best"].values())]
        decades += [of["tolerance_decades"], math.log10(of["range"][1] / of["range"][0])]
    return {f"{one / 60:.2f}" for one in seconds} | {f"{one:.1f}" for one in decades}


def learning_rates(found: Evidence) -> set[str]:
    """Return every learning rate that was tried or given, as it is printed."""
    tried = [found.learning_rate(name) for name in found.names]
    for of in (found.comparison["search"] or {"methods": {}})["methods"].values():
        tried += map(float, of["rates"])
    return {rate(one) for one in tried}


def of_record(found: Evidence, path: str, name: str) -> set[str]:
    """Return the forms of the mean of one figure of the records; none where there is no such."""
    try:
        mean = found.mean(path, name)
    except AttributeError:
        return set()
    return set() if mean is None else figures(path.rpartition(".")[2], mean)


def unbacked(text: str, found: Evidence) -> list[str]:
    """Return the numerals of the paper's text that nothing backs."""
    body, _, references = text.rpartition("REFERENCES")
    works = (TEMPLATES / "references.bib").read_text(encoding="utf-8")
    allowed = backed(found)
    cited = len(re.findall(r"\[\d+\]", references))
    # A figure or table may stand after the references: what is there may be theirs.
    known = allowed | set(re.findall(r"\d+(?:\.\d+)*", works))
    after = NUMERAL.findall(re.sub(r"\[\d+\]", "", references))
    wrong = [n for n in after if not {n.rstrip(","), n.rstrip("%,")} & known]
    figures_ = len(re.findall(r"Fig\. \d+\. ", body + references))
    for pattern, highest in ((r"\[(\d+)\]", cited), (r"Fig\. (\d+)", figures_), (r", \((\d)\)", 9)):
        body = re.sub(pattern, lambda m, top=highest: "" if int(m[1]) <= top else m[0], body)
    # What is quoted from the inputs as it stands: names, versions, a hash.
    run = found.first
    quotes = [run.device.name, run.device.driver or "", found.study.report.title,
              found.subset["sha256"][:12], *found.subset["labels"],
              run.parameters["model"]["name"],
              short_name(found.study.model.name), COMPANY, *learning_rates(found)]  # fmt: skip
    quotes += [f"{name} {version}" for name, version in run.versions.items()]
    for quote in sorted(filter(None, quotes), key=len, reverse=True):
        body = body.replace(quote, "")
    # A percentage that is one of the relations is not backed without its sign.
    wrong += [n for n in NUMERAL.findall(body) if not {n.rstrip(","), n.rstrip("%,")} & allowed]
    return [n.rstrip("%,") for n in wrong]


@pytest.fixture(scope="module")
def papers(blank: Path) -> Papers:
    """The evidence and the text of the paper of each of `STUDIES`, set once."""

    @cache
    def of(name: str) -> tuple[Evidence, str]:
        found = make_evidence(**STUDIES[name])
        return found, text_of(set_paper(found, blank))

    return of


@pytest.mark.parametrize("name", STUDIES)
def test_every_numeral_of_the_paper_is_backed(name: str, papers: Papers) -> None:
    found, text = papers(name)
    assert unbacked(text, found) == []


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "matthews"])
def test_a_study_by_another_metric_in_groups_and_with_looks_is_set(
    metric: str, drawn: Path
) -> None:
    runs = make_runs(seeds=(1, 2, 3, 4, 5), rows=1000, groups=100, accuracy={"ia3": 0.8})
    found = evidence_of(runs, metric=metric, looks=[3, 5, 8])
    text = text_of(set_paper(found, drawn))
    name = found.score_name
    assert unbacked(text, found) == []
    assert f"On the test set the {name} is" in text
    assert f"{name.capitalize()} with its 95% interval" in text
    assert "drawn in 100 groups, which no split parts" in text
    assert "it was looked at two times of 3 planned, at 3 and 5 seeds" in text
    assert "more accurate" not in text
    assert "less accurate" not in text


MADE_UP = ("by 73.9%", "17 GPUs", "2,345 rows", "a factor of 6.66")


def test_made_up_numbers_in_the_template_are_found(blank: Path, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "template")
    file = tmp_path / "template" / typeset.PAPER
    line = "= Analysis and Discussion"
    said = " ".join(f"It is faster {made_up}." for made_up in MADE_UP)
    file.write_text(file.read_text().replace(line, f"{said}\n\n{line}"))
    found = make_evidence()
    wrong = unbacked(text_of(set_paper(found, blank, tmp_path / "template")), found)
    assert wrong == ["73.9", "17", "2,345", "6.66"]


SAID = {
    "clear winner": ["full is the most accurate (96.0%)", "We recommend full"],
    "no difference": ["are equivalent within the margin of 1.0 points", "supports no ranking"],
    "three seeds": ["three seeds (1, 2 and 3)", "crossed with the rows"],
    "no GPU": ["GPU memory was not measured", "speaks of its trained models, not of the methods"],
    "a collapse": ["qlora is left out: 1 of 1 trainings learned nothing"],
    "a fifth method": ["five methods", "full, lora, qlora, ia3 and dora"],
    "a method missing": ["two methods", "full and ia3"],
    "one method": ["nothing to compare it with"],
    "a shared GPU": ["lora 2 of 3 runs (1 shared the GPU)", "It is n/a for qlora"],
    "a search": ["All methods had the same budget: six rates", "EXPECTED BEST VALIDATION ACCURACY"],
    "a search of two": ["The budgets of the study’s methods were not equal"],
    "only shared runs": ["were not weighed", "The training time is n/a"],
}


@pytest.mark.parametrize("name", SAID)
def test_the_paper_says_what_the_evidence_says(name: str, papers: Papers) -> None:
    text = papers(name)[1]
    for words in SAID[name]:
        assert words in text
    for section in ("Abstract", "INTRODUCTION", "EXPERIMENTAL SETUP", "RESULTS AND VISUALIZATIONS",
                    "ANALYSIS AND DISCUSSION", "CONCLUSION AND RECOMMENDATION",
                    "REFERENCES"):  # fmt: skip
        assert section in text


def test_without_a_gpu_its_memory_is_mentioned_as_not_measured_and_no_more(papers: Papers) -> None:
    text = papers("no GPU")[1]
    said = re.findall(r"GPU memory[^.;]*", text)
    assert said
    # A line may break within a word.
    assert all(words.replace("mea-s", "meas").startswith("GPU memory was not measured")
               for words in said)  # fmt: skip


def test_an_affiliation_left_empty_leaves_no_marks(papers: Papers) -> None:
    text = papers("no GPU")[1]
    between = text[text.index("fairtune project") : text.index("Abstract")]
    assert between.removeprefix("fairtune project").strip() == ""


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("head", "tokens the first 512 are kept"),
        ("tail", "tokens the last 512 are kept"),
        ("both", "tokens the first and the last, 512 in all, are kept"),
    ],
)
def test_the_paper_says_what_of_a_long_text_is_kept(keep: str, words: str) -> None:
    found = make_evidence()
    encode = found.study.encode.model_copy(update={"keep": keep})
    study = found.study.model_copy(update={"encode": encode})
    found = dataclasses.replace(found, study=study)
    assert f"{context(found)['facts']['kept']} are kept" in words
    shared = dict(context(found)["tables"]["shared"].rows)
    assert markup.plain_text(shared["kept of longer texts"]) == keep


def test_the_same_evidence_gives_the_same_bytes(drawn: Path) -> None:
    first, second = (make_evidence(**STUDIES["no GPU"]) for _ in range(2))
    assert set_paper(first, drawn) == set_paper(second, drawn)


def test_all_fonts_are_embedded(drawn: Path) -> None:
    reader = PdfReader(io.BytesIO(set_paper(make_evidence(**STUDIES["three seeds"]), drawn)))
    fonts = {}
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            one = font.get_object()
            inner = one["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
            fonts[str(one["/BaseFont"])] = {"/FontFile2", "/FontFile3"} & set(inner)
    assert any("STIXGeneral" in name for name in fonts)
    assert all(fonts.values())


def test_the_markdown_twin_holds_the_same_findings_and_links_charts_that_are_drawn(
    drawn: Path,
) -> None:
    values = context(make_evidence())
    text = typeset.markdown(values, TEMPLATES)
    assert values["headline"] in text
    assert values["recommendation"] in text
    linked = re.findall(r"\(charts/(\w+)\.svg\)", text)
    assert set(linked) == {path.stem for path in drawn.glob("*.svg")}
    assert "{" not in re.sub(r"\$\$.*?\$\$", "", text)


def test_a_sentence_with_nothing_to_say_leaves_no_gap() -> None:
    values = context(make_evidence(gpu=True))
    assert values["memory_note"] == ""
    assert not re.search(r"\S  +\S", typeset.markdown(values, TEMPLATES))


def test_a_text_cannot_break_out_of_the_template() -> None:
    assert markup.typst_text("a_b #import *x* $y$ @z") == r"a\_b \#import \*x\* \$y\$ \@z"
    assert markup.typst_text("`lora`; so") == "#emph[lora];; so"


def test_broken_references_give_one_line(drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "template")
    (tmp_path / "template/references.bib").write_text("@article{hu2022, title = {")
    with pytest.raises(UserError, match=r"references\.bib: \S.*") as caught:
        set_paper(make_evidence(), drawn, tmp_path / "template")
    assert "\n" not in str(caught.value)


def test_a_missing_reference_gives_one_line_that_names_it(drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "template")
    works = tmp_path / "template/references.bib"
    works.write_text(works.read_text().replace("holm1979", "holm"))
    with pytest.raises(UserError, match=r"references\.bib: .*holm1979"):
        set_paper(make_evidence(), drawn, tmp_path / "template")


def test_a_missing_font_gives_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"font STIXGeneral\.ttf is missing from matplotlib"):
        typeset.font_folder()


def test_a_template_that_asks_for_what_is_not_there_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / typeset.PAPER).write_text("<< no_such_thing >>")
    with pytest.raises(UserError, match=r"paper\.typ: 'no_such_thing' is undefined"):
        typeset.typst_source({}, tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_study(tmp_path)
    shutil.copytree(TEMPLATES, tmp_path / "report/template")
    return tmp_path


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    # The last of the path entries that Python adds is the working folder.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; " \
           "runpy.run_module('stages.report', run_name='__main__')"  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_stage_writes_the_paper_its_twin_and_the_charts(repository: Path) -> None:
    done = run_stage(repository)
    assert done.returncode == 0, done.stderr
    report = repository / "report"
    assert (report / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "](charts/accuracy.svg)" in (report / "README.md").read_text()
    assert (report / "charts/differences.svg").exists()


def test_a_missing_metrics_file_gives_one_line(repository: Path) -> None:
    (repository / "metrics/lora.json").unlink()
    done = commands.run(stage.main, repository)
    assert done.returncode == 1
    assert done.stderr == "fairtune: metrics/lora.json: not found; run `dvc repro score@lora`\n"


def test_metrics_of_another_study_give_one_line(repository: Path) -> None:
    study = json.loads((repository / "params.yaml").read_text())
    del study["methods"]["ia3"]
    (repository / "params.yaml").write_text(json.dumps(study))
    done = commands.run(stage.main, repository)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "metrics/comparison.json: other methods than params.yaml" in done.stderr
