"""Classify texts with a trained model of the study: one text, or all rows of a file.

usage: python -m fairtune.predict METHOD [SEED] (--text TEXT | FILE | -) [--out FILE]
in:    models/METHOD/SEED, params.yaml, the pretrained model
out:   the rows of FILE with the columns label and probability, in the kind of file that it is
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairtune.charts.names import shown
from fairtune.core import disk, params, terminal
from fairtune.core.errors import UserError
from fairtune.data.cells import spaced
from fairtune.runs.token_cache import Encoded
from fairtune.serving import inputs, outputs
from fairtune.serving.artefact import Artefact, find
from fairtune.serving.classify import Classifier, load_classifier
from fairtune.serving.rows import Chunk, Source, ahead

# Rows that are read, sorted by length, predicted and written together.
CHUNK = 4096
STDIN = "-"
EPILOG = """\
A file is CSV, TSV, JSON lines or Parquet, text files also packed (.gz, .bz2, .xz, .zip). With - it
is read from standard input, as CSV unless --format says otherwise; so is a pipe, such as
<(zcat FILE). All rows are checked before the first is predicted. Order and other columns stay."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked: method, seed or None, and a text or a file."""
    parser = argparse.ArgumentParser(
        prog="python -m fairtune.predict",
        usage="%(prog)s METHOD [SEED] (--text TEXT | FILE | -) [options]",
        description="Classify texts with a trained model of the study.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("method", metavar="METHOD", help="of params.yaml")
    add("rest", metavar="SEED FILE", nargs="*", help="the study's first seed where none is given")
    add("--text", help="one text in place of a file")
    add("--out", metavar="FILE", type=Path, help="where to write (default: standard output)")
    add("--text-column", metavar="NAME", help="default: data.text_column of params.yaml")
    add("--all-classes", action="store_true", help="also the probability of each class")
    add("--prefix", default="", help="what the new columns' names begin with")
    add("--format", choices=inputs.KINDS, help="kind of file, where its ending does not say")
    add("--separator", help="character between the cells of a CSV or TSV file")
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    add("--batch-size", metavar="N", type=int, help="default: that of the study's evaluations")
    # Options may stand between seed and file.
    given = parser.parse_intermixed_args(words)
    rest = list(given.rest)
    given.seed = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
    if len(rest) + (given.text is not None) != 1:
        parser.error("give one of --text TEXT, a file, or - for standard input")
    given.file = rest[0] if rest else None
    if given.batch_size is not None and given.batch_size < 1:
        parser.error(f"--batch-size: {given.batch_size} is not right; give 1 or more")
    given.separator = "\t" if given.separator == "\\t" else given.separator
    if given.separator is not None and (len(given.separator) != 1 or given.separator in '"\r\n'):
        parser.error(f"--separator: {given.separator!r} is not right; give one character")
    return given


def classify_text(classifier: Classifier, text: str, labels: list[str], *, every: bool) -> str:
    """Return the class of a text with its probability; with `every` all classes, a line each.

    Raises:
        UserError: the text is empty.
    """
    if not spaced(text):
        raise UserError("--text: it is empty; give a text")
    (found,) = classifier.probabilities([spaced(text)])
    order = sorted(range(len(labels)), key=lambda place: -found[place])
    return "\n".join(f"{shown(labels[p])} {found[p]:.4f}" for p in (order if every else order[:1]))


def classify_file(
    classifier: Classifier, source: Source, asked: argparse.Namespace, labels: list[str]
) -> None:
    """Write the rows of a file with what is predicted of them."""
    form = {"prefix": asked.prefix, "all_classes": asked.all_classes}
    new = outputs.names(labels, **form)
    with (
        outputs.opened(source, asked.out, new) as write,
        terminal.counted(asked.method, source.count) as done,
    ):
        for chunk, encoded in chunks(classifier, source):
            found = classifier.of(encoded, done)
            write(chunk, outputs.columns(found, labels, **form))


def chunks(classifier: Classifier, source: Source) -> Iterator[tuple[Chunk, Encoded]]:
    """Yield a file's rows in chunks, with their token ids.

    A GPU does not wait for them: the next ones are read and turned into tokens while it computes.
    On a processor that would take the cores from the model.
    """
    pairs = ((chunk, classifier.encoded(chunk.texts)) for chunk in source.read(CHUNK))
    yield from pairs if classifier.device.type == "cpu" else ahead(pairs)


@contextmanager
def file_of(name: str, given: str | None) -> Iterator[tuple[Path, str]]:
    """Yield a file and its kind; what can be read but once is put into one, as it is read again.

    That is standard input, and a pipe such as the shell's `<(zcat FILE)`.

    Args:
        name: of the file; `STDIN` for standard input.
        given: its kind, where somebody said it.
    """
    path = Path(name)
    if name != STDIN and not outputs.is_stream(path):
        yield path, inputs.kind_of(path, given)
        return
    called = "standard input" if name == STDIN else f"'{path}'"
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "rows")
        with contextlib.ExitStack() as opened, disk.writing(kept), kept.open("wb") as file:
            rows = sys.stdin.buffer if name == STDIN else opened.enter_context(path.open("rb"))
            shutil.copyfileobj(rows, file)
        try:
            yield kept, given or inputs.ENDINGS.get(path.suffix.lower(), inputs.KINDS[0])
        except UserError as error:
            raise UserError(str(error).replace(f"'{kept}'", called)) from error


def check_out(out: Path | None, kind: str) -> None:
    """Refuse a name for the output that tells of another kind of file than it will be.

    Raises:
        UserError: it does.
    """
    ending = out.suffix.lower() if out is not None else ""
    if ending and inputs.ENDINGS.get(ending, kind) != kind:
        raise UserError(f"--out: '{out}' would hold what was read, {kind}; end its name in .{kind}")
    if ending in {".gz", ".bz2", ".xz", ".zip"}:
        raise UserError(f"--out: '{out}': what is written is not packed; name it without {ending}")


def run(asked: argparse.Namespace, artefact: Artefact, column: str) -> None:
    """Do what was asked, the file looked through before the model is loaded."""
    labels = artefact.labels
    load = {"wanted": asked.device, "batch_size": asked.batch_size}
    if asked.text is not None:
        classifier = load_classifier(artefact, **load)
        print(classify_text(classifier, asked.text, labels, every=asked.all_classes))
        return
    with file_of(asked.file, asked.format) as (path, kind):
        check_out(asked.out, kind)
        source = inputs.open_source(path, column, kind=kind, separator=asked.separator)
        new = outputs.names(labels, prefix=asked.prefix, all_classes=asked.all_classes)
        outputs.check(source, asked.out, new, path=str(path))
        classify_file(load_classifier(artefact, **load), source, asked, labels)


def main() -> None:
    """Classify a text or the rows of a file."""
    asked = arguments()
    terminal.quiet_libraries()
    study = params.load()
    artefact = find(study, asked.method, asked.seed)
    column = study.data.text_column if asked.text_column is None else asked.text_column
    run(asked, artefact, column)


if __name__ == "__main__":
    errors.run(main)
