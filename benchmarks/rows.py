"""One row of the results: the same operation in every column that this machine can measure.

    C, NumPy, CuPy    the kernels of this project: native, reference and cuda
    CuPy alone        the operation in plain.py, with CuPy's own functions
    PyTorch           on the CPU; images in both memory formats, of which the report shows the faster one
    PyTorch CUDA      the same on the GPU

The results of all columns, and of plain.py with NumPy, must agree before any column is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from minivae import kernels

from .backends import CPU, torch
from .timing import Run, Work, same

LAYOUTS = ("contiguous_format", "channels_last")
Arrays = Sequence[np.ndarray]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """An array of this shape with standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def channels_last(x: np.ndarray) -> np.ndarray:
    """The images (N, C, H, W) with the channels adjacent in memory, as layers pass them to each other."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def row(
    name: str,
    arrays: Arrays,
    gpu: Any,
    ours: Callable[..., Any],
    plain: Callable[..., Any] | None = None,
    theirs: Callable[..., Any] | None = None,
    tolerance: float = 1e-4,
    **costs: float,
) -> Work:
    """A row in which every column computes the same operation on the same numbers, on its own device.

    The columns call ours(backend, *arrays), plain(xp, *arrays) and PyTorch's theirs(*tensors). tolerance: see check().
    costs: flops and bytes of the operation.
    """
    candidates: dict[str, Run] = {column: partial(ours, kernel, *arrays) for column, kernel in primitives().items()}
    if gpu is not None:
        there = [gpu.asarray(a) for a in arrays]
        candidates["CuPy"] = partial(ours, gpu, *there)
        if plain is not None:
            candidates["CuPy alone"] = partial(plain, gpu.xp, *there)
    if theirs is not None:
        candidates |= {column: partial(theirs, *tensors) for column, tensors in torch_arguments(arrays)}
    reference = {"plain NumPy": partial(plain, np, *arrays)} if plain is not None else {}
    return Work(
        name, candidates, partial(check, {**reference, **candidates}, gpu, tolerance), **costs, wait=waiter(gpu)
    )


def primitives() -> dict[str, Any]:
    """The backends of the CPU, by column."""
    found = {}
    for column, name in CPU.items():
        with kernels.use_cpu(name) as found[column]:
            pass
    return found


def on_cpu(column: str, run: Run) -> Run:
    """A function that calls run() with the backend of a column."""

    def run_on_backend() -> Any:
        with kernels.use_cpu(CPU[column]):
            return run()

    return run_on_backend


def check(candidates: dict[str, Run], gpu: Any, tolerance: float) -> None:
    """Raise ValueError unless all candidates return the same arrays, see timing.same()."""
    results = {name: hosted(run(), gpu) for name, run in candidates.items()}
    for arrays in zip(*results.values(), strict=True):
        same(dict(zip(results, arrays, strict=True)), tolerance)


def hosted(result: Any, gpu: Any) -> list[np.ndarray]:
    """The array or arrays of a result, as a list of host arrays."""
    found = []
    for array in result if isinstance(result, (tuple, list)) else [result]:
        if torch is not None and isinstance(array, torch.Tensor):
            found.append(array.detach().cpu().numpy())
        else:
            found.append(array if isinstance(array, np.ndarray) else gpu.to_host(array))
    return found


def torch_devices() -> dict[str, str]:
    """The available columns of PyTorch and their devices: {'PyTorch': 'cpu', 'PyTorch CUDA': 'cuda'}."""
    if torch is None:
        return {}
    return {"PyTorch": "cpu", **({"PyTorch CUDA": "cuda"} if torch.cuda.is_available() else {})}


def torch_arguments(arrays: Arrays) -> Iterator[tuple[str, list[Any]]]:
    """(column, tensors) for each device of PyTorch and, if an array has four axes, for each memory format."""
    for column, device in torch_devices().items():
        layouts = LAYOUTS if any(a.ndim == 4 for a in arrays) else LAYOUTS[:1]
        for layout in layouts:
            tensors = [torch_tensor(a, device, layout) for a in arrays]
            yield column if len(layouts) == 1 else f"{column}, {layout}", tensors


def torch_tensor(array: np.ndarray, device: str, layout: str = LAYOUTS[0]) -> Any:
    """A copy of the array on a device of PyTorch; an array with four axes gets that memory format."""
    tensor = torch.from_numpy(np.array(array, order="C")).to(device)
    return tensor.to(memory_format=getattr(torch, layout)) if array.ndim == 4 else tensor


def waiter(gpu: Any) -> Callable[[], None]:
    """A function that waits until all work on the GPU is done."""
    waits: list[Callable[[], Any]] = [gpu.launcher.engine().synchronize] if gpu is not None else []
    if "PyTorch CUDA" in torch_devices():
        waits.append(torch.cuda.synchronize)

    def wait() -> None:
        for each in waits:
            each()

    return wait
