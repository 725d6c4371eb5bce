"""`python -m benchmarks`: what it writes, and what it does when something fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cases, layers, memory, plots, report, rows, timing
from benchmarks.__main__ import BENCHMARKS, NAMES, main
from minivae.kernels import contract, native, reference
from minivae.kernels.geometry import conv2d_geometry


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results" / "benchmarks.json").read_text())
    return found


# ---- the command ----


def test_a_quick_run_writes_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["noise", "--quick", "--out", str(tmp_path)]) == 0
    found = read(tmp_path)
    records = found["sections"]["noise"]
    assert [r["name"].partition(",")[0] for r in records] == ["random_bits", "normal"]
    for record in records:
        median, low, high = record["times"]["NumPy"]
        assert 0 < low <= median <= high
    assert {"date", "threads", "numpy", "processor"} <= found["machine"].keys()
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## noise\n\nPhilox words and normal numbers" in page
    assert "| random_bits" in page
    assert "* left out: CuPy: " in page
    assert "left out: CuPy: " in capsys.readouterr().err


def test_a_partial_run_does_not_replace_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["noise", "--quick"]) == 0
    assert (tmp_path / "runs/benchmarks/RESULTS.md").is_file()


def test_unknown_names_list_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["convolution"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert all(name in error for name in NAMES)


def test_a_wrong_kernel_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right = reference.bernoulli_nll

    def wrong(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
        return right(logits, x) * 1.01

    monkeypatch.setattr(reference, "bernoulli_nll", wrong)
    assert main(["losses", "--quick", "--out", str(tmp_path)]) == 1
    bernoulli, *others = read(tmp_path)["sections"]["losses"]
    assert bernoulli["error"].startswith("NumPy differs from plain NumPy by 0.0")
    assert "times" not in bernoulli
    assert all("times" in record for record in others)
    assert "not measured: NumPy differs" in (tmp_path / "RESULTS.md").read_text()


def test_a_row_that_raises_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def works(gpu: Any, quick: bool) -> Any:
        yield timing.Work("broken", {"NumPy": lambda: 1 // 0}, lambda: None)
        yield timing.Work("whole", {"NumPy": lambda: None}, lambda: None)

    monkeypatch.setitem(BENCHMARKS, "adam", works)
    assert main(["adam", "--quick", "--out", str(tmp_path)]) == 1
    broken, whole = read(tmp_path)["sections"]["adam"]
    assert broken["error"].startswith("ZeroDivisionError: ")
    assert "times" in whole


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def works(gpu: Any, quick: bool) -> Any:
        def interrupted() -> None:
            raise KeyboardInterrupt

        yield timing.Work("first", {"NumPy": lambda: None}, lambda: None)
        yield timing.Work("second", {"NumPy": interrupted}, lambda: None)

    monkeypatch.setitem(BENCHMARKS, "adam", works)
    assert main(["adam", "gemm", "--out", str(tmp_path)]) == 130
    found = read(tmp_path)
    assert [r["name"] for r in found["sections"]["adam"]] == ["first"]
    assert "gemm" not in found["sections"]
    assert "The run was interrupted" in (tmp_path / "RESULTS.md").read_text()


# ---- how results are compared ----


@pytest.mark.parametrize("name", ["gemm", "conv", "norms", "losses", "quantize", "adam", "noise", "layers"])
def test_every_row_runs_and_agrees(name: str) -> None:
    """The rows of a quick run; PyTorch takes part where it is installed."""
    works = list(BENCHMARKS[name](None, True))
    assert works
    for work in works:
        assert "NumPy" in work.candidates
        work.check()


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (2, 0, 1), (1, 2, 2), (3, 1, 2)])
def test_plain_convolutions_are_the_kernels(stride: int, padding: int, dilation: int) -> None:
    """They are equal on integers, also if a stride leaves over rows of the image (7 rows, stride 2 and 3)."""
    from benchmarks import plain

    g = conv2d_geometry((2, 3, 7, 8), (4, 3, 3, 3), stride, padding, dilation, 1)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.integers(-4, 5, shape).astype(np.float64) for shape in (g.x_shape, g.w_shape, g.y_shape))
    np.testing.assert_array_equal(plain.conv2d(np, x, w, g), reference.conv2d(x, w, None, g))
    np.testing.assert_array_equal(plain.conv2d_input_grad(np, dy, w, g), reference.conv2d_input_grad(dy, w, None, g))
    np.testing.assert_array_equal(plain.conv2d_weight_grad(np, dy, x, g), reference.conv2d_weight_grad(dy, x, g))


def test_check_compares_every_array_of_a_result() -> None:
    good, bad = np.ones(3), np.array([1.0, 1.0, 1.1])
    candidates = {"NumPy": lambda: [good, good], "PyTorch": lambda: [good, bad]}
    with pytest.raises(ValueError, match=r"PyTorch differs from NumPy by 0\.1 of the largest number"):
        rows.check(candidates, None, 1e-3)
    rows.check(candidates, None, 0.2)


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
    assert order == ["a", "a", "b", "b", *"aabb" * 3], "each turn begins with a call that is not measured"


def test_a_layer_row_gives_output_and_all_gradients() -> None:
    work = next(layers.layers(None, True))
    y, dx, dw, db = work.candidates["NumPy"]()
    case = layers.CASES[0]
    assert (dx.shape, dw.shape, db.shape) == (case.shape, (32, 16, 3, 3), (32,))
    assert y.shape == (32, 32, 28, 28)


# ---- what is computed from the times ----


def test_ratios_take_the_better_memory_format() -> None:
    times = {"NumPy": (2.0, 1, 3), "PyTorch, contiguous_format": (5.0, 4, 6), "PyTorch, channels_last": (3.0, 2, 4)}
    assert report.ratio({"times": times}) == 1.5
    assert report.best({"times": times})["PyTorch"] == (3.0, 2, 4)
    assert report.duration(1.234e-3) == "1.23 ms"


def test_linear_growth_has_exponent_one() -> None:
    def record(side: int, batch: int, seconds: float) -> report.Record:
        times = {"NumPy": (seconds, seconds, seconds)}
        return {"name": f"conv VAE {side}x{side}, batch {batch}", "times": times}

    by_batch = [record(28, n, 3e-4 * n) for n in (16, 64, 128)]
    by_side = [record(side, 32, 1e-6 * side**4) for side in (16, 32, 64)]
    found = report.growth_exponents(by_batch + by_side)
    assert found == pytest.approx({"batch size": 1.0, "image size": 2.0})


def test_every_kernel_belongs_to_a_part_of_the_step() -> None:
    families = [str(Path(native.__file__).with_name(f"{family}.py")) for family in contract.PRIMITIVES]
    assert [file for file in families if plots._part(file) is None] == []


def test_shares_of_a_step_sum_to_one() -> None:
    shares = plots.step_shares(cases.MODELS["conv VAE"], batch=8)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert shares["convolutions"] > 0
    assert shares["optimiser"] > 0


def test_plots_are_drawn_for_what_there_is(tmp_path: Path) -> None:
    sections = {"growth": [{"name": f"conv VAE {s}x{s}, batch 32", "times": {"NumPy": (s, s, s)}} for s in (16, 28)]}
    assert plots.draw(tmp_path, {"sections": sections}) == ["growth.png"]
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert plots.draw(tmp_path, {"sections": {}}) == []


@pytest.mark.skipif(not memory.available(), reason="only Linux has a resettable high-water mark of memory")
def test_memory_sees_what_a_step_holds() -> None:
    """The gradients and moments of the dense VAE take 3 x 4 bytes x 0.97 M; more images take more memory."""
    few, many = (memory.measure(memory.Peak("dense VAE", batch, ("NumPy",), 2))["MiB"]["NumPy"] for batch in (2, 1024))
    assert few > 11
    assert many > few + 3  # 1024 images, their logits and the gradients take more than 9 MiB


def test_the_suite_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 2
    assert "unknown benchmarks nonsense" in done.stderr
