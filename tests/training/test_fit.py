"""What a fit leaves behind: a trained model and nothing else; and no number that is not finite."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import in_a_child, needs_fork

import minivae as mv
from minivae import kernels
from minivae.autograd import Function
from minivae.kernels.native.library import set_num_threads
from minivae.training import Trainer, evaluate, load_checkpoint, save_checkpoint

IMAGES = np.random.default_rng(0).random((20, 1, 6, 5)).astype(np.float32)


def vae(**options: Any) -> mv.models.VAE:
    return mv.models.VAE((1, 6, 5), latent_dim=2, arch="dense", hidden=(7,), **options)


@pytest.fixture(autouse=True)
def seeded() -> None:
    mv.manual_seed(0)


class TestMemory:
    @pytest.fixture
    def no_collector(self) -> Iterator[None]:
        """Only what nobody holds is let go of: no reference cycle is ever found."""
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    @pytest.mark.usefixtures("no_collector")
    def test_trainer_moments_and_gradients_end_with_the_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alive: list[weakref.ref[Any]] = []
        run = Trainer.run

        def watched(trainer: Trainer, *args: Any) -> Any:
            history = run(trainer, *args)
            arrays = [array for arrays in trainer.optimizer.state.values() for array in arrays]
            alive.extend(map(weakref.ref, (trainer, trainer.optimizer, trainer.batches, *arrays)))
            return history

        def watch_gradients(record: dict[str, Any]) -> None:
            alive.extend(weakref.ref(p._node.grad) for p in model.parameters())

        monkeypatch.setattr(Trainer, "run", watched)
        model = vae()
        model.fit(IMAGES, epochs=1, on_epoch=watch_gradients)
        count = len(model.parameters())
        assert len(alive) == 3 + 3 * count
        assert [each() for each in alive] == [None] * len(alive)
        assert all(p.grad is None for p in model.parameters())

    @pytest.mark.usefixtures("no_collector")
    def test_a_fit_that_fails_lets_go_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alive: list[weakref.ref[Any]] = []
        run = Trainer.run

        def watched(trainer: Trainer, *args: Any) -> Any:
            alive.append(weakref.ref(trainer))
            return run(trainer, *args)

        def stop(record: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Trainer, "run", watched)
        model = vae()
        with pytest.raises(KeyboardInterrupt) as caught:
            model.fit(IMAGES, epochs=1, on_epoch=stop)
        assert len(alive) == 1
        caught.value.__traceback__ = None  # which holds the frames of the fit
        del caught
        assert alive[0]() is None
        assert all(p.grad is None for p in model.parameters())


@needs_fork
class TestFrozen:
    def test_frozen_weights_stay_and_the_others_are_trained_also_after_a_resume(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.npz"

        def fit(**options: Any) -> dict[str, np.ndarray]:
            mv.manual_seed(0)
            model = vae()
            model.encoder.requires_grad_(False)
            return model.fit(IMAGES, epochs=2, **options).state_dict()

        def stop(record: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        before, after = vae().state_dict(), fit()
        assert {name.split(".")[0] for name in before if np.array_equal(before[name], after[name])} == {"encoder"}
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint=path, on_epoch=stop)
        resumed = fit(checkpoint=path, resume=True)
        assert all(np.array_equal(resumed[name], array) for name, array in after.items())

    def test_a_model_of_frozen_weights_alone_is_not_trained(self) -> None:
        with pytest.raises(ValueError, match="at least one parameter"):
            vae().requires_grad_(False).fit(IMAGES, epochs=1)


class TestFork:
    """A process that is forked while a training runs computes what any process does."""

    @pytest.fixture(autouse=True, params=["reference", "native"])
    def backend(self, request: pytest.FixtureRequest) -> Iterator[None]:
        with kernels.use_cpu(request.param):
            if request.param == "native":
                set_num_threads(3)
            yield

    def scores(self) -> list[float]:
        mv.manual_seed(3)
        model = vae().fit(IMAGES, epochs=2, batch_size=8)
        return [record["loss"] for record in model.history] + model.score_samples(IMAGES).tolist()

    def test_from_on_epoch(self) -> None:
        expected, found = self.scores(), []
        vae().fit(IMAGES, epochs=1, on_epoch=lambda _: found.append(in_a_child(self.scores)))
        assert found == [pytest.approx(expected, rel=1e-5)]

    def test_while_another_thread_trains(self) -> None:
        expected, stop = self.scores(), threading.Event()

        def train() -> None:
            while not stop.is_set():
                vae(random_state=1).fit(IMAGES, epochs=1)

        thread = threading.Thread(target=train)
        thread.start()
        try:
            for _ in range(10):
                assert in_a_child(self.scores) == pytest.approx(expected, rel=1e-5)
        finally:
            stop.set()
            thread.join(timeout=30)


class Planted(Function):
    """x itself, with the gradient that `gradient` says."""

    def forward(self, x: Any, gradient: float) -> Any:
        self.gradient = gradient
        return x * 1

    def backward(self, dy: Any) -> Any:
        return dy * dy.dtype.type(self.gradient)


class Diverging(mv.models.VAE):
    """Its loss in step `when` has gradients, or is itself, what `gradient` and `value` say."""

    when, gradient, value = -1, 1.0, 0.0

    def before_step(self, step: int, steps: int) -> None:
        self.now = step == (when := self.when) or when == step - steps

    def loss(self, x: Any, noise: Any = None) -> Any:
        loss = super().loss(x, noise)
        if not self.training or not self.now:
            return loss
        return loss._replace(loss=Planted.apply(loss.loss, gradient=self.gradient) + self.value)


class TestNumbersThatAreNotFinite:
    @pytest.mark.parametrize("when", [0, 4, -1])
    @pytest.mark.parametrize(
        "planted",
        [{"gradient": np.nan}, {"gradient": np.inf}, {"gradient": 1e30}, {"value": np.nan}, {"value": np.inf}],
        ids=str,
    )
    @pytest.mark.parametrize("clip_norm", [None, 1.0])
    def test_in_any_step_they_end_the_training_and_nothing_is_written(
        self, when: int, planted: dict[str, float], clip_norm: float | None, tmp_path: Path
    ) -> None:
        """6 steps in 2 epochs; 1e30 is finite, and its square in Adam's second moment is not."""
        model = Diverging((1, 6, 5), latent_dim=2, arch="dense", hidden=(7,))
        vars(model).update(planted, when=when)
        path, written = tmp_path / "checkpoint.npz", []

        def after_epoch(record: dict[str, Any]) -> None:
            written.append(record["epoch"])
            model.save(tmp_path / "model.npz")

        def fit() -> None:
            model.fit(IMAGES, epochs=2, batch_size=8, checkpoint=path, on_epoch=after_epoch, clip_norm=clip_norm)

        if clip_norm is not None and planted == {"gradient": 1e30}:  # which is what clipping is for
            fit()
            assert written == [1, 2]
            return
        with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
            fit()
        assert written == ([] if when == 0 else [1])
        assert path.exists() == (when != 0)
        for name in ["checkpoint", "model"] if when else []:
            arrays, meta = load_checkpoint(tmp_path / f"{name}.npz")
            assert all(np.isfinite(array).all() for array in arrays.values())
            json.dumps(meta, allow_nan=False)

    def test_in_the_loss_of_validation_data(self) -> None:
        model = vae(likelihood="gaussian")
        far, records = np.full((3, 1, 6, 5), 1e30, np.float32), []
        with (
            pytest.raises(FloatingPointError, match="the loss became (inf|nan) in evaluation"),
            np.errstate(all="ignore"),
        ):
            model.fit(IMAGES, epochs=1, validation=far, on_epoch=records.append)
        assert records == []

    def test_in_evaluations(self) -> None:
        model = vae(likelihood="gaussian")
        far = np.full((3, 1, 6, 5), 1e30, np.float32)
        for look in (lambda: evaluate(model, far), lambda: model.score_samples(far), lambda: model.score(far)):
            with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
                look()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_models_with_them_are_neither_saved_nor_loaded_nor_used(self, value: float, tmp_path: Path) -> None:
        model, good, path = vae(), vae(), tmp_path / "model.npz"
        state = {**model.state_dict(), "decoder.0.weight": np.full((7, 2), value, np.float32)}
        save_checkpoint(path, state, {"model": "VAE", "params": model.get_params()})
        before = good.state_dict()
        for load in (lambda: mv.models.VAE.load(path), lambda: good.load_state_dict(state)):
            with pytest.raises(ValueError, match="decoder.0.weight must be finite"):
                load()
        with pytest.raises(ValueError, match="model.npz' is no usable model"):
            mv.models.VAE.load(path)
        for name, array in good.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

        dict(model.named_parameters())["decoder.2.weight"].inplace()[...] = value
        path.unlink()
        with pytest.raises(FloatingPointError, match="decoder.2.weight"):
            model.save(path)
        assert not path.exists()
        uses = [model.sample, lambda: model.reconstruct(IMAGES), lambda: model.score(IMAGES)]
        uses += [lambda: evaluate(model, IMAGES), lambda: model.log_likelihood(IMAGES, 5)]
        for use in uses:
            with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
                use()

    def test_codes_of_nothing_are_no_codes(self) -> None:
        """What is nearest to NaN, or likeliest among NaN, is an integer like any other."""
        x = np.zeros((2, 1, 8, 8), np.float32)
        vqvae = mv.models.VQVAE((1, 8, 8), codes=4, code_dim=3, channels=4, residual_channels=2)
        vqvae.encoder[0].bias.inplace()[...] = np.nan
        prior = mv.models.PixelCNN((2, 2), values=4, channels=4, layers=2, hidden=4)
        prior.output[1].bias.inplace()[...] = np.nan
        for use in (lambda: vqvae.encode(x), lambda: vqvae.reconstruct(x), lambda: prior.sample(2)):
            with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
                use()
