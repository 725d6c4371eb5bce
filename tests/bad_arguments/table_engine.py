"""Tensor with its operators, gradcheck, and the source of noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import minivae as mv
from minivae import random

from .judge import Argument, Made, Row, method
from .kinds import (
    ANY_DTYPE,
    DTYPE,
    EITHER,
    FLAG,
    FLOAT_ARRAY,
    FUNCTION,
    NONE,
    NUMBER_ARRAY,
    REFUSED,
    SEED,
    WHOLE,
    Kind,
    array,
    choice,
    instance,
    integers,
    number,
)
from .table_functional import ARGMAX, AXES, INDEX, LENGTHS, NOISE, ONE_AXIS_OR_DIM, REDUCTION, X


def tensor_method(name: str, **arguments: Argument) -> Row:
    errors = (IndexError,) if name == "__getitem__" else ()  # as Python's protocols want it
    return method(mv.Tensor, name, lambda: mv.Tensor(X), arguments, errors=errors)


def _gradient(dy: Any = None, retain_graph: Any = False) -> Any:
    x = mv.Tensor(X, requires_grad=True)
    y = x * x
    y.backward(dy, retain_graph)
    return x.grad


def _converted(device: Any = None, dtype: Any = None) -> Any:
    x = mv.Tensor(X)
    x.convert(device, dtype)
    return x


def _assigned(name: str) -> Any:
    def assign(value: Any) -> Any:
        x = mv.Tensor(X, requires_grad=True)
        setattr(x, name, value)
        return getattr(x, name)

    return assign


def _drawn(seed: Any) -> Any:
    mv.manual_seed(seed)
    return random.default_generator.uniform((3,))


def _forked(seed: Any) -> Any:
    with random.fork(seed):
        return random.current_generator().uniform((3,))


def _used(generator: Any) -> Any:
    with random.use_generator(generator):
        return random.current_generator().uniform((3,))


def _restored(state: Any) -> Any:
    generator = random.Generator(0)
    generator.load_state_dict(state)
    return generator.uniform((3,))


def _several(value: Any) -> Any:
    """Inputs of gradcheck: a list of float64 arrays, at least one."""
    return EITHER if isinstance(value, (list, tuple)) and value and isinstance(value[0], float) else REFUSED


OTHER = Argument(X + 1, NUMBER_ARRAY)
ARITHMETIC = ("add", "sub", "mul", "truediv", "pow")
COMPARISON = ("lt", "le", "gt", "ge", "eq", "ne")
DEVICE = choice("cpu")  # the other one needs a GPU
SHAPE = Argument((2, 3), integers(0, empty=True))
# What is assigned to a Tensor has its dtype, and a number alone is no array.
OWN = array("array of the Tensor's dtype", ("float32",), tensors=False, shape="either")
GENERATOR = {"shape": SHAPE, "dtype": Argument(np.float64, DTYPE), "device": Argument("cpu", DEVICE)}
NEEDS_A_GPU = (RuntimeError,)

NUMBER_ARRAY_ONLY = replace(NUMBER_ARRAY, tensors=False)  # a Tensor is no array
FLOAT_ARRAY_ONLY = replace(FLOAT_ARRAY, tensors=False)

TABLE = {
    "Tensor": Row(mv.Tensor, {"array": Argument(X, NUMBER_ARRAY_ONLY), "requires_grad": Argument(True, FLAG)}),
    "Tensor.data": Row(_assigned("data"), {"value": Argument(X + 1, OWN)}),
    "Tensor.grad": Row(_assigned("grad"), {"value": Argument(X + 1, OWN | NONE)}),
    "Tensor.requires_grad": Row(_assigned("requires_grad"), {"value": Argument(True, FLAG)}),
    "Tensor.backward": Row(
        _gradient, {"dy": Argument(X + 1, OWN), "retain_graph": Argument(True, FLAG)}, public=mv.Tensor.backward
    ),
    "Tensor.to": tensor_method("to", device=Argument("cpu", DEVICE)),
    "Tensor.convert": Row(
        _converted,
        {"device": Argument("cpu", DEVICE | NONE), "dtype": Argument(np.float64, ANY_DTYPE | NONE)},
        public=mv.Tensor.convert,
    ),
    **{f"Tensor.__{name}__": tensor_method(f"__{name}__", b=OTHER) for name in ARITHMETIC},
    **{f"Tensor.__r{name}__": tensor_method(f"__r{name}__", other=OTHER) for name in ARITHMETIC},
    **{f"Tensor.__{name}__": tensor_method(f"__{name}__", other=OTHER) for name in COMPARISON},
    "Tensor.__matmul__": tensor_method("__matmul__", b=Argument(X.T.copy(), FLOAT_ARRAY)),
    "Tensor.__rmatmul__": tensor_method("__rmatmul__", other=Argument(X.T.copy(), FLOAT_ARRAY)),
    "Tensor.__getitem__": tensor_method(
        "__getitem__", index=Argument(np.array([1, 0, 1]), array("index", ("bool", *WHOLE)) | INDEX)
    ),
    "Tensor.reshape": tensor_method("reshape", shape=Argument((4, 2), LENGTHS)),
    "Tensor.transpose": tensor_method("transpose", axes=Argument((1, 0), integers(-(2**31), empty=True) | NONE)),
    **{f"Tensor.{name}": tensor_method(name, **REDUCTION) for name in ("sum", "mean", "max", "min")},
    "Tensor.argmax": tensor_method("argmax", **ARGMAX),
    "Tensor.squeeze": method(mv.Tensor, "squeeze", lambda: mv.Tensor(X[:, :1]), AXES),
    "Tensor.unsqueeze": tensor_method("unsqueeze", **ONE_AXIS_OR_DIM),
    "Tensor.astype": tensor_method("astype", dtype=Argument(np.float64, ANY_DTYPE)),
    "gradcheck": Row(
        mv.gradcheck,
        {
            "fn": Argument(lambda x: x * x, FUNCTION),
            "inputs": Argument([X.astype(np.float64)], Kind("inputs", _several)),
            "eps": Argument(1e-6, number(0, 1, "(]")),
            "rtol": Argument(1e-5, number(0)),
            "atol": Argument(1e-7, number(0)),
        },
        errors=(mv.GradientError,),  # of a tolerance of 0
    ),
    "manual_seed": Row(_drawn, {"seed": Argument(3, SEED)}, public=mv.manual_seed),
    "random.manual_seed": Row(_drawn, {"seed": Argument(3, SEED)}, public=random.manual_seed),
    "random.fork": Row(_forked, {"seed": Argument(3, SEED)}, public=random.fork),
    "random.use_generator": Row(
        _used,
        {"generator": Argument(Made(lambda: random.Generator(3)), instance(random.Generator))},
        public=random.use_generator,
    ),
    "random.noise_or_next": Row(random.noise_or_next, {"noise": NOISE}),
    "random.Generator": Row(lambda seed: random.Generator(seed).uniform((3,)), {"seed": Argument(3, SEED)}),
    "random.Generator.manual_seed": Row(_drawn, {"seed": Argument(3, SEED)}, public=random.Generator.manual_seed),
    "random.Generator.load_state_dict": Row(
        _restored,
        {"state": Argument({"seed": 1, "draw": 2}, instance(dict))},
        public=random.Generator.load_state_dict,
        extra={"state": {str(v): v for v in ({"seed": 1.5, "draw": 0}, {"seed": 1, "draw": -1}, {"seed": 1})}},
    ),
    **{
        f"random.Generator.{name}": method(random.Generator, name, random.Generator, GENERATOR)
        for name in ("uniform", "normal")
    },
    "random.Generator.bernoulli": method(
        random.Generator,
        "bernoulli",
        random.Generator,
        {
            "p": Argument(0.3, number(0, 1)),
            "shape": Argument((2, 3), integers(0, empty=True) | NONE),
            "device": Argument("cpu", DEVICE),
        },
    ),
}
