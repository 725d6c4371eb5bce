"""Exercise 5: the pieces of a VAE's loss, and its gradient through a draw.

Fill in the four functions, then run `minivae learn check 5`. mu and log_var are (N, D): the mean and the logarithm of
the variance of q(z | x) for N images and D latents.
"""

import numpy as np


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return -log p(x) in nats for pixels x in {0, 1}, one number for each image: (N, P) and (N, P) -> (N,).

    The probability of 1 is 1 / (1 + exp(-logit)). Logits of +-1000 are no reason for an infinity.
    """
    p = 1 / (1 + np.exp(-logits))
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)


def gaussian_kl(mu: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return KL(q(z | x) || N(0, I)) in nats for each image, (N,)."""
    return 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=1)


def reparameterize(mu: np.ndarray, log_var: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Return the draw z (N, D) from q(z | x) that the standard normal noise eps (N, D) makes."""
    return mu + np.exp(log_var) * eps


def reparameterize_backward(dz: np.ndarray, log_var: np.ndarray, eps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of mu and of log_var, for the dz that arrives at z."""
    return dz, dz * eps * np.exp(log_var / 2)
