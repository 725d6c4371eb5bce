"""The beta-TC-VAE: a VAE that pays more for latents that depend on each other (Chen, Li, Grosse & Duvenaud 2018).

beta > 1 makes a VAE's latents more independent (Higgins et al. 2017), but it makes all that they say more expensive
too, so reconstructions suffer. This paper takes the KL term apart and raises the price of the dependence alone. The
numbers in parentheses are those of its equations.

**The three terms.** Let n be the number of an image among N training images, each equally likely, and

    q(z) = 1/N sum_n q(z | x_n)                                                          the aggregate posterior.

Add and subtract log q(z) and the logarithms of its marginals q(z_j) in the mean of KL(q(z | x_n) || p(z)) over n:

    mean KL = E[log q(z | x_n) - log q(z)]             index-code mutual information: how well z says which image it was
            + E[log q(z) - sum_j log q(z_j)]           total correlation: how much the latents depend on each other
            + E[sum_j (log q(z_j) - log p(z_j))]       dimension-wise KL: how far each latent is from the prior.     (2)

Each is a KL divergence, hence not negative, and the first is at most log N. Training minimises

    nll + alpha * mutual information + beta * total correlation + gamma * dimension-wise KL,                         (4)

where alpha = beta = gamma = 1 is minus the ELBO. Two latents that both say where the shape stands have a total
correlation; one that says x and one that says y have none, at the same nll.

**q(z) from a batch.** q(z) needs all N images at each step; a batch has M of them. z_i was drawn from q(z | x_i), so
image i is always in the batch, and the mean over the batch is no estimate of q(z_i): q(z_i | x_i) is the largest term
by far where posteriors lie apart, and would have the share 1/M in place of 1/N. So the terms need weights:

    log q(z_i)  ~  log sum_k w_ik q(z_i | x_k).

* sampling='weighted' is minibatch-weighted sampling (3): w_ik = 1 / (N M). The weights add up to 1/N, so it is too low:
  with the whole data set as the batch, by log N.
* sampling='stratified': w_ii = 1/N, as the own term has in q(z), and the others share the rest, w_ik = (N - 1) / N *
  1 / (M - 1). Given z_i, the others are a sample of the other N - 1 images, so the mean of the weighted sum is q(z_i)
  (that of its logarithm is less, by Jensen's inequality). With M = N it is q(z_i) exactly. This is minibatch stratified
  sampling (the paper's appendix), averaged over which of the others gets the odd weight there.

For N = 4 and M = 2, with q(z_1 | x_1) = 1 and q(z_1 | x_k) = 0.2 for the others, q(z_1) = 1.6 / 4 = 0.4. The mean over
the batch is 0.6. Weighted: 1.2 / 8 = 0.15. Stratified: 1/4 + 3/4 * 0.2 = 0.4.

The logarithm is taken of the sum over images k, for the marginals in each latent alone, and never of the sum over
latents. In high dimensions all of q(z_i | x_k) with k != i are as small as exp(-100), hence a logsumexp.

The three terms are statistics of the batch: unlike nll and kl they are no means over examples, and change when the
batch is doubled. They do not change if the data set is doubled with it. As log q(z_i) comes out too low from a batch,
the mutual information comes out too high and the total correlation too low, even below 0.

In evaluation mode the loss is nll + kl, minus the ELBO, so that it compares with other models'.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.nn.module import Buffer, Module
from minivae.shards import current_shard

from .vae import VAE

SAMPLINGS = ("stratified", "weighted")


class KLTerms(NamedTuple):
    """The terms of equation 2, scalars in nats, the means over a batch. Their sum is the mean of log q(z | x) - log
    p(z), exactly for each z, whatever the estimate of q(z)."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


class BetaTCVAELoss(NamedTuple):
    """All are scalars in nats per example. In training mode loss is equation 4, in evaluation mode nll + kl.

    kl is the closed form, of which the other three together are an estimate by one sample of z.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor
    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


class BetaTCVAE(VAE):
    """A BetaTCVAE is a VAE whose total correlation costs beta times what it costs in a VAE.

    alpha, beta, gamma: weights of mutual information, total correlation and dimension-wise KL, each >= 0. sampling:
    'stratified' or 'weighted', how q(z) is estimated from a batch. The other parameters are those of VAE and Estimator.

    N, the number of training images, comes from fit() and is saved with the weights. Before the first fit(), and for a
    batch of more images than that, the batch counts as the whole data set.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 10,
        arch: str = "conv",
        likelihood: str = "bernoulli",
        alpha: float = 1.0,
        beta: float = 6.0,
        gamma: float = 1.0,
        sampling: str = "stratified",
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] | None = None,
        binarize: str | None = None,
        encoder: Module | None = None,
        decoder: Module | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        checks.number("alpha", alpha, "[0, inf)")
        checks.number("gamma", gamma, "[0, inf)")
        checks.choice("sampling", sampling, SAMPLINGS)
        self.alpha, self.gamma, self.sampling = alpha, gamma, sampling
        super().__init__(
            image_shape,
            latent_dim,
            arch,
            likelihood,
            beta,
            channels,
            hidden,
            binarize=binarize,
            encoder=encoder,
            decoder=decoder,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            random_state=random_state,
            warm_start=warm_start,
        )

    def build(self) -> None:
        """Make encoder, decoder, likelihood and the place of N."""
        super().build()
        self.data_size = Buffer(np.array(0, np.float32))  # N; a buffer, so that a file and a resumed training have it

    def prepare(self, x: np.ndarray) -> None:
        """Take N from the training images."""
        self.data_size.inplace()[...] = len(x)

    # ---- the model ----

    def loss(self, x: Any, noise: Noise | None = None) -> BetaTCVAELoss:  # type: ignore[override] # it has more terms
        """Return equation 4 in training mode and minus the ELBO in evaluation mode, for images x (N, C, H, W).

        noise: fixes the sample of z and, by the draw after it, the binarisation.
        """
        x = self._black_and_white(self.tensor(x), noise)  # (N, C, H, W)
        mu, log_var = self.posterior(x)  # (N, D) both
        z = F.reparameterize(mu, log_var, noise)  # (N, D)
        nll = self.observation.nll(self._decoded(z), x).mean()  # (), the mean of (N,)
        kl = F.gaussian_kl(mu, log_var).sum(axis=1).mean()  # ()
        terms = kl_terms(z, mu, log_var, self.data_size, self.sampling)
        alpha, beta, gamma = float(self.alpha), float(self.beta), float(self.gamma)  # NumPy's would make float64
        price = alpha * terms[0] + beta * terms[1] + gamma * terms[2] if self.training else kl
        return BetaTCVAELoss(nll + price, nll, kl, *terms)


def kl_terms(z: Tensor, mu: Tensor, log_var: Tensor, data_size: Any, sampling: str = "stratified") -> KLTerms:
    """Return the terms of equation 2 for a batch: z, mu, log_var (M, D), z_i drawn from N(mu_i, exp(log_var_i)).

    data_size: N, the number of images of which the batch has M; the larger of the two counts.
    """
    of_own = _log_normal(z, mu, log_var).sum(axis=1)  # (M,), log q(z_i | x_i)
    joint, marginals = aggregate_posterior(z, mu, log_var, data_size, sampling)  # (M,) both
    prior = (-0.5 * (log(2 * pi) + z * z)).sum(axis=1)  # (M,), log p(z_i)
    return KLTerms((of_own - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean())


def aggregate_posterior(
    z: Tensor, mu: Tensor, log_var: Tensor, data_size: Any, sampling: str = "stratified"
) -> tuple[Tensor, Tensor]:
    """Estimate log q(z_i) and sum_j log q(z_ij), (M,) each, in nats; the arguments are those of kl_terms()."""
    mu, log_var = F.batch_cat(mu), F.batch_cat(log_var)  # of all shards, where z has the rows of one of them
    log_q = _log_normal(F.unsqueeze(z, 1), F.unsqueeze(mu, 0), F.unsqueeze(log_var, 0))  # (M, M, D), log q(z_ij | x_k)
    log_w = _log_weights(z, data_size, sampling)  # (M, M)
    joint = F.logsumexp(log_q.sum(axis=2) + log_w, axis=1)  # (M,)
    return joint, F.logsumexp(log_q + F.unsqueeze(log_w, 2), axis=1).sum(axis=1)  # (M,), of (M, D)


def _log_normal(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Return log N(z; mu, exp(log_var)), element by element."""
    eps = (z - mu) * F.exp(-0.5 * log_var)
    return -0.5 * (log(2 * pi) + log_var + eps * eps)


def _log_weights(z: Tensor, data_size: Any, sampling: str) -> Tensor:
    """Return log w (M, M) for a batch z (M, D), or the rows that belong to a shard z of it: the weight of image k in
    q(z_i) in place (i, k)."""
    shard, xp = current_shard(), z.backend.xp
    M = shard.batch or len(z)
    N = F.maximum(Tensor.wrap(xp.full((), M, z.dtype)), data_size)  # (), on the device, which nobody waits for
    if sampling == "weighted":
        return F.broadcast_to(-F.log(N * float(M)), (len(z), M))
    place = xp.arange(M)
    own = Tensor.wrap((place[shard.first :][: len(z), None] == place).astype(z.dtype))  # 1 on the diagonal, 0 elsewhere
    return F.log(own / N + (1 - own) * (N - 1) / (N * float(max(M - 1, 1))))
