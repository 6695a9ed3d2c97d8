"""Render the findings as the paper (Typst, PDF) and as its Markdown twin.

The same evidence gives the same bytes: no date stands in the PDF, and fonts come with matplotlib
and Typst (`fairtune.charts.fonts`: but for letters that these lack).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from fairtune.charts.fonts import BUNDLED, fonts_for
from fairtune.core.errors import UserError, one_line
from fairtune.report import wording
from fairtune.report.markup import Raw, cited, markdown_text, quoted, typst_text

TEMPLATES = Path("report/template")
PAPER, MARKDOWN, STYLE, WORKS = "paper.typ", "README.md", "ieee.typ", "references.bib"
FONTS = ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf")


def names(methods: Iterable[str]) -> str:
    """Return method names as a list in prose."""
    return wording.methods(list(methods))


def typst_source(values: Mapping[str, Any], templates: Path = TEMPLATES) -> str:
    """Fill the paper's template.

    Raises:
        UserError: the template is missing, broken, or asks for what the findings do not have.
    """
    environment = _environment(
        templates,
        typst_text,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"quoted": quoted, "cite": cited}
    return _filled(environment, PAPER, values, templates)


def markdown(
    values: Mapping[str, Any], templates: Path = TEMPLATES, *, name: str = MARKDOWN
) -> str:
    """Fill a Markdown template.

    Args:
        values: what it asks for.
        templates: folder of the templates.
        name: of its file there.

    Raises:
        UserError: the template is missing, broken, or asks for what the findings do not have.
    """
    environment = _environment(
        templates, markdown_text, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = markdown_text
    text = _filled(environment, name, values, templates)
    # A sentence with nothing to say leaves two spaces, a section with nothing blank lines.
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<=\S)  +(?=\S)", " ", text))


def _environment(
    templates: Path, escape: Callable[[Any], str], **syntax: Any
) -> jinja2.Environment:
    """Return what fills a template in, every value escaped by `escape`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        finalize=escape,
        autoescape=False,  # `finalize` escapes
        **syntax,
    )
    environment.filters |= {"raw": Raw, "names": names, "literal": wording.literal}
    return environment


def _filled(
    environment: jinja2.Environment, name: str, values: Mapping[str, Any], templates: Path
) -> str:
    try:
        return environment.get_template(name).render(**values)
    except jinja2.TemplateNotFound:
        raise UserError(f"{templates / name}: not found; restore it from git") from None
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{templates / name}:{error.lineno}: {one_line(error)}") from None
    except jinja2.UndefinedError as error:
        raise UserError(f"{templates / name}: {one_line(error)}") from None


def font_folder() -> Path:
    """Return the folder of the paper's fonts, which come with matplotlib.

    Raises:
        UserError: one of them is missing.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    for font in FONTS:
        if not (folder / font).is_file():
            raise UserError(
                f"the report's font {font} is missing from matplotlib; run "
                "`pip install --force-reinstall matplotlib`"
            )
    return folder


def pdf(source: str, *, charts: Path, templates: Path = TEMPLATES) -> bytes:
    """Set the paper.

    Args:
        source: the filled template.
        charts: folder of the figures.
        templates: folder of the style and of the references.

    Raises:
        UserError: the references, the template or a font is not right; one line says where.
    """
    import typst

    folders, fonts = [font_folder()], fonts_for([source])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "template").mkdir()
        for name in (STYLE, WORKS):
            if not (templates / name).is_file():
                raise UserError(f"{templates / name}: not found; restore it from git")
            shutil.copy(templates / name, root / "template" / name)
        shutil.copytree(charts, root / "charts")
        if fonts.files:
            folders.append(root / "fonts")
            folders[-1].mkdir()
        for file in fonts.files:
            shutil.copy(file, folders[-1] / file.name)
        (root / PAPER).write_text(source, encoding="utf-8")
        try:
            made, warnings = typst.compile_with_warnings(
                str(root / PAPER),
                root=str(root),
                font_paths=[str(one) for one in folders],
                ignore_system_fonts=True,
                sys_inputs={"fonts": "\n".join(fonts.families)},
                timestamp=0,
            )
        except typst.TypstError as error:
            raise UserError(_problem(error, templates)) from None
    for warning in warnings:
        if any(family.lower() in warning.message for family in BUNDLED):
            raise UserError(f"{templates}: {one_line(warning)}; fonts come with matplotlib")
    return bytes(made)


def _problem(error: Any, templates: Path) -> str:
    """Return one line for an error of Typst: the file that it points at and what it says."""
    shown = str(error.diagnostic)
    name = next((n for n in (WORKS, STYLE, PAPER) if n in shown or n in error.message), PAPER)
    if "bibliography" in error.message or "BibLaTeX" in error.message or "label" in error.message:
        name = WORKS
    return f"{templates / name}: {one_line(error)}"
