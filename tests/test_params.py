"""params.yaml: what is right is read as it stands; what is wrong is named, with the remedy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Params
from tests import tiny


def load(folder: Path, changes: dict[str, Any] | None = None) -> Params:
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(tiny.study(changes), file)
    return params.load(folder / "params.yaml")


def complaint(folder: Path, changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, changes)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"{folder / 'params.yaml'}: ")


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the type of every value of the file."""
    for name, field in model.model_fields.items():
        key = f"{path}{name}"
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields(annotation, f"{key}.")
        elif key == "methods":
            yield from fields(Method, "methods.lora.")
        else:
            yield key, annotation


def takes(annotation: Any, kind: type) -> bool:
    """Return whether a value of this kind may be right for a field of this type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return takes(get_args(annotation)[0], kind)
    if origin in (Union, UnionType):
        return any(takes(part, kind) for part in get_args(annotation))
    if origin is Literal:
        return kind is str
    if annotation is float and kind is int:
        return True
    return kind is (origin or annotation)


VALUES: dict[type, Any] = {
    str: "words",
    int: 7,
    float: 0.25,
    bool: True,
    list: [[]],
    dict: {"a": []},
    type(None): None,
}
WRONG = [
    (key, kind)
    for key, annotation in fields(Params)
    for kind in VALUES
    if not takes(annotation, kind)
]


def test_every_key_of_the_file_is_in_the_table_below() -> None:
    assert {key for key, _ in WRONG} == {key for key, _ in fields(Params)}
    assert len(WRONG) > 150


@pytest.mark.parametrize(("key", "kind"), WRONG, ids=lambda part: getattr(part, "__name__", part))
def test_a_value_of_a_wrong_type_is_named_by_its_key(tmp_path: Path, key: str, kind: type) -> None:
    line = complaint(tmp_path, {key: VALUES[kind]})
    assert line.startswith(f"{key}: ")
    assert "is not right; expected " in line
    shown = {str: "'words'", int: "7", float: "0.25", bool: "true", type(None): "null"}
    assert shown.get(kind, "a list" if kind is list else "a mapping") in line


@pytest.mark.parametrize("section", Params.model_fields)
def test_a_missing_section_is_named(tmp_path: Path, section: str) -> None:
    assert complaint(tmp_path, {section: tiny.DROP}).startswith(f"{section}: missing; ")


@pytest.mark.parametrize(
    "key",
    [
        "data.source",
        "subset.train",
        "subset.validation",
        "subset.test",
        "model.name",
        "encode.max_length",
        "train.epochs",
        "train.batch_size",
        "methods.lora.learning_rate",
        "compare.palette",
        "report.title",
        "report.author",
    ],
)
def test_a_missing_key_is_named_with_its_meaning(tmp_path: Path, key: str) -> None:
    line = complaint(tmp_path, {key: tiny.DROP})
    assert line.startswith(f"{key}: missing; ")
    assert len(line.partition("; ")[2]) > 10


def test_a_misspelt_key_that_must_be_there_is_named_as_it_is_written(tmp_path: Path) -> None:
    line = complaint(tmp_path, {"train.epochs": tiny.DROP, "train.epoch": 3})
    assert line.startswith("train.epoch: unknown key; did you mean 'epochs'?")


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("train.batch_sise", 8, "train.batch_sise: unknown key; did you mean 'batch_size'?"),
        ("trian", {}, "trian: unknown key; did you mean 'train'?"),
        ("data.text_colum", "text", "data.text_colum: unknown key; did you mean 'text_column'?"),
        (
            "train.precision",
            "bf61",
            "train.precision: 'bf61' is not right; expected 'auto', 'bf16', 'fp16' or 'fp32' "
            "(did you mean 'bf16'?)",
        ),
        ("methods.lora.quantize", "int8", "'int8' is not right; expected 'nf4' or 'fp4'"),
        ("methods.lora.targets", ["querry"], "methods.lora.targets.0: 'querry' is not right"),
        ("methods.lora.targets", ["querry"], "(did you mean 'query'?)"),
        (
            "methods.lora.targets",
            [],
            "methods.lora.targets: [] is not right; expected at least one",
        ),
        ("methods.lora.learning_rate", "1e-4", "'1e-4' is not right; expected the peak learning"),
        ("methods.lora.learning_rate", "1e-4", "{search: [LOWEST, HIGHEST]}, a number without quo"),
        ("methods.lora.learning_rate", 0, "0 is not right; expected the peak learning rate"),
        ("methods.lora.learning_rate", 2.0, "2.0 is not right; expected the peak learning rate"),
        ("methods.lora.learning_rate", float("nan"), "nan is not right; expected the peak"),
        (
            "train.class_weights",
            "balance",
            "train.class_weights: 'balance' is not right; expected 'none' or 'balanced' (did you "
            "mean 'balanced'?)",
        ),
        ("train.class_weights", [1.0, 2.0], "train.class_weights: a list is not right; expected "),
        ("data.group_colum", "film", "unknown key; did you mean 'group_column'?"),
        ("train.weight_decay", float("inf"), "inf is not right; expected a finite number"),
        ("train.epochs", 0, "train.epochs: 0 is not right; expected at least 1"),
        ("train.epochs", 1.5, "train.epochs: 1.5 is not right; expected a whole number"),
        ("train.warmup", 1.0, "train.warmup: 1.0 is not right; expected less than 1"),
        ("encode.max_length", 3, "encode.max_length: 3 is not right; expected at least 4"),
        ("subset.seed", -1, "subset.seed: -1 is not right; expected at least 0"),
        ("seeds", [1, 1], "seeds: a seed stands twice in [1, 1]"),
        ("seeds", [], "seeds: [] is not right; expected at least one"),
        ("seeds", [1, "x"], "seeds.1: 'x' is not right; expected a whole number"),
        ("methods", {}, "methods: {} is not right; expected at least one"),
        ("methods.lora-x", {"learning_rate": 0.1}, "methods: 'lora-x' cannot name a method"),
        ("methods.lora\n", {"learning_rate": 0.1}, r"methods: 'lora\n' cannot name a method"),
        ("methods.full.quantize", "nf4", "methods.full: quantize: nf4 needs an adapter"),
        ("methods.full.r", 8, "methods.full: unknown key 'r' for a method without an adapter"),
        ("methods.full.targets", ["query"], "methods.full: unknown key 'targets'"),
        ("methods.lora.target_modules", "x", "give 'targets' (roles) or 'target_modules'"),
        (
            "methods.lora.note",
            [float("nan")],
            "methods.lora: note: [nan] is neither text, a finite",
        ),
        ("compare.palette", ["red"], "compare.palette.0: 'red' is not right; expected a colour"),
        ("data.where", {"a": 1.5}, "data.where.a: 1.5 is not right; expected text (in quotes) or"),
    ],
)
def test_a_value_that_cannot_be_right_is_named_with_what_would_be(
    tmp_path: Path, key: str, value: Any, line: str
) -> None:
    assert line in complaint(tmp_path, {key: value})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "params.yaml: expected sections such as data"),
        (b"[1, 2]", "params.yaml: expected sections such as data"),
        (b"data: [", "params.yaml:1: not valid YAML: "),
        (b"data: {}\nseeds: [1]\ndata: {}\n", "params.yaml:3: not valid YAML: found duplicate key"),
        (b"data:\n\tsource: x\n", "params.yaml:2: not valid YAML: "),
        (b"# caf\xe9\n", "params.yaml: not UTF-8 text (invalid continuation byte at byte 5)"),
    ],
    ids=["empty", "a list", "not YAML", "a key twice", "a tab", "not UTF-8"],
)
def test_a_file_that_is_no_parameter_file_is_refused(
    tmp_path: Path, content: bytes, line: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        params.load(path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_answered_with_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: not found; copy a preset"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "5e-05", "0.0001", "1.0e-4"])
def test_numbers_are_read_as_yaml_1_2_has_them(tmp_path: Path, written: str) -> None:
    # `dvc exp run -S` writes 5e-05, which YAML 1.1 takes for text.
    tiny.write_study(tmp_path, {"methods.lora.learning_rate": 123456})
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("123456", written))
    assert params.load(path).method("lora").learning_rate == float(written)


def test_a_whole_number_is_a_right_learning_rate_s_type_but_text_never_is_a_number(
    tmp_path: Path,
) -> None:
    assert load(tmp_path, {"train.weight_decay": 0}).train.weight_decay == 0.0
    assert "expected a number" in complaint(tmp_path, {"train.weight_decay": "0"})


def test_further_keys_of_a_method_are_kept_for_peft(tmp_path: Path) -> None:
    method = load(tmp_path, {"methods.lora.use_dora": True}).method("lora")
    assert method.keywords == {"r": 2, "use_dora": True}


def test_an_unknown_method_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no method 'lorra' .* did you mean 'lora'\? known: full,"):
        load(tmp_path).method("lorra")


def test_parameters_cannot_be_changed_once_read(tmp_path: Path) -> None:
    study = load(tmp_path)
    before = copy.deepcopy(study)
    with pytest.raises(ValidationError):
        study.train.epochs = 9
    assert study == before


def test_every_field_has_a_line_of_documentation() -> None:
    def described(model: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from described(annotation)
            else:
                yield name, field.description

    lines = dict([*described(Params), *described(Method)])
    assert [name for name, line in lines.items() if not line or len(line) < 8] == []
