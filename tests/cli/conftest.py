"""Small data and finished runs, made once."""

from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, succeeded
from strategies import numbers


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small data set in a file: 60 training and 20 test images of 8 x 8 with labels."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    x = numbers(80, 8, 8, low=0, high=1, dtype=np.float32)
    labels = np.arange(80) % 3
    np.savez(path, x_train=x[:60], x_test=x[60:], y_train=labels[:60], y_test=labels[60:])
    return path


@pytest.fixture(scope="session")
def runs(tmp_path_factory, data):
    """runs(model): a finished run of that model, to be left as it is, and what it printed."""
    finished = {}

    def make(model):
        if model not in finished:
            out = tmp_path_factory.mktemp("runs") / model
            finished[model] = out, succeeded("train", model, "--data", data, "--out", out, *QUICK[model])
        return finished[model]

    return make


@pytest.fixture(scope="session")
def with_prior(tmp_path_factory, data):
    """A VQ-VAE with its prior, and what training the prior printed."""
    out = tmp_path_factory.mktemp("runs") / "with-prior"
    succeeded("train", "vqvae", "--data", data, "--out", out, *QUICK["vqvae"])
    return Path(out), succeeded("train", "prior", out, *QUICK["prior"])
