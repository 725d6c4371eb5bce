"""A model with a random_state is a function of its parameters and the data, whatever else draws noise, and where."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae.models import MODELS, VAE, VQVAE, Autoencoder, PixelCNN
from minivae.random import Generator, current_generator, default_generator, fork, use_generator
from minivae.training import evaluate, load_checkpoint, save_checkpoint

IMAGES = np.random.default_rng(0).random((30, 1, 8, 8)).astype(np.float32)
MAPS = (IMAGES[:, 0, :3, :3] * 4).astype(np.int64)
FIT = {"epochs": 2, "batch_size": 8}
COMMON = {"epochs": 20, "lr": 1e-3, "batch_size": 128, "random_state": None, "warm_start": False}


def vae(**options: Any) -> VAE:
    return VAE((1, 8, 8), latent_dim=2, arch="dense", hidden=(7,), binarize="dynamic", **FIT, **options)


def dae(**options: Any) -> Autoencoder:
    return Autoencoder((1, 8, 8), 2, corruption="masking", hidden=(7,), **FIT, **options)


def vqvae(**options: Any) -> VQVAE:
    return VQVAE((1, 8, 8), codes=5, code_dim=3, channels=4, residual_channels=2, residual_blocks=1, **FIT, **options)


def pixelcnn(**options: Any) -> PixelCNN:
    return PixelCNN((3, 3), values=4, channels=4, layers=2, hidden=4, **FIT, **options)


MAKERS = pytest.mark.parametrize(
    ("make", "x"),
    [(vae, IMAGES), (dae, IMAGES), (vqvae, IMAGES), (pixelcnn, MAPS)],
    ids=["VAE", "Autoencoder", "VQVAE", "PixelCNN"],
)


def weights(model: Any) -> bytes:
    return b"".join(array.tobytes() for array in model.state_dict().values())


class TestGenerators:
    def test_noise_is_that_of_the_innermost_context_and_of_no_other(self) -> None:
        mv.manual_seed(4)
        own = Generator(7)
        with use_generator(own):
            assert current_generator().next()[:2] == (7, 0)
            with fork(9):
                assert current_generator().next()[:2] == (9, 0)
            mv.manual_seed(5)
            assert current_generator().next()[:2] == (7, 1)
        assert current_generator() is default_generator
        assert default_generator.state_dict() == {"seed": 5, "draw": 0}

    def test_another_thread_does_not_notice(self) -> None:
        mv.manual_seed(4)
        with fork(9), ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: current_generator().next()[:2]).result() == (4, 0)
            assert current_generator().next()[:2] == (9, 0)

    def test_threads_that_share_one_get_each_draw_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second thread comes while the first has made its Noise and not counted it yet."""
        from minivae import random

        mv.manual_seed(0)
        arrived, make = [], random.Noise

        def slowly(*args: Any) -> Any:
            noise = make(*args)
            if not arrived:
                arrived.append(other)
                other.start()
                other.join(0.2)
            return noise

        draws = []
        other = threading.Thread(target=lambda: draws.append(default_generator.next().draw))
        monkeypatch.setattr(random, "Noise", slowly)
        draws.append(default_generator.next().draw)
        other.join(30)
        assert sorted(draws) == [0, 1]

    def test_evaluations_in_two_threads_leave_gradients_on(self) -> None:
        """no_grad() of a function is one object for all of its calls, which end in any order."""
        inside, first_left = threading.Barrier(2), threading.Event()
        found = []

        @mv.no_grad()
        def look(leaves_first: bool) -> None:
            inside.wait(30)
            if not leaves_first:
                first_left.wait(30)

        def first() -> None:
            look(True)
            found.append(mv.autograd.function.is_grad_enabled())
            first_left.set()

        def second() -> None:
            with mv.no_grad():
                look(False)
                found.append(mv.autograd.function.is_grad_enabled())

        for thread in (threads := [threading.Thread(target=f) for f in (first, second)]):
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [True, False]


class TestRandomState:
    @MAKERS
    def test_a_fit_depends_on_parameters_and_data_alone(self, make: Callable[..., Any], x: np.ndarray) -> None:
        mv.manual_seed(1)
        first = make(random_state=5)
        initial, state = weights(first), default_generator.state_dict()
        first.fit(x)
        assert default_generator.state_dict() == state == {"seed": 1, "draw": 0}
        trained = weights(first)
        assert trained != initial
        mv.manual_seed(2)
        assert weights(make(random_state=5)) == initial
        assert weights(make(random_state=5).fit(x)) == trained
        assert weights(make(random_state=6).fit(x)) != trained
        assert weights(first.fit(x)) == trained  # anew, not further
        assert weights(first.fit(x, epochs=1)) != trained
        assert len(first.history) == 1

    @MAKERS
    def test_without_one_it_goes_on_with_noise_of_the_default_generator(self, make: Any, x: np.ndarray) -> None:
        found = []
        for seed in (1, 1, 2):
            mv.manual_seed(seed)
            model = make()
            found.append([weights(model.fit(x)), weights(model.fit(x))])
        assert found[0] == found[1]
        assert found[0] != found[2]
        mv.manual_seed(1)
        model = make().fit(x)
        model.load_state_dict(state := model.state_dict())
        draws = default_generator.state_dict()
        again = make()
        again.load_state_dict(state)
        default_generator.load_state_dict(draws)
        assert weights(again.fit(x)) == found[0][1]  # what the second fit begins with is what the first one left

    @MAKERS
    def test_a_warm_start_goes_on(self, make: Callable[..., Any], x: np.ndarray) -> None:
        model = make(random_state=5, warm_start=True).fit(x)
        cold = make(random_state=5).fit(x)
        assert weights(model) == weights(cold)
        model.fit(x, lr=0.0)  # from the present weights nowhere else
        for (name, parameter), other in zip(model.named_parameters(), cold.parameters(), strict=True):
            if "codebook" not in name:  # which learns without a learning rate
                np.testing.assert_array_equal(parameter.numpy(), other.numpy(), err_msg=name)

    def test_other_models_in_other_threads_change_nothing(self) -> None:
        expected = [weights(vae(random_state=k).fit(IMAGES, validation=IMAGES[:9])) for k in range(6)]
        with ThreadPoolExecutor(3) as pool:
            models = pool.map(lambda k: vae(random_state=k).fit(IMAGES, validation=IMAGES[:9]), range(6))
            assert [weights(model) for model in models] == expected

    def test_a_model_trained_inside_of_another_training_changes_nothing(self) -> None:
        alone, inner = weights(vae(random_state=1).fit(IMAGES)), weights(dae(random_state=2).fit(IMAGES))
        found = []
        outer = vae(random_state=1).fit(
            IMAGES, on_epoch=lambda _: found.append(weights(dae(random_state=2).fit(IMAGES)))
        )
        assert weights(outer) == alone
        assert found == [inner, inner]

    @pytest.mark.parametrize("make", [vae, pixelcnn])
    def test_samples_are_the_models_own(self, make: Callable[..., Any]) -> None:
        mv.manual_seed(1)
        first = make(random_state=3)
        drawn = [first.sample(4), first.sample(4)]
        assert default_generator.draw == 0
        second = make(random_state=3)
        np.testing.assert_array_equal([second.sample(4), second.sample(4)], drawn)
        assert (drawn[0] != drawn[1]).any()
        with fork(7):
            forked = make(random_state=4).sample(4)
        with fork(7):  # which has a say in noise, but not in weights
            np.testing.assert_array_equal(make(random_state=4).sample(4), forked)

    def test_dtype_stays(self) -> None:
        model = vae(random_state=0).to(dtype=np.float64).fit(np.float64(IMAGES))
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}

    def test_a_resumed_training_goes_on_bit_by_bit(self, tmp_path: Path) -> None:
        whole, path = vae(random_state=3).fit(IMAGES), tmp_path / "checkpoint.npz"

        def stop(record: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            vae(random_state=3).fit(IMAGES, checkpoint=path, on_epoch=stop)
        mv.manual_seed(77)
        resumed = vae(random_state=3).fit(IMAGES, checkpoint=path, resume=True)
        assert weights(resumed) == weights(whole)
        with pytest.raises(ValueError, match="not to this model"):
            vae(random_state=4).fit(IMAGES, checkpoint=path, resume=True)


OTHERS: dict[Any, dict[str, Any]] = {  # a segment is as long as five images, a clip is several
    mv.models.VQVAE1d: {"batch_size": 32},
    mv.models.WaveNetVQVAE: {"batch_size": 4, "lr": 2e-3},
    mv.models.VideoVQVAE: {"batch_size": 16},
    mv.models.WaveNet: {"batch_size": 32, "lr": 2e-3},
}


class TestParameters:
    @pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
    def test_every_model_has_them(self, model: Any) -> None:
        expected = {**COMMON, **OTHERS.get(model, {})}
        assert expected.items() <= model().get_params().items()

    def test_fit_takes_the_models_own_unless_it_is_given_others(self) -> None:
        model = vae(lr=0.25)
        steps = []

        class Counting(mv.training.progress.Silent):
            def start_epoch(self, epoch: int, epochs: int, count: int) -> None:
                steps.append((epochs, count))

        model.fit(IMAGES, progress=Counting())
        assert steps == [(2, 4), (2, 4)]
        assert model.history[0]["lr"] == 0.25
        model.fit(IMAGES, epochs=1, batch_size=15, lr=0.5, progress=Counting())
        assert steps[2:] == [(1, 2)]
        assert model.history[0]["lr"] == 0.5
        assert (model.epochs, model.batch_size, model.lr) == (2, 8, 0.25)

    def test_set_params_keeps_the_weights_where_no_layer_depends_on_it(self) -> None:
        model = vae(random_state=1)
        model.fit(IMAGES)
        before, layer = weights(model), model.encoder
        model.set_params(epochs=3, lr=0.1, batch_size=4, warm_start=True)
        assert (model.epochs, model.lr, model.batch_size, model.warm_start) == (3, 0.1, 4, True)
        assert weights(model) == before
        assert model.encoder is layer
        assert len(model.fit(IMAGES).history) == 3
        assert weights(model.set_params(random_state=2)) == weights(vae(random_state=2))
        assert model.warm_start

    def test_a_subclass_may_have_fewer(self) -> None:
        class Plane(VAE):
            def __init__(self, beta: float = 1.0) -> None:
                super().__init__((1, 8, 8), latent_dim=2, arch="dense", hidden=(7,), beta=beta, **FIT, random_state=1)

        model = Plane(beta=2.0)
        before = weights(model)
        assert weights(model.set_params()) == before
        assert model.set_params(beta=3.0).get_params() == {"beta": 3.0}
        assert weights(model.fit(IMAGES)) == weights(Plane(beta=3.0).fit(IMAGES))

    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
            ({"epochs": 1.5}, TypeError, "epochs must be an int, got 1.5"),
            ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
            ({"lr": -1.0}, ValueError, "lr must be"),
            ({"lr": float("nan")}, ValueError, "lr must be"),
            ({"warm_start": 1}, TypeError, "warm_start must be True or False, got 1"),
            ({"random_state": -1}, ValueError, "random_state must be in"),
            ({"random_state": "x"}, TypeError, "random_state must be an int, got 'x'"),
        ],
    )
    def test_values_out_of_range(self, parameters: dict[str, Any], error: type[Exception], message: str) -> None:
        model = Autoencoder((1, 8, 8), 2, hidden=())
        before = model.get_params()
        for make in (
            lambda: Autoencoder((1, 8, 8), 2, hidden=(), **parameters),
            lambda: model.set_params(**parameters),
        ):
            with pytest.raises(error, match=message):
                make()
        assert model.get_params() == before
        if parameters.keys() <= {"epochs", "batch_size", "lr"}:
            with pytest.raises(error, match=message):
                model.fit(IMAGES, **parameters)

    def test_files_from_before_them(self, tmp_path: Path) -> None:
        mv.manual_seed(0)
        model, path = Autoencoder((1, 8, 8), 2, hidden=()), tmp_path / "model.npz"
        params = {name: value for name, value in model.get_params().items() if name not in COMMON}
        save_checkpoint(path, model.state_dict(), {"model": "Autoencoder", "params": params})
        loaded = Autoencoder.load(path)
        assert weights(loaded) == weights(model)
        assert COMMON.items() <= loaded.get_params().items()

    def test_checkpoints_from_before_them(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.npz"

        def stop(record: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        mv.manual_seed(0)
        fit = {"epochs": 2, "batch_size": 8}
        whole = Autoencoder((1, 8, 8), 2, hidden=()).fit(IMAGES, **fit)
        mv.manual_seed(0)
        with pytest.raises(KeyboardInterrupt):
            Autoencoder((1, 8, 8), 2, hidden=()).fit(IMAGES, **fit, checkpoint=path, on_epoch=stop)
        arrays, meta = load_checkpoint(path)
        meta["params"] = {name: value for name, value in meta["params"].items() if name not in COMMON}
        save_checkpoint(path, arrays, meta)
        resumed = Autoencoder((1, 8, 8), 2, hidden=()).fit(IMAGES, **fit, checkpoint=path, resume=True)
        assert weights(resumed) == weights(whole)

    def test_a_saved_model_keeps_them(self, tmp_path: Path) -> None:
        model = vae(random_state=np.int64(3), warm_start=True).fit(IMAGES)
        model.save(tmp_path / "model.npz")
        loaded = VAE.load(tmp_path / "model.npz")
        assert loaded.get_params() == model.get_params()
        assert weights(loaded) == weights(model)


class TestScore:
    @MAKERS
    def test_it_is_the_mean_of_score_samples_always_under_the_same_noise(self, make: Any, x: np.ndarray) -> None:
        model = make(random_state=0).fit(x)
        scores = {model.score(x), model.score(x, np.zeros(len(x))), pickle.loads(pickle.dumps(model)).score(x)}
        assert len(scores) == 1
        (score,) = scores
        mv.manual_seed(3)
        assert score == pytest.approx(np.mean([model.score_samples(x).mean() for _ in range(20)]), rel=0.05)
        with pytest.raises(ValueError, match="at least one example"):
            model.score(x[:0])

    def test_of_a_vae_it_is_the_bound(self) -> None:
        model = VAE((1, 8, 8), latent_dim=2, arch="dense", hidden=(7,))
        means = evaluate(model, IMAGES)
        assert model.score(IMAGES) == pytest.approx(-means["nll"] - means["kl"], rel=1e-6)

    def test_of_a_conditional_model_it_needs_the_labels(self) -> None:
        model = pixelcnn(classes=2)
        labels = np.arange(len(MAPS)) % 2
        assert model.score(MAPS, labels) == pytest.approx(model.score_samples(MAPS, labels).mean())
        with pytest.raises(ValueError, match="needs labels y"):
            model.score(MAPS)
