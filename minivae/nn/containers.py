"""Containers of Modules: Sequential applies them one after another, ModuleList only holds them.

The i-th Module is the attribute str(i), hence a child like any other, with the weights "0.weight", "0.bias", ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any, TypeVar, overload

from minivae.kernels.checks import shown

from .layers import ReLU
from .module import Module

N = TypeVar("N", bound="Numbered")


class Numbered(Module):
    """A Module that behaves like a list of Modules: it has len(), iteration, indices and slices."""

    def append(self: N, module: Module) -> N:
        """Add a Module at the end and return this one. TypeError for what is no Module."""
        return self.extend([module])

    def extend(self: N, modules: Iterable[Module]) -> N:
        """Add Modules at the end and return this one. TypeError for what is no Module; then nothing is added."""
        name = type(self).__name__
        try:
            iterator = iter(modules)
        except TypeError:
            raise TypeError(f"{name} must be given Modules to iterate over, got {shown(modules)}") from None
        added = list(iterator)
        for i, module in enumerate(added, len(self)):
            if not isinstance(module, Module):
                raise TypeError(f"{name}: layer {i} must be a Module, got {shown(module)} in {shown(modules)}")
        numbers = [int(name) for name, _ in self.named_children() if name.isdigit()]
        for i, module in enumerate(added, max(numbers, default=-1) + 1):
            setattr(self, str(i), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self: N, index: slice) -> N: ...
    def __getitem__(self, index: int | slice) -> Any:
        """The Module of this number, or IndexError. A slice is a copy of this container with some of its Modules, which
        are shared and numbered from 0."""
        found = list(self.children())[index]
        if isinstance(found, Module):
            return found
        part = copy(self)
        for name, _ in self.named_children():
            delattr(part, name)
        return part.extend(found)


class ModuleList(Numbered):
    """A list of Modules that belongs to the tree: what it holds is trained, moved and saved. It computes nothing.

    modules: any iterable of Modules. Raises TypeError for what is no Module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)


def _takes_relu(layer: Module) -> bool:
    """Whether a call of the layer is a call of a function with the mark takes_relu, not of a wrapper around it."""
    forward = getattr(layer.forward, "__func__", None)
    marked = forward is not None and getattr(forward, "takes_relu", None) is forward
    return marked and type(layer).__call__ is Module.__call__


class Sequential(Numbered):
    """Layers that are applied one after another. Raises TypeError for what is no Module."""

    def __init__(self, *layers: Module) -> None:
        self.extend(layers)

    def forward(self, x: Any) -> Any:
        """Return the last layer's output. A layer that can compute the ReLU behind it in its own pass does so."""
        waiting = list(self.children())[::-1]
        while waiting:
            layer = waiting.pop()
            if waiting and type(waiting[-1]) is ReLU and _takes_relu(layer):
                waiting.pop()
                x = layer(x, relu=True)
            else:
                x = layer(x)
        return x
