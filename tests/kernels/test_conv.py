"""The three passes of a convolution, compared with explicit loops, with SciPy, and with each other, as transposes.

The loops compute the formulas of kernels/reference/conv.py in float64, one output pixel and one tap at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from strategies import k

from minivae.kernels.geometry import ConvGeometry, conv2d_geometry, conv_transpose2d_geometry


def naive_conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry) -> np.ndarray:
    """x (N, C, H, W), w (OC, C / groups, KH, KW), b (OC,) -> y (N, OC, OH, OW)."""
    x, w = np.float64(x), np.float64(w)
    y = np.zeros(g.y_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        y[:, o, i, j] += x[:, c, h, v] @ w[o, :, p, q].T
    return y if b is None else y + np.float64(b)[:, None, None]


def naive_conv2d_input_grad(dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry) -> np.ndarray:
    """dy (N, OC, OH, OW), w (OC, C / groups, KH, KW), b (C,) -> dx (N, C, H, W)."""
    dy, w = np.float64(dy), np.float64(w)
    dx = np.zeros(g.x_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        dx[:, c, h, v] += dy[:, o, i, j] @ w[o, :, p, q]
    return dx if b is None else dx + np.float64(b)[:, None, None]


def naive_conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """dy (N, OC, OH, OW), x (N, C, H, W) -> dw (OC, C / groups, KH, KW)."""
    dy, x = np.float64(dy), np.float64(x)
    dw = np.zeros(g.w_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        dw[o, :, p, q] += dy[:, o, i, j].T @ x[:, c, h, v]
    return dw


def _reads(g: ConvGeometry) -> Iterator[tuple[slice, slice, int, int, int, int, int, int]]:
    """Yield every (o, c, p, q, i, j, h, v) such that tap (p, q) of output pixel (i, j) reads input pixel (h, v).

    o and c are the output and input channels of one group, as slices: each output reads all channels of its group.
    """
    (sh, sw), (ph, pw), (dh, dw) = g.stride, g.padding, g.dilation
    per_o, per_c = g.OC // g.groups, g.C // g.groups
    for p, q, i, j in np.ndindex(g.KH, g.KW, g.OH, g.OW):
        h, v = i * sh - ph + p * dh, j * sw - pw + q * dw
        if 0 <= h < g.H and 0 <= v < g.W:
            for group in range(g.groups):
                outputs = slice(group * per_o, (group + 1) * per_o)
                yield outputs, slice(group * per_c, (group + 1) * per_c), p, q, i, j, h, v


def random_geometry(rng: np.random.Generator) -> ConvGeometry:
    """A small convolution or transposed convolution, with settings that differ between the two axes."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    groups = int(rng.choice([1, 1, 1, 2, 3]))
    N, per_c, per_o = int(rng.choice([0, 1, 2, 3])), int(rng.choice([1, 2, 3, 9])), int(rng.choice([1, 2, 3, 9]))
    kernel, stride, padding, dilation = pair(1, 4), pair(1, 4), pair(0, 3), pair(1, 3)
    if rng.random() < 0.2:
        stride = (1, 1)
    w_shape = (groups * per_o, per_c, *kernel)
    if rng.random() < 0.5:
        extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
        smallest = [
            max(1, (2 * p - d * (k - 1) - e + s - 1) // s + 1)  # so that the result has at least one row
            for k, s, p, d, e in zip(kernel, stride, padding, dilation, extra, strict=True)
        ]
        size = tuple(least + int(rng.choice([0, 0, 1, 2, 3, 4])) for least in smallest)
        return conv_transpose2d_geometry((N, groups * per_o, *size), w_shape, stride, padding, extra, groups, dilation)
    smallest = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(least + int(rng.choice([0, 0, 1, 2, 3, 5, 7])) for least in smallest)
    return conv2d_geometry((N, groups * per_c, *size), w_shape, stride, padding, dilation, groups)


def in_random_layout(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An equal array in C order, channels-last, in Fortran order, reversed, or as a part of a larger array."""
    layout = rng.integers(5)
    if layout == 0:
        return np.ascontiguousarray(a)
    if layout == 1:
        return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if layout == 2:
        return np.asfortranarray(a)
    if layout == 3:
        return a[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1]
    larger = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    larger[:-1:2, 1::2, :-1:2, 1::2] = a
    return larger[:-1:2, 1::2, :-1:2, 1::2]


def random_arrays(g: ConvGeometry, rng: np.random.Generator, dtype: type) -> dict[str, np.ndarray]:
    """x, w and dy in random layouts, and biases by for y and bx for x."""
    shapes = {"x": g.x_shape, "w": g.w_shape, "dy": g.y_shape}
    arrays = {name: in_random_layout(rng.standard_normal(s).astype(dtype), rng) for name, s in shapes.items()}
    return arrays | {"by": rng.standard_normal(g.OC).astype(dtype), "bx": rng.standard_normal(g.C).astype(dtype)}


def fast_and_naive(
    g: ConvGeometry, a: dict[str, np.ndarray], biased: bool, relu: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(result of the kernel, result of the loops) for each of the three passes."""
    by, bx = (a["by"], a["bx"]) if biased else (None, None)
    y, dx = naive_conv2d(a["x"], a["w"], by, g), naive_conv2d_input_grad(a["dy"], a["w"], bx, g)
    if relu:
        y, dx = np.maximum(y, 0), np.maximum(dx, 0)
    return [
        (k.conv2d(a["x"], a["w"], by, g, relu), y),
        (k.conv2d_input_grad(a["dy"], a["w"], bx, g, relu), dx),
        (k.conv2d_weight_grad(a["dy"], a["x"], g), naive_conv2d_weight_grad(a["dy"], a["x"], g)),
    ]


def check_random_configurations(seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng)
        dtype, tolerance = ((np.float64, 1e-10), (np.float32, 1e-4))[seed % 2]
        a = random_arrays(g, rng, dtype)
        before = {name: array.copy() for name, array in a.items()}
        for fast, naive in fast_and_naive(g, a, biased=seed % 3 > 0, relu=seed % 5 > 2):
            assert fast.shape == naive.shape, (seed, g)
            assert fast.dtype == dtype, (seed, g)
            scale = np.abs(naive).max(initial=1e-30)
            np.testing.assert_allclose(fast, naive, rtol=0, atol=tolerance * scale, err_msg=f"seed {seed}: {g}")
        for name, array in a.items():
            np.testing.assert_array_equal(array, before[name], err_msg=f"{name} was changed, seed {seed}: {g}")


def test_random_configurations_equal_the_naive_loops() -> None:
    check_random_configurations(range(200))


@pytest.mark.slow
def test_many_random_configurations_equal_the_naive_loops() -> None:
    check_random_configurations(range(200, 3200))


def test_random_configurations_reach_every_kind_of_geometry() -> None:
    """The tests above prove little if their draws miss a case: each of these cases occurs at least 5 times in 200."""
    drawn = [random_geometry(np.random.default_rng(seed)) for seed in range(200)]
    formula = [conv2d_geometry(g.x_shape, g.w_shape, g.stride, g.padding, g.dilation, g.groups) for g in drawn]
    kinds = {
        "empty batch": [g.N == 0 for g in drawn],
        "groups": [g.groups > 1 for g in drawn],
        "depthwise": [g.groups > 1 and g.groups == g.C for g in drawn],
        "1x1 kernel": [g.KH == g.KW == 1 for g in drawn],
        "one output pixel": [g.OH == g.OW == 1 for g in drawn],
        "stride does not divide kernel": [g.KH % g.stride[0] > 0 for g in drawn],
        "stride larger than kernel": [g.stride[0] > g.KH for g in drawn],
        "stride and dilation share a factor": [g.stride[0] == g.dilation[0] > 1 for g in drawn],
        "padding larger than kernel": [g.padding[0] >= g.KH for g in drawn],
        "fewer outputs than the formula": [g.OH < f.OH for g, f in zip(drawn, formula, strict=True)],
        "one input channel": [g.groups == g.C for g in drawn],
        "stride 1": [g.stride == (1, 1) for g in drawn],
        "input gradient of few channels": [9 * g.C == g.OC for g in drawn],
    }
    assert {kind: sum(hits) for kind, hits in kinds.items() if sum(hits) < 5} == {}


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
def test_float32_is_exact_on_small_integers(seed: int, stride: int, dilation: int) -> None:
    rng = np.random.default_rng(seed)
    g = conv2d_geometry((2, 4, 9, 11), (6, 2, 3, 2), stride, 1, dilation, 2)
    a = {
        name: rng.integers(-8, 9, shape).astype(np.float32)
        for name, shape in {"x": g.x_shape, "w": g.w_shape, "dy": g.y_shape, "by": (g.OC,), "bx": (g.C,)}.items()
    }
    for fast, naive in fast_and_naive(g, a, biased=True):
        np.testing.assert_array_equal(fast, naive)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_conv2d_equals_scipy(H: int, W: int, KH: int, KW: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((2, 3, H + KH - 1, W + KW - 1)), rng.standard_normal((4, 3, KH, KW))
    y = k.conv2d(x, w, None, conv2d_geometry(x.shape, w.shape, 1, 0, 1, 1))
    for n, o in np.ndindex(2, 4):
        expected = sum(signal.correlate(x[n, c], w[o, c], mode="valid", method="direct") for c in range(3))
        np.testing.assert_allclose(y[n, o], expected, atol=1e-12)


def check_adjoint(g: ConvGeometry, seed: int) -> None:
    """<conv(x, w), dy> = <x, input_grad(dy, w)> = <w, weight_grad(dy, x)>."""
    a = random_arrays(g, np.random.default_rng(seed), np.float64)
    forward = np.vdot(k.conv2d(a["x"], a["w"], None, g), a["dy"])
    of_input = np.vdot(a["x"], k.conv2d_input_grad(a["dy"], a["w"], None, g))
    of_weight = np.vdot(a["w"], k.conv2d_weight_grad(a["dy"], a["x"], g))
    scale = np.linalg.norm(a["x"]) * np.linalg.norm(a["w"]) * np.linalg.norm(a["dy"])
    assert abs(forward - of_input) <= 1e-12 * scale
    assert abs(forward - of_weight) <= 1e-12 * scale


LAYERS = [  # x shape, w shape, stride, padding: layers of the models, several tiles each
    ((40, 1, 28, 28), (32, 1, 4, 4), 2, 1),
    ((40, 32, 14, 14), (64, 32, 4, 4), 2, 1),
    ((8, 16, 28, 28), (32, 16, 3, 3), 1, 1),
    ((8, 128, 8, 8), (32, 128, 3, 3), 1, 1),
    ((8, 3, 33, 31), (20, 3, 5, 3), 3, 2),
    ((2, 64, 64, 64), (64, 64, 3, 3), 1, 1),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_passes_are_transposes_of_each_other_at_full_size(layer: tuple) -> None:
    x_shape, w_shape, stride, padding = layer
    check_adjoint(conv2d_geometry(x_shape, w_shape, stride, padding, 1, 1), seed=0)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_the_passes_are_transposes_of_each_other(seed: int) -> None:
    check_adjoint(random_geometry(np.random.default_rng(seed)), seed)


@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding"),
    [(2, 1, 1), (3, 2, 2), (1, 3, 1), (1, 3, 2), (2, 3, 2), ((2, 1), (1, 2), (1, 1))],
)
def test_output_padding_adds_rows_of_the_unpadded_result(stride, dilation, output_padding) -> None:
    """The rows that output_padding adds are computed by the same formula as the others, not filled with zeros.

    Without padding no tap reaches them, so they hold the bias. With a padding of at least output_padding they equal the
    rows at that place in the result of a transposed convolution without padding.
    """
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(2)
    plain = conv_transpose2d_geometry(x.shape, w.shape, stride, 0, 0, 1, dilation)
    whole = k.conv2d_input_grad(x, w, b, plain)

    g = conv_transpose2d_geometry(x.shape, w.shape, stride, 0, output_padding, 1, dilation)
    added = k.conv2d_input_grad(x, w, b, g)
    np.testing.assert_allclose(added[:, :, : plain.H, : plain.W], whole, atol=1e-12)
    behind = added.copy()
    behind[:, :, : plain.H, : plain.W] = b[:, None, None]
    np.testing.assert_array_equal(behind, np.broadcast_to(b[:, None, None], behind.shape))

    g = conv_transpose2d_geometry(x.shape, w.shape, stride, 2, output_padding, 1, dilation)
    np.testing.assert_allclose(k.conv2d_input_grad(x, w, b, g), whole[:, :, 2 : 2 + g.H, 2 : 2 + g.W], atol=1e-12)


def test_rows_that_no_output_reads_get_no_gradient() -> None:
    g = conv2d_geometry((1, 1, 8, 8), (1, 1, 1, 1), 3, 0, 1, 1)
    dx = k.conv2d_input_grad(np.ones(g.y_shape), np.full(g.w_shape, 7.0), np.array([0.5]), g)
    read = np.zeros((8, 8))
    read[::3, ::3] = 7
    np.testing.assert_array_equal(dx[0, 0], read + 0.5)


def is_channels_last(a: np.ndarray) -> bool:
    return a.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.usefixtures("keeps_layouts")
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 2)])
def test_images_are_returned_in_channels_last_memory(stride: int, groups: int) -> None:
    g = conv2d_geometry((2, 4, 6, 6), (8, 4 // groups, 3, 3), stride, 1, 1, groups)
    a = random_arrays(g, np.random.default_rng(0), np.float32)
    assert is_channels_last(k.conv2d(a["x"], a["w"], None, g))
    assert is_channels_last(k.conv2d_input_grad(a["dy"], a["w"], None, g))


def passes(g: ConvGeometry, a: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [
        k.conv2d(a["x"], a["w"], a["by"], g),
        k.conv2d_input_grad(a["dy"], a["w"], a["bx"], g),
        k.conv2d_weight_grad(a["dy"], a["x"], g),
    ]


SEVERAL_TILES = conv2d_geometry((12, 16, 28, 28), (24, 16, 3, 3), 2, 1, 1, 1)


def test_two_calls_are_bitwise_equal_and_results_outlive_the_next_call() -> None:
    a = random_arrays(SEVERAL_TILES, np.random.default_rng(0), np.float32)
    other = random_arrays(SEVERAL_TILES, np.random.default_rng(1), np.float32)
    first = passes(SEVERAL_TILES, a)
    kept = [result.copy() for result in first]
    passes(SEVERAL_TILES, other)
    for result, copy, again in zip(first, kept, passes(SEVERAL_TILES, a), strict=True):
        np.testing.assert_array_equal(result, copy)
        np.testing.assert_array_equal(result, again)


def test_threads_do_not_disturb_each_other() -> None:
    inputs = [random_arrays(SEVERAL_TILES, np.random.default_rng(seed), np.float32) for seed in range(2)]
    expected = [passes(SEVERAL_TILES, a) for a in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            results = passes(SEVERAL_TILES, inputs[i])
            wrong.extend(i for r, e in zip(results, expected[i], strict=True) if not np.array_equal(r, e))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_inputs_may_be_read_only() -> None:
    a = random_arrays(SEVERAL_TILES, np.random.default_rng(0), np.float32)
    expected = passes(SEVERAL_TILES, a)
    for array in a.values():
        array.flags.writeable = False
    for result, e in zip(passes(SEVERAL_TILES, a), expected, strict=True):
        np.testing.assert_array_equal(result, e)


X, W = (2, 4, 8, 8), (6, 4, 3, 3)


@pytest.mark.parametrize(
    ("x", "w", "changed", "error", "message"),
    [
        (X, W, {"stride": 0}, ValueError, r"stride must be at least 1, got 0"),
        (X, W, {"stride": (1, -2)}, ValueError, r"stride must be at least 1, got \(1, -2\)"),
        (X, W, {"padding": -1}, ValueError, r"padding must be at least 0, got -1"),
        (X, W, {"dilation": 0}, ValueError, r"dilation must be at least 1, got 0"),
        (X, W, {"groups": 0}, ValueError, r"groups must be at least 1, got 0"),
        (X, W, {"stride": 1.5}, TypeError, r"stride must be an int or a pair .* got 1\.5"),
        (X, W, {"stride": 2.0}, TypeError, r"stride must be an int or a pair .* got 2\.0"),
        (X, W, {"padding": (1, 1, 1)}, TypeError, r"padding must be an int or a pair .* got \(1, 1, 1\)"),
        (X, W, {"dilation": True}, TypeError, r"dilation must be an int or a pair .* got True"),
        (X, W, {"groups": 1.0}, TypeError, r"groups must be an int, got 1\.0"),
        (X, (6, 3, 3, 3), {}, ValueError, r"\(2, 4, 8, 8\) has 4 channels.*\(6, 3, 3, 3\).*expects 3"),
        (X, (6, 4, 9, 3), {}, ValueError, r"weight \(6, 4, 9, 3\).*does not fit into input \(2, 4, 8, 8\).*0 x 6"),
        (X, (5, 2, 3, 3), {"groups": 2}, ValueError, r"groups=2 does not divide the 5 output channels"),
        ((4, 8, 8), W, {}, ValueError, r"input must have 4 axes .* got shape \(4, 8, 8\)"),
        (X, (4, 3, 3), {}, ValueError, r"weight must have 4 axes .* got shape \(4, 3, 3\)"),
        ((2, 0, 8, 8), (6, 0, 3, 3), {}, ValueError, r"only the batch may be empty"),
        (X, W, {"padding": 30_000}, ValueError, r"an image with its padding of shape \(4, 60008, 60008\)"),
    ],
)
def test_convolutions_that_make_no_sense_are_refused(x, w, changed, error, message) -> None:
    arguments = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | changed
    with pytest.raises(error, match=message):
        conv2d_geometry(x, w, **arguments)


@pytest.mark.parametrize(
    ("x", "w", "changed", "error", "message"),
    [
        (X, (5, 4, 3, 3), {}, ValueError, r"\(2, 4, 8, 8\) has 4 channels.*\(5, 4, 3, 3\) expects 5"),
        (X, (4, 4, 3, 3), {"groups": 3}, ValueError, r"groups=3 does not divide the 4 channels"),
        (
            X,
            (4, 4, 3, 3),
            {"output_padding": 1},
            ValueError,
            r"output_padding=\(1, 1\) must be smaller than stride=\(1, 1\)",
        ),
        (X, (4, 4, 3, 3), {"output_padding": -1}, ValueError, r"output_padding must be at least 0, got -1"),
        (X, (4, 4, 3, 3), {"output_padding": 0.5}, TypeError, r"output_padding must be an int .* got 0\.5"),
        (X, (4, 4, 1, 1), {"padding": 4}, ValueError, r"\(2, 4, 8, 8\).*\(4, 4, 1, 1\).*leave an output of 0 x 0"),
    ],
)
def test_transposed_convolutions_that_make_no_sense_are_refused(x, w, changed, error, message) -> None:
    arguments = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1} | changed
    with pytest.raises(error, match=message):
        conv_transpose2d_geometry(x, w, **arguments)
