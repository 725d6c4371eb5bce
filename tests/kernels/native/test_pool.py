"""Threads: results depend neither on their number, nor on other Python threads that compute, nor on fork()."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minivae.kernels import native
from minivae.kernels.geometry import conv2d_geometry
from minivae.kernels.native import library


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after the test."""
    yield
    library.set_num_threads(int(os.environ.get("MINIVAE_NUM_THREADS", "2")))


def results(seed: int = 0) -> list[bytes]:
    """The results of all kinds of parallel work: products split along rows and along k, batches, convolutions, sums."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    a, b, long = normal(300, 70), normal(70, 200), normal(5000, 30)
    batch = normal(40, 9, 8)
    found = [native.matmul(a, b), native.matmul(long.T, long, normal(30), True), native.matmul(batch, normal(8, 7))]
    found.append(native.matmul(batch, batch.swapaxes(1, 2)))
    found += [native.reduce_sum(long, (0,), False), native.reduce_sum(long, (0, 1), False)]
    found.append(native.segment_sum(long, rng.integers(0, 90, len(long)), 90))
    for C, OC, k, s, N, size in (
        (3, 20, 4, 2, 40, 14),
        (32, 32, 3, 1, 18, 9),
        (64, 32, 4, 2, 17, 8),
        (8, 8, 3, 1, 1, 90),
    ):
        g = conv2d_geometry((N, C, size, size), (OC, C, k, k), s, 1, 1, 1)
        x, w, dy = normal(*g.x_shape), normal(*g.w_shape), normal(*g.y_shape)
        found += [native.conv2d(x, w, None, g), native.conv2d_input_grad(dy, w, None, g)]
        found.append(native.conv2d_weight_grad(dy, x, g))
    return [np.ascontiguousarray(each).tobytes() for each in found]


@pytest.mark.usefixtures("threads")
def test_results_are_bitwise_equal_for_any_number_of_threads() -> None:
    library.set_num_threads(1)
    alone = results()
    for count in (2, 3, 5, 1):
        library.set_num_threads(count)
        assert results() == alone


@pytest.mark.usefixtures("threads")
def test_several_python_threads_at_once() -> None:
    library.set_num_threads(3)
    expected = results()
    with ThreadPoolExecutor(4) as executor:
        assert all(found == expected for found in executor.map(results, [0] * 8))


def test_fork() -> None:
    """After a fork, parent and child continue to compute, each with its own threads."""
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from minivae.kernels import native
from minivae.kernels.native import library
from test_pool import results
library.set_num_threads(3)
expected = results()
for generation in range(3):
    child = os.fork()
    if child == 0:
        os._exit(results() != expected or os.fork() == 0 and results() != expected)
    assert results() == expected
    assert os.waitpid(child, 0)[1] == 0
print("right")
"""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork on this system")
    command = [sys.executable, "-W", "ignore", "-c", code, os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "right\n", done.stderr


@pytest.mark.parametrize("count", [0, -1])
def test_a_number_of_threads_is_positive(count: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        library.set_num_threads(count)


@pytest.mark.parametrize("text", ["none", "0", "-1", "1.5", ""])
def test_the_variable_must_be_a_number(text: str) -> None:
    code = "from minivae.kernels.native import library; library.why_not()"
    environment = {**os.environ, "MINIVAE_NUM_THREADS": text}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "MINIVAE_NUM_THREADS must be a number of threads" in done.stderr
