"""Time fairtune's training against the plain Trainer over the families of models.

usage: python -m benchmarks.families [--families NAME ...] [--methods NAME ...] [--rows N]

Plain and fairtune are those of `benchmarks.throughput`; shapes are those of published models of
base size, or of about half a billion parameters for decoders, with random weights. Rows are as
long as IMDb's reviews. `--families study` is the study's own model with its own rows. Writes
benchmarks/families.json, from which the report takes by what factor a plain Trainer is slower, and
prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairtune.core import params, terminal

terminal.quiet_libraries()

from benchmarks.shapes import SHAPES, config_of, write_shape  # noqa: E402
from benchmarks.throughput import Setting, fairtune_run, plain_run  # noqa: E402
from fairtune.core.errors import one_line, run  # noqa: E402
from fairtune.core.files import read_json, write_json  # noqa: E402
from fairtune.core.paths import ENCODED, MANIFEST  # noqa: E402
from fairtune.hardware import device  # noqa: E402
from fairtune.models.pretrained import load_config  # noqa: E402
from fairtune.runs import token_cache  # noqa: E402
from fairtune.runs.token_cache import Encoded  # noqa: E402
from fairtune.training.inference import slice_rows  # noqa: E402
from fairtune.training.recording import versions  # noqa: E402

OUT = Path("benchmarks/families.json")
ROWS = {"cuda": 640, "cpu": 96}
STUDY = "study"
LONGEST, BATCH = 512, 16
# Of the logarithm of the tokens of an IMDb review: cut at 512, their mean is 265.
MEAN_LOG, DEVIATION_LOG = 5.49, 0.62


def like_reviews(count: int, *, vocabulary: int, longest: int) -> Encoded:
    """Return rows of random tokens that are as long as IMDb's reviews.

    Args:
        count: how many.
        vocabulary: ids are drawn below this number, and above 999.
        longest: tokens after which a row is cut off.
    """
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(MEAN_LOG, DEVIATION_LOG, count), 16, longest).astype(int)
    return Encoded(
        row_ids=[f"train/{index}" for index in range(count)],
        labels=generator.integers(0, 2, count),
        tokens=generator.integers(1000, vocabulary, int(lengths.sum())).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
    )


class Family(Setting):
    """A shape, with what both contenders are given."""

    def __init__(
        self, name: str, study: params.Params, chosen: device.Choice, *, count: int, folder: Path
    ) -> None:
        """Write the shape's checkpoint, unless it is there, and draw the rows."""
        self.study = study
        self.device = chosen
        self.rounds = self.epochs = 1
        update: dict[str, Any] = {"epochs": 1, "allow_busy_gpu": True}
        if name != STUDY:
            update["batch_size"] = BATCH
        self.train = study.train.model_copy(update=update)
        if name == STUDY:
            self.model = study.model
            self.pad = int(read_json(ENCODED / MANIFEST, made_by="encode")["pad_token_id"])
            self.rows = slice_rows(token_cache.read(ENCODED / "train.parquet"), count)
            self.family = load_config(study.model, labels=2).model_type
            self.shape = study.model.name
            return
        self.family, self.shape, _ = SHAPES[name]
        config = config_of(name)
        self.pad = int(config.pad_token_id)
        # The padding token marks where a row ends, so that none of them may stand in it.
        below = min(config.vocab_size, self.pad if self.pad > 1000 else config.vocab_size)
        self.rows = like_reviews(count, vocabulary=below, longest=LONGEST)
        self.model = params.Model(name=str(write_shape(name, folder / name)))


def contest(setting: Family, method: str) -> dict[str, Any]:
    """Return both contenders' samples a second on one method, or why there are none."""
    found: dict[str, Any] = {
        "device": setting.device.name,
        "type": setting.device.type,
        "precision": setting.device.precision,
        "family": setting.family,
        "shape": setting.shape,
        "method": method,
        "batch_size": setting.train.batch_size,
        "versions": versions(),
    }
    notes = []
    for kind, contender in (("plain", plain_run), ("fair", fairtune_run)):
        seen: dict[str, float] = {}
        try:
            seen = contender(setting, method)
        # A family that one of them cannot train is a finding, whatever it raises.
        except Exception as error:
            notes.append(f"{kind}: {one_line(error)[:160]}")
        rate = seen.get("samples_per_second")
        found[f"{kind}_samples_per_second"] = None if rate is None else round(rate, 1)
        found[f"{kind}_peak_mib"] = round(seen["peak_mib"]) if seen.get("peak_mib") else None
        if kind == "fair":
            captured, warm_up = seen.get("captured"), seen.get("warm_up_seconds")
            found["captured_share"] = None if captured is None else round(captured, 4)
            # Nothing is warmed up on a processor.
            found["warm_up_seconds"] = round(warm_up, 2) if warm_up else None
            if seen.get("note"):
                notes.append(str(seen["note"]))
    return {**found, "note": "; ".join(notes)}


def merged(old: Iterable[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the results with one put in the place of its like."""
    keys = ("device", "type", "shape", "method")
    kept = [one for one in old if any(one.get(key) != new[key] for key in keys)]
    return [*kept, new]


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return samples a second as a table in Markdown: plain and fairtune, and the factor."""
    lines = [
        "| shape | method | plain, samples/s | fairtune, samples/s | factor | captured |"
        " peak MiB, plain | peak MiB, fairtune | warm-up, s | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        plain, fair = one["plain_samples_per_second"], one["fair_samples_per_second"]
        share = one["captured_share"]
        cells = [
            one["shape"],
            one["method"],
            *(_shown(value) for value in (plain, fair)),
            _shown(fair / plain if plain and fair else None),
            "n/a" if share is None else f"{100 * share:.1f}%",
            *(_shown(one[f"{kind}_peak_mib"]) for kind in ("plain", "fair")),
            _shown(one["warm_up_seconds"]),
            one["note"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=[STUDY, *SHAPES], default=list(SHAPES))
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--rows", type=int, help="training rows")
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the JSON")
    words = parser.parse_args()
    study = params.load()
    chosen = device.choose(study.train)
    count = words.rows or ROWS["cuda" if chosen.type == "cuda" else "cpu"]
    results: list[Mapping[str, Any]] = []
    if words.out.exists():
        results = read_json(words.out, made_by="benchmarks.families")["results"]
    done = []
    with tempfile.TemporaryDirectory() as scratch:
        for place, name in enumerate(words.families):
            setting = Family(name, study, chosen, count=count, folder=Path(scratch))
            if place == 0:
                # The first to run loads the device's libraries, for which it is not to pay.
                contest(setting, next(iter(study.methods)))
            for method in words.methods or study.methods:
                done.append({**contest(setting, method), "rows": count})
                results = merged(results, done[-1])
                write_json(words.out, {"results": results})
                print(table(done).splitlines()[-1], flush=True)
    print(table(done))


if __name__ == "__main__":
    run(main)
