"""Training steps as captured graphs: a replay runs what was captured, on the same memory, without Python.

On the GPU with --device cuda, else on the emulator, which takes down what a step does and can do it again; while it
does so, nothing is computed, and a copy between host and device is refused, as by a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import minivae as mv
from minivae.kernels.cuda.steps import CapturedStep
from minivae.optim import SGD, Adam, CosineSchedule
from minivae.random import default_generator, fork

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]


class Loss(NamedTuple):
    loss: mv.Tensor


class Line(mv.nn.Module):
    def __init__(self) -> None:
        self.w = mv.nn.Parameter(np.ones(3, np.float32))
        self.seen = mv.nn.Buffer(np.zeros((), np.float32))


def stepper(calls: list[int], optimizers: int = 1, **options: Any) -> tuple[Line, CapturedStep, list[Any]]:
    line = Line().to("cuda")
    steppers = [SGD(line.parameters(), lr=0.1, **options) for _ in range(optimizers)]

    def step(x: mv.Tensor) -> Loss:
        calls.append(1)
        for optimizer in steppers:
            optimizer.zero_grad()
        loss = (line.w * x).sum()
        loss.backward()
        for optimizer in steppers:
            optimizer.step()
        line.seen.inplace()[...] += 1
        return Loss(loss)

    return line, mv.cuda.graph(step, line, steppers), steppers


def batch(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_python_runs_twice_and_the_device_every_time() -> None:
    calls: list[int] = []
    line, step, (optimizer,) = stepper(calls)
    for i in range(5):
        result = step(batch(1, 2, 3))
        assert result.loss.item() == pytest.approx(6 - 1.4 * i, rel=1e-6)
    assert len(calls) == 2
    assert line.seen.item() == 5
    assert optimizer.steps == [5]


def test_results_are_the_callers_own() -> None:
    _, step, _ = stepper([])
    results = [step(batch(1, 2, 3)) for _ in range(4)]
    assert len({r.loss.item() for r in results}) == 4


def test_the_learning_rate_is_read_anew() -> None:
    line, step, (optimizer,) = stepper([])
    schedule = CosineSchedule(optimizer, total_steps=4)
    expected = np.ones(3, np.float64)
    for _ in range(4):
        expected -= optimizer.lr
        step(batch(1, 1, 1))
        schedule.step()
    np.testing.assert_allclose(line.w.numpy(), expected, rtol=1e-6)


def test_gradients_are_those_of_the_last_step() -> None:
    line, step, _ = stepper([])
    for x in (batch(1, 2, 3), batch(4, 5, 6), batch(7, 8, 9), batch(1, 1, 2)):
        step(x)
        np.testing.assert_array_equal(mv.Tensor(line.w.grad).numpy(), x)


def test_several_optimisers() -> None:
    line, step, steppers = stepper([], optimizers=2)
    for _ in range(4):
        step(batch(1, 1, 1))
    assert [o.steps for o in steppers] == [[4], [4]]
    np.testing.assert_allclose(line.w.numpy(), 1 - 4 * 2 * 0.1, rtol=1e-5)


def test_too_many_live_numbers_fall_back() -> None:
    line, step, _ = stepper([], optimizers=4)
    step(batch(1, 1, 1))
    with pytest.warns(
        RuntimeWarning, match="without a CUDA graph: RuntimeError: a captured step can have 8 live numbers"
    ):
        step(batch(1, 1, 1))
    step(batch(1, 1, 1))
    np.testing.assert_allclose(line.w.numpy(), 1 - 3 * 4 * 0.1, rtol=1e-5)


def falls_back(do: Callable[[Line], None], message: str) -> None:
    """A step that cannot be captured runs as it is, each time exactly once."""
    line = Line().to("cuda")
    optimizer = Adam(line.parameters(), lr=0.1)

    def step(x: mv.Tensor) -> Loss:
        optimizer.zero_grad()
        loss = (line.w * x).sum()
        loss.backward()
        default_generator.next()
        optimizer.step()
        do(line)
        return Loss(loss)

    captured = mv.cuda.graph(step, line, [optimizer])
    draw = default_generator.draw
    captured(batch(1, 2, 3))
    with pytest.warns(RuntimeWarning, match=message):
        captured(batch(1, 2, 3))
    captured(batch(1, 2, 3))
    assert optimizer.steps == [3]
    assert default_generator.draw == draw + 3
    np.testing.assert_allclose(line.w.numpy(), 1 - 3 * 0.1, rtol=1e-4)  # Adam, gradients that stay the same


def test_asking_the_device_falls_back() -> None:
    falls_back(lambda line: float(line.w.data[0]), "without a CUDA graph")


def test_a_capture_that_fails_leaves_the_gradients() -> None:
    """Those made in it have no values: it has computed nothing."""
    line, calls = Line().to("cuda"), []

    def step(x: mv.Tensor) -> Loss:
        calls.append(1)
        if len(calls) < 3:  # the eager step, the capture; then it adds up
            line.zero_grad()
        loss = (line.w * x).sum()
        loss.backward()
        float(loss.data)
        return Loss(loss)

    run = mv.cuda.graph(step, line)
    run(batch(1, 2, 3))
    with pytest.warns(RuntimeWarning, match="without a CUDA graph"):
        run(batch(1, 2, 3))
    np.testing.assert_array_equal(mv.Tensor(line.w.grad).numpy(), [2, 4, 6])


def test_adding_to_the_gradients_of_the_step_before_falls_back() -> None:
    """A replay would add to those of the step before the capture, each time."""
    line = Line().to("cuda")

    def step(x: mv.Tensor) -> Loss:
        loss = (line.w * x).sum()
        loss.backward()
        return Loss(loss)

    run = mv.cuda.graph(step, line)
    run(batch(1, 2, 3))
    with pytest.warns(RuntimeWarning, match=r"adds to gradients .* it must begin with zero_grad\(\)"):
        run(batch(1, 2, 3))
    run(batch(1, 2, 3))
    np.testing.assert_array_equal(mv.Tensor(line.w.grad).numpy(), [3, 6, 9])


def test_new_arrays_for_old_fall_back() -> None:
    def replace(line: Line) -> None:
        line.seen.data = line.seen.data + 1

    falls_back(replace, "puts a new array in place of seen; it must write into it")


def test_new_moments_for_old_fall_back() -> None:
    """An optimiser of the user's own may do so; what it makes in a capture has no values."""

    class Replacing(SGD):
        def _update(self, kernels: Any, params: Any, grads: Any, state: Any, step: Any, lr: Any) -> None:
            super()._update(kernels, params, grads, state, step, lr)
            self.state["velocity"] = [velocity * 1 for velocity in self.state["velocity"]]

    def trained(captured: bool) -> list[float]:
        line = Line().to("cuda")
        optimizer = Replacing(line.parameters(), lr=0.1, momentum=0.5)

        def step(x: mv.Tensor) -> Loss:
            optimizer.zero_grad()
            loss = (line.w * x).sum()
            loss.backward()
            optimizer.step()
            return Loss(loss)

        if not captured:
            return [step(mv.Tensor(batch(1, 2, 3)).to("cuda")).loss.item() for _ in range(4)]
        run = mv.cuda.graph(step, line, [optimizer])
        losses = [run(batch(1, 2, 3)).loss.item()]
        with pytest.warns(RuntimeWarning, match="a new array in place of the optimiser's velocity.0"):
            losses.append(run(batch(1, 2, 3)).loss.item())
        return losses + [run(batch(1, 2, 3)).loss.item() for _ in range(2)]

    assert trained(captured=True) == trained(captured=False)


def test_a_parameter_that_is_not_the_models_is_watched_too() -> None:
    line, other = Line().to("cuda"), mv.nn.Parameter(np.ones(3, np.float32))
    other.convert("cuda")
    optimizer = SGD([line.w, other], lr=0.1)

    def step(x: mv.Tensor) -> Loss:
        optimizer.zero_grad()
        loss = (other * x).sum()
        loss.backward()
        optimizer.step()
        return Loss(loss)

    run = mv.cuda.graph(step, line, [optimizer])
    for _ in range(3):
        run(batch(1, 1, 1))
    other.data = other.data * 0
    assert run(batch(1, 1, 1)).loss.item() == 0
    np.testing.assert_allclose(other.numpy(), -0.1, rtol=1e-6)


def test_the_noise_is_that_of_the_current_generator() -> None:
    """Which may be another one at each step, as long as it has the same seed."""
    line = Line().to("cuda")
    run = mv.cuda.graph(lambda x: Loss(mv.functional.reparameterize(x, x).sum()), line)

    def values() -> list[float]:
        with fork(7):
            return [run(batch(0, 0, 0)).loss.item() for _ in range(3)]

    assert len(set(values())) == 3
    assert values() == values()


def test_a_step_that_returns_something_else_falls_back() -> None:
    run = mv.cuda.graph(lambda x: x * 2, Line().to("cuda"))
    run(batch(1, 2, 3))
    with pytest.warns(RuntimeWarning, match="must return a named tuple of Tensors, got"):
        run(batch(1, 2, 3))
    np.testing.assert_array_equal(run(batch(1, 2, 3)).numpy(), [2, 4, 6])


def test_gradients_of_before_the_capture_are_let_go_of() -> None:
    """They are as large as the model."""
    line, step, _ = stepper([])
    step(batch(1, 2, 3))
    old = weakref.ref(line.w.grad)
    step(batch(1, 2, 3))
    assert old() is None


CHANGES: dict[str, Callable[[Line, SGD], None]] = {
    "parameter": lambda line, _: setattr(line.w, "data", line.w.data * 0.5),
    "buffer": lambda line, _: setattr(line.seen, "data", line.seen.data + 10),
    "state": lambda _, optimizer: optimizer.state["velocity"].__setitem__(0, optimizer.state["velocity"][0] * 0.5),
    "setting": lambda _, optimizer: setattr(optimizer, "weight_decay", 0.5),
    "mode": lambda line, _: line.eval(),
    "tf32": lambda line, _: setattr(mv.cuda, "allow_tf32", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_between_two_steps_counts(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured step has addresses and values in it: where one of them is another one now, it is captured anew."""
    monkeypatch.setattr(mv.cuda.settings, "_allow_tf32", False)

    def trained(captured: bool) -> list[Any]:
        line, optimizer, calls = Line().to("cuda"), None, []
        optimizer = SGD(line.parameters(), lr=0.1, momentum=0.5)

        def step(x: mv.Tensor) -> Loss:
            calls.append(1)
            optimizer.zero_grad()
            loss = (line.w * x).sum() * (2.0 if line.training else 3.0) * (5.0 if mv.cuda.allow_tf32 else 1.0)
            loss.backward()
            optimizer.step()
            line.seen.inplace()[...] += 1
            return Loss(loss)

        run = mv.cuda.graph(step, line, [optimizer]) if captured else lambda x: step(mv.Tensor(x).to("cuda"))
        losses = []
        for i in range(6):
            if i == 4:
                CHANGES[change](line, optimizer)
            losses.append(run(batch(1, 2, 3)).loss.item())
        assert len(calls) == (3 if captured else 6)
        mv.cuda.allow_tf32 = False
        return [*losses, *line.w.numpy(), line.seen.item()]

    assert trained(captured=True) == trained(captured=False)


def test_parameters_that_no_longer_count_the_same_steps() -> None:
    """Adam corrects each by its own count, which a checkpoint may bring."""

    def trained(captured: bool) -> list[float]:
        lines = mv.nn.Sequential(Line(), Line()).to("cuda")
        optimizer = Adam(lines.parameters(), lr=0.1)

        def step(x: mv.Tensor) -> Loss:
            optimizer.zero_grad()
            loss = sum((p * x).sum() for p in optimizer.params)
            loss.backward()
            optimizer.step()
            return Loss(loss)

        run = mv.cuda.graph(step, lines, [optimizer]) if captured else lambda x: step(mv.Tensor(x).to("cuda"))
        for i in range(5):
            if i == 3:
                optimizer.steps = [1, 50]
            run(batch(1, 2, 3))
        return [number for p in optimizer.params for number in p.numpy()]

    assert trained(captured=True) == trained(captured=False)


def test_another_seed_is_captured_anew() -> None:
    x, calls = batch(0, 0, 0), []

    class Noisy(NamedTuple):
        loss: mv.Tensor

    line = Line().to("cuda")

    def step(x: mv.Tensor) -> Noisy:
        calls.append(1)
        return Noisy(mv.functional.reparameterize(x, x).sum())

    captured = mv.cuda.graph(step, line)
    values = {}
    for seed in (1, 2, 1):
        mv.manual_seed(seed)
        values.setdefault(seed, []).append([captured(x).loss.item() for _ in range(3)])
    assert values[1][0] == values[1][1] != values[2][0]
    assert len(set(values[1][0])) == 3
    assert len(calls) == 1 + 3
