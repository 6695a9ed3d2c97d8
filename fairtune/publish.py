"""Keep a finished study in results/NAME, without its weights, or compute those kept anew.

usage: python -m fairtune.publish NAME [--from FOLDER [FOLDER ...]] [--cost-alone REASON]
       python -m fairtune.publish --check [NAME ...]
in:    the workspace as `dvc repro` leaves it, or folders that hold parts of one study
out:   results/NAME: params.yaml, the manifests of data/, runs/, metrics/, plots/ and report/

With --from the study is put together from folders such as results/NAME, in which other seeds or
methods of it ran on machines of one kind; metrics, verdicts, charts and report are computed anew
from all runs. `--from results/NAME` writes a study anew that an edit of the code has overtaken.

With --check nothing is written: what does not follow from records and predictions is listed, a
line each, and the exit status is 1.
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fairtune.publication import audit, cost_alone, edition, part, place, workspace
from fairtune.publication.union import join


def publish(name: str, folders: Sequence[Path], reason: str | None) -> list[str]:
    """Write a study; return what was written and what was left out, a line each.

    Args:
        name: of the study.
        folders: of its parts; empty for the workspace.
        reason: why the study is for its costs alone, where it is.

    Raises:
        UserError: the name, a part or the workspace is not right.
    """
    to = place.folder(name)
    if not folders:
        workspace.require_fresh()
    parts = [part.read(folder) for folder in folders or [Path()]]
    union = join(parts, reason=reason)
    replaced = ", in place of those before" if to.exists() else ""
    edition.publish(union, to)
    files = workspace.inside(to)
    said = [f"{to}: {len(files)} files, {workspace.size(files)}{replaced}"]
    said += [*edition.first_kept(union), *edition.of_others(union)]
    out = workspace.left_out(folders or [Path()])
    return [*said, *([f"left out: {', '.join(out)}"] if out else [])]


def check(names: Sequence[str]) -> list[str]:
    """Return what in published studies does not follow from their runs, a line each.

    Args:
        names: of the studies; empty for all.

    Raises:
        UserError: a study is not there.
    """
    said = []
    for to in [place.found(name) for name in names or place.published()]:
        try:
            lines = audit.lines(to, audit.differences(to))
        except UserError as error:
            line = " ".join(str(error).split())
            lines = [line if line.startswith(str(to)) else f"{to}: {line}"]
        said += lines
        if not lines:
            print(f"publish: {to}: every figure follows from its runs", flush=True)
        else:
            said.append(f"{to}: `python -m fairtune.publish {to.name} --from {to}` writes it anew")
    return said


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for.

    Raises:
        UserError: words that do not go together.
    """
    parser = argparse.ArgumentParser(
        prog="python -m fairtune.publish", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="of the study: a-z, 0-9 and '-'")
    parser.add_argument(
        "--from", dest="parts", metavar="FOLDER", nargs="+", type=Path, default=[],
        help="parts of the study: other seeds or methods of it",
    )  # fmt: skip
    parser.add_argument("--cost-alone", metavar="REASON", help="why its scores say nothing")
    parser.add_argument("--check", action="store_true", help="compute anew, and write nothing")
    given = parser.parse_args(words)
    if given.check and (given.parts or given.cost_alone is not None):
        raise UserError("--check: takes names alone; leave out --from and --cost-alone")
    if not given.check and len(given.names) != 1:
        raise UserError("NAME: give one, such as imdb-base, or --check")
    if given.cost_alone is not None:
        given.cost_alone = cost_alone.checked(given.cost_alone, place="--cost-alone")
    return given


def main() -> None:
    """Publish a study, or check those that are."""
    given = arguments()
    if not given.check:
        for line in publish(given.names[0], given.parts, given.cost_alone):
            print(f"publish: {line}")
        return
    if not given.names and not place.published():
        print(f"publish: no study in {place.RESULTS}/: nothing to check")
        return
    wrong = check(given.names)
    for line in wrong:
        print(f"publish: {line}")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
