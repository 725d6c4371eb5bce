"""The importance weighted autoencoder (Burda, Grosse & Salakhutdinov 2015): a VAE that is trained on a tighter bound.

The VAE's ELBO asks that every z drawn from q(z | x) explains x. One bad draw among many costs as much as it would
alone, since the ELBO is a mean of logarithms. So q keeps to what is safe, and the decoder to what such a q can invert.
Here k draws explain x together:

    L_k(x) = E[ log( (w_1 + ... + w_k) / k ) ],      w_i = p(x, z_i) / q(z_i | x),    z_i ~ q(z | x).              (8)

It is the logarithm of a mean and not a mean of logarithms: with weights of 1 and 3, log 2 = 0.693 and not
(log 1 + log 3) / 2 = 0.549, the ELBO's estimate. importance.py shows that L_1 = ELBO <= L_2 <= ... <= log p(x). With
k = 1 this is a VAE whose KL is estimated by the sample of z and not computed in closed form.

**The gradient.** With z_i = mu + sigma eps_i, each log w_i is a function of all weights theta, and

    grad log( (w_1 + ... + w_k) / k ) = sum_i  v_i grad log w_i,        v_i = w_i / (w_1 + ... + w_k),

because grad w_i = w_i grad log w_i. So the draws take part by their normalised weights v = softmax(log w): of the
weights 1 and 3, one quarter and three quarters. In the gradient of a mean of logarithms both would have one half.
Nothing has to be written for this, as it is what the backward pass of logsumexp computes. Whoever writes the sum on the
right as a loss must keep v constant, or its own gradient comes in.

log w_i has log p(z_i) - log q(z_i | x) at the sample z_i. The closed form of the KL is its mean over all z, and with it
in the place of the sample's the sum would not be a mean of weights, and no bound.

**What it costs.** The encoder sees each image once, the decoder k times: a step holds k times the batch's latents and
images. And with k the signal-to-noise ratio of the encoder's gradient falls as 1 / sqrt(k) while that of the decoder's
rises as sqrt(k) (Rainforth et al. 2018), so that more draws are not better for ever.

There is no KL term that could be weighted: beta, kl_warmup and free_bits are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from minivae import ops as F
from minivae.kernels import checks
from minivae.kernels.contract import Noise

from .vae import VAE, VAELoss

OF_THE_KL = {"beta": 1.0, "kl_warmup": 0, "free_bits": 0.0}  # parameters of a VAE, as they must be here


class IWAE(VAE):
    """An IWAE is a VAE that is trained on L_k, the bound of k importance samples, in place of the ELBO.

    importance_samples: k >= 1. The other parameters are the VAE's, but for beta, kl_warmup and free_bits, which must
    keep their defaults. Raises what VAE raises, and ValueError for k < 1 and for these.

    In both modes loss() returns minus L_k as `loss`, and as nll and kl the two terms of the ELBO, which compare with
    those of a VAE. score_samples() is the ELBO too; log_likelihood(x, k) estimates L_k.
    """

    def __init__(
        self, image_shape: Sequence[int] = (1, 28, 28), importance_samples: int = 5, **parameters_of_vae: Any
    ) -> None:
        self.importance_samples = checks.integer("importance_samples", importance_samples, 1)
        for name, needed in OF_THE_KL.items():
            if name in parameters_of_vae and parameters_of_vae[name] != needed:
                value = checks.shown(parameters_of_vae[name])
                raise ValueError(f"{name} must be {needed} as the bound of an IWAE has no KL term, got {value}")
        super().__init__(image_shape, **parameters_of_vae)

    def loss(self, x: Any, noise: Noise | None = None) -> VAELoss:
        """Return minus equation 8 with one draw of z_1, ..., z_k for each image x (N, C, H, W), and the ELBO's terms.

        noise: fixes the samples of z and, by the draw after it, the binarisation.
        """
        x = self._black_and_white(self.tensor(x), noise)  # (N, C, H, W)
        mu, log_var = self.posterior(x)  # (N, D) both
        log_ratio, nll = self._draws(x, mu, log_var, self.importance_samples, noise)  # (k, N) both
        bound = F.logsumexp(log_ratio - nll, axis=0) - log(self.importance_samples)  # (N,)
        return VAELoss(-bound.mean(), nll.mean(), F.gaussian_kl(mu, log_var).sum(axis=1).mean())
