"""How fast a processor works through a transformer's layer: a probe of about a second."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from fairtune.hardware.device import Choice

PROBE_SECONDS = 1.0
# Tokens of the probe's batch, about: as many as a small step has.
TOKENS = 1024


def layer_seconds(
    device: Choice, *, hidden: int, heads: int, inner: int, length: int
) -> tuple[float, float]:
    """Return the seconds of a row's pass forward through one encoder layer on the processor.

    It is computed in the precision of the training, weights and activations alike, as
    `fairtune.acceleration.bf16` lets trainings work: casts by autocast at every use would make the
    layer three times as slow. The lower quartile of the passes counts: what
    else the machine does for a moment makes some of them slower.

    Returns:
        The seconds, and the share of the cores' time that this process had while it was measured.

    Args:
        device: a processor.
        hidden: width of the layer.
        heads: of its attention.
        inner: width of its feed-forward part.
        length: tokens of the row.
    """
    layer = nn.TransformerEncoderLayer(
        hidden, heads, inner, dropout=0.0, activation="gelu", batch_first=True
    )
    kind = torch.bfloat16 if device.precision == "bf16" else torch.float32
    layer = layer.to(kind)
    rows = max(1, round(TOKENS / length))
    batch = torch.randn(rows, length, hidden, dtype=kind)
    times: list[float] = []
    begin = time.perf_counter()
    with torch.no_grad():
        layer(batch)  # the first reserves memory
        wall, used = time.perf_counter(), time.process_time()
        while not times or time.perf_counter() - begin < PROBE_SECONDS:
            start = time.perf_counter()
            layer(batch)
            times.append(time.perf_counter() - start)
    had = (time.process_time() - used) / (time.perf_counter() - wall) / device.threads
    return float(np.percentile(times, 25)) / rows, had
