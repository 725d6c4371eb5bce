"""Normalisation by batch (Ioffe & Szegedy 2015) and by group (Wu & He 2018); kernels/reference/norm.py derives both."""

from __future__ import annotations

from math import prod
from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag, integer, number, shown
from minivae.kernels.contract import Array
from minivae.shards import current_shard

from .arguments import check_dtypes
from .batch import batch_mean


class BatchNorm(Function):
    """It normalises by the statistics of this batch, and leaves mean and biased variance in the list `moments`."""

    moments: tuple[Array, Array]

    def forward(self, x: Array, *affine: Array, eps: float, moments: list[Array]) -> Array:
        weight, bias = affine or (None, None)
        y, mean, var = self.backend.batch_norm(x, weight, bias, eps)
        self.save(x, *affine[:1], mean, var)
        self.eps = eps
        moments += [mean, var]
        return y

    def backward(self, dy: Array) -> Any:
        x, *weight, mean, var = self.saved
        dx, dw, db = self.backend.batch_norm_grad(dy, x, weight[0] if weight else None, mean, var, self.eps)
        return (dx, dw, db)[: len(self.needs)]


class GroupNorm(Function):
    def forward(self, x: Array, *affine: Array, groups: int, eps: float) -> Array:
        weight, bias = affine or (None, None)
        y, mean, var = self.backend.group_norm(x, weight, bias, groups, eps)
        self.save(x, *affine[:1], mean, var)
        self.eps = eps
        return y

    def backward(self, dy: Array) -> Any:
        x, *weight, mean, var = self.saved
        dx, dw, db = self.backend.group_norm_grad(dy, x, weight[0] if weight else None, mean, var, self.eps)
        return (dx, dw, db)[: len(self.needs)]


def batch_norm(
    x: Any,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise x (N, C, ...) per channel over all other axes, multiply by weight (C,) and add bias (C,).

    training: use the batch's mean and variance, and move the running averages (in place) by `momentum` towards them,
    the variance in its unbiased form, as PyTorch does. Otherwise use the running averages, which must be given.
    Raises ValueError where shapes do not fit, where one value per channel leaves no variance to train on, where
    evaluation has no running averages, for an eps that is not above 0 and a momentum outside [0, 1].
    """
    x, eps, momentum = as_tensor(x), number("eps", eps, "(0, inf)"), number("momentum", momentum, "[0, 1]")
    affine = _affine("batch_norm", x, weight, bias)
    _check_averages(x, running_mean, running_var)
    if flag("training", training):
        shard = current_shard()
        count = (shard.batch or len(x)) * prod(x.shape[2:])
        if count < 2:
            raise ValueError(f"batch_norm needs more than one value per channel in training, got input {x.shape}")
        y, mean, var = _by_batch(x, affine, eps) if shard.batch is None else _by_shards(x, affine, eps)
        if running_mean is not None and running_var is not None and shard.leads:
            _move(running_mean, mean, momentum)
            _move(running_var, var * (count / (count - 1)), momentum)
        return y
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: evaluation (training=False) needs running_mean and running_var")
    centred = x - _column(running_mean.detach(), x)
    return _scaled(centred / _column((running_var.detach() + eps).sqrt(), x), affine)


def _by_batch(x: Tensor, affine: tuple[Tensor, ...], eps: float) -> tuple[Tensor, Array, Array]:
    """Normalise by the statistics of x, and return them too."""
    moments: list[Array] = []
    y = BatchNorm.apply(x, *affine, eps=eps, moments=moments)
    return y, *moments


def _by_shards(x: Tensor, affine: tuple[Tensor, ...], eps: float) -> tuple[Tensor, Array, Array]:
    """Normalise by the statistics of the whole batch, of which x is a shard, and return them too."""
    centred = x - _column(mean := _batch_mean(x), x)
    var = _batch_mean(centred * centred)
    return _scaled(centred / _column((var + eps).sqrt(), x), affine), mean.data, var.data


def _batch_mean(x: Tensor) -> Tensor:
    """(N, C, ...) -> (C,), the mean over all axes but the channel's and all shards."""
    return batch_mean(x.reshape(*x.shape[:2], -1).mean(axis=2))


def _column(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (C, 1, ...), which broadcasts with x (N, C, ...)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _scaled(x: Tensor, affine: tuple[Tensor, ...]) -> Tensor:
    return x * _column(affine[0], x) + _column(affine[1], x) if affine else x


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise x (N, C, ...) per example and group of C / num_groups channels, times weight (C,), plus bias (C,)."""
    x, eps, num_groups = as_tensor(x), number("eps", eps, "(0, inf)"), integer("num_groups", num_groups, 1)
    affine = _affine("group_norm", x, weight, bias)
    if x.shape[1] % num_groups:
        raise ValueError(f"group_norm: {num_groups} groups do not divide the {x.shape[1]} channels of input {x.shape}")
    return GroupNorm.apply(x, *affine, groups=num_groups, eps=eps)


def _check_averages(x: Tensor, *averages: Tensor | None) -> None:
    """Check that both are Tensors, since they are changed in place, or both None."""
    if (averages[0] is None) != (averages[1] is None):
        raise ValueError("batch_norm takes running_mean and running_var together or not at all, got None for one")
    for name, average in zip(("running_mean", "running_var"), averages, strict=True):
        if average is None:
            continue
        if not isinstance(average, Tensor):
            raise TypeError(f"batch_norm: {name} must be a Tensor, got {shown(average)}")
        if average.shape != (x.shape[1],):
            raise ValueError(f"batch_norm: {name} must have shape ({x.shape[1]},), got {average.shape}")
        check_dtypes("batch_norm", x, average)


def _move(average: Tensor, value: Array, momentum: float) -> None:
    array = average.inplace()
    array += momentum * (value - array)


def _affine(name: str, x: Tensor, weight: Any, bias: Any) -> tuple[Tensor, ...]:
    """Return (weight, bias) as Tensors that fit x, or an empty tuple if both are None."""
    if x.ndim < 2 or x.shape[1] < 1:
        raise ValueError(f"{name} needs input (N, C, ...), got shape {x.shape}")
    if (weight is None) != (bias is None):
        raise ValueError(f"{name} takes weight and bias together or not at all, got None for one of them")
    affine = () if weight is None else (as_tensor(weight), as_tensor(bias))
    for what, t in zip(("weight", "bias"), affine, strict=False):
        if t.shape != (x.shape[1],):
            raise ValueError(f"{name}: {what} must have shape ({x.shape[1]},) for input {x.shape}, got {t.shape}")
    check_dtypes(name, x, *affine)
    return affine
