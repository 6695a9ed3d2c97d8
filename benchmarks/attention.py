"""Time attention's kernels, padded and packed, to choose among them.

usage: python -m benchmarks.attention [--lengths 128 256 512]

Forward and backward pass of 16 rows of at most that many tokens, 12 heads of width 64, bf16, with
dropout 0.1; microseconds, medians of graph replays. Packed is flash attention over the tokens of
all rows without padding. Writes benchmarks/attention.json. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from fairtune.acceleration.cuda_graphs import heal_generator
from fairtune.core.errors import UserError, one_line, run
from fairtune.core.files import write_json
from fairtune.training.recording import versions

ROWS, HEADS, WIDTH, DROPOUT = 16, 12, 64, 0.1
INNER, REPLAYS = 10, 7


def microseconds(step: Callable[[], Any]) -> float:
    """Return the time of one call, replayed as a graph of ten."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(INNER):
            step()
    times = []
    for _ in range(REPLAYS):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        times.append(1000 * before.elapsed_time(after) / INNER)
    return round(statistics.median(times), 1)


def tensors(*shape: int) -> list[torch.Tensor]:
    """Return query, key, value and the gradient of the output."""
    made = [torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    for one in made[:3]:
        one.requires_grad_(True)
    return made


def padded(length: int, mask: torch.Tensor | None) -> Callable[[], Any]:
    """Return a pass over padded rows; the mask is that of padding."""
    query, key, value, gradient = tensors(ROWS, length, HEADS, WIDTH)

    def step() -> Any:
        out = scaled_dot_product_attention(
            *(one.transpose(1, 2) for one in (query, key, value)),
            attn_mask=mask,
            dropout_p=DROPOUT,
        )
        return torch.autograd.grad(out.transpose(1, 2), (query, key, value), gradient)

    return step


def packed(length: int, sizes: torch.Tensor) -> Callable[[], Any]:
    """Return a pass over rows of these sizes, one behind the other."""
    ends = torch.cat([torch.zeros_like(sizes[:1]), sizes.cumsum(0)]).to("cuda", torch.int32)
    query, key, value, gradient = tensors(int(sizes.sum()), HEADS, WIDTH)

    def step() -> Any:
        out = torch.ops.aten._flash_attention_forward(
            query, key, value, ends, ends, length, length, DROPOUT, False, False
        )[0]
        return torch.autograd.grad(out, (query, key, value), gradient)

    return step


def main() -> None:
    """Time all kernels at all lengths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--out", default="benchmarks/attention.json")
    words = parser.parse_args()
    if not torch.cuda.is_available():
        raise UserError("benchmarks.attention: needs an NVIDIA GPU")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "versions": versions(),
        "microseconds": {},
    }
    for length in words.lengths:
        generator = torch.Generator().manual_seed(length)
        # Within a length bucket: up to a sixth of a row is padding.
        sizes = torch.randint(length * 5 // 6, length + 1, (ROWS,), generator=generator)
        mask = (torch.arange(length)[None, :] < sizes[:, None]).cuda()
        square = mask[:, None, None, :].expand(ROWS, 1, length, length)
        row: dict[str, Any] = {"tokens": int(sizes.sum()), "padded_tokens": ROWS * length}
        contenders: dict[str, tuple[Any, Callable[[], Callable[[], Any]]]] = {
            "chosen by torch": (None, partial(padded, length, square)),
            "cudnn": (SDPBackend.CUDNN_ATTENTION, partial(padded, length, square)),
            "efficient": (SDPBackend.EFFICIENT_ATTENTION, partial(padded, length, square)),
            "flash, padding attended to": (
                SDPBackend.FLASH_ATTENTION,
                partial(padded, length, None),
            ),
            "flash, packed": (None, partial(packed, length, sizes)),
        }
        for label, (backend, make) in contenders.items():
            try:
                if backend is None:
                    row[label] = microseconds(make())
                else:
                    with sdpa_kernel(backend):
                        row[label] = microseconds(make())
            except RuntimeError as error:
                row[label] = one_line(error)
                heal_generator(torch.device("cuda"))
        found["microseconds"][str(length)] = row
        write_json(Path(words.out), found)
        print(length, row, flush=True)


if __name__ == "__main__":
    run(main)
