"""Exercise 6: the importance-sampled bound and its gradient.

log_w (k, N) are the logarithms of k importance weights for each of N images. Fill in the three functions, then run
`minivae learn check 6`.
"""

import numpy as np


def log_weight(log_p_x_given_z: np.ndarray, z: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return log w = log p(x | z) + log p(z) - log q(z | x), (N,), for z ~ q = N(mu, sigma^2) and the prior N(0, I).

    log_p_x_given_z is (N,); z, mu, sigma are (N, D).
    """
    raise NotImplementedError


def bound(log_w: np.ndarray) -> np.ndarray:
    """Return L_k = log of the mean of the k weights for each image, (N,). Weights may be as small as exp(-10000)."""
    raise NotImplementedError


def bound_gradient(log_w: np.ndarray) -> np.ndarray:
    """Return the gradient of the sum of all L_k by log_w, (k, N)."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect_close, expect_gradient

RNG = np.random.default_rng(6)


def check_log_weight(yours) -> None:
    # log p(z) = -(log 2 pi + 1) / 2, log q(z | x) = -(log 2 pi + 2 log(1/2)) / 2
    one = np.ones((1, 1))
    found = yours.log_weight(np.zeros(1), one, one, one / 2)
    expect_close("log w for log p(x | z) = 0, z = 1, mu = 1, sigma = 1/2", found, [-0.5 + np.log(0.5)])
    # p(z) = N(0, 1) and p(x | z) = N(z, 1): the posterior of x is N(x / 2, 1/2), and every weight is p(x) = N(x; 0, 2).
    x = RNG.normal(size=(5, 1))
    mu, sigma = x / 2, np.full((5, 1), 0.5**0.5)
    z = mu + sigma * RNG.normal(size=(5, 1))
    log_p = (-0.5 * (np.log(2 * np.pi) + (x - z) ** 2)).sum(axis=1)
    expected = (-0.5 * (np.log(2 * np.pi * 2) + x**2 / 2)).sum(axis=1)
    expect_close("log w under the true posterior, which is log p(x),", yours.log_weight(log_p, z, mu, sigma), expected)


def check_bound(yours) -> None:
    told = "L_2 of the weights 1 and 3, the logarithm of their mean 2,"
    expect_close(told, yours.bound(np.log([[1.0], [3.0]])), [np.log(2)])
    log_w = RNG.normal(size=(4, 3))
    expected = np.log(np.exp(log_w).mean(axis=0))
    expect_close("L_4", yours.bound(log_w), expected)
    with np.errstate(all="ignore"):
        expect_close("L_4 of weights that are exp(10000) times smaller", yours.bound(log_w - 10000), expected - 10000)


def check_bound_gradient(yours) -> None:
    told = "the gradient of L_2 by log w, for the weights 1 and 3,"
    expect_close(told, yours.bound_gradient(np.log([[1.0], [3.0]])), [[0.25], [0.75]])
    log_w = RNG.normal(size=(4, 3))
    found = yours.bound_gradient(log_w)
    expect_gradient("the gradient", lambda v: np.log(np.exp(v).mean(axis=0)), log_w, np.ones(3), found)
