"""`python -m benchmarks`: what it writes, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import operations, report, timing
from benchmarks.__main__ import BENCHMARKS, main


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "benchmarks.json").read_text())


def test_a_quick_run_writes_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    assert main(["noise", "--quick", "--out", str(out)]) == 0
    found = read(out)
    records = found["sections"]["noise"]
    assert [r["name"].partition(",")[0] for r in records] == ["random_bits", "normal"]
    for record in records:
        median, low, high = record["times"]["NumPy"]
        assert 0 < low <= median <= high
    assert {"date", "threads", "numpy", "processor"} <= found["machine"].keys()
    assert "| random_bits" in (tmp_path / "RESULTS.md").read_text()
    assert "left out: CuPy: " in capsys.readouterr().err


def test_unknown_names_list_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["convolution"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert all(name in error for name in BENCHMARKS)


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def works(gpu: Any) -> Any:
        good, bad = np.ones(3), np.array([1.0, 1.0, 1.1])
        candidates = {"NumPy": lambda: good, "PyTorch": lambda: bad}
        yield timing.Work("wrong", candidates, lambda: operations._check(candidates, None, 1e-3))
        yield timing.Work("right", {"NumPy": lambda: good}, lambda: None)

    monkeypatch.setitem(BENCHMARKS, "adam", works)
    assert main(["adam", "--quick", "--out", str(tmp_path / "r")]) == 1
    wrong, right = read(tmp_path / "r")["sections"]["adam"]
    assert wrong["error"].startswith("PyTorch differs from NumPy by 0.1 of the largest number")
    assert "times" not in wrong
    assert "times" in right


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def works(gpu: Any) -> Any:
        yield timing.Work("first", {"NumPy": lambda: None}, lambda: None)
        raise KeyboardInterrupt

    monkeypatch.setitem(BENCHMARKS, "adam", works)
    assert main(["adam", "gemm", "--quick", "--out", str(tmp_path / "r")]) == 130
    assert [r["name"] for r in read(tmp_path / "r")["sections"]["adam"]] == ["first"]


def test_same_compares_shapes_and_numbers() -> None:
    timing.same({"a": [1.0, 2.0], "b": [1.0, 2.0 + 1e-6]}, 1e-6)
    with pytest.raises(ValueError, match=r"b gives shape \(1,\), a \(2,\)"):
        timing.same({"a": [1.0, 2.0], "b": [1.0]}, 1.0)
    with pytest.raises(ValueError, match="b differs from a by nan"):
        timing.same({"a": [1.0], "b": [np.nan]}, 1.0)


def test_candidates_take_turns() -> None:
    order: list[str] = []
    work = timing.Work("", {name: lambda name=name: order.append(name) for name in "ab"}, lambda: None)
    timing.measure(work, rounds=3, seconds_per_turn=0.0)
    assert order == ["a", "a", "b", "b", *"ababab"]


@pytest.mark.parametrize("name", ["gemm", "conv", "pointwise", "adam", "noise"])
def test_every_row_runs_and_agrees(name: str) -> None:
    """The smallest rows of each benchmark; PyTorch takes part where it is installed."""
    for work in list(BENCHMARKS[name](None))[:4]:
        work.check()
        assert "NumPy" in work.candidates


def test_ratios_take_the_better_memory_format() -> None:
    record = {
        "times": {"NumPy": (2.0, 1, 3), "PyTorch contiguous_format": (5.0, 4, 6), "PyTorch channels_last": (3.0, 2, 4)}
    }
    assert report.ratio(record) == 1.5
    assert report.duration(1.234e-3) == "1.23 ms"
