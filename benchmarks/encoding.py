"""Compare the encode stage's tokenizing with the tokenizer alone.

usage: python -m benchmarks.encoding [--texts N] [--rounds N]

Texts of the study's subset, repeated to N; tokens a second, medians of rounds in turn. Raw is the
Rust tokenizer's own batch call with truncation, without Transformers around it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from fairtune.core import params, parquet, paths, terminal

terminal.quiet_libraries()

from fairtune.core.errors import UserError, run  # noqa: E402
from fairtune.data import tokenization  # noqa: E402


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    study = params.load()
    tokenizer: Any = tokenization.load_tokenizer(study.model)
    if not tokenizer.is_fast:
        raise UserError(f"model.name: '{study.model.name}' has no Rust tokenizer to compare with")
    table = parquet.read_table(paths.SUBSET / "train.parquet", made_by="subset")
    texts = list(itertools.islice(itertools.cycle(table["text"].to_pylist()), words.texts))
    length = study.encode.max_length
    raw = tokenizer.backend_tokenizer
    raw.no_padding()

    def plain() -> int:
        raw.enable_truncation(length)
        return sum(len(encoding.ids) for encoding in raw.encode_batch(texts))

    def ours() -> int:
        made = tokenization.encode(tokenizer, texts, max_length=length)
        return sum(map(len, made.ids))

    rates: dict[str, list[float]] = {"raw": [], "encode": []}
    contenders: dict[str, Callable[[], int]] = {"raw": plain, "encode": ours}
    for _ in range(words.rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            count = contender()
            rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(of) for name, of in rates.items()}
    share = medians["encode"] / medians["raw"]
    print(
        f"raw {medians['raw']:,.0f} tokens/s, encode {medians['encode']:,.0f} tokens/s: "
        f"{share:.0%} ({len(texts):,} texts of at most {length} tokens)"
    )


if __name__ == "__main__":
    run(main)
