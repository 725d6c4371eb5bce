"""The public names of the package, found and not listed."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import minivae as mv
import minivae.random
from minivae.nn.module import Module

from .judge import parameters_of

MODULES: dict[str, ModuleType] = {
    "functional": mv.functional,
    "nn": mv.nn,
    "optim": mv.optim,
    "models": mv.models,
    "training": mv.training,
    "uses": mv.uses,
    "datasets": mv.datasets,
    "cuda": mv.cuda,
    "random": minivae.random,
}
OPERATORS = ("__init__", "__repr__", "__array__")  # of the special methods all but these are looked at


def public() -> dict[str, Any]:
    """Every public function, class and method by name: 'functional.relu', 'models.VAE', 'models.VAE.fit'."""
    found: dict[str, Any] = {}
    for name in mv.__all__:
        value = getattr(mv, name)
        if not isinstance(value, ModuleType):
            found |= _with_methods(name, value)
    for prefix, module in MODULES.items():
        for name in getattr(module, "__all__", None) or _own(module):
            value = getattr(module, name)
            if callable(value):
                found |= _with_methods(f"{prefix}.{name}", value)
    return found


def _own(module: ModuleType) -> list[str]:
    """What a module without __all__ defines under a public name."""
    return [
        n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == module.__name__
    ]


def _with_methods(name: str, value: Any) -> dict[str, Any]:
    found = {name: value}
    if inspect.isclass(value):
        for method, function in _methods(value).items():
            found[f"{name}.{method}"] = function
    return found


def _methods(cls: type) -> dict[str, Any]:
    """The methods that a class or a base of it in this package defines, but for those of Module, which has a row."""
    methods: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] != "minivae" or (base is Module and cls is not Module):
            continue
        for name, value in vars(base).items():
            special = name.startswith("__") and name not in OPERATORS and cls is mv.Tensor
            if callable(getattr(cls, name, None)) and (special or not name.startswith("_")) and value is not None:
                methods[name] = getattr(cls, name)
    if cls is not Module and issubclass(cls, Module):
        methods = {n: m for n, m in methods.items() if n not in vars(Module) or n == "forward"}
    if issubclass(cls, mv.Tensor) and cls is not mv.Tensor:
        return {}
    return methods


def parameters(name: str, function: Any) -> list[str]:
    """The names of its parameters, without self, which operations that are methods of the Tensor call otherwise."""
    names = list(parameters_of(function))
    method = names[:1] == ["self"] or (name.startswith("Tensor.") and inspect.isfunction(function))
    return names[1:] if method else names
