"""Exercise 3: a convolution in one dimension, with its two gradients and its transpose.

x (W,) is one row of an image, w (K,) a kernel, and y (OW,) with OW = (W - K) // stride + 1 the result:
y[j] = sum over p of w[p] x[j * stride + p]. Fill in the four functions, then run `minivae learn check 3`.
"""

import numpy as np


def conv1d(x: np.ndarray, w: np.ndarray, stride: int = 1) -> np.ndarray:
    """Return y (OW,)."""
    OW = (len(x) - len(w)) // stride + 1
    return np.array([w @ x[j * stride : j * stride + len(w)] for j in range(OW)])


def weight_gradient(x: np.ndarray, dy: np.ndarray, K: int, stride: int = 1) -> np.ndarray:
    """Return dw (K,) for the dy (OW,) that arrives at y."""
    return np.sum([d * x[j * stride : j * stride + K] for j, d in enumerate(dy)], axis=0)


def conv_transpose1d(z: np.ndarray, w: np.ndarray, stride: int = 1, output_padding: int = 0) -> np.ndarray:
    """Return x (W,) with W = (OW - 1) * stride + K + output_padding, the transposed convolution of z (OW,)."""
    x = np.zeros((len(z) - 1) * stride + len(w))
    for j, value in enumerate(z):
        x[j * stride : j * stride + len(w)] += value * w
    return x


def input_gradient(dy: np.ndarray, w: np.ndarray, W: int, stride: int = 1) -> np.ndarray:
    """Return dx (W,) of conv1d for the dy (OW,) that arrives; W is what x had. One call of conv_transpose1d does it."""
    return conv_transpose1d(dy, w, stride, W - (len(dy) - 1) * stride - len(w))
