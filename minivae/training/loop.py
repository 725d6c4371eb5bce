"""The training loop: batches in, steps of the optimiser out, one record of averages per epoch.

A model takes part by `loss(x)`, which returns a named tuple of scalar Tensors whose first field is `loss`. Everything
that determines how training goes on is in `Trainer.state()`: weights, moments, schedule, the order of the batches and
the counter of the noise. A run that was saved and restored continues bit by bit as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minivae.autograd import no_grad
from minivae.data.batches import Batches
from minivae.kernels.cpu.memory import keep_freed_memory
from minivae.nn import Module
from minivae.optim import Optimizer, Schedule, clip_grad_norm
from minivae.random import default_generator, fork

from .progress import Progress, Silent

EVALUATION_SEED = 0xE7A1  # evaluations always see the same noise


class Averages:
    """Running means of the fields of a loss, weighted by the number of examples behind each."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, result: Any, examples: int) -> None:
        for name, value in result._asdict().items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * examples
        self.count += examples

    def means(self) -> dict[str, float]:
        return {name: value / self.count for name, value in self.sums.items()}


class Trainable(Module):
    """What the loop asks of a model."""

    def loss(self, x: Any) -> Any:
        """A named tuple of scalar Tensors, the first of them `loss`, means over the images x."""
        raise NotImplementedError


class Trainer:
    """Trains a model. clip_norm bounds the joint norm of the gradients; schedule steps after each optimiser step.

    `history` has one record per epoch: epoch, the means of the loss's fields, those of the validation data under
    'validation_' + name, lr, seconds and images_per_second.
    """

    def __init__(
        self,
        model: Trainable,
        optimizer: Optimizer,
        batches: Batches,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self.schedule, self.clip_norm = schedule, clip_norm
        self.history: list[dict[str, Any]] = []

    def run(
        self,
        epochs: int,
        validation: np.ndarray | None = None,
        progress: Progress | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are done in all, and return the history. The model is left in evaluation mode.

        on_epoch(record) is called after each epoch, to save a checkpoint or to write a log.
        Raises FloatingPointError when the loss or a gradient stops being finite.
        """
        progress = progress or Silent()
        keep_freed_memory()
        try:
            while len(self.history) < epochs:
                epoch = len(self.history) + 1
                progress.start_epoch(epoch, epochs, len(self.batches))
                record = {"epoch": epoch, **self._epoch(epoch, progress)}
                if validation is not None:
                    means = evaluate(self.model, validation)
                    record |= {f"validation_{name}": value for name, value in means.items()}
                self.history.append(record)
                progress.end_epoch(record)
                if on_epoch is not None:
                    on_epoch(record)
        finally:
            self.model.eval()
        return self.history

    def _epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        self.model.train()
        averages, start, lr = Averages(), time.perf_counter(), self.optimizer.lr
        for x in self.batches:
            averages.add(self._step(x, epoch), len(x))
            speed = averages.count / (time.perf_counter() - start)
            progress.step({**averages.means(), "images_per_second": speed})
        seconds = time.perf_counter() - start
        return {**averages.means(), "lr": lr, "seconds": seconds, "images_per_second": averages.count / seconds}

    def _step(self, x: np.ndarray, epoch: int) -> Any:
        self.optimizer.zero_grad()
        result = self.model.loss(x)
        if not np.isfinite(float(result.loss)):
            raise FloatingPointError(
                f"the loss became {float(result.loss)} in epoch {epoch}; a smaller learning rate may help"
            )
        result.loss.backward()
        if self.clip_norm is not None:
            clip_grad_norm(self.optimizer.params, self.clip_norm)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return result

    # ---- saving and going on ----

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, plain values) for save_checkpoint."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        arrays |= {f"optimizer/{k}": np.asarray(v) for k, v in self.optimizer.state_dict().items()}
        return arrays, {
            "batches": self.batches.state_dict(),
            "generator": default_generator.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": self.history,
        }

    def load_state(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Go on from a state(). Raises ValueError or TypeError where it does not fit this model and optimiser."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

        if (self.schedule is None) != (meta["schedule"] is None):
            raise ValueError("the checkpoint and this training differ in having a schedule")
        self.model.load_state_dict(part("model/"))
        self.optimizer.load_state_dict(part("optimizer/"))
        if self.schedule is not None:
            self.schedule.load_state_dict(meta["schedule"])
        self.batches.load_state_dict(meta["batches"])
        default_generator.load_state_dict(meta["generator"])
        self.history = [dict(record) for record in meta["history"]]


@no_grad()
def evaluate(model: Trainable, x: np.ndarray, batch_size: int = 256) -> dict[str, float]:
    """The means of the loss's fields over x in evaluation mode, always with the same noise."""
    training = model.training
    model.eval()
    averages = Averages()
    try:
        with fork(EVALUATION_SEED):
            for start in range(0, len(x), batch_size):
                batch = x[start : start + batch_size]
                averages.add(model.loss(batch), len(batch))
    finally:
        model.train(training)
    return averages.means()
