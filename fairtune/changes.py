"""Say in Markdown what changed of a study since a commit: verdicts, metrics, parameters, charts.

usage: python -m fairtune.changes REV [--pictures URL [--head REV]] [--out FILE]
in:    params.yaml, metrics, plots and report/charts, here and as Git has them at REV

For a pull request: `.github/workflows/pull-request.yml` puts it into the summary of the job. Such a
summary shows no picture of a local file and none that is written into the text. But the report's
charts are committed, and the host serves the files of a commit: URL is where.
"""

from __future__ import annotations

from fairtune.core.errors import UserError, run  # isort: skip (it answers Ctrl-C meanwhile)

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairtune.analysis.formats import NOT_MEASURED, interval, number
from fairtune.core import params, paths
from fairtune.report.accuracy import headline
from fairtune.report.markup import markdown_text
from fairtune.report.results import VERDICTS, read_results
from fairtune.report.wording import literal, method
from fairtune.verification.committed import commit_of, git

Comparison = Mapping[str, Any]
CHARTS = paths.REPORT / "charts"
ABSENT = "(none)"
SHORT = 10
"""Letters of a commit's name that are shown."""
WIDTH = 440
"""Pixels of a picture, so that two stand side by side."""


def verdicts_at(commit: str) -> Comparison | None:
    """Return metrics/comparison.json as Git has it at a commit; None where it has none."""
    try:
        # './': from this folder on, which need not be the top of the Git repository.
        found = json.loads(git("show", f"{commit}:./{VERDICTS.as_posix()}"))
    except (UserError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def verdicts_here() -> Comparison | None:
    """Return metrics/comparison.json; None where it is missing or broken."""
    try:
        found = json.loads(VERDICTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def finding(now: Comparison | None) -> str:
    """Return the finding as the report has it, or why there is none."""
    if now is None:
        return f"There are no verdicts here: {VERDICTS} is missing or not right."
    try:
        return markdown_text(headline(read_results(params.load())))
    except UserError as error:
        return f"The results here are not those of the parameters: {markdown_text(literal(error))}"


def choice(found: Comparison | None) -> str:
    """Return which method a study recommends, and how surely."""
    about = (found or {}).get("choice")
    if not isinstance(about, dict):
        return NOT_MEASURED
    if not about.get("method"):
        return "none"
    return f"{method(about['method'])} ({'settled' if about.get('settled') else 'provisional'})"


def pair(found: Comparison | None, key: str) -> tuple[str, str]:
    """Return the difference of two methods in points, with its 95% interval, and the verdict.

    Args:
        found: the verdicts, of any version; None where there are none.
        key: the pair's, as `full_vs_lora`.
    """
    known = (found or {}).get("pairs") or {}
    turned = _turned(key)
    about, sign = (known[key], 1) if key in known else (known.get(turned), -1)
    if not about:
        return NOT_MEASURED, NOT_MEASURED
    low, high = sorted((sign * about["low"], sign * about["high"]))
    difference = f"{number(100 * sign * about['difference'], digits=1)} {interval(low, high)}"
    winner = about.get("winner")
    runs = "" if (found or {}).get("about") == "methods" else " (these runs)"
    return difference, f"{method(winner)} better{runs}" if winner else str(about.get("verdict"))


def _turned(key: str) -> str:
    first, versus, second = key.partition("_vs_")
    return f"{second}{versus}{first}"


def verdicts(before: Comparison | None, now: Comparison | None, since: str) -> list[str]:
    """Return the table of all pairs, what changed of a verdict in bold."""
    keys = list((now or {}).get("pairs") or {})
    for key in (before or {}).get("pairs") or {}:
        if key not in keys and _turned(key) not in keys:
            keys.append(key)
    rows = []
    for key in keys:
        (old, said), (new, says) = pair(before, key), pair(now, key)
        first, _, second = key.partition("_vs_")
        says = says if says == said else f"**{says}**"
        rows.append([f"{method(first)} − {method(second)}", old, new, said, says])
    header = ["Difference (points, 95% interval)", since, "now", f"verdict {since}", "verdict now"]
    return table(header, rows) if rows else ["No verdicts, neither then nor now."]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, of cells that are Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def dvc(*words: str) -> str:
    """Return what DVC prints.

    Raises:
        UserError: it fails.
    """
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"dvc {' '.join(words[:2])}: {said[0].removeprefix('ERROR: ')}")
    return done.stdout


def metrics(revision: str) -> list[str]:
    """Return the table of `dvc metrics diff`: names of files and keys, which hold no marks."""
    lines = dvc("metrics", "diff", "--md", revision).strip().splitlines()
    return [*lines[:2], *sorted(lines[2:])] if len(lines) > 2 else ["No metric changed."]


def parameters(revision: str, since: str) -> list[str]:
    """Return what `dvc params diff` finds; its own table lets a title's marks break it."""
    found = json.loads(dvc("params", "diff", "--json", revision))
    rows = [
        [markdown_text(literal(key)), _value(change.get("old")), _value(change.get("new"))]
        for of_file in found.values()
        for key, change in sorted(of_file.items())
    ]
    return table(["Parameter", since, "now"], rows) if rows else ["No parameter changed."]


def _value(value: Any) -> str:
    if value is None:
        return ABSENT
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return markdown_text(literal(said))


def charts(commit: str, since: str, pictures: str | None, head: str) -> list[str]:
    """Return the charts of the report that changed, then and now.

    Args:
        commit: to compare with.
        since: what it is called.
        pictures: where the files of a commit are served, `{commit}` for its name; None shows the
            files here, as an editor does.
        head: the commit whose pictures are those of now.

    Raises:
        UserError: there is no such commit.
    """
    folder = CHARTS.as_posix()
    listed = git("diff", "--name-only", "-z", "--relative", commit, "--", f"{folder}/*.svg")
    changed = [Path(name) for name in listed.decode().split("\0") if name]
    known = git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/").decode()
    if not changed:
        return ["No chart of the report changed."]
    here = commit_of(head) if pictures else ""
    lines = []
    for path in changed:
        old = [commit] if pictures and path.as_posix() in known.split("\0") else []
        new = [here] if path.exists() else []
        cells = [_picture(path, pictures, of) if of else "none" for of in (old, new)]
        name = path.stem.replace("_", " ").capitalize()
        lines += [f"### {name}", ""]
        lines += table([since, "now"], [cells]) if pictures else [cells[1]]
        lines.append("")
    return lines[:-1]


def _picture(path: Path, pictures: str | None, commits: Sequence[str]) -> str:
    place = path.as_posix()
    if pictures:
        place = f"{pictures.replace('{commit}', commits[0])}/{place}"
        return f'<img src="{place}" alt="{path.stem}" width="{WIDTH}">'
    return f"![{path.stem}]({place})"


def report(revision: str, pictures: str | None = None, head: str = "HEAD") -> str:
    """Return the whole text.

    Args:
        revision: to compare with.
        pictures: where the files of a commit are served, or None.
        head: the commit whose pictures are those of now.

    Raises:
        UserError: there is no such commit, or DVC cannot compare with it.
    """
    commit = commit_of(revision)
    since = commit[:SHORT]
    before, now = verdicts_at(commit), verdicts_here()
    parts = [
        [f"# What changed since {since}", "", finding(now), ""],
        [f"Recommended: {choice(before)} at {since}, {choice(now)} now."],
        ["", "## Verdicts", "", *verdicts(before, now, since)],
        ["", "## Metrics", "", *metrics(since)],
        ["", "## Parameters", "", *parameters(since, since)],
        ["", "## Charts", "", *charts(commit, since, pictures, head)],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def main() -> None:
    """Print the text, or write it into a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revision", metavar="REV", help="commit to compare with")
    parser.add_argument(
        "--pictures", metavar="URL", help="where the files of {commit} are served, as pictures"
    )
    parser.add_argument("--head", metavar="REV", default="HEAD", help="whose pictures are new")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: standard output")
    given = parser.parse_args()
    text = report(given.revision, given.pictures, given.head)
    if given.out is None:
        print(text, end="")
        return
    try:
        given.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out: '{given.out}': {error.strerror}; name another file") from None


if __name__ == "__main__":
    run(main)
