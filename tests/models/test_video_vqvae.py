"""The VQ-VAE of video: its gradients, which way its time runs, its numbers in closed form, and its prior."""

from itertools import product
from math import log

import numpy as np
import pytest
from strategies import host, numbers
from vqvaes import Uniform, check_against_surrogate

import minivae as mv
import minivae.functional as F
from minivae.models import PixelCNN, VideoPrior, VideoVQVAE, video_vqvae

T, SHAPE = 3, (3, 2, 8, 4)  # T, C, H, W
SMALL = {
    "image_shape": SHAPE,
    "codes": 5,
    "code_dim": 2,
    "channels": 3,
    "residual_channels": 4,
    "blocks": 1,
    "encoder_blocks": 1,
    "time_kernel": 2,
    "commitment": 0.7,
}
CONFIGURATIONS = [
    {**SMALL, "likelihood": "bernoulli", "update": "ema"},
    {**SMALL, "likelihood": "gaussian", "update": "gradient"},
]
configured = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=["ema", "gradient"])
DEEP = {**SMALL, "blocks": 2, "encoder_blocks": 2, "time_kernel": 3, "channels": 8, "likelihood": "gaussian"}
PRIOR = {"channels": 6, "layers": 1, "first_kernel": 3, "kernel": 3, "hidden": 12, "context_blocks": 1}


def clips(n, frames=T, seed=0, dtype=np.float64):
    return numbers(n, frames, *SHAPE[1:], seed=seed, low=0.02, high=0.98, dtype=dtype)


def model_of(settings, dtype=np.float64):
    """A model with a codebook of data, away from the kinks of the ReLUs at 0."""
    mv.manual_seed(0)
    model = VideoVQVAE(**settings).to(dtype=dtype)
    for i, (name, tensor) in enumerate(model.named_parameters()):
        if name != "quantizer.codebook":
            change = numbers(*tensor.shape, seed=i, low=0.02, high=0.2, dtype=dtype)
            tensor.inplace()[...] += tensor.backend.asarray(change)
    model.prepare(clips(20, seed=8, dtype=dtype))
    return model.eval()


def prior_of(model, history=2, **settings):
    """A prior of random weights, whose logits depend on all that they can."""
    mv.manual_seed(1)
    prior = VideoPrior.of(model, history, **{**PRIOR, **settings})
    prior.frame.to(dtype=np.float64)
    for i, tensor in enumerate(prior.frame.parameters()):
        tensor.inplace()[...] = tensor.backend.asarray(
            numbers(*tensor.shape, seed=i, low=-0.6, high=0.6, dtype=np.float64)
        )
    return prior


@configured
def test_the_whole_loss_is_differentiated_right(settings):
    """As for the VQ-VAE of images: the surrogate with frozen indices by finite differences, and the loss equals it."""
    model, x = model_of(settings), clips(2, seed=1)
    z0, codebook = model.encoder(mv.Tensor(x)).detach(), model.quantizer.codebook
    index = model.quantizer.encode(z0)
    e0 = model.quantizer.decode(index).detach()

    def surrogate(*_):
        z = model.encoder(mv.Tensor(x))
        nll = model.observation.nll(model.decoder(z + (e0 - z0)), mv.Tensor(x)).mean()
        loss = nll + 0.7 * ((z - e0) ** 2).sum() / index.size
        if settings["update"] == "gradient":
            e = F.transpose(F.embedding(index, codebook), (0, 3, 1, 2))
            loss = loss + ((e - z0) ** 2).sum() / index.size
        return loss

    check_against_surrogate(model, surrogate, x)


class TestCausality:
    """Bugs: padding on both sides, a kernel that is flipped in time, frames that are mixed up with clips or rows."""

    @pytest.mark.parametrize("network", ["encoder", "decoder"])
    @pytest.mark.parametrize("t", [0, 4, 8])
    def test_frame_t_has_a_gradient_by_the_last_frames_up_to_t_alone(self, network, t):
        """Two blocks of kernel 3 and dilations 1 and 2 see 2 + 4 frames back."""
        model = model_of(DEEP)
        h = model.frame_map[0]
        if network == "encoder":
            x = mv.Tensor(clips(2, 9), requires_grad=True)
            output = model.encoder(x)  # (N, D, T h, w)
            chosen = output[1:, :, t * h : (t + 1) * h]
        else:
            x = mv.Tensor(numbers(2, 2, 9 * h, 1, dtype=np.float64), requires_grad=True)
            chosen = model.decoder(x)[1:, t]  # (N, T, C, H, W)
        (chosen * numbers(*chosen.shape, seed=3, dtype=np.float64)).sum().backward()
        grad = host(x.grad)
        if network == "decoder":
            grad = grad.reshape(2, 2, 9, h, 1).swapaxes(1, 2)
        by_frame = np.abs(grad).sum(axis=(2, 3, 4))  # (N, T)
        assert not by_frame[0].any()
        seen = np.flatnonzero(by_frame[1])
        np.testing.assert_array_equal(seen, np.arange(max(0, t - 6), t + 1))

    def test_what_comes_later_changes_nothing_before_it(self):
        model, x = model_of(DEEP), clips(2, 9)
        codes, images = model.encode(x), model.reconstruct(x)
        for t in range(1, 9):
            other = np.concatenate([x[:, :t], clips(2, 9 - t, seed=t + 1)], axis=1)
            np.testing.assert_array_equal(model.encode(other)[:, :t], codes[:, :t])
            changed = np.concatenate([codes[:, :t], (codes[:, t:] + 1) % 5], axis=1)
            np.testing.assert_allclose(model.decode(changed)[:, :t], images[:, :t], rtol=1e-12)
            assert np.abs(model.decode(changed)[:, t] - images[:, t]).max() > 1e-3

    def test_the_first_frames_alone_are_the_first_frames(self):
        model, x = model_of(DEEP), clips(2, 9)
        codes, images = model.encode(x), model.reconstruct(x)
        for t in (1, 5, 9):
            np.testing.assert_array_equal(model.encode(x[:, :t]), codes[:, :t])
            np.testing.assert_allclose(model.reconstruct(x[:, :t]), images[:, :t], rtol=1e-12)

    def test_without_blocks_it_is_a_vqvae_of_its_frames(self):
        """Its encoder is that of images with biases of 0."""
        model, x = model_of({**SMALL, "blocks": 0, "encoder_blocks": 0}), clips(2)
        frames = mv.models.VQVAE(SHAPE[1:], 5, 2, 3, 2, 0).to(dtype=np.float64)
        own = model.state_dict()
        biases = {
            n: np.zeros_like(a) for n, a in frames.state_dict().items() if n[:7] == "encoder" and n[-4:] == "bias"
        }
        named = [n for n in frames.state_dict() if n.startswith(("encoder", "decoder"))]
        names = [n for n in named if n not in biases]
        of_own = [n for n in own if n.startswith(("encoder", "decoder"))]
        rest = {n: a for n, a in own.items() if n not in of_own}
        frames.load_state_dict({**{n: own[m] for n, m in zip(names, of_own, strict=True)}, **biases, **rest})
        flat = x.reshape(-1, *SHAPE[1:])
        np.testing.assert_array_equal(frames.encode(flat), model.encode(x).reshape(6, *model.frame_map))
        np.testing.assert_allclose(frames.reconstruct(flat), model.reconstruct(x).reshape(flat.shape), rtol=1e-12)
        assert frames.bound(flat).nll * T == pytest.approx(model.bound(x).nll, rel=1e-12)


def test_what_moves_by_whole_places_in_the_dark_moves_its_codes():
    """Bug: biases, which are there in the dark and not beyond the edges: the same black has another code there."""
    settings = {"image_shape": (2, 1, 32, 32), "codes": 40, "code_dim": 3, "channels": 6, "time_kernel": 1}
    mv.manual_seed(0)
    model = VideoVQVAE(**settings, encoder_blocks=0).to(dtype=np.float64)
    model.prepare(numbers(20, 2, 1, 32, 32, low=0, high=1, dtype=np.float64))
    x, thing = np.zeros((1, 2, 1, 32, 32)), numbers(8, 8, seed=3, low=0, high=1, dtype=np.float64)
    x[0, 0, 0, 8:16, 12:20] = x[0, 1, 0, 12:20, 8:16] = thing
    first, second = model.encode(x)[0]
    np.testing.assert_array_equal(second[1:, :-1], first[:-1, 1:])
    assert len(set(second[0]) | set(second[:, -1])) == 1
    assert len(set(second.ravel())) > 3


@configured
def test_the_loss_is_the_mean_over_clips_in_nats(settings):
    model, x = model_of(settings), clips(4)
    loss, cost = model.loss(x), 3 * 2 * 1 * log(5)
    assert loss.nll.item() == pytest.approx((-model.score_samples(x) - cost).mean(), rel=1e-12)
    assert model.loss(np.concatenate([x, x])).loss.item() == pytest.approx(loss.loss.item(), rel=1e-12)
    bound = model.bound(x)
    assert (bound.codes, bound.nats) == (pytest.approx(cost, rel=1e-12), bound.nll + bound.codes)
    scale = 3 * 2 * 8 * 4 * log(2)
    extra = log(255) / log(2) if settings["likelihood"] == "gaussian" else 0
    assert bound.bits_per_dim == pytest.approx(bound.nats / scale + extra, rel=1e-12)


def test_nll_is_that_of_bernoulli_pixels_around_the_reconstruction():
    model, x = model_of(CONFIGURATIONS[0]), clips(3)
    p = model.reconstruct(x)
    nll = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3, 4))
    assert model.bound(x).nll == pytest.approx(nll.mean(), rel=1e-10)


def test_batches_of_an_evaluation_change_nothing(monkeypatch):
    model, x = model_of(SMALL), clips(5)
    whole = model.reconstruct(x), mv.training.evaluate(model, x)["nll"]
    monkeypatch.setattr(VideoVQVAE, "evaluation_batch", 2)
    np.testing.assert_allclose(model.reconstruct(x), whole[0], rtol=1e-12)
    assert mv.training.evaluate(model, x)["nll"] == pytest.approx(whole[1], rel=1e-12)


@configured
def test_it_comes_back_from_a_file(settings, tmp_path):
    model, x = model_of(settings, np.float32), clips(2, dtype=np.float32)
    model.save(tmp_path / "model.npz")
    again = mv.models.load(tmp_path / "model.npz")
    assert isinstance(again, VideoVQVAE)
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))


@pytest.mark.cpu_only("trains for 120 steps")
def test_a_direction_that_no_single_frame_shows_is_in_the_codes_of_two():
    """A bar moves up or down; in the last frame of both it is at the same place, but what came before differs.

    With one code for a frame of 2 maps, the decoder of the last frame cannot say from it alone where the bar was.
    """
    x = np.zeros((2, 2, 1, 8, 8), np.float32)
    x[0, 0, 0, :4] = x[1, 0, 0, 4:] = 1  # frame 0: above, or below
    x[:, 1, 0, 2:6] = 1  # frame 1: in the middle
    settings = {"image_shape": (2, 1, 8, 8), "codes": 8, "code_dim": 4, "channels": 8, "residual_channels": 8}
    model = VideoVQVAE(**settings, blocks=1, encoder_blocks=1, random_state=0, epochs=120, lr=0.01, batch_size=32)
    model.fit(np.repeat(x, 16, axis=0))
    assert np.abs(model.reconstruct(x) - x).mean() < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 2, 8, 4)}, r"at least 2 frames, got image_shape \(1, 2, 8, 4\)"),
        ({"image_shape": (2, 8, 4)}, r"image_shape \(T, C, H, W\) must be 4 ints"),
        ({"image_shape": (3, 2, 9, 4)}, "height must be a multiple of 4, got 9; nearest: 8 and 12"),
        ({"image_shape": (3, 2, 8, 6)}, "width must be a multiple of 4, got 6"),
        ({"likelihood": "logistic"}, "likelihood must be .*, got 'logistic'"),
        ({"blocks": -1}, "blocks must be at least 0"),
        ({"encoder_blocks": -1}, "encoder_blocks must be at least 0"),
        ({"time_kernel": 0}, "time_kernel must be at least 1"),
        ({"codes": 0}, "codes must be at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        VideoVQVAE(**{**SMALL, **settings})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(clips(2, 2)), "3 frames, got 2"),
        (lambda m: m.bound(clips(2, 4)), "3 frames, got 4"),
        (lambda m: m.encode(clips(2)[:, :0]), r"shape \(N, T, 2, 8, 4\), got \(2, 0, 2, 8, 4\)"),
        (lambda m: m.encode(clips(2)[0]), r"got \(3, 2, 8, 4\)"),
        (lambda m: m.encode(clips(2) * 2), r"must lie in \[0, 1\]"),
        (lambda m: m.encode(clips(2) * np.nan), "there is nan at index"),
        (lambda m: m.decode(np.zeros((2, 3, 1, 2), int)), r"shape \(N, T, 2, 1\)"),
        (lambda m: m.decode(np.full((2, 3, 2, 1), 5)), r"in \[0, 5\)"),
        (lambda m: m.continued(clips(2), prior_of(m), 0), "count must be at least 1"),
        (lambda m: m.continued(clips(0), prior_of(m)), "no clips to continue"),
        (lambda m: m.sample(1, prior_of(model_of({**SMALL, "codes": 4}))), "another codebook"),
        (lambda m: m.sample(1, prior_of(m), y=0), "no labels"),
    ],
)
def test_data_that_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(model_of(SMALL))


# ---- the prior ----


def test_the_contexts_are_the_maps_before_or_the_start_symbol():
    prior = prior_of(model_of(SMALL))
    codes = np.arange(2 * 3 * 2).reshape(2, 3, 2, 1) % 5
    maps, contexts = prior.examples(codes)
    assert (maps.shape, contexts.shape) == ((6, 2, 1), (6, 2, 2, 1))
    for n in range(2):
        for t in range(3):
            np.testing.assert_array_equal(maps[3 * n + t], codes[n, t])
            for m in (1, 2):
                expected = codes[n, t - m] if t - m >= 0 else np.full((2, 1), 5)
                np.testing.assert_array_equal(contexts[3 * n + t, m - 1], expected)


def test_every_other_frame_is_an_example_of_a_first_frame_too():
    prior, codes = prior_of(model_of(SMALL)), np.arange(2 * 5 * 2).reshape(2, 5, 2, 1) % 5
    (maps, contexts), (more, of_more) = prior.examples(codes), prior.training_examples(codes)
    np.testing.assert_array_equal(more[:10], maps)
    np.testing.assert_array_equal(of_more[:10], contexts)
    np.testing.assert_array_equal(more[10:], codes[:, [2, 4]].reshape(4, 2, 1))
    assert (of_more[10:] == 5).all()


@pytest.mark.parametrize("history", [1, 2])
def test_probabilities_of_all_clips_sum_to_one(history):
    """Bug: a context that shows the frame itself, or probability for the start symbol: the sum is more, or less."""
    settings = {**SMALL, "image_shape": (3, 2, 8, 4), "codes": 2}
    prior = prior_of(model_of(settings), history)
    every = np.array(list(product(range(2), repeat=3 * 2))).reshape(-1, 3, 2, 1)
    scores = prior.score_samples(every)
    assert np.exp(scores).sum() == pytest.approx(1, rel=1e-9)
    assert scores.std() > 0.1
    np.testing.assert_allclose(prior.score_frames(every).sum(axis=1), scores, rtol=1e-12)


def test_a_frame_costs_by_itself_and_the_two_before():
    """Bugs: a frame that sees later ones; one of `history` 2 that sees further back; clips that are mixed up."""
    prior = prior_of(model_of({**SMALL, "image_shape": (6, 2, 8, 4)}))
    codes = np.random.default_rng(0).integers(0, 5, (2, 6, 2, 1))
    before = prior.score_frames(codes)
    for t in range(6):
        changed = codes.copy()
        changed[1, t] = (changed[1, t] + 1) % 5
        differs = np.abs(prior.score_frames(changed) - before) > 1e-9
        assert not differs[0].any()
        np.testing.assert_array_equal(np.flatnonzero(differs[1]), np.arange(t, min(t + 3, 6)))


def test_the_bound_is_nll_plus_the_nats_of_the_codes():
    model, x = model_of(SMALL), clips(3)
    prior = prior_of(model)
    bound = model.bound(x, prior)
    assert bound.codes == pytest.approx(-prior.score_samples(model.encode(x)).mean(), rel=1e-12)
    assert bound.nats == bound.nll + bound.codes == pytest.approx(-model.score_samples(x, prior).mean(), rel=1e-12)


def test_a_continuation_keeps_what_was_given_and_is_drawn_as_a_clip_is():
    model = model_of(SMALL)
    prior = prior_of(model)
    codes = model.encode(clips(4))
    longer = prior.continue_codes(codes, 2)
    assert longer.shape == (4, 5, 2, 1)
    np.testing.assert_array_equal(longer[:, :3], codes)
    mv.manual_seed(3)
    whole = prior.sample(4)
    mv.manual_seed(3)
    first = prior.sample(4)[:, :1]
    np.testing.assert_array_equal(whole[:, :1], first)
    assert model.sample(2, prior).shape == (2, *SHAPE)
    mv.manual_seed(4)
    drawn = prior.continue_codes(codes, 2)
    mv.manual_seed(4)
    np.testing.assert_array_equal(model.continued(clips(4), prior, 2), model.decode(drawn)[:, 3:])


def test_continuations_have_the_priors_frequencies():
    """One code a frame: P(k | k_t-1, k_t-2) by score_frames, beside the shares of many draws."""
    model = model_of({**SMALL, "image_shape": (2, 2, 4, 4), "codes": 3})
    prior = prior_of(model)
    given = np.array([[[[2]], [[0]]]])  # (1, 2, 1, 1)
    mv.manual_seed(0)
    drawn = prior.continue_codes(np.repeat(given, 4000, axis=0))[:, -1, 0, 0]
    every = np.concatenate([np.repeat(given, 3, axis=0), np.arange(3).reshape(3, 1, 1, 1)], axis=1)
    p = np.exp(prior.score_frames(every)[:, -1])
    assert p.sum() == pytest.approx(1, rel=1e-9)
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, p, atol=0.03)


@pytest.mark.cpu_only("trains a prior")
def test_with_two_frames_before_it_the_prior_knows_the_direction():
    """A code moves up or down by turns; from the frame before alone either is as likely, from two it is certain."""
    t, start = np.arange(8), np.arange(64) % 6
    up = (start[:, None] + np.where(np.arange(64)[:, None] % 2, t, -t)) % 6
    codes = up.reshape(64, 8, 1, 1)
    model = VideoVQVAE((8, 1, 4, 4), codes=6, channels=2)
    cost = {}
    for history in (1, 2):
        mv.manual_seed(0)
        prior = VideoPrior.of(model, history, **{**PRIOR, "channels": 8, "hidden": 16})
        prior.fit(codes, epochs=40, lr=0.02, batch_size=64)
        cost[history] = -prior.score_frames(codes)[:, 2:].mean()
    assert cost[2] < 0.05 < 0.9 * log(2) < cost[1]


@pytest.mark.cpu_only("trains a prior")
def test_a_prior_that_moves_the_map_before_keeps_the_form_of_what_it_has_never_seen():
    """Maps of random codes that move left or right: all but the column that comes in is known."""
    rng, (N, T) = np.random.default_rng(0), (96, 4)
    wide = rng.integers(0, 8, (N, 4, 4 + 2 * T))
    starts = T + np.where(np.arange(N) % 2, 1, -1)[:, None] * np.arange(T)
    codes = np.stack([[wide[n, :, s : s + 4] for s in starts[n]] for n in range(N)])  # (N, T, 4, 4)
    model = VideoVQVAE((T, 1, 16, 16), codes=8, channels=2)
    cost = {}
    for motion in (0, 1):
        mv.manual_seed(0)
        prior = VideoPrior.of(model, 2, motion, **{**PRIOR, "channels": 16, "hidden": 32})
        prior.fit(codes[:64], epochs=20, lr=0.01, batch_size=32)
        cost[motion] = -prior.score_frames(codes[64:])[:, 2:].mean() / log(8)  # in unknown codes, of which there are 4
    assert cost[1] < 9 < 14 < cost[0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: VideoPrior(model_of(SMALL), 3), TypeError, "PixelCNN"),
        (lambda: VideoPrior(PixelCNN((2, 1), 5), 3), ValueError, "without a context"),
        (
            lambda: VideoPrior(PixelCNN((2, 1), 5, context_shape=(2, 1), context_values=(5,)), 3),
            ValueError,
            "must have shape and values",
        ),
        (lambda: VideoPrior.of(mv.models.VQVAE()), TypeError, "check_clips"),
        (lambda: VideoPrior.of(model_of(SMALL), 0), ValueError, "history must be at least 1"),
        (lambda: prior_of(model_of(SMALL)).score_samples(np.zeros((2, 2, 1), int)), ValueError, r"\(N, T, h, w\)"),
        (lambda: prior_of(model_of(SMALL)).score_samples(np.full((1, 2, 2, 1), 5)), ValueError, r"\[0, 5\)"),
    ],
)
def test_priors_that_do_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_on_position_is_told_each_code_that_is_drawn_in_its_place():
    prior, told = prior_of(model_of(SMALL)), {}
    mv.manual_seed(0)
    drawn = prior.sample(3, on_position=lambda t, i, j, values: told.update({(t, i, j): values.copy()}))
    assert list(told) == list(np.ndindex(drawn.shape[1:]))
    for (t, i, j), values in told.items():
        assert np.array_equal(values.reshape(3), drawn[:, t, i, j])


def test_a_uniform_prior_costs_log_k_a_code():
    model, x = model_of(SMALL), clips(2)
    assert model.bound(x, Uniform(model)).codes == pytest.approx(model.bound(x).codes, rel=1e-12)


@pytest.mark.cpu_only("the same on every device")
def test_the_tests_of_causality_can_fail(monkeypatch):
    """With padding on both sides, as in an ordinary convolution, a frame sees the next one."""
    from minivae.nn import Conv1d

    monkeypatch.setattr(video_vqvae, "CausalConv1d", lambda a, b, k, d, bias: Conv1d(a, b, k, padding=d, dilation=d))
    tests = TestCausality()
    with pytest.raises(AssertionError):
        tests.test_what_comes_later_changes_nothing_before_it()
    with pytest.raises(AssertionError):
        tests.test_frame_t_has_a_gradient_by_the_last_frames_up_to_t_alone("encoder", 4)
