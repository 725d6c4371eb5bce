"""Single operations, at sizes that occur in the models: products, norms, losses, nearest code, Adam and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from minivae.kernels.contract import Noise

from . import plain
from .backends import torch
from .rows import check, primitives, random, row, torch_devices, torch_tensor, waiter
from .timing import Run, Work

PRODUCTS = ((128, 784, 400), (128, 400, 784), (512, 784, 400), (6272, 512, 64), (25088, 16, 32), (1024, 1024, 1024))
EPS = 1e-5
PARAMETERS = (  # the shapes of the parameters of the dense VAE, 784-400-400-20
    *((400, 784), (400,), (400, 400), (400,), (40, 400), (40,)),
    *((400, 20), (400,), (400, 400), (400,), (784, 400), (784,)),
)


def gemm(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """Matrix products (M, K) @ (K, N) with the sizes of dense layers and convolutions."""
    for M, K, N in PRODUCTS[:4] if quick else PRODUCTS:
        yield row(
            f"gemm {M}x{K}x{N}",
            (random(M, K), random(K, N, seed=1)),
            gpu,
            lambda k, a, b: k.matmul(a, b),
            plain.matmul,
            lambda a, b: a @ b,
            flops=2.0 * M * K * N,
            bytes=4.0 * (M * K + K * N + M * N),
        )


def norms(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """Batch norm and group norm, forward, of a batch of feature maps."""
    F: Any = torch.nn.functional if torch is not None else None
    x = random(128, 14, 14, 32).transpose(0, 3, 1, 2)  # channels-last memory
    arrays, cost = (x, random(32, seed=1), random(32, seed=2)), 8.0 * x.size
    yield row(
        "batch_norm 128x32x14x14",
        arrays,
        gpu,
        lambda k, x, w, b: k.batch_norm(x, w, b, EPS)[0],
        lambda xp, x, w, b: plain.batch_norm(xp, x, w, b, EPS),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, EPS),
        bytes=cost,
    )
    yield row(
        "group_norm 128x32x14x14, 8 groups",
        arrays,
        gpu,
        lambda k, x, w, b: k.group_norm(x, w, b, 8, EPS)[0],
        lambda xp, x, w, b: plain.group_norm(xp, x, w, b, 8, EPS),
        lambda x, w, b: F.group_norm(x, 8, w, b, EPS),
        bytes=cost,
    )


def losses(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """The likelihoods of a batch of images, and the cross-entropy of a batch of codes."""
    F: Any = torch.nn.functional if torch is not None else None
    logits, log_var, pixels = random(128, 784), random(128, 784, seed=1), abs(np.sin(random(128, 784, seed=2)))
    rows, target = random(6272, 256), np.random.default_rng(4).integers(0, 256, 6272)
    yield row(
        "bernoulli_nll 128x784",
        (logits, pixels),
        gpu,
        lambda k, logits, x: k.bernoulli_nll(logits, x),
        plain.bernoulli_nll,
        lambda logits, x: F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1),
        bytes=8.0 * logits.size,
    )
    yield row(
        "gaussian_nll 128x784",
        (logits, log_var, pixels),
        gpu,
        lambda k, mean, log_var, x: k.gaussian_nll(mean, log_var, x),
        plain.gaussian_nll,
        lambda mean, log_var, x: F.gaussian_nll_loss(mean, x, log_var.exp(), full=True, reduction="none").sum(1),
        bytes=12.0 * logits.size,
    )
    yield row(
        "softmax_cross_entropy 6272x256",
        (rows, target),
        gpu,
        lambda k, logits, target: k.softmax_cross_entropy(logits, target),
        plain.softmax_cross_entropy,
        lambda logits, target: F.cross_entropy(logits, target, reduction="none"),
        bytes=4.0 * rows.size,
    )


def quantize(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """The nearest code for every position of the code maps (8, 8) of 32 images and of 128 images."""
    for M in (2048, 8192):
        yield row(
            f"nearest_code {M} of 512, D = 64",
            (random(M, 64), random(512, 64, seed=1)),
            gpu,
            lambda k, x, codes: k.nearest_code(x, codes),
            plain.nearest_code,
            lambda x, codes: (codes.pow(2).sum(1) / 2 - x @ codes.T).argmin(1),
            flops=2.0 * M * 512 * 64,
            bytes=4.0 * 64 * (M + 512) + 8.0 * M,
        )


def adam(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """One step of Adam for all parameters of the dense VAE."""
    settings = (3, 1e-3, (0.9, 0.999), 1e-8)

    def lists(make: Callable[[np.ndarray], Any]) -> list[list[Any]]:
        return [[make(np.abs(random(*s, seed=k))) for s in PARAMETERS] for k in range(4)]

    def stepper(update: Callable[..., None], make: Callable[[np.ndarray], Any], *rest: Any) -> Run:
        arrays = lists(make)

        def step() -> Any:
            update(*arrays, *settings, *rest)
            return arrays[0]

        return step

    candidates: dict[str, Run] = {
        column: stepper(k.adam_step, np.asarray, 0.0, False) for column, k in primitives().items()
    }
    if gpu is not None:
        candidates["CuPy"] = stepper(gpu.adam_step, gpu.asarray, 0.0, False)
        candidates["CuPy alone"] = stepper(partial(plain.adam_step, gpu.xp), gpu.asarray)
    for column, device in torch_devices().items():
        candidates[column] = _torch_adam(lists(partial(torch_tensor, device=device)), *settings)
    compared = {"plain NumPy": stepper(partial(plain.adam_step, np), np.asarray), **candidates}
    count = float(sum(np.prod(s) for s in PARAMETERS))
    name = f"Adam, {count / 1e6:.2f} M parameters"
    yield Work(name, candidates, partial(check, compared, gpu, 1e-4), bytes=28 * count, wait=waiter(gpu))


def _torch_adam(lists: list[list[Any]], step: int, lr: float, betas: tuple[float, float], eps: float) -> Run:
    """A function that does a step of fused torch.optim.Adam; the first has the number `step` and these moments."""
    params, grads, m, v = lists
    leaves = [torch.nn.Parameter(p) for p in params]
    optimizer = torch.optim.Adam(leaves, lr=lr, betas=betas, eps=eps, fused=True)
    for p, g, m_i, v_i in zip(leaves, grads, m, v, strict=True):
        p.grad = g
        before = torch.tensor(float(step - 1), device=p.device)
        optimizer.state[p] = {"step": before, "exp_avg": m_i, "exp_avg_sq": v_i}

    def run() -> Any:
        optimizer.step()
        return leaves

    return run


def noise(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """Philox words and normal numbers. CuPy and PyTorch use other generators: they are timed but not compared."""
    count, named = 1 << 18, Noise(0, 0)
    makers: dict[str, Callable[[Any], Any]] = {
        "random_bits": lambda k: k.random_bits(count, named),
        "normal": lambda k: k.normal((count,), np.dtype(np.float32), named),
    }
    for name, make in makers.items():
        candidates: dict[str, Run] = {column: partial(make, k) for column, k in primitives().items()}
        if gpu is not None:
            candidates["CuPy"] = partial(make, gpu)
        compared = dict(candidates)
        if name == "normal":
            if gpu is not None:
                candidates["CuPy alone"] = partial(gpu.xp.random.standard_normal, count, dtype=np.float32)
            for column, device in torch_devices().items():
                candidates[column] = partial(torch.randn, count, device=device)
        checked = partial(check, compared, gpu, 2e-6)
        yield Work(f"{name}, {count:,}", candidates, checked, bytes=4.0 * count, wait=waiter(gpu))
