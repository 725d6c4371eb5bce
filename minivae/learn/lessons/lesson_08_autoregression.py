# %% [markdown]
# # Lesson 8: One after the other
#
# How does one sample from a VQ-VAE? Its images are maps of integers, and integers drawn independently decode to
# rubbish. What is needed is a distribution over maps. The chain rule of probability makes one of any maps, and loses
# nothing:
#
#     P(k_1, k_2, ..., k_n) = P(k_1) P(k_2 | k_1) ... P(k_n | k_1, ..., k_(n-1)).
#
# A network gives each factor: the probabilities of the next integer, given those before. Such a model is called
# *autoregressive*. Its log P is exact, not a bound.
#
# ## A distribution, counted
#
# The smallest case: maps of 2 x 2 bits, of which there are 16. An untrained PixelCNN gives each map a probability. If
# it is a distribution, they add up to 1, whatever its weights are.

# %%
from itertools import product

import numpy as np

import minivae as mv

mv.manual_seed(0)
maps = np.array(list(product((0, 1), repeat=4))).reshape(16, 2, 2)
prior = mv.models.PixelCNN((2, 2), 2, channels=8, layers=2)
print(f"{np.exp(prior.score_samples(maps)).sum():.4f}")
# > 1.0000

# %% [markdown]
# If the network could see the integer that it is to predict, it would copy it: it would give each map a probability of
# nearly 1, and the 16 would add up to 16. So a network for this must be *causal*.
#
# ## Masks
#
# A convolution looks at its neighbours on all sides. To make it causal, set the weights to 0 that lie on later
# positions, in the order in which one reads: below, and right of the centre. *Mask A* also hides the centre, the
# integer itself. It is for the first layer. *Mask B* keeps it, for the other layers, whose inputs are features that
# were made causally already.


# %%
def mask(kind: str, K: int = 3) -> np.ndarray:
    m = np.zeros((K, K))
    m[: K // 2] = 1  # the rows above
    m[K // 2, : K // 2 + (kind == "B")] = 1  # and the row itself, up to the centre
    return m


for a, b in zip(mask("A"), mask("B"), strict=True):
    print("A", *("#" if x else "." for x in a), "   B", *("#" if x else "." for x in b))
# > A # # #    B # # #
# > A # . .    B # # .
# > A . . .    B . . .

# %% [markdown]
# ## Which values does a position see?
#
# Ask the engine: the gradient of the features at one position, with respect to the input, is not 0 exactly where it
# looks. Five layers with masked kernels of 3 x 3, all weights 1, on a map of 7 x 9; X is the position.

# %%
F = mv.functional


def seen(layers: list[np.ndarray], H: int = 7, W: int = 9, at: tuple[int, int] = (5, 4)) -> None:
    x = mv.Tensor(np.ones((1, 1, H, W)), requires_grad=True)
    h = x
    for kernel in layers:
        h = F.conv2d(h, kernel[None, None], padding=1)
    dy = np.zeros((1, 1, H, W))
    dy[0, 0, at[0], at[1]] = 1
    h.backward(dy)
    for i, row in enumerate(x.grad[0, 0]):
        print("".join("X" if (i, j) == at else "#" if g else "." for j, g in enumerate(row)))


seen([mask("A"), mask("B"), mask("B"), mask("B"), mask("B")])
# > #########
# > #########
# > ########.
# > #######..
# > ######...
# > ####X....
# > .........

# %% [markdown]
# Nothing at X or after it: it is causal. But there is a **blind spot**: the values to the right in the rows above are
# earlier, and X ought to see them. A step to the right costs a row upwards, for only in the row above does a kernel
# reach to the right; so a triangle is never seen, however many layers there are.
#
# ## Two stacks
#
# The gated PixelCNN (van den Oord et al. 2016) has two stacks of convolutions. The *vertical* one sees all rows above,
# and as nothing later is in them, its kernels need no mask: they are whole rectangles that end in the row above. The
# *horizontal* one sees the row itself, left of X, and in each layer the vertical stack's features at X. Together they
# see everything before X that lies within reach. Here is minivae's: which values change the logits at X?

# %%
prior = mv.models.PixelCNN((7, 9), 2, channels=8, layers=5, first_kernel=3, kernel=3).to(dtype=np.float64)
k = np.zeros((1, 7, 9), np.int64)
changed = np.zeros((7, 9), bool)
before = prior.logits(k).numpy()[0, 5, 4]
for i, j in np.ndindex(7, 9):
    other = k.copy()
    other[0, i, j] = 1
    changed[i, j] = not np.array_equal(prior.logits(other).numpy()[0, 5, 4], before)
for i, row in enumerate(changed):
    print("".join("X" if (i, j) == (5, 4) else "#" if c else "." for j, c in enumerate(row)))
# > #########
# > #########
# > #########
# > #########
# > #########
# > ####X....
# > .........

# %% [markdown]
# ## Learning and sampling
#
# The loss is -log P in nats, a cross-entropy at each position; all positions train at once, in one pass. Sampling goes
# one by one: draw the first integer, put it in, draw the second, and so on, a pass for each. (minivae keeps the
# features that do not change, so that a map of 32 x 32 takes seconds.)
#
# Maps of 6 x 6 in which each row is all 0 or all 1, with one row of 1s at least and never two below each other: after
# training, do samples keep these rules?

# %%
rng = np.random.default_rng(0)


def striped(n: int) -> np.ndarray:
    rows = np.zeros((n, 6), np.int64)
    for row in rows:
        row[rng.integers(6)] = 1
        for i in range(1, 6):
            row[i] = 0 if row[i - 1] else row[i] | rng.integers(2)
    return np.repeat(rows[:, :, None], 6, axis=2)


def share_of_right(maps: np.ndarray) -> float:
    rows = maps[:, :, 0]
    whole = (maps == rows[:, :, None]).all(axis=(1, 2))
    return float((whole & ~((rows[:, 1:] & rows[:, :-1]).any(axis=1))).mean())


mv.manual_seed(0)
prior = mv.models.PixelCNN((6, 6), 2, channels=16, layers=3, first_kernel=3, kernel=3)
print(f"untrained: {share_of_right(prior.sample(200)):.2f} of the samples are right")
prior.fit(striped(2000), epochs=8, lr=5e-3, batch_size=50)
print(f"trained: more than nine in ten are right: {share_of_right(prior.sample(200)) > 0.9}")
print(f"nats of a map, of 24.95 at random: {-prior.score_samples(striped(500)).mean():.0f}")
# > untrained: 0.00 of the samples are right
# > trained: more than nine in ten are right: True
# > nats of a map, of 24.95 at random: 3

# %% [markdown]
# ## Temperature
#
# Dividing the logits by a temperature below 1 before drawing makes likely integers likelier. Samples become cleaner and
# less varied; at 0 all are alike. It is no longer the distribution that was learned, so say it where samples are shown.
#
# ## Where it stands in minivae
#
# * `minivae/models/pixelcnn.py`: masks as shifts, the two stacks, gates, and their pictures.
# * `minivae/models/pixelcnn_sampling.py`: sampling with kept features, equal bit for bit to the slow way.
# * `minivae/coding/range_coder.py`: the nats of a map as bytes in a file.
#
# Exercise: `minivae learn exercise 8`, then `minivae learn check 8`.
