"""Training of models with an adversary: two players in one step, the late start, interrupted runs, and the warning."""

import warnings
from functools import partial

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.data.batches import Batches
from minivae.models import VAE, VAEGAN, VQGAN, VQVAE
from minivae.optim import SGD, Adam, AdamW, clip_grad_norm
from minivae.random import use_generator
from minivae.training import Trainer

SHAPE = (1, 8, 8)
IMAGES = numbers(24, *SHAPE, low=0, high=1, dtype=np.float32)
SMALL_VAE = {"image_shape": SHAPE, "latent_dim": 2, "channels": (3,), "hidden": (5,)}
SMALL_VQVAE = {"image_shape": SHAPE, "codes": 5, "code_dim": 2, "channels": 3, "residual_channels": 2}
OF_D = {"discriminator_channels": (3, 4), "discriminator_start": 2}
FIT = {"epochs": 4, "batch_size": 16, "lr": 1e-2}
GANS = pytest.mark.parametrize(
    ("gan", "plain", "settings"), [(VAEGAN, VAE, SMALL_VAE), (VQGAN, VQVAE, SMALL_VQVAE)], ids=["vaegan", "vqgan"]
)


def of_generator(model):
    return {name: array for name, array in model.state_dict().items() if not name.startswith("discriminator")}


def same(mine, theirs):
    assert mine.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(mine[name], array, err_msg=name)


class TestTwoOptimisers:
    @pytest.mark.parametrize("clip_norm", [None, 0.5], ids=["free", "clipped"])
    @pytest.mark.parametrize(
        "make", [Adam, partial(SGD, momentum=0.9), partial(AdamW, weight_decay=0.1)], ids=["adam", "sgd", "adamw"]
    )
    @GANS
    def test_one_step_is_two_alternating_steps_of_two_optimisers(self, gan, plain, settings, make, clip_norm):
        """Bit by bit: the generator's step with D's weights constant, then D's on the images made before that step.

        The alternating loop takes each player's gradient from a graph of its own, forgets what arrives elsewhere, and
        has two optimisers. A D that saw images made after the step would differ, and so would a joint clip_norm.
        """
        options = {**settings, **OF_D, "discriminator_start": 1, "random_state": 3}
        model = gan(**options).fit(IMAGES, **FIT, schedule=None, clip_norm=clip_norm, optimizer=make)
        other = gan(**options)
        other.generator.load_state_dict(gan(**options).generator.state_dict())
        of_d = other.discriminator.parameters()
        players = [[p for p in other.parameters() if all(p is not d for d in of_d)], of_d]
        optimizers = [make(params, lr=1e-2) for params in players]
        batches = Batches(IMAGES, 16, other.generator.seed)
        with use_generator(other.generator):
            other.prepare(IMAGES)
            for epoch in range(1, 5):
                other.train()
                other.begin_epoch(epoch)
                other.begin_pass()
                for x in batches:
                    result = other.loss(x)
                    played = other.playing()
                    generator = result.loss - result.discriminator if played else result.loss
                    losses = [generator, result.discriminator] if played else [generator]
                    for loss, params, optimizer in zip(losses, players, optimizers, strict=False):
                        other.zero_grad()
                        loss.backward(retain_graph=True)
                        for p in other.parameters():
                            if all(p is not mine for mine in params):
                                p.grad = None
                        if clip_norm is not None:
                            clip_grad_norm(params, clip_norm)
                        optimizer.step()
                other.end_pass()
        same(other.state_dict(), model.state_dict())

    def test_each_player_is_clipped_by_itself(self):
        """Bug: a joint norm, in which the player with the larger gradient takes the other's share."""
        model = VAEGAN(**SMALL_VAE, **{**OF_D, "discriminator_start": 0}, random_state=0)
        before = model.state_dict()
        model.fit(IMAGES, epochs=1, batch_size=24, lr=1.0, schedule=None, clip_norm=0.01, optimizer=SGD)
        moved = {name: ((model.state_dict()[name] - before[name]) ** 2).sum() for name in before}
        for mine in (True, False):
            norm = sum(v for k, v in moved.items() if k.startswith("discriminator") == mine) ** 0.5
            assert norm == pytest.approx(0.01, rel=1e-3)


class TestLateStart:
    @GANS
    def test_without_a_start_it_is_the_plain_model_bit_by_bit(self, gan, plain, settings):
        for seed in ({"random_state": 3}, {}):
            mv.manual_seed(7)
            expected = plain(**settings, **seed).fit(IMAGES, **FIT, validation=IMAGES[:9])
            mv.manual_seed(7)
            model = gan(**settings, **{**OF_D, "discriminator_start": 4}, **seed)
            untouched = {k: v for k, v in model.state_dict().items() if k.startswith("discriminator")}
            model.fit(IMAGES, **FIT, validation=IMAGES[:9])
            same(of_generator(model), expected.state_dict())
            same({k: v for k, v in model.state_dict().items() if k.startswith("discriminator")}, untouched)
            for mine, theirs in zip(model.history, expected.history, strict=True):
                times = {"seconds", "images_per_second"}
                assert {k: v for k, v in mine.items() if k not in times} == {
                    k: v for k, v in theirs.items() if k not in times
                }

    @GANS
    def test_it_begins_after_so_many_epochs_and_its_judgements_are_recorded(self, gan, plain, settings):
        model = gan(**settings, **OF_D, random_state=3).fit(IMAGES, **FIT, validation=IMAGES[:9])
        expected = plain(**settings, random_state=3).fit(IMAGES, **FIT)
        assert [r["nll"] for r in model.history[:2]] == [r["nll"] for r in expected.history[:2]]
        assert [r["nll"] for r in model.history[2:]] != [r["nll"] for r in expected.history[2:]]
        own = {"generator", "discriminator", "weight", "real", "made"}
        assert [own <= record.keys() for record in model.history] == [False, False, True, True]
        assert all(0 <= record[share] <= 1 for record in model.history[2:] for share in ("real", "made"))
        assert not any(f"validation_{name}" in record for record in model.history for name in own)

    def test_two_models_of_one_generator_have_different_discriminators(self):
        mv.manual_seed(0)
        one, two = (VAEGAN(**SMALL_VAE, **OF_D).discriminator.score.weight.numpy() for _ in range(2))
        assert not np.array_equal(one, two)

    def test_a_trainer_alone_starts_it_too(self):
        mv.manual_seed(0)
        model = VAEGAN(**SMALL_VAE, **OF_D)
        history = Trainer(model, Adam(model.parameters()), Batches(IMAGES, 16)).run(3)
        assert ["real" in record for record in history] == [False, False, True]


class TestResume:
    @pytest.mark.parametrize("saved", [False, True], ids=["before", "after the checkpoint"])
    @pytest.mark.parametrize("epoch", [1, 2, 3, 4])
    @GANS
    def test_killed_in_each_epoch_it_goes_on_bit_by_bit(self, gan, plain, settings, epoch, saved, tmp_path):
        """Both players' weights, moments and counts of steps are in the checkpoint."""
        path, options = tmp_path / "checkpoint.npz", {**settings, **OF_D, "random_state": 3}
        kept = {"clip_norm": 1.0, "validation": IMAGES[:9]}
        whole = gan(**options).fit(IMAGES, **FIT, **kept)

        class Kill(mv.training.Callback):  # callbacks come before the checkpoint, functions after it
            def after_epoch(self, model, record):
                if record["epoch"] == epoch and not saved and not path.with_suffix(".killed").exists():
                    path.with_suffix(".killed").touch()
                    raise KeyboardInterrupt

        def kill(record):
            if record["epoch"] == epoch and saved:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            gan(**options).fit(IMAGES, **FIT, **kept, checkpoint=path, on_epoch=[Kill(), kill])
        resume = path.exists()
        again = gan(**options).fit(IMAGES, **FIT, **kept, checkpoint=path, resume=resume, on_epoch=Kill())
        same(again.state_dict(), whole.state_dict())
        assert [(r["loss"], r["lr"], r.get("made")) for r in again.history] == [
            (r["loss"], r["lr"], r.get("made")) for r in whole.history
        ]

    def test_another_start_is_another_training(self, tmp_path):
        path = tmp_path / "checkpoint.npz"
        VAEGAN(**SMALL_VAE, **OF_D).fit(IMAGES, epochs=1, checkpoint=path)
        with pytest.raises(ValueError, match="discriminator_start was 2, not 3"):
            VAEGAN(**SMALL_VAE, **{**OF_D, "discriminator_start": 3}).fit(IMAGES, checkpoint=path, resume=True)


class TestWarning:
    MODEL = VAEGAN(**SMALL_VAE, **OF_D)

    def warned(self, *shares):
        history = [{"epoch": 1, "loss": 1.0}]
        told = []
        for share in shares:
            history.append({"epoch": len(history) + 1, "real": share, "made": max(share, 0.995)})
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.MODEL.end_epoch(history)
            told.append(len(caught))
        return told

    def test_it_comes_once_when_the_discriminator_has_won_for_two_epochs(self):
        assert self.warned(0.9, 0.999, 0.999, 0.999, 1.0) == [0, 0, 1, 0, 0]
        assert self.warned(1.0, 0.9, 1.0, 0.5) == [0, 0, 0, 0]
        assert self.warned(1.0, 1.0, 0.9, 1.0, 1.0) == [0, 1, 0, 0, 1]

    def test_it_names_the_cure(self):
        history = [{"epoch": e, "real": 0.998, "made": 1.0} for e in (1, 2)]
        cure = "99.8% of real and 100.0% of made .* epoch 2.*discriminator_channels.*discriminator_start.*gan_weight"
        with pytest.warns(RuntimeWarning, match=cure):
            self.MODEL.end_epoch(history)


@GANS
def test_a_file_holds_the_discriminator_and_scikit_learn_clones_the_model(gan, plain, settings, tmp_path):
    model = gan(**settings, **OF_D, random_state=3).fit(IMAGES, **FIT)
    model.save(tmp_path / "model.npz")
    same(mv.models.load(tmp_path / "model.npz").state_dict(), model.state_dict())
    base = pytest.importorskip("sklearn.base")
    assert base.clone(model).get_params() == model.get_params()
