"""The training loop: batches in, steps of the optimiser out, one record of averages per epoch.

A model takes part by `loss(x)`, which returns a named tuple of scalar Tensors whose first field is `loss`. Everything
that determines how training goes on is in `Trainer.state()`: weights, moments, schedule, the order of the batches and
the counter of the noise. A run that was saved and restored continues bit by bit as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np

from minivae.autograd import no_grad
from minivae.data.batches import Batches
from minivae.kernels import backend_of
from minivae.nn.module import Buffer, Module, Parameter, not_finite
from minivae.optim import Optimizer, Schedule, clip_grad_norm
from minivae.random import Generator, current_generator, fork, use_generator

from .progress import Progress, Silent
from .step_state import StepState

EVALUATION_SEED = 0xE7A1  # evaluations always see the same noise


class Averages:
    """Running means of the fields of a loss, weighted by the number of examples behind each.

    Losses are fetched `lag` at a time, so that the host does not wait for each step of a GPU; until then they are not
    in `means`. diverged: the first value that was not finite, as "loss became nan", if there was one.
    """

    def __init__(self, lag: int = 1) -> None:
        self.lag = lag
        self.sums: dict[str, float] = {}
        self.count, self._settled = 0, 0
        self.diverged: str | None = None
        self._pending: list[tuple[Any, int]] = []

    def add(self, result: Any, examples: int) -> None:
        self._pending.append((result, examples))
        self.count += examples
        if len(self._pending) >= self.lag:
            self.settle()

    def settle(self) -> None:
        """Fetch what is pending."""
        results, examples = [result for result, _ in self._pending], [count for _, count in self._pending]
        for name in results[0]._fields if results else ():
            arrays = [getattr(result, name).data.reshape(1) for result in results]
            kernels = backend_of(arrays[0])
            values = kernels.to_host(kernels.xp.concatenate(arrays)).tolist()
            for value, count in zip(values, examples, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value * count
                if self.diverged is None and not isfinite(value):
                    self.diverged = f"{name} became {value}"
        self._settled += sum(examples)
        self._pending = []

    def means(self) -> dict[str, float]:
        return {name: value / self._settled for name, value in self.sums.items()}


class Trainable(Module):
    """What the loop asks of a model: a loss. The other methods are for models that need more, and do nothing here."""

    def loss(self, *batch: Any) -> Any:
        """A named tuple of scalar Tensors, the first of them `loss`: means over a batch, (x,) or (x, labels)."""
        raise NotImplementedError

    def prepare(self, x: np.ndarray) -> None:
        """Called once with all training images before the first step of a training that is not resumed."""

    def before_step(self, step: int, steps: int) -> None:
        """Called before step 0, 1, ..., steps - 1 of training. What a loss needs that changes from step to step must be
        put into a buffer here, as the steps themselves may be replays of the first (a CUDA graph)."""

    def begin_pass(self) -> None:
        """Called before each pass over data, in training and in evaluation."""

    def end_pass(self) -> dict[str, float]:
        """Called after the pass: numbers about the pass as a whole for its record, besides the means of the loss."""
        return {}


class Trainer:
    """Trains a model. clip_norm bounds the joint norm of the gradients; schedule steps after each optimiser step.
    generator: of all noise in training, the current one unless given.

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
        generator: Generator | None = None,
    ) -> None:
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self.generator = generator or current_generator()
        self.schedule, self.clip_norm = schedule, clip_norm
        self.history: list[dict[str, Any]] = []
        self.steps, self.total_steps = 0, 0
        self._learn: Any = None  # in run(), the step as the session wants it called
        self._lag = 1

    def run(
        self,
        epochs: int,
        validation: np.ndarray | tuple[np.ndarray, np.ndarray] | None = None,
        progress: Progress | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are done in all, and return the history. The model is left in evaluation mode.

        on_epoch(record) is called after each epoch, to save a checkpoint or to write a log. No gradients are left.
        Raises FloatingPointError when a loss, also of the validation data, a weight or a gradient stops being finite:
        before on_epoch is called.
        """
        progress = progress or Silent()
        self.total_steps = epochs * len(self.batches)
        try:
            with self.optimizer.params[0].backend.session() as session, use_generator(self.generator):
                self._lag = session.lag
                self._learn = session.prepare(self._gradient_step, StepState(self.model, [self.optimizer]))
                if not self.steps:
                    self.model.prepare(self.batches.x)
                self._epochs(epochs, validation, progress, on_epoch)
        finally:
            self._learn = (
                None  # which holds this Trainer: a cycle, that would keep moments and graphs until it is found
            )
            self.optimizer.zero_grad()
            self.model.eval()
        return self.history

    def _epochs(self, epochs: int, validation: Any, progress: Progress, on_epoch: Any) -> None:
        while len(self.history) < epochs:
            epoch = len(self.history) + 1
            progress.start_epoch(epoch, epochs, len(self.batches))
            record = {"epoch": epoch, **self._epoch(epoch, progress)}
            if validation is not None:
                means = evaluate(self.model, *(validation if isinstance(validation, tuple) else (validation,)))
                record |= {f"validation_{name}": value for name, value in means.items()}
            self.history.append(record)
            progress.end_epoch(record)
            if on_epoch is not None:
                on_epoch(record)

    def _epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        self.model.train()
        self.model.begin_pass()
        averages, start, lr = Averages(self._lag), time.perf_counter(), self.optimizer.lr
        for batch in self.batches:
            batch = batch if isinstance(batch, tuple) else (batch,)
            averages.add(self._step(batch), len(batch[0]))
            self._check(averages, epoch)
            speed = averages.count / (time.perf_counter() - start)
            progress.step({**averages.means(), "images_per_second": speed})
        averages.settle()
        self._check(averages, epoch)
        self._check_weights(epoch)
        seconds = time.perf_counter() - start
        means = {**averages.means(), **self.model.end_pass()}
        return {**means, "lr": lr, "seconds": seconds, "images_per_second": averages.count / seconds}

    def _step(self, batch: tuple[np.ndarray, ...]) -> Any:
        """Everything between one batch and the next."""
        self.model.before_step(self.steps, self.total_steps)
        result = self._learn(*batch)
        if self.schedule is not None:
            self.schedule.step()
        self.steps += 1
        return result

    def _gradient_step(self, *batch: Any) -> Any:
        """One step of the optimiser. Where results may lag behind, nothing here waits for the device."""
        watched = self._lag == 1
        self.optimizer.zero_grad()
        result = self.model.loss(*batch)
        if watched and not isfinite(float(result.loss)):
            return result  # parameters stay as they are; _check raises
        result.loss.backward()
        if self.clip_norm is not None:
            clip_grad_norm(self.optimizer.params, self.clip_norm, error_if_nonfinite=watched)
        self.optimizer.step()
        return result

    def _check(self, averages: Averages, epoch: int) -> None:
        if averages.diverged is not None:
            raise FloatingPointError(f"the {averages.diverged} in epoch {epoch}; a smaller learning rate may help")

    def _check_weights(self, epoch: int) -> None:
        """Once an epoch: a gradient that was not finite has left its trace in the weights or in the moments."""
        arrays = {name: tensor.data for name, tensor in self.model.named_tensors((Parameter, Buffer))}
        for name, moments in self.optimizer.state.items():
            arrays |= {f"the optimiser's {name}.{i}": array for i, array in enumerate(moments)}
        if names := not_finite(arrays):
            raise FloatingPointError(
                f"{names[0]} has become NaN or infinite in epoch {epoch}; a smaller learning rate may help"
            )

    # ---- saving and going on ----

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, plain values) for save_checkpoint."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        arrays |= {f"optimizer/{k}": np.asarray(v) for k, v in self.optimizer.state_dict().items()}
        return arrays, {
            "batches": self.batches.state_dict(),
            "generator": self.generator.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "steps": self.steps,
            "history": self.history,
        }

    def load_state(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Go on from a state(). Raises ValueError or TypeError where it does not fit this model and optimiser."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

        if missing := sorted({"batches", "generator", "schedule", "steps", "history"} - meta.keys()):
            raise ValueError(f"the state of a training lacks {missing}")
        if (self.schedule is None) != (meta["schedule"] is None):
            raise ValueError("the checkpoint and this training differ in having a schedule")
        history, steps = [dict(record) for record in meta["history"]], int(meta["steps"])
        self.batches.load_state_dict(meta["batches"])
        self.optimizer.load_state_dict(part("optimizer/"))
        if self.schedule is not None:  # after the optimiser, whose learning rate it sets
            self.schedule.load_state_dict(meta["schedule"])
        self.generator.load_state_dict(meta["generator"])
        self.model.load_state_dict(part("model/"))  # last: the model is as it was if anything else is refused
        self.history, self.steps = history, steps


@no_grad()
def evaluate(model: Trainable, x: np.ndarray, y: np.ndarray | None = None, batch_size: int = 256) -> dict[str, float]:
    """The means of the loss's fields over x (with labels y) in evaluation mode, always with the same noise.

    Raises FloatingPointError for a loss that is not finite.
    """
    training = model.training
    model.eval()
    try:
        model.begin_pass()
        with fork(EVALUATION_SEED), model.parameters()[0].backend.session() as session:
            averages = Averages(session.lag)
            for start in range(0, len(x), batch_size):
                batch = tuple(a[start : start + batch_size] for a in (x, y) if a is not None)
                averages.add(model.loss(*batch), len(batch[0]))
        averages.settle()
        if averages.diverged is not None:
            raise FloatingPointError(f"the {averages.diverged} in evaluation")
        return {**averages.means(), **model.end_pass()}
    finally:
        model.train(training)
