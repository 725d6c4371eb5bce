"""Layers, forward and backward through the autograd engine; minivae.nn and torch.nn have the same names for them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minivae as mv

from .backends import CPU, torch
from .rows import channels_last, check, on_cpu, random, torch_arguments, waiter
from .timing import Run, Work


class Case(NamedTuple):
    """The name of a layer in minivae.nn and in torch.nn, its arguments, and the shape of its input."""

    kind: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]

    def make(self, nn: Any) -> Any:
        return getattr(nn, self.kind)(**self.arguments)

    def __str__(self) -> str:
        arguments = ", ".join(map(str, self.arguments.values()))
        return f"{self.kind}({arguments}) of {'x'.join(map(str, self.shape))}"


def _conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    return dict(zip(names, (inputs, outputs, kernel, stride, padding), strict=True))


CASES = (
    Case("Conv2d", _conv(16, 32, 3, 1, 1), (32, 16, 28, 28)),
    Case("Linear", {"in_features": 784, "out_features": 400}, (128, 784)),
    Case("ReLU", {}, (128, 32, 14, 14)),
    Case("Conv2d", _conv(1, 32, 4, 2, 1), (128, 1, 28, 28)),
    Case("Conv2d", _conv(32, 64, 4, 2, 1), (128, 32, 14, 14)),
    Case("ConvTranspose2d", _conv(64, 32, 4, 2, 1), (128, 64, 7, 7)),
    Case("ConvTranspose2d", _conv(32, 1, 4, 2, 1), (128, 32, 14, 14)),
    Case("BatchNorm2d", {"num_features": 32}, (128, 32, 14, 14)),
    Case("GroupNorm", {"num_groups": 8, "num_channels": 32}, (128, 32, 14, 14)),
    Case("GELU", {}, (128, 32, 14, 14)),
    Case("SiLU", {}, (128, 32, 14, 14)),
    Case("MaxPool2d", {"kernel_size": 2}, (128, 32, 14, 14)),
    Case("Upsample", {"scale_factor": 2}, (128, 32, 7, 7)),
)


def layers(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """Layers, forward and backward: the output and the gradients of the input and of the weights.

    The row of the first layer, a convolution, also times the three matrix products that its passes consist of.
    """
    for i, case in enumerate(CASES[:3] if quick else CASES):
        mv.manual_seed(0)
        layer = case.make(mv.nn)
        state = layer.state_dict()
        x = random(*case.shape)
        dy = random(*layer(x).shape, seed=1)
        if x.ndim == 4:
            x, dy = channels_last(x), channels_last(dy)
        candidates: dict[str, Run] = {column: on_cpu(column, _ours(layer, x, dy, "cpu")) for column in CPU}
        if gpu is not None:
            moved = case.make(mv.nn)
            moved.load_state_dict(state)
            candidates["CuPy"] = _ours(moved.to("cuda"), x, dy, "cuda")
        for column, (tensor, upstream) in torch_arguments((x, dy)):
            candidates[column] = _theirs(case, state, tensor, upstream)
        checked = partial(check, dict(candidates), gpu, 1e-3)
        if i == 0:
            candidates["three bare products of NumPy"] = _bare_products(case)
        yield Work(str(case), candidates, checked, wait=waiter(gpu))


def _ours(layer: Any, x: np.ndarray, dy: np.ndarray, device: str) -> Run:
    leaf = mv.Tensor(x, requires_grad=True).to(device)
    upstream = mv.Tensor(dy).to(device).data

    def run() -> list[Any]:
        leaf.grad = None
        layer.zero_grad()
        y = layer(leaf)
        y.backward(upstream)
        return [y.data, leaf.grad, *(p.grad for p in layer.parameters())]

    return run


def _theirs(case: Case, state: dict[str, np.ndarray], x: Any, dy: Any) -> Run:
    layer = case.make(torch.nn)
    layer.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    layer.to(x.device)
    leaf = x.detach().requires_grad_()

    def run() -> list[Any]:
        leaf.grad = None
        layer.zero_grad(set_to_none=True)
        y = layer(leaf)
        y.backward(dy)
        return [y, leaf.grad, *(p.grad for p in layer.parameters())]

    return run


def _bare_products(case: Case) -> Run:
    """The matrix products of the three passes of a convolution that keeps H and W, on matrices that exist already."""
    N, C, H, W = case.shape
    OC, taps = case.arguments["out_channels"], case.arguments["kernel_size"] ** 2
    columns, w, dy = random(N * H * W, C * taps), random(C * taps, OC), random(N * H * W, OC)

    def run() -> None:
        columns @ w
        dy @ w.T
        columns.T @ dy

    return run
