"""VAE-GAN and VQGAN: the losses of both players, what each of them trains, and the adaptive weight."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, host, numbers

import minivae as mv
from minivae.autograd.graph import gradient_at
from minivae.kernels.contract import Noise
from minivae.models import VAE, VAEGAN, VQGAN, VQVAE, adversarial
from minivae.models.adversarial import ADVERSARIES, adaptive_weight, constant
from minivae.models.discriminator import PatchDiscriminator

OF_D = {"discriminator_channels": (2, 2), "discriminator_start": 0}
SHAPE = (1, 4, 8)
SMALL_VAE = {"image_shape": SHAPE, "latent_dim": 2, "channels": (2,), "hidden": (3,)}
SMALL_VQVAE = {
    "image_shape": SHAPE,
    "codes": 5,
    "code_dim": 2,
    "channels": 2,
    "residual_channels": 2,
    "residual_blocks": 1,
}
NOISE = Noise(1, 0)
KINDS = pytest.mark.parametrize("adversary", sorted(ADVERSARIES))


def images(n, seed=0):
    return numbers(n, *SHAPE, seed=seed, low=0, high=1, dtype=np.float64)


def vaegan(**options):
    mv.manual_seed(0)
    return off_kinks(VAEGAN(**{**SMALL_VAE, **OF_D, **options}).to(dtype=np.float64))


def vqgan(**options):
    mv.manual_seed(0)
    model = VQGAN(**{**SMALL_VQVAE, **OF_D, **options}).to(dtype=np.float64)
    model.prepare(images(20, seed=8))
    off_kinks(model, "quantizer.codebook").eval()  # so that the codebook stays what it is
    model.discriminator.train()
    return model


def off_kinks(model, *but):
    """Move weights so that no ReLU of these inputs is at 0."""
    for name, p in model.named_parameters():
        if name not in but:
            p.inplace()[...] += 0.05
    return model


def fixed_weight(monkeypatch, value=3.0):
    """A loss whose weight is a constant has a derivative."""
    monkeypatch.setattr(adversarial.Adversarial, "_weight", lambda *_: mv.Tensor(np.array(value)))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else host(p.grad) for name, p in model.named_parameters()}


class TestLosses:
    @pytest.mark.parametrize("c", [-1.0, -0.5, 0.0, 0.25, 1.0])
    def test_a_constant_discriminator_has_the_hinge_loss_1(self, c):
        real, made = mv.Tensor(np.full((3, 1, 2, 2), c)), mv.Tensor(np.full((5, 1, 2, 2), c))
        assert ADVERSARIES["hinge"].discriminator(real, made).item() == 1

    def test_a_constant_discriminator_that_knows_nothing_has_the_cross_entropy_log_2(self):
        zeros = mv.Tensor(np.zeros((3, 1, 2, 2)))
        assert ADVERSARIES["non-saturating"].discriminator(zeros, zeros).item() == pytest.approx(math.log(2), rel=1e-15)

    def test_the_numbers_of_the_derivation(self):
        """At the head of adversarial.py."""
        real, made = mv.Tensor([2.0, 0.5]), mv.Tensor([-3.0, 0.0])
        assert ADVERSARIES["hinge"].discriminator(real, made).item() == 0.375
        assert ADVERSARIES["hinge"].generator(made).item() == 1.5
        found = adaptive_weight(mv.Tensor([60.0]).data, mv.Tensor([0.3]).data, most=1e4)
        assert found.item() == pytest.approx(199.9, abs=0.05)

    @KINDS
    @examples
    @given(st.lists(st.floats(-4, 4), min_size=1, max_size=6), st.lists(st.floats(-4, 4), min_size=1, max_size=6))
    def test_both_losses_against_their_formulas(self, adversary, real, made):
        real, made = np.array(real), np.array(made)
        if adversary == "hinge":
            d = (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + made).mean()) / 2
            g = -made.mean()
        else:
            d = -(np.log(1 / (1 + np.exp(-real))).mean() + np.log(1 - 1 / (1 + np.exp(-made))).mean()) / 2
            g = -np.log(1 / (1 + np.exp(-made))).mean()
        losses = ADVERSARIES[adversary]
        assert losses.discriminator(mv.Tensor(real), mv.Tensor(made)).item() == pytest.approx(d, rel=1e-9, abs=1e-12)
        assert losses.generator(mv.Tensor(made)).item() == pytest.approx(g, rel=1e-9, abs=1e-12)

    @KINDS
    def test_the_generator_wants_higher_scores_and_the_discriminator_lower_ones(self, adversary):
        """Bug (generative_zoo#1): a sign that makes the generator work for D."""
        scores, real = mv.Tensor([-0.5, 0.0, 0.5], requires_grad=True), mv.Tensor([0.0])
        ADVERSARIES[adversary].generator(scores).backward()
        assert (host(scores.grad) < 0).all()
        scores.grad = None
        ADVERSARIES[adversary].discriminator(real, scores).backward()
        assert (host(scores.grad) > 0).all()


class TestDiscriminator:
    @pytest.mark.parametrize("norm", ["group", "none"])
    def test_the_score_of_an_image_does_not_depend_on_its_neighbours(self, norm):
        """Bug: batch statistics, by which D tells a batch of real images from one of made ones."""
        mv.manual_seed(0)
        d = PatchDiscriminator(SHAPE, (3, 4), norm).to(dtype=np.float64)
        x = images(4)
        whole = host(d(mv.Tensor(x)).scores.data)
        alone = np.concatenate([host(d(mv.Tensor(x[i : i + 1])).scores.data) for i in range(4)])
        np.testing.assert_allclose(whole, alone, rtol=1e-12)

    def test_a_score_sees_a_patch_of_18_pixels(self):
        """By the pixels of which the score in the middle has a gradient, without normalisation over the image."""
        mv.manual_seed(0)
        d = PatchDiscriminator((1, 28, 28), (3, 4), "none")
        x = mv.Tensor(numbers(1, 1, 28, 28, dtype=np.float32), requires_grad=True)
        scores = d(x).scores
        assert scores.shape == (1, 1, 7, 7)
        scores[0, 0, 3, 3].backward()
        rows, columns = np.nonzero(host(x.grad)[0, 0])
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (18, 18)

    def test_in_a_with_block_its_weights_are_constants(self):
        d, x = PatchDiscriminator(SHAPE, (3,), "group"), mv.Tensor(images(2).astype(np.float32), requires_grad=True)
        nodes = [p._node for p in d.parameters()]
        with constant(d):
            d(x).scores.sum().backward()
            assert all(p._node is None for p in d.parameters())
        with pytest.raises(ValueError, match="channels"), constant(d):
            d(mv.Tensor(numbers(1, 3, 8, 8, dtype=np.float32)))
        assert [p._node for p in d.parameters()] == nodes
        assert all(p.grad is None for p in d.parameters())
        assert np.abs(host(x.grad)).sum() > 0


class TestPlayers:
    """Every loss by finite differences, and no player trains the other's weights."""

    @pytest.mark.parametrize(
        ("adversary", "likelihood"), [("hinge", "bernoulli"), ("non-saturating", "gaussian")], ids=["hinge", "other"]
    )
    def test_the_vae_gans_losses_are_differentiated_right(self, adversary, likelihood, monkeypatch):
        fixed_weight(monkeypatch)
        model, x = vaegan(adversary=adversary, likelihood=likelihood), images(1)

        def of_generator(*_):
            found = model.loss(x, NOISE)
            return found.loss - found.discriminator

        def of_encoder(*_):  # for L_G its z are constants
            found = model.loss(x, NOISE)
            return found.loss - found.discriminator - found.weight * found.generator

        assert mv.gradcheck(of_generator, model.decoder.parameters(), rtol=1e-4)
        assert mv.gradcheck(of_encoder, model.encoder.parameters(), rtol=1e-4)
        of_d = model.discriminator.parameters()
        assert mv.gradcheck(lambda *_: model.loss(x, NOISE).discriminator, of_d, rtol=1e-4)

    def test_the_vqgans_losses_are_differentiated_right(self, monkeypatch):
        """The encoder's gradient by a surrogate, as for the VQ-VAE: z_q is z plus a constant."""
        fixed_weight(monkeypatch)
        adversary = "non-saturating"
        model, x = vqgan(adversary=adversary, update="gradient"), images(1)
        z0 = model.encoder(mv.Tensor(x)).detach()
        e0 = model.quantizer.decode(model.quantizer.encode(z0)).detach()

        def of_generator(*_):
            found = model.loss(x)
            return found.loss - found.discriminator

        def surrogate(*_):
            z = model.encoder(mv.Tensor(x))
            output = model.decoder(z + (e0 - z0))
            nll = model.observation.nll(output, mv.Tensor(x)).mean()
            generator = ADVERSARIES[adversary].generator(model.discriminator(model.observation.mean(output)).scores)
            commitment = model.commitment * ((z - e0) ** 2).sum() / (z0.size / z0.shape[1])
            return nll + commitment + 3.0 * generator

        assert mv.gradcheck(of_generator, model.decoder.parameters(), rtol=1e-4)
        assert mv.gradcheck(lambda *_: model.loss(x).discriminator, model.discriminator.parameters(), rtol=1e-4)
        assert mv.gradcheck(surrogate, model.encoder.parameters(), rtol=1e-4)
        expected, found = gradients(model, surrogate()), gradients(model, model.loss(x).loss)
        for name in (name for name in found if name.startswith("encoder")):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-11, err_msg=name)

    @pytest.mark.parametrize("make", [vaegan, vqgan])
    def test_no_player_trains_the_weights_of_the_other(self, make):
        """Bugs: L_G that teaches D to be deceived, L_D whose gradient reaches the generator. Exactly nothing does."""
        model, x = make(), images(3)
        found = model.loss(x)
        of_d = gradients(model, found.discriminator)
        assert {name for name, g in of_d.items() if g is not None} == {
            name for name in of_d if name.startswith("discriminator")
        }
        found = model.loss(x)
        of_g = gradients(model, found.loss - found.discriminator + 0.0 * found.discriminator)
        assert all(g is None or not g.any() for name, g in of_g.items() if name.startswith("discriminator"))
        generator = gradients(model, model.loss(x).generator)
        assert all(g is None for name, g in generator.items() if name.startswith("discriminator"))
        assert any(g is not None and g.any() for name, g in generator.items() if name.startswith("decoder"))

    def test_of_the_vae_gans_adversary_the_encoder_learns_nothing(self):
        """Algorithm 1 of the paper: the encoder's gradient is that of L_prior and L_like."""
        model = vaegan()
        found = gradients(model, model.loss(images(3)).generator)
        assert all(g is None for name, g in found.items() if name.startswith("encoder"))

    def test_the_vqgans_encoder_learns_of_the_adversary(self):
        """Bug: reconstructions detached too early."""
        model = vqgan()
        found = gradients(model, model.loss(images(3)).generator)
        assert all(g is not None and g.any() for name, g in found.items() if name.startswith("encoder"))


class TestWeight:
    @pytest.mark.parametrize("make", [vaegan, vqgan])
    def test_at_the_last_layer_both_losses_pull_equally_hard(self, make, monkeypatch):
        """lambda ||dL_G / dw|| = ||dL_rec / dw|| for delta = 0, with the gradients of whole backward passes."""
        monkeypatch.setattr(adversarial, "adaptive_weight", lambda a, b, most: adaptive_weight(a, b, most, delta=0.0))
        model, x = make(gan_weight=1.0), images(3)
        (name,) = [name for name, p in model.named_parameters() if p is model.decoder[-1].weight]
        options = (NOISE,) if isinstance(model, VAE) else ()
        norms = []
        for loss in ("rec", "generator"):
            found = model.loss(x, *options)
            part = found.nll + model.feature_weight * found.features if loss == "rec" and options else found.nll
            norms.append(np.linalg.norm(gradients(model, found.generator if loss == "generator" else part)[name]))
        assert found.weight.item() * norms[1] == pytest.approx(norms[0], rel=1e-12)
        assert norms[1] > 0

    @pytest.mark.parametrize("make", [vaegan, vqgan])
    def test_it_is_a_constant_of_the_loss(self, make):
        """Bug: a weight through which gradients flow."""
        assert not make().loss(images(2)).weight.requires_grad

    def test_it_is_bounded_where_the_adversary_has_no_gradient(self):
        zero, one = mv.Tensor(np.zeros(3)).data, mv.Tensor(np.ones(3)).data
        assert adaptive_weight(one, zero, most=5.0).item() == 5
        assert adaptive_weight(one, zero, most=1e9).item() == pytest.approx(math.sqrt(3) / 1e-4, rel=1e-12)
        assert adaptive_weight(zero, zero, most=5.0).item() == 0

    def test_gan_weight_multiplies_it(self):
        one, three = (vaegan(gan_weight=w).loss(images(2), NOISE) for w in (1.0, 3.0))
        assert three.weight.item() == pytest.approx(3 * one.weight.item(), rel=1e-12)

    def test_a_decoder_that_is_frozen_is_an_error(self):
        model = vaegan()
        for p in model.decoder.parameters():
            p.requires_grad = False
        with pytest.raises(ValueError, match="needs gradients at a weight of the decoder"):
            model.loss(images(2))

    def test_a_partial_backward_pass_is_a_part_of_the_whole_one(self):
        """It gives each weight's gradient, leaves all others alone, and the graph can be used again."""
        model, x = vaegan(), images(3)
        loss = model.loss(x, NOISE).nll
        ones = loss.backend.xp.ones_like(loss.data)
        partial = {name: gradient_at(p._node, loss._node, ones) for name, p in model.named_parameters()}
        assert all(p.grad is None for p in model.parameters())
        whole = gradients(model, loss)
        for name, expected in whole.items():
            if expected is None:
                assert partial[name] is None
            else:
                np.testing.assert_array_equal(host(partial[name]), expected, err_msg=name)
        assert any(g is None for g in whole.values())


class TestWhatIsReported:
    @pytest.mark.parametrize(
        ("make", "plain", "settings"), [(vaegan, VAE, SMALL_VAE), (vqgan, VQVAE, SMALL_VQVAE)], ids=["vae", "vqvae"]
    )
    def test_evaluation_is_the_plain_models(self, make, plain, settings):
        """The ELBO and the bound are in nats, with the pixels' likelihood; D is no part of them."""
        model, x = make().eval(), images(3)
        other = plain(**settings).to(dtype=np.float64)
        other.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("discriminator")})
        other.eval()
        mv.manual_seed(3)
        mine = model.loss(x)
        mv.manual_seed(3)
        theirs = other.loss(x)
        assert mine._fields == theirs._fields
        assert [a.item() for a in mine] == [b.item() for b in theirs]

    def test_the_terms_add_up(self):
        model = vaegan(feature_weight=0.3, beta=2.0)
        found = {k: v.item() for k, v in model.loss(images(3), NOISE)._asdict().items()}
        rest = 0.3 * found["features"] + found["weight"] * found["generator"] + found["discriminator"]
        assert found["loss"] == pytest.approx(found["nll"] + 2 * found["kl"] + rest, rel=1e-12)
        model = vqgan()
        found = {k: v.item() for k, v in model.loss(images(3))._asdict().items()}
        rest = found["weight"] * found["generator"] + found["discriminator"]
        assert found["loss"] == pytest.approx(found["nll"] + found["vq"] + rest, rel=1e-12)

    def test_the_feature_distance_by_hand(self):
        model, x = vaegan(), images(3)
        mu, log_var = model.posterior(x)
        made = model.observation.mean(model.decoder(mv.functional.reparameterize(mu, log_var, NOISE)))
        f, g = (host(model.discriminator(t).features.data) for t in (mv.Tensor(x), made))
        expected = np.mean([0.5 * ((a - b) ** 2).sum() for a, b in zip(f, g, strict=True)])
        assert model.loss(x, NOISE).features.item() == pytest.approx(expected, rel=1e-12)

    def test_shares_of_right_judgements(self):
        """A D that finds all real is right about all real patches and no made ones."""
        model = vaegan()
        model.discriminator.score.weight.inplace()[...] = 0
        for bias, shares in ((1.0, (1, 0)), (-1.0, (0, 1))):
            model.discriminator.score.bias.inplace()[...] = bias
            found = model.loss(images(3))
            assert (found.real.item(), found.made.item()) == shares

    def test_binarized_training_shows_the_discriminator_grey_images(self):
        """Bug: black and white images beside grey means, which D tells apart by one pixel."""
        seen = []

        class Watching(PatchDiscriminator):
            def forward(self, x):
                seen.append(host(x.data))
                return super().forward(x)

        model, x = vaegan(binarize="dynamic"), images(3)
        mv.manual_seed(0)
        model.discriminator = Watching(SHAPE, (3, 4), "group").to(dtype=np.float64)
        model.loss(x)
        np.testing.assert_array_equal(seen[-1][:3], x)
