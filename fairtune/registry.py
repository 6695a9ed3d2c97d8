"""Keep DVC's artefact `recommended` in step with what the study found, or say that it is stale.

usage: python -m fairtune.registry [--check]
in:    params.yaml, metrics/*.json
out:   dvc.yaml: `artifacts.recommended`, the weights of the method to use, of the first seed

DVC takes the path of an artefact from dvc.yaml alone. It could be `${...}` of a file, but then no
command of DVC's would run until a study had its first result, and GTO and the commit of an older
version would be read without it: the path stands there in full, and this holds it to the finding.
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fairtune.core import params, paths
from fairtune.report.results import VERDICTS, read_results

PIPELINE = Path("dvc.yaml")
NAME = "recommended"
COMMENT = "# Written by `python -m fairtune.registry` after a run; CI finds it where it is stale."
# The section, and the entry in it with all lines that are further in.
SECTION = re.compile(r"^artifacts:[ ]*\n", re.MULTILINE)
EMPTY = re.compile(rf"\n?(?:{re.escape(COMMENT)}\n)?^artifacts:[ ]*\n(?=\S|\Z)", re.MULTILINE)
ENTRY = re.compile(rf"^  {NAME}:[^\n]*\n(?:[ ]{{4,}}[^\n]*\n)*", re.MULTILINE)


def artefact(choice: Mapping[str, Any], seed: int) -> dict[str, Any] | None:
    """Return the artefact as dvc.yaml describes it; None where the study recommends no method.

    Args:
        choice: `choice` of metrics/comparison.json.
        seed: the one whose weights are handed out.
    """
    method = choice["method"]
    if method is None:
        return None
    sure = "settled" if choice["settled"] else "provisional"
    return {
        "path": (paths.training_folder(method, seed) / paths.WEIGHTS).as_posix(),
        "type": "model",
        "desc": f"The study's {sure} choice: {method}, seed {seed} (python -m fairtune.advise)",
        "labels": ["text-classification", method, sure],
    }


def written(text: str) -> dict[str, Any] | None:
    """Return the artefact that a dvc.yaml has, or None.

    Raises:
        UserError: it is not YAML with a mapping of artefacts.
    """
    try:
        content = YAML(typ="safe").load(text)
    except YAMLError as error:
        said = str(error).split("\n")[0]
        raise UserError(f"{PIPELINE}: not right: {said}; mend it by hand") from None
    section = (content if isinstance(content, dict) else {}).get("artifacts") or {}
    if not isinstance(section, dict):
        raise UserError(
            f"{PIPELINE}: artifacts: expected names with what they are; found {section}"
        )
    found: dict[str, Any] | None = section.get(NAME)
    return found


def filled(text: str, wanted: Mapping[str, Any] | None) -> str:
    """Return dvc.yaml with this artefact, all other lines as they were.

    Raises:
        UserError: its section is written in a way that this cannot change.
    """
    if written(text) == wanted:
        return text
    entry = _lines(wanted) if wanted else ""
    text = text if text.endswith("\n") else f"{text}\n"
    if ENTRY.search(text):
        # DVC reads no dvc.yaml with a section that holds nothing.
        made = EMPTY.sub("", ENTRY.sub(lambda _: entry, text, count=1))
    elif SECTION.search(text):
        made = SECTION.sub(lambda found: found[0] + entry, text, count=1)
    else:
        made = f"{text}\n{COMMENT}\nartifacts:\n{entry}" if entry else text
    with contextlib.suppress(UserError):  # as of a second section beside one in braces
        if written(made) == wanted:
            return made
    raise UserError(
        f"{PIPELINE}: artifacts.{NAME}: written in a way that cannot be changed here; take it out, "
        "and run this again"
    )


def _lines(wanted: Mapping[str, Any]) -> str:
    """Return the entry: JSON's strings and lists are YAML's too."""
    inner = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in wanted.items())
    return f"  {NAME}:\n{inner}"


def main() -> None:
    """Write the artefact, or with --check only compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    study = params.load()
    wanted = artefact(read_results(study).comparison["choice"], study.seeds[0])
    try:
        text = PIPELINE.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{PIPELINE}: not found; run this from the repository root") from None
    found = written(text)
    if found == wanted:
        return
    to = wanted["path"] if wanted else "nothing: no method is recommended"
    if check:
        has = "missing" if found is None else f"'{found.get('path')}'"
        raise UserError(
            f"{PIPELINE}: artifacts.{NAME}: {has}, but {VERDICTS} leads to {to}; run "
            "`python -m fairtune.registry` and commit it"
        )
    PIPELINE.write_text(filled(text, wanted), encoding="utf-8")
    print(f"registry: {PIPELINE}: artifacts.{NAME} leads to {to}")


if __name__ == "__main__":
    run(main)
