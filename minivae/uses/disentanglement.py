"""Disentanglement: does each factor that images were drawn from have a latent of its own? MIG and SAP say.

Data that is generated has known factors v_1, ..., v_K, such as the position of a shape. A code z_1, ..., z_D is
disentangled if one latent tells the factor and no other latent does. Both measures look at each factor, score all
latents by how much they tell of it, and take the gap between the best and the second best latent:

    MIG = mean over k of (I(z_best; v_k) - I(z_second; v_k)) / H(v_k)      mutual information gap (Chen et al. 2018)
    SAP = mean over k of  S(best, k) - S(second, k)              separated attribute predictability (Kumar et al. 2018)

I is the mutual information in nats, and H(v_k) the entropy of the factor, which is the most that I can be; so each gap
lies in [0, 1]. S(j, k) is how well v_k is predicted from z_j alone: R^2 of a line, or for an unordered factor, as the
kind of a shape, the balanced accuracy of intervals, one for each class. Both gaps are the same for latents that are
permuted, scaled or negated. They fall to 0 if two latents tell a factor equally well, as those of a code that is turned
by 45 degrees do, although nothing is lost by that.

**I from a histogram.** Each latent is cut into 20 equal intervals from its lowest to its highest value, and so is
a factor of more than 20 values; I is that of the table of counts. From N codes it comes out too high: two independent
columns with A and B bins have I = (A - 1)(B - 1) / (2 N) on average and not 0. With 20 bins each that is 0.036 nats for
5,000 codes and 0.18 for 1,000, so few codes give no MIG. (The gap, a difference of two such numbers, is biased less.)

**Codes are drawn, not averaged.** A VAE's latent that is not used has means near 0 and q(z_j | x) = N(0, 1) for every
image. Cut into 20 intervals, however small, these means may still tell a factor, though no decoder sees it behind the
noise. So latent_codes() draws from q(z | x), as the definition of Chen et al. has it; many published numbers are of
means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minivae import ops as F
from minivae.kernels import checks
from minivae.models.base import Codec
from minivae.models.latent_space import LatentSpace
from minivae.random import Generator

BINS = 20
MOST_CLASSES = 10  # of an unordered factor; the time to find the best intervals doubles with each


class Disentanglement(NamedTuple):
    """It says which of D latents tells which of K factors.

    information: I(z_j; v_k) in nats, (K, D). entropy: H(v_k) in nats, (K,). predictability: S(j, k) in [0, 1], (K, D).
    information_gaps, predictability_gaps: the gap of each factor, (K,). mig, sap: their means.
    """

    information: np.ndarray
    entropy: np.ndarray
    predictability: np.ndarray
    information_gaps: np.ndarray
    predictability_gaps: np.ndarray
    mig: float
    sap: float


def disentanglement(
    codes: np.ndarray, factors: np.ndarray, classes: Sequence[int] = (), bins: int = BINS
) -> Disentanglement:
    """Compute MIG and SAP of codes (N, D) of images that were drawn from factors (N, K).

    classes: the columns of factors that are unordered, such as the kind of a shape. bins: into how many intervals
    latents and factors are cut.

    Raises ValueError for fewer than 2 latents, a constant factor, an unordered factor with more than 10 classes, other
    shapes, NaN and infinity; TypeError for other dtypes.
    """
    bins = checks.integer("bins", bins, 2, most=2**16)
    codes, factors = _table("codes", codes), _table("factors", factors)
    if codes.shape[1] < 2:
        raise ValueError(f"a gap between two latents needs codes of at least 2, got shape {codes.shape}")
    if len(factors) != len(codes):
        raise ValueError(f"codes and factors must have equally many rows, got shapes {codes.shape} and {factors.shape}")
    unordered = checks.integers("classes", classes, 0)
    if unordered and max(unordered) >= factors.shape[1]:
        raise ValueError(f"classes must be columns in [0, {factors.shape[1]}), got {list(unordered)}")
    latents, columns = [_cut(z, bins) for z in codes.T], [_cut(v, bins) for v in factors.T]
    for k, v in enumerate(columns):
        if not v.any():
            raise ValueError(f"factor {k} is constant, {factors[0, k]:g}: no latent can tell anything of it")
    information = np.array([[_mutual_information(z, v) for z in latents] for v in columns])  # (K, D)
    entropy = np.array([_mutual_information(v, v) for v in columns])  # (K,), as I(v; v) = H(v)
    rows = zip(range(factors.shape[1]), factors.T, strict=True)
    scores = [[_accuracy(z, v) if k in unordered else _r_squared(z, v) for z in codes.T] for k, v in rows]
    predictability = np.array(scores)  # (K, D)
    gaps, score_gaps = _gaps(information) / entropy, _gaps(predictability)
    means = float(gaps.mean()), float(score_gaps.mean())
    return Disentanglement(information, entropy, predictability, gaps, score_gaps, *means)


def latent_codes(model: Codec, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return codes (N, D) of images: those of the encoder, or where it gives a Gaussian q(z | x) a draw from that.

    seed: of the noise of these draws. Raises TypeError for a model whose codes are no vectors.
    """
    if not isinstance(model, Codec) or getattr(model, "latent_dim", None) is None:
        raise TypeError(f"model must be a Codec whose codes are vectors, got {type(model).__name__}")
    seed = checks.seed("seed", seed)
    if not isinstance(model, LatentSpace):
        return model.transform(x)
    posterior = model.batched(lambda x: F.cat(model.posterior(x), axis=1), model.binarized(x))  # (N, 2 D)
    mu, log_var = np.split(posterior, 2, axis=1)
    return mu + np.exp(log_var / 2) * Generator(seed).normal(mu.shape)


def _table(name: str, x: np.ndarray) -> np.ndarray:
    """Return a table (N, columns) of finite numbers with at least one row, in float64."""
    x = checks.array(name, x, "biuf").astype(np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{name} must be a table with a row for each image, got shape {x.shape}")
    checks.check_finite(x, name)
    return x


def _cut(values: np.ndarray, bins: int) -> np.ndarray:
    """Number the values (N,) from 0: each distinct one or, of more than `bins`, intervals of equal width."""
    distinct, number = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        return number
    low, high = distinct[[0, -1]]
    return np.minimum((bins * ((values - low) / (high - low))).astype(np.int64), bins - 1)


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mutual information in nats of two columns of small integers (N,), from the table of their counts."""
    counts = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(counts, (a, b), 1)
    joint = counts / len(a)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def _r_squared(z: np.ndarray, v: np.ndarray) -> float:
    """Return the share of the variance of v (N,) that a line through z (N,) explains; 0 for a constant z."""
    z, v = (column / (np.abs(column).max() or 1.0) for column in (z - z.mean(), v - v.mean()))  # no square overflows
    scale = float(z @ z) * float(v @ v)
    return float(z @ v) ** 2 / scale if scale else 0.0


def _accuracy(z: np.ndarray, v: np.ndarray) -> float:
    """Return the best balanced accuracy of classes v (N,) by intervals of z (N,), at most one for each class.

    Let F_c(t) be the share of class c below the t-th value of z. If the classes of a set S have the intervals below t,
    and that of c begins at s and is the last, then the sum of accuracies is best(S, t) = max over c in S and s <= t of
    best(S without c, s) + F_c(t) - F_c(s).
    """
    names, label = np.unique(v, return_inverse=True)
    if len(names) > MOST_CLASSES:
        raise ValueError(f"an unordered factor may have {MOST_CLASSES} classes, got {len(names)}")
    values, place = np.unique(z, return_inverse=True)  # equal values are never parted
    counts = np.zeros((len(names), len(values) + 1))
    np.add.at(counts, (label, place + 1), 1)
    below = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)  # (classes, values + 1), F_c
    best = {0: np.zeros(len(values) + 1)}  # by S, a set as the bits of a number
    for S in range(1, 2 ** len(names)):
        ways = [(best[S ^ (1 << c)], below[c]) for c in range(len(names)) if S >> c & 1]
        best[S] = np.max([np.maximum.accumulate(before - share) + share for before, share in ways], axis=0)
    return float(best[2 ** len(names) - 1][-1]) / len(names)


def _gaps(scores: np.ndarray) -> np.ndarray:
    """Return the best minus the second best of each row: (K, D) -> (K,)."""
    second, best = np.sort(scores, axis=1)[:, -2:].T
    return best - second
