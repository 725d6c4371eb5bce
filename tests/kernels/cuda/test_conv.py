"""The convolution kernels against those in NumPy: equal on integers, and equal up to rounding on other numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.kernels import reference
from minivae.kernels.cuda import conv, launcher
from minivae.kernels.cuda.settings import settings as cuda_settings
from minivae.kernels.geometry import ConvGeometry, conv2d_geometry, conv_transpose2d_geometry

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(Emulator()):
        yield


def integers(*shape: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def check(g: ConvGeometry, dtype: type = np.float32) -> None:
    """Check that all three passes, with and without bias, are exact."""
    x, w = integers(*g.x_shape, seed=1, dtype=dtype), integers(*g.w_shape, seed=2, dtype=dtype)
    dy, b = channels_last(integers(*g.y_shape, seed=3, dtype=dtype)), integers(g.OC, seed=4, dtype=dtype)
    c = integers(g.C, seed=5, dtype=dtype)
    for bias in (None, b):
        np.testing.assert_array_equal(conv.conv2d(x, w, bias, g), reference.conv2d(x, w, bias, g))
    for bias in (None, c):
        np.testing.assert_array_equal(
            conv.conv2d_input_grad(dy, w, bias, g), reference.conv2d_input_grad(dy, w, bias, g)
        )
    np.testing.assert_array_equal(conv.conv2d_weight_grad(dy, x, g), reference.conv2d_weight_grad(dy, x, g))


pairs = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))
paddings = st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)))


@given(
    n=st.integers(0, 3),
    groups=st.integers(1, 3),
    inputs=st.sampled_from([1, 2, 3, 4, 8, 17]),
    outputs=st.sampled_from([1, 3, 4, 9, 12]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=pairs,
    padding=paddings,
    dilation=pairs,
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_any_convolution_is_exact_on_integers(
    n, groups, inputs, outputs, kernel, size, stride, padding, dilation
) -> None:
    steps = np.broadcast_to(dilation, 2)
    ph, pw = np.broadcast_to(padding, 2)
    fits = [max(s, 1 + int(d) * (k - 1) - 2 * int(p)) for s, d, k, p in zip(size, steps, kernel, (ph, pw), strict=True)]
    x, w = (n, groups * inputs, *fits), (groups * outputs, inputs, *kernel)
    check(conv2d_geometry(x, w, stride, padding, dilation, groups))


@pytest.mark.parametrize(
    ("x", "w", "stride", "padding", "groups"),
    [
        ((3, 32, 9, 8), (20, 32, 3, 3), 1, 1, 1),  # channels divisible by 4, incomplete tiles
        ((2, 36, 11, 10), (72, 36, 4, 4), 2, 1, 1),  # all phases in one launch, split sums
        ((2, 35, 9, 9), (66, 35, 3, 3), 2, 1, 1),  # one launch per phase, channels not divisible by 4
        ((1, 40, 5, 5), (40, 20, 3, 3), 1, 0, 2),
        ((2, 24, 6, 6), (24, 1, 3, 3), 1, 1, 24),  # depthwise
        ((2, 48, 5, 4), (3, 48, 3, 3), 1, 1, 1),  # few outputs
        ((1, 1, 30, 30), (70, 1, 9, 9), 1, 0, 1),  # many taps of one channel
        ((3, 1, 12, 11), (20, 1, 4, 4), 2, 1, 1),  # the first layer of a network
        ((2, 64, 5, 5), (32, 64, 1, 1), 1, 0, 1),  # one tap
        ((2, 8, 4, 4), (8, 8, 1, 1), 3, 0, 1),  # pixels that no output reads
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_for_all_sizes_are_exact_on_integers(x, w, stride, padding, groups, dtype) -> None:
    check(conv2d_geometry(x, w, stride, padding, 1, groups), dtype)


def test_large_tiles_are_exact_on_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "FILL", 2)  # a small problem now fills the device
    check(conv2d_geometry((1, 24, 20, 20), (70, 24, 3, 3), 1, 1, 1, 1))  # 128 x 128
    check(conv2d_geometry((2, 20, 16, 16), (32, 20, 2, 2), 2, 0, 1, 1))  # 128 x 64
    check(conv2d_geometry((1, 18, 20, 20), (70, 18, 3, 3), 1, 1, 1, 1))


def test_output_padding_beyond_the_forward_pass() -> None:
    check(conv_transpose2d_geometry((2, 6, 4, 5), (6, 20, 3, 3), 2, 1, (1, 1), 1, 1))
    check(conv_transpose2d_geometry((2, 6, 4, 5), (6, 20, 2, 2), 2, 0, (2, 1), 1, 3))


def test_tf32_rounds_operands_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    g = conv2d_geometry((2, 36, 6, 6), (24, 36, 3, 3), 1, 1, 1, 1)
    monkeypatch.setattr(cuda_settings, "_allow_tf32", True)
    check(g)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=g.x_shape).astype(np.float32), rng.normal(size=g.w_shape).astype(np.float32)
    error = np.abs(conv.conv2d(x, w, None, g) - reference.conv2d(x, w, None, g)).max()
    assert 1e-4 < error < 5e-2  # a relative error of 2^-11 in terms around 1, of which 324 are added


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-13)])
def test_random_numbers_to_rounding(dtype: type, tolerance: float) -> None:
    g = conv2d_geometry((3, 20, 9, 9), (24, 20, 4, 4), 2, 1, 1, 1)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in (g.x_shape, g.w_shape, g.y_shape))
    for ours, theirs in (
        (conv.conv2d(x, w, None, g), reference.conv2d(x, w, None, g)),
        (conv.conv2d_input_grad(dy, w, None, g), reference.conv2d_input_grad(dy, w, None, g)),
        (conv.conv2d_weight_grad(dy, x, g), reference.conv2d_weight_grad(dy, x, g)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_threads_in_any_order_give_the_same_bits() -> None:
    """Run the threads forward, reversed and shuffled, with NaN in unwritten shared memory: a race would change bits."""
    with launcher.use_engine(Emulator(order="all")):
        check(conv2d_geometry((2, 20, 6, 6), (20, 20, 3, 3), 2, 1, 1, 1))
        check(conv2d_geometry((2, 1, 6, 6), (9, 1, 3, 3), 1, 1, 1, 1))


def test_results_are_channels_last() -> None:
    g = conv2d_geometry((2, 3, 6, 6), (5, 3, 3, 3), 1, 1, 1, 1)
    x, w = integers(*g.x_shape, seed=1), integers(*g.w_shape, seed=2)
    assert conv.conv2d(x, w, None, g).transpose(0, 2, 3, 1).flags.c_contiguous
