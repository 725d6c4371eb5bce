"""mv.nn: a layer is made and applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minivae import nn

from .judge import Argument, Row, method
from .kinds import (
    DTYPE,
    EITHER,
    FLAG,
    FLOAT_ARRAY,
    INDEX_ARRAY,
    NONE,
    NUMBER_ARRAY,
    REFUSED,
    Kind,
    array,
    choice,
    instance,
    integer,
    integers,
    number,
    pair,
)
from .table_engine import DEVICE, FLOAT_ARRAY_ONLY, NUMBER_ARRAY_ONLY
from .table_functional import IMAGE, X

RNG = np.random.default_rng(1)
SIZE, GROUPS = integer(1), Argument(2, integer(1))
bias, dtype = Argument(True, FLAG), Argument(np.float32, DTYPE)
eps, momentum = Argument(1e-3, number(0, np.inf, "()")), Argument(0.3, number(0, 1))
relu = Argument(True, FLAG)
INDEX = np.array([1, 0, 1])
LATENTS = RNG.normal(size=(3, 4, 2)).astype(np.float32)
ROWS = RNG.normal(size=(12, 4)).astype(np.float32)


def _applied(layer: Callable[..., nn.Module], x: np.ndarray) -> Callable[..., Any]:
    """The layer's output, for x in the layer's dtype; and its state."""

    def make(*positional: Any, **keywords: Any) -> Any:
        module = layer(*positional, **keywords)
        floats = {t.dtype for _, t in module.named_tensors((nn.Parameter, nn.Buffer)) if t.dtype.kind == "f"}
        return module(x.astype(floats.pop()) if floats and x.dtype.kind == "f" else x), module

    return make


def made(layer: Any, x: np.ndarray, **arguments: Argument) -> Row:
    return Row(_applied(layer, x), arguments, public=layer)


def channels(**more: Argument) -> dict[str, Argument]:
    """What both convolution layers have."""
    return {
        "in_channels": Argument(4, SIZE),
        "out_channels": Argument(2, SIZE),
        "kernel_size": Argument(3, pair(1)),
        "stride": Argument(2, pair(1)),
        "padding": Argument(1, pair(0)),
        "dilation": Argument(1, pair(1)),
        "groups": GROUPS,
        "bias": bias,
        "dtype": dtype,
        **more,
    }


def of_signals(*left_out: str, **more: Argument) -> dict[str, Argument]:
    """What the convolution layers of signals have."""
    least = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    found = channels(**{name: Argument(2 if name == "kernel_size" else 1, integer(n)) for name, n in least.items()})
    return {name: argument for name, argument in {**found, **more}.items() if name not in left_out}


SIGNAL = IMAGE[:, :, 0].copy()
QUANTIZER = {
    "codes": Argument(3, SIZE),
    "dim": Argument(4, SIZE),
    "update": Argument("ema", choice("ema", "gradient")),
    "commitment": Argument(0.3, number(0)),
    "decay": Argument(0.9, number(0, 1, "()")),
    "restart": Argument(0.1, number(0, 1, "[)")),
    "eps": Argument(1e-4, number(0, np.inf, "()")),
    "dtype": dtype,
}
SOME_MODULES = Kind("Modules", lambda value: EITHER if isinstance(value, (list, tuple)) and not value else REFUSED)
CONSTRUCTORS = {
    "Linear": made(nn.Linear, X, in_features=Argument(4, SIZE), out_features=Argument(3, SIZE), bias=bias, dtype=dtype),
    "Conv2d": made(nn.Conv2d, IMAGE, **channels()),
    "ConvTranspose2d": made(nn.ConvTranspose2d, IMAGE, **channels(output_padding=Argument(1, pair(0)))),
    "Conv1d": made(nn.Conv1d, SIGNAL, **of_signals()),
    "CausalConv1d": made(nn.CausalConv1d, SIGNAL, **of_signals("stride", "padding")),
    "ConvTranspose1d": made(
        nn.ConvTranspose1d,
        SIGNAL,
        **of_signals(stride=Argument(2, integer(1)), output_padding=Argument(1, integer(0))),
    ),
    "BatchNorm2d": made(nn.BatchNorm2d, IMAGE, num_features=Argument(4, SIZE), eps=eps, momentum=momentum, dtype=dtype),
    "GroupNorm": made(nn.GroupNorm, IMAGE, num_groups=GROUPS, num_channels=Argument(4, SIZE), eps=eps, dtype=dtype),
    "Dropout": made(nn.Dropout, X, p=Argument(0.3, number(0, 1, "[)"))),
    "Embedding": made(
        nn.Embedding, INDEX, num_embeddings=Argument(3, SIZE), embedding_dim=Argument(4, SIZE), dtype=dtype
    ),
    "LeakyReLU": made(nn.LeakyReLU, X, negative_slope=Argument(0.2, number())),
    "MaxPool2d": made(
        nn.MaxPool2d,
        IMAGE,
        kernel_size=Argument(2, pair(1)),
        stride=Argument(2, pair(1) | NONE),
        padding=Argument(1, pair(0)),
    ),
    "Upsample": made(nn.Upsample, IMAGE, scale_factor=Argument(2, pair(1))),
    "Unflatten": made(nn.Unflatten, X, shape=Argument((2, 2), integers(1))),
    "Sequential": made(
        nn.Sequential,
        X,
        layers=Argument(
            (nn.Linear(4, 2), nn.ReLU()),
            Kind("layers", lambda value: EITHER if isinstance(value, tuple) and not value else REFUSED),
        ),
    ),
    "ModuleList": Row(nn.ModuleList, {"modules": Argument([nn.Linear(4, 2), nn.ReLU()], SOME_MODULES)}),
    "VectorQuantizer": made(nn.VectorQuantizer, LATENTS, **QUANTIZER),
    "ResidualVectorQuantizer": made(
        nn.ResidualVectorQuantizer, LATENTS, **QUANTIZER, stages=Argument(2, integer(1, 64))
    ),
    "FiniteScalarQuantizer": made(
        nn.FiniteScalarQuantizer, LATENTS, levels=Argument((3, 2, 3, 2), integers(2)), dtype=dtype
    ),
}
FORWARD: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "Linear": (lambda: nn.Linear(4, 3), X),
    "Conv2d": (lambda: nn.Conv2d(4, 2, 3), IMAGE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 2, 3), IMAGE),
    "Conv1d": (lambda: nn.Conv1d(4, 2, 3), SIGNAL),
    "CausalConv1d": (lambda: nn.CausalConv1d(4, 2, 3), SIGNAL),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 2, 3), SIGNAL),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "Dropout": (nn.Dropout, X),
    "LeakyReLU": (nn.LeakyReLU, X),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), IMAGE),
    "Upsample": (lambda: nn.Upsample(2), IMAGE),
    "Unflatten": (lambda: nn.Unflatten((2, 2)), X),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU()), X),
    **{name: (getattr(nn, name), X) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "Tanh")},
}


def forward(name: str) -> Row:
    make, x = FORWARD[name]
    cls = getattr(nn, name)
    with_relu = {"relu": relu} if hasattr(cls.forward, "takes_relu") else {}
    kind = NUMBER_ARRAY if name == "Unflatten" else FLOAT_ARRAY
    return method(cls, "forward", make, {"x": Argument(x, kind), **with_relu})


ROWS_KIND = array(
    "rows",
    ("float16", "float32", "float64", np.dtype(np.longdouble).name),
    same=True,
    tensors=False,
    not_finite="refused",
)
QUANTIZERS: dict[str, Callable[[], nn.Quantizer]] = {
    "VectorQuantizer": lambda: nn.VectorQuantizer(3, 4),
    "ResidualVectorQuantizer": lambda: nn.ResidualVectorQuantizer(3, 4, 2),
    "FiniteScalarQuantizer": lambda: nn.FiniteScalarQuantizer((3, 2, 3, 2)),
}


def quantizer(name: str) -> dict[str, Row]:
    make, latents = QUANTIZERS[name], {"z": Argument(LATENTS, FLOAT_ARRAY)}
    indices = {"indices": Argument(np.array([[1, 0], [2, 2]]), INDEX_ARRAY)}

    def initialized(rows: Any) -> Any:
        layer = make()
        layer.initialize(rows)
        return layer

    of_methods = {"forward": latents, "encode": latents, "decode": indices}
    rows = {method_: method(getattr(nn, name), method_, make, found) for method_, found in of_methods.items()}
    return {
        f"nn.{name}.{m}": row
        for m, row in {**rows, "initialize": Row(initialized, {"rows": Argument(ROWS, ROWS_KIND)})}.items()
    }


def _loaded(state: Any) -> Any:
    layer = nn.Linear(4, 3)
    layer.load_state_dict(state)
    return layer


def _buffer(array: Any, persistent: Any) -> Any:
    """The Tensor, and the state of a Module that has it."""
    module = nn.Module()
    module.buffer = nn.Buffer(array, persistent)
    return module.buffer, module


def _frozen(requires_grad: Any) -> Any:
    """Whether each Parameter requires gradients, as numbers."""
    return [p.requires_grad for p in nn.Linear(4, 3).requires_grad_(requires_grad).parameters()]


def _trained(mode: Any) -> Any:
    return nn.Sequential(nn.Dropout(0.5)).train(mode)(X)


def _state(**changed: Any) -> dict[str, Any]:
    return {**nn.Linear(4, 3).state_dict(), **changed}


WEIGHT = np.ones((3, 4), np.float32)
STATES = {
    "missing": {"weight": WEIGHT},
    "unexpected": _state(more=WEIGHT),
    "text": _state(weight="abc"),
    "None": _state(weight=None),
    "shape": _state(weight=WEIGHT.T),
    "float64": _state(weight=WEIGHT.astype(np.float64)),
    "nan": _state(weight=WEIGHT * np.nan),
    "inf": _state(bias=np.array([1, np.inf, 0], np.float32)),
    "masked": _state(weight=np.ma.masked_array(WEIGHT, WEIGHT > 0)),
}
NO_STATE = Kind("state", lambda value: REFUSED)

TABLE = {
    **{f"nn.{name}": row for name, row in CONSTRUCTORS.items()},
    **{f"nn.{name}.forward": forward(name) for name in FORWARD},
    "nn.Embedding.forward": method(
        nn.Embedding, "forward", lambda: nn.Embedding(3, 4), {"index": Argument(INDEX, INDEX_ARRAY)}
    ),
    "nn.Flatten.forward": method(nn.Flatten, "forward", nn.Flatten, {"x": Argument(IMAGE, NUMBER_ARRAY)}),
    **{row: value for name in QUANTIZERS for row, value in quantizer(name).items()},
    **{
        f"nn.{cls.__name__}.{name}": method(cls, name, cls, {argument: Argument(valid, kind)})
        for cls in (nn.ModuleList, nn.Sequential)
        for name, argument, valid, kind in (
            ("append", "module", nn.Linear(4, 2), instance(nn.Module)),
            ("extend", "modules", [nn.Linear(4, 2)], SOME_MODULES),
        )
    },
    "nn.Parameter": Row(nn.Parameter, {"array": Argument(X, FLOAT_ARRAY_ONLY)}),
    "nn.Buffer": Row(_buffer, {"array": Argument(X, NUMBER_ARRAY_ONLY), "persistent": Argument(True, FLAG)}),
    "nn.Module.requires_grad_": Row(_frozen, {"requires_grad": Argument(False, FLAG)}),
    "nn.Module.train": Row(_trained, {"mode": Argument(True, FLAG)}),
    "nn.Module.to": method(
        nn.Module,
        "to",
        lambda: nn.BatchNorm2d(4),
        {"device": Argument("cpu", DEVICE | NONE), "dtype": Argument(np.float64, DTYPE | NONE)},
    ),
    "nn.Module.load_state_dict": Row(
        _loaded, {"state": Argument(_state(weight=WEIGHT), NO_STATE)}, extra={"state": STATES}
    ),
}
