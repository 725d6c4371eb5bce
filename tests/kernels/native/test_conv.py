"""The convolutions in C, for random geometries: close to the reference in float64, and exact on small integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minivae.kernels import native, reference
from minivae.kernels.geometry import ConvGeometry, conv2d_geometry, conv_transpose2d_geometry
from minivae.kernels.native import conv
from minivae.kernels.native.plans import is_depthwise

DTYPES = [np.float32, np.float64]


def random_geometry(rng: np.random.Generator) -> ConvGeometry | None:
    """Random sizes, stride, padding, dilation and groups, with or without images; None if they do not fit."""
    groups = int(rng.choice([1, 1, 1, 2, 3, 16]))
    C, OC = groups * int(rng.choice([1, 2, 3, 5, 16, 33])), groups * int(rng.choice([1, 3, 8, 16, 17, 48]))
    if C * OC > 3000:
        return None
    KH, KW, H, W = (int(n) for n in (*rng.integers(1, 6, 2), *rng.integers(1, 13, 2)))
    stride, padding, dilation = (
        (int(n), int(n) if rng.random() < 0.5 else int(m))
        for n, m in (rng.integers(1, 5, 2), rng.integers(0, 4, 2), rng.choice([1, 1, 1, 2, 3], 2))
    )
    N = int(rng.choice([0, 1, 2, 3, 20]))
    try:
        if rng.random() < 0.7:
            return conv2d_geometry((N, C, H, W), (OC, C // groups, KH, KW), stride, padding, dilation, groups)
        extra = tuple(int(rng.integers(0, max(pair))) for pair in zip(stride, dilation, strict=True))
        shapes = (N, OC, H, W), (OC, C // groups, KH, KW)
        return conv_transpose2d_geometry(*shapes, stride, padding, extra, groups, dilation)  # type: ignore[arg-type]
    except ValueError:
        return None


def layout(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Equal images: unchanged, channels-last, with gaps, or with reversed rows in memory."""
    kind = rng.integers(4)
    if kind == 0:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if kind == 1:
        return np.repeat(x, 2, axis=3)[..., ::2]
    return x[:, :, ::-1].copy()[:, :, ::-1] if kind == 2 else x


def check(g: ConvGeometry, rng: np.random.Generator, dtype: Any, whole_numbers: bool, tolerance: float) -> None:
    """Check all three passes, with or without bias and ReLU at random."""

    def draw(*shape: int) -> np.ndarray:
        return (rng.integers(-3, 4, shape) if whole_numbers else rng.standard_normal(shape)).astype(dtype)

    x, dy, w = layout(rng, draw(*g.x_shape)), layout(rng, draw(*g.y_shape)), layout(rng, draw(*g.w_shape))
    b, c = (draw(n) if rng.random() < 0.5 else None for n in (g.OC, g.C))
    relu = bool(rng.integers(2))
    passes: list[tuple[str, tuple[Any, ...]]] = [
        ("conv2d", (x, w, b, g, relu)),
        ("conv2d_input_grad", (dy, w, c, g, relu)),
        ("conv2d_weight_grad", (dy, x, g)),
    ]
    for name, arguments in passes:
        exact = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
        expected = getattr(reference, name)(*exact)
        found = getattr(native, name)(*arguments)
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        error = np.abs(found - expected).max(initial=0) / max(1, np.abs(expected).max(initial=0))
        assert error <= (0 if whole_numbers else tolerance), (name, g, error)


def check_many(count: int, seed: int) -> None:
    rng, done = np.random.default_rng(seed), 0
    while done < count:
        g = random_geometry(rng)
        if g is not None and max(g.H, g.W) < 60:
            dtype = DTYPES[done % 2]
            check(g, rng, dtype, done % 4 > 1, 1e-4 if dtype is np.float32 else 1e-10)
            done += 1


def test_random_convolutions() -> None:
    check_many(200, seed=0)


@pytest.mark.slow
def test_many_random_convolutions() -> None:
    check_many(3000, seed=1)


def test_depthwise_convolutions() -> None:
    """Channels that fill vector registers or do not, strides, dilations, empty batches and large kernels."""
    rng, settings = np.random.default_rng(0), ((3, 1, 1, 1), (5, 2, 2, 1), (3, 2, 0, 2), (4, 3, 1, 1), (1, 1, 0, 1))
    for C in (2, 16, 40):
        for kernel, stride, padding, dilation in settings:
            for N in (0, 3, 20):
                g = conv2d_geometry((N, C, 11, 8), (C, 1, kernel, kernel), stride, padding, dilation, C)
                assert is_depthwise(g)
                for dtype in DTYPES:
                    check(g, rng, dtype, False, 1e-5 if dtype is np.float32 else 1e-13)
                    check(g, rng, dtype, True, 0)
    g = conv2d_geometry((1, 4, 40, 40), (4, 1, 17, 17), 1, 8, 1, 4)
    check(g, rng, np.float64, True, 0)  # with so many taps, each group is a matrix product instead


@pytest.fixture
def winograd_always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use Winograd's algorithm from 16 channels on, and also for 2 x 2 kernels at stride 1 and 6 x 6 at stride 3."""
    monkeypatch.setattr(conv, "LEAST_CHANNELS", dict.fromkeys([(3, 1), (4, 2), (2, 1), (6, 3)], 16))
    monkeypatch.setattr(conv, "LEAST_FOR_WEIGHTS", 0)
    conv.winograd_applies.cache_clear()
    yield
    conv.winograd_applies.cache_clear()


@pytest.mark.usefixtures("winograd_always")
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (2, 1), (6, 3)])
@pytest.mark.parametrize("padding", [0, 1, 3, (2, 0)])
def test_winograd(kernel: int, stride: int, padding: Any) -> None:
    """Winograd's algorithm on odd and even sizes, without images, and with more images than a task or a chunk takes."""
    rng = np.random.default_rng(0)
    for C, OC, size, N in ((16, 32, (8, 8), 5), (48, 16, (7, 9), 0), (32, 16, (13, 6), 18), (16, 16, (21, 34), 2)):
        g = conv2d_geometry((N, C, *size), (OC, C, kernel, kernel), stride, padding, 1, 1)
        assert conv.winograd_applies(g)
        for dtype in DTYPES:
            check(g, rng, dtype, False, 3e-6 if dtype is np.float32 else 1e-13)
            check(g, rng, dtype, True, 0)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - exact).mean() / np.square(exact).mean()))


@pytest.mark.parametrize(
    ("C", "size", "OC", "kernel", "stride"),
    [
        (1, 28, 32, 4, 2),
        (16, 28, 32, 3, 1),
        (64, 14, 64, 3, 1),
        (128, 8, 128, 3, 1),
        (64, 16, 128, 4, 2),
        (32, 8, 64, 1, 1),
    ],
)
def test_rounding_errors(C: int, size: int, OC: int, kernel: int, stride: int) -> None:
    """On normal numbers, the relative root mean square error in float32 is a few units of rounding, 2^-24."""
    g = conv2d_geometry((16, C, size, size), (OC, C, kernel, kernel), stride, kernel // 3, 1, 1)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape, dtype=np.float32) for shape in (g.x_shape, g.w_shape, g.y_shape))
    exact: Callable[[np.ndarray], np.ndarray] = np.float64
    assert relative_error(native.conv2d(x, w, None, g), reference.conv2d(exact(x), exact(w), None, g)) < 8e-7
    dx = reference.conv2d_input_grad(exact(dy), exact(w), None, g)
    assert relative_error(native.conv2d_input_grad(dy, w, None, g), dx) < 6e-7
    dw = reference.conv2d_weight_grad(exact(dy), exact(x), g)
    assert relative_error(native.conv2d_weight_grad(dy, x, g), dw) < 6e-7


def test_results_are_channels_last() -> None:
    g = conv2d_geometry((2, 3, 8, 8), (5, 3, 3, 3), 1, 1, 1, 1)
    x, w, dy = (np.ones(shape, np.float32) for shape in (g.x_shape, g.w_shape, g.y_shape))
    for y in (native.conv2d(x, w, None, g), native.conv2d_input_grad(dy, w, None, g)):
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_shapes_that_differ_from_the_geometry_are_refused() -> None:
    g = conv2d_geometry((2, 3, 8, 8), (5, 3, 3, 3), 1, 1, 1, 1)
    x, w, dy = (np.ones(shape, np.float32) for shape in (g.x_shape, g.w_shape, g.y_shape))
    with pytest.raises(ValueError, match=r"conv2d: the input must have shape \(2, 3, 8, 8\), got \(1, 3, 8, 8\)"):
        native.conv2d(x[:1], w, None, g)
    with pytest.raises(ValueError, match=r"conv2d_input_grad: the weight must have shape"):
        native.conv2d_input_grad(dy, w[:, :, 1:], None, g)
    with pytest.raises(ValueError, match=r"conv2d: the bias must have shape \(5,\), got \(4,\)"):
        native.conv2d(x, w, np.ones(4, np.float32), g)
    with pytest.raises(ValueError, match=r"conv2d_weight_grad: x must have shape"):
        native.conv2d_weight_grad(dy, x[..., 1:], g)
