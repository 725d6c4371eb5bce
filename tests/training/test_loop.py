"""The loop and the session of a backend: results that may lag behind, steps that are checked or not."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae.autograd import Function
from minivae.kernels import backend
from minivae.kernels.session import Session
from minivae.training import loop
from minivae.training.progress import Silent

FOLDER = Path(loop.__file__).parent
IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)


def autoencoder() -> mv.models.Autoencoder:
    mv.manual_seed(0)
    return mv.models.Autoencoder((1, 8, 8), 2, "dense", hidden=(4,))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_training_asks_for_no_device(path: Path) -> None:
    asked = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("device", "__cuda_array_interface__")
    ]
    assert asked == []


def test_two_functions_lie_between_a_fit_and_the_loss() -> None:
    """Trainer.run is the loop and Trainer.step a step: a reader follows them in one file."""
    found = []

    class Watched(mv.models.Autoencoder):
        def loss(self, x: Any) -> Any:
            frame, names = inspect.currentframe(), []
            while frame is not None and frame.f_code.co_name != "fit":
                names.append((frame.f_code.co_name, Path(frame.f_code.co_filename).name))
                frame = frame.f_back
            found.append(names[1:])
            return super().loss(x)

    mv.manual_seed(0)
    Watched((1, 8, 8), 2, hidden=(4,)).fit(IMAGES, epochs=1, batch_size=10)
    assert found == [[("step", "loop.py"), ("run", "loop.py")]] * 2


class Lagging(Session):
    """A session of which the loop must believe that results stay away."""

    lag = 4
    steps = 0

    def prepare(self, step: Any, state: Any) -> Any:
        def counted(*batch: Any) -> Any:
            self.steps += 1
            return step(*batch)

        return counted


def test_the_loop_calls_the_step_that_the_session_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a lag changes nothing in what is learned and recorded."""
    expected = autoencoder().fit(IMAGES, epochs=2, batch_size=8, clip_norm=0.1)
    lagging = Lagging()
    monkeypatch.setattr(backend("cpu"), "session", lambda: lagging)
    model = autoencoder().fit(IMAGES, epochs=2, batch_size=8, clip_norm=0.1)
    assert lagging.steps == 2 * 3
    for mine, theirs in zip(model.history, expected.history, strict=True):
        assert mine["loss"] == theirs["loss"]
    for name, array in expected.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


@pytest.mark.parametrize(("lag", "known"), [(1, [True, True, True]), (2, [False, True, True]), (4, [False] * 3)])
def test_means_are_known_when_as_many_results_wait_as_may(
    lag: int, known: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at the end of the epoch, all of them."""

    class Watching(Silent):
        def step(self, metrics: Any) -> None:
            seen.append("loss" in metrics)

    seen: list[bool] = []
    monkeypatch.setattr(Lagging, "lag", lag)
    monkeypatch.setattr(backend("cpu"), "session", Lagging)
    model = autoencoder().fit(IMAGES, epochs=1, batch_size=8, progress=Watching())
    assert seen == known
    assert np.isfinite(model.history[0]["loss"])


class Exploded(Function):
    """x, with a gradient that is infinite."""

    def forward(self, x: Any) -> Any:
        return x * 1

    def backward(self, dy: Any) -> Any:
        return dy * np.float32(np.inf)


class Exploding(mv.models.Autoencoder):
    def loss(self, x: Any) -> Any:
        result = super().loss(x)
        return result._replace(loss=Exploded.apply(result.loss))


@pytest.mark.parametrize("lag", [1, 4])
def test_only_without_a_lag_a_bad_norm_is_found_before_the_weights_are_moved(
    lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one a step must not wait for the device; the weights tell at the end of the epoch."""
    monkeypatch.setattr(Lagging, "lag", lag)
    monkeypatch.setattr(backend("cpu"), "session", Lagging)
    mv.manual_seed(0)
    model = Exploding((1, 8, 8), 2, "dense", hidden=(4,))
    before = model.state_dict()
    message = "the norm of the gradients is" if lag == 1 else "NaN or infinite in epoch 1"
    with pytest.raises(FloatingPointError, match=message), np.errstate(all="ignore"):
        model.fit(IMAGES, epochs=1, batch_size=20, clip_norm=1.0)
    unmoved = all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert unmoved == (lag == 1)
