"""The VQ-VAE: its gradients, its bound, its codes, its priors, and what its user sees."""

from math import log

import numpy as np
import pytest
from strategies import host, numbers
from vqvaes import SHAPE, SMALL, Uniform, check_against_surrogate, configured, images, vqvae

import minivae as mv
import minivae.functional as F
from minivae.models import VQVAE
from minivae.models import vqvae as vqvae_module
from minivae.models.vqvae import VQVAEBound, VQVAELoss


class TestLoss:
    @configured
    def test_the_whole_loss_is_differentiated_right(self, settings):
        """Indices and what the losses hold constant are frozen in a surrogate, whose gradient is a derivative: that is
        checked by finite differences, and the loss must have the same."""
        shape = (1, 4, 8)
        tiny = {"image_shape": shape, "code_dim": 2, "channels": 2, "residual_channels": 2, "commitment": 0.7}
        model = vqvae({**settings, **tiny}, np.float64, images(20, shape, dtype=np.float64))
        x = images(2, shape, seed=1, dtype=np.float64)
        for name, tensor in model.named_parameters():  # away from the kinks of the ReLUs at 0
            if name != "quantizer.codebook":
                tensor.inplace()[...] += 0.05
        z0, codebook = model.encoder(mv.Tensor(x)).detach(), model.quantizer.codebook
        index = model.quantizer.encode(z0)
        e0 = model.quantizer.decode(index).detach()
        latents = index.size

        def surrogate(*_):
            z = model.encoder(mv.Tensor(x))
            nll = model.observation.nll(model.decoder(z + (e0 - z0)), mv.Tensor(x)).mean()
            loss = nll + 0.7 * ((z - e0) ** 2).sum() / latents
            if settings["update"] == "gradient":
                e = F.transpose(F.embedding(index, codebook), (0, 3, 1, 2))
                loss = loss + ((e - z0) ** 2).sum() / latents
            return loss

        check_against_surrogate(model, surrogate, x)

    @configured
    def test_the_loss_is_the_mean_over_examples_in_nats(self, settings):
        model, x = vqvae(settings, np.float64), images(4, dtype=np.float64)
        loss = model.loss(x)
        assert isinstance(loss, VQVAELoss)
        assert loss.loss.item() == pytest.approx(loss.nll.item() + loss.vq.item(), rel=1e-12)
        one_by_one = [model.loss(x[i : i + 1]) for i in range(4)]
        for name in VQVAELoss._fields:
            mean = np.mean([getattr(one, name).item() for one in one_by_one])
            assert getattr(loss, name).item() == pytest.approx(mean, rel=1e-12)
            doubled = getattr(model.loss(np.concatenate([x, x])), name)
            assert doubled.item() == pytest.approx(mean, rel=1e-12)

    def test_nll_is_the_sum_over_pixels(self):
        model, x = vqvae(dtype=np.float64), images(3, dtype=np.float64)
        p = model.reconstruct(x)
        expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
        assert model.loss(x).nll.item() == pytest.approx(expected, rel=1e-10)

    def test_the_first_relu_of_a_block_leaves_the_skip_connection_alone(self):
        """Bug: an in-place ReLU at the head of the block."""
        model = vqvae(dtype=np.float64)
        block, x = model.encoder[3], numbers(2, 4, 3, 3)
        block.project.weight.inplace()[...] = 0.0
        block.project.bias.inplace()[...] = 0.0
        np.testing.assert_array_equal(block(mv.Tensor(x)).numpy(), x)
        assert x.min() < 0


def test_the_encoder_sees_26_x_26_pixels_around_the_4_x_4_of_a_code():
    """The default network, whose code (3, 3) stands for pixels 12 to 15 both ways; from the gradient by the pixels."""
    mv.manual_seed(0)
    model = VQVAE()
    x = mv.Tensor(images(8, (1, 28, 28)), requires_grad=True)
    z = model.encoder(x)  # (8, D, 7, 7)
    dy = np.zeros(z.shape, np.float32)
    dy[:, :, 3, 3] = numbers(8, model.code_dim, seed=1)
    z.backward(z.backend.asarray(dy))
    seen = np.zeros((28, 28), bool)
    seen[12 - 11 : 16 + 11, 12 - 11 : 16 + 11] = True
    np.testing.assert_array_equal(np.abs(host(x.grad)).sum(axis=(0, 1)) > 0, seen)
    assert "26 x 26" in vqvae_module.__doc__


class TestBound:
    @configured
    def test_the_uniform_prior_costs_log_k_a_code(self, settings):
        model, x = vqvae(settings, np.float64), images(5, dtype=np.float64)
        bound, nll = model.bound(x), model.loss(x).nll.item()
        assert isinstance(bound, VQVAEBound)
        assert bound.codes == pytest.approx(2 * 3 * log(6), rel=1e-12)
        assert bound.nll == pytest.approx(nll, rel=1e-12)
        assert bound.nats == pytest.approx(nll + 2 * 3 * log(6), rel=1e-12)
        scale = log(255) / log(2) if settings["likelihood"] == "gaussian" else 0.0
        assert bound.bits_per_dim == pytest.approx(bound.nats / (2 * 8 * 12 * log(2)) + scale, rel=1e-12)
        np.testing.assert_allclose(model.score_samples(x).mean(), -bound.nats, rtol=1e-12)
        assert model.score_samples(x).shape == (5,)

    def test_it_is_a_bound(self):
        """With one code an image p(x) is a sum of K terms, and sums to 1 over all binary images; the bound stays below
        it, image by image."""
        settings = {**SMALL, "image_shape": (1, 4, 4), "codes": 5}
        model = vqvae(settings, np.float64, images(40, (1, 4, 4), dtype=np.float64))
        bits = np.arange(2**16)[:, None] >> np.arange(16) & 1
        x = bits.reshape(-1, 1, 4, 4).astype(np.float64)
        p = model.decode(np.arange(5).reshape(5, 1, 1)).reshape(5, 16)
        exact = np.exp(bits @ np.log(p).T + (1 - bits) @ np.log(1 - p).T).mean(1)  # uniform over the 5 maps
        assert exact.sum() == pytest.approx(1, rel=1e-9)
        bound = model.score_samples(x[::97])
        assert (bound <= np.log(exact[::97]) + 1e-9).all()
        assert bound.min() > np.log(exact).min() - 20

    def test_a_prior_replaces_the_uniform_cost(self):
        model, x = vqvae(), images(5)
        prior = Uniform(model)
        np.testing.assert_allclose(model.score_samples(x, prior), model.score_samples(x), rtol=1e-12)
        prior.score_samples = lambda maps: -np.arange(len(maps), dtype=float)
        np.testing.assert_array_equal(model.code_cost(model.encode(x), prior), np.arange(5.0))
        assert model.bound(x, prior).codes == 2.0
        assert model.bound(x, prior).nats == pytest.approx(model.bound(x).nll + 2.0)


class TestArrays:
    @configured
    def test_shapes_and_types(self, settings):
        model, x = vqvae(settings), images(7)
        codes = model.encode(x)
        assert model.code_shape == (2, 3)
        assert codes.shape == (7, 2, 3)
        assert codes.dtype == np.int64
        assert codes.min() >= 0
        assert codes.max() < 6
        for made, n in ((model.decode(codes), 7), (model.reconstruct(x), 7), (model.sample(4, Uniform(model)), 4)):
            assert made.shape == (n, *SHAPE)
            assert made.dtype == np.float32
        np.testing.assert_array_equal(model.decode(codes), model.reconstruct(x))
        np.testing.assert_array_equal(model.decode(codes.astype(np.uint8)), model.reconstruct(x))

    def test_codes_and_scores_leave_the_model_as_it_is(self):
        model = vqvae().train()
        before = model.state_dict()
        x = images(7)
        model.decode(model.encode(x))
        model.score_samples(x)
        model.sample(2, Uniform(model))
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_a_code_is_seen_around_its_place(self):
        """Codes are not transposed on the way: another one at (1, 2) changes the image there, not at (0, 0)."""
        model = vqvae({**SMALL, "image_shape": (1, 32, 48)}, x=images(4, (1, 32, 48)))
        codes = np.zeros((1, 8, 12), np.int64)
        there = codes.copy()
        there[0, 1, 10] = 1
        change = np.abs(model.decode(codes) - model.decode(there))[0, 0]
        i, j = np.unravel_index(change.argmax(), change.shape)
        assert (abs(i - 6), abs(j - 42)) < (4, 4)
        assert change[20:, :20].max() == 0

    def test_flat_rows_and_missing_channel_axis(self):
        model = vqvae({**SMALL, "image_shape": (1, 8, 12)}, x=images(20, (1, 8, 12)))
        x = images(4, (1, 8, 12))
        np.testing.assert_array_equal(model.transform(x.reshape(4, -1)), model.encode(x))
        np.testing.assert_array_equal(model.transform(x[:, 0]), model.encode(x))
        np.testing.assert_array_equal(model.inverse_transform(model.encode(x)), model.reconstruct(x))

    def test_no_images(self):
        model = vqvae()
        assert model.encode(images(0)).shape == (0, 2, 3)
        assert model.decode(np.zeros((0, 2, 3), int)).shape == (0, *SHAPE)
        assert model.score_samples(images(0)).shape == (0,)

    @pytest.mark.parametrize("shape", [(1, 4, 4), (3, 12, 4), (1, 28, 28)])
    def test_sizes_come_back(self, shape):
        model = vqvae({**SMALL, "image_shape": shape}, x=images(8, shape))
        assert model.reconstruct(images(2, shape)).shape == (2, *shape)
        assert model.encode(images(2, shape)).shape == (2, shape[1] // 4, shape[2] // 4)

    def test_the_prior_gets_temperature_and_labels(self):
        model = vqvae()
        prior = Uniform(model)
        model.sample(3, prior, temperature=0.5, y=[1, 2, 3])
        model.score_samples(images(2), prior, y=[0, 1])
        assert prior.calls == [(3, 0.5, [1, 2, 3]), (2, [0, 1])]


class TestPriors:
    def test_the_prior_of_another_codebook_is_refused(self):
        model, other = vqvae(), vqvae(x=images(20, seed=9))
        assert model.codebook_digest != other.codebook_digest
        assert model.codebook_digest == vqvae().codebook_digest
        foreign = Uniform(model, codebook_digest=other.codebook_digest)
        for call in (lambda: model.sample(1, foreign), lambda: model.score_samples(images(1), foreign)):
            with pytest.raises(ValueError, match="another codebook"):
                call()
        assert foreign.calls == []
        for digest in (model.codebook_digest, None):
            assert model.sample(1, Uniform(model, codebook_digest=digest)).shape == (1, *SHAPE)

    def test_the_digest_changes_with_training(self):
        model = vqvae()
        before = model.codebook_digest
        model.train().loss(images(8))
        assert model.codebook_digest != before

    def test_maps_of_another_size(self):
        model = vqvae()
        prior = Uniform(model)
        prior.shape = (3, 3)
        with pytest.raises(ValueError, match=r"\(N, 2, 3\), got \(1, 3, 3\)"):
            model.sample(1, prior)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"image_shape": (1, 30, 28)}, ValueError, "height must be a multiple of 4, got 30; nearest: 28 and 32"),
        ({"image_shape": (1, 28, 3)}, ValueError, "width must be a multiple of 4, got 3; nearest: 4"),
        ({"image_shape": (28, 28)}, ValueError, "image_shape"),
        ({"codes": 0}, ValueError, "codes"),
        ({"code_dim": 0}, ValueError, "code_dim must be at least 1"),
        ({"channels": 0}, ValueError, "channels must be at least 1"),
        ({"residual_channels": 0}, ValueError, "residual_channels must"),
        ({"residual_blocks": -1}, ValueError, "residual_blocks"),
        ({"likelihood": "poisson"}, ValueError, "bernoulli"),
        ({"update": "none"}, ValueError, "ema"),
        ({"commitment": -1.0}, ValueError, "commitment"),
        ({"decay": 0.0}, ValueError, "decay"),
        ({"restart": -0.1}, ValueError, "restart"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        VQVAE(**{**SMALL, **settings})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.encode(images(2, (1, 8, 12))), ValueError, r"\(N, 2, 8, 12\).*\(2, 1, 8, 12\)"),
        (lambda m: m.encode(images(2, (2, 8, 8))), ValueError, r"\(2, 2, 8, 8\)"),
        (lambda m: m.encode(np.zeros((2, *SHAPE), np.uint8)), TypeError, "uint8"),
        (lambda m: m.encode(images(2) + 1), ValueError, r"\[0, 1\], got"),
        (lambda m: m.decode(np.zeros((2, 2, 3))), TypeError, "integers, got .*float64"),
        (lambda m: m.decode(np.zeros((2, 3, 3), int)), ValueError, r"\(N, 2, 3\), got \(2, 3, 3\)"),
        (lambda m: m.decode(np.full((2, 2, 3), 6)), ValueError, r"\[0, 6\), got 6 to 6"),
        (lambda m: m.decode(np.full((2, 2, 3), -1)), ValueError, r"\[0, 6\), got -1"),
        (lambda m: m.sample(0, Uniform(m)), ValueError, "at least 1"),
        (lambda m: m.score_samples(images(2), y=[0, 1]), ValueError, "no prior"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(VQVAE(**SMALL))
