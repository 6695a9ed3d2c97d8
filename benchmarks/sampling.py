"""Measure what sampling the GPU's memory costs the training: the sampling process on and off.

usage: python -m benchmarks.sampling [--method NAME] [--rounds N] [--encoded FOLDER]

The two take turns on RoBERTa-base's shape. Writes benchmarks/sampling.json. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from fairtune.core import paths, terminal

terminal.quiet_libraries()

from benchmarks.throughput import Setting  # noqa: E402
from fairtune.core.errors import UserError, run  # noqa: E402
from fairtune.core.files import write_json  # noqa: E402
from fairtune.hardware.baseline import baseline  # noqa: E402
from fairtune.hardware.meter import Meter  # noqa: E402
from fairtune.training.recording import versions  # noqa: E402


def seconds(setting: Setting, name: str, *, sample: bool) -> tuple[float, int, float | None]:
    """Train once; return the seconds, the samples taken and their interval in milliseconds."""
    base = baseline(allow_busy=True)
    meter = Meter(device=setting.device, base=base, sample=sample)
    setting.train_fresh(name, meter)
    memory = meter.memory()
    return meter.seconds, memory.samples, memory.sample_interval_ms


def main() -> None:
    """Take turns, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default="lora")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--encoded", default=str(paths.ENCODED))
    parser.add_argument("--out", default="benchmarks/sampling.json")
    words = parser.parse_args()
    setting = Setting(words)
    if setting.device.type != "cuda":
        raise UserError("benchmarks.sampling: there is no NVIDIA GPU here to sample")
    setting.study.method(words.method)
    times: dict[bool, list[float]] = {True: [], False: []}
    samples, interval = 0, None
    seconds(setting, words.method, sample=False)  # loads the libraries
    for turn in range(setting.rounds):
        # Who comes first changes, so that a drift of the clock's speed favours neither.
        for on in (True, False) if turn % 2 else (False, True):
            taken, count, gap = seconds(setting, words.method, sample=on)
            times[on].append(round(taken, 3))
            if on:
                samples, interval = count, gap
    on, off = statistics.median(times[True]), statistics.median(times[False])
    found = {
        "device": setting.device.name,
        "versions": versions(),
        "method": words.method,
        "seconds_on": times[True],
        "seconds_off": times[False],
        "median_on": round(on, 3),
        "median_off": round(off, 3),
        "cost_percent": round(100 * (on / off - 1), 2),
        "samples": samples,
        "interval_ms": interval,
    }
    write_json(Path(words.out), found)
    print(
        f"{words.method}: {on:.3f} s with {samples} samples, one each {interval} ms; {off:.3f} s "
        f"without; {found['cost_percent']:+.2f}% (medians of {setting.rounds})"
    )


if __name__ == "__main__":
    run(main)
