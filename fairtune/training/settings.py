"""What the Trainer is told: its arguments and its optimizer, the same for all methods."""

from __future__ import annotations

from typing import Any

from transformers.training_args import TrainingArguments

from fairtune.acceleration.cuda_graphs import ReplayableAdamW
from fairtune.core import task
from fairtune.core.params import Train
from fairtune.hardware.device import Choice

OPTIMIZER = "AdamW (torch, fused)"


def optimizer(
    learning_rate: float, *, captured: bool
) -> tuple[type[ReplayableAdamW], dict[str, Any]]:
    """Return the optimizer's class and arguments: AdamW, fused, the same for all methods."""
    keywords: dict[str, Any] = {"lr": learning_rate, "fused": True}
    if captured:
        keywords["capturable"] = True
    return ReplayableAdamW, keywords


def arguments(
    train: Train, *, learning_rate: float, seed: int, device: Choice, folder: str
) -> TrainingArguments:
    """Return the Trainer's arguments; nothing is saved, sent or evaluated by the Trainer itself."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        logging_steps=train.logging_steps,
        # The filter looks at every step's loss, which makes the host wait for the device.
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        bf16=device.precision == "bf16",
        fp16=device.precision == "fp16",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        accelerator_config={"non_blocking": True},
        seed=seed,
        label_names=[task.LABELS],
    )
