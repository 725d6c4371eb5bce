"""Training steps as captured graphs: a replay runs what was captured, on the same memory, without Python.

On the GPU with --device cuda, else on the emulator, which takes down what a step does and can do it again; while it
does so, nothing is computed, and a copy between host and device is refused, as by a GPU.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minivae as mv
from minivae.autograd import Function
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.steps import CapturedStep
from minivae.optim import SGD, Adam, CosineSchedule
from minivae.random import default_generator, fork
from minivae.training import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)


def vae(**options: Any) -> mv.models.VAE:
    return mv.models.VAE((1, 8, 8), latent_dim=3, channels=(4,), hidden=(8,), **options)


def vqvae(**options: Any) -> mv.models.VQVAE:
    sizes: dict[str, Any] = {"channels": 4, "residual_channels": 2, "residual_blocks": 1}
    return mv.models.VQVAE((1, 8, 8), **sizes, **options)


def vaegan(**options: Any) -> mv.models.VAEGAN:
    """The discriminator starts in epoch 3, where the step has to be captured anew."""
    of_d: dict[str, Any] = {"discriminator_channels": (3, 4), "discriminator_start": 2}
    return mv.models.VAEGAN((1, 8, 8), latent_dim=3, channels=(4,), hidden=(8,), **of_d, **options)


def vqgan(**options: Any) -> mv.models.VQGAN:
    sizes: dict[str, Any] = {"channels": 4, "residual_channels": 2, "residual_blocks": 1}
    of_d: dict[str, Any] = {"discriminator_channels": (3, 4), "discriminator_start": 2}
    return mv.models.VQGAN((1, 8, 8), **sizes, **of_d, **options)


def autoencoder(corruption: str, arch: str) -> mv.models.Autoencoder:
    sizes = {"hidden": (8,), **({"channels": (4,)} if arch == "conv" else {})}
    return mv.models.Autoencoder((1, 8, 8), 3, arch, corruption, **sizes)


def trained(make: Callable[[], Any], x: np.ndarray, captured: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(mv.cuda.settings, "_capture_steps", captured)
    mv.manual_seed(1)
    model = make()
    model.fit(x, epochs=4, batch_size=8, lr=1e-2, clip_norm=5.0, device="cuda", validation=x[:5])
    for record in model.history:
        del record["seconds"], record["images_per_second"]
    return model


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (vae, IMAGES),
        (lambda: vae(kl_warmup=8, free_bits=0.1, binarize="dynamic"), IMAGES),
        (lambda: vae(likelihood="gaussian"), IMAGES),
        (lambda: vae(likelihood="logistic"), np.rint(IMAGES * 255) / np.float32(255)),
        (lambda: vae(likelihood="continuous-bernoulli"), IMAGES),
        (lambda: autoencoder("gaussian", "dense"), IMAGES),
        (lambda: autoencoder("masking", "conv"), IMAGES),
        (lambda: autoencoder("salt-and-pepper", "dense"), IMAGES),
        (lambda: vqvae(codes=6, code_dim=4), IMAGES),
        (lambda: vqvae(quantizer="rvq", codes=6, code_dim=4), IMAGES),
        (lambda: vqvae(quantizer="fsq", levels=(4, 3)), IMAGES),
        (lambda: vaegan(binarize="dynamic"), IMAGES),
        (lambda: vaegan(adversary="non-saturating", discriminator_norm="none", likelihood="gaussian"), IMAGES),
        (lambda: vqgan(codes=6, code_dim=4), IMAGES),
        (
            lambda: mv.models.PixelCNN((3, 3), values=4, channels=4, layers=2, hidden=8),
            (IMAGES[:, 0, :3, :3] * 4).astype(int),
        ),
    ],
    ids=[
        "vae",
        "vae with all options",
        "gaussian vae",
        "logistic vae",
        "continuous bernoulli vae",
        "gaussian dae",
        "masking dae",
        "salt-and-pepper dae",
        "vqvae",
        "residual vqvae",
        "finite scalar vqvae",
        "vaegan",
        "non-saturating vaegan",
        "vqgan",
        "pixelcnn",
    ],
)
def test_captured_training_is_bitwise_training(make: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images in batches of 8: the last batch of each epoch is ragged. Warnings are errors: nothing falls back."""
    with_graph, without = (trained(make, x, captured, monkeypatch) for captured in (True, False))
    assert with_graph.history == without.history
    for name, array in without.state_dict().items():
        np.testing.assert_array_equal(with_graph.state_dict()[name], array, err_msg=name)


def test_a_seed_of_the_models_own_is_captured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left of trainer and graph, although nobody looks for reference cycles."""
    alive: list[weakref.ref[Any]] = []
    run = Trainer.run

    def watched(trainer: Trainer, *args: Any) -> Any:
        alive.append(weakref.ref(trainer))
        return run(trainer, *args)

    monkeypatch.setattr(Trainer, "run", watched)
    gc.disable()
    try:
        models = []
        for captured in (True, False):
            monkeypatch.setattr(mv.cuda.settings, "_capture_steps", captured)
            model = vae(random_state=5, binarize="dynamic")
            models.append(model.fit(IMAGES, epochs=3, batch_size=8, device="cuda"))
        assert [trainer() for trainer in alive] == [None, None]
    finally:
        gc.enable()
    for name, array in models[0].state_dict().items():
        np.testing.assert_array_equal(models[1].state_dict()[name], array, err_msg=name)


def test_a_gradient_that_is_not_finite_ends_training_with_the_epoch() -> None:
    """In its last step, too: the device is asked after it."""

    class Exploding(mv.models.VAE):
        def loss(self, x: Any, noise: Any = None) -> Any:
            loss = super().loss(x, noise)
            return loss._replace(loss=Exploded.apply(loss.loss) if self.training else loss.loss)

    model = Exploding((1, 8, 8), latent_dim=3, channels=(4,), hidden=(8,))
    records: list[Any] = []
    with pytest.raises(FloatingPointError, match="NaN or infinite in epoch 1"):
        model.fit(IMAGES, epochs=1, batch_size=20, device="cuda", on_epoch=records.append)
    assert records == []


class Exploded(Function):
    """x, with a gradient that is infinite."""

    def forward(self, x: Any) -> Any:
        return x * 1

    def backward(self, dy: Any) -> Any:
        return dy * np.float32(np.inf)


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


@pytest.mark.gpu_only
def test_memory_of_graphs_is_given_back() -> None:
    """tests/kernels/cuda/test_engine.py tells what is done for that, on a stand-in for CuPy's pool."""
    xp, images, free = launcher.engine().xp, np.random.default_rng(0).random((256, 1, 28, 28), np.float32), []
    for _ in range(5):
        mv.models.VAE(arch="dense").fit(images, epochs=2, batch_size=128, device="cuda")
        gc.collect()
        xp.get_default_memory_pool().free_all_blocks()
        free.append(xp.cuda.runtime.memGetInfo()[0])
    assert free[4] >= free[1] - 2**23  # the first fit loads the kernels; a lost pool would be tens of MB


def test_a_diverging_loss_ends_training() -> None:
    model = vae()
    with pytest.raises(FloatingPointError, match="the loss became .* in epoch"):
        model.fit(IMAGES * np.float32(0.9), epochs=30, batch_size=8, lr=1e6, device="cuda")


@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")])
def test_checkpoints_cross_devices(devices: tuple[str, str], tmp_path: Path) -> None:
    """A training that is interrupted on one device goes on on the other along the same curve."""

    def fit(device: str, **options: Any) -> list[float]:
        mv.manual_seed(1)
        model = vae()
        with suppress(KeyboardInterrupt):
            model.fit(IMAGES, epochs=4, batch_size=8, lr=1e-2, device=device, **options)
        return [record["loss"] for record in model.history]

    def interrupt(record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "training.npz"
    assert len(fit(devices[0], checkpoint=checkpoint, on_epoch=interrupt)) == 2
    continued = fit(devices[1], checkpoint=checkpoint, resume=True)
    np.testing.assert_allclose(continued, fit("cpu"), rtol=1e-5)


def test_settings_are_checked() -> None:
    for name in ("allow_tf32", "capture_steps"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
            setattr(mv.cuda, name, 1)
    assert mv.cuda.allow_tf32 is False
    assert mv.cuda.capture_steps is True
