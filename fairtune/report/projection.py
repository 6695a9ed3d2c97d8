"""Memory that larger models would hold before any activation, predicted from their dimensions.

The parts are those of `fairtune.models.footprint`, without building the model: weights, gradients
and AdamW's two moments of what is trained. What is trained is in fp32, and so are embeddings.
Frozen layers are in the precision of the training (`fairtune.acceleration.bf16`), or in 4 bits
where the method says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairtune.core.method import Method
from fairtune.runs.breakdown import Breakdown

FLOAT, HALF, CLASSES = 4, 2, 2
BLOCK, SCALES = 64, 256
"""Weights that share a scale, and scales that share one (Dettmers et al. 2023, section 3)."""
DEFAULT_TARGETS = {
    "lora": ("query", "value"),
    "ia3": ("key", "value", "feedforward_out"),
}
"""Roles adapted where a block names none."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The dimensions of a transformer."""

    name: str
    layers: int
    hidden: int
    ffn: int
    vocabulary: int
    positions: int
    """Learned position embeddings; 0 for rotary ones."""
    gated: bool = False
    """Three feed-forward matrices and no biases, in place of two with biases."""

    @property
    def roles(self) -> dict[str, list[tuple[int, int]]]:
        """Inputs and outputs of the matrices of one layer, by role."""
        square, inner = (self.hidden, self.hidden), (self.hidden, self.ffn)
        return {
            "query": [square],
            "key": [square],
            "value": [square],
            "attention_output": [square],
            "feedforward_in": [inner] * (2 if self.gated else 1),
            "feedforward_out": [(self.ffn, self.hidden)],
        }

    @property
    def matrices(self) -> int:
        """Weights of all layers' matrices: what quantisation packs."""
        sizes = (into * out for role in self.roles.values() for into, out in role)
        return self.layers * sum(sizes)

    @property
    def encoder(self) -> int:
        """All parameters but the head's."""
        biases = 0 if self.gated else sum(out for role in self.roles.values() for _, out in role)
        norms = (2 if self.gated else 4) * self.hidden
        # The norm after the embeddings; a gated model's last norm.
        last = self.hidden if self.gated else 2 * self.hidden
        return self.matrices + self.layers * (biases + norms) + self.embeddings + last

    @property
    def embeddings(self) -> int:
        """Parameters of the embeddings, BERT's one of types among them."""
        return (self.vocabulary + self.positions + (0 if self.gated else 1)) * self.hidden

    @property
    def head(self) -> int:
        """A dense layer and the classifier, as RoBERTa's."""
        return self.hidden * (self.hidden + 1) + CLASSES * (self.hidden + 1)


SHAPES = (
    Shape(name="base", layers=12, hidden=768, ffn=3072, vocabulary=50_265, positions=514),
    Shape(name="large", layers=24, hidden=1024, ffn=4096, vocabulary=50_265, positions=514),
    Shape(
        name="7B", layers=32, hidden=4096, ffn=11_008, vocabulary=32_000, positions=0, gated=True
    ),
)
"""RoBERTa's two sizes (Liu et al. 2019) and that of a common 7-billion decoder."""


def adapter_parameters(shape: Shape, block: Method) -> int | None:
    """Return how many parameters a block's adapter would have; None where no formula is known."""
    kind = (block.adapter or "").lower()
    if kind not in DEFAULT_TARGETS or "target_modules" in block.keywords:
        return None
    roles = shape.roles
    targets = block.targets or DEFAULT_TARGETS[kind]
    if any(role not in roles for role in targets):
        return None
    total = 0
    for role in targets:
        for into, out in roles[role]:
            if kind == "lora":
                total += int(block.keywords.get("r", 8)) * (into + out)
                total += out if block.keywords.get("use_dora") else 0
            else:
                total += into if role.startswith("feedforward") else out
    return shape.layers * total


def predict(shape: Shape, block: Method, *, precision: str = "fp32") -> Breakdown | None:
    """Return weights, gradients and optimizer state of one method on one shape, in MiB.

    Args:
        shape: the model's dimensions.
        block: the method.
        precision: of the training; bf16 holds frozen layers in bf16.
    """
    whole = shape.encoder + shape.head
    if block.adapter is None:
        stored, trained = whole * FLOAT, whole
    else:
        adapter = adapter_parameters(shape, block)
        if adapter is None:
            return None
        trained = adapter + shape.head
        frozen = HALF if precision == "bf16" else FLOAT
        # PEFT keeps a frozen copy of the head.
        layers = shape.encoder - shape.embeddings + shape.head
        stored = (shape.embeddings + trained) * FLOAT + layers * frozen
        if block.quantize:
            stored -= round(shape.matrices * (frozen - packed_bytes(precision)))
    return Breakdown.of_bytes(weights=stored, gradients=trained * FLOAT)


def packed_bytes(precision: str) -> float:
    """Return the bytes of a weight in 4 bits with its share of the scales.

    The scales are doubly quantised; in bf16 they are unpacked to fp32
    (`fairtune.acceleration.bf16`).
    """
    scales = FLOAT / BLOCK if precision == "bf16" else 1 / BLOCK + FLOAT / (BLOCK * SCALES)
    return 0.5 + scales
