"""The metadata of a model card: what the Hub sorts, filters and shows by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from fairtune.analysis.estimates import ScoreEstimate, estimates
from fairtune.analysis.scores import SCORES
from fairtune.core.errors import UserError
from fairtune.core.files import read_json
from fairtune.core.params import Data, Params
from fairtune.core.paths import MANIFEST, SUBSET
from fairtune.core.published import Published, published
from fairtune.core.sources import FOLDER, PACKAGE, public_name
from fairtune.serving.artefact import Artefact, Form
from fairtune.serving.licences import UNKNOWN, Licence, licence_of

TASK = "text-classification"
LIBRARIES: dict[Form, str] = {"adapter": "peft", "whole": "transformers", "onnx": "onnx"}
"""What loads each form, by the Hub's name."""
# The Hub's names of metrics, and what tells variants apart.
METRICS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "accuracy": ("accuracy", None),
    "macro_f1": ("f1", {"average": "macro"}),
    "balanced_accuracy": ("balanced_accuracy", None),
    "matthews": ("matthews_correlation", None),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card is written from."""

    artefact: Artefact
    form: Form
    base: str
    """The pretrained model's public name."""
    revision: str | None
    """Its commit, or the version of its package."""
    published: Published | None
    """What the Hub calls the model of a package, where it has the same."""
    data: Data | None
    """The corpus; None where the parameters name another one by now."""
    base_licence: Licence
    data_licence: Licence
    scores: dict[str, ScoreEstimate]
    """Of this training alone, by key."""

    @property
    def hub_base(self) -> str | None:
        """The pretrained model's name, where the Hub has it."""
        if self.published is not None:
            return self.published.name
        return None if self.base.startswith((PACKAGE, FOLDER)) else self.base

    @property
    def source(self) -> str:
        """The corpus by a name that is no path of this machine."""
        if self.data is None:
            return UNKNOWN
        return public_name(self.data.source, None)[0].removeprefix(FOLDER)

    @property
    def hub_data(self) -> str | None:
        """The corpus's name, where it is one of the Hub's."""
        if self.data is None:
            return None
        name = public_name(self.data.source, None)[0]
        return None if name.startswith((PACKAGE, FOLDER)) else name


def gather(study: Params, artefact: Artefact, form: Form) -> Facts:
    """Collect what the card says of a finished training."""
    base, revision = public_name(artefact.model.name, artefact.model.revision)
    data = corpus(study, artefact)
    unknown = Licence(identifier=UNKNOWN, said="unknown: params.yaml names other data by now")
    return Facts(
        artefact=artefact,
        form=form,
        base=base,
        revision=revision,
        published=published(artefact.model.name),
        data=data,
        base_licence=licence_of(artefact.model.name, artefact.model.revision, kind="model"),
        data_licence=unknown
        if data is None
        else licence_of(data.source, data.revision, kind="dataset"),
        scores={
            key: estimates({"": [artefact.run]}, score=score)[""] for key, score in SCORES.items()
        },
    )


def corpus(study: Params, artefact: Artefact) -> Data | None:
    """Return the corpus of the parameters, where the training was on rows of it."""
    try:
        drawn = read_json(SUBSET / MANIFEST, made_by="subset")
    except UserError:
        return None
    return study.data if drawn.get("sha256") == artefact.record.data.subset_sha256 else None


def metadata(facts: Facts) -> ModelCardData:
    """Return the block at the head of the card."""
    record = facts.artefact.record
    adapted = facts.form == "adapter"
    more: dict[str, Any] = {}
    if facts.hub_base is not None:
        more["base_model_relation"] = "adapter" if adapted else "finetune"
    return ModelCardData(
        license=facts.base_licence.identifier,
        base_model=facts.hub_base,
        datasets=[facts.hub_data] if facts.hub_data else None,
        library_name=LIBRARIES[facts.form],
        pipeline_tag=TASK,
        metrics=sorted({name for name, _ in METRICS.values()}),
        tags=["fairtune", facts.artefact.method.adapter or "full fine-tuning"],
        model_name=f"{record.method} {record.seed}",
        eval_results=[_result(facts, key) for key in METRICS],
        **more,
    )


def _result(facts: Facts, key: str) -> EvalResult:
    name, options = METRICS[key]
    found, data = facts.scores[key], facts.data
    return EvalResult(
        task_type=TASK,
        dataset_type=facts.hub_data or slug(facts.source),
        dataset_name=facts.source,
        dataset_config=data.config if data and facts.hub_data else None,
        dataset_split=(data.test_split or data.split) if data and facts.hub_data else "test",
        dataset_revision=data.revision if data and facts.hub_data else None,
        metric_type=name,
        metric_value=round(found.mean, 4),
        metric_name=f"{SCORES[key].name} (95% interval {found.low:.4f} to {found.high:.4f})",
        metric_args=options,
    )


def slug(name: str) -> str:
    """Return a name in the letters that the Hub's own names are made of."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or UNKNOWN
