"""Is it fast? Matrix products, convolutions, nearest codes, training steps, and a whole training."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import minivae as mv
from minivae import kernels
from minivae.kernels.cuda import ladder, launcher

from .. import cases
from ..launches import integers
from ..steps import own_step
from .machine import Machine, Rows


def gemm_ladder(machine: Machine) -> Rows:
    """TFLOP/s of n x n matrix products: each step of the ladder, matmul, and cuBLAS at the same precision."""
    xp, torch = launcher.engine().xp, machine.torch
    rows = []
    for n in (48,) if machine.rehearsal else (256, 1024, 2048, 4096):
        a, b = (xp.asarray(np.random.default_rng(i).random((n, n), dtype=np.float32)) for i in range(2))
        candidates: dict[str, Callable[[], Any]] = {s: partial(ladder.gemm, s, a, b) for s in ladder.STEPS}
        candidates["matmul"] = _with_tf32(machine, False, partial(kernels.backend("cuda").matmul, a, b))
        candidates["matmul, TF32"] = _with_tf32(machine, True, partial(kernels.backend("cuda").matmul, a, b))
        if torch is not None:
            x, y = (torch.rand(n, n, device="cuda") for _ in range(2))
            candidates["cuBLAS"] = _with_tf32(machine, False, partial(torch.matmul, x, y))
            candidates["cuBLAS, TF32"] = _with_tf32(machine, True, partial(torch.matmul, x, y))
        rates = {name: 2e-12 * n**3 / s for name, s in machine.seconds(candidates).items()}
        machine.tf32(False)
        rows.append({"n": n, **rates, **_ratios(rates, [("matmul", "cuBLAS"), ("matmul, TF32", "cuBLAS, TF32")])})
    return rows


def conv_layers(machine: Machine) -> Rows:
    """Microseconds of the three passes of each layer, and of cuDNN at equal precision in its faster memory format."""
    rows = []
    batch = 2 if machine.rehearsal else 128
    for layer in cases.LAYERS[:2] if machine.rehearsal else cases.LAYERS:
        g = layer.geometry(batch)
        for tf32 in (False, True):
            machine.tf32(tf32)
            for name, ours, theirs in _conv_passes(machine, g):
                candidates = {"minivae": ours, **theirs}
                if name == "forward" and not tf32:
                    candidates["by definition"] = _by_definition(g)
                micro = {k: 1e6 * s for k, s in machine.seconds(candidates, 0.02).items()}
                if theirs:
                    micro["cuDNN"] = min(micro.pop(k) for k in theirs)
                    micro["cuDNN / minivae"] = micro["cuDNN"] / micro["minivae"]
                rows.append({"layer": str(layer), "batch": batch, "pass": name, "TF32": tf32, **micro})
    machine.tf32(False)
    return rows


def _conv_passes(machine: Machine, g: Any) -> list[tuple[str, Callable[[], Any], dict[str, Callable[[], Any]]]]:
    k, torch = kernels.backend("cuda"), machine.torch
    x, w, dy = (k.asarray(integers(*shape)) for shape in (g.x_shape, g.w_shape, g.y_shape))
    x, dy = (k.asarray(_channels_last(k.to_host(a))) for a in (x, dy))
    passes = [
        ("forward", lambda: k.conv2d(x, w, None, g)),
        ("input gradient", lambda: k.conv2d_input_grad(dy, w, None, g)),
        ("weight gradient", lambda: k.conv2d_weight_grad(dy, x, g)),
    ]
    theirs: list[dict[str, Callable[[], Any]]] = [{}, {}, {}]
    for layout in ("contiguous_format", "channels_last") if torch is not None else ():
        tx, tw, tdy = (
            torch.zeros(s, device="cuda").to(memory_format=getattr(torch, layout))
            for s in (g.x_shape, g.w_shape, g.y_shape)
        )
        for which in range(3):
            theirs[which][layout] = _cudnn(torch, tx, tw, tdy, g, which)
    return [(name, ours, other) for (name, ours), other in zip(passes, theirs, strict=True)]


def _cudnn(torch: Any, x: Any, w: Any, dy: Any, g: Any, which: int) -> Callable[[], Any]:
    if which == 0:
        return lambda: torch.nn.functional.conv2d(x, w, None, g.stride, g.padding, g.dilation, g.groups)
    mask = (which == 1, which == 2, False)
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(dy, x, w, None, g.stride, g.padding, g.dilation, False, (0, 0), g.groups, mask)


def _by_definition(g: Any) -> Callable[[], Any]:
    k = kernels.backend("cuda")
    return partial(ladder.conv2d, k.asarray(integers(*g.x_shape)), k.asarray(integers(*g.w_shape)), g)


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def nearest(machine: Machine) -> Rows:
    """Microseconds to find the nearest of K codes for M rows, and of PyTorch's matmul and argmin, which store M x K."""
    k, torch = kernels.backend("cuda"), machine.torch
    rows = []
    for M, K, D in ((64, 32, 8),) if machine.rehearsal else ((8192, 512, 64), (32768, 512, 64), (65536, 8192, 64)):
        x, codes = (np.random.default_rng(i).random(s, dtype=np.float32) for i, s in enumerate(((M, D), (K, D))))
        dx, dc = k.asarray(x), k.asarray(codes)
        candidates: dict[str, Callable[[], Any]] = {"minivae": partial(k.nearest_code, dx, dc)}
        if torch is not None:
            tx, tc = torch.from_numpy(x).cuda(), torch.from_numpy(codes).cuda()
            candidates["PyTorch"] = partial(_nearest_in_torch, tx, tc)
        micro = {name: 1e6 * s for name, s in machine.seconds(candidates).items()}
        rows.append({"M": M, "K": K, "D": D, **micro, **_ratios(micro, [("PyTorch", "minivae")])})
    return rows


def _nearest_in_torch(x: Any, codes: Any) -> Any:
    return (codes.pow(2).sum(1) / 2 - x @ codes.T).argmin(1)


def steps(machine: Machine) -> Rows:
    """Milliseconds of a whole training step, and the peak of GPU memory."""
    rows = []
    for name, case in cases.MODELS.items():
        for batch in (8,) if machine.rehearsal else cases.BATCHES:
            x = cases.images(batch, case.image_shape)
            candidates: dict[str, Callable[[], Any]] = {
                "kernel by kernel": own_step(case, x, "cuda", captured=False),
                "graph": own_step(case, x, "cuda"),
                **_torch_steps(machine, case, x),
            }
            milli = {k: 1e3 * s for k, s in machine.seconds(candidates, 0.1).items()}
            on_cpu = own_step(case, x, "cpu")
            on_cpu()
            start = time.perf_counter()
            on_cpu()
            milli["CPU"] = 1e3 * (time.perf_counter() - start)
            ratios = [("PyTorch eager", "graph"), ("PyTorch compiled", "graph")]
            rows.append({"model": name, "batch": batch, **milli, **_ratios(milli, ratios), **_memory(machine)})
    return rows


def _torch_steps(machine: Machine, case: cases.Model, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    if machine.torch is None:
        return {}
    from ..twins import check_equal, training_step, twin

    model = case.make()
    check_equal(model, x[:8])
    batch = machine.torch.from_numpy(x).cuda()
    nets = {"PyTorch eager": False, "PyTorch eager, channels last": False, "PyTorch compiled": True}
    return {
        name: training_step(twin(model, "cuda", "channels" in name), batch, compiled) for name, compiled in nets.items()
    }


def _memory(machine: Machine) -> dict[str, float]:
    if machine.rehearsal:
        return {}
    cupy = launcher.engine().xp
    found = {"CuPy pool, MiB": cupy.get_default_memory_pool().total_bytes() / 2**20}
    if machine.torch is not None:
        found["PyTorch peak, MiB"] = machine.torch.cuda.max_memory_allocated() / 2**20
        machine.torch.cuda.reset_peak_memory_stats()
    cupy.get_default_memory_pool().free_all_blocks()
    return found


def curve(machine: Machine) -> Rows:
    """The loss of each epoch of a VAE that is trained on the CPU and on the GPU from one seed."""
    data = mv.datasets.load("fashion-mini")
    x = data.x_train[:64] if machine.rehearsal else data.x_train
    histories = []
    for device in ("cpu", "cuda"):
        mv.manual_seed(0)
        model = mv.models.VAE(arch="dense", latent_dim=4, hidden=(16,)) if machine.rehearsal else mv.models.VAE()
        histories.append(model.fit(x, epochs=2 if machine.rehearsal else 5, lr=2e-3, device=device).history)
    return [
        {"epoch": a["epoch"], "CPU": a["loss"], "GPU": b["loss"], "images/s on the GPU": b["images_per_second"]}
        for a, b in zip(*histories, strict=True)
    ]


def _with_tf32(machine: Machine, allowed: bool, run: Callable[[], Any]) -> Callable[[], Any]:
    def run_with_tf32() -> Any:
        machine.tf32(allowed)
        return run()

    return run_with_tf32


def _ratios(values: dict[str, float], pairs: list[tuple[str, str]]) -> dict[str, float]:
    return {f"{a} / {b}": values[a] / values[b] for a, b in pairs if a in values and b in values}
