"""log p(x) of a latent variable model by importance sampling (Burda, Grosse & Salakhutdinov 2015, equation 8).

For z_1, ..., z_k drawn from q(z | x) the weights w_i = p(x, z_i) / q(z_i | x) have the mean

    E_q[w] = integral of q(z | x) p(x, z) / q(z | x) dz = p(x),

so that the logarithm of their average

    L_k = log( (w_1 + ... + w_k) / k )                                                                              (8)

estimates log p(x): from below on average, by Jensen's inequality; L_1 is the one-sample estimate of the ELBO. The
expectation of L_k rises with k (theorem 1), because the average of k weights is also the mean of the averages over all
their subsets of m < k, and the logarithm of a mean is at least the mean of the logarithms, each of which has the
expectation of L_m. It rises towards log p(x), as the average of ever more weights tends to p(x). With weights 1 or 3,
equally likely, p(x) = 2:

    E[L_1] = (log 1 + log 3) / 2 = 0.549     E[L_2] = (log 1 + 2 log 2 + log 3) / 4 = 0.621     log p(x) = 0.693

The better q, the less the weights vary and the smaller the k that suffices; at the true posterior every weight is p(x).

The weights are as small as exp(-1000), hence everything stays in logarithms: a chunk of them is reduced by a logsumexp,
and the chunks' sums are joined in float64 as they come. No more than `rows` samples of z exist at a time, however many
there are in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, no_grad
from minivae.kernels.checks import flag, integer

LogWeights = Callable[[np.ndarray, int], Tensor]


@no_grad()
def importance_log_likelihood(
    log_weights: LogWeights, x: np.ndarray, samples: int, rows: int, progress: bool = False
) -> np.ndarray:
    """Return L_k with k = samples for each image of x (N, ...), in nats, as (N,) in float64.

    log_weights(block, n): returns log w as a Tensor (n, B) for n new draws for each of the B images of a block. rows:
    the most draws that are asked for at a time. progress: a bar over the images, on a terminal and where tqdm is
    installed. Raises ValueError for samples < 1 or rows < 1.
    """
    samples, rows = integer("samples", samples, 1), integer("rows", rows, 1)
    progress = flag("progress", progress)
    images = max(1, rows // samples)  # in a block
    result = np.full(len(x), -np.inf)
    for start in _shown(range(0, len(x), images), progress):
        block = slice(start, start + images)
        for done in range(0, samples, rows):
            weights = log_weights(x[block], min(rows, samples - done))  # (n, B)
            result[block] = np.logaddexp(result[block], F.logsumexp(weights, axis=0).numpy())
    return result - log(samples)


def _shown(blocks: range, progress: bool) -> Iterable[int]:
    if not progress:
        return blocks
    try:
        from tqdm import tqdm
    except ImportError:
        return blocks
    shown: Iterable[int] = tqdm(blocks, desc="log-likelihood", unit="block", leave=False, disable=None)
    return shown
