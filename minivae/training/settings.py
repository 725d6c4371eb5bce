"""Settings: what fit() is told besides its data, checked before anything is changed, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minivae.data.batches import Batches
from minivae.kernels import checks
from minivae.optim import Adam, Optimizer, Schedule

from .callbacks import Callback
from .loop import Trainer
from .progress import Progress, progress_for

OnEpoch: TypeAlias = Callable[[dict[str, Any]], Any] | Callback
MakeOptimizer: TypeAlias = Callable[..., Optimizer]
MakeSchedule: TypeAlias = Callable[..., Schedule]


@dataclass
class Settings:
    """The arguments of fit() by their names there. Raises TypeError or ValueError for what they must not be.

    epochs, lr, batch_size, warm_start: checked, those given to fit() or the model's own. given_lr: the learning rate if
    fit() itself was given one; an optimizer that does not take it is then an error.
    """

    epochs: int
    lr: float
    batch_size: int
    warm_start: bool
    given_lr: float | None
    optimizer: MakeOptimizer | None
    schedule: MakeSchedule | None
    clip_norm: float | None
    progress: bool | Progress
    checkpoint: str | Path | None
    resume: bool
    on_epoch: OnEpoch | Sequence[OnEpoch] | None

    def __post_init__(self) -> None:
        if self.clip_norm is not None:
            self.clip_norm = checks.number("clip_norm", self.clip_norm, "(0, inf]")
        self.optimizer = Adam if self.optimizer is None else _check_signature("optimizer", self.optimizer)
        if self.given_lr is not None and not _takes(self.optimizer, "lr"):
            raise ValueError(f"fit() got lr = {self.given_lr} and an optimizer that sets its own, {self.optimizer!r}")
        if self.schedule is not None:
            _check_signature("schedule", self.schedule)
        if not isinstance(self.progress, (bool, np.bool_)):
            checks.offers("progress", self.progress, "start_epoch", "step", "end_epoch")
        self.resume = checks.flag("resume", self.resume)
        if self.resume and self.checkpoint is None:
            raise ValueError("resume=True needs the checkpoint to go on from")
        called = _called_after_epochs(self.on_epoch)
        self.callbacks = [each for each in called if isinstance(each, Callback)]
        self.functions: list[Any] = [each for each in called if not isinstance(each, Callback)]

    def reporter(self) -> Progress | None:
        """What shows the progress."""
        if isinstance(self.progress, (bool, np.bool_)):
            return progress_for() if self.progress else None
        return self.progress

    def trainer(self, model: Any, batches: Batches, validation: Any) -> Trainer:
        """A Trainer of the model with a new optimiser."""
        optimizer = self._new_optimizer(model.parameters())
        schedule = self._new_schedule(optimizer, self.epochs * len(batches))
        return Trainer(model, optimizer, batches, schedule, self.clip_norm, model.generator, validation, self.callbacks)

    def _new_optimizer(self, params: list[Any]) -> Optimizer:
        optimizer = _made("optimizer", Optimizer, self.optimizer, "params", params, lr=self.lr)
        if {id(p) for p in optimizer.params} - {id(p) for p in params}:
            raise ValueError("optimizer must make an Optimizer of the parameters that it is given, got one of others")
        return optimizer

    def _new_schedule(self, optimizer: Optimizer, total_steps: int) -> Schedule | None:
        if self.schedule is None:
            return None
        schedule = _made("schedule", Schedule, self.schedule, "optimizer", optimizer, total_steps=total_steps)
        if schedule.optimizer is not optimizer:
            raise ValueError("schedule must make a Schedule of the optimizer that it is given, got one of another")
        return schedule


def _check_signature(name: str, function: Any) -> Any:
    """The function itself, or TypeError unless it is one that tells its parameters."""
    try:
        signature(checks.function(name, function))
    except ValueError:  # one that is written in C
        raise TypeError(f"{name} must be a function that tells its parameters, got {checks.shown(function)}") from None
    return function


def _called_after_epochs(on_epoch: Any) -> list[Any]:
    """on_epoch as a list of functions and Callbacks."""
    several = [] if on_epoch is None else list(on_epoch) if isinstance(on_epoch, (list, tuple)) else [on_epoch]
    for each in several:
        if not isinstance(each, Callback) and (not callable(each) or isinstance(each, type)):
            raise TypeError(f"on_epoch must be a function, a Callback or a list of them, got {checks.shown(each)}")
    callbacks = [id(each) for each in several if isinstance(each, Callback)]
    if len(set(callbacks)) != len(callbacks):
        raise ValueError("on_epoch must be different Callbacks, got one of them twice")
    return several


def _takes(function: Any, name: str) -> bool:
    """Whether the function has a parameter of this name that functools.partial has not given a value yet."""
    return name in signature(function).parameters and name not in getattr(function, "keywords", {})


def _made(name: str, kind: Any, make: Any, first: str, value: Any, **offered: Any) -> Any:
    """make(value, **offered), without those offered that it does not take; TypeError unless this is of that kind."""
    taken = {key: value for key, value in offered.items() if _takes(make, key)}
    try:
        signature(make).bind(value, **taken)
    except TypeError as error:
        forms = f"({first}) or ({', '.join([first, *offered])})"
        raise TypeError(f"{name} must be a function of {forms}, got {make!r}: {error}") from None
    made = make(value, **taken)
    if not isinstance(made, kind):
        raise TypeError(f"{name} must be a function that makes one, got {checks.shown(made)} from it")
    return made
