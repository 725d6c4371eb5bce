# %% [markdown]
# # Lesson 5: The ELBO, a gradient through noise, and a collapse
#
# A variational autoencoder is a model of images: draw z from N(0, I), put it through the decoder, and draw an image x
# from p(x | z). This lesson takes its loss apart: what a nat is, why the bound is a bound, how a gradient gets through
# a random draw, and what happens when the encoder gives up.
#
# ## Nats
#
# A model that gives an image the probability p needs -log p to describe it: this is its cost in **nats**, with the
# natural logarithm, or in bits, with base 2. One nat is 1.44 bits. A pixel that is white with probability 0.9 costs
# 0.105 nats if it is white and 2.303 if it is black. Costs of independent pixels add up, as their probabilities
# multiply.

# %%
import numpy as np

p = 0.9
white, black = -np.log(p), -np.log(1 - p)
print(f"white: {white:.3f} nats, black: {black:.3f} nats, on average {p * white + (1 - p) * black:.3f}")
# > white: 0.105 nats, black: 2.303 nats, on average 0.325

# %% [markdown]
# ## The bound
#
# The probability of an image is p(x) = E[p(x | z)] over z from the prior: nearly all z explain it badly, so the mean
# needs very many draws. An encoder q(z | x) says where to look, and each draw from it is weighted by how much likelier
# the prior makes it: p(x) = E_q[w] with the weight w = p(x | z) p(z) / q(z | x). The logarithm of a mean is at least
# the mean of the logarithms (Jensen), so
#
#     log p(x) >= E_q[log w] = E_q[log p(x | z)] - KL(q(z | x) || p(z)) = ELBO(x).
#
# Watch it where everything is known: p(z) = N(0, 1), p(x | z) = N(z, 1), hence p(x) = N(0, 2). For x = 2 the true
# posterior is N(1, 1/2). A q that misses it loses exactly KL(q || posterior), and the true posterior loses nothing.

# %%
x = 2.0
exact = -0.5 * np.log(2 * np.pi * 2) - x**2 / (2 * 2)
eps = np.random.default_rng(0).normal(size=200_000)


def log_normal(x: np.ndarray | float, mean: np.ndarray | float, variance: float) -> np.ndarray:
    return -0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)


def elbo(mu: float, sigma: float) -> float:
    """The ELBO of x with q = N(mu, sigma^2), by 200,000 draws."""
    z = mu + sigma * eps
    return float((log_normal(x, z, 1) + log_normal(z, 0, 1) - log_normal(z, mu, sigma**2)).mean())


def kl(mu: float, sigma: float, mean: float = 0.0, deviation: float = 1.0) -> float:
    """KL(N(mu, sigma^2) || N(mean, deviation^2)) in closed form."""
    ratio = (sigma / deviation) ** 2
    return 0.5 * (ratio + ((mu - mean) / deviation) ** 2 - 1 - np.log(ratio))


print(f"log p(x) = {exact:.3f}")
for mu, sigma in ((1.0, 0.5**0.5), (0.0, 1.0), (1.0, 0.2)):
    print(f"q = N({mu}, {sigma:.2f}^2): ELBO {elbo(mu, sigma):.2f}, gap {kl(mu, sigma, 1.0, 0.5**0.5):.3f}")
# > log p(x) = -2.266
# > q = N(1.0, 0.71^2): ELBO -2.27, gap 0.000
# > q = N(0.0, 1.00^2): ELBO -3.42, gap 1.153
# > q = N(1.0, 0.20^2): ELBO -3.07, gap 0.803

# %% [markdown]
# ## A gradient through noise
#
# The encoder is trained by the gradient of E_q[f(z)] with respect to mu and sigma. But z is drawn: what is the
# derivative of a draw? There are two answers, both right on average:
#
#     pathwise          d f(mu + sigma eps) / d mu  =  f'(z)
#     score function    f(z) d log q(z) / d mu      =  f(z) eps / sigma
#
# The first writes z = mu + sigma eps, where eps ~ N(0, 1) does not depend on mu. The second comes from dF/dmu =
# integral of f dq/dmu and dq/dmu = q dlog q/dmu, for F = E_q[f].
#
# The second multiplies noise by the *value* of f, which may be hundreds of nats; the first looks at its *slope*.
# Measure them for f(z) = z^2 at mu = sigma = 1, where the derivative of E[z^2] = mu^2 + sigma^2 is 2. Then let f be a
# sum over 16 latents, as in a VAE: the score function of one latent is multiplied by the noise of all others.

# %%
z = 1 + eps
print(f"pathwise:       mean {(2 * z).mean():.2f}, variance {(2 * z).var():.1f}")
print(f"score function: mean {(z**2 * eps).mean():.1f}, variance {(z**2 * eps).var():.0f}")
others = ((1 + np.random.default_rng(1).normal(size=(200_000, 15))) ** 2).sum(axis=1)
print(f"of 16 latents:  pathwise {(2 * z).var():.1f}, score function {((z**2 + others) * eps).var():.0f}")
# > pathwise:       mean 2.00, variance 4.0
# > score function: mean 2.0, variance 30
# > of 16 latents:  pathwise 4.0, score function 1267

# %% [markdown]
# Hence the *reparameterisation trick*: write the draw as a function of mu, sigma and noise from outside, and let the
# gradient flow through that function.
#
# ## The KL in closed form
#
# For the Gaussian encoder no draw is needed for the second term: it is (mu^2 + sigma^2 - 1 - log sigma^2) / 2 for each
# latent. Less noise again. (The encoder gives log sigma^2, so that sigma is positive whatever the network says.)

# %%
mu, sigma = 1.0, 0.5
z = mu + sigma * eps
drawn = float((log_normal(z, mu, sigma**2) - log_normal(z, 0, 1)).mean())
print(f"closed form {kl(mu, sigma):.3f}, 200,000 draws {drawn:.2f}")
# > closed form 0.818, 200,000 draws 0.82

# %% [markdown]
# ## A small VAE
#
# Clothes of 14 x 14 pixels, eight latents. nll is the cost of the image given z, kl that of z: nll + kl = -ELBO bounds
# the cost of the image, in nats.

# %%
import minivae as mv

data = mv.datasets.load("fashion-mini")


def halved(images: np.ndarray) -> np.ndarray:
    """(N, 1, 28, 28) -> (N, 1, 14, 14), the means of 2 x 2 pixels."""
    return images.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5))


images, test = halved(data.x_train[:2000]), halved(data.x_test)


def trained(lr: float = 2e-3, **settings: float) -> mv.models.VAE:
    vae = mv.models.VAE((1, 14, 14), latent_dim=8, arch="dense", hidden=(200,), random_state=0, **settings)
    return vae.fit(images, epochs=20, lr=lr, batch_size=100)


def told(vae: mv.models.VAE) -> str:
    nats = mv.training.evaluate(vae, test)
    return f"nll {nats['nll']:.1f} + kl {nats['kl']:.1f}"


vae = trained()
print(told(vae))
# > nll 69.7 + kl 5.5

# %% [markdown]
# ## Posterior collapse
#
# The KL is a price. A latent that the decoder does not use yet lowers no nll, but pays its KL, and the quickest way
# down is to say nothing: q(z | x) = N(0, 1) for every image, at a KL of 0. Then z is noise, and the decoder learns to
# ignore it. Make the price high, beta = 30 times the KL, and all eight latents go silent. What remains is one image for
# all, the best code of no numbers:

# %%
collapsed = trained(beta=30.0)
print(told(collapsed))
spread = collapsed.reconstruct(test).std(axis=0).max()
print(f"largest deviation of a pixel between the reconstructions of 1,000 images: {spread:.2f}")
# > nll 96.9 + kl 0.0
# > largest deviation of a pixel between the reconstructions of 1,000 images: 0.00

# %% [markdown]
# At beta = 1 it happens to single latents, most of all when training is hasty. Large steps at first, before the decoder
# has learned to use z, leave some of them dead for good: their KL is 0.

# %%
hasty = trained(lr=0.02)
dead = (hasty.latent_usage(test).kl < 0.05).sum()
print(f"some of the eight are dead: {dead >= 2}; in the patient one: {(vae.latent_usage(test).kl < 0.05).any()}")
# > some of the eight are dead: True; in the patient one: False

# %% [markdown]
# Two cures. **Warm-up**: the price rises from 0 to 1 over the first steps, so that latents are in use before they are
# paid for. **Free bits**: the first 0.25 nats of each latent cost nothing in training, so that nothing pushes it to
# zero.

# %%
warmed, free = trained(lr=0.02, kl_warmup=200), trained(lr=0.02, free_bits=0.25)
for cure, name in ((warmed, "warm-up"), (free, "free bits")):
    print(f"{name}: fewer dead ones: {(cure.latent_usage(test).kl < 0.05).sum() < dead}")
# > warm-up: fewer dead ones: True
# > free bits: fewer dead ones: True

# %% [markdown]
# Free bits also have a price: a latent that keeps 0.25 nats because they are free says little with them, and the bound
# counts them again. Which cure is better is a question for the ELBO on images set aside, not for the number of latents.
#
# ## Where it stands in minivae
#
# * `minivae/models/vae.py`: the paper, with these formulas derived, and the loss in ten lines.
# * `minivae/nn/likelihoods.py`: nats, bits per dimension, and why networks give logits.
# * `minivae/models/importance.py`: a better estimate of log p(x) than the ELBO. Lesson 6 is about it.
# * `minivae/models/latent_space.py`: which latents are active.
#
# Exercise: `minivae learn exercise 5`, then `minivae learn check 5`.
