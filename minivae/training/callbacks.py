"""Callbacks: what looks at a training after each epoch, and may stop it.

    stop = EarlyStopping(patience=5)
    model.fit(x, epochs=200, validation=x_valid, on_epoch=[stop, BestCheckpoint("best.npz"), print])
    stop.best_epoch                         # the epoch whose weights the model has

A plain function gets the record of each epoch. A Callback gets the model too and has a state, which is part of the
training's checkpoint: after a resume it goes on counting where it stopped. With patience 2 the validation losses

    epoch               1     2     3     4     5
    validation_loss   9.0   7.0   8.0   7.5         never trained
    epochs since best   0     0     1     2         EarlyStopping stops; the weights are those of epoch 2
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels import checks

from .checkpoint import check_suffix, remove_leftovers


class Callback:
    """It is the base class of callbacks that need the model or have a state. A subclass defines after_epoch().

    A training that is resumed must have callbacks of the same classes in the same order, made with the same arguments.
    (This is checked for numbers, strings and tuples that a callback keeps under the names of the arguments.)
    """

    def begin(self, model: Any, validated: bool) -> None:
        """The loop calls this before the first epoch, and before load_state_dict() in a training that is resumed.

        The callback forgets what it has seen of another training. validated: whether there is validation data.
        Raises ValueError if the callback cannot work in this training.
        """

    def after_epoch(self, model: Any, record: dict[str, Any]) -> bool | None:
        """The loop calls this after each epoch, before the checkpoint is written. True stops the training.

        record: that of the epoch, the last one in model.history.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define after_epoch()")

    def end(self, model: Any) -> None:
        """The loop calls this when all epochs are done or a callback stopped it, but not after an exception."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, by name: values that JSON has, and NumPy arrays of constant shapes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where state_dict() was taken."""
        checks.state(type(self).__name__, state, self.state_dict())


class BestSoFar(Callback):
    """It is the base class of the callbacks that look for the epoch in which `monitor` is lowest.

    monitor: the name of a number in the epoch's record. A number is better if it is lower than the best by more than
    min_delta. best, best_epoch: that number and its epoch, None and 0 before the first epoch.
    Raises ValueError if the record has no such number. For a number of the validation data it is raised before the
    training if there is no validation data.
    """

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a number in an epoch's record, got {checks.shown(monitor)}")
        self.monitor, self.min_delta = monitor, checks.number("min_delta", min_delta, "[0, inf)")
        self.best: float | None = None
        self.best_epoch = 0

    def begin(self, model: Any, validated: bool) -> None:
        if self.monitor.startswith("validation_") and not validated:
            raise ValueError(f"{type(self).__name__} monitors {self.monitor!r}, but fit() got no validation data")
        self.best, self.best_epoch = None, 0

    def is_best(self, record: Mapping[str, Any]) -> bool:
        """Return whether this epoch is better than all before; if so, it becomes the best."""
        if self.monitor not in record:
            raise ValueError(f"there is no {self.monitor!r} in the record of an epoch, which has {', '.join(record)}")
        if not np.isfinite(record[self.monitor]):
            raise ValueError(f"{self.monitor!r} must be finite to be monitored, got {record[self.monitor]}")
        if self.best is not None and not record[self.monitor] < self.best - self.min_delta:
            return False
        self.best, self.best_epoch = record[self.monitor], record["epoch"]
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        best = None if state["best"] is None else checks.number("state: best", state["best"])
        self.best, self.best_epoch = best, checks.integer("state: best_epoch", state["best_epoch"], 0)


class EarlyStopping(BestSoFar):
    """It stops the training when `monitor` has not fallen by more than min_delta for `patience` epochs.

    restore_best: the model ends with the weights and buffers of epoch `best_epoch`, whether the training was stopped or
    came to its last epoch; without it, with those of the last epoch. (After an exception, such as Ctrl-C, it has the
    weights of that moment.) Raises as BestSoFar does, and ValueError for patience < 1 or min_delta < 0.
    """

    def __init__(
        self,
        patience: int,
        monitor: str = "validation_loss",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, min_delta)
        self.patience = checks.integer("patience", patience, 1)
        self.restore_best = checks.flag("restore_best", restore_best)
        self._weights: dict[str, np.ndarray] = {}

    def begin(self, model: Any, validated: bool) -> None:
        super().begin(model, validated)
        self._keep(model)

    def after_epoch(self, model: Any, record: dict[str, Any]) -> bool:
        if self.is_best(record):
            self._keep(model)
        return bool(record["epoch"] - self.best_epoch >= self.patience)

    def end(self, model: Any) -> None:
        if self.restore_best:
            model.load_state_dict(self._weights)

    def _keep(self, model: Any) -> None:
        if self.restore_best:
            self._weights = model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **{f"weights/{name}": array for name, array in self._weights.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._weights = {name: np.array(state[f"weights/{name}"]) for name in self._weights}


class BestCheckpoint(BestSoFar):
    """It saves the model to `path` after each epoch in which `monitor` is the lowest so far, for Model.load(path).

    path: a .npz or .safetensors file, which is overwritten. Raises as BestSoFar does, ValueError for another path, and
    OSError where it cannot be written; a missing folder is reported before the training.
    """

    def __init__(self, path: str | Path, monitor: str = "validation_loss") -> None:
        super().__init__(monitor)
        if not isinstance(path, (str, Path)):
            raise TypeError(f"path must be that of a file, got {checks.shown(path)}")
        self.path = Path(path)
        check_suffix(self.path)

    def begin(self, model: Any, validated: bool) -> None:
        super().begin(model, validated)
        checks.offers("the model of a BestCheckpoint", model, "save")
        remove_leftovers(self.path.parent, self.path.name)

    def after_epoch(self, model: Any, record: dict[str, Any]) -> None:
        if self.is_best(record):
            model.save(self.path)
