"""Whole training steps, encoding and sampling, how the time of a step grows, and the time to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import minivae as mv
from minivae.kernels.contract import Noise

from . import cases
from .backends import CPU, torch
from .rows import LAYOUTS, check, on_cpu, torch_devices, torch_tensor, waiter
from .timing import Run, Work, same

IMPORTS = ("import numpy", "import minivae", "import minivae as mv; mv.Tensor; mv.models", "import torch")
MANY = 512  # images that throughput() encodes and samples


def steps(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """One training step (zero_grad, loss, backward, Adam) of three models at three batch sizes."""
    for name, case in cases.MODELS.items():
        for batch in cases.BATCHES[:1] if quick else cases.BATCHES:
            yield step_work(name, case, batch, gpu)


def step_work(name: str, case: cases.Model, batch: int, gpu: Any) -> Work:
    """A row: one training step of a model in every column."""
    x = cases.images(batch, case.image_shape)
    candidates: dict[str, Run] = {column: on_cpu(column, own_step(case, x, "cpu")) for column in CPU}
    if gpu is not None:
        candidates["CuPy"] = own_step(case, x, "cuda")
    for column, device in torch_devices().items():
        for layout in LAYOUTS:
            candidates[f"{column}, {layout}"] = torch_step(case, x, layout, device)
    return Work(f"{name}, batch {batch}", candidates, partial(_check, case, x[:8], gpu), wait=waiter(gpu))


def _check(case: cases.Model, x: np.ndarray, gpu: Any) -> None:
    """Raise ValueError unless loss and gradients agree in every column and in the model's twin, with the same noise."""
    if torch is not None:
        from .twins import check_equal

        mv.manual_seed(0)
        check_equal(case.make(), x)
    runs = {column: on_cpu(column, partial(_gradients, case, x, "cpu")) for column in CPU}
    if gpu is not None:
        runs["CuPy"] = partial(_gradients, case, x, "cuda")
    found = {column: run() for column, run in runs.items()}
    for name in found["NumPy"]:
        same({f"{name}, {column}": gradients[name] for column, gradients in found.items()}, 1e-3)


def _gradients(case: cases.Model, x: np.ndarray, device: str) -> dict[str, np.ndarray]:
    """The loss, as "loss", and the gradients of the parameters by name."""
    mv.manual_seed(0)
    model = case.make().to(device)
    model.train()
    result = model.loss(x, Noise(0, 0)) if isinstance(model, mv.models.VAE) else model.loss(x)
    result.loss.backward()
    grads = {name: p.backend.to_host(p.grad) for name, p in model.named_parameters()}
    return {"loss": result.loss.numpy(), **grads}


def own_step(case: cases.Model, x: np.ndarray, device: str, captured: bool = True) -> Run:
    """A function that does a training step as fit() does it: on the GPU the step is captured as a graph and replayed.

    If `captured` is False, the kernels are launched one by one. Raises RuntimeError if the step cannot be captured.
    """
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

    if device == "cpu" or not captured:
        return partial(step, x)
    graph = mv.cuda.graph(step, model, [optimizer])
    for _ in range(2):  # the first step runs, the second is captured
        graph(x)
    if graph.fallback is not None:
        raise RuntimeError(f"the step was not captured: {graph.fallback}")
    return partial(graph, x)


def torch_step(case: cases.Model, x: np.ndarray, layout: str, device: str) -> Run:
    """A function that does a training step of the model's twin in PyTorch."""
    from .twins import training_step, twin

    mv.manual_seed(0)
    net = twin(case.make(), device, channels_last=layout == "channels_last")
    return training_step(net, torch_tensor(x, device, layout))


def throughput(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """Encoding 512 images and drawing 512 samples, as a user does: host arrays go in and come out."""
    for name in ("dense VAE", "conv VAE"):
        case = cases.MODELS[name]
        mv.manual_seed(0)
        model, x = case.make(), cases.images(MANY, case.image_shape)
        z = np.random.default_rng(0).standard_normal((MANY, model.latent_dim), dtype=np.float32)
        encode: dict[str, Run] = {column: on_cpu(column, partial(model.encode, x)) for column in CPU}
        decode: dict[str, Run] = {column: on_cpu(column, partial(model.decode, z)) for column in CPU}
        sample: dict[str, Run] = {column: on_cpu(column, partial(model.sample, MANY)) for column in CPU}
        if gpu is not None:
            mv.manual_seed(0)
            moved = case.make().to("cuda")
            encode["CuPy"], decode["CuPy"] = partial(moved.encode, x), partial(moved.decode, z)
            sample["CuPy"] = partial(moved.sample, MANY)
        for column, device in torch_devices().items():
            for layout in LAYOUTS:
                runs = _torch_inference(model, x, z, device, layout)
                for candidates, run in zip((encode, decode, sample), runs, strict=True):
                    candidates[f"{column}, {layout}"] = run
        yield Work(f"encode {MANY} images, {name}", encode, partial(check, encode, gpu, 1e-4), wait=waiter(gpu))
        yield Work(f"sample {MANY} images, {name}", sample, partial(check, decode, gpu, 1e-4), wait=waiter(gpu))


def _torch_inference(model: Any, x: np.ndarray, z: np.ndarray, device: str, layout: str) -> tuple[Run, Run, Run]:
    """Three functions of the model's twin: encode x, decode z, and draw samples."""
    from .twins import twin

    net = twin(model, device, channels_last=layout == "channels_last").eval()

    def without_grad(run: Callable[[], Any]) -> Run:
        def inference() -> Any:
            with torch.inference_mode():
                return run().cpu().numpy()

        return inference

    def decode(codes: Any) -> Any:
        return torch.sigmoid(net.decoder(codes))

    return (
        without_grad(lambda: net.encoder(torch_tensor(x, device, layout)).chunk(2, 1)[0]),
        without_grad(lambda: decode(torch.from_numpy(z).to(device))),
        without_grad(lambda: decode(torch.randn(z.shape, device=device))),
    )


def growing(quick: bool = False) -> Iterator[tuple[str, cases.Model, int]]:
    """(name, model, batch size) of the conv VAE, with growing batches and then with growing images."""
    for batch in (16, 32) if quick else (16, 32, 64, 128, 256):
        yield f"conv VAE 28x28, batch {batch}", cases.MODELS["conv VAE"], batch
    for side in (16, 32) if quick else (16, 32, 64, 96):
        shape = (1, side, side)
        make = partial(mv.models.VAE, shape, latent_dim=16, channels=(32, 64), hidden=(256,))
        yield f"conv VAE {side}x{side}, batch 32", cases.Model(shape, make), 32


def growth(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """The training step of the conv VAE for growing batches and images, to see whether its time grows linearly."""
    for name, case, batch in growing(quick):
        run = own_step(case, cases.images(batch, case.image_shape), "cpu")
        candidates = {column: on_cpu(column, run) for column in CPU}
        yield Work(name, candidates, partial(_check, case, cases.images(2, case.image_shape), gpu))


def imports(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """The time in which a new interpreter starts, imports and ends."""
    candidates: dict[str, Run] = {}
    for statement in IMPORTS:
        if "torch" in statement and (torch is None or quick):
            continue
        command = [sys.executable, "-c", statement]
        candidates[statement] = partial(subprocess.run, command, check=True, capture_output=True)
    yield Work("time to import", candidates, lambda: None)
