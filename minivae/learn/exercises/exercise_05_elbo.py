"""Exercise 5: the pieces of a VAE's loss, and its gradient through a draw.

Fill in the four functions, then run `minivae learn check 5`. mu and log_var are (N, D): the mean and the logarithm of
the variance of q(z | x) for N images and D latents.
"""

import numpy as np


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return -log p(x) in nats for pixels x in {0, 1}, one number for each image: (N, P) and (N, P) -> (N,).

    The probability of 1 is 1 / (1 + exp(-logit)). Logits of +-1000 are no reason for an infinity.
    """
    raise NotImplementedError


def gaussian_kl(mu: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return KL(q(z | x) || N(0, I)) in nats for each image, (N,)."""
    raise NotImplementedError


def reparameterize(mu: np.ndarray, log_var: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Return the draw z (N, D) from q(z | x) that the standard normal noise eps (N, D) makes."""
    raise NotImplementedError


def reparameterize_backward(dz: np.ndarray, log_var: np.ndarray, eps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of mu and of log_var, for the dz that arrives at z."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close, expect_gradient

RNG = np.random.default_rng(5)


def check_bernoulli_nll(yours) -> None:
    logits, x = RNG.normal(size=(3, 4)), RNG.integers(2, size=(3, 4))
    p = 1 / (1 + np.exp(-logits))
    expect_close("the nll", yours.bernoulli_nll(logits, x), -np.log(np.where(x == 1, p, 1 - p)).sum(axis=1))
    with np.errstate(all="ignore"):
        found = yours.bernoulli_nll(np.array([[1000.0, -1000.0]]), np.array([[0, 0]]))
    expect_close("the nll of two black pixels with logits 1000 and -1000", found, [1000.0])


def check_gaussian_kl(yours) -> None:
    mu, log_var = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 2.0]])
    expected = [0.0, 0.5, (np.exp(-1) - 1 + 1) / 2 + (1 + np.exp(2) - 1 - 2) / 2]
    expect_close("the KL", yours.gaussian_kl(mu, log_var), expected)


def check_reparameterize(yours) -> None:
    eps = RNG.normal(size=(100_000, 1))
    z = yours.reparameterize(np.full_like(eps, 3.0), np.full_like(eps, np.log(4.0)), eps)
    expect(abs(z.mean() - 3) < 0.05, f"the mean of the draws must be mu = 3, yours is {z.mean():.2f}")
    expect(abs(z.std() - 2) < 0.05, f"for a log_var of log 4 the deviation must be 2, yours is {z.std():.2f}")


def check_reparameterize_backward(yours) -> None:
    mu, log_var, eps, dz = (RNG.normal(size=(2, 3)) for _ in range(4))
    dmu, dlog_var = yours.reparameterize_backward(dz, log_var, eps)
    expect_gradient("the gradient of mu", lambda mu: mu + np.exp(log_var / 2) * eps, mu, dz, dmu)
    expect_gradient("the gradient of log_var", lambda v: mu + np.exp(v / 2) * eps, log_var, dz, dlog_var)
