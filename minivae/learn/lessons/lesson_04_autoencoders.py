# %% [markdown]
# # Lesson 4: Autoencoders, and why PCA is one
#
# An autoencoder is two functions: the *encoder* makes a short code z of an image x, the *decoder* makes an image x_hat
# of the code. Both are trained together to make the squared error ||x - x_hat||^2 small, over many images. What they
# learn is what the images have in common, as a code of four numbers has no room for anything else.
#
# The data: 2,000 pictures of clothes, 14 x 14 pixels, and 1,000 others that no model sees in training.

# %%
import numpy as np

import minivae as mv

data = mv.datasets.load("fashion-mini")


def halved(images: np.ndarray) -> np.ndarray:
    """(N, 1, 28, 28) -> (N, 1, 14, 14), the means of 2 x 2 pixels."""
    return images.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5))


x, test = halved(data.x_train[:2000]), halved(data.x_test)


def error(a: np.ndarray, b: np.ndarray) -> float:
    """The squared error per image."""
    return float(((a - b) ** 2).reshape(len(a), -1).sum(axis=1).mean())


print(x.shape, f"{error(test, np.broadcast_to(x.mean(axis=0), test.shape)):.1f}")
# > (2000, 1, 14, 14) 14.2

# %% [markdown]
# 14.2 is the error of the best code of no numbers: the mean image, always.
#
# ## PCA
#
# Principal component analysis looks for the plane of K dimensions through the mean that is nearest to the images. The
# *singular value decomposition* of the centred images X = U S V^T has the answer in the first K rows of V^T (the
# theorem of Eckart and Young): code z = V_K^T (x - mean), image x_hat = mean + V_K z.

# %%
K = 4
mean = x.reshape(2000, -1).mean(axis=0)
axes = np.linalg.svd(x.reshape(2000, -1) - mean, full_matrices=False)[2][:K]  # (K, 196)


def pca(images: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Project images to the plane of the axes (K, 196)."""
    codes = (images.reshape(len(images), -1) - mean) @ axes.T
    return (mean + codes @ axes).reshape(images.shape)


print(f"PCA of {K}: {error(x, pca(x, axes)):.2f} in training, {error(test, pca(test, axes)):.2f} on test images")
# > PCA of 4: 4.69 in training, 4.76 on test images

# %% [markdown]
# ## A linear autoencoder finds the same plane
#
# Let encoder and decoder be one linear layer each, x_hat = W' (W x + b) + b'. Whatever W and W' are, x_hat lies in a
# plane of K dimensions, so the error cannot be less than PCA's. Gradient descent reaches it, though nobody told it of
# singular values:

# %%
linear = mv.models.Autoencoder((1, 14, 14), latent_dim=K, arch="dense", hidden=(), random_state=0)
linear.fit(x, epochs=120, lr=0.01, batch_size=100)
print(f"linear: {error(x, linear.reconstruct(x)):.2f} in training, {error(test, linear.reconstruct(test)):.2f} on test")
# > linear: 4.69 in training, 4.76 on test

# %% [markdown]
# Is it the same plane? Two planes of K dimensions have K *principal angles*; their cosines are the singular values of A
# B^T, if the rows of A and B are orthonormal. All are 1: the planes are equal.
#
# The code is not PCA's, however. The columns of the decoder are no components: they are neither orthogonal nor ordered,
# because for any invertible R the code R z with the decoder W' R^-1 makes the same images. The loss cannot tell.

# %%
columns = linear.decoder.state_dict()["0.weight"]  # (196, K)
orthonormal, _ = np.linalg.qr(columns)
print(np.round(np.linalg.svd(axes @ orthonormal, compute_uv=False), 3))
normed = columns / np.linalg.norm(columns, axis=0)
print(f"largest cosine between two columns: {np.abs(normed.T @ normed - np.eye(K)).max():.1f}")
# > [1. 1. 1. 1.]
# > largest cosine between two columns: 0.3

# %% [markdown]
# ## A deep one bends the plane
#
# With a hidden layer and a ReLU on both sides, x_hat lies on a *curved* surface of K dimensions. That follows the
# images better, with as short a code:

# %%
deep = mv.models.Autoencoder((1, 14, 14), latent_dim=K, arch="dense", hidden=(200,), random_state=0)
deep.fit(x, epochs=40, lr=2e-3, batch_size=100)
print(f"deep: {error(x, deep.reconstruct(x)):.1f} in training, {error(test, deep.reconstruct(test)):.1f} on test")
# > deep: 2.5 in training, 2.7 on test

# %% [markdown]
# The price: its error on new images is larger than in training. The plane of PCA had few parameters to choose, and this
# surface has 160,000.
#
# ## Denoising
#
# Give the encoder a *noisy* image and ask for the clean one (Vincent et al. 2008). The best answer, for squared error,
# is the mean of all clean images that could have become this noisy one, weighted by how likely each is. To give it, the
# network has to know what clean images look like. That is a stronger demand than a short code, which may be long now:

# %%
noisy = test + 0.3 * np.random.default_rng(0).normal(size=test.shape).astype(np.float32)
axes = np.linalg.svd(x.reshape(2000, -1) - mean, full_matrices=False)[2][:32]
settings = {"latent_dim": 32, "arch": "dense", "hidden": (200,), "random_state": 0}
plain = mv.models.Autoencoder((1, 14, 14), **settings).fit(x, epochs=40, lr=2e-3, batch_size=100)
denoising = mv.models.Autoencoder((1, 14, 14), corruption="gaussian", level=0.3, **settings)
denoising.fit(x, epochs=40, lr=2e-3, batch_size=100)
print(f"the noise itself: {error(noisy, test):.1f}")
for name, seen, seen_noisy in (
    ("PCA of 32", pca(test, axes), pca(noisy, axes)),
    ("plain", plain.reconstruct(test), plain.reconstruct(noisy)),
    ("denoising", denoising.reconstruct(test), denoising.reconstruct(noisy)),
):
    print(f"{name}: {error(seen, test):.1f} from clean images, {error(seen_noisy, test):.1f} from noisy ones")
# > the noise itself: 17.7
# > PCA of 32: 1.2 from clean images, 4.1 from noisy ones
# > plain: 1.5 from clean images, 3.5 from noisy ones
# > denoising: 2.0 from clean images, 2.5 from noisy ones

# %% [markdown]
# A projection to 32 dimensions keeps the noise of these 32, 32 * 0.3^2 = 2.9 of it, so that PCA cannot do better with a
# longer code. The denoising autoencoder can.
#
# ## What a code of this kind cannot do
#
# Draw z at random and decode: which z? Nothing says where in the space of codes images lie. That is what the
# variational autoencoder adds, in lesson 5.
#
# ## Where it stands in minivae
#
# * `minivae/models/autoencoder.py`: the autoencoder and the denoising one, with what the latter learns.
# * `minivae/uses/pca.py`: PCA, the baseline of all tables.
# * `minivae/training/loop.py`: the training loop that `fit` runs.
#
# Exercise: `minivae learn exercise 4`, then `minivae learn check 4`.
