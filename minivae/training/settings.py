"""Settings checks the arguments of fit() before anything changes, and makes the Trainer from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minivae.data.batches import Batches
from minivae.kernels import checks
from minivae.optim import Adam, ConstantSchedule, Optimizer, Schedule

from .callbacks import BestCheckpoint, Callback, EarlyStopping
from .loop import Trainer
from .progress import Progress, progress_for
from .resume import noted_shards
from .team import team

OnEpoch: TypeAlias = Callable[[dict[str, Any]], Any] | Callback
MakeOptimizer: TypeAlias = Callable[..., Optimizer]
MakeSchedule: TypeAlias = Callable[..., Schedule]


@dataclass
class Settings:
    """It holds the arguments of fit() under their names. Raises TypeError or ValueError for those that are not allowed.

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
    shards: int | None

    def __post_init__(self) -> None:
        if self.clip_norm is not None:
            self.clip_norm = checks.number("clip_norm", self.clip_norm, "(0, inf]")
        if checks.flag("resume", self.resume) and self.checkpoint is None:
            raise ValueError("resume=True needs the checkpoint to go on from")
        self.optimizer = checks.function("optimizer", Adam if self.optimizer is None else self.optimizer)
        if self.given_lr is not None and not _takes(self.optimizer, "lr"):
            raise ValueError(f"fit() got lr = {self.given_lr} and an optimizer that sets its own, {self.optimizer!r}")
        self.schedule = checks.function("schedule", ConstantSchedule if self.schedule is None else self.schedule)
        if self.shards is not None:
            self.shards = checks.integer("shards", self.shards, 1)
        elif self.resume and self.checkpoint is not None:
            self.shards = noted_shards(self.checkpoint)
            if self.shards == 1 and (count := team().world.size) > 1:
                raise ValueError(
                    f"{str(self.checkpoint)!r} belongs to a training that cuts no batches, which goes on in one "
                    f"process, got {count} ranks"
                )
        self.reporter = _reporter(self.progress)
        called = _called_after_epochs(self.on_epoch)
        self.callbacks = [each for each in called if isinstance(each, Callback)]
        self.functions = [each for each in called if not isinstance(each, Callback)]
        _check_together(self.callbacks, self.checkpoint)

    def trainer(self, model: Any, batches: Batches, validation: Any) -> Trainer:
        """Return a Trainer of the model with a new optimiser."""
        params = [p for p in model.parameters() if p.requires_grad]
        total_steps = self.epochs * len(batches)
        optimizer = _made("optimizer", Optimizer, self.optimizer, params, lr=self.lr)
        schedule = _made("schedule", Schedule, self.schedule, optimizer, total_steps=total_steps)
        if not {id(p) for p in optimizer.params} <= {id(p) for p in params}:
            raise ValueError("optimizer must make an Optimizer of the given parameters, got one of other parameters")
        if schedule.optimizer is not optimizer:
            raise ValueError("schedule must make a Schedule of the given optimizer, got one of another optimizer")
        more = self.clip_norm, model.generator, validation, self.callbacks, self.shards
        return Trainer(model, optimizer, batches, schedule, *more)


def _reporter(progress: bool | Progress) -> Progress | None:
    if isinstance(progress, (bool, np.bool_)):
        return progress_for() if progress else None
    checks.offers("progress", progress, "start_epoch", "step", "end_epoch")
    return progress


def _called_after_epochs(on_epoch: Any) -> list[Any]:
    """Return on_epoch as a list of functions and Callbacks."""
    called = list(on_epoch) if isinstance(on_epoch, (list, tuple)) else [on_epoch] * (on_epoch is not None)
    for i, each in enumerate(called):
        if not isinstance(each, Callback) and (not callable(each) or isinstance(each, type)):
            raise TypeError(f"on_epoch must be a function, a Callback or a list of them, got {checks.shown(each)}")
        if isinstance(each, Callback) and any(each is other for other in called[:i]):
            raise ValueError(f"on_epoch must be different Callbacks, got {each!r} twice")
    return called


def _check_together(callbacks: Sequence[Callback], checkpoint: str | Path | None) -> None:
    """Raise ValueError if two of them would write one file, or restore different weights."""
    paths = [c.path for c in callbacks if isinstance(c, BestCheckpoint)]
    paths += [] if checkpoint is None else [Path(checkpoint)]
    resolved = [path.resolve() for path in paths]
    if twice := [path for path in paths if resolved.count(path.resolve()) > 1]:
        raise ValueError(f"checkpoint and BestCheckpoint must be different files, got {str(twice[0])!r} twice")
    if sum(isinstance(c, EarlyStopping) and c.restore_best for c in callbacks) > 1:
        raise ValueError("only one EarlyStopping can restore the best weights, got several; use restore_best=False")


def _takes(function: Any, name: str) -> bool:
    """Return whether a function, such as the class SGD, takes this keyword and partial() has not given it a value."""
    parameters = signature(function).parameters
    taken = name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return taken and name not in getattr(function, "keywords", {})


def _made(name: str, kind: Any, make: Any, value: Any, **offered: Any) -> Any:
    """Return make(value, **offered), without keywords that it does not take. Raise TypeError unless it is a `kind`."""
    taken = {key: value for key, value in offered.items() if _takes(make, key)}
    try:
        signature(make).bind(value, **taken)
    except TypeError as error:
        expected = f"a function of one argument and, by this name, {', '.join(offered)}"
        raise TypeError(f"{name} must be {expected}, got {make!r}: {error}") from None
    if not isinstance(made := make(value, **taken), kind):
        raise TypeError(f"{name} must be a function that makes one, got {checks.shown(made)} from it")
    return made
