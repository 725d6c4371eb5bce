"""Convolutions of signals: those of images of one row, checked by finite differences and against a naive sum."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples, host, numbers, sizes

import minivae as mv
import minivae.functional as F

settings = {
    "n": st.integers(0, 2),
    "channels": st.tuples(sizes, sizes),
    "groups": st.integers(1, 2),
    "length": st.integers(1, 7),
    "kernel": st.integers(1, 3),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 2),
    "dilation": st.integers(1, 2),
}


def arrays(n, channels, groups, length, kernel, transposed=False):
    c, o = channels
    weight = (c * groups, o, kernel) if transposed else (o * groups, c, kernel)
    return numbers(n, c * groups, length), numbers(*weight, seed=1), numbers(o * groups, seed=2)


def fits(operation, *inputs):
    try:
        return operation(*inputs)
    except ValueError as error:
        assume("does not fit" not in str(error) and "leave an output" not in str(error))
        raise


@given(**settings)
@examples
def test_conv1d(n, channels, groups, length, kernel, stride, padding, dilation):
    inputs = arrays(n, channels, groups, length, kernel)

    def operation(x, w, b):
        return F.conv1d(x, w, b, stride, padding, dilation, groups)

    fits(operation, *inputs)
    assert mv.gradcheck(operation, inputs, rtol=1e-6)


@given(extra=st.integers(0, 2), **settings)
@examples
def test_conv_transpose1d(n, channels, groups, length, kernel, stride, padding, dilation, extra):
    assume(extra < max(stride, dilation))
    inputs = arrays(n, channels, groups, length, kernel, transposed=True)

    def operation(x, w, b):
        return F.conv_transpose1d(x, w, b, stride, padding, extra, groups, dilation)

    fits(operation, *inputs)
    assert mv.gradcheck(operation, inputs, rtol=1e-6)


def test_conv1d_is_the_sum_over_taps():
    x, w, b = arrays(2, (2, 3), 2, 9, 3)
    stride, padding, dilation = 2, 3, 2
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding)])
    length = (padded.shape[2] - dilation * 2 - 1) // stride + 1
    expected = np.zeros((2, 6, length))
    for o, t in np.ndindex(6, length):
        of_group = slice(0, 2) if o < 3 else slice(2, 4)
        seen = padded[:, of_group, t * stride : t * stride + 2 * dilation + 1 : dilation]  # (N, 2, K)
        expected[:, o, t] = (seen * w[o]).sum(axis=(1, 2)) + b[o]
    np.testing.assert_allclose(F.conv1d(x, w, b, stride, padding, dilation, 2).numpy(), expected, rtol=1e-12)


def test_the_transpose_is_the_adjoint():
    """<conv1d(x), y> = <x, conv_transpose1d(y)>, with the output_padding that restores the length of x."""
    x, w, _ = arrays(2, (3, 2), 1, 8, 3)
    y = numbers(*F.conv1d(x, w, stride=3, padding=1).shape, seed=4)
    back = F.conv_transpose1d(y, w, stride=3, padding=1, output_padding=1).numpy()
    assert back.shape == x.shape
    assert (F.conv1d(x, w, stride=3, padding=1).numpy() * y).sum() == pytest.approx((x * back).sum(), rel=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_values_and_gradients_are_those_of_an_image_of_one_row(transposed):
    """Bit by bit: the same kernels compute both."""
    x, w, b = arrays(2, (3, 3), 2, 11, 3, transposed)
    one, two = (F.conv_transpose1d, F.conv_transpose2d) if transposed else (F.conv1d, F.conv2d)
    kept = []
    for operation, setting, shape in (
        (one, {"stride": 2, "padding": 1, "dilation": 2}, lambda a: a),
        (two, {"stride": (1, 2), "padding": (0, 1), "dilation": (1, 2)}, lambda a: a[:, :, None]),
    ):
        inputs = [mv.Tensor(a, requires_grad=True) for a in (shape(x), shape(w), b)]
        y = operation(*inputs, groups=2, relu=True, **setting)
        y.backward(y.backend.asarray(numbers(*y.shape, seed=3)))
        kept.append([y.numpy(), *(host(t.grad) for t in inputs)])
    for a, b in zip(*kept, strict=True):
        np.testing.assert_array_equal(a, b.reshape(a.shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: F.conv1d(x[0], w), r"conv1d: x must have 3 axes, .* got shape \(4, 5\)"),
        (lambda x, w: F.conv1d(x, w[None]), r"conv1d: w must have 3 axes, .* got shape \(1, 4, 4, 3\)"),
        (lambda x, w: F.conv_transpose1d(x[None], w), r"conv_transpose1d: x must have 3 axes"),
        (lambda x, w: F.conv1d(x, w, stride=0), "stride must be at least 1, got 0"),
        (lambda x, w: F.conv1d(x[:, :3], w), "4"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(numbers(2, 4, 5), numbers(4, 4, 3))
