"""The loop and the session of a backend: results that may lag behind, steps that are checked or not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minivae as mv
from minivae.autograd import Function
from minivae.kernels import backend
from minivae.kernels.session import Session
from minivae.training import loop

FOLDER = Path(loop.__file__).parent
IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)


class Loss(NamedTuple):
    loss: mv.Tensor
    nll: mv.Tensor


def loss(value: float) -> Loss:
    return Loss(mv.Tensor(np.float32(value)), mv.Tensor(np.float32(2 * value)))


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


def test_results_are_fetched_once_as_many_wait_as_may() -> None:
    averages = loop.Averages(lag=3)
    means = []
    for value in (1.0, 2.0, 6.0, 100.0):
        averages.add(loss(value), 2)
        means.append(averages.means())
    assert means == [{}, {}, {"loss": 3.0, "nll": 6.0}, {"loss": 3.0, "nll": 6.0}]
    averages.settle()
    assert averages.means() == {"loss": 109 / 4, "nll": 109 / 2}
    assert averages.count == 8


def test_a_bad_result_is_found_when_it_is_fetched() -> None:
    averages = loop.Averages(lag=2)
    averages.add(loss(np.nan), 1)
    assert averages.diverged is None
    averages.add(loss(1.0), 1)
    assert averages.diverged == "loss became nan"


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
