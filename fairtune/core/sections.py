"""Sections of ``params.yaml`` on data, model and training: one class is one section.

One field is one key, its meaning and unit in the line below it; `fairtune.core.params` holds the
other sections and reads the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A frozen section of the file; keys that it does not know are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Data(Section):
    """Where the labelled texts come from."""

    source: str = Field(min_length=1)
    """A CSV, TSV, JSONL or Parquet file (text files also as .gz, .bz2, .xz or .zip),
    `package:NAME/PATH` for one in a package, a folder in the Hub's format, or a Hub dataset."""
    separator: str | None = None
    """Character between the cells of a CSV or TSV file, or "\\t"; null takes the usual one of the
    file's ending, a comma or a tab."""
    config: str | None = None
    """Name of the Hub dataset's configuration, where it has several."""
    revision: str | None = None
    """Commit of the Hub dataset."""
    split: str = "train"
    """Hub split that the training and validation rows are drawn from."""
    test_split: str | None = None
    """Hub split that the test rows are drawn from; null draws them from `split`."""
    text_column: str = "text"
    """Column that holds the text."""
    label_column: str = "label"
    """Column that holds the class: a string or a whole number. In CSV and TSV files labels are
    text (01 and 1 are two classes), but 1.0 is 1."""
    group_column: str | None = None
    """Column that names what rows were drawn together, such as a film, an author or a patient: no
    group is in two splits; null takes each row as drawn on its own."""
    label_names: list[str] | None = None
    """Names to show for the classes, in the sorted order of their labels; null shows the labels."""
    where: dict[str, str | int | bool] = Field(default_factory=dict)
    """Keep only the rows whose columns have these values. Cells of CSV and TSV files are text: "1"
    and 1 match the cell `1`, and neither matches `1.0` or `01`."""

    @field_validator("separator")
    @classmethod
    def _one_character(cls, separator: str | None) -> str | None:
        if separator is None or separator == "\\t":
            return separator and "\t"
        if len(separator) != 1 or separator in '"\r\n':
            raise ValueError(
                f'{separator!r} is not right; expected one character such as ";", or "\\t"'
            )
        return separator


class Subset(Section):
    """How many rows each split gets."""

    train: Count
    """Rows to train on."""
    validation: Count
    """Rows to choose hyperparameters on."""
    test: Count
    """Rows that accuracy is measured on."""
    seed: Seed = 42
    """Seed of the draw."""


class Model(Section):
    """The pretrained model: an encoder or a decoder."""

    name: str = Field(min_length=1)
    """A folder, `package:NAME/PATH` for a folder of a package, or a Hub model."""
    revision: str | None = None
    """Commit of the Hub model."""
    head: list[str] | None = None
    """Modules that make up the classification head; null finds them."""
    layers: Count | None = None
    """Take the first so many layers and leave out the others; null takes all."""


class Encode(Section):
    """How texts become token ids."""

    max_length: int = Field(ge=4)
    """Tokens that a longer text is cut down to, special tokens included."""
    keep: Literal["head", "tail", "both"] = "head"
    """What is kept of a text that is cut: its first tokens, its last, or half of either."""


class Train(Section):
    """What all methods share in training."""

    epochs: Count
    """Passes over the training rows."""
    batch_size: Count
    """Rows in a training step."""
    evaluation_batch_size: Count = 64
    """Rows in a forward pass of an evaluation."""
    warmup: Fraction = 0.06
    """Share of the steps over which the learning rate rises to its peak."""
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Course of the learning rate after the warm-up."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss; balanced: training rows / (classes * those of the class),
    so that a rare class counts as much as a common one (King and Zeng, 2001)."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Norm that gradients are clipped to."""
    group_by_length: bool = True
    """Put texts of like length into one batch, so that fewer tokens are padding."""
    validate_every_epoch: bool = True
    """Measure validation accuracy after each epoch (off the clock), not only after the last."""
    logging_steps: Count = 10
    """Steps between two points of the loss curve."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train; auto takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Arithmetic of the forward and backward pass; auto takes bf16 where the hardware has it."""
    kernels: Literal["fast", "stock"] = "fast"
    """Layers and steps: fairtune's fast ones, or PEFT's and Transformers' own, launched eagerly."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Replay the training step as a CUDA graph; auto does so on CUDA in bf16 or fp32."""
    allow_busy_gpu: bool = False
    """Train although another process uses the GPU; the run record then says so."""


RateRule = Literal["lowest", "lowest_loss"]


class Search(Section):
    """What all methods share whose learning rate is searched."""

    trials: int = Field(default=6, ge=3)
    """Learning rates tried within a method's range, log-spaced, its ends among them."""
    seeds: list[Seed] = Field(default=[1001, 1002], min_length=2)
    """Each rate is trained once with each; none of the study's, and at least two, whose spread is
    what a difference between rates is held against."""
    epochs: Count | None = None
    """Passes over the training rows in a trial; null takes those of the study."""
    extend: bool = True
    """Where a best rate lies on an edge, extend the ranges of all methods, twice at most."""
    rule: RateRule = "lowest"
    """Which rate is taken of those within one standard error of the best: the lowest, or that of
    the lowest validation loss, which tells rates apart that a few hundred rows' scores cannot."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed stands twice in {seeds}; each must differ")
        return seeds
