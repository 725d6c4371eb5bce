# %% [markdown]
# # Lesson 7: Vector quantisation
#
# A VQ-VAE has a code of integers in place of real numbers: each latent is replaced by the nearest of K vectors, the
# *codebook*. Integers can be counted, stored in a file, and modelled one by one, as a sentence is (lesson 8). Two
# things are difficult: no gradient passes an argmin, and codes die.
#
# ## The nearest code
#
# ||z - e||^2 = ||z||^2 - 2 <z, e> + ||e||^2. The first term is the same for all codes, so one matrix product finds the
# nearest codes of many latents.

# %%
import numpy as np

codebook = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
z = np.array([[0.9, 0.2], [0.1, 0.1], [0.6, 0.7]])


def nearest(z: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The index of the nearest code for each latent: (N, D) and (K, D) -> (N,)."""
    return ((codebook**2).sum(axis=1) - 2 * z @ codebook.T).argmin(axis=1)


print(nearest(z, codebook))
# > [1 0 3]

# %% [markdown]
# ## No gradient, and straight-through
#
# Move z a little: the index stays the same, so the derivative of the result is 0 nearly everywhere, and at the borders
# it does not exist. The encoder would learn nothing. The *straight-through estimator* pretends, in the backward pass
# alone, that the quantiser is the identity: the gradient at z_q is handed to z as it is.
#
# In code it is one line: z_q = z + stop_gradient(e - z). Forwards this is e. Backwards the second term is a constant.

# %%
import minivae as mv

t = mv.Tensor(z, requires_grad=True)
e = mv.Tensor(codebook[nearest(z, codebook)])
z_q = t + (e - t).detach()
dy = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
z_q.backward(dy)
print(np.array_equal(z_q.numpy(), e.numpy()), np.array_equal(t.grad, dy))
moved = codebook[nearest(z + 1e-6, codebook)] - codebook[nearest(z - 1e-6, codebook)]
print("by finite differences:", (moved / 2e-6 * dy).sum())
# > True True
# > by finite differences: 0.0

# %% [markdown]
# So it is no derivative, and gradcheck must refuse it. It is a good guess while z is close to e, as the decoder's
# answer at z_q is then about its answer at z.
#
# ## Two more terms
#
# Straight-through leads *past* the codebook, so nothing moves the codes; and nothing keeps z near its code. Hence
#
#     loss = nll + ||sg[z] - e||^2 + beta ||z - sg[e]||^2     sg: stop gradient
#
# The second term moves codes to the latents that chose them. The third, the *commitment*, moves latents to their codes.
# Which gradient goes where is easy to get wrong: beta on the wrong term, or the terms computed after straight-through,
# where e - z is a constant and the codebook learns nothing. Both are in published code. The check is simple:

# %%
beta = 0.25
t, e = mv.Tensor(z, requires_grad=True), mv.Tensor(codebook[nearest(z, codebook)], requires_grad=True)
codebook_term = ((t.detach() - e) ** 2).sum()
commitment = ((t - e.detach()) ** 2).sum()
(codebook_term + beta * commitment).backward()
print(np.allclose(e.grad, 2 * (e.numpy() - z)), np.allclose(t.grad, beta * 2 * (z - e.numpy())))
# > True True

# %% [markdown]
# ## Moving averages
#
# The codebook term is least where a code is the mean of the latents that chose it. So in place of gradient steps one
# may keep moving averages of their number and of their sum: e = m / N. This is k-means, batch by batch.
#
# Watch it on four clouds of points in the plane, with eight codes that begin in one corner.

# %%
rng = np.random.default_rng(0)
centres = np.array([[0, 0], [4, 0], [0, 4], [4, 4]])


def batch(n: int = 200) -> np.ndarray:
    return centres[rng.integers(4, size=n)] + 0.3 * rng.normal(size=(n, 2))


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of how often each code is used."""
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def squared_error(z: np.ndarray, e: np.ndarray) -> float:
    return float(((z - e[nearest(z, e)]) ** 2).sum(axis=1).mean())


def train(restart: bool, steps: int = 200, decay: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Return the codebook and how often each code was chosen in the last batch."""
    e = rng.normal(size=(8, 2)) * 0.1 - 3
    N, m = np.ones(8), e.copy()
    for _ in range(steps):
        z = batch()
        index = nearest(z, e)
        chosen = np.eye(8)[index]  # (n, 8), one 1 in each row
        n = chosen.sum(axis=0)
        N = decay * N + (1 - decay) * n
        m = decay * m + (1 - decay) * chosen.T @ z
        e = m / N[:, None]
        if restart and len(dead := np.flatnonzero((n == 0) & (N < 0.5))):
            e[dead] = z[rng.integers(len(z), size=len(dead))]
            N[dead], m[dead] = 1.0, e[dead]
    return e, n


for restart in (False, True):
    e, n = train(restart)
    used = int((n > 0).sum())
    error = squared_error(batch(2000), e)
    print(f"restart {restart}: {used} of 8 codes in use, perplexity {perplexity(n):.1f}, squared error {error:.1f}")
# > restart False: 2 of 8 codes in use, perplexity 1.7, squared error 5.6
# > restart True: 8 of 8 codes in use, perplexity 7.3, squared error 0.1

# %% [markdown]
# ## Dead codes, and perplexity
#
# Without restarts one or two codes, the nearest to the clouds at the start, take everything. The others are chosen by
# nobody, get no average, and never come nearer: they are *dead*. A restart sets a dead code on a latent of the batch.
#
# **Perplexity** says how many codes are in use, counted by how evenly: K equally frequent codes have perplexity K, and
# if one code takes nearly everything, it is nearly 1, though all may be "used".

# %%
for counts in ([25, 25, 25, 25], [97, 1, 1, 1], [50, 50, 0, 0]):
    print(f"{counts}: {perplexity(np.array(counts)):.2f}")
# > [25, 25, 25, 25]: 4.00
# > [97, 1, 1, 1]: 1.18
# > [50, 50, 0, 0]: 2.00

# %% [markdown]
# The reason for the name: with perplexity P, guessing the next code is as hard as throwing a die with P faces. Its
# logarithm is the entropy, the nats that a code costs at least, if codes are coded one by one.
#
# ## All of it, on images

# %%
images = mv.datasets.load("fashion-mini").x_train[:1000]
vqvae = mv.models.VQVAE(codes=32, channels=16, random_state=0).fit(images, epochs=3, batch_size=50)
found = mv.training.evaluate(vqvae, images)
print("shape of an image's code:", vqvae.encode(images[:1]).shape)
print(f"more than half of the codes in use: {found['usage'] > 0.5}; perplexity above 8: {found['perplexity'] > 8}")
# > shape of an image's code: (1, 7, 7)
# > more than half of the codes in use: True; perplexity above 8: True

# %% [markdown]
# ## Where it stands in minivae
#
# * `minivae/nn/quantizers/vector.py`: straight-through, codebook and commitment, moving averages, restarts.
# * `minivae/nn/quantizers/base.py`: perplexity and usage, counted over an epoch.
# * `minivae/nn/quantizers/residual.py`, `minivae/nn/quantizers/finite_scalar.py`: two other ways to quantise.
# * `minivae/models/vqvae.py`: the model and its bound.
#
# Exercise: `minivae learn exercise 7`, then `minivae learn check 7`.
