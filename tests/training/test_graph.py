"""Trainings of models by captured graphs: bit by bit the same as without, on one device and across two.

tests/training/test_captured_step.py has the captured step itself, and says on what it runs.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae.autograd import Function
from minivae.kernels.cuda import launcher
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
