# %% [markdown]
# # Lesson 6: Where everything is known
#
# Of an image model nobody knows log p(x), so whether an estimate of it is good can be judged only elsewhere. This
# lesson takes the one VAE whose integral has a solution, and measures on it the ELBO, the importance-sampled bound L_k,
# and what goes wrong with the obvious estimates.
#
# ## The linear-Gaussian model
#
# z ~ N(0, I) of two numbers, and x = W z + m + noise of five, with noise of deviation 0.5 (this is probabilistic PCA).
# A linear function of Gaussians is Gaussian: x ~ N(m, C) with C = W W^T + 0.25 I. The true posterior is Gaussian too.

# %%
import numpy as np

rng = np.random.default_rng(0)
D, sigma = 5, 0.5
W, m = rng.normal(size=(D, 2)), rng.normal(size=D)
C = W @ W.T + sigma**2 * np.eye(D)
X = m + rng.normal(size=(1000, 2)) @ W.T + sigma * rng.normal(size=(1000, D))  # a thousand examples


def log_p(x: np.ndarray) -> np.ndarray:
    """The exact log p(x) of examples (N, D)."""
    d = x - m
    return -0.5 * (D * np.log(2 * np.pi) + np.linalg.slogdet(C)[1] + (d @ np.linalg.inv(C) * d).sum(axis=1))


exact = log_p(X).mean()
print(f"log p(x) = {exact:.2f} nats on average")
# > log p(x) = -5.86 nats on average

# %% [markdown]
# ## The obvious estimate
#
# p(x) = E[p(x | z)] over the prior. So draw k values of z and average. The mean is right for every k, but its
# *logarithm* is too small, as few draws hit the region that explains x: the estimate lives on rare, huge terms.


# %%
def log_likelihood(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x | z) for x (N, D) and z (k, N, 2): (k, N)."""
    d = x - m - z @ W.T
    return -0.5 * (D * np.log(2 * np.pi * sigma**2) + (d * d).sum(axis=2) / sigma**2)


def log_mean_exp(w: np.ndarray) -> np.ndarray:
    """The logarithm of the mean over the first axis, of numbers that are given by their logarithms."""
    top = w.max(axis=0)  # without it exp would underflow to 0
    return top + np.log(np.exp(w - top).mean(axis=0))


for k in (1, 10, 100):
    z = rng.normal(size=(k, 1000, 2))
    print(f"{k:3} draws from the prior: {log_mean_exp(log_likelihood(X, z)).mean() - exact:.2f} nats off")
# >   1 draws from the prior: -21.87 nats off
# >  10 draws from the prior: -1.68 nats off
# > 100 draws from the prior: -0.18 nats off

# %% [markdown]
# ## Importance sampling
#
# Draw where it matters, from q(z | x), and correct for it: E_q[w] = p(x) for the weight w = p(x | z) p(z) / q(z | x).
# Let q be a Gaussian around the posterior's mean, with a deviation that is `width` times the posterior's. (Here the
# posterior's covariance is S = (I + W^T W / sigma^2)^-1, its mean S W^T (x - m) / sigma^2.)

# %%
S = np.linalg.inv(np.eye(2) + W.T @ W / sigma**2)
root = np.linalg.cholesky(S)
mean = (X - m) @ W @ S / sigma**2


def log_weights(k: int, width: float, seed: int = 1) -> np.ndarray:
    """log w for k draws of each example: (k, 1000)."""
    eps = np.random.default_rng(seed).normal(size=(k, 1000, 2))
    z = mean + width * eps @ root.T
    log_q = -0.5 * (eps * eps).sum(axis=2) - np.log(2 * np.pi) - np.log(np.linalg.det(root)) - 2 * np.log(width)
    return log_likelihood(X, z) - 0.5 * (z * z).sum(axis=2) - np.log(2 * np.pi) - log_q


w = log_weights(5, 1.0)
print(f"deviation of log w within an example: {w.std(axis=0).max():.6f}")
print(f"one draw from the true posterior is {abs(w[0] - log_p(X)).max():.6f} nats off, for every example")
# > deviation of log w within an example: 0.000000
# > one draw from the true posterior is 0.000000 nats off, for every example

# %% [markdown]
# If q is the true posterior, every weight is p(x) itself: one draw suffices, without any noise. The ELBO is then exact.
# That is what the encoder is trained for.
#
# ## L_k
#
# With another q, the mean of k weights, under one logarithm, is a bound that rises with k (Burda et al. 2015):
#
#     L_k = E[ log (w_1 + ... + w_k) / k ]
#     ELBO = L_1 <= L_2 <= ... <= log p(x).
#
# It rises because the mean of k weights varies less, and Jensen's inequality costs about half the relative variance.

# %%
for width in (1.3, 0.5):
    gaps = [log_mean_exp(log_weights(k, width)).mean() - exact for k in (1, 5, 50, 500)]
    print(f"width {width}: L_1 {gaps[0]:.2f}, L_5 {gaps[1]:.2f}, L_50 {gaps[2]:.3f}, L_500 {gaps[3]:.3f} nats off")
# > width 1.3: L_1 -0.17, L_5 -0.02, L_50 0.002, L_500 0.002 nats off
# > width 0.5: L_1 -0.63, L_5 -0.38, L_50 -0.176, L_500 -0.076 nats off

# %% [markdown]
# (The 0.002 above 0 are noise of the draws; the bound is on the mean.) The narrow q is far worse than the wide one, and
# more draws help it less. A q that is too narrow misses regions where the posterior has mass: it draws from there
# rarely, and then with a huge weight. So importance sampling prefers a q with tails that are too wide.
#
# ## Two mistakes that people make
#
# *The mean of the logarithms.* Averaging log w over the draws is the ELBO again, whatever k. *The wrong end.* A
# training that minimises -L_k has the gradient sum over i of softmax(log w)_i grad log w_i: the *best* draw gets the
# largest weight. With softmax(-log w) it is the worst, and this is in published code.

# %%
w = log_weights(50, 1.3)
print(f"mean of the logarithms, k = 50: {w.mean() - exact:.2f}", end=", ")
print(f"logarithm of the mean: {log_mean_exp(w).mean() - exact:.3f}")
# > mean of the logarithms, k = 50: -0.16, logarithm of the mean: 0.002

# %% [markdown]
# ## minivae's own estimate, on this model
#
# A VAE with a linear decoder and a Gaussian likelihood is this model, if it is given these weights. Its
# log_likelihood() must be the exact one. That is a test of the whole chain: encoder, noise, likelihood with its
# constants, weights.

# %%
import minivae as mv

decoder = mv.nn.Sequential(mv.nn.Linear(2, D), mv.nn.Unflatten((1, 1, D)))
encoder = mv.nn.Sequential(mv.nn.Flatten(), mv.nn.Linear(D, 4))
vae = mv.models.VAE((1, 1, D), latent_dim=2, likelihood="gaussian", encoder=encoder, decoder=decoder)
weights = dict(vae.state_dict())
weights["decoder.0.weight"], weights["decoder.0.bias"] = W.astype(np.float32), m.astype(np.float32)
gain = S @ W.T / sigma**2  # of the posterior's mean
weights["encoder.1.weight"] = np.concatenate([gain, np.zeros((2, D))]).astype(np.float32)
log_var = np.log(1.3**2 * np.diag(S))
weights["encoder.1.bias"] = np.concatenate([-gain @ m, log_var]).astype(np.float32)
floor = 2 * np.log(0.01)  # the variance is bounded from below by a softplus, see nn/likelihoods.py
weights["observation.raw_log_var"] = np.float32(floor + np.log(np.expm1(2 * np.log(sigma) - floor)))
vae.load_state_dict(weights)
images = X.reshape(1000, 1, 1, D).astype(np.float32)
mv.manual_seed(0)
print(f"ELBO {vae.score_samples(images).mean() - exact:.1f}, ", end="")
print(f"1,000 importance samples {abs(vae.log_likelihood(images, samples=1000).mean() - exact):.2f} nats off")
# > ELBO -0.9, 1,000 importance samples 0.00 nats off

# %% [markdown]
# (The ELBO is further off than above, as this encoder gives a deviation for each latent and no correlation.)
#
# ## Where it stands in minivae
#
# * `minivae/models/importance.py`: L_k with 5,000 draws is what papers report as the test log-likelihood.
# * `minivae/models/vae.py`: `log_weights`, the logarithm of w by the encoder's own noise.
# * `tests/linear_gaussian.py`: this model, on which the VAE is tested.
#
# Exercise: `minivae learn exercise 6`, then `minivae learn check 6`.
