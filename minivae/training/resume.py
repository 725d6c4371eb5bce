"""The checkpoint of a training, and how a training goes on from it.

The file says what the training was: model, data, optimiser, schedule, callbacks. A resume compares all of it with what
it was told, and refuses by name what differs, before anything changes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivae.data.archive import reading
from minivae.data.batches import digest

from .checkpoint import open_checkpoint, remove_leftovers, save_checkpoint
from .loop import Trainer
from .plain import plain

OF_FIT = ("epochs", "lr", "batch_size", "warm_start")  # parameters of a model that no layer depends on
KIND = "state of a training"
PLAIN = (type(None), bool, int, float, str, tuple, np.generic, Path)


class TrainingFile:
    """It is the checkpoint of a training that is to have so many epochs in all.

    model: the model's class and constructor's arguments, as Estimator.save() writes them. Raises OSError for a folder
    that is not there.
    """

    def __init__(self, path: str | Path, trainer: Trainer, epochs: int, model: dict[str, Any]) -> None:
        self.path, self.trainer, self.model = Path(path), trainer, model
        remove_leftovers(self.path.parent, self.path.name)
        self.settings = settings_of(trainer, epochs)

    def save(self) -> None:
        """Write the state that the training has now."""
        arrays, meta = self.trainer.state()
        save_checkpoint(self.path, arrays, {**self.model, **meta, "fit": self.settings})

    def restore(self) -> None:
        """Load the state into the trainer.

        Raises ValueError for a damaged file and for one of another model, of other settings or other data; then the
        model is as it was. Only the number of epochs may differ, and only be larger.
        """
        trainer, model, name = self.trainer, type(self.trainer.model), repr(str(self.path))
        with open_checkpoint(self.path) as file:
            meta = file.meta
            if meta.get("model") != model.__name__:
                raise ValueError(f"{name} belongs to {meta.get('model')}, not to this model")
            with reading(file.path, KIND):
                before, now = identity(model, meta["params"]), identity(model, self.model["params"])
                fit = dict(meta.get("fit", {}))
            check_same(f"{name} belongs to another {model.__name__}, not to this model", before, now)
            if not fit:
                raise ValueError(f"{name} holds a model, but no training to go on with")
            if "optimizer" not in fit:
                raise ValueError(f"{name} was written by an older minivae, which did not note its optimizer")
            with reading(file.path, KIND):
                fit, data = _flat(fit), meta["batches"]["digest"]
            if data != trainer.batches.digest:
                raise ValueError(f"{name} belongs to a training with data of another content")
            _check_settings(name, fit, _flat(self.settings))
            file.check(trainer.state()[0])
            arrays = file.arrays()
        with reading(file.path, KIND):
            trainer.load_state(arrays, meta)


def noted_shards(path: str | Path) -> int | None:
    """Return into how many shards the training of a checkpoint cuts its batches; 1 for files of older versions.

    None for what is no checkpoint of a training, which restore() refuses. Raises OSError for a file that is not there,
    ValueError for a damaged one.
    """
    with open_checkpoint(path) as file, reading(file.path, KIND):
        fit = dict(file.meta.get("fit", {}))
        return int(fit.get("shards", 1)) if fit else None


def settings_of(trainer: Trainer, epochs: int) -> dict[str, Any]:
    """Describe a training, without its model and its data, in plain values. A resume must find them unchanged."""
    validation = trainer.validation
    return {
        "epochs": epochs,
        "batch_size": trainer.batches.batch_size,
        "shards": trainer.team.shards,
        "clip_norm": trainer.clip_norm,
        "trained_parameters": len(trainer.optimizer.params),  # those that are frozen are not among them
        "validation": digest(*validation) if isinstance(validation, tuple) else digest(validation),
        "optimizer": {**described(trainer.optimizer), "lr": trainer.schedule.base_lr},
        "schedule": described(trainer.schedule),
        "callbacks": [described(callback) for callback in trainer.callbacks],
    }


def described(thing: Any) -> dict[str, Any]:
    """Name the class, and those of the constructor's arguments that the object keeps by name and that are plain."""
    values = {name: getattr(thing, name, None) for name in inspect.signature(type(thing)).parameters}
    return {"class": type(thing).__name__, **{k: plain(v) for k, v in values.items() if isinstance(v, PLAIN)}}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Name each setting alone: 'epochs', 'optimizer' (its class), 'optimizer.lr', 'callbacks[0].patience', ..."""
    names = ("epochs", "batch_size", "shards", "clip_norm", "validation", "trained_parameters")
    flat = {name: settings[name] for name in names if name in settings}
    flat["callbacks"] = [callback["class"] for callback in settings["callbacks"]]
    callbacks = {f"callbacks[{i}]": callback for i, callback in enumerate(settings["callbacks"])}
    for part, values in {"optimizer": settings["optimizer"], "schedule": settings["schedule"], **callbacks}.items():
        flat |= {part if name == "class" else f"{part}.{name}": value for name, value in values.items()}
    return {**flat, "epochs": int(flat["epochs"])}


def _check_settings(name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ValueError for settings that differ. A longer training has a schedule of more steps."""
    if now["epochs"] < before["epochs"]:
        raise ValueError(
            f"{name} belongs to a training of {before['epochs']} epochs, which can be made longer but not shorter, "
            f"got epochs = {now['epochs']}"
        )
    if now["validation"] != before["validation"]:
        raise ValueError(f"{name} belongs to a training with other validation data")
    compared = before.keys() & now.keys() - {"epochs"}  # those of another class have other names
    if now["epochs"] > before["epochs"]:
        compared -= {"schedule.total_steps"}
    check_same(f"{name} belongs to another training", *({k: of[k] for k in compared} for of in (before, now)))


def identity(model: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a model by its constructor's arguments. Older files have fewer of them; defaults are taken instead."""
    defaults = {name: p.default for name, p in inspect.signature(model).parameters.items()}
    return {name: tuples(value) for name, value in {**defaults, **params}.items() if name not in OF_FIT}


def check_same(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError, whose message begins with `what`, if values differ, and name them."""
    if changed := sorted(k for k in before.keys() | now.keys() if tuples(before.get(k)) != tuples(now.get(k))):
        raise ValueError(f"{what}: " + ", ".join(f"{k} was {before.get(k)}, not {now.get(k)}" for k in changed))


def tuples(value: Any) -> Any:
    """Turn the lists of JSON back into tuples."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
