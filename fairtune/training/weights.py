"""Write what a training made and must be shipped: a whole model, or the adapter and the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairtune.core.units import MIB


def save(model: Any, folder: Path) -> float:
    """Write what must be shipped as safetensors; return its size in MiB."""
    folder.mkdir(parents=True)
    # PEFT would ask the Hub for the base model's vocabulary to decide on the embeddings.
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **options)
    return round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / MIB, 3)
