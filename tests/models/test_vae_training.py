"""What the VAE does to its loss while it is trained: KL warm-up, free bits, dynamic binarisation."""

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
from minivae.kernels import reference
from minivae.kernels.contract import Noise
from minivae.models import VAE
from minivae.training import evaluate, save_checkpoint

SMALL = {"image_shape": (1, 6, 5), "latent_dim": 3, "channels": (2, 3), "hidden": (7,)}
DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def latent_kl(model, x):
    """KL of each latent, averaged over x, from its definition."""
    mu, log_var = (t.numpy() for t in model.posterior(x))
    return (0.5 * (mu**2 + np.exp(log_var) - 1 - log_var)).mean(axis=0)


def between(kl):
    """A floor with at least one latent clearly on either side."""
    low, high = np.sort(kl)[[0, -1]]
    assert high > low * 1.2
    return float(low + high) / 2


@pytest.mark.parametrize(
    ("architecture", "options"),
    [(DENSE, "warm-up"), (DENSE, "free bits"), (DENSE, "binarize"), (DENSE, "all"), (SMALL, "all")],
    ids=lambda value: value if isinstance(value, str) else value.get("arch", "conv"),
)
def test_the_whole_loss_is_differentiated_right(architecture, options):
    """In float64, all noise frozen, in the middle of the warm-up and with latents on both sides of the floor."""
    mv.manual_seed(0)
    warmup = 4 if options in ("warm-up", "all") else 0
    binarize = "dynamic" if options in ("binarize", "all") else None
    model = VAE(**architecture, beta=1.5, kl_warmup=warmup, binarize=binarize).to(dtype=np.float64)
    x, noise = images(3, dtype=np.float64), Noise(1, 0)
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    if options in ("free bits", "all"):
        pixels = binary(x, noise) if binarize else x
        model.free_bits = between(latent_kl(model, pixels))
    model.before_step(3, 10)
    assert mv.gradcheck(lambda *_: model.loss(x, noise).loss, model.parameters(), rtol=1e-4)


def binary(x, noise):
    """What loss(x, noise) makes of grey pixels: the draw after that of z."""
    uniform = reference.uniform(x.shape, np.dtype(np.float32), Noise(noise.seed, noise.draw + 1))
    return (uniform < x).astype(x.dtype)


def test_the_backward_pass_uses_the_noise_of_the_forward_pass():
    """Noise that nobody fixed is drawn once: value and gradients are those of the same draw, fixed."""
    model, x = VAE(**DENSE).to(dtype=np.float64), images(3, dtype=np.float64)
    results = []
    for noise in (None, Noise(5, 0), Noise(5, 1)):
        mv.manual_seed(5)
        model.zero_grad()
        loss = model.loss(x, noise).loss
        loss.backward()
        results.append([loss.item(), *(host(p.grad).copy() for p in model.parameters())])
    for drawn, fixed in zip(*results[:2], strict=True):
        np.testing.assert_array_equal(drawn, fixed)
    assert results[2][0] != results[1][0]


def test_everything_stays_in_single_precision():
    model = VAE(**DENSE, kl_warmup=3, free_bits=0.1, binarize="dynamic")
    assert {t.dtype for t in model.loss(images(2))} == {np.dtype(np.float32)}


def test_a_step_reads_no_number_of_the_device(monkeypatch):
    """Steps are replayed on a GPU without Python: a value looked at on the host would be frozen into the replay."""
    model = VAE(**SMALL, kl_warmup=3, free_bits=0.1, binarize="dynamic")
    x = model.tensor(images(4))

    def refuse(*_):
        raise AssertionError("a number was read on the host")

    with monkeypatch.context() as patch:
        for name in ("item", "numpy", "__bool__", "__float__"):
            patch.setattr(mv.Tensor, name, refuse)
        model.before_step(1, 10)
        model.loss(x).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


class TestWarmUp:
    def test_the_weight_rises_linearly_to_beta(self):
        model = VAE(**DENSE, beta=2.0, kl_warmup=4).to(dtype=np.float64)
        x = images(3, dtype=np.float64)
        for step, weight in [(0, 0.0), (1, 0.5), (2, 1.0), (4, 2.0), (5, 2.0), (1000, 2.0)]:
            model.before_step(step, 2000)
            loss = model.loss(x, Noise(0, 0))
            assert loss.loss.item() == pytest.approx(loss.nll.item() + weight * loss.kl.item(), rel=1e-12)

    def test_evaluation_has_the_full_weight_at_every_step(self):
        model = VAE(**DENSE, beta=2.0, kl_warmup=4)
        model.before_step(0, 10)
        means = evaluate(model, images(5))
        assert means["loss"] == pytest.approx(means["nll"] + 2 * means["kl"], rel=1e-5)
        assert means["kl"] > 1e-3

    def test_a_loss_outside_of_training_has_the_full_weight(self):
        """Nobody has called before_step() yet."""
        loss = VAE(**DENSE, beta=2.0, kl_warmup=4).loss(images(5))
        assert loss.loss.item() == pytest.approx(loss.nll.item() + 2 * loss.kl.item(), rel=1e-5)

    def test_fit_counts_steps_and_validates_with_the_full_weight(self):
        """One batch an epoch, so that the records show single steps; a second fit begins with the warm-up again."""
        model = VAE(**DENSE, beta=1.5, kl_warmup=4)
        for _ in range(2):
            history = model.fit(images(20), epochs=6, batch_size=20, validation=images(5, seed=1)).history
            for step, record in enumerate(history):
                weight = 1.5 * min(1, step / 4)
                assert record["loss"] == pytest.approx(record["nll"] + weight * record["kl"], rel=1e-5)
                full = record["validation_nll"] + 1.5 * record["validation_kl"]
                assert record["validation_loss"] == pytest.approx(full, rel=1e-5)

    def test_the_weight_stays_where_a_captured_step_reads_it(self):
        model = VAE(**DENSE, kl_warmup=4)
        place = model.beta_now.inplace()
        model.before_step(2, 10)
        assert model.beta_now.inplace() is place
        assert model.beta_now.item() == 0.5

    def test_a_resumed_run_goes_on_with_its_warm_up_bit_by_bit(self, tmp_path):
        path = tmp_path / "checkpoint.npz"
        options = {**DENSE, "kl_warmup": 10, "free_bits": 0.05, "binarize": "dynamic"}
        fit = {"epochs": 4, "batch_size": 16, "lr": 1e-2}

        def stop(record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        def train(**more):
            mv.manual_seed(0)
            return VAE(**options).fit(images(50), **fit, **more)

        whole = train()
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint=path, on_epoch=stop)
        resumed = VAE(**options).fit(images(50), **fit, checkpoint=path, resume=True)
        assert [r["loss"] for r in whole.history] == [r["loss"] for r in resumed.history]
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(array, resumed.state_dict()[name])


class TestFreeBits:
    def test_the_batch_mean_of_each_latent_counts_as_at_least_the_floor(self):
        """Against the formula; the floor applies to means over the batch, not to examples nor to sums of latents."""
        model = VAE(**DENSE, beta=1.5).to(dtype=np.float64)
        for tensor in model.parameters():
            tensor.inplace()[...] += 0.1
        x = images(6, dtype=np.float64)
        kl = latent_kl(model, x)
        model.free_bits = floor = between(kl)
        loss = model.loss(x, Noise(0, 0))
        charged = sum(max(floor, value) for value in kl)
        assert charged > kl.sum() * 1.01
        assert loss.kl.item() == pytest.approx(kl.sum(), rel=1e-12)
        assert loss.loss.item() == pytest.approx(loss.nll.item() + 1.5 * charged, rel=1e-12)

    def test_a_latent_below_the_floor_is_not_pushed_down(self):
        model = VAE(**DENSE, free_bits=1e3)
        loss = model.loss(images(4), Noise(0, 0))
        (loss.loss - loss.nll).backward()
        assert not any(host(p.grad).any() for p in model.parameters() if p.grad is not None)

    def test_evaluation_has_no_floor(self):
        means = evaluate(VAE(**DENSE, free_bits=1e3), images(4))
        assert means["loss"] == pytest.approx(means["nll"] + means["kl"], rel=1e-5)

    @pytest.mark.cpu_only("what a loss leads to is the same everywhere")
    def test_it_keeps_latents_from_collapsing(self):
        """With beta = 8 these pixels are not worth a code; what the floor makes free of charge is used all the same."""
        x = (numbers(64, 1, 6, 5, seed=1) > 0).astype(np.float32)
        kept = []
        for floor in (0.0, 0.5):
            mv.manual_seed(0)
            model = VAE(**DENSE, free_bits=floor, beta=8.0).fit(x, epochs=120, batch_size=64, lr=1e-2)
            kept.append(model.latent_usage(x).kl)
        assert kept[0].sum() < 0.1
        assert kept[1].sum() > 0.6


class Watched(VAE):
    """Keeps the pixels that it was trained on."""

    def posterior(self, x):
        self.seen = [*getattr(self, "seen", []), self.tensor(x).numpy()]
        return super().posterior(x)


class TestDynamicBinarisation:
    def model(self):
        return Watched(**DENSE, binarize="dynamic")

    def test_each_step_sees_other_black_and_white_pixels(self):
        model, x = self.model(), images(4)
        for _ in range(400):
            model.loss(x)
        seen = np.array(model.seen)
        assert set(np.unique(seen)) == {0.0, 1.0}
        assert len({pixels.tobytes() for pixels in seen}) == 400
        deviation = np.sqrt(x * (1 - x) / 400)
        assert (abs(seen.mean(axis=0) - x) < 5 * deviation + 1e-6).all()

    def test_one_seed_is_one_sequence(self):
        runs = []
        for seed in (3, 3, 4):
            model = self.model()
            mv.manual_seed(seed)
            model.loss(images(4))
            runs.append(model.seen[0])
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()

    def test_evaluation_sees_one_binarisation(self):
        model = self.model()
        results = [evaluate(model, images(4))]
        mv.manual_seed(77)
        results.append(evaluate(model, images(4)))
        assert results[0] == results[1]
        np.testing.assert_array_equal(*model.seen)

    def test_binary_images_stay_as_they_are(self):
        model, x = self.model(), (images(4) > 0.5).astype(np.float32)
        model.loss(x)
        np.testing.assert_array_equal(model.seen[0], x)
        np.testing.assert_array_equal(model.binarized(x), x)

    def test_fixed_noise_fixes_the_pixels_too(self):
        model, x = self.model(), images(4)
        model.loss(x, Noise(9, 6))
        np.testing.assert_array_equal(model.seen[0], binary(x, Noise(9, 6)))

    def test_without_it_grey_stays_grey(self):
        model = Watched(**DENSE)
        model.loss(images(4))
        np.testing.assert_array_equal(model.seen[0], images(4))
        np.testing.assert_array_equal(model.binarized(images(4)), images(4))

    def test_the_fixed_binarisation_depends_on_the_image_and_its_place_alone(self):
        model, x = self.model(), images(2100)
        fixed = model.binarized(x)
        mv.manual_seed(5)
        assert set(np.unique(fixed)) == {0.0, 1.0}
        np.testing.assert_array_equal(model.binarized(x[:1500]), fixed[:1500])
        assert abs(fixed.mean() - x.mean()) < 4 * 0.5 / fixed.size**0.5
        assert len({pixels.tobytes() for pixels in model.binarized(np.full_like(x, 0.5))}) == len(x)

    def test_codes_and_reconstructions_have_no_noise(self):
        model, x = self.model(), images(5)
        np.testing.assert_array_equal(model.reconstruct(x), model.reconstruct(x))
        np.testing.assert_allclose(model.encode(x)[2:], model.encode(x[2:]), rtol=1e-4, atol=1e-6)


class TestFiles:
    def test_the_weight_of_the_moment_is_no_part_of_a_file(self, tmp_path):
        model = VAE(**DENSE, kl_warmup=4, free_bits=0.5, binarize="dynamic")
        assert model.state_dict().keys() == {name for name, _ in model.named_parameters()}
        model.save(tmp_path / "model.npz")
        loaded = VAE.load(tmp_path / "model.npz")
        assert loaded.get_params() == model.get_params()
        np.testing.assert_array_equal(loaded.encode(images(3)), model.encode(images(3)))

    def test_a_file_from_before_these_options(self, tmp_path):
        model = VAE(**DENSE)
        new = ("kl_warmup", "free_bits", "binarize")
        params = {k: v for k, v in model.get_params().items() if k not in new}
        save_checkpoint(tmp_path / "model.npz", model.state_dict(), {"model": "VAE", "params": params})
        np.testing.assert_array_equal(VAE.load(tmp_path / "model.npz").encode(images(3)), model.encode(images(3)))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kl_warmup": -1}, ValueError, "kl_warmup"),
        ({"kl_warmup": 1.5}, TypeError, "number of steps"),
        ({"free_bits": -0.1}, ValueError, "free_bits"),
        ({"free_bits": float("nan")}, ValueError, "free_bits"),
        ({"binarize": "static"}, ValueError, "binarize must be 'dynamic', got 'static'"),
        ({"binarize": "dynamic", "likelihood": "gaussian"}, ValueError, "gaussian"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        VAE(**settings)
