"""Losses. The likelihoods are in nats per example: summed over pixels and latents, with constants, never averaged.

A variational autoencoder maximises log p(x) >= -nll - kl per example. Averaging one term over pixels and summing the
other silently multiplies beta by the number of pixels; so here every likelihood and divergence keeps its first axis,
the examples, and the mean over those is taken once, by whoever makes a loss of them.
"""

from __future__ import annotations

from math import prod
from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import choice
from minivae.kernels.contract import Array

from .arguments import as_index, check_dtypes, floats
from .arithmetic import maximum, where
from .broadcast import to_input
from .elementwise import abs, exp, log, log1p
from .reduce import mean as mean_of
from .reduce import sum as sum_of
from .shape import reshape, transpose


class BernoulliNLL(Function):
    def forward(self, logits: Array, x: Array) -> Array:
        self.save(logits, x)
        return self.backend.bernoulli_nll(logits, x)

    def backward(self, dy: Array) -> Any:
        logits, x = self.saved
        dlogits = self.backend.bernoulli_nll_grad(dy, logits, x) if self.needs[0] else None
        dx = -logits * _per_example(dy, x.ndim) if self.needs[1] else None
        return dlogits, dx


class GaussianNLL(Function):
    def forward(self, mean: Array, log_var: Array, x: Array) -> Array:
        self.save(mean, log_var, x)
        return self.backend.gaussian_nll(mean, log_var, x)

    def backward(self, dy: Array) -> Any:
        dmean, dlog_var = self.backend.gaussian_nll_grad(dy, *self.saved)
        return dmean, to_input(self, dlog_var, 1) if self.needs[1] else None, -dmean if self.needs[2] else None


class LogisticMixtureNLL(Function):
    def forward(self, parameters: Array, x: Array) -> Array:
        self.save(parameters, x)
        return self.backend.logistic_mixture_nll(parameters, x)

    def backward(self, dy: Array) -> Any:
        return self.backend.logistic_mixture_nll_grad(dy, *self.saved), None


class CrossEntropy(Function):
    def forward(self, logits: Array, target: Array) -> Array:
        self.save(logits, target)
        return self.backend.softmax_cross_entropy(logits, target)

    def backward(self, dy: Array) -> Any:
        return self.backend.softmax_cross_entropy_grad(dy, *self.saved), None


def _per_example(dy: Array, ndim: int) -> Array:
    """Append axes of length 1 to dy (N,), so that it can be multiplied with images."""
    return dy.reshape(-1, *(1,) * (ndim - 1))


def bernoulli_nll(logits: Any, x: Any) -> Tensor:
    """Return -log p(x) in nats per example for pixels x in [0, 1]: logits, x (N, ...) -> (N,).

    It is the sum of softplus(logits) - x * logits, the cross-entropy between x and sigmoid(logits), which
    nn/likelihoods.py derives. For binary x it is -log p(x). It is linear in x, so for grey x it is the mean of -log p
    over binary images whose pixels are white with probability x. The density of the grey image itself is another
    quantity, and nats of the two cannot be compared.
    """
    logits, x = as_tensor(logits), as_tensor(x)
    _check_examples("bernoulli_nll", logits, x)
    return BernoulliNLL.apply(logits, x)


def gaussian_nll(mean: Any, log_var: Any, x: Any) -> Tensor:
    """Return -log N(x; mean, exp(log_var)) in nats per example: mean, x (N, ...), log_var broadcasts to them -> (N,).

    It is 1/2 sum of log(2 pi) + log_var + (x - mean)^2 / exp(log_var).
    """
    mean, log_var, x = as_tensor(mean), as_tensor(log_var), as_tensor(x)
    _check_examples("gaussian_nll", mean, x)
    check_dtypes("gaussian_nll", mean, log_var)
    lengths = zip(reversed(log_var.shape), reversed(mean.shape), strict=False)
    if log_var.ndim > mean.ndim or any(a not in (1, b) for a, b in lengths):
        raise ValueError(f"gaussian_nll: log_var {log_var.shape} does not broadcast to mean {mean.shape}")
    return GaussianNLL.apply(mean, log_var, x)


def logistic_mixture_nll(output: Any, x: Any) -> Tensor:
    """Return -log P(x) in nats per example for pixels x = level / 255: output (N, 3 K C, ...), x (N, C, ...) -> (N,).

    Each channel of each pixel has a mixture of K discretised logistic distributions (Salimans et al. 2017, equations 1
    and 2), whose parameters are 3 K channels of the output: K logits of the weights, K means of pixels scaled to
    [-1, 1], and K numbers r for scales exp(-7) + exp(r). x is data, and gets no gradient. Raises ValueError for shapes
    that do not fit and for x that requires a gradient.
    """
    output, x = as_tensor(output), as_tensor(x)
    check_dtypes("logistic_mixture_nll", output, x)
    if x.requires_grad:
        raise ValueError(
            "logistic_mixture_nll: x are integers / 255 and have no gradient, got x with requires_grad=True"
        )
    shape = f"output {output.shape} must be (N, 3 K C, ...) for x {x.shape} = (N, C, ...)"
    if x.ndim < 2 or output.ndim != x.ndim or output.shape[0] != x.shape[0] or output.shape[2:] != x.shape[2:]:
        raise ValueError(f"logistic_mixture_nll: {shape}")
    N, C, D = x.shape[0], x.shape[1], prod(x.shape[2:])
    if not C or not output.shape[1] or output.shape[1] % (3 * C):
        raise ValueError(f"logistic_mixture_nll: {shape}")
    parameters = reshape(output, (N, C, 3, output.shape[1] // (3 * C), D))
    return LogisticMixtureNLL.apply(parameters, reshape(x, (N, C, D)))


def continuous_bernoulli_nll(logits: Any, x: Any) -> Tensor:
    """Return -log of the density of x in [0, 1] in nats per example: logits, x (N, ...) -> (N,).

    Loaiza-Ganem & Cunningham 2019. It is the sum of A(l) - x l, with A(l) = log((exp(l) - 1) / l). Near l = 0, where
    that is 0 / 0, A is l/2 + l^2/24 - l^4/2880 + ... (nn/likelihoods.py derives both).
    """
    logits, x = as_tensor(logits), as_tensor(x)
    _check_examples("continuous_bernoulli_nll", logits, x)
    near, small, size = _near_zero(logits)
    far = maximum(logits, 0.0) + log(1 - exp(-size)) - log(size)
    square = small * small
    series = small / 2 + square * (1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800)))
    return sum_of(where(near, series, far) - x * logits, axis=tuple(range(1, x.ndim)))


def continuous_bernoulli_mean(logits: Any) -> Tensor:
    """Return the mean 1 / (1 - exp(-l)) - 1 / l of the continuous Bernoulli distribution, in (0, 1), for each logit l.

    Near l = 0 it is 1/2 + l/12 - l^3/720 + ....
    """
    logits = floats("continuous_bernoulli_mean", logits)
    near, small, size = _near_zero(logits)
    positive = 1 / (1 - exp(-size)) - 1 / size  # for |l|; the mean for -l is 1 less that
    far = where(logits > 0, positive, 1 - positive)
    square = small * small
    series = 0.5 + small * (1 / 12 - square * (1 / 720 - square * (1 / 30240 - square / 1209600)))
    return where(near, series, far)


def _near_zero(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where |logits| < 1/4 and a series is more accurate; logits there, 0 elsewhere; |logits| elsewhere, 1 there.

    So neither of the two formulas meets a number that it cannot take, whose gradient would be 0 times infinity.
    """
    near = abs(logits) < 0.25
    return near, where(near, logits, 0.0), abs(where(near, 1.0, logits))


def gaussian_kl(mu: Any, log_var: Any) -> Tensor:
    """Return KL(N(mu, exp(log_var)) || N(0, 1)) in nats for each latent by itself: (N, D), (N, D) -> (N, D).

    It is (mu^2 + exp(log_var) - 1 - log_var) / 2 (Kingma & Welling 2013, appendix B; derived in models/vae.py). The KL
    of an example is the sum over D.
    """
    mu, log_var = as_tensor(mu), as_tensor(log_var)
    if mu.shape != log_var.shape:
        raise ValueError(f"gaussian_kl: mu {mu.shape} and log_var {log_var.shape} must have one shape")
    check_dtypes("gaussian_kl", mu, log_var)
    return (mu * mu + exp(log_var) - 1 - log_var) * 0.5


def mse_loss(prediction: Any, target: Any) -> Tensor:
    """Return the mean over all elements of (prediction - target)^2, both of one shape and dtype."""
    prediction, target = as_tensor(prediction), as_tensor(target)
    _check_one_shape("mse_loss", prediction, target)
    difference = prediction - target
    return mean_of(difference * difference)


def binary_cross_entropy_with_logits(logits: Any, target: Any) -> Tensor:
    """Return the mean over all elements of softplus(logits) - target * logits, both of one shape and dtype.

    It is the loss of a classifier, averaged over everything. A likelihood in nats per example is bernoulli_nll.
    """
    logits, target = as_tensor(logits), as_tensor(target)
    _check_one_shape("binary_cross_entropy_with_logits", logits, target)
    return mean_of(maximum(logits, 0.0) - logits * target + log1p(exp(-abs(logits))))


def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return -log softmax(logits)[target]: logits (N, K, ...), target (N, ...) of integers in [0, K).

    reduction: 'mean' or 'sum' over all targets, or 'none' for nats per target, (N, ...).
    Raises ValueError for shapes that do not fit and targets out of range, TypeError for other dtypes.
    """
    logits, target = as_tensor(logits), as_tensor(target)
    if logits.ndim < 2 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(f"cross_entropy: target {target.shape} does not fit logits {logits.shape} = (N, K, ...)")
    choice("reduction", reduction, ("mean", "sum", "none"))
    check_dtypes("cross_entropy", logits)
    target = as_index("cross_entropy", target, logits.shape[1])
    rows = transpose(logits, (0, *range(2, logits.ndim), 1))  # (N, ..., K)
    target_row = reshape(target, (target.size,))
    nll = CrossEntropy.apply(reshape(rows, (target.size, logits.shape[1])), target_row)
    nll = reshape(nll, target.shape)
    return nll if reduction == "none" else mean_of(nll) if reduction == "mean" else sum_of(nll)


def _check_one_shape(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{name}: prediction and target must have one shape, got {a.shape} and {b.shape}")
    check_dtypes(name, a, b)


def _check_examples(name: str, prediction: Tensor, x: Tensor) -> None:
    if prediction.shape != x.shape or x.ndim < 1:
        raise ValueError(f"{name}: prediction {prediction.shape} and data {x.shape} must have one shape (N, ...)")
    check_dtypes(name, prediction, x)
