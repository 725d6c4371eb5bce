"""Whole training steps, throughput of trained models, growth, memory, and the time to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import minivae as mv

from . import cases
from .backends import torch
from .timing import Run, Work

IMPORTS = ("import numpy", "import minivae", "import minivae as mv; mv.Tensor; mv.models", "import torch")


def steps(gpu: Any, batches: tuple[int, ...] = cases.BATCHES) -> Iterator[Work]:
    """zero_grad, loss, backward, Adam: three models at three batch sizes."""
    for name, case in cases.MODELS.items():
        for batch in batches:
            yield step_work(name, case, batch, gpu)


def step_work(name: str, case: cases.Model, batch: int, gpu: Any) -> Work:
    """One training step of a model in every column."""
    x = cases.images(batch, case.image_shape)
    candidates: dict[str, Run] = {"NumPy": own_step(case, x, "cpu")}
    if gpu is not None:
        candidates["CuPy"] = own_step(case, x, "cuda")
    if torch is not None:
        for layout in (False, True):
            candidates[f"PyTorch {'channels_last' if layout else 'contiguous_format'}"] = _torch_step(case, x, layout)
    wait = gpu.launcher.engine().synchronize if gpu is not None else lambda: None
    return Work(f"{name}, batch {batch}", candidates, partial(_check, case, x), wait=wait)


def _check(case: cases.Model, x: np.ndarray) -> None:
    """Loss and gradients of the model and of its twin in PyTorch."""
    if torch is not None:
        from .twins import check_equal

        mv.manual_seed(0)
        check_equal(case.make(), x[:8])


def own_step(case: cases.Model, x: np.ndarray, device: str) -> Run:
    """A training step of minivae; on the GPU as fit() takes it, captured."""
    mv.manual_seed(0)
    model = case.make().to(device)
    model.train()
    optimizer = mv.optim.Adam(model.parameters(), 1e-3)

    def step(batch: Any) -> Any:
        optimizer.zero_grad()
        result = model.loss(batch)
        result.loss.backward()
        optimizer.step()
        return result

    if device == "cuda":
        return partial(mv.cuda.graph(step, model, [optimizer]), x)
    return partial(step, x)


def _torch_step(case: cases.Model, x: np.ndarray, channels_last: bool) -> Run:
    from .twins import training_step, twin

    mv.manual_seed(0)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    batch = torch.from_numpy(x).to(memory_format=memory_format)
    return training_step(twin(case.make(), channels_last=channels_last), batch)


def throughput(gpu: Any) -> Iterator[Work]:
    """Encoding 512 images, and drawing 512."""
    for device in ("cpu", *(["cuda"] if gpu is not None else [])):
        column = "NumPy" if device == "cpu" else "CuPy"
        for name in ("dense VAE", "conv VAE"):
            case = cases.MODELS[name]
            mv.manual_seed(0)
            model, x = case.make().to(device), cases.images(512, case.image_shape)
            runs: dict[str, Run] = {"encode": partial(model.encode, x), "sample": partial(model.sample, len(x))}
            for what, run in runs.items():
                yield Work(f"{what} 512 images, {name}", {column: run}, lambda: None)


def growth(gpu: Any) -> Iterator[Work]:
    """The conv VAE's step by batch size and by image size: twice the pixels, twice the time."""
    small = cases.MODELS["conv VAE"]
    for batch in (16, 32, 64, 128, 256):
        x = cases.images(batch, small.image_shape)
        yield Work(f"conv VAE 28x28, batch {batch}", {"NumPy": own_step(small, x, "cpu")}, lambda: None)
    for side in (16, 32, 64):
        shape = (1, side, side)
        case = cases.Model(shape, partial(mv.models.VAE, shape, latent_dim=16, channels=(32, 64), hidden=(256,)))
        work = own_step(case, cases.images(32, shape), "cpu")
        yield Work(f"conv VAE {side}x{side}, batch 32", {"NumPy": work}, lambda: None)


def imports(gpu: Any) -> Iterator[Work]:
    """A new interpreter that imports, and ends."""
    candidates: dict[str, Run] = {}
    for statement in IMPORTS:
        if "torch" in statement and torch is None:
            continue
        command = [sys.executable, "-c", statement]
        candidates[statement] = partial(subprocess.run, command, check=True, capture_output=True)
    yield Work("time to import", candidates, lambda: None)


# ---- memory, in processes of their own ----

_PEAK = """
import resource, sys
from benchmarks import cases, steps
case, batch, who, count = cases.MODELS[sys.argv[1]], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
x = cases.images(batch, case.image_shape)
small = cases.images(2, case.image_shape)
make = steps.own_step if who == "NumPy" else steps._torch_step
make(case, small, *(["cpu"] if who == "NumPy" else [False]))()  # libraries, threads and weights are there before
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run = make(case, x, *(["cpu"] if who == "NumPy" else [False]))
for i in range(count):
    run()
    if i == 9:
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1024, (after - early) / 1024)
"""


def memory(name: str, batch: int, column: str, count: int = 20) -> tuple[float, float]:
    """MiB by which the peak of the resident memory of a process grows through `count` steps, and after the tenth."""
    command = [sys.executable, "-c", _PEAK, name, str(batch), column, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    grown, late = map(float, done.stdout.split())
    return grown, late
