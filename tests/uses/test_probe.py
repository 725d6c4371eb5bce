"""The probe: the logistic regression, the choice of its penalty and of the labelled images, and the accuracies."""

import builtins

import numpy as np
import pytest
from scipy.optimize import check_grad
from strategies import numbers

from minivae.uses import PCA, LogisticRegression, probe
from minivae.uses.probe import STRENGTHS, fit_validated, labelled

Y = np.arange(60) % 3


def clusters(n=60, spread=0.1, seed=0):
    """Images (n, 1, 2, 2) in three clusters around different corners; image i belongs to cluster i % 3."""
    centres = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], float)
    points = centres[np.arange(n) % 3] + spread * numbers(n, 4, seed=seed)
    return points.reshape(n, 1, 2, 2).astype(np.float32)


class Identity:
    def transform(self, x):
        return x


class Label:
    """A model whose codes tell the class: the first three pixels, rounded."""

    def transform(self, x):
        return np.round(x.reshape(len(x), 4)[:, :3])


class TestLogisticRegression:
    def test_gradient(self):
        x, y = numbers(15, 4, seed=1), np.array([0, 1, 2] * 5)
        model = LogisticRegression(x, y, 0.3)
        theta = numbers(15, seed=2)
        loss, gradient = (lambda t: model._loss(t, x, y)[0]), (lambda t: model._loss(t, x, y)[1])
        assert check_grad(loss, gradient, theta) < 1e-5

    def test_the_fit_is_where_the_penalised_likelihood_is_stationary(self):
        """At the minimum strength * W = mean((one_hot - p) x^T), and the mean of p is the share of each class."""
        x, y = numbers(60, 4, seed=1), np.array(["c", "a", "b"])[Y]
        model = LogisticRegression(x, y, 0.1)
        assert model.classes.tolist() == ["a", "b", "c"]
        p = np.exp(model.log_probability(x))
        np.testing.assert_allclose(p.sum(1), 1)
        residual = (y[:, None] == model.classes) - p
        np.testing.assert_allclose(residual.T @ x / 60, 0.1 * model.weight, atol=1e-4)
        np.testing.assert_allclose(p.mean(0), 1 / 3, atol=1e-4)

    def test_it_equals_scikit_learns(self):
        linear_model = pytest.importorskip("sklearn.linear_model")
        x = numbers(60, 4, seed=1)
        ours = LogisticRegression(x, Y, 0.05)
        theirs = linear_model.LogisticRegression(C=1 / (0.05 * 60), tol=1e-8).fit(x, Y)
        np.testing.assert_allclose(np.exp(ours.log_probability(x)), theirs.predict_proba(x), atol=1e-3)
        assert (ours.predict(x) == theirs.predict(x)).all()

    def test_without_scipy(self, monkeypatch):
        real = builtins.__import__

        def missing(name, *rest):
            if name.startswith("scipy"):
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(ImportError, match=r"minivae\[uses\]"):
            LogisticRegression(numbers(6, 2), np.array([0, 1] * 3), 1.0)


class TestStrength:
    def test_noise_calls_for_a_strong_penalty_and_clear_data_for_a_weak_one(self):
        noise = fit_validated(numbers(60, 30, seed=1), Y)
        clear = fit_validated(clusters().reshape(60, 4), Y)
        assert noise.strength == STRENGTHS[0] == max(STRENGTHS)
        assert clear.strength == STRENGTHS[-1] == min(STRENGTHS)

    def test_the_final_fit_has_all_labels(self):
        x = clusters(spread=1.0).reshape(60, 4)
        model = fit_validated(x, Y)
        again = LogisticRegression(x, Y, model.strength)
        np.testing.assert_array_equal(model.weight, again.weight)


class TestLabels:
    def test_equally_many_of_each_class(self):
        y = np.array([0] * 5 + [1] * 30 + [2] * 25)
        chosen = labelled(y, 4, seed=0)
        assert len(set(chosen)) == 12
        assert np.bincount(y[chosen]).tolist() == [4, 4, 4]
        assert not np.array_equal(chosen, labelled(y, 4, seed=0, draw=1))
        assert not np.array_equal(chosen, labelled(y, 4, seed=1))
        np.testing.assert_array_equal(chosen, labelled(y, 4, seed=0))
        assert sorted(labelled(y, None, seed=0)) == list(range(60))


class TestProbe:
    def test_rows(self):
        x, t = clusters(spread=0.6), clusters(30, spread=0.6, seed=1)
        rows = probe(PCA(x, 2), x, Y, t, np.arange(30) % 3, labels=(5, None), repeats=3)
        assert [(r.features, r.dim, r.labels) for r in rows] == [
            (name, dim, count) for count in (5, None) for name, dim in (("codes", 2), ("PCA", 2), ("pixels", 4))
        ]
        for codes, pca in (rows[:2], rows[3:5]):  # the model is PCA itself
            assert codes[3:] == pca[3:]
        assert all(r.deviation == 0 for r in rows[3:])  # there is only one way to choose all labels
        assert any(r.deviation > 0 for r in rows[:3])

    def test_accuracy_is_the_share_of_test_images_that_are_right(self):
        """With codes that separate the classes the accuracy is 1; with test labels shifted by one it is 0."""
        x, t = clusters(), clusters(30, seed=1)
        right = probe(Label(), x, Y, t, np.arange(30) % 3, labels=(5,), repeats=2)
        wrong = probe(Label(), x, Y, t, (np.arange(30) + 1) % 3, labels=(5,), repeats=2)
        assert (right[0].accuracy, wrong[0].accuracy) == (1.0, 0.0)

    def test_a_scale_or_a_shift_of_the_pixels_changes_nothing(self):
        x, t, y = clusters(spread=0.6), clusters(30, spread=0.6, seed=1), np.arange(30) % 3
        rows = probe(Identity(), x, Y, t, y, labels=(5,), repeats=2)
        moved = probe(Identity(), 64 * x + 32, Y, 64 * t + 32, y, labels=(5,), repeats=2)
        assert [r.accuracy for r in moved] == pytest.approx([r.accuracy for r in rows], abs=0.02)

    @pytest.mark.parametrize(
        ("labels", "message"), [(1, r"\[2, 20\].*got 1"), (21, r"\[2, 20\].*got 21"), (0, "got 0")]
    )
    def test_label_counts_out_of_range(self, labels, message):
        with pytest.raises(ValueError, match=message):
            probe(Identity(), clusters(), Y, clusters(), Y, labels=(labels,))

    def test_pca_of_few_images_is_of_all_components_there_are(self):
        x, y = numbers(6, 1, 5, 4), np.arange(6) % 2
        rows = probe(Identity(), x, y, x, y, labels=(None,))
        assert {row.features: row.dim for row in rows} == {"codes": 20, "PCA": 6, "pixels": 20}

    def test_several_models_are_compared_on_the_same_labels(self):
        x, t, y = clusters(spread=0.6), clusters(30, spread=0.6, seed=1), np.arange(30) % 3
        models = {"two": PCA(x, 2), "all": Identity(), "three": PCA(x, 3)}
        rows = probe(models, x, Y, t, y, labels=(5, None), repeats=2)
        names = ["two", "all", "three", "PCA of 2", "PCA of 3", "PCA of 4", "pixels"]
        assert [(row.features, row.labels) for row in rows] == [(n, count) for count in (5, None) for n in names]
        for name, model in models.items():
            alone = probe(model, x, Y, t, y, labels=(5, None), repeats=2)
            expected = [row[1:] for row in alone if row.features == "codes"]
            assert [row[1:] for row in rows if row.features == name] == expected
            linear = [row[1:] for row in alone if row.features == "PCA"]
            assert [row[1:] for row in rows if row.features == f"PCA of {linear[0][0]}"] == linear

    def test_names_of_models_are_no_names_of_baselines(self):
        x = clusters()
        with pytest.raises(ValueError, match="'pixels'"):
            probe({"pixels": Identity()}, x, Y, x, Y, labels=(None,))
        with pytest.raises(ValueError, match="PCA of 4"):
            probe({"PCA of 4": Identity()}, x, Y, x, Y, labels=(None,))
        with pytest.raises(ValueError, match="at least one model"):
            probe({}, x, Y, x, Y)

    def test_a_class_with_a_single_image_is_refused(self):
        with pytest.raises(ValueError, match="the smallest has 1"):
            probe(Identity(), clusters(), np.minimum(np.arange(60), 1), clusters(), Y, labels=(None,))

    def test_codes_of_integers_are_refused(self):
        class Integers:
            def transform(self, x):
                return np.zeros((len(x), 2), np.int64)

        with pytest.raises(TypeError, match="int64"):
            probe(Integers(), clusters(), Y, clusters(), Y)

    @pytest.mark.parametrize("y", [Y[:50], Y[:, None], np.append(Y, 0), None], ids=["fewer", "column", "more", "none"])
    def test_labels_that_do_not_fit_the_images(self, y):
        """A column of labels would broadcast against all images, and missing labels would go unnoticed."""
        x = clusters()
        with pytest.raises(ValueError, match=r"y_train.*\(60,\)"):
            probe(Identity(), x, y, x, Y, labels=(5,))
        with pytest.raises(ValueError, match=r"y_test.*\(60,\)"):
            probe(Identity(), x, Y, x, y, labels=(5,))

    def test_zero_repeats_are_refused(self):
        with pytest.raises(ValueError, match="repeats.*0"):
            probe(Identity(), clusters(), Y, clusters(), Y, labels=(5,), repeats=0)
