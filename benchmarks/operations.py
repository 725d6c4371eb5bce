"""Single operations: products, convolutions, norms, losses, nearest code, Adam and noise, at the sizes of the models.

Columns: NumPy and CuPy are this project's kernels; CuPy alone is what CuPy offers without them; PyTorch is its better
memory format. GPU columns are there where a GPU is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from minivae.kernels import cpu
from minivae.kernels.contract import Noise
from minivae.kernels.geometry import ConvGeometry

from . import cases
from .backends import torch
from .timing import Run, Work, same

LAYOUTS = ("contiguous_format", "channels_last")


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _work(
    name: str,
    numpy: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    gpu: Any,
    other: Callable[..., Any] | None = None,
    cupy_alone: Callable[..., Any] | None = None,
    tolerance: float = 1e-4,
    **costs: float,
) -> Work:
    """The function named on the CPU backend and its namesake on the GPU; PyTorch's `other` on CPU tensors."""
    candidates: dict[str, Run] = {"NumPy": partial(numpy, *arrays)}
    if gpu is not None:
        there = tuple(map(gpu.asarray, arrays))
        candidates["CuPy"] = partial(getattr(gpu, numpy.__name__), *there)
        if cupy_alone is not None:
            candidates["CuPy alone"] = partial(cupy_alone, gpu.xp, *there)
    if torch is not None and other is not None:
        candidates["PyTorch"] = partial(other, *map(torch.from_numpy, arrays))
    return Work(name, candidates, partial(_check, candidates, gpu, tolerance), **costs, wait=_waiter(gpu))


def _check(candidates: dict[str, Run], gpu: Any, tolerance: float) -> None:
    same({name: host(run(), gpu) for name, run in candidates.items()}, tolerance)


def host(result: Any, gpu: Any) -> np.ndarray:
    """The first result of a candidate as an array of the host."""
    result = result[0] if isinstance(result, tuple) else result
    if torch is not None and isinstance(result, torch.Tensor):
        return result.detach().cpu().numpy()
    return result if isinstance(result, np.ndarray) or gpu is None else gpu.to_host(result)


def _waiter(gpu: Any) -> Callable[[], None]:
    if gpu is None:
        return lambda: None
    return lambda: gpu.launcher.engine().synchronize()


def gemm(gpu: Any) -> Iterator[Work]:
    """Products as the dense layers and the convolutions make them."""
    for M, K, N in ((128, 784, 400), (128, 400, 784), (512, 784, 400), (6272, 512, 64), (25088, 16, 32), (1024,) * 3):
        a, b = _random(M, K), _random(K, N, seed=1)
        matmul = torch.matmul if torch is not None else None
        name = f"gemm {M}x{K}x{N}"
        costs = {"flops": 2.0 * M * K * N, "bytes": 4.0 * (M * K + K * N + M * N)}
        yield _work(name, cpu.matmul, (a, b), gpu, matmul, lambda xp, a, b: xp.matmul(a, b), **costs)


def conv(gpu: Any) -> Iterator[Work]:
    """Three passes of each layer at batch 32, the transposed convolution being the input gradient."""
    for layer in cases.LAYERS:
        g = layer.geometry(32)
        flops = 2.0 * g.N * g.OH * g.OW * g.O * g.C * g.KH * g.KW
        sizes = [float(np.prod(s)) for s in (g.x_shape, g.w_shape, g.y_shape)]
        for which, name in enumerate(("forward", "input gradient", "weight gradient")):
            candidates = _passes(g, which, gpu)
            check = partial(_check, candidates, gpu, 1e-3)
            yield Work(f"conv {layer}: {name}", candidates, check, flops, 4 * sum(sizes), _waiter(gpu))


def _passes(g: ConvGeometry, which: int, gpu: Any) -> dict[str, Run]:
    x, w, dy = (_random(*shape, seed=i) for i, shape in enumerate((g.x_shape, g.w_shape, g.y_shape)))
    x, dy = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, dy))
    name = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")[which]
    arrays = ((x, w), (dy, w), (dy, x))[which]
    rest = (None, g) if which < 2 else (g,)
    candidates: dict[str, Run] = {"NumPy": partial(getattr(cpu, name), *arrays, *rest)}
    if gpu is not None:
        candidates["CuPy"] = partial(getattr(gpu, name), *map(gpu.asarray, arrays), *rest)
    for layout in LAYOUTS if torch is not None else ():
        memory_format = getattr(torch, layout)
        tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(memory_format=memory_format) for a in (x, w, dy)]
        candidates[f"PyTorch {layout}"] = _torch_pass(*tensors, g, which)
    return candidates


def _torch_pass(x: Any, w: Any, dy: Any, g: ConvGeometry, which: int) -> Run:
    if which == 0:
        return lambda: torch.nn.functional.conv2d(x, w, None, g.stride, g.padding, g.dilation, g.groups)
    mask = [which == 1, which == 2, False]
    backward = torch.ops.aten.convolution_backward
    rest = (None, g.stride, g.padding, g.dilation, False, (0, 0), g.groups, mask)
    return lambda: backward(dy, x, w, *rest)[which - 1]


def pointwise(gpu: Any) -> Iterator[Work]:
    """Norms, losses, quantisation, optimiser and noise: what waits for memory."""
    F = torch.nn.functional if torch is not None else None
    x = np.ascontiguousarray(_random(128, 14, 14, 32)).transpose(0, 3, 1, 2)
    w, b = _random(32, seed=1), _random(32, seed=2)
    size = 4.0 * x.size

    def torch_batch_norm(x: Any) -> Any:
        return F.batch_norm(x, None, None, torch.from_numpy(w), torch.from_numpy(b), True, 0.1, 1e-5)

    def batch_norm(x: Any) -> Any:
        kernels = cpu if isinstance(x, np.ndarray) else gpu
        return kernels.batch_norm(x, kernels.asarray(w), kernels.asarray(b), 1e-5)

    yield _pointwise("batch_norm 128x32x14x14", batch_norm, (x,), gpu, torch_batch_norm, bytes=2 * size)
    logits, pixels = _random(128, 784), np.random.default_rng(3).random((128, 784), dtype=np.float32)

    def torch_nll(logits: Any, x: Any) -> Any:
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)

    yield _work("bernoulli_nll 128x784", cpu.bernoulli_nll, (logits, pixels), gpu, torch_nll, _cupy_nll, bytes=8e5)
    rows, target = _random(6272, 256), np.random.default_rng(4).integers(0, 256, 6272)

    def torch_cross_entropy(logits: Any, target: Any) -> Any:
        return F.cross_entropy(logits, target, reduction="none")

    name = "softmax_cross_entropy 6272x256"
    yield _work(name, cpu.softmax_cross_entropy, (rows, target), gpu, torch_cross_entropy, bytes=4.0 * rows.size)
    latents, codes = _random(8192, 64), _random(512, 64, seed=1)

    def torch_nearest(x: Any, codes: Any) -> Any:
        return (codes.pow(2).sum(1) / 2 - x @ codes.T).argmin(1)

    flops = 2.0 * 8192 * 512 * 64
    yield _work("nearest_code 8192 of 512, D = 64", cpu.nearest_code, (latents, codes), gpu, torch_nearest, flops=flops)


def _pointwise(
    name: str, run: Callable[..., Any], arrays: tuple[np.ndarray, ...], gpu: Any, other: Any, **costs: float
) -> Work:
    candidates: dict[str, Run] = {"NumPy": partial(run, *arrays)}
    if gpu is not None:
        candidates["CuPy"] = partial(run, *map(gpu.asarray, arrays))
    if torch is not None and other is not None:
        candidates["PyTorch"] = partial(other, *map(torch.from_numpy, arrays))
    return Work(name, candidates, partial(_check, candidates, gpu, 1e-3), **costs, wait=_waiter(gpu))


def _cupy_nll(xp: Any, logits: Any, x: Any) -> Any:
    return (xp.maximum(logits, 0) - x * logits + xp.log1p(xp.exp(-xp.abs(logits)))).sum(axis=1)


def adam(gpu: Any) -> Iterator[Work]:
    """One step over the parameters of the dense VAE."""
    shapes = [(400, 784), (400,), (400, 400), (400,), (40, 400), (400, 20), (400, 400), (784, 400), (784,)]
    settings = (3, 1e-3, (0.9, 0.999), 1e-8, 0.0, False)

    def lists(make: Callable[[np.ndarray], Any]) -> list[list[Any]]:
        return [[make(np.abs(_random(*s, seed=k))) for s in shapes] for k in range(4)]

    def stepper(kernels: Any) -> Run:
        arrays = lists(kernels.asarray)

        def step() -> Any:
            kernels.adam_step(*arrays, *settings)
            return arrays[0][0]

        return step

    candidates: dict[str, Run] = {"NumPy": stepper(cpu)}
    if gpu is not None:
        candidates["CuPy"] = stepper(gpu)
    if torch is not None:
        candidates["PyTorch"] = _torch_adam(lists(torch.from_numpy), settings)
    count = float(sum(np.prod(s) for s in shapes))
    check = partial(_check, candidates, gpu, 1e-4)
    yield Work(f"Adam, {count / 1e6:.2f} M parameters", candidates, check, bytes=28 * count, wait=_waiter(gpu))


def _torch_adam(lists: list[list[Any]], settings: tuple[Any, ...]) -> Run:
    """torch.optim.Adam (fused) from the same moments."""
    params, grads, first, second = lists
    step, lr, betas, eps, *_ = settings
    leaves = [torch.nn.Parameter(p) for p in params]
    optimizer = torch.optim.Adam(leaves, lr=lr, betas=betas, eps=eps, fused=True)
    for p, g, m, v in zip(leaves, grads, first, second, strict=True):
        p.grad = g
        optimizer.state[p] = {"step": torch.tensor(float(step - 1)), "exp_avg": m, "exp_avg_sq": v}

    def run() -> Any:
        for p in leaves:
            optimizer.state[p]["step"].fill_(float(step - 1))
        optimizer.step()
        return leaves[0]

    return run


def noise(gpu: Any) -> Iterator[Work]:
    """Philox words and normal numbers. PyTorch's generators are others, so they are timed and not compared."""
    count, named = 1 << 18, Noise(0, 0)
    for name, make in (("random_bits", lambda k: k.random_bits(count, named)), ("normal", _normal(count, named))):
        candidates: dict[str, Run] = {"NumPy": partial(make, cpu)}
        if gpu is not None:
            candidates["CuPy"] = partial(make, gpu)
        check = partial(_check, dict(candidates), gpu, 2e-6)
        if torch is not None and name == "normal":
            candidates["PyTorch"] = partial(torch.randn, count)
        yield Work(f"{name}, {count:,}", candidates, check, bytes=4.0 * count, wait=_waiter(gpu))


def _normal(count: int, named: Noise) -> Callable[[Any], Any]:
    return lambda k: k.normal((count,), np.dtype(np.float32), named)
