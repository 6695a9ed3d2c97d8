"""Time fairtune's training against the plain Trainer, method by method, side by side.

usage: python -m benchmarks.throughput [--rows N] [--rounds N] [--epochs N] [--encoded FOLDER]

Plain is what a user would write instead: the Hugging Face Trainer as it comes, in bf16 on a GPU
and in fp32 on a CPU, every text padded to the maximum length. Batch, optimizer, rows and model are
the same. The two take turns; medians of the rounds count. The ratio has fairtune's warm-up and the
capture of its graphs in it; the share of the matrix rate is that of the training loop alone. On a
GPU the model has roberta-base's shape and random weights; on a CPU it is the study's. Writes
benchmarks/throughput-<device>.json and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fairtune.core import params, paths, terminal

terminal.quiet_libraries()

import torch  # noqa: E402

from benchmarks.plain import plain_trainer  # noqa: E402
from benchmarks.shapes import write_roberta  # noqa: E402
from fairtune.acceleration.prepare import prepare  # noqa: E402
from fairtune.core.errors import run  # noqa: E402
from fairtune.core.files import read_json, write_json  # noqa: E402
from fairtune.core.units import MIB  # noqa: E402
from fairtune.hardware import device  # noqa: E402
from fairtune.hardware.baseline import Baseline  # noqa: E402
from fairtune.hardware.meter import Meter  # noqa: E402
from fairtune.models.build import Built, build  # noqa: E402
from fairtune.models.pretrained import load_config  # noqa: E402
from fairtune.runs import token_cache  # noqa: E402
from fairtune.training import batches, inference, loop  # noqa: E402
from fairtune.training.recording import versions  # noqa: E402

MATRIX = 8192
SETTINGS = {
    "cuda": {"rows": 3000, "rounds": 3, "epochs": 3},
    "cpu": {"rows": 96, "rounds": 3, "epochs": 1},
}


class Setting:
    """What both contenders are given."""

    def __init__(self, words: argparse.Namespace) -> None:
        """Read the study, the rows and the device."""
        self.study = params.load()
        self.device = device.choose(self.study.train)
        kind = "cuda" if self.device.type == "cuda" else "cpu"
        chosen = SETTINGS[kind]
        self.rounds = words.rounds or chosen["rounds"]
        self.epochs = words.epochs or chosen["epochs"]
        folder = Path(words.encoded)
        rows = token_cache.read(folder / "train.parquet")
        self.rows = inference.slice_rows(rows, words.rows or chosen["rows"])
        self.pad = int(read_json(folder / paths.MANIFEST, made_by="encode")["pad_token_id"])
        self.model = self.study.model
        if kind == "cuda":
            shape = write_roberta(Path(tempfile.gettempdir()) / "fairtune-roberta-base")
            self.model = params.Model(name=str(shape))
            self.pad = 1
        update = {"epochs": self.epochs, "allow_busy_gpu": True}
        self.train = self.study.train.model_copy(update=update)

    def build(self, name: str) -> Built:
        """Return a fresh model of a method."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return build(
            self.model,
            self.study.methods[name],
            name=name,
            labels=2,
            device=self.device,
            seed=1,
            steps=self.epochs * batches.batches_of(len(self.rows), self.train.batch_size),
        )

    def train_fresh(self, name: str, meter: Meter) -> loop.Trained:
        """Train a fresh model of a method as fairtune does."""
        built = self.build(name)
        prepare(built.model, self.device)
        meter.prepare()
        return loop.train_model(
            built.model,
            self.rows,
            train=self.train,
            learning_rate=self.study.methods[name].any_rate,
            seed=1,
            pad_token_id=self.pad,
            device=self.device,
            meter=meter,
            validate=lambda: 0.0,
        )


def fairtune_run(setting: Setting, name: str) -> dict[str, Any]:
    """Train as fairtune does; return seconds, samples per second and peak memory."""
    meter = Meter(device=setting.device, base=Baseline(), sample=False)
    trained = setting.train_fresh(name, meter)
    count = len(setting.rows) * setting.epochs
    return {
        "samples_per_second": count / meter.seconds,
        "with_warm_up": count / (meter.seconds + (trained.warm_up_seconds or 0.0)),
        "warm_up_seconds": trained.warm_up_seconds or 0.0,
        "peak_mib": (meter.memory().gpu_allocated_mib or 0.0),
        "reserved_mib": (meter.memory().gpu_reserved_mib or 0.0),
        "captured": trained.captured_steps / trained.steps,
        "note": trained.note if trained.captured_steps < trained.steps - 1 else "",
        "padding": 1 - trained.tokens / trained.padded_tokens,
    }


def plain_run(setting: Setting, name: str) -> dict[str, float]:
    """Train one epoch with the Trainer as it comes; its rate does not depend on the epochs."""
    built = setting.build(name)
    loop.weigh_classes(built.model, setting.rows, setting.train, setting.device)
    longest = int(setting.rows.lengths.max())
    with tempfile.TemporaryDirectory() as scratch:
        trainer = plain_trainer(
            built.model,
            batches.Rows(setting.rows),
            batches.Collator(setting.rows, pad_token_id=setting.pad, lengths=[longest]),
            chosen=setting.device,
            folder=scratch,
            batch_size=setting.train.batch_size,
            learning_rate=setting.study.methods[name].any_rate,
            logging_steps=setting.train.logging_steps,
            num_train_epochs=1,
            bf16=setting.device.type == "cuda",
            seed=1,
        )
        setting.device.synchronize()
        start = time.perf_counter()
        trainer.train()
        setting.device.synchronize()
        seconds = time.perf_counter() - start
    on_gpu = setting.device.type == "cuda"
    return {
        "samples_per_second": len(setting.rows) / seconds,
        "peak_mib": torch.cuda.max_memory_allocated() / MIB if on_gpu else 0.0,
        "reserved_mib": torch.cuda.max_memory_reserved() / MIB if on_gpu else 0.0,
    }


def matrix_rate(setting: Setting) -> float:
    """Return the measured bf16 matrix rate in FLOP/s, the ceiling of any model."""
    size = MATRIX if setting.device.type == "cuda" else 2048
    where = setting.device.torch_device
    a, b = (torch.randn(size, size, device=where, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for turn in range(13):
        setting.device.synchronize()
        start = time.perf_counter()
        a @ b
        setting.device.synchronize()
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return 2.0 * size**3 / statistics.median(times)


def flops_per_sample(setting: Setting, name: str) -> float:
    """Return the operations that a training step must do for one text, padding left out.

    Two for each weight of a linear layer and token in the forward pass, and for the scores and
    their use in attention 4 x length x width a layer; the backward pass does as much again for
    the inputs, and once more for the weights where these are trained (Kaplan et al., 2020,
    section 2.1).
    """
    config = load_config(setting.model, labels=2)
    width, layers = config.hidden_size, config.num_hidden_layers
    linear = layers * (4 * width**2 + 2 * width * config.intermediate_size)
    lengths = setting.rows.lengths.astype(float)
    forward = float((2 * linear * lengths + 4 * layers * width * lengths**2).mean())
    trained = setting.study.methods[name].adapter is None
    return forward * (3 if trained else 2)


Runs = dict[str, dict[str, list[dict[str, float]]]]


def measured(setting: Setting, out: Path) -> dict[str, Any]:
    """Run all methods, plain and fairtune in turn; write the figures so far after each round."""
    ceiling = matrix_rate(setting)
    names = list(setting.study.methods)
    runs: Runs = {name: {"plain": [], "fairtune": []} for name in names}
    found: dict[str, Any] = {}
    for turn in range(setting.rounds):
        for name in names:
            for kind, contender in (("plain", plain_run), ("fairtune", fairtune_run)):
                runs[name][kind].append(contender(setting, name))
            last = {kind: round(of[-1]["samples_per_second"], 1) for kind, of in runs[name].items()}
            print(f"round {turn + 1} {name}: samples/s {last}", flush=True)
        found = figures(setting, runs, ceiling)
        write_json(out, found)
    return found


def figures(setting: Setting, runs: Runs, ceiling: float) -> dict[str, Any]:
    """Return the medians of the rounds so far, with what they were measured on."""
    return {
        "device": setting.device.name,
        "precision": setting.device.precision,
        "versions": versions(),
        "rows": len(setting.rows),
        "epochs": setting.epochs,
        "rounds": len(next(iter(runs.values()))["plain"]),
        "batch_size": setting.train.batch_size,
        "mean_tokens": round(float(setting.rows.lengths.mean()), 1),
        "longest": int(setting.rows.lengths.max()),
        "matrix_tflops": round(ceiling / 1e12, 1),
        "methods": {name: summed(setting, name, of, ceiling) for name, of in runs.items()},
    }


def summed(
    setting: Setting, name: str, runs: dict[str, list[dict[str, float]]], ceiling: float
) -> dict[str, Any]:
    """Return one method's rounds and their medians."""

    def median(kind: str, key: str) -> float:
        return statistics.median(one[key] for one in runs[kind])

    ours, theirs = median("fairtune", "samples_per_second"), median("plain", "samples_per_second")
    whole = median("fairtune", "with_warm_up")
    on_gpu = setting.device.type == "cuda"
    return {
        "plain": round(theirs, 1),
        "plain_rounds": [round(one["samples_per_second"], 1) for one in runs["plain"]],
        "fairtune": round(ours, 1),
        "fairtune_rounds": [round(one["samples_per_second"], 1) for one in runs["fairtune"]],
        "warm_up_seconds": round(median("fairtune", "warm_up_seconds"), 2) if on_gpu else None,
        "with_warm_up": round(whole, 1),
        "ratio": round(whole / theirs, 2),
        "share_of_matrix_rate": round(ours * flops_per_sample(setting, name) / ceiling, 3),
        "captured_share": round(median("fairtune", "captured"), 3),
        "padding_share": round(median("fairtune", "padding"), 3),
        "plain_peak_mib": round(median("plain", "peak_mib")) if on_gpu else None,
        "fairtune_peak_mib": round(median("fairtune", "peak_mib")) if on_gpu else None,
        "plain_reserved_mib": round(median("plain", "reserved_mib")) if on_gpu else None,
        "fairtune_reserved_mib": round(median("fairtune", "reserved_mib")) if on_gpu else None,
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| method | plain, samples/s | fairtune, samples/s | with its warm-up | ratio |"
        " of the matrix rate | peak MiB, plain | peak MiB, fairtune |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found["methods"].items():
        peaks = [row[f"{kind}_peak_mib"] for kind in ("plain", "fairtune")]
        shown = ["n/a" if peak is None else f"{peak:,}" for peak in peaks]
        lines.append(
            f"| {name} | {row['plain']:,} | {row['fairtune']:,} | {row['with_warm_up']:,} | "
            f"{row['ratio']} | {100 * row['share_of_matrix_rate']:.1f}% | {shown[0]} | {shown[1]} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, help="training rows")
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--epochs", type=int, help="epochs of fairtune's runs")
    parser.add_argument("--encoded", default=str(paths.ENCODED), help="a token cache")
    parser.add_argument("--out", help="where to write the JSON")
    words = parser.parse_args()
    setting = Setting(words)
    out = Path(words.out or f"benchmarks/throughput-{setting.device.type}.json")
    found = measured(setting, out)
    print(json.dumps({k: v for k, v in found.items() if k != "methods"}))
    print(table(found))


if __name__ == "__main__":
    run(main)
