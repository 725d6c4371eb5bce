"""Going on with a training from its checkpoint; what must be as it was is compared before anything changes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivae.data.archive import reading

from .checkpoint import open_checkpoint
from .loop import Trainer

OF_FIT = ("epochs", "lr", "batch_size", "warm_start")  # parameters of a model that no layer depends on
KIND = "state of a training"


def restore(trainer: Trainer, checkpoint: str | Path, params: dict[str, Any], settings: dict[str, Any]) -> None:
    """Load the state of a training into the trainer of a model with these constructor's arguments.

    settings: the arguments of fit, of which only `epochs` may be another number, a larger one.
    Raises ValueError for a damaged file and for one of another model, of other arguments or other data; then the
    trainer is as it was.
    """
    model = type(trainer.model)
    with open_checkpoint(checkpoint) as file:
        name, meta = repr(str(checkpoint)), file.meta
        if meta.get("model") != model.__name__:
            raise ValueError(f"{name} belongs to {meta.get('model')}, not to this model")
        with reading(file.path, KIND):
            before, now = identity(model, meta["params"]), identity(model, params)
        check_same(f"{name} belongs to another {model.__name__}, not to this model", before, now)
        if "fit" not in meta:
            raise ValueError(f"{name} holds a model, but no training to go on with")
        with reading(file.path, KIND):
            fit, data = dict(meta["fit"]), meta["batches"]["digest"]
            epochs, validation = int(fit.pop("epochs")), fit.pop("validation")
        _check_settings(name, fit, epochs, dict(settings))
        if data != trainer.batches.digest:
            raise ValueError(f"{name} belongs to a training with data of another content")
        if validation != settings["validation"]:
            raise ValueError(f"{name} belongs to a training with other validation data")
        file.check(trainer.state()[0])
        arrays = file.arrays()
    with reading(file.path, KIND):
        trainer.load_state(arrays, meta)


def _check_settings(name: str, before: dict[str, Any], epochs: int, now: dict[str, Any]) -> None:
    del now["validation"]
    if (wanted := now.pop("epochs")) < epochs:
        raise ValueError(
            f"{name} belongs to a training of {epochs} epochs, which can be made longer but not shorter, "
            f"got epochs = {wanted}"
        )
    check_same(f"{name} belongs to another training", before, now)


def identity(model: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, by its constructor's arguments, of which older files have fewer."""
    defaults = {name: p.default for name, p in inspect.signature(model).parameters.items()}
    return {name: tuples(value) for name, value in {**defaults, **params}.items() if name not in OF_FIT}


def check_same(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ValueError that begins with `what` and names the values that differ."""
    if changed := sorted(k for k in before.keys() | now.keys() if tuples(before.get(k)) != tuples(now.get(k))):
        raise ValueError(f"{what}: " + ", ".join(f"{k} was {before.get(k)}, not {now.get(k)}" for k in changed))


def plain(value: Any) -> Any:
    """Values of NumPy as those of Python, for JSON."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def tuples(value: Any) -> Any:
    """JSON's lists back to tuples."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
