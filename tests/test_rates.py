"""The benchmark of learning rates: what it trains, and what it says of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import rates
from fairtune.core.errors import UserError
from stages import encode, subset
from tests import tiny
from tests.studies import make_runs


def test_seeds_are_a_range_with_both_ends() -> None:
    assert rates.seed_range("42-44") == [42, 43, 44]
    assert rates.seed_range("7-7") == [7]
    for wrong in ("44-42", "42", "a-b", "-1-3"):
        with pytest.raises(UserError, match=f"--seeds: '{wrong}'; write the first and the last"):
            rates.seed_range(wrong)


def test_a_rate_is_summed_with_its_lowest_and_its_collapsed_seeds() -> None:
    runs = make_runs(seeds=(1, 2, 3), accuracy={"lora": 0.9})["lora"]
    runs[1] = make_runs(seeds=(1, 2, 3), accuracy={"lora": 0.5})["lora"][1]
    row = rates.summed(runs)
    assert row["seeds"] == [1, 2, 3]
    assert row["collapsed"] == [2]
    assert row["lowest_test"] == min(row["test"]) == pytest.approx(0.5, abs=0.01)
    assert row["mean_test"] == pytest.approx(sum(row["test"]) / 3, abs=0.0001)


def test_every_rate_is_trained_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_study(tmp_path)
    tiny.write_encoder(tmp_path / "encoder")
    monkeypatch.chdir(tmp_path)
    subset.main()
    encode.main()
    words = ["--methods", "lora", "--rates", "1e-9", "1e-2", "--seeds", "4-5", "--out", "r.json"]
    monkeypatch.setattr(sys, "argv", ["rates", *words])
    rates.main()
    found = json.loads(Path("r.json").read_text())
    rows = found["methods"]["lora"]
    assert list(rows) == ["1e-09", "0.01"]
    assert [row["seeds"] for row in rows.values()] == [[4, 5], [4, 5]]
    assert found["rows"] == {"train": 24, "validation": 12, "test": 12}
    assert "| lora | 1e-09 |" in capsys.readouterr().out
    assert not Path("models").exists()
