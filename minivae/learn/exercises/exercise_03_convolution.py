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

from minivae.learn.exercise import expect, expect_close, expect_gradient

RNG = np.random.default_rng(3)
SIZES = [(4, 2, 1), (8, 4, 2), (9, 4, 2), (7, 3, 3), (5, 5, 1)]  # W, K, stride; 9 has a number that no patch reaches


def _conv(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    return np.correlate(x, w, mode="valid")[::stride]


def check_conv1d(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        expect_close(f"y for W = {W}, K = {K}, stride {stride}", yours.conv1d(x, w, stride), _conv(x, w, stride))


def check_weight_gradient(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        dy = RNG.normal(size=_conv(x, w, stride).shape)
        what = f"dw for W = {W}, K = {K}, stride {stride}"
        found = yours.weight_gradient(x, dy, K, stride)
        expect_gradient(what, lambda w, x=x, s=stride: _conv(x, w, s), w, dy, found)


def check_conv_transpose1d(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        z = RNG.normal(size=_conv(x, w, stride).shape)
        extra = W - ((len(z) - 1) * stride + K)
        found = yours.conv_transpose1d(z, w, stride, extra)
        expect(np.shape(found) == (W,), f"for {len(z)} numbers and output_padding {extra} W is {W}, yours {len(found)}")
        left, right = float(_conv(x, w, stride) @ z), float(x @ found)
        told = f"<conv(x), z> = {left:.4f} must be <x, conv_transpose(z)>, yours is {right:.4f}"
        expect(abs(left - right) < 1e-9, f"W = {W}, K = {K}, stride {stride}: {told}")


def check_input_gradient(yours) -> None:
    for W, K, stride in SIZES:
        x, w = RNG.normal(size=W), RNG.normal(size=K)
        dy = RNG.normal(size=_conv(x, w, stride).shape)
        what = f"dx for W = {W}, K = {K}, stride {stride}"
        found = yours.input_gradient(dy, w, W, stride)
        expect_gradient(what, lambda x, w=w, s=stride: _conv(x, w, s), x, dy, found)
