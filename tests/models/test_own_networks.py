"""Encoders and decoders of the user, in models of this package; test_own_models.py has models of the user."""

from typing import Any

import numpy as np
import pytest
from own_networks import FIT, SHAPE, D, Encoder, decoder, images, weights

import minivae as mv
from minivae import nn
from minivae.models import VAE, Autoencoder, load


def vae(**options):
    return VAE(SHAPE, D, **{"encoder": Encoder(2 * D), "decoder": decoder(), **FIT, **options})


def autoencoder(**options):
    return Autoencoder(SHAPE, D, **{"encoder": Encoder(D), "decoder": decoder(), **FIT, **options})


MAKERS = pytest.mark.parametrize("make", [vae, autoencoder], ids=["VAE", "Autoencoder"])


@pytest.fixture(autouse=True)
def seeded():
    mv.manual_seed(0)


class TestGivenModules:
    @MAKERS
    def test_the_model_trains_copies_of_them(self, make):
        model = make()
        given = model.get_params()
        before = [weights(given[name]) for name in ("encoder", "decoder")]
        assert weights(model.encoder) == before[0]
        model.fit(images())
        assert model.history[-1]["loss"] < model.history[0]["loss"]
        assert isinstance(model.encoder, Encoder)
        assert weights(model.encoder) != before[0]
        assert weights(model.decoder) != before[1]
        assert [weights(given[name]) for name in ("encoder", "decoder")] == before
        assert model.encode(images(3)).shape == (3, D)
        assert model.reconstruct(images(3)).shape == (3, *SHAPE)
        assert model.score_samples(images(3)).shape == (3,)

    @pytest.mark.cpu_only("the operations have tests of their own on every device")
    @MAKERS
    def test_their_gradients_are_right(self, make):
        model, noise = make().to(dtype=np.float64), mv.random.Generator(1).next()
        x = images(3, dtype=np.float64)
        assert mv.gradcheck(lambda *_: model.loss(x, noise).loss, model.parameters(), rtol=1e-4)

    def test_what_a_vae_makes_of_them_is_its_loss(self):
        """With the layers that build() would make the training is the same, bit by bit."""
        built = VAE(SHAPE, D, "dense", hidden=(6,), **FIT)
        own = VAE(SHAPE, D, encoder=built.encoder, decoder=built.decoder, **FIT)
        trained = []
        for model in (built, own):
            mv.manual_seed(1)
            trained.append(weights(model.fit(images())))
        assert trained[0] == trained[1] != weights(VAE(SHAPE, D, "dense", hidden=(6,)))

    @MAKERS
    def test_one_alone_may_be_given(self, make):
        model = make(decoder=None, arch="dense", hidden=(6,))
        assert model.get_params()["decoder"] is None
        assert model.fit(images()).reconstruct(images(3)).shape == (3, *SHAPE)
        assert make(encoder=None).fit(images()).encode(images(3)).shape == (3, D)

    @MAKERS
    def test_with_a_random_state_each_fit_starts_from_their_weights(self, make):
        model = make(random_state=4)
        initial = weights(model)
        trained = weights(model.fit(images()))
        assert weights(model.fit(images())) == trained != initial
        again = type(model)(**model.get_params())
        assert weights(again) == initial
        assert weights(again.fit(images())) == trained
        assert weights(again.set_params(warm_start=True).fit(images())) != trained

    @MAKERS
    def test_what_becomes_of_them_later_is_no_matter(self, make):
        """Here the caller goes on to train the modules, in another model or by hand."""
        model = make(random_state=4)
        initial = weights(model)
        for module in model.given.values():
            for parameter in module.parameters():
                parameter.inplace()[...] = 7
        assert weights(model.fit(images(), lr=0.0)) == initial

    @MAKERS
    def test_without_one_fit_goes_on(self, make):
        model = make()
        first = weights(model.fit(images()))
        assert weights(model.fit(images(), lr=0.0)) == first

    def test_a_weight_that_both_share_is_one_weight(self):
        encoder, back = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), decoder(4)
        back.tied = encoder[1].weight
        model = Autoencoder(SHAPE, 4, encoder=encoder, decoder=back)
        assert model.decoder.tied is model.encoder[1].weight is not encoder[1].weight

    def test_the_model_has_their_dtype(self):
        given = {"encoder": Encoder(2 * D).to(dtype=np.float64), "decoder": decoder().to(dtype=np.float64)}
        model = VAE(SHAPE, D, likelihood="gaussian", **given, **FIT).fit(images())
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
        with pytest.raises(ValueError, match=r"one dtype.*float32.*float64"):
            vae(encoder=given["encoder"])

    @MAKERS
    def test_a_clone_has_copies_of_their_first_weights(self, make):
        base = pytest.importorskip("sklearn.base")
        model = make(random_state=1)
        initial = weights(model)
        copy = base.clone(model.fit(images()))
        assert weights(copy) == initial
        assert copy.get_params()["encoder"] is not model.get_params()["encoder"]
        assert weights(copy.fit(images())) == weights(model)

    def test_parameters_can_be_set(self):
        model, encoder = vae(), Encoder(2 * D, width=3)
        model.set_params(encoder=encoder)
        assert model.get_params()["encoder"] is encoder
        assert weights(model.encoder) == weights(encoder)
        model.set_params(encoder=None)
        assert isinstance(model.encoder, nn.Sequential)

    def test_a_change_that_fails_changes_nothing(self):
        model = vae()
        before, layers = model.get_params(), model.encoder
        with pytest.raises(ValueError, match="random_state"):
            model.set_params(encoder=None, decoder=None, latent_dim=3, random_state=-1)
        assert model.get_params() == before
        assert model.encoder is layers


class TestFiles:
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    @MAKERS
    def test_a_file_is_loaded_with_the_modules_again(self, make, suffix, tmp_path):
        if suffix == ".safetensors":
            pytest.importorskip("safetensors")
        model, path = make().fit(images()), tmp_path / f"model{suffix}"
        model.save(path)
        modules = {"encoder": type(model.encoder)(model.encoder.output.bias.size), "decoder": decoder()}
        for loaded in (type(model).load(path, **modules), load(path, **modules)):
            np.testing.assert_array_equal(loaded.reconstruct(images(3)), model.reconstruct(images(3)))
            assert loaded.get_params()["encoder"] is modules["encoder"]
        assert weights(modules["encoder"]) != weights(model.encoder)

    @pytest.mark.parametrize(
        ("modules", "error", "message"),
        [
            ({}, ValueError, r"no code.*needs encoder=, here Encoder.*, and decoder=, here Sequential"),
            ({"encoder": Encoder(2 * D)}, ValueError, "no code.*needs decoder=, here Sequential"),
            ({"encoder": Encoder(2 * D), "decoder": 5}, TypeError, "decoder must be a Module, got 5"),
            ({"encoder": Encoder(2 * D), "decoder": None}, TypeError, "decoder must be a Module, got None"),
            ({"encoder": Encoder(7), "decoder": decoder()}, ValueError, r"encoder.*Linear\(5, 4.*got .*Linear\(5, 7"),
            ({"encoder": Encoder(2 * D), "decoder": decoder(), "prior": decoder()}, ValueError, "prior"),
        ],
    )
    def test_modules_that_do_not_belong_to_it(self, modules, error, message, tmp_path):
        vae().save(tmp_path / "model.npz")
        for function in (VAE.load, load):
            with pytest.raises(error, match=message):
                function(tmp_path / "model.npz", **modules)

    def test_modules_that_a_file_has_no_use_for(self, tmp_path):
        Autoencoder(SHAPE, D).save(tmp_path / "model.npz")
        with pytest.raises(ValueError, match="without encoder=.*got a Encoder"):
            Autoencoder.load(tmp_path / "model.npz", encoder=Encoder(D))

    @MAKERS
    def test_a_training_goes_on_from_its_checkpoint(self, make, tmp_path):
        path = tmp_path / "checkpoint.npz"

        def stop(record):
            raise KeyboardInterrupt

        whole = make(random_state=1).fit(images())
        mv.manual_seed(0)
        with pytest.raises(KeyboardInterrupt):
            make(random_state=1).fit(images(), checkpoint=path, on_epoch=stop)
        mv.manual_seed(5)  # other modules of the same layers: their weights come from the checkpoint
        assert weights(make(random_state=1).fit(images(), checkpoint=path, resume=True)) == weights(whole)
        other = make(random_state=1, decoder=nn.Sequential(nn.Linear(D, 16), nn.Unflatten(SHAPE)))
        for model in (other, make(random_state=1, decoder=None)):
            with pytest.raises(ValueError, match="not to this model: decoder was"):
                model.fit(images(), checkpoint=path, resume=True)


class Pair(nn.Module):
    def __init__(self):
        self.layer = Encoder(D)

    def forward(self, x):
        return self.layer(x), self.layer(x)


def fit(model: Any) -> Any:
    return model.fit(images())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vae(encoder=5), TypeError, "encoder must be a Module or None, got 5"),
        (lambda: autoencoder(decoder=Encoder), TypeError, "decoder must be a Module or None, got .*Encoder"),
        (lambda: fit(vae(encoder=Encoder(D))), ValueError, r"encoder's output must have shape \(8, 4\), got \(8, 2\)"),
        (lambda: vae(encoder=Encoder(D)).encode(images(3)), ValueError, r"\(3, 4\), got \(3, 2\)"),
        (lambda: fit(autoencoder(encoder=Encoder(4))), ValueError, r"encoder's output .*\(8, 2\), got \(8, 4\)"),
        (lambda: autoencoder(encoder=Encoder(4)).encode(images(3)), ValueError, r"encoder.*\(3, 2\), got \(3, 4\)"),
        (lambda: fit(vae(encoder=Pair())), TypeError, "encoder's output must be a Tensor, got .*tuple"),
        (
            lambda: fit(vae(decoder=decoder(shape=(1, 4, 5)))),
            ValueError,
            r"decoder's output must have shape \(8, 1, 4, 4\), got \(8, 1, 4, 5\)",
        ),
        (lambda: vae(decoder=decoder(shape=(16,))).sample(2), ValueError, r"\(2, 1, 4, 4\), got \(2, 16\)"),
        (lambda: fit(autoencoder(decoder=decoder(shape=(1, 1, 16)))), ValueError, r"decoder.*\(8, 1, 1, 16\)"),
        (lambda: autoencoder(decoder=decoder(shape=(16,))).decode(np.zeros((2, D))), ValueError, "decoder's output"),
        (lambda: vae(channels=(3,)), ValueError, "channels.*encoder and decoder.*got channels"),
        (lambda: autoencoder(hidden=(3,)), ValueError, "hidden.*encoder and decoder"),
        (lambda: autoencoder(arch="conv"), ValueError, "arch.*encoder and decoder"),
    ],
)
def test_bad_modules(call, error, message):
    with pytest.raises(error, match=message):
        call()
