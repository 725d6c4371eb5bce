"""The operations: mv.functional, and the methods and operators of Tensor that call them."""

from __future__ import annotations

from typing import Any

import numpy as np

import minivae as mv
from minivae import functional as F
from minivae.kernels.contract import Noise

from .judge import Argument, Made, Row
from .kinds import (
    ANY_DTYPE,
    BOOL_ARRAY,
    EITHER,
    FLAG,
    FLOAT_ARRAY,
    INDEX_ARRAY,
    NONE,
    NUMBER_ARRAY,
    REFUSED,
    WHOLE,
    Kind,
    array,
    choice,
    instance,
    integer,
    integers,
    number,
    pair,
)

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 2, (2, 4)).astype(np.float32)
X[0, 0] = -1.5
IMAGE = RNG.normal(size=(2, 4, 5, 5)).astype(np.float32)
MIXTURE = RNG.normal(size=(2, 6, 3)).astype(np.float32)  # of two components, for one channel of three pixels
VECTOR = np.arange(1, 5, dtype=np.float32)
NOISE = Argument(Noise(3, 4), instance(Noise) | NONE)
x = Argument(X, FLOAT_ARRAY)
any_x = Argument(X, NUMBER_ARRAY)
flag = Argument(False, FLAG)


def image(weight: tuple[int, ...]) -> dict[str, Argument]:
    """Arguments that both convolutions have."""
    return {
        "x": Argument(IMAGE, FLOAT_ARRAY),
        "w": Argument(RNG.normal(size=weight).astype(np.float32), FLOAT_ARRAY),
        "b": Argument(VECTOR, FLOAT_ARRAY | NONE),
        "stride": Argument(2, pair(1)),
        "padding": Argument(1, pair(0)),
        "dilation": Argument(1, pair(1)),
        "groups": Argument(2, integer(1)),
        "relu": flag,
    }


def signal(weight: tuple[int, ...]) -> dict[str, Argument]:
    """Arguments that both convolutions of signals have."""
    one = {"stride": Argument(2, integer(1)), "padding": Argument(1, integer(0)), "dilation": Argument(1, integer(1))}
    return {**image(weight), "x": Argument(IMAGE[:, :, 0].copy(), FLOAT_ARRAY), **one}


def _index(value: Any) -> Any:
    """What NumPy takes as an index besides arrays."""
    return EITHER if value is None or value is True or isinstance(value, (int, list, tuple)) else REFUSED


def _several(value: Any) -> Any:
    """Several arrays: a sequence, or an array whose rows are meant."""
    return EITHER if isinstance(value, (list, np.ndarray)) and not np.ma.isMaskedArray(value) else REFUSED


INDEX, TENSORS = Kind("index", _index), Kind("arrays", _several)


def elementwise(function: Any, **arguments: Argument) -> Row:
    return Row(function, {"x": x, **arguments})


def binary(function: Any) -> Row:
    """Arithmetic takes whatever NumPy calculates with; where NumPy gives NaN it says so."""
    return Row(function, {"a": any_x, "b": Argument(X + 1, NUMBER_ARRAY)})


AXIS = integer(-(2**31)) | integers(-(2**31), empty=True) | NONE
ONE_AXIS = integer(-(2**31))
keepdims = Argument(True, FLAG)
# Both names of the axis, at the default of NumPy's, so that each is tried while the other says nothing.
AXES = {"axis": Argument(None, AXIS), "dim": Argument(None, AXIS)}
LAST_AXIS = {"axis": Argument(-1, ONE_AXIS), "dim": Argument(None, ONE_AXIS | NONE)}
ONE_AXIS_OR_DIM = {"axis": Argument(1, ONE_AXIS), "dim": Argument(None, ONE_AXIS | NONE)}
REDUCTION = {**AXES, "keepdims": keepdims}
ARGMAX = {"axis": Argument(None, ONE_AXIS | NONE), "dim": Argument(None, ONE_AXIS | NONE), "keepdims": keepdims}
eps = Argument(1e-5, number(0, np.inf, "()"))
LENGTHS = integers(-1, empty=True) | integer(-1)


def _widths(value: Any) -> Any:
    """Pairs of numbers for the last axes."""
    return EITHER if isinstance(value, (list, tuple)) and not len(value) else REFUSED


FUNCTIONS = {
    **{
        name: elementwise(getattr(F, name))
        for name in ("exp", "log", "log1p", "sqrt", "tanh", "relu", "sigmoid", "softplus", "silu", "gelu")
    },
    **{name: binary(getattr(F, name)) for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum")},
    "abs": Row(F.abs, {"x": any_x}),
    "neg": Row(F.neg, {"x": any_x}),
    **{name: Row(getattr(F, name), {"x": any_x}) for name in ("batch_sum", "batch_mean", "batch_cat")},
    "leaky_relu": elementwise(F.leaky_relu, negative_slope=Argument(0.1, number())),
    "astype": Row(F.astype, {"x": any_x, "dtype": Argument(np.float64, ANY_DTYPE)}),
    "clip": Row(
        F.clip,
        {"x": any_x, "low": Argument(0.5, number(ends="[i")), "high": Argument(1.0, number(ends="[i"))},
    ),
    "where": Row(F.where, {"condition": Argument(X > 1, BOOL_ARRAY), "a": any_x, "b": Argument(X + 1, NUMBER_ARRAY)}),
    **{name: Row(getattr(F, name), {"x": any_x, **REDUCTION}) for name in ("sum", "mean", "max", "min")},
    "argmax": Row(F.argmax, {"x": any_x, **ARGMAX}),
    "logsumexp": elementwise(F.logsumexp, **REDUCTION),
    "softmax": elementwise(F.softmax, **LAST_AXIS),
    "log_softmax": elementwise(F.log_softmax, **LAST_AXIS),
    "squeeze": Row(F.squeeze, {"x": Argument(X[:, :1], NUMBER_ARRAY), **AXES}),
    "unsqueeze": Row(F.unsqueeze, {"x": any_x, **ONE_AXIS_OR_DIM}),
    "reshape": Row(F.reshape, {"x": any_x, "shape": Argument((4, 2), LENGTHS)}),
    "flatten": Row(F.flatten, {"x": any_x, "start_axis": Argument(1, integer())}),
    "transpose": Row(F.transpose, {"x": any_x, "axes": Argument((1, 0), integers(-(2**31), empty=True) | NONE)}),
    "broadcast_to": Row(F.broadcast_to, {"x": any_x, "shape": Argument((3, 2, 4), integers(0, empty=True))}),
    # An index out of range is an IndexError, as Python's protocols want it.
    "getitem": Row(
        F.getitem,
        {"x": any_x, "index": Argument(np.array([1, 0, 1]), array("index", ("bool", *WHOLE)) | INDEX)},
        errors=(IndexError,),
    ),
    "gather": Row(F.gather, {"x": any_x, "index": Argument(np.array([[1], [0]]), INDEX_ARRAY), **ONE_AXIS_OR_DIM}),
    "cat": Row(F.cat, {"tensors": Argument([X, X], TENSORS), **ONE_AXIS_OR_DIM}),
    "stack": Row(F.stack, {"tensors": Argument([X, X], TENSORS), **ONE_AXIS_OR_DIM}),
    "pad": Row(
        F.pad,
        {
            "x": any_x,
            "widths": Argument([(1, 1), (2, 0)], Kind("widths", _widths)),
            "value": Argument(2, number(ends="[i")),
        },
        extra={"widths": {v: [v, v] for v in (0.5, (0, 10**12), (1, 1.5), (-1, 0), (1, 2, 3), "ab", (True, 1))}},
    ),
    "matmul": Row(F.matmul, {"a": x, "b": Argument(X.T.copy(), FLOAT_ARRAY)}),
    "linear": Row(
        F.linear,
        {"x": x, "w": Argument(X[:2] + 1, FLOAT_ARRAY), "b": Argument(VECTOR[:2], FLOAT_ARRAY | NONE), "relu": flag},
    ),
    "embedding": Row(F.embedding, {"index": Argument(np.array([1, 0, 1]), INDEX_ARRAY), "table": x}),
    "conv1d": Row(F.conv1d, signal((4, 2, 3))),
    "conv_transpose1d": Row(F.conv_transpose1d, {**signal((4, 2, 3)), "output_padding": Argument(1, integer(0))}),
    "conv2d": Row(F.conv2d, image((4, 2, 3, 3))),
    "conv_transpose2d": Row(F.conv_transpose2d, {**image((4, 2, 3, 3)), "output_padding": Argument(1, pair(0))}),
    "max_pool2d": Row(
        F.max_pool2d,
        {
            "x": Argument(IMAGE, FLOAT_ARRAY),
            "kernel_size": Argument(2, pair(1)),
            "stride": Argument(2, pair(1) | NONE),
            "padding": Argument(1, pair(0)),
        },
    ),
    "upsample": Row(F.upsample, {"x": Argument(IMAGE, FLOAT_ARRAY), "scale_factor": Argument(2, pair(1))}),
    "group_norm": Row(
        F.group_norm,
        {
            "x": Argument(IMAGE, FLOAT_ARRAY),
            "num_groups": Argument(2, integer(1)),
            "weight": Argument(VECTOR, FLOAT_ARRAY),
            "bias": Argument(VECTOR, FLOAT_ARRAY),
            "eps": eps,
        },
    ),
    "batch_norm": Row(
        F.batch_norm,
        {
            "x": Argument(IMAGE, FLOAT_ARRAY),
            "running_mean": Argument(Made(lambda: mv.Tensor(VECTOR)), instance(mv.Tensor)),
            "running_var": Argument(Made(lambda: mv.Tensor(VECTOR)), instance(mv.Tensor)),
            "weight": Argument(VECTOR, FLOAT_ARRAY),
            "bias": Argument(VECTOR, FLOAT_ARRAY),
            "training": Argument(True, FLAG),
            "momentum": Argument(0.1, number(0, 1)),
            "eps": eps,
        },
        extra={
            name: {
                "float64": mv.Tensor(VECTOR.astype(np.float64)),
                "shorter": mv.Tensor(VECTOR[:2]),
                "one number": mv.Tensor(np.float32(1)),
            }
            for name in ("running_mean", "running_var")
        },
    ),
    "dropout": elementwise(F.dropout, p=Argument(0.5, number(0, 1, "[)")), training=Argument(True, FLAG), noise=NOISE),
    "reparameterize": Row(F.reparameterize, {"mu": x, "log_var": Argument(-X, FLOAT_ARRAY), "noise": NOISE}),
    "quantize": Row(F.quantize, {"z": x, "codebook": Argument(X[::-1].copy(), FLOAT_ARRAY)}),
    "straight_through": Row(F.straight_through, {"z": x, "z_q": Argument(X + 1, FLOAT_ARRAY)}),
    "bernoulli_nll": Row(F.bernoulli_nll, {"logits": x, "x": Argument(X, FLOAT_ARRAY)}),
    "logistic_mixture_nll": Row(
        F.logistic_mixture_nll,
        {"output": Argument(MIXTURE, FLOAT_ARRAY), "x": Argument(MIXTURE[:, :1] * 0, FLOAT_ARRAY)},
    ),
    "continuous_bernoulli_nll": Row(F.continuous_bernoulli_nll, {"logits": x, "x": Argument(X, FLOAT_ARRAY)}),
    "continuous_bernoulli_mean": Row(F.continuous_bernoulli_mean, {"logits": x}),
    "gaussian_nll": Row(
        F.gaussian_nll, {"mean": x, "log_var": Argument(X, FLOAT_ARRAY), "x": Argument(X + 1, FLOAT_ARRAY)}
    ),
    "gaussian_kl": Row(F.gaussian_kl, {"mu": x, "log_var": Argument(X, FLOAT_ARRAY)}),
    "mse_loss": Row(F.mse_loss, {"prediction": x, "target": Argument(X + 1, FLOAT_ARRAY)}),
    "binary_cross_entropy_with_logits": Row(
        F.binary_cross_entropy_with_logits, {"logits": x, "target": Argument(X + 1, FLOAT_ARRAY)}
    ),
    "cross_entropy": Row(
        F.cross_entropy,
        {
            "logits": x,
            "target": Argument(np.array([1, 0]), INDEX_ARRAY),
            "reduction": Argument("sum", choice("mean", "sum", "none")),
        },
    ),
}
TABLE = {f"functional.{name}": row for name, row in FUNCTIONS.items()}
