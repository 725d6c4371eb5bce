"""Exercise 3: a convolution in one dimension, with its two gradients and its transpose.

x (W,) is one row of an image, w (K,) a kernel, and y (OW,) with OW = (W - K) // stride + 1 the result:
y[j] = sum over p of w[p] x[j * stride + p]. Fill in the four functions, then run `minivae learn check 3`.
"""

import numpy as np


def conv1d(x: np.ndarray, w: np.ndarray, stride: int = 1) -> np.ndarray:
    """Return y (OW,)."""
    raise NotImplementedError


def weight_gradient(x: np.ndarray, dy: np.ndarray, K: int, stride: int = 1) -> np.ndarray:
    """Return dw (K,) for the dy (OW,) that arrives at y."""
    raise NotImplementedError


def conv_transpose1d(z: np.ndarray, w: np.ndarray, stride: int = 1, output_padding: int = 0) -> np.ndarray:
    """Return x (W,) with W = (OW - 1) * stride + K + output_padding, the transposed convolution of z (OW,)."""
    raise NotImplementedError


def input_gradient(dy: np.ndarray, w: np.ndarray, W: int, stride: int = 1) -> np.ndarray:
    """Return dx (W,) of conv1d for the dy (OW,) that arrives; W is what x had. One call of conv_transpose1d does it."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect_close, expect_gradient

RNG = np.random.default_rng(3)
SIZES = [(4, 2, 1), (8, 4, 2), (9, 4, 2), (7, 3, 3), (5, 5, 1)]  # W, K, stride; 9 has a number that no patch reaches


def _conv(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    return np.correlate(x, w, mode="valid")[::stride]


def _short(numbers: np.ndarray) -> str:
    return str([int(number) for number in numbers])


def check_conv1d(yours) -> None:
    for W, K, stride in SIZES:
        x, w = np.arange(1.0, W + 1), 10.0 ** np.arange(K)  # each digit of y says which x stood under which weight
        what = f"y for x = {_short(x)}, w = {_short(w)}, stride {stride},"
        expect_close(what, yours.conv1d(x, w, stride), _conv(x, w, stride))


def check_weight_gradient(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        dy = RNG.normal(size=_conv(x, w, stride).shape)
        what = f"dw for W = {W}, K = {K}, stride {stride}"
        found = yours.weight_gradient(x, dy, K, stride)
        expect_gradient(what, lambda w, x=x, s=stride: _conv(x, w, s), w, dy, found)


def check_conv_transpose1d(yours) -> None:
    for W, K, stride in SIZES:
        w = 10.0 ** np.arange(K)
        z = np.arange(1.0, len(_conv(np.zeros(W), w, stride)) + 1)
        extra = W - ((len(z) - 1) * stride + K)
        what = f"x for z = {_short(z)}, w = {_short(w)}, stride {stride}, output_padding {extra},"
        expected = [_conv(e, w, stride) @ z for e in np.eye(W)]  # <conv(e), z> = <e, conv_transpose(z)> for each e
        expect_close(what, yours.conv_transpose1d(z, w, stride, extra), expected)


def check_input_gradient(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        dy = RNG.normal(size=_conv(x, w, stride).shape)
        what = f"dx for W = {W}, K = {K}, stride {stride}"
        found = yours.input_gradient(dy, w, W, stride)
        expect_gradient(what, lambda x, w=w, s=stride: _conv(x, w, s), x, dy, found)
