"""A VAE whose log-likelihood and posterior are known in closed form: a linear-Gaussian model."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
from strategies import numbers, on_device

from minivae import nn
from minivae.models import VAE


class LinearGaussian(VAE):
    """p(x | z) = N(W z + b, s^2 I). The posterior p(z | x) is Gaussian, and the encoder is set to it exactly."""

    def __init__(self, w: np.ndarray, b: np.ndarray, log_var: float) -> None:
        super().__init__((1, 1, len(w)), w.shape[1], "dense", "gaussian", hidden=())
        self.to(dtype=np.float64)
        precision = np.eye(w.shape[1]) + w.T @ w / np.exp(log_var)
        self.covariance = np.linalg.inv(precision)
        to_mean = self.covariance @ w.T / np.exp(log_var)
        encoder, (decoder, _) = self.encoder[1], self.decoder
        decoder.weight.data, decoder.bias.data = on_device(w), on_device(b)
        encoder.weight.data = on_device(np.concatenate([to_mean, np.zeros_like(to_mean)]))
        encoder.bias.data = on_device(np.concatenate([-to_mean @ b, np.log(np.diag(self.covariance))]))
        floor = 2 * np.log(nn.likelihoods.SIGMA_FLOOR)
        self.observation.raw_log_var.data = on_device(floor + np.log(np.expm1(log_var - floor)))


def linear_gaussian() -> tuple[LinearGaussian, Any]:
    """A model in which the columns of W are orthogonal, so that the posterior has a diagonal covariance, as q has."""
    columns, _ = np.linalg.qr(numbers(6, 3, seed=1))
    w, b, log_var = columns * [1.5, 0.8, 0.3], numbers(6, seed=2), -0.7
    exact = scipy.stats.multivariate_normal(b, w @ w.T + np.exp(log_var) * np.eye(6))
    return LinearGaussian(w, b, log_var), exact
