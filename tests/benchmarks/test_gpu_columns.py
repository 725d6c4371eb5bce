"""The GPU columns of the benchmark suite, on the emulator at small sizes: rows are made, compared and timed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler

import minivae as mv
from benchmarks import cases, convolutions, layers, operations, rows, steps, timing
from minivae import kernels
from minivae.kernels.cuda import launcher

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

SMALL = cases.Model((1, 8, 8), partial(mv.models.VAE, (1, 8, 8), latent_dim=3, arch="dense", hidden=(16,)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The emulated backend, with small sizes. It lacks functions that only the column "CuPy alone" uses."""
    without_cupy = partial(_without, "CuPy alone", rows.check)
    for module in (rows, operations, layers, steps):
        monkeypatch.setattr(module, "check", without_cupy)
    monkeypatch.setattr(operations, "PRODUCTS", ((16, 30, 20),))
    monkeypatch.setattr(operations, "PARAMETERS", ((30, 20), (30,)))
    monkeypatch.setattr(convolutions, "BATCH", 1)
    monkeypatch.setattr(cases, "LAYERS", cases.LAYERS[:1])
    small = layers.Case("Conv2d", layers.CASES[0].arguments, (1, 16, 4, 4))
    monkeypatch.setattr(layers, "CASES", (small, layers.Case("ReLU", {}, (2, 2, 4, 4))))
    monkeypatch.setattr(steps, "MANY", 5)
    monkeypatch.setattr(cases, "MODELS", {"dense VAE": SMALL, "conv VAE": SMALL})
    monkeypatch.setattr(cases, "BATCHES", (4,))
    with launcher.use_engine(Emulator(xp=arrays)):
        yield kernels.backend("cuda")


def _without(column: str, check: Any, candidates: dict[str, Any], gpu: Any, tolerance: float) -> None:
    check({name: run for name, run in candidates.items() if name != column}, gpu, tolerance)


@pytest.mark.parametrize(
    "benchmark",
    [operations.gemm, operations.adam, convolutions.conv, layers.layers, steps.steps, steps.throughput],
)
def test_rows_have_a_gpu_column_that_agrees(benchmark: Any, gpu: Any) -> None:
    works = list(benchmark(gpu, False))
    assert works
    for work in works:
        assert "CuPy" in work.candidates
        work.check()


def test_a_step_on_the_gpu_is_timed(gpu: Any) -> None:
    times = timing.measure(steps.step_work("small", SMALL, 4, gpu), 3, 0.0)
    assert times["NumPy"].median > 0
    assert times["CuPy"].median > 0


def test_a_wrong_gradient_on_the_gpu_is_found(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu.bernoulli_nll_grad
    monkeypatch.setattr(gpu, "bernoulli_nll_grad", lambda *arguments: right(*arguments) * np.float32(1.01))
    with pytest.raises(ValueError, match=r"CuPy differs from .*, C by 0\.0"):
        steps.step_work("small", SMALL, 4, gpu).check()
