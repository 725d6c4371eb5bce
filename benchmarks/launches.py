"""One small launch of every CUDA kernel, on integers, to compare the GPU with the emulator and to run the sanitizer.

    python -m benchmarks.launches           every launch once on the GPU, to be run under compute-sanitizer

Sums and products of small integers are exact in any order. So two machines that run the same kernel must agree in every
bit, unless the kernel uses functions such as exp and log (then `exact` is False).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, NamedTuple

import numpy as np

from minivae import kernels
from minivae.kernels import cuda
from minivae.kernels.contract import Noise
from minivae.kernels.cuda import ladder, launcher, live
from minivae.kernels.cuda.settings import settings
from minivae.kernels.geometry import conv2d_geometry

Arrays = list[np.ndarray]


class Launch(NamedTuple):
    """run(k, a) calls the backend k and returns its arrays; a() converts a host array into an array of the backend."""

    name: str
    run: Callable[[Any, Callable[[np.ndarray], Any]], Any]
    exact: bool = True


def integers(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Random integers from -4 to 4."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def _matrices() -> Iterator[Launch]:
    for step in ladder.STEPS:
        yield Launch(f"ladder {step}", lambda k, a, s=step: ladder.gemm(s, a(integers(70, 33)), a(integers(33, 45))))
    yield Launch("gemm", lambda k, a: k.matmul(a(integers(70, 33)), a(integers(33, 45))))
    yield Launch("gemm tf32", lambda k, a: _with_tf32(lambda: k.matmul(a(integers(70, 33)), a(integers(33, 45)))))
    yield Launch("gemm, split K", lambda k, a: k.matmul(a(integers(20, 600)), a(integers(600, 30))))
    yield Launch("reduce_sum", lambda k, a: k.reduce_sum(a(integers(50, 300)), (0,), False))
    index = np.random.default_rng(1).integers(0, 9, 700)
    yield Launch("segment_sum", lambda k, a: k.segment_sum(a(integers(700, 40)), a(index), 9))
    yield Launch("nearest_code", lambda k, a: k.nearest_code(a(integers(200, 17)), a(integers(90, 17, seed=1))))


def _convolutions() -> Iterator[Launch]:
    for name, x, w, stride in (
        ("channels divisible by 4", (2, 24, 9, 9), (40, 24, 3, 3), 1),
        ("channels not divisible by 4", (2, 19, 9, 9), (40, 19, 4, 4), 2),
        ("few channels", (2, 1, 12, 12), (20, 1, 4, 4), 2),
        ("few outputs", (2, 32, 6, 6), (3, 32, 3, 3), 1),
    ):
        g = conv2d_geometry(x, w, stride, 1, 1, 1)
        bias, dy = integers(g.OC, seed=2), integers(*g.y_shape, seed=3)

        def forward(k: Any, a: Any, g: Any = g, bias: Any = bias) -> Any:
            return k.conv2d(a(integers(*g.x_shape)), a(integers(*g.w_shape)), a(bias), g)

        def input_grad(k: Any, a: Any, g: Any = g, dy: Any = dy) -> Any:
            return k.conv2d_input_grad(a(dy), a(integers(*g.w_shape)), None, g)

        def weight_grad(k: Any, a: Any, g: Any = g, dy: Any = dy) -> Any:
            return k.conv2d_weight_grad(a(dy), a(integers(*g.x_shape)), g)

        yield Launch(f"conv2d, {name}", forward)
        yield Launch(f"conv2d_input_grad, {name}", input_grad)
        yield Launch(f"conv2d_weight_grad, {name}", weight_grad)
    g = conv2d_geometry((2, 8, 7, 7), (8, 8, 3, 3), 1, 1, 1, 1)
    x, w, dy = integers(*g.x_shape), integers(*g.w_shape), integers(*g.y_shape)
    yield Launch("ladder convolution", lambda k, a: ladder.conv2d(a(x), a(w), g))
    yield Launch("conv2d tf32", lambda k, a: _with_tf32(lambda: k.conv2d(a(x), a(w), None, g)))
    yield Launch("conv2d_weight_grad tf32", lambda k, a: _with_tf32(lambda: k.conv2d_weight_grad(a(dy), a(x), g)))


def _with_tf32(run: Callable[[], Any]) -> Any:
    before, settings.allow_tf32 = settings.allow_tf32, True
    try:
        return run()
    finally:
        settings.allow_tf32 = before


def _activations() -> Iterator[Launch]:
    x, dy = integers(4, 6, 5, 5), integers(4, 6, 5, 5, seed=1)
    for name in ("sigmoid", "tanh", "softplus", "silu", "gelu", "erf"):
        yield Launch(name, lambda k, a, name=name: getattr(k, name)(a(x)), exact=False)
        if name != "erf":
            yield Launch(f"{name}_grad", lambda k, a, name=name: getattr(k, f"{name}_grad")(a(dy), a(x)), exact=False)


def _resampling() -> Iterator[Launch]:
    x = integers(3, 5, 6, 8)
    window = (3, 2), (2, 1), (1, 1)

    def pooled(k: Any, a: Any) -> Any:
        y, winner = k.max_pool2d(a(x), *window)
        return y, winner, k.max_pool2d_grad(y, winner, x.shape, *window)

    yield Launch("max_pool2d and gradient", pooled)
    yield Launch("upsample", lambda k, a: k.upsample(a(x), (2, 3)))
    yield Launch("upsample_grad", lambda k, a: k.upsample_grad(a(x), (2, 4)))


def _norms() -> Iterator[Launch]:
    x, dy, w, b = integers(4, 6, 5, 5), integers(4, 6, 5, 5, seed=1), integers(6, seed=2), integers(6, seed=3)

    def batch(k: Any, a: Any) -> Any:
        y, mean, var = k.batch_norm(a(x), a(w), a(b), 1e-5)
        return y, mean, var, *k.batch_norm_grad(a(dy), a(x), a(w), mean, var, 1e-5)

    def group(k: Any, a: Any) -> Any:
        y, mean, var = k.group_norm(a(x), a(w), a(b), 2, 1e-5)
        return y, mean, var, *k.group_norm_grad(a(dy), a(x), a(w), mean, var, 1e-5)

    tiny = x * np.float32(1e-39)  # subnormal numbers, which are zero on a GPU: CuPy compiles with -ftz=true
    yield Launch("relu_grad, subnormal", lambda k, a: k.relu_grad(a(tiny), a(np.ones_like(x))), exact=False)
    yield Launch("bias_relu", lambda k, a: k.bias_relu(a(x), a(w)))
    yield Launch("relu_grad", lambda k, a: k.relu_grad(a(dy), a(x)))
    yield Launch("batch_norm and gradient", batch, exact=False)
    yield Launch("group_norm and gradient", group, exact=False)


def _likelihoods() -> Iterator[Launch]:
    logits, x, dy = integers(6, 1, 9, 9), np.abs(integers(6, 1, 9, 9, seed=1)) / 4, integers(6, seed=2)
    rows, target = integers(30, 50), np.arange(30)
    many = integers(30, seed=3)

    def gaussian(k: Any, a: Any) -> Any:
        arrays = a(logits), a(integers(6, 1, 9, 9, seed=4)), a(x)
        return k.gaussian_nll(*arrays), *k.gaussian_nll_grad(a(dy), *arrays)

    def mixture(k: Any, a: Any) -> Any:
        arrays = a(integers(6, 1, 3, 4, 81, seed=5)), a(levels)
        return k.logistic_mixture_nll(*arrays), k.logistic_mixture_nll_grad(a(dy), *arrays)

    levels = np.rint(np.abs(integers(6, 1, 81, seed=1)) / 4 * 255) / np.float32(255)
    yield Launch("logistic_mixture_nll and gradient", mixture, exact=False)
    yield Launch("bernoulli_nll", lambda k, a: k.bernoulli_nll(a(logits), a(x)), exact=False)
    yield Launch("bernoulli_nll_grad", lambda k, a: k.bernoulli_nll_grad(a(dy), a(logits), a(x)), exact=False)
    yield Launch("gaussian_nll and gradient", gaussian, exact=False)
    yield Launch("softmax_cross_entropy", lambda k, a: k.softmax_cross_entropy(a(rows), a(target)), exact=False)
    yield Launch(
        "softmax_cross_entropy_grad",
        lambda k, a: k.softmax_cross_entropy_grad(a(many), a(rows), a(target)),
        exact=False,
    )


def _noise() -> Iterator[Launch]:
    noise, mu, log_var = Noise(2**40 + 3, 7), integers(9, 5), integers(9, 5, seed=1)
    yield Launch("random_bits", lambda k, a: k.random_bits(1003, noise))
    yield Launch("uniform", lambda k, a: k.uniform((101,), np.float32, noise))
    yield Launch("uniform, float64", lambda k, a: k.uniform((101,), np.float64, noise))
    yield Launch("normal", lambda k, a: k.normal((101,), np.float32, noise), exact=False)
    yield Launch("reparameterize", lambda k, a: k.reparameterize(a(mu), a(log_var), noise), exact=False)
    yield Launch("reparameterize_grad", lambda k, a: k.reparameterize_grad(a(mu), a(log_var), noise), exact=False)


def _optimisers() -> Iterator[Launch]:
    shapes = [(3, 5), (4500,), (1,)]

    def lists(a: Any, count: int) -> list[list[Any]]:
        return [[a(np.abs(integers(*s, seed=seed))) for s in shapes] for seed in range(count)]

    def sgd(k: Any, a: Any) -> Any:
        p, g, v = lists(a, 3)
        k.sgd_step(p, g, v, 0.5, 0.5, 0.0, True)
        return [*p, *v]

    def adam(k: Any, a: Any) -> Any:
        p, g, m, v = lists(a, 4)
        k.adam_step(p, g, m, v, 3, 0.1, (0.5, 0.75), 1e-8, 0.5, True)
        return [*p, *m, *v]

    def norm(k: Any, a: Any) -> Any:
        return k.global_norm(lists(a, 1)[0])

    def words(k: Any, a: Any) -> Any:
        numbers = live.LiveNumbers()
        arrays = [numbers.add("uint64", lambda: 5), numbers.add("float64", lambda: 0.25)]
        numbers.update()
        return arrays

    yield Launch("sgd_step", sgd)
    yield Launch("adam_step", adam, exact=False)
    yield Launch("global_norm", norm)
    yield Launch("write_words", words)


GROUPS = (_matrices, _convolutions, _activations, _resampling, _norms, _likelihoods, _noise, _optimisers)
LAUNCHES = [launch for group in GROUPS for launch in group()]


def results(launch: Launch) -> Arrays:
    """The results of a launch with the engine in use, as host arrays."""
    k = kernels.backend("cuda")
    found = launch.run(k, k.asarray)
    return [k.to_host(array) for array in (found if isinstance(found, (tuple, list)) else [found])]


def kernel_names() -> set[str]:
    """The names of all kernels in the CUDA backend."""
    names = set()
    for info in walk_packages(cuda.__path__, f"{cuda.__name__}."):
        python = import_module(info.name)
        for module in (getattr(python, "MODULE", None), *getattr(python, "MODULES", {}).values()):
            if isinstance(module, launcher.Module):
                names |= set(module.declarations)
    return names


def main() -> None:
    """Run all launches, with one cudaMalloc per array: in CuPy's pool memcheck misses accesses to the next array."""
    engine: Any = launcher.engine()
    engine.xp.cuda.set_allocator(None)
    for each in LAUNCHES:
        results(each)
        print(each.name, flush=True)
    engine.synchronize()


if __name__ == "__main__":
    main()
