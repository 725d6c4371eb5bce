"""The VQ-VAE with each of its quantisers: its gradients, its bound under a prior, its files, and what it refuses."""

from itertools import product
from math import log

import numpy as np
import pytest
from vqvaes import SHAPE, SMALL, check_against_surrogate, images, vqvae

import minivae as mv
import minivae.functional as F
from minivae.models import VQVAE, PixelCNN, load
from minivae.training.checkpoint import save_checkpoint

SIZES = {name: value for name, value in SMALL.items() if name not in ("codes", "code_dim")}
FSQ = {**SIZES, "quantizer": "fsq", "levels": (4, 3)}
RVQ = {**SMALL, "quantizer": "rvq", "stages": 3}
each = pytest.mark.parametrize("settings", [SMALL, FSQ, RVQ], ids=["vq", "fsq", "rvq"])


def prior_of(model, **settings):
    mv.manual_seed(1)
    sizes = {"channels": 4, "layers": 2, "first_kernel": 3, "hidden": 6, **settings}
    return PixelCNN(model.code_shape, model.quantizer.codes, codebook_digest=model.codebook_digest, **sizes)


class TestGradients:
    def test_the_whole_loss_of_a_residual_one(self):
        """Codes and what the losses hold constant are frozen in a surrogate, whose gradient is a derivative. With
        moving averages the loss has the same terms but those of the codebooks."""
        settings = {"stages": 2, "codes": 4, "code_dim": 2, "update": "gradient", "commitment": 0.7}
        model, x = self.tiny({**RVQ, **settings})
        z0 = model.encoder(mv.Tensor(x)).detach()
        index = model.quantizer.encode(z0).numpy()
        e0 = model.quantizer.decode(index).detach()
        first = model.quantizer.decode(index[:, :1]).detach()

        def surrogate(*_):
            z = model.encoder(mv.Tensor(x))
            loss = model.observation.nll(model.decoder(z + (e0 - z0)), mv.Tensor(x)).mean()
            for before, q, stage, k in ((0.0, first, 0, index[:, 0]), (first, e0 - first, 1, index[:, 1])):
                e = F.transpose(F.embedding(k, model.quantizer.stages[stage].codebook), (0, 3, 1, 2))
                loss = loss + (0.7 * ((z - before - q) ** 2).sum() + ((e - (z0 - before)) ** 2).sum()) / k.size
            return loss

        check_against_surrogate(model, surrogate, x)

    def test_the_whole_loss_of_a_finite_scalar_one(self):
        """In training mode, through the batch normalisation too."""
        model, x = self.tiny(FSQ)
        model.train()
        z0 = model.encoder(mv.Tensor(x)).detach()
        added = model.quantizer(z0).quantized.detach() - F.tanh(z0)

        def surrogate(*_):
            z_q = F.tanh(model.encoder(mv.Tensor(x))) + added
            return model.observation.nll(model.decoder(z_q), mv.Tensor(x)).mean()

        check_against_surrogate(model, surrogate, x)

    def tiny(self, settings):
        shape = (1, 4, 8)
        tiny = {"image_shape": shape, "channels": 1, "residual_channels": 1}
        model = vqvae({**settings, **tiny}, np.float64, images(20, shape, dtype=np.float64))
        for name, tensor in model.named_parameters():  # away from the kinks of the ReLUs at 0
            if not name.startswith("quantizer"):
                tensor.inplace()[...] += 0.05
        return model, images(2, shape, seed=1, dtype=np.float64)


@each
def test_the_loss_is_the_mean_over_examples(settings):
    model, x = vqvae(settings, np.float64), images(4, dtype=np.float64)
    loss = model.loss(x)
    one_by_one = [model.loss(x[i : i + 1]) for i in range(4)]
    for name in loss._fields:
        mean = np.mean([getattr(one, name).item() for one in one_by_one])
        assert getattr(loss, name).item() == pytest.approx(mean, rel=1e-12)
        assert getattr(model.loss(np.concatenate([x, x])), name).item() == pytest.approx(mean, rel=1e-12)


class TestCodes:
    @each
    def test_shapes_and_costs(self, settings):
        model, x = vqvae(settings), images(5)
        codes, K = model.encode(x), model.quantizer.codes
        assert model.code_shape == ((3, 2, 3) if settings is RVQ else (2, 3))
        assert codes.shape == (5, *model.code_shape)
        assert model.quantizer.codes == (12 if settings is FSQ else 6)
        np.testing.assert_array_equal(model.decode(codes), model.reconstruct(x))
        assert model.bound(x).codes == pytest.approx(np.prod(model.code_shape) * log(K), rel=1e-12)
        with pytest.raises(ValueError, match=rf"\[0, {K}\), got"):
            model.decode(codes * 0 + K)

    @each
    def test_a_prior_is_trained_drawn_from_and_priced(self, settings):
        model, x = vqvae(settings), images(12)
        prior = prior_of(model).fit(model.encode(x), epochs=2)
        assert model.sample(3, prior).shape == (3, *SHAPE)
        bound = model.bound(x, prior)
        assert bound.codes == pytest.approx(-prior.score_samples(model.encode(x)).mean(), rel=1e-9)
        np.testing.assert_allclose(model.score_samples(x, prior).mean(), -bound.nats, rtol=1e-9)

    @pytest.mark.parametrize("settings", [{**FSQ, "levels": (3, 2)}, {**RVQ, "codes": 3}], ids=["fsq", "rvq"])
    def test_it_is_a_bound(self, settings):
        """Of images with one position p(x) is a sum over all codes, of which the bound keeps a term."""
        shape = (1, 4, 4)
        model = vqvae({**settings, "image_shape": shape}, np.float64, images(40, shape, dtype=np.float64))
        prior = prior_of(model).to(dtype=np.float64)
        x = (images(30, shape, seed=2, dtype=np.float64) > 0.5).astype(np.float64)
        every = np.array(list(product(range(model.quantizer.codes), repeat=np.prod(model.code_shape))))
        every = every.reshape(-1, *model.code_shape)
        p = model.decode(every).reshape(len(every), 16)
        bits = x.reshape(30, 16)
        given = np.exp(bits @ np.log(p).T + (1 - bits) @ np.log(1 - p).T)  # p(x | k), (30, maps)
        exact = np.log(given @ np.exp(prior.score_samples(every)))
        assert (model.score_samples(x, prior) <= exact + 1e-9).all()

    def test_the_first_stages_alone_are_decoded_and_not_priced(self):
        model, x = vqvae(RVQ), images(5)
        codes = model.encode(x)
        for s in (1, 2):
            assert model.decode(codes[:, :s]).shape == x.shape
            with pytest.raises(ValueError, match=r"\(N, 3, 2, 3\)"):
                model.code_cost(codes[:, :s])
        for wrong in (codes[:, :0], np.concatenate([codes, codes], axis=1), codes[:, 0], codes[..., :2]):
            with pytest.raises(ValueError, match=r"\(N, 3, 2, 3\), got"):
                model.decode(wrong)

    def test_learns_by_stage(self):
        mv.manual_seed(0)
        model = VQVAE(**RVQ).fit(images(40), epochs=2, batch_size=16, validation=images(10, seed=3))
        assert {"perplexity", "usage", "perplexity_3", "validation_usage_1"} <= model.history[0].keys()


class TestDigest:
    @each
    def test_it_changes_with_what_the_codes_mean(self, settings):
        """Of a finite scalar one this is the encoder: without a codebook any two models of the same levels would share
        their priors."""
        mv.manual_seed(0)
        model = VQVAE(**settings)
        before = model.codebook_digest
        model.fit(images(40), epochs=1, batch_size=16)
        assert model.codebook_digest != before
        with pytest.raises(ValueError, match="another codebook"):
            model.sample(1, prior_of(VQVAE(**settings)))

    def test_of_one_codebook_it_is_as_before(self):
        from hashlib import sha256

        model = vqvae()
        codebook = model.quantizer.codebook.numpy()
        expected = sha256(f"{codebook.shape} {codebook.dtype.str}".encode() + codebook.tobytes()).hexdigest()
        assert model.codebook_digest == expected


class TestFiles:
    @each
    def test_round_trip_and_clone(self, settings, tmp_path):
        model, x = vqvae(settings), images(3)
        model.save(tmp_path / "model.npz")
        loaded = load(tmp_path / "model.npz")
        np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
        np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
        assert loaded.codebook_digest == model.codebook_digest
        assert loaded.get_params() == model.get_params() == VQVAE(**model.get_params()).get_params()
        assert model.get_params()["quantizer"] == settings.get("quantizer", "vq")

    def test_files_of_before_load(self, tmp_path):
        """They know of no quantizer, levels and stages."""
        model, x = vqvae(), images(3)
        meta = model._meta()
        for name in ("quantizer", "levels", "stages"):
            del meta["params"][name]
        save_checkpoint(tmp_path / "old.npz", model.state_dict(), meta)
        np.testing.assert_array_equal(load(tmp_path / "old.npz").reconstruct(x), model.reconstruct(x))

    @each
    def test_fit_starts_anew_from_its_seed(self, settings):
        model = VQVAE(**settings, random_state=3, epochs=1)
        first = model.fit(images(40)).state_dict()
        for name, array in model.fit(images(40)).state_dict().items():
            np.testing.assert_array_equal(array, first[name])

    @each
    def test_an_interrupted_run_resumes_bit_by_bit(self, settings, tmp_path):
        def fitted(epochs, **fit):
            mv.manual_seed(0)
            return VQVAE(**settings).fit(images(40), epochs=epochs, batch_size=16, **fit)

        def stop(record):
            if record["epoch"] == 1:
                raise KeyboardInterrupt

        file = {"checkpoint": tmp_path / "checkpoint.npz"}
        with pytest.raises(KeyboardInterrupt):
            fitted(2, on_epoch=stop, **file)
        whole, resumed = fitted(2).state_dict(), fitted(2, resume=True, **file).state_dict()
        for name, array in whole.items():
            np.testing.assert_array_equal(resumed[name], array)

    def test_set_params_changes_the_quantiser(self):
        model = VQVAE(**SIZES).set_params(quantizer="fsq")
        assert model.quantizer.levels == (8, 6, 5)
        assert VQVAE(**SIZES, quantizer="rvq").code_shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantizer": "pq"}, "'vq' or 'fsq' or 'rvq', got 'pq'"),
        ({"levels": (4, 4)}, r"levels belongs to quantizer='fsq', and this one is 'vq', got levels=\(4, 4\)"),
        ({"stages": 2}, "stages belongs to quantizer='rvq', and this one is 'vq', got stages=2"),
        ({"quantizer": "rvq", "levels": (4, 4)}, "levels belongs to quantizer='fsq'"),
        ({"quantizer": "fsq", "stages": 2}, "stages belongs to quantizer='rvq'"),
        ({"quantizer": "fsq", "codes": 12}, "codes belongs to quantizer='vq' or 'rvq', and .* 'fsq', got codes=12"),
        ({"quantizer": "fsq", "code_dim": 2}, "code_dim belongs to"),
        ({"quantizer": "fsq", "commitment": 1.0}, "commitment belongs to"),
        ({"quantizer": "fsq", "levels": ()}, r"levels must be at least one int, got \(\)"),
        ({"quantizer": "fsq", "levels": (4, 1)}, r"levels\[1\] must be at least 2, got 1"),
        ({"quantizer": "fsq", "levels": (999, 999)}, r"at most 65,536 codes .*, got \(999, 999\)"),
        ({"quantizer": "rvq", "stages": 0}, "stages must be at least 1, got 0"),
    ],
)
def test_parameters_of_other_quantisers_and_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        VQVAE(**SIZES, **settings)


def test_the_levels_of_a_quantizer_are_not_those_of_the_pixels():
    """Bug: the number of grey levels in the attribute `levels`, which is a parameter of the finite scalar quantiser."""
    model = VQVAE(**FSQ, likelihood="logistic", random_state=0)
    assert model.get_params()["levels"] == (4, 3)
    assert model.pixel_levels == 255
    prior, x = prior_of(model), images(3)
    pixels = model.sample(2, prior, pixels=True)
    np.testing.assert_array_equal(pixels, np.rint(pixels * 255) / np.float32(255))
    assert model.sample(2, prior).shape == pixels.shape == (2, *SHAPE)
    bound = model.bound(x)
    assert bound.bits_per_dim == pytest.approx(bound.nats / (np.prod(SHAPE) * log(2)))
