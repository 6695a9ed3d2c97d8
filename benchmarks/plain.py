"""The plain way: the Hugging Face Trainer as it comes, which benchmarks measure fairtune against.

usage: python -m benchmarks.plain OUT [--padding max_length|longest]

Run so, it does what a notebook would: it tokenizes the rows in data/subset, trains every method and
seed of the study, one after another in this one process, validates after each epoch where the study
does, tests, and writes accuracies and seconds to OUT.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()

from fairtune.core import params, paths, rates, task, terminal  # noqa: E402

terminal.quiet_libraries()

import torch  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402
from transformers import DataCollatorWithPadding  # noqa: E402
from transformers.trainer import Trainer  # noqa: E402
from transformers.trainer_callback import PrinterCallback  # noqa: E402
from transformers.training_args import TrainingArguments  # noqa: E402

from fairtune.core.errors import run  # noqa: E402
from fairtune.core.files import read_json, write_json  # noqa: E402
from fairtune.data.tokenization import load_tokenizer  # noqa: E402
from fairtune.hardware import device  # noqa: E402
from fairtune.models.build import build  # noqa: E402
from fairtune.runs.token_cache import Encoded  # noqa: E402
from fairtune.training.loop import weigh_classes  # noqa: E402
from fairtune.training.recording import versions  # noqa: E402
from stages import encode  # noqa: E402

PADDINGS = ("max_length", "longest")


def plain_trainer(
    model: Any,
    rows: Dataset[Any],
    collator: Any,
    *,
    chosen: device.Choice,
    folder: str,
    batch_size: int,
    learning_rate: float,
    logging_steps: int,
    validated: Dataset[Any] | None = None,
    **settings: Any,
) -> Trainer:
    """Return the Trainer as a user would make it; `settings` are further arguments of its own."""
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            use_cpu=chosen.type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            logging_steps=logging_steps,
            label_names=[task.LABELS],
            **settings,
        ),
        train_dataset=rows,
        eval_dataset=validated,
        data_collator=collator,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Texts(Dataset[dict[str, Any]]):
    """Encoded rows, one text at a time."""

    def __init__(self, encoded: Encoded) -> None:
        """Stand for these rows."""
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self.encoded.row(index).tolist()
        return {"input_ids": ids, task.LABELS: int(self.encoded.labels[index])}


def tokenized(study: params.Params, tokenizer: Any) -> dict[str, Encoded]:
    """Read the rows of the splits and tokenize them, as the stage `encode` does."""
    rows = {split: encode.read_rows(split) for split in paths.SPLITS}
    texts = {split: of_split["text"] for split, of_split in rows.items()}
    made = encode.encode(texts, tokenizer, wanted=study.encode)
    return {
        split: Encoded.of(
            made[split].ids, row_ids=rows[split]["row_id"], labels=rows[split]["label"]
        )
        for split in rows
    }


def train_and_test(
    study: params.Params,
    splits: dict[str, Encoded],
    tokenizer: Any,
    *,
    name: str,
    seed: int,
    chosen: device.Choice,
    padding: str,
) -> dict[str, float]:
    """Train one method with one seed and test it; return its accuracy and the seconds of each."""
    began = time.perf_counter()
    labels = len(read_json(paths.SUBSET / paths.MANIFEST, made_by="subset")["labels"])
    train, method = study.train, rates.settled(study, name).method(name)
    steps = train.epochs * -(-len(splits["train"]) // train.batch_size)
    made = build(
        study.model, method, name=name, labels=labels, device=chosen, seed=seed, steps=steps
    )
    weigh_classes(made.model, splits["train"], train, chosen)
    with tempfile.TemporaryDirectory() as folder:
        trainer = plain_trainer(
            made.model,
            Texts(splits["train"]),
            DataCollatorWithPadding(tokenizer, padding=padding, max_length=study.encode.max_length),
            chosen=chosen,
            folder=folder,
            batch_size=train.batch_size,
            learning_rate=method.rate,
            logging_steps=train.logging_steps,
            validated=Texts(splits["validation"]),
            per_device_eval_batch_size=train.evaluation_batch_size,
            num_train_epochs=train.epochs,
            lr_scheduler_type=train.schedule,
            warmup_steps=train.warmup,
            weight_decay=train.weight_decay,
            max_grad_norm=train.max_grad_norm,
            bf16=chosen.precision == "bf16",
            fp16=chosen.precision == "fp16",
            seed=seed,
            eval_strategy="epoch" if train.validate_every_epoch else "no",
        )
        loaded = time.perf_counter()
        trainer.train()
        chosen.synchronize()
        trained = time.perf_counter()
        logits = trainer.predict(Texts(splits["test"])).predictions
        validated = sum(told.get("eval_runtime", 0.0) for told in trainer.state.log_history)
    right = logits.argmax(axis=1) == splits["test"].labels
    return {
        "accuracy": task.score(right),
        "load_seconds": round(loaded - began, 3),
        "train_seconds": round(trained - loaded - validated, 3),
        "validation_seconds": round(validated, 3),
        "test_seconds": round(time.perf_counter() - trained, 3),
    }


def main() -> None:
    """Train them all and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--padding", choices=PADDINGS, default=PADDINGS[0])
    words = parser.parse_args()
    study = params.load()
    chosen = device.choose(study.train)
    imported = time.perf_counter()
    tokenizer = load_tokenizer(study.model)
    splits = tokenized(study, tokenizer)
    found: dict[str, Any] = {
        "device": chosen.name,
        "precision": chosen.precision,
        "versions": versions(),
        "import_seconds": round(imported - STARTED, 3),
        "tokenize_seconds": round(time.perf_counter() - imported, 3),
        "padding": words.padding,
        "trainings": {},
    }
    for name in study.methods:
        for seed in study.seeds:
            seen = train_and_test(
                study,
                splits,
                tokenizer,
                name=name,
                seed=seed,
                chosen=chosen,
                padding=words.padding,
            )
            found["trainings"][f"{name}-{seed}"] = seen
            write_json(words.out, found)
            print(f"plain: {name} {seed}: {seen}", flush=True)
            gc.collect()
            if chosen.type == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    run(main)
