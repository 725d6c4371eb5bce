"""Estimator: what every model offers to its user. Plain arrays in, plain arrays out.

The verbs are scikit-learn's (fit, transform, inverse_transform, score_samples, get_params, set_params), so that a model
is cloned and put into a Pipeline without this package importing scikit-learn; the model underneath is a Module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minivae.autograd import Tensor, no_grad
from minivae.data.batches import Batches, check_finite, images_as_floats
from minivae.kernels import backend, checks
from minivae.kernels.cpu.threads import use_threads
from minivae.optim import Adam, CosineSchedule
from minivae.random import default_generator

from .checkpoint import load_checkpoint, save_checkpoint
from .loop import Trainable, Trainer
from .progress import Progress, progress_for

E = TypeVar("E", bound="Estimator")
EVALUATION_BATCH = 256


class Estimator(Trainable):
    """Base of the models.

    A subclass stores its constructor's arguments under their own names, builds its layers and defines loss(x). It has
    `image_shape` (C, H, W) and `unit_interval`: whether pixels must lie in [0, 1]. One that is conditional on labels
    has `classes`, their number, and defines loss(x, y).
    """

    image_shape: tuple[int, int, int]
    unit_interval: bool = False
    classes: int | None = None
    history: list[dict[str, Any]]

    # ---- scikit-learn's conventions ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, as they were given."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: E, **params: Any) -> E:
        """Change constructor's arguments; the layers are built anew. ValueError for an unknown name."""
        known = self.get_params()
        if unknown := sorted(params.keys() - known.keys()):
            raise ValueError(f"{type(self).__name__} has no parameter {unknown}; it has {sorted(known)}")
        if params:
            type(self).__init__(self, **{**known, **params})
        return self

    def __sklearn_tags__(self) -> Any:
        """Asked for by scikit-learn, which is therefore there."""
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=TransformerTags())

    def __sklearn_is_fitted__(self) -> bool:
        """A model can be used from its first, random weights on."""
        return True

    def fit(
        self: E,
        x: np.ndarray,
        y: Any = None,
        *,
        epochs: int = 20,
        batch_size: int = 128,
        lr: float = 1e-3,
        clip_norm: float | None = None,
        validation: np.ndarray | tuple[np.ndarray, Any] | None = None,
        device: str | None = None,
        progress: bool | Progress = False,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> E:
        """Train on images x with Adam, the learning rate falling from lr to 0 along half a cosine.

        x: (N, C, H, W), or whatever `check_images` takes. y: labels (N,) for a conditional model; others ignore it, so
        that they fit into scikit-learn's Pipeline. validation: other images, or a pair of images and their labels.
        device: 'cpu' or 'cuda', where the model goes and stays; None is where it is.
        clip_norm: bound on the norm of the gradients. progress: True for a bar on stderr, or a Progress of one's own.
        checkpoint: a .npz written after each epoch; resume: go on from it, bit by bit as if never interrupted.
        on_epoch(record): called after each epoch. Training starts from the present weights; `history` has the records.

        Raises ValueError for data that does not fit (its first NaN is named) or missing labels, TypeError for dtypes
        that do not, FloatingPointError if the loss diverges.
        """
        epochs, resume = checks.integer("epochs", epochs, 1), checks.flag("resume", resume)
        clip_norm = None if clip_norm is None else checks.number("clip_norm", clip_norm, "(0, inf]")
        reporter = _reporter(progress)
        if on_epoch is not None:
            checks.function("on_epoch", on_epoch)
        x, y = self._check_data(x, y)
        held_out = None if validation is None else self._check_validation(validation)
        self.to(device=device)
        trainer = self._trainer(Batches(x, batch_size, default_generator.seed, y), epochs, lr, clip_norm)
        if resume:
            if checkpoint is None:
                raise ValueError("resume=True needs the checkpoint to go on from")
            self._resume(trainer, checkpoint)

        def after_epoch(record: dict[str, Any]) -> None:
            if checkpoint is not None:
                arrays, meta = trainer.state()
                save_checkpoint(checkpoint, arrays, {**self._meta(), **meta})
            if on_epoch is not None:
                on_epoch(record)

        self.history = trainer.history
        self.history = trainer.run(epochs, held_out, reporter, after_epoch)
        return self

    def _trainer(self, batches: Batches, epochs: int, lr: float, clip_norm: float | None) -> Trainer:
        optimizer = Adam(self.parameters(), lr)
        return Trainer(self, optimizer, batches, CosineSchedule(optimizer, epochs * len(batches)), clip_norm)

    def _resume(self, trainer: Trainer, checkpoint: str | Path) -> None:
        arrays, meta = load_checkpoint(checkpoint)
        if meta.get("model") != type(self).__name__ or _tuples(meta["params"]) != _tuples(self._meta()["params"]):
            raise ValueError(
                f"{str(checkpoint)!r} belongs to {meta.get('model')}({meta.get('params')}), not to this model"
            )
        trainer.load_state(arrays, meta)

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write class, constructor's arguments and weights to a .npz (or .safetensors) file, atomically."""
        save_checkpoint(path, self.state_dict(), self._meta())

    @classmethod
    def load(cls: type[E], path: str | Path) -> E:
        """The model that save() wrote. ValueError for an unreadable file or one that holds another class."""
        arrays, meta = load_checkpoint(path)
        if meta.get("model") != cls.__name__:
            raise ValueError(f"{str(path)!r} holds a {meta.get('model')}, not a {cls.__name__}")
        model = cls(**_tuples(meta["params"]))
        dtypes = {v.dtype for v in arrays.values() if v.dtype.kind == "f"}
        if dtypes:
            model.to(dtype=dtypes.pop())
        model.load_state_dict(arrays)
        return model.eval()

    def _meta(self) -> dict[str, Any]:
        return {"model": type(self).__name__, "params": _plain(self.get_params())}

    # ---- arrays ----

    def check_images(self, x: Any) -> np.ndarray:
        """x as (N, C, H, W) in the model's dtype.

        Takes (N, C, H, W), flat rows (N, C * H * W), or (N, H, W) where C = 1, of floating numbers. Raises TypeError
        for other dtypes, ValueError for other shapes, for NaN or infinity (with the index of the first one), and for
        pixels outside [0, 1] where the likelihood needs them inside.
        """
        x = images_as_floats(x)
        C, H, W = self.image_shape
        if x.shape[1:] not in ((C, H, W), (C * H * W,)) and (C != 1 or x.shape[1:] != (H, W)):
            raise ValueError(f"images must have shape (N, {C}, {H}, {W}) or (N, {C * H * W}), got {x.shape}")
        with np.errstate(over="ignore"):  # beyond the model's dtype becomes infinity, which is found
            x = x.astype(self.parameters()[0].dtype, copy=False)
        check_finite(x, "images")
        if self.unit_interval and x.size and (x.min() < 0 or x.max() > 1):
            raise ValueError(f"pixels must lie in [0, 1], got {x.min():.6g} to {x.max():.6g}")
        return x.reshape(len(x), C, H, W)

    def check_latents(self, z: Any) -> np.ndarray:
        """z as (N, latent_dim) in the model's dtype.

        Raises TypeError unless z are integers or floating numbers, ValueError for other shapes, NaN and infinity.
        """
        z = checks.array("latents", z, "iuf")
        D: int = getattr(self, "latent_dim")  # noqa: B009 - of those models that decode them
        if z.ndim != 2 or z.shape[1] != D:
            raise ValueError(f"latents must have shape (N, {D}), got {z.shape}")
        with np.errstate(over="ignore"):
            z = z.astype(self.parameters()[0].dtype, copy=False)
        check_finite(z, "latents")
        return z

    def check_labels(self, y: Any, count: int) -> np.ndarray | None:
        """Labels (count,) as int64; None for a model that is not conditional, whatever y is.

        Raises TypeError unless they are integers, ValueError if they are missing, of another number or not in
        [0, classes).
        """
        if self.classes is None:
            return None
        if y is None:
            raise ValueError(f"{type(self).__name__} with classes={self.classes} needs labels y, got None")
        y = checks.array(f"labels in [0, {self.classes})", y, "iu")
        if y.shape != (count,):
            raise ValueError(f"labels must have shape ({count},), one for each example, got {y.shape}")
        if y.size and (y.min() < 0 or y.max() >= self.classes):
            raise ValueError(f"labels must be in [0, {self.classes}), got {y.min()} to {y.max()}")
        return y.astype(np.int64, copy=False)

    def _check_data(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray | None]:
        x = self.check_images(x)
        return x, self.check_labels(y, len(x))

    def _check_validation(self, validation: Any) -> Any:
        """Images or, for a conditional model, a pair of them and their labels."""
        x, y = self._check_data(*(validation if isinstance(validation, tuple) else (validation, None)))
        return x if y is None else (x, y)

    def tensor(self, x: Any) -> Tensor:
        """x as a constant on the model's device, in the model's dtype."""
        if isinstance(x, Tensor):
            return x
        parameter = self.parameters()[0]
        x = checks.array("x", x)
        return Tensor.wrap(backend(parameter.device).asarray(np.array(x, parameter.dtype)))

    def batched(self, function: Callable[..., Tensor], *arrays: np.ndarray) -> np.ndarray:
        """function over batches of the arrays in evaluation mode, without gradients; its results joined on the host."""
        training = self.training
        self.eval()
        try:
            with no_grad(), use_threads():
                count = len(arrays[0])
                parts = [
                    function(*(self.tensor(a[start : start + EVALUATION_BATCH]) for a in arrays)).numpy()
                    for start in range(0, max(count, 1), EVALUATION_BATCH)
                ]
        finally:
            self.train(training)
        return np.ascontiguousarray(np.concatenate(parts))


def _reporter(progress: bool | Progress) -> Progress | None:
    if isinstance(progress, (bool, np.bool_)):
        return progress_for() if progress else None
    checks.offers("progress", progress, "start_epoch", "step", "end_epoch")
    return progress


def _plain(value: Any) -> Any:
    """Values of NumPy as those of Python, for JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _tuples(value: Any) -> Any:
    """JSON's lists back to tuples."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
