"""Each warning fires on a course or on numbers that have what it names, and on no good ones."""

from __future__ import annotations

import math

import pytest

from minivae.report import findings

GOOD = [100 * 0.5**i + 50 for i in range(12)]  # comes to rest


def history(losses, others=None, **more):
    """Records as a training keeps them; others: the losses of the validation images, by default slightly higher."""
    others = [loss + 1 for loss in losses] if others is None else others
    return [
        {"epoch": i, "loss": loss, "validation_loss": other, **{name: values[i - 1] for name, values in more.items()}}
        for i, (loss, other) in enumerate(zip(losses, others, strict=True), 1)
    ]


def titles(records, results=None, config=None):
    return [finding.title for finding in findings(records, results or {}, config or {})]


def test_a_good_training_has_none():
    results = {
        "train": {"usage": 1.0, "perplexity": 20.0},
        "active": 8,
        "kl_per_latent": [0.5] * 10,
        "dead": 1,
    }
    assert titles(history(GOOD), results, {"latent_dim": 10}) == []
    assert titles(history([loss - 1000 for loss in GOOD])) == []  # below 0, as the nll of a density may be


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("shift", [0.0, -300.0])
class TestTheCourse:
    """No warning depends on the unit of the loss or on its constant."""

    @pytest.fixture
    def loss(self, scale, shift):
        return lambda values: [scale * (value + shift) for value in values]

    def judged(self, loss, losses, others=None):
        others = [value + 1 for value in losses] if others is None else others
        return titles(history(loss(losses), loss(others)))

    def test_a_loss_that_rises(self, loss):
        assert self.judged(loss, [*GOOD, 70, 80]) == ["The loss rises"]
        assert self.judged(loss, [100, 110, 130, 140]) == ["The loss rises"]
        assert self.judged(loss, [*GOOD, 52, 50]) == []  # one bad epoch, of which it has recovered

    def test_a_loss_that_still_falls(self, loss):
        assert self.judged(loss, list(range(100, 70, -3))) == ["Not trained to the end"]
        assert self.judged(loss, [100, 50]) == ["Hardly trained"]

    def test_a_gap(self, loss):
        assert self.judged(loss, GOOD, [value + 20 for value in GOOD]) == ["Overfitting"]
        assert self.judged(loss, GOOD, [value + 10 for value in GOOD]) == []
        assert self.judged(loss, GOOD, [value - 30 for value in GOOD]) == []  # as with dropout in training

    def test_other_images_on_which_the_loss_has_turned(self, loss):
        others = [value + 1 for value in GOOD]
        assert self.judged(loss, GOOD, [*others[:-3], 53, 55, 58]) == ["Overfitting"]
        assert self.judged(loss, GOOD, [*others[:-1], 58]) == []  # one epoch is no turn


def test_without_other_images_there_is_no_gap():
    assert titles([{"epoch": i, "loss": loss} for i, loss in enumerate(GOOD, 1)]) == []


def test_epochs_in_which_the_loss_changes_are_no_part_of_the_course():
    """With a KL term that is warming up the loss rises."""
    losses = [20, 30, *GOOD]
    assert "The loss rises" in titles(history(losses))
    assert titles(history(losses), {}, {"warmup_epochs": 2}) == []
    assert titles(history(losses), {}, {"discriminator_start": 2}) == []
    assert titles(history(losses), {}, {"warmup_epochs": 99}) == ["Hardly trained"]  # it has warmed up in none


def test_after_patience_the_course_ends_with_the_best_epoch():
    losses = [*GOOD, 49.9, 49.8, 49.7, 49.6]
    others = [loss + 1 for loss in GOOD] + [55, 60, 65, 70]
    assert titles(history(losses, others)) == ["Overfitting"]
    assert titles(history(losses, others), {"best_epoch": 12}) == []
    assert titles(history([100, 80, 60, 90]), {"best_epoch": 2}) == []  # it was stopped, not cut short


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite(value):
    (found,) = findings(history([100.0, 50.0, value]), {}, {})
    assert found.title == "The training diverged"
    assert "epoch 3" in found.seen
    assert "--lr" in found.cure


def test_a_discriminator_that_wins():
    def course(real, made):
        shares = {"real": [0.5] * 10 + real, "made": [0.5] * 10 + made}
        return history(GOOD, **shares, nll=GOOD, validation_nll=[loss + 1 for loss in GOOD])

    assert titles(course([0.999, 0.995], [0.999, 0.995])) == ["The discriminator wins"]
    assert titles(course([0.9, 0.999], [0.999, 0.999])) == []
    assert titles(course([0.999, 0.999], [0.6, 0.6])) == []


def test_against_a_discriminator_the_nll_is_judged_and_not_what_is_played_for():
    rising = [loss + 10 * i for i, loss in enumerate(GOOD)]
    shares = {"real": [0.6] * 12, "made": [0.6] * 12}
    records = history(rising, **shares, nll=GOOD, validation_nll=[loss + 1 for loss in GOOD])
    assert titles(records) == []


class TestLatents:
    def collapsed(self, active, total=10):
        return findings(history(GOOD), {"active": active, "kl_per_latent": [0.1] * total}, {})

    def test_collapse(self):
        (found,) = self.collapsed(3)
        assert found.title == "Posterior collapse"
        assert "7 of 10" in found.seen
        assert "--free-bits" in found.cure
        assert self.collapsed(5) == self.collapsed(10) == []
        assert "None of 10" in self.collapsed(0)[0].seen

    def test_dead_latents_of_sparse_codes(self):
        assert titles(history(GOOD), {"dead": 60}, {"latent_dim": 256}) == ["Dead latents"]
        assert titles(history(GOOD), {"dead": 40}, {"latent_dim": 256}) == []


class TestCodes:
    def test_dead_codes(self):
        (found,) = findings(history(GOOD), {"test": {"usage": 0.4, "perplexity": 3.2}}, {})
        assert found.title == "Dead codes"
        assert "40%" in found.seen
        assert "3.2" in found.seen
        assert "--codes" in found.cure
        (found,) = findings(history(GOOD), {"test": {"usage": 0.4}}, {"quantizer": "fsq"})
        assert "--levels" in found.cure
        assert titles(history(GOOD), {"test": {"usage": 0.85, "perplexity": 3.2}}) == []

    def test_one_code_for_all(self):
        assert titles(history(GOOD), {"test": {"usage": 1.0, "perplexity": 1.1}}) == ["The codebook has collapsed"]

    def test_training_images_count_where_they_are_known(self):
        """A code that no test image has may be in use."""
        results = {"train": {"usage": 1.0, "perplexity": 30.0}, "test": {"usage": 0.7, "perplexity": 20.0}}
        assert titles(history(GOOD), results) == []

    def test_each_level_and_each_stage_by_its_name(self):
        train = {"usage_top": 0.2, "perplexity_top": 5.0, "usage_bottom": 1.0, "perplexity_bottom": 1.0, "nll": 2.0}
        assert titles(history(GOOD), {"train": train}) == ["Dead codes (top)", "The codebook has collapsed (bottom)"]


def test_numbers_of_other_commands_are_no_reason_for_a_warning():
    """results.json of compress-curve and anomaly holds rows of models."""
    assert titles(history(GOOD), {"ae": [{"dim": 2}], "PCA of 4": {"auroc": 0.5}}) == []
