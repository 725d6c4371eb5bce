"""The VQ-VAE-2: its gradients, its two levels, its bound, its prior of two parts."""

from itertools import product
from math import log

import numpy as np
import pytest
from strategies import host
from vqvaes import SMALL, check_against_surrogate, images

import minivae as mv
import minivae.functional as F
from minivae.models import VQVAE, VQVAE2, PixelCNN, VQVAE2Prior, load
from minivae.models.vqvae2 import VQVAE2Bound, VQVAE2Loss

SHAPE = (2, 8, 12)
TWO = {**SMALL, "top_codes": 4, "stride": 2}  # bottom 4 x 6, top 2 x 3
ODD = {**TWO, "image_shape": (1, 12, 20), "stride": 4}  # bottom 3 x 5, top 1 x 2
UPDATES = pytest.mark.parametrize("update", ["ema", "gradient"])


def vqvae2(settings=TWO, dtype=np.float32):
    """A model whose codebooks come from images, as after the beginning of fit()."""
    mv.manual_seed(0)
    model = VQVAE2(**settings).to(dtype=dtype)
    model.prepare(images(20, settings["image_shape"], seed=8, dtype=dtype))
    return model.eval()


def prior_of(model, classes=None):
    mv.manual_seed(3)
    return VQVAE2Prior.of(model, classes, channels=4, layers=2, hidden=6, first_kernel=3)


class TestLoss:
    @UPDATES
    @pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
    def test_the_whole_loss_is_differentiated_right(self, update, likelihood):
        """Indices and what the losses hold constant are frozen in a surrogate, as for the VQ-VAE. Bugs: the bottom's
        gradient does not reach the top through its decoder, one quantiser's terms are missing."""
        shape = (1, 4, 8)
        tiny = {"image_shape": shape, "code_dim": 2, "channels": 2, "residual_channels": 2, "commitment": 0.7}
        model = vqvae2({**TWO, **tiny, "update": update, "likelihood": likelihood}, np.float64)
        x = mv.Tensor(images(2, shape, seed=1, dtype=np.float64))
        for name, tensor in model.named_parameters():  # away from the kinks of the ReLUs at 0
            if not name.endswith("codebook"):
                tensor.inplace()[...] += 0.05
        z_top, z_bottom = (z.detach() for z in model._all_latents(x))
        quantizers = model.quantizer_top, model.quantizer_bottom
        index = [q.encode(z) for q, z in zip(quantizers, (z_top, z_bottom), strict=True)]
        e_top, e_bottom = (q.decode(k).detach() for q, k in zip(quantizers, index, strict=True))

        def terms(q, z, z0, e0, k):
            loss = 0.7 * ((z - e0) ** 2).sum() / k.size
            if update == "gradient":
                loss = loss + ((F.transpose(F.embedding(k, q.codebook), (0, 3, 1, 2)) - z0) ** 2).sum() / k.size
            return loss

        def surrogate(*_):
            h = model.encoder(x)
            top = model.encoder_top(h)
            bottom = model._bottom_latents(h, top + (e_top - z_top))
            output = model._output(top + (e_top - z_top), bottom + (e_bottom - z_bottom))
            loss = model.observation.nll(output, x).mean()
            loss = loss + terms(quantizers[0], top, z_top, e_top, index[0])
            return loss + terms(quantizers[1], bottom, z_bottom, e_bottom, index[1])

        check_against_surrogate(model, surrogate, x)

    def test_the_loss_is_the_mean_over_examples_in_nats(self):
        model, x = vqvae2(dtype=np.float64), images(4, dtype=np.float64)
        loss = model.loss(x)
        assert isinstance(loss, VQVAE2Loss)
        parts = loss.nll.item() + loss.vq_top.item() + loss.vq_bottom.item()
        assert loss.loss.item() == pytest.approx(parts, rel=1e-12)
        doubled = model.loss(np.concatenate([x, x]))
        one_by_one = [model.loss(x[i : i + 1]) for i in range(4)]
        for name in VQVAE2Loss._fields:
            mean = np.mean([getattr(one, name).item() for one in one_by_one])
            assert getattr(loss, name).item() == pytest.approx(mean, rel=1e-12)
            assert getattr(doubled, name).item() == pytest.approx(mean, rel=1e-12)
        p = model.reconstruct(x)
        assert loss.nll.item() == pytest.approx(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean())


def both(dtype=np.float64):
    """A VQ-VAE, and a VQ-VAE-2 whose top does nothing: the weights that read it are 0, the others the VQ-VAE's."""
    settings = {**SMALL, "image_shape": (2, 8, 16)}
    mv.manual_seed(0)
    one = VQVAE(**settings).to(dtype=dtype)
    two = VQVAE2(**settings, top_codes=4, stride=4).to(dtype=dtype)
    theirs = dict(two.named_parameters())
    last, channels, D = f"encoder.{len(one.encoder) - 1}", settings["channels"], settings["code_dim"]
    pairs = {}
    for name, p in one.named_parameters():
        other = theirs[name.replace(last, "to_bottom")]
        used = {f"{last}.weight": channels, "decoder.0.weight": D}.get(name, p.shape[-1] if p.ndim < 2 else p.shape[1])
        if other.shape != p.shape:
            other.inplace()[:, used:] = 0
        part = (slice(None), slice(used)) if p.ndim > 1 else ...
        other.inplace()[part] = p.data
        pairs[name] = other, part
    one.prepare(images(20, (2, 8, 16), seed=8, dtype=dtype))
    two.prepare(images(20, (2, 8, 16), seed=8, dtype=dtype))
    two.quantizer_bottom.load_state_dict(one.quantizer.state_dict())
    return one.eval(), two.eval(), pairs


class TestLevels:
    def test_without_the_top_it_is_the_vqvae(self):
        one, two, pairs = both()
        x = images(5, (2, 8, 16), dtype=np.float64)
        np.testing.assert_array_equal(two.encode(x).bottom, one.encode(x))
        np.testing.assert_allclose(two.reconstruct(x), one.reconstruct(x), rtol=1e-12)
        of_one, of_two = one.train().loss(x), two.train().loss(x)
        assert of_two.nll.item() == pytest.approx(of_one.nll.item(), rel=1e-12)
        assert of_two.vq_bottom.item() == pytest.approx(of_one.vq.item(), rel=1e-12)
        for name, tensor in one.quantizer.state_dict().items():  # the codebook has learned the same
            np.testing.assert_allclose(two.quantizer_bottom.state_dict()[name], tensor, rtol=1e-12)
        of_one.loss.backward()
        (of_two.nll + of_two.vq_bottom).backward()
        for name, p in one.named_parameters():
            other, part = pairs[name]
            np.testing.assert_allclose(host(other.grad)[part], host(p.grad), rtol=1e-9, atol=1e-12, err_msg=name)

    def test_an_idle_top_is_seen(self):
        """Bug of public code (rosinality/vq-vae-2-pytorch#15, #54): the bottom holds all, and nobody notices."""
        _, two, _ = both()
        x = images(5, (2, 8, 16), dtype=np.float64)
        assert two.nll_without(x, "top") == pytest.approx(two.bound(x).nll, rel=1e-12)
        assert abs(two.nll_without(x, "bottom") - two.bound(x).nll) > 1e-5
        np.testing.assert_array_equal(two.decode(two.encode(x), without="top"), two.reconstruct(x))

    def test_a_level_without_its_codes_has_their_mean(self):
        model = vqvae2(dtype=np.float64)
        model.quantizer_top.counts.inplace()[...] = 0.0
        model.quantizer_top.counts.inplace()[2] = 5.0  # all of the weight on one code
        x = images(3, dtype=np.float64)
        codes = model.encode(x)
        np.testing.assert_allclose(
            model.decode(codes, without="top"), model.decode((np.full_like(codes.top, 2), codes.bottom)), rtol=1e-12
        )

    def test_the_top_is_decoded_before_the_bottom_is_quantised(self):
        """Bug: e_bottom = Q(E_bottom(h)), so that the bottom says again what the top has said."""
        model, x = vqvae2(), images(7)
        h, (top, bottom) = model.encoder(model.tensor(x)), model._all_latents(model.tensor(x))
        e_top = model.quantizer_top.decode(model.quantizer_top.encode(top))
        np.testing.assert_array_equal(model._bottom_latents(h, e_top).numpy(), bottom.numpy())
        assert np.abs(model._bottom_latents(h, e_top + 1.0).numpy() - bottom.numpy()).max() > 1e-3

    @pytest.mark.parametrize("level", [0, 1], ids=["top", "bottom"])
    def test_the_decoder_sees_both(self, level):
        model = vqvae2()
        for quantizer in (model.quantizer_top, model.quantizer_bottom):
            quantizer.codebook.inplace()[...] = mv.nn.init.normal(quantizer.codebook.shape, np.float32).data
        codes = list(model.encode(images(2)))
        other = [*codes]
        other[level] = (codes[level] + 1) % (model.top_codes, model.codes)[level]
        assert np.abs(model.decode(tuple(codes)) - model.decode(tuple(other))).max() > 1e-6

    @pytest.mark.parametrize(
        ("settings", "bottom", "top"),
        [
            (TWO, (4, 6), (2, 3)),
            (ODD, (3, 5), (1, 2)),
            ({**ODD, "image_shape": (1, 16, 32), "stride": 8}, (2, 4), (1, 2)),
        ],
        ids=["stride 2", "odd", "stride 8"],
    )
    def test_sizes(self, settings, bottom, top):
        model, x = vqvae2(settings), images(5, settings["image_shape"])
        codes = model.encode(x)
        assert (model.code_shape, model.top_shape) == (bottom, top)
        assert (codes.top.shape, codes.bottom.shape) == ((5, *top), (5, *bottom))
        assert {codes.top.dtype, codes.bottom.dtype} == {np.dtype(np.int64)}
        assert codes.top.max() < 4
        assert codes.bottom.max() < 6
        np.testing.assert_array_equal(model.decode(codes), model.reconstruct(x))
        assert model.reconstruct(x).shape == x.shape
        assert model.encode(x[:0]).bottom.shape == (0, *bottom)
        assert model.reconstruct(x[:0]).shape == x[:0].shape

    def test_perplexity_and_usage_of_each(self):
        model = vqvae2()
        found = mv.training.evaluate(model, images(9))
        for level, codes in zip(("top", "bottom"), model.encode(images(9)), strict=True):
            p = np.bincount(codes.ravel()) / codes.size
            p = p[p > 0]
            assert found[f"perplexity_{level}"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
        assert found["usage_top"] * 4 == len(np.unique(model.encode(images(9)).top))


class TestBound:
    def test_uniform_priors_cost_log_k_a_code(self):
        model, x = vqvae2(dtype=np.float64), images(5, dtype=np.float64)
        bound = model.bound(x)
        assert isinstance(bound, VQVAE2Bound)
        assert bound.nll == pytest.approx(model.loss(x).nll.item(), rel=1e-12)
        assert (bound.top, bound.bottom) == (pytest.approx(6 * log(4)), pytest.approx(24 * log(6)))
        assert bound.nats == pytest.approx(bound.nll + bound.top + bound.bottom, rel=1e-12)
        assert bound.bits_per_dim == pytest.approx(bound.nats / (2 * 8 * 12 * log(2)), rel=1e-12)
        np.testing.assert_allclose(model.score_samples(x).mean(), -bound.nats, rtol=1e-12)

    def test_one_top_code_costs_nothing(self):
        assert vqvae2({**TWO, "top_codes": 1}).bound(images(3)).top == 0

    def test_it_is_a_bound(self):
        """p(x) is a sum over all pairs of maps, and sums to 1 over all binary images; the bound stays below it."""
        model = vqvae2({**TWO, "image_shape": (1, 4, 4), "codes": 3, "top_codes": 2}, np.float64)
        bits = np.arange(2**16)[:, None] >> np.arange(16) & 1
        maps = np.array(list(product(range(2), *[range(3)] * 4)))
        p = model.decode((maps[:, :1].reshape(-1, 1, 1), maps[:, 1:].reshape(-1, 2, 2))).reshape(-1, 16)
        some = bits[::97]
        exact = np.exp(some @ np.log(p).T + (1 - some) @ np.log(1 - p).T).mean(1)  # uniform over the 162 pairs
        bound = model.score_samples(some.reshape(-1, 1, 4, 4).astype(np.float64))
        assert (bound <= np.log(exact) + 1e-9).all()
        assert (bound >= np.log(exact) - log(162) - 3).all()


class TestPrior:
    @pytest.mark.parametrize("classes", [None, 3])
    def test_it_is_the_sum_of_two_pixelcnns(self, classes):
        model, x = vqvae2(), images(5)
        prior, codes = prior_of(model, classes), model.encode(x)
        y = None if classes is None else np.array([0, 1, 2, 1, 0])
        top = prior.top.score_samples(codes.top, y)
        context = codes.top[:, None]
        if classes is not None:
            context = np.concatenate([context, np.ones_like(context) * y[:, None, None, None]], axis=1)
        bottom = prior.bottom.score_samples(codes.bottom, context)
        np.testing.assert_array_equal(prior.score_samples(codes, y), top + bottom)
        np.testing.assert_array_equal(model.code_cost(codes, prior, y), -top - bottom)
        bound = model.bound(x, prior, y)
        assert (bound.top, bound.bottom) == (pytest.approx(-top.mean()), pytest.approx(-bottom.mean()))
        assert -model.score_samples(x, prior, y).mean() == pytest.approx(bound.nats)
        for label in (y, None if y is None else 2):
            assert model.sample(5, prior, y=label).shape == x.shape

    def test_the_bottom_is_drawn_given_the_top_that_was_drawn(self):
        """Bug: the bottom given another top map. At temperature 0 the bottom is a function of the top."""
        model = vqvae2()
        prior = prior_of(model)
        mv.manual_seed(4)
        codes = prior.sample(6)
        mv.manual_seed(4)
        np.testing.assert_array_equal(codes.top, prior.top.sample(6))
        np.testing.assert_array_equal(codes.bottom, prior.bottom.sample(6, y=codes.top[:, None]))

    @pytest.mark.cpu_only("a long training, of what the other tests try on each device")
    def test_what_the_bottom_owes_to_the_top_is_learned(self):
        mv.manual_seed(0)
        model = vqvae2()
        top = np.random.default_rng(0).integers(0, 4, (200, 2, 3))
        bottom = np.repeat(np.repeat(top, 2, axis=1), 2, axis=2)
        prior = prior_of(model).fit((top, bottom), epochs=12, batch_size=20, lr=2e-2)
        costs = model.level_costs((top, bottom), prior)
        assert costs[0].mean() > 6 * log(4) - 0.5  # the top is random
        assert costs[1].mean() < 1.0  # the bottom is the top, and 24 log 6 = 43 nats if it were not known

    def test_the_prior_of_another_codebook_is_refused(self):
        model = vqvae2()
        prior = prior_of(model)
        for quantizer in (model.quantizer_top, model.quantizer_bottom):
            before = quantizer.codebook.numpy().copy()
            quantizer.codebook.inplace()[0, 0] += 1
            for call in (lambda: model.sample(1, prior), lambda: model.bound(images(1), prior)):
                with pytest.raises(ValueError, match="another codebook"):
                    call()
            quantizer.codebook.inplace()[...] = quantizer.codebook.backend.asarray(before)
        assert model.sample(1, prior).shape == (1, *SHAPE)

    def test_parts_that_do_not_belong_together(self):
        model = vqvae2()
        a, b = prior_of(model), prior_of(model, 3)
        for top, bottom, error, message in (
            (a.top, b.bottom, ValueError, "context_values"),
            (a.bottom, a.bottom, ValueError, "top has no context"),
            (a.top, a.top, ValueError, "needs the top map"),
            (a.top, 5, TypeError, "bottom must be a PixelCNN"),
            (PixelCNN(**{**a.top.get_params(), "codebook_digest": "x"}), a.bottom, ValueError, "one codebook_digest"),
        ):
            with pytest.raises(error, match=message):
                VQVAE2Prior(top, bottom)


def test_training_learns_and_files_come_back(tmp_path):
    x = images(60)
    x[:, :, :4] = x[:, :, :1, :1] > 0.5  # something to learn
    mv.manual_seed(0)
    model = VQVAE2(**TWO).fit(x, epochs=8, batch_size=10, lr=1e-2)
    assert model.history[-1]["nll"] < model.history[0]["nll"] - 5
    model.save(tmp_path / "model.npz")
    for again in (VQVAE2.load(tmp_path / "model.npz"), load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
        assert again.codebook_digest == model.codebook_digest
    assert model.set_params(codes=3).codes == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 30, 28), "stride": 4}, "height must be a multiple of 4, got 30; nearest: 28 and 32"),
        ({"image_shape": (1, 8, 4), "stride": 4}, "a top map needs images of at least 8 x 8, got .1, 8, 4."),
        ({"stride": 3}, "stride must be one of 2, 4, 8, 16, got 3"),
        ({"top_codes": 0}, "top_codes must be at least 1"),
        ({"codes": 0}, "codes must be at least 1"),
        ({"residual_blocks": -1}, "residual_blocks"),
        ({"likelihood": "poisson"}, "bernoulli"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        VQVAE2(**{**TWO, **settings})


TOP, BOTTOM = np.zeros((2, 2, 3), int), np.zeros((2, 4, 6), int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.decode(TOP), TypeError, "a pair"),
        (lambda m: m.decode((TOP, TOP)), ValueError, r"bottom codes must have shape \(N, 4, 6\), got \(2, 2, 3\)"),
        (lambda m: m.decode((TOP + 4, BOTTOM)), ValueError, r"top codes must be in \[0, 4\), got 4"),
        (lambda m: m.decode((TOP[:1], BOTTOM)), ValueError, "as many images in both levels, got 1 and 2"),
        (lambda m: m.decode((TOP, BOTTOM * 1.0)), TypeError, "integers"),
        (lambda m: m.decode((TOP, BOTTOM), without="middle"), ValueError, "top"),
        (lambda m: m.nll_without(images(2), "middle"), ValueError, "top"),
        (lambda m: m.nll_without(images(0), "top"), ValueError, "at least one image"),
        (lambda m: m.bound(images(0)), ValueError, "at least one image"),
        (lambda m: m.bound(images(2), y=[0, 1]), ValueError, "no prior"),
        (lambda m: m.sample(1, object()), TypeError, "sample"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(VQVAE2(**TWO))
