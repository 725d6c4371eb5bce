"""Models of the user: subclasses that make their networks themselves, and whole models of their own."""

from typing import NamedTuple

import numpy as np
import pytest
from own_networks import FIT, SHAPE, D, Encoder, decoder, images, weights

import minivae as mv
from minivae import nn
from minivae.models import VAE, Autoencoder, Codec, Estimator, load


class OwnBuild(VAE):
    """A subclass that makes its networks itself."""

    def build(self):
        super().build()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 2 * self.latent_dim))


class OwnBuildToo(Autoencoder):
    def build(self):
        self.encoder, self.decoder = Encoder(self.latent_dim), decoder(self.latent_dim, self.image_shape)


class SquaredLoss(NamedTuple):
    loss: mv.Tensor


class Plain(Codec):
    """A whole model of a user, whose other parameters are those of all models."""

    def __init__(self, image_shape=SHAPE, latent_dim=D, **training):
        self.image_shape, self.latent_dim = image_shape, latent_dim
        super().__init__(**training)

    def build(self):
        self.encoder, self.decoder = Encoder(self.latent_dim), decoder(self.latent_dim, self.image_shape)

    def loss(self, x):
        x = self.tensor(x)
        difference = self.decoder(self.encoder(x)) - x
        return SquaredLoss((difference * difference).sum(axis=(1, 2, 3)).mean())

    def encode(self, x):
        return self.batched(self.encoder, self.check_images(x))

    def decode(self, z):
        return self.batched(self.decoder, self.check_latents(z))


OWN = [OwnBuild, OwnBuildToo, Plain]


@pytest.fixture(autouse=True)
def seeded():
    mv.manual_seed(0)


class TestModelsOfOnesOwn:
    @pytest.mark.parametrize("make", OWN)
    def test_they_are_trained_saved_and_loaded(self, make, tmp_path):
        model = make(SHAPE, D, **FIT).fit(images())
        assert model.history[-1]["loss"] < model.history[0]["loss"]
        model.save(tmp_path / "model.npz")
        for loaded in (make.load(tmp_path / "model.npz"), load(tmp_path / "model.npz", classes=OWN)):
            assert type(loaded) is make
            np.testing.assert_array_equal(loaded.reconstruct(images(3)), model.reconstruct(images(3)))
            assert loaded.get_params() == model.get_params()

    @pytest.mark.parametrize("make", OWN)
    def test_a_training_goes_on_from_its_checkpoint(self, make, tmp_path):
        path = tmp_path / "checkpoint.npz"

        def stop(record):
            raise KeyboardInterrupt

        whole = make(SHAPE, D, random_state=2, **FIT).fit(images())
        with pytest.raises(KeyboardInterrupt):
            make(SHAPE, D, random_state=2, **FIT).fit(images(), checkpoint=path, on_epoch=stop)
        resumed = make(SHAPE, D, random_state=2, **FIT).fit(images(), checkpoint=path, resume=True)
        assert weights(resumed) == weights(whole)

    def test_keywords_that_are_passed_on_are_parameters(self):
        base = pytest.importorskip("sklearn.base")
        model = Plain(lr=0.5, random_state=3)
        common = {"epochs": 20, "lr": 0.5, "batch_size": 128, "random_state": 3, "warm_start": False}
        assert model.get_params() == {"image_shape": SHAPE, "latent_dim": D, **common}
        assert base.clone(model).get_params() == model.get_params()
        assert model.set_params(latent_dim=3, lr=0.25).encode(images(2)).shape == (2, 3)
        with pytest.raises(TypeError, match="momentum"):
            Plain(momentum=1)

    def test_what_a_model_does_not_define_is_said(self):
        class Empty(Estimator):
            pass

        class Loss(Codec):
            def build(self):
                self.layer = nn.Linear(1, 1)

        with pytest.raises(NotImplementedError, match=r"Empty does not define build\(\)"):
            Empty()
        for call in (lambda m: m.encode(images()), lambda m: m.decode(images()), lambda m: m.score(images())):
            with pytest.raises(NotImplementedError, match="Loss does not define"):
                call(Loss())

    def test_a_model_without_weights_is_refused(self):
        class Weightless(Codec):
            def build(self):
                self.encoder = nn.Flatten()

        with pytest.raises(ValueError, match="Weightless has no Parameter"):
            Weightless()

    def test_a_module_that_nobody_keeps_is_refused(self):
        """A fit() that starts anew would go on from its present weights."""

        class Forgetful(Plain):
            def __init__(self, net, **training):
                self.net = net
                super().__init__(**training)

        with pytest.raises(ValueError, match=r"net must be given to keep_modules\(\), got Encoder"):
            Forgetful(Encoder(D))

    def test_a_parameter_that_nobody_keeps_is_refused(self):
        """By what needs it: a file, a clone, set_params()."""

        class Forgetful(Plain):
            def __init__(self, width, **training):
                super().__init__(**training)

        model = Forgetful(3, latent_dim=1)
        for call in (model.get_params, lambda: model.save("m.npz"), lambda: model.set_params(latent_dim=2)):
            with pytest.raises(ValueError, match="Forgetful has the parameter width, but got no attribute"):
                call()

    def test_a_module_of_another_name(self, tmp_path):
        class Kept(Plain):
            def __init__(self, net, **training):
                self.keep_modules({"net": net})
                super().__init__(**training)

            def build(self):
                super().build()
                self.net = self.module("net", decoder)

        model = Kept(net := decoder(), random_state=1)
        assert model.get_params()["net"] is net
        assert weights(model.net) == weights(net)
        model.save(tmp_path / "model.npz")
        assert weights(Kept.load(tmp_path / "model.npz", net=decoder())) == weights(model)

    def test_a_module_that_build_has_no_use_for_is_refused(self):
        class Ignoring(VAE):
            def build(self):
                super().build()

            def module(self, name, make):
                return make()

        assert OwnBuild(SHAPE, D, decoder=decoder()).decode(np.zeros((2, D))).shape == (2, *SHAPE)
        with pytest.raises(ValueError, match=r"Ignoring.build\(\) makes no use of the encoder that was given"):
            Ignoring(SHAPE, D, encoder=Encoder(2 * D))

    @pytest.mark.parametrize(
        ("classes", "error", "message"),
        [
            ((), ValueError, r"holds 'Plain', not one of .*classes="),
            ([OwnBuild], ValueError, "holds 'Plain', not one of .*'OwnBuild'"),
            ([Plain, 5], TypeError, "classes must be a sequence of Estimators, got 5"),
            ([nn.Linear], TypeError, "classes must be a sequence of Estimators, got .*Linear"),
            (Plain, TypeError, "classes must be a sequence of Estimators, got .*Plain"),
            ([Plain, type("VAE", (Plain,), {})], ValueError, "two classes.*'VAE'"),
        ],
    )
    def test_classes_that_do_not_help(self, classes, error, message, tmp_path):
        Plain().save(tmp_path / "model.npz")
        with pytest.raises(error, match=message):
            load(tmp_path / "model.npz", classes=classes)
