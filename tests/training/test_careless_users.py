"""What a user's code may do in a training without a loss: draw noise, take keywords, freeze, report oddly."""

from collections import namedtuple
from functools import partial, wraps

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.training import BestCheckpoint, Callback, EarlyStopping

X = numbers(40, 1, 4, 4, dtype=np.float32) * 0.1 + 0.5
X = np.clip(X, 0, 1)


def small(**options):
    return mv.models.VAE((1, 4, 4), 2, "dense", hidden=(8,), batch_size=16, **{"random_state": 0, **options})


def weights(model):
    return np.concatenate([a.ravel() for a in model.state_dict().values()])


class StopError(Exception):
    pass


class TestNoise:
    def test_samples_that_are_drawn_between_epochs_do_not_change_the_training(self):
        model = small().fit(X, epochs=3)
        looked_at = small()
        looked_at.fit(X, epochs=3, on_epoch=lambda record: (looked_at.sample(2), None)[1])
        np.testing.assert_array_equal(weights(model), weights(looked_at))

    def test_a_resumed_training_is_the_same_where_samples_are_drawn(self, tmp_path):
        def fit(model, stop_after=None, **options):
            def look(record):
                model.sample(2)
                if record["epoch"] == stop_after:
                    raise StopError

            return model.fit(X, epochs=4, checkpoint=tmp_path / "c.npz", on_epoch=look, **options)

        whole = weights(fit(small()))
        with pytest.raises(StopError):
            fit(small(), stop_after=2)
        np.testing.assert_array_equal(weights(fit(small(), resume=True)), whole)


class Keywords(mv.optim.SGD):
    def __init__(self, params, **keywords):
        super().__init__(params, **keywords)


class TestOptimizers:
    @pytest.mark.parametrize("make", [Keywords, lambda params, **k: mv.optim.SGD(params, **k)])
    def test_the_learning_rate_reaches_those_that_take_keywords(self, make):
        expected = weights(small(lr=0.05).fit(X, epochs=1, optimizer=mv.optim.SGD))
        np.testing.assert_array_equal(weights(small(lr=0.05).fit(X, epochs=1, optimizer=make)), expected)
        np.testing.assert_array_equal(weights(small().fit(X, epochs=1, lr=0.05, optimizer=make)), expected)

    def test_a_partial_has_its_own(self):
        with pytest.raises(ValueError, match="sets its own"):
            small().fit(X, epochs=1, lr=0.05, optimizer=partial(Keywords, lr=0.1))

    @pytest.mark.parametrize("random_state", [None, 0])
    def test_what_is_frozen_stays_frozen(self, random_state):
        model = small(random_state=random_state)
        model.encoder.requires_grad_(False)
        model.fit(X, epochs=1)
        assert not any(p.requires_grad for p in model.encoder.parameters())
        assert all(p.requires_grad for p in model.decoder.parameters())

    def test_a_resume_with_another_part_frozen_says_so(self, tmp_path):
        small().fit(X, epochs=1, checkpoint=tmp_path / "c.npz")
        model = small()
        model.encoder.requires_grad_(False)
        with pytest.raises(ValueError, match="trained_parameters was 8, not 4"):
            model.fit(X, epochs=2, checkpoint=tmp_path / "c.npz", resume=True)


class TestReports:
    def test_a_monitored_number_must_be_finite(self):
        with pytest.raises(ValueError, match="'score' must be finite to be monitored, got nan"):
            EarlyStopping(3, "score").is_best({"epoch": 1, "score": np.nan})

    def test_numbers_of_numpy_in_a_record_can_be_saved(self, tmp_path):
        class Measure(Callback):
            def after_epoch(self, model, record):
                record["fid"] = np.float32(1.5)

        model = small().fit(X, epochs=2, on_epoch=Measure(), checkpoint=tmp_path / "c.npz")
        again = small().fit(X, epochs=2, on_epoch=Measure(), checkpoint=tmp_path / "c.npz", resume=True)
        assert [record["fid"] for record in again.history] == [1.5, 1.5]
        np.testing.assert_array_equal(weights(model), weights(again))

    def test_what_a_file_cannot_hold_is_named(self, tmp_path):
        class Measure(Callback):
            def after_epoch(self, model, record):
                record["fid"] = 1j

        with pytest.raises(TypeError, match=r"fid must be a number, a str or a list of them, got 1j"):
            small().fit(X, epochs=1, on_epoch=Measure(), checkpoint=tmp_path / "c.npz")

    def test_two_that_would_write_one_file_or_restore_two_epochs(self, tmp_path):
        best = BestCheckpoint(tmp_path / "m.npz", "loss")
        with pytest.raises(ValueError, match=r"must be different files, got .*m.npz' twice"):
            small().fit(X, epochs=1, checkpoint=tmp_path / "m.npz", on_epoch=best)
        with pytest.raises(ValueError, match="different files"):
            small().fit(X, epochs=1, on_epoch=[best, BestCheckpoint(str(tmp_path / "m.npz"), "nll")])
        stops = [EarlyStopping(1, "loss"), EarlyStopping(2, "nll")]
        with pytest.raises(ValueError, match="only one EarlyStopping can restore"):
            small().fit(X, epochs=1, on_epoch=stops)

    @pytest.mark.parametrize("validation", [X[:0], (X, None, None)])
    def test_validation_data_that_is_none(self, validation):
        with pytest.raises(ValueError, match="validation must"):
            small().fit(X, epochs=1, validation=validation)


Wrong = namedtuple("Wrong", "nll loss")


class TestLosses:
    @pytest.mark.parametrize("change", [lambda r: r.loss, tuple, lambda r: 1.5, lambda r: Wrong(r.nll, r.loss)])
    def test_a_loss_that_is_none_is_named(self, change):
        class Mine(mv.models.VAE):
            def loss(self, x, noise=None):
                return change(super().loss(x, noise))

        model = Mine((1, 4, 4), 2, "dense", hidden=(8,))
        with pytest.raises(TypeError, match=r"Mine.loss\(\) must return a named tuple whose first field is `loss`"):
            model.fit(X, epochs=1)


def test_a_wrapped_forward_before_a_relu_is_called_as_it_is():
    layer = mv.nn.Linear(3, 2)
    inner, calls = layer.forward, []

    @wraps(inner)
    def forward(x):
        calls.append(len(x))
        return inner(x)

    layer.forward = forward
    x = numbers(4, 3, dtype=np.float32)
    found = mv.nn.Sequential(layer, mv.nn.ReLU())(x)
    np.testing.assert_array_equal(found.numpy(), np.maximum(inner(x).numpy(), 0))
    assert calls == [4]


def test_numbers_of_layers_that_were_removed_are_not_given_to_two():
    layers = mv.nn.ModuleList([mv.nn.ReLU(), mv.nn.Tanh(), mv.nn.Sigmoid()])
    delattr(layers, "0")
    layers.append(mv.nn.SiLU())
    assert [type(layer).__name__ for layer in layers] == ["Tanh", "Sigmoid", "SiLU"]


def test_a_given_module_with_a_replaced_forward_is_refused():
    encoder = mv.nn.Sequential(mv.nn.Flatten(), mv.nn.Linear(16, 4))
    forward = encoder.forward
    encoder.forward = lambda x: forward(x) * 1.0
    with pytest.raises(ValueError, match=r"encoder must not have a replaced forward\(\), lost by copying"):
        mv.models.VAE((1, 4, 4), 2, "dense", encoder=encoder)
