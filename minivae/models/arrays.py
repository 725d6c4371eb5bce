"""How a model takes plain arrays from its user and gives them back: checks of inputs, batches and checks of outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minivae.autograd import Tensor, no_grad
from minivae.data.batches import images_as_floats, range_text
from minivae.data.lazy import lazy_images
from minivae.kernels import backend, checks
from minivae.kernels.checks import check_finite
from minivae.training.loop import Trainable

LEVEL_TOLERANCE = 0.01  # by how much an 8-bit pixel times 255 may differ from an integer


class ArrayModel(Trainable):
    """It is a model of images, or of whatever else `check_images` takes.

    It has `image_shape` (C, H, W), `unit_interval`: whether pixels must lie in [0, 1], and `pixel_levels`: None, or 255
    where they must be integers / 255. One that is conditional on labels has `classes`, their number.
    """

    image_shape: tuple[int, int, int]
    unit_interval: bool = False
    pixel_levels: int | None = None
    classes: int | None = None

    @property
    def conditional(self) -> bool:
        """Whether loss() and score_samples() need labels y."""
        return self.classes is not None

    def check_images(self, x: Any) -> np.ndarray:
        """Return x as (N, C, H, W) in the model's dtype.

        x: (N, C, H, W), flat rows (N, C * H * W), or (N, H, W) where C = 1, of floating numbers. Raises TypeError for
        other dtypes, ValueError for other shapes, for NaN or infinity (with the index of the first one), and for pixels
        outside [0, 1], or no integers / 255, where the likelihood needs such ones.

        An np.memmap and a LazyArray become a LazyArray, also of bytes or booleans (data.lazy.as_floats): their shape
        and dtype are checked now, the values of a batch when it is read.
        """
        lazy = lazy_images(x)
        x = images_as_floats(x) if lazy is None else lazy
        C, H, W = self.image_shape
        if x.shape[1:] not in ((C, H, W), (C * H * W,)) and (C != 1 or x.shape[1:] != (H, W)):
            raise ValueError(f"images must have shape (N, {C}, {H}, {W}) or (N, {C * H * W}), got {x.shape}")
        if lazy is not None:
            return lazy.checked(self.check_images, (C, H, W), self.parameters()[0].dtype)
        with np.errstate(over="ignore"):  # numbers beyond the model's dtype become infinite, which is reported
            x = x.astype(self.parameters()[0].dtype, copy=False)
        check_finite(x, "images")
        if self.unit_interval and x.size and (x.min() < 0 or x.max() > 1):
            given = range_text(x.min(), x.max())
            raise ValueError(f"pixels must lie in [0, 1], got {given}; likelihood='gaussian' takes any")
        if self.pixel_levels is not None:
            self._check_levels(x, self.pixel_levels)
        return x.reshape(len(x), C, H, W)

    def _check_levels(self, x: np.ndarray, levels: int) -> None:
        off = np.abs(x * levels - np.rint(x * levels)) > LEVEL_TOLERANCE
        if off.any():
            given = x[off][0]
            raise ValueError(
                f"pixels must be those of 8-bit images, integers / {levels}, for likelihood='logistic', "
                f"got {given:.6g} = {given * levels:.6g} / {levels}; likelihood='gaussian' takes any"
            )

    def check_labels(self, y: Any, count: int) -> np.ndarray | None:
        """Return labels (count,) as int64, or None for a model that is not conditional, whatever y is.

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
        """Check images or, for a conditional model, a pair of images and labels."""
        if isinstance(validation, tuple) and len(validation) != 2:
            raise ValueError(
                f"validation must be images, or a pair of images and labels, got {checks.shown(validation)}"
            )
        x, y = self._check_data(*(validation if isinstance(validation, tuple) else (validation, None)))
        if not len(x):
            raise ValueError(f"validation must have at least one example, got shape {x.shape}")
        return x if y is None else (x, y)

    def tensor(self, x: Any) -> Tensor:
        """Return x as a constant on the model's device, in the model's dtype."""
        if isinstance(x, Tensor):
            return x
        parameter = self.parameters()[0]
        x = checks.array("x", x)
        return Tensor.wrap(backend(parameter.device).asarray(np.array(x, parameter.dtype)))

    def batched(self, function: Callable[..., Tensor], *arrays: np.ndarray) -> np.ndarray:
        """Apply function to batches of the arrays in evaluation mode, without gradients; join its results on the host.

        Raises FloatingPointError if they are not finite.
        """
        with self.evaluating():
            count = len(arrays[0])
            parts = [
                function(*(self.tensor(a[start : start + self.evaluation_batch]) for a in arrays)).numpy()
                for start in range(0, max(count, 1), self.evaluation_batch)
            ]
        return self.check_output(np.ascontiguousarray(np.concatenate(parts)))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside the with block the model is in evaluation mode, without gradients, in a session of its backend."""
        training = self.training
        self.eval()
        try:
            with no_grad(), self.parameters()[0].backend.session():
                yield
        finally:
            self.train(training)

    def check_output(self, array: np.ndarray) -> np.ndarray:
        """Return the array (N, ...) as it is. Raise FloatingPointError with the index of its first NaN or infinity."""
        try:
            check_finite(array, "its output")
        except ValueError as error:
            raise FloatingPointError(f"{type(self).__name__} has no result: {error}") from None
        return array


def shaped(name: str, output: Any, *shape: int | str) -> Tensor:
    """Return the output of a network. Raise TypeError or ValueError unless it is a Tensor of this shape.

    The network may be the user's own. A str in the shape is the name of a length that is free.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"the {name}'s output must be a Tensor, got {checks.shown(output)}")
    found = tuple(n if isinstance(n, str) else m for n, m in zip(shape, output.shape, strict=False))
    if output.ndim != len(shape) or found != shape:
        wanted = ", ".join(n if isinstance(n, str) else str(int(n)) for n in shape)
        raise ValueError(f"the {name}'s output must have shape ({wanted}), got {output.shape}")
    return output
