"""Convolutions with 9 products instead of 16: exact on integers, as the naive loops have them, and accurate enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivae as mv
from minivae import functional as F
from minivae.kernels.cpu import columns, karatsuba
from minivae.kernels.cpu.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from minivae.kernels.cpu.threads import use_threads
from minivae.kernels.geometry import ConvGeometry, conv2d_geometry
from tests.oracles import naive_conv2d, naive_conv2d_input_grad, naive_conv2d_weight_grad


@pytest.fixture(autouse=True)
def any_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(karatsuba, "CHANNELS", 1)


@st.composite
def geometries(draw: st.DrawFn) -> ConvGeometry:
    """Kernels of twice the stride, even outputs; up to a stride of rows at the end is read by nobody."""
    N, C, O = draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))  # noqa: E741
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, s)) for s in stride)
    outputs = [2 * draw(st.integers(1, 3)) for _ in stride]
    size = [(o + 1) * s - 2 * p + draw(st.integers(0, s - 1)) for o, s, p in zip(outputs, stride, padding, strict=True)]
    return conv2d_geometry((N, C, *size), (O, C, *(2 * s for s in stride)), stride, padding, 1, 1)


def integers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


def check(g: ConvGeometry, relu: bool) -> None:
    assert karatsuba.applies(g)
    x, w, dy = integers(g.x_shape, 0), integers(g.w_shape, 1), integers(g.y_shape, 2)
    of_y, of_x = integers((g.O,), 3), integers((g.C,), 4)
    least = 0 if relu else -np.inf
    for fast, naive in (
        (conv2d(x, w, of_y, g, relu), np.maximum(naive_conv2d(x, w, of_y, g), least)),
        (conv2d_input_grad(dy, w, of_x, g, relu), np.maximum(naive_conv2d_input_grad(dy, w, of_x, g), least)),
        (conv2d_weight_grad(dy, x, g), naive_conv2d_weight_grad(dy, x, g)),
    ):
        assert fast.dtype == np.float32
        np.testing.assert_array_equal(fast, naive)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(geometries(), st.booleans())
def test_equal_to_the_naive_loops(g: ConvGeometry, relu: bool) -> None:
    check(g, relu)


@pytest.mark.parametrize("tile_bytes", [1, 1 << 10])
def test_in_any_cut(tile_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "TILE_BYTES", tile_bytes)
    monkeypatch.setattr(karatsuba, "TILE_BYTES", tile_bytes)
    for channels in (1, 3):
        check(conv2d_geometry((3, channels, 12, 8), (2, channels, 4, 4), 2, 1, 1, 1), relu=False)


def test_without_bias_and_in_threads() -> None:
    g = conv2d_geometry((5, 40, 16, 16), (40, 40, 4, 4), 2, 1, 1, 1)
    x, w, dy = integers(g.x_shape, 0), integers(g.w_shape, 1), integers(g.y_shape, 2)

    def passes() -> list[np.ndarray]:
        return [conv2d(x, w, None, g), conv2d_input_grad(dy, w, None, g), conv2d_weight_grad(dy, x, g)]

    with use_threads(3):
        shared = passes()
    for mine, alone in zip(shared, passes(), strict=True):
        np.testing.assert_array_equal(mine, alone)


def test_finite_differences_agree() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 8, 8)), rng.standard_normal((2, 3, 4, 4)), rng.standard_normal(2)
    assert mv.gradcheck(lambda x, w, b: F.conv2d(x, w, b, 2, 1), [x, w, b])
    small = rng.standard_normal((2, 2, 4, 4))
    assert mv.gradcheck(lambda x, w: F.conv_transpose2d(x, w, None, 2, 1), [small, w])


def test_float32_loses_no_more_than_a_digit() -> None:
    g = conv2d_geometry((2, 128, 16, 16), (128, 128, 4, 4), 2, 1, 1, 1)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape) for shape in (g.x_shape, g.w_shape, g.y_shape))
    for function, arrays in (
        (lambda x, w: conv2d(x, w, None, g), (x, w)),
        (lambda dy, w: conv2d_input_grad(dy, w, None, g), (dy, w)),
        (lambda dy, x: conv2d_weight_grad(dy, x, g), (dy, x)),
    ):
        exact, result = function(*arrays), function(*(a.astype(np.float32) for a in arrays))
        assert np.abs(result - exact).max() <= 2e-6 * np.abs(exact).max()


def test_it_is_used_for_no_other_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(karatsuba, "CHANNELS", 4)
    fits = conv2d_geometry((1, 4, 8, 8), (4, 4, 4, 4), 2, 1, 1, 1)
    assert karatsuba.applies(fits)
    for x_shape, w_shape, stride, padding, dilation, groups in (
        ((1, 4, 8, 8), (4, 4, 3, 4), 2, 1, 1, 1),  # a kernel of another size
        ((1, 4, 8, 8), (4, 4, 4, 4), 1, 1, 1, 1),  # another stride
        ((1, 4, 10, 8), (4, 4, 4, 4), 2, 1, 1, 1),  # an odd number of outputs
        ((1, 4, 10, 10), (4, 4, 4, 4), 2, 1, 2, 1),  # dilation
        ((1, 8, 8, 8), (8, 4, 4, 4), 2, 1, 1, 2),  # groups
        ((1, 3, 8, 8), (4, 3, 4, 4), 2, 1, 1, 1),  # few channels
    ):
        assert not karatsuba.applies(conv2d_geometry(x_shape, w_shape, stride, padding, dilation, groups))
