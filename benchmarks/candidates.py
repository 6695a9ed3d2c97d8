"""Train candidates of the embedded study with many seeds: how little work still teaches enough.

usage: python -m benchmarks.candidates [FILE] [--seeds A-B] [--at-once N] [--only NAME ...]
                                       [--encoded FOLDER [--encode-only]]

FILE (benchmarks/candidates.yaml) names the candidates: for each, the keys of params.yaml that it
changes. Their token rows are kept in FOLDER, for a machine that has no corpus. All are tested on
the same rows. Trainings may share a GPU: accuracy alone counts. `work` is how many million times a
token passes a layer, over all four methods: what a study costs is in proportion to it. Writes
benchmarks/candidates.json after each training and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fairtune.core import files, params, paths, terminal
from fairtune.core.errors import UserError, run
from fairtune.core.files import write_json
from fairtune.data import splits, tokenization
from fairtune.data.corpus import Part
from fairtune.models.pretrained import load_config
from fairtune.runs import token_cache
from fairtune.runs.token_cache import Encoded
from fairtune.training.start import look_at_gpu, set_up_process
from stages import encode as stage
from stages.train import train


def seed_range(text: str) -> list[int]:
    """Return the seeds of '42-51', both ends included.

    Raises:
        UserError: it is not two numbers in order.
    """
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise UserError(f"--seeds: '{text}'; write the first and the last, such as 42-51")
    return list(range(int(first), int(last) + 1))


@functools.cache
def rows_of(folder: Path) -> tuple[dict[str, Encoded], dict[str, Any]]:
    """Return the rows of each split of a token cache, and what the encode stage says of them."""
    rows = {name: token_cache.read(folder / f"{name}.parquet") for name in paths.SPLITS}
    return rows, files.read_json(folder / paths.MANIFEST, made_by="encode")


def changed(study: params.Params, changes: dict[str, Any]) -> params.Params:
    """Return the study with keys such as `encode.keep` changed.

    Raises:
        UserError: a key or a value is not right.
    """
    document = study.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place[section]
        place[last] = value
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        YAML(typ="safe").dump(document, file)
        file.flush()
        return params.load(Path(file.name))


def encode(study: params.Params, corpus: Mapping[str, Part], folder: Path) -> None:
    """Draw and tokenize the rows of a candidate, as the stages do.

    Args:
        study: the candidate.
        corpus: as it was read.
        folder: where the token rows go.
    """
    drawn = splits.draw(corpus, study.data, study.subset)
    subset = splits.manifest(drawn, study.data, study.subset)
    tokenizer = tokenization.load_tokenizer(study.model)
    rows = {name: table.to_dict() for name, table in drawn.named().items()}
    texts = {name: of_split["text"] for name, of_split in rows.items()}
    made = stage.encode(texts, tokenizer, wanted=study.encode)
    folder.mkdir(parents=True)
    hashes = {name: stage.write_split(folder, name, rows[name], made[name].ids) for name in rows}
    hashes[paths.TOKENIZER] = tokenizer.name_or_path
    found = tokenization.manifest(study, subset, made, hashes=hashes, tokenizer=tokenizer)
    write_json(folder / paths.MANIFEST, found)


def accuracy(study: params.Params, place: str, name: str, seed: int) -> dict[str, Any]:
    """Train one method with one seed and return its accuracies, in a process of a pool."""
    set_up_process()
    rows, manifest = rows_of(Path(place))
    shared = study.train.model_copy(update={"allow_busy_gpu": True, "validate_every_epoch": False})
    record = train(
        study.model_copy(update={"train": shared}),
        rows,
        manifest,
        name=name,
        seed=seed,
        save=lambda _model: 0.0,
        base=look_at_gpu(shared),
        started=time.perf_counter(),
    ).record
    return {
        "test": record.accuracy.test,
        "validation": record.accuracy.validation,
        "device": record.device.name,
        "precision": record.device.precision,
        "versions": record.versions,
    }


def work(study: params.Params, manifest: dict[str, Any]) -> float:
    """Return millions of token passes through a layer; backward passes of adapters count once."""
    layers = load_config(study.model, labels=2).num_hidden_layers
    tokens = {name: split["tokens"] for name, split in manifest["splits"].items()}
    passes = sum(2.0 if method.adapter else 3.0 for method in study.methods.values())
    training = tokens["train"] * study.train.epochs * passes
    checks = study.train.epochs if study.train.validate_every_epoch else 1
    testing = (tokens["validation"] * checks + tokens["test"]) * len(study.methods)
    return round((training + testing) * layers / 1e6, 1)


def summed(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracies of one method of one candidate, by seed, and what they come to."""
    seeds = sorted(found)
    test, validation = ([found[seed][of] for seed in seeds] for of in ("test", "validation"))
    return {
        "seeds": seeds,
        "test": test,
        "validation": validation,
        "mean_test": round(statistics.mean(test), 4),
        "mean_validation": round(statistics.mean(validation), 4),
        "lowest_test": min(test),
    }


def train_all(
    studies: dict[str, params.Params], places: dict[str, str], seeds: list[int], at_once: int
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Train each method of each candidate with each seed, several at once, as they end.

    Yields:
        Candidate, method and seed, and what `accuracy` returns.
    """
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            pool.submit(accuracy, study, places[name], method, seed): (name, method, seed)
            for name, study in studies.items()
            for seed in seeds
            for method in study.methods
        }
        for job in as_completed(jobs):
            yield *jobs[job], job.result()


def table(candidates: dict[str, Any], methods: Iterable[str]) -> str:
    """Return mean test accuracies, and the lowest, as a table in Markdown."""
    names = list(methods)
    lines = [f"| candidate | work | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for name, one in candidates.items():
        cells = [
            f"{100 * of['mean_test']:.1f} ({100 * of['lowest_test']:.1f})"
            for of in map(one["methods"].get, names)
            if of
        ]
        lines.append(f"| {name} | {one['work']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen(words: argparse.Namespace, base: params.Params) -> dict[str, tuple[Any, params.Params]]:
    """Return the candidates that the command line asks for: what they change, and their study.

    Raises:
        UserError: there is no such candidate.
    """
    wanted = YAML(typ="safe").load(words.file.read_text(encoding="utf-8"))
    if unknown := sorted({*(words.only or [])} - {*wanted}):
        raise UserError(f"--only: no candidate '{unknown[0]}' in {words.file}")
    names = words.only or list(wanted)
    return {name: (dict(wanted[name]), changed(base, wanted[name])) for name in names}


def main() -> None:
    """Train all candidates, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=Path("benchmarks/candidates.yaml"))
    parser.add_argument("--seeds", default="42-51")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--encoded", type=Path)
    parser.add_argument("--encode-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/candidates.json"))
    words = parser.parse_args()
    base, seeds = params.load(), seed_range(words.seeds)
    candidates = chosen(words, base)
    terminal.quiet_libraries()
    out: dict[str, Any] = {"candidates": {}}
    with tempfile.TemporaryDirectory() as scratch:
        places = {name: (words.encoded or Path(scratch)) / name for name in candidates}
        # Read once for candidates that draw from the same: it takes longer than to encode them.
        source, corpus = None, {}
        for name, (changes, study) in candidates.items():
            if not places[name].exists():
                if study.data != source:
                    source, corpus = study.data, splits.read_corpus(study.data)
                encode(study, corpus, places[name])
            manifest = files.read_json(places[name] / paths.MANIFEST, made_by="encode")
            effort = work(study, manifest)
            out["candidates"][name] = {"changes": changes, "work": effort, "methods": {}}
        if words.encode_only:
            return
        studies = {name: study for name, (_, study) in candidates.items()}
        where = {name: str(place) for name, place in places.items()}
        done: dict[tuple[str, str], dict[int, Any]] = {}
        for name, method, seed, found in train_all(studies, where, seeds, words.at_once):
            out |= {key: found[key] for key in ("device", "precision", "versions")}
            of = done.setdefault((name, method), {})
            of[seed] = found
            out["candidates"][name]["methods"][method] = summed(of)
            write_json(words.out, out)
    print(table(out["candidates"], base.methods))


if __name__ == "__main__":
    run(main)
