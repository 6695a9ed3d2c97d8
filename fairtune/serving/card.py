"""Write the model card: what a trained model is, how good, what it cost, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from huggingface_hub import ModelCard

from fairtune.analysis.formats import NOT_MEASURED, mebibytes, number, seconds
from fairtune.analysis.scores import SCORES
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.core.published import Published
from fairtune.report.accuracy import against, headline
from fairtune.report.markup import markdown_text
from fairtune.report.results import Results, read_results
from fairtune.report.values import KEPT, classes, short_name
from fairtune.report.wording import capital, count, literal, method, setting
from fairtune.runs.store import read_run
from fairtune.serving import usage
from fairtune.serving.artefact import Artefact, Form
from fairtune.serving.metadata import Facts, gather, metadata
from fairtune.training.weights import ADAPTER_CONFIG


def write_card(study: Params, artefact: Artefact, *, form: Form, check: str = "") -> str:
    """Return the card of a finished training as the Hub has them.

    Args:
        study: the parameters, Hub revisions as commits.
        artefact: the training.
        form: whether the card lies beside an adapter or a model that stands by itself.
        check: what was found when the folder was loaded again; empty where it was not.
    """
    facts = gather(study, artefact, form)
    sections = {
        "Use": use(facts),
        "Results": results(facts, study),
        "Data": data(facts),
        "Training": training(facts),
        "Cost": cost(facts),
        "Limits": limits(facts),
        "Licences": licences(facts),
    }
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    checked = f"\n\n{prose(check)}" if check else ""
    head = f"# {prose(title(facts))}\n\n{prose(summary(facts))}{checked}"
    return str(ModelCard(f"---\n{metadata(facts).to_yaml()}\n---\n\n{head}\n\n{body}\n"))


def prose(text: str) -> str:
    """Return marked prose as Markdown."""
    return str(markdown_text(text))


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; the first row is its head."""
    head, *body = ["| " + " | ".join(map(prose, row)) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * (head.count(" | ") + 1), *body])


def title(facts: Facts) -> str:
    """Return the heading of the card."""
    record = facts.artefact.record
    return f"{method(record.method)}, seed {record.seed}"


def summary(facts: Facts) -> str:
    """Return what the model is, in a sentence or two."""
    record = facts.artefact.record
    base = literal(short_name(facts.base.removeprefix("folder:")))
    kind, quantize = facts.artefact.method.adapter, facts.artefact.method.quantize
    made = "all of its weights were trained" if kind is None else f"trained with {literal(kind)}"
    if quantize is not None:
        made += f", the frozen weights held in 4 bits ({literal(quantize)})"
    if facts.form == "adapter":
        made += "; this folder holds the adapter and the head, not the model"
    elif kind is not None:
        own = (
            "weights" if quantize is None else "pretrained model's own weights, not the 4-bit ones"
        )
        made += f"; the adapter is merged into the {own}"
    return (
        f"{capital(base)} ({literal(record.model_type or 'of unknown family')}) with a head for "
        f"{classes(record.data.labels)}: {made}. It is one training of a comparison by fairtune."
    )


def use(facts: Facts) -> str:
    """Return the lines that load the model, and what they do not do."""
    if facts.form != "adapter":
        code = usage.whole() if facts.form == "whole" else usage.onnx()
    else:
        content = (facts.artefact.folder / ADAPTER_CONFIG).read_text(encoding="utf-8")
        head = sorted(set(json.loads(content).get("modules_to_save") or []))
        code = usage.adapter(facts.artefact, base=facts.base, revision=facts.revision, head=head)
    read = facts.artefact.encode
    kept = KEPT[read.keep].format(number(read.max_length))
    notes = [
        f"Of a text, {kept} tokens are read (special tokens included).",
        "The study read HTML line breaks as white space, and no white space around a text.",
    ]
    if read.keep == "both":
        notes.append(
            "No tokenizer can keep both ends of a text: the one here keeps the beginning, so that "
            "longer texts are read otherwise than in the study; `python -m fairtune.predict` reads "
            "them as it did."
        )
    if facts.form == "adapter" and facts.published is not None:
        notes.append(found_by_name(facts.published))
    return f"```python\n{code}```\n\n{' '.join(map(prose, notes))}"


def found_by_name(base: Published) -> str:
    """Return that the model of a package is found by its name on the Hub as well."""
    auto = literal("AutoPeftModelForSequenceClassification.from_pretrained(folder)")
    return (
        f"{literal(ADAPTER_CONFIG)} names the pretrained model as the Hub does, "
        f"{literal(base.name)} at commit {literal(base.commit)}, so that {auto} finds it there or "
        "in the Hub's cache. The package's files have the SHA-256 that records of this commit "
        "give; the Hub itself was not asked. A pipeline that is given the folder alone takes the "
        f"pretrained model's tokenizer, which cuts texts otherwise: add "
        f"{literal('tokenizer=folder')}."
    )


def results(facts: Facts, study: Params) -> str:
    """Return the scores of this training, and what the study says of its method."""
    rows = [("Score", "Value", "95% interval")]
    for key, found in facts.scores.items():
        name = capital(SCORES[key].name)
        low, high = f"{found.low:.4f}", f"{found.high:.4f}"
        rows.append((name, f"{found.mean:.4f}", f"{low} to {high}".replace("-", "−")))
    tested = number(facts.artefact.record.data.rows["test"])
    of = f"On {tested} test rows, of this training alone; {facts.scores['accuracy'].how}."
    return "\n\n".join([table(rows), prose(of), *map(prose, verdicts(facts, study))])


def verdicts(facts: Facts, study: Params) -> list[str]:
    """Return what the comparison found of the method; that it is unknown, where there is none."""
    record = facts.artefact.record
    try:
        found: Results = read_results(study)
        compared = read_run(record.method, record.seed).record == record
    except UserError:
        compared = False
    if not compared:
        return ["Against other methods: n/a, as this training has not been compared yet."]
    others = [name for name in found.names if name != record.method]
    clauses = [f"Against {method(name)}: {against(found, record.method, name)}." for name in others]
    said = [headline(found), " ".join(clauses)] if clauses else [headline(found)]
    if record.seed in found.failed.get(record.method, ()):
        said.insert(0, "This training learned nothing: see the interval of Matthews correlation.")
    return said


def data(facts: Facts) -> str:
    """Return what the model was trained and tested on."""
    record = facts.artefact.record
    rows = record.data.rows
    parts = " and ".join(f"{number(rows[split])} for {split}" for split in ("validation", "test"))
    where = f"From {literal(short_name(facts.source))}"
    if facts.data is None:
        where = "From data that the parameters do not name any more"
    elif facts.data.where:
        kept = (f"{literal(key)} is {setting(value)}" for key, value in facts.data.where.items())
        where += f", rows where {' and '.join(kept)}"
    lines = [
        f"{where}: {number(rows['train'])} rows for training, {parts}, disjoint and stratified by "
        f"class. Hash of the rows: {literal(record.data.subset_sha256[:12])}.",
    ]
    return " ".join(map(prose, lines))


def training(facts: Facts) -> str:
    """Return the settings, as they were used."""
    record = facts.artefact.record
    rows = [("Setting", "Value")]
    sections = ("method", "model", "encode", "train")
    for section in sections:
        values = dict(record.parameters[section])
        if section == "model":
            values |= {"name": facts.base, "revision": facts.revision}
        rows += [
            (literal(f"{section}.{key}"), setting(value))
            for key, value in values.items()
            if value is not None
        ]
    versions = ", ".join(f"{literal(name)} {literal(v)}" for name, v in record.versions.items())
    return f"{table(rows)}\n\n{prose(f'Versions: {versions}.')}"


def cost(facts: Facts) -> str:
    """Return what training and predicting cost on the machine of the study."""
    record = facts.artefact.record
    memory, device = record.memory, record.device
    gpu = memory.gpu_memory_mib
    rows = [
        ("Cost", "Value"),
        ("Trained parameters", number(record.counts.trainable)),
        ("Training time", seconds(record.times.train_seconds)),
        ("GPU memory", NOT_MEASURED if gpu is None else mebibytes(gpu)),
        ("Host memory", mebibytes(memory.host_memory_mib)),
        ("Energy", NOT_MEASURED if (wh := record.energy.total_wh) is None else f"{wh:.2f} Wh"),
        ("One text alone", f"{number(record.inference.latency_ms, digits=1)} ms"),
        ("Weights shipped", mebibytes(record.shipped_mib)),
    ]
    threads = f", {count(device.threads, 'thread')}" if device.type == "cpu" else ""
    where = f"Measured on {literal(device.name)} in {literal(device.precision)}{threads}."
    if device.busy:
        where += f" Others used the GPU, so that these costs do not count: {literal(device.busy)}."
    return f"{table(rows)}\n\n{prose(where)}"


def limits(facts: Facts) -> str:
    """Return what the figures do not say."""
    record = facts.artefact.record
    quantize = facts.artefact.method.quantize
    lines = [
        "The intervals cover the choice of test rows, not the luck of a training: another seed may "
        "do better or worse.",
        "Test rows are drawn from the same source as training rows; nothing is known of other "
        "texts, other languages or later ones.",
        f"It names one of {count(len(record.data.labels), 'class', 'classes')} for any text, also "
        "for one that belongs to none.",
        "Probabilities are the softmax of its outputs and were not calibrated.",
        "What the pretrained model learned from its own data, biases included, is in it.",
    ]
    if quantize and facts.form == "adapter":
        lines.append(
            f"It was trained on weights in 4 bits ({literal(quantize)}): on the same weights in "
            "another precision it predicts otherwise."
        )
    return "\n".join(f"- {prose(line)}" for line in lines)


def licences(facts: Facts) -> str:
    """Return the terms of what it was made from."""
    return "\n".join(
        f"- {prose(f'{what}, {literal(short_name(name))}: {literal(said)}.')}"
        for what, name, said in (
            ("Pretrained model", facts.base, facts.base_licence.said),
            ("Data", facts.source, facts.data_licence.said),
        )
    )
