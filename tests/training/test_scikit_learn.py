"""scikit-learn's own tools on minivae's models: clone, Pipeline, GridSearchCV in one process, in two, in threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae.models import VAE, VQVAE, Autoencoder, PixelCNN

base = pytest.importorskip("sklearn.base")
joblib = pytest.importorskip("joblib")
model_selection = pytest.importorskip("sklearn.model_selection")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")

ROWS = np.random.default_rng(0).random((60, 30)).astype(np.float32)


def vae(**options: Any) -> VAE:
    return VAE((1, 6, 5), latent_dim=2, arch="dense", hidden=(7,), epochs=2, batch_size=16, **options)


MODELS = [
    vae(random_state=3, warm_start=True),
    Autoencoder((1, 6, 5), 2, hidden=(7,), epochs=1, lr=0.5, random_state=np.int64(4)),
    VQVAE((1, 8, 8), codes=4, code_dim=3, channels=4, residual_channels=2, batch_size=7, random_state=5),
    PixelCNN((2, 2), values=4, channels=4, layers=2, hidden=4, random_state=6),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_clone_has_the_parameters_and_the_weights_of_the_seed(model: Any) -> None:
    copy = base.clone(model)
    assert copy.get_params() == model.get_params()
    for name, value in model.get_params().items():
        if name not in model.given:  # the layers of these names are the model's own
            assert getattr(model, name) is value
    assert copy.random_state is not None
    for name, array in copy.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def search(n_jobs: int) -> Any:
    grid = {"lr": [1e-3, 1e-2], "epochs": [1, 3], "latent_dim": [np.int64(2), np.int64(3)]}
    return model_selection.GridSearchCV(vae(random_state=0), grid, cv=2, n_jobs=n_jobs, return_train_score=True)


def scores(found: Any) -> np.ndarray:
    return np.array([found.cv_results_[f"{part}_score"] for part in ("mean_test", "std_test", "mean_train")])


def test_a_grid_search_finds_the_same_in_processes_in_threads_and_alone() -> None:
    """MINIVAE_NUM_THREADS and BLAS may differ between them, hence the last digits."""
    mv.manual_seed(1)
    alone = search(1).fit(ROWS)
    assert np.unique(scores(alone)[0]).size == 8
    np.testing.assert_array_equal(scores(search(1).fit(ROWS)), scores(alone))
    with joblib.parallel_backend("threading"):
        np.testing.assert_allclose(scores(search(2).fit(ROWS)), scores(alone), rtol=1e-6)
    processes = search(2).fit(ROWS)
    np.testing.assert_allclose(scores(processes), scores(alone), rtol=1e-6)
    assert mv.random.default_generator.state_dict()["seed"] == 1
    best = base.clone(alone.estimator).set_params(**alone.best_params_).fit(ROWS)
    np.testing.assert_allclose(processes.best_estimator_.transform(ROWS), best.transform(ROWS), rtol=1e-5)


def test_a_pipeline_is_fitted_scored_and_searched() -> None:
    steps = pipeline.Pipeline([("scale", preprocessing.MinMaxScaler(clip=True)), ("vae", vae(random_state=0))])
    z = steps.fit_transform(10 * ROWS - 3)
    np.testing.assert_array_equal(steps.transform(10 * ROWS - 3), z)
    scaled = steps[0].transform(10 * ROWS - 3)
    np.testing.assert_array_equal(z, vae(random_state=0).fit_transform(scaled))
    assert steps.score(10 * ROWS - 3) == steps[1].score(scaled)
    found = model_selection.GridSearchCV(steps, {"vae__beta": [0.5, 1.0]}, cv=2).fit(ROWS)
    assert np.isfinite(found.best_score_)


def test_labels_come_along() -> None:
    codes, labels = (4 * ROWS[:, :4].reshape(60, 2, 2)).astype(int), np.arange(60) % 2
    prior = PixelCNN((2, 2), values=4, channels=4, layers=2, hidden=4, classes=2, epochs=1, random_state=0)
    found = model_selection.GridSearchCV(prior, {"lr": [1e-3, 1e-2]}, cv=2).fit(codes, labels)
    assert np.isfinite(found.best_score_)
