"""Batches in shards on the device cuda: captured as not captured, in one process as in several, and as on a CPU.

On the GPU with --device cuda, else on the emulator (test_captured_step.py says what that is).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minivae as mv

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)


def vae(**options: Any) -> mv.models.VAE:
    return mv.models.VAE((1, 8, 8), latent_dim=3, channels=(4,), hidden=(8,), **options)


def vqvae() -> mv.models.VQVAE:
    sizes: dict[str, Any] = {"channels": 4, "residual_channels": 2, "residual_blocks": 1}
    return mv.models.VQVAE((1, 8, 8), **sizes, codes=6, code_dim=4)


def vaegan() -> mv.models.VAEGAN:
    """It has batch normalisation; the discriminator starts in epoch 3, where the step has to be captured anew."""
    of_d: dict[str, Any] = {"discriminator_channels": (3, 4), "discriminator_start": 2}
    return mv.models.VAEGAN((1, 8, 8), latent_dim=3, channels=(4,), hidden=(8,), **of_d)


def trained(make: Callable[[], Any], device: str = "cuda", shards: int = 4, epochs: int = 4) -> Any:
    """A model after training on batches of 8, 8 and 4 images, and the generator's draw."""
    mv.manual_seed(1)
    model = make()
    model.fit(
        IMAGES, epochs=epochs, batch_size=8, lr=1e-2, clip_norm=5.0, device=device, validation=IMAGES[:5], shards=shards
    )
    for record in model.history:
        del record["seconds"], record["images_per_second"]
    return model, mv.random.default_generator.draw


@pytest.mark.parametrize("make", [vae, lambda: vae(beta=2.0, binarize="dynamic"), vqvae, vaegan])
def test_a_captured_step_in_shards_is_the_step(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are errors, so nothing falls back to a step without a graph."""
    monkeypatch.setattr(mv.cuda.settings, "_capture_steps", False)
    without, draws = trained(make)
    monkeypatch.setattr(mv.cuda.settings, "_capture_steps", True)
    captured, draws_captured = trained(make)
    assert captured.history == without.history
    assert draws_captured == draws > 0
    for name, array in without.state_dict().items():
        np.testing.assert_array_equal(captured.state_dict()[name], array, err_msg=name)


@pytest.mark.parametrize("make", [vae, vqvae])
def test_shards_on_the_gpu_follow_the_curve_of_the_cpu(make: Any) -> None:
    on_gpu, draws = trained(make, "cuda", epochs=2)
    on_cpu, draws_on_cpu = trained(make, "cpu", epochs=2)
    assert draws == draws_on_cpu
    for found, expected in zip(on_gpu.history, on_cpu.history, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
