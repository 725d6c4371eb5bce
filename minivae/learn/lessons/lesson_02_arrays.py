# %% [markdown]
# # Lesson 2: Arrays, and how to trust a gradient
#
# The engine of lesson 1 becomes one of arrays by two changes: a node answers with a function where it had a number, and
# broadcasting has a backward pass. Then comes the tool that the rest of minivae stands on: a check that finds wrong
# gradients.
#
# ## A vector-Jacobian product
#
# Let L be the loss and y = f(x), both x and y arrays. The *Jacobian* of f has an entry dy_j/dx_i for each pair: for a
# million numbers in and out it is a matrix of 10^12 entries. What the backward pass needs is less, dL/dx for the dL/dy
# that arrives:
#
#     dx_i = sum over j of dy_j (dy_j/dx_i).
#
# Here dy on its own, and dx, are short for dL/dy and dL/dx, as everywhere in minivae. dx has the shape of x, and for
# most functions there is a formula without the matrix. For y = x^2, element by element, the Jacobian is diagonal and dx
# = 2 x dy.

# %%
import numpy as np

x, dy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])
jacobian = np.diag(2 * x)
print(dy @ jacobian, 2 * x * dy)
# > [  2.  40. 600.] [  2.  40. 600.]

# %% [markdown]
# ## Broadcasting, backwards
#
# NumPy repeats what is too small: x (2, 3) + b (3,) adds b to both rows. So each b_j is *used* twice, and by the rule
# of lesson 1 its gradient is the sum of what both uses send: dy (2, 3) is summed over axis 0. For b of shape (2, 1),
# which is repeated along axis 1, it is summed over axis 1 and keeps that axis with length 1. In general: sum over the
# axes that broadcasting added in front, and over those that it stretched from length 1.


# %%
def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum g over the axes along which an array of this shape was repeated to g's shape."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # the axes in front
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


dy = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
for shape in ((3,), (2, 1), (1, 1), ()):
    print(shape, unbroadcast(dy, shape).tolist())
# > (3,) [11.0, 22.0, 33.0]
# > (2, 1) [[6.0], [60.0]]
# > (1, 1) [[66.0]]
# > () 66.0

# %% [markdown]
# minivae does the same:

# %%
import minivae as mv

b = mv.Tensor(np.zeros((2, 1)), requires_grad=True)
(np.ones((2, 3)) + b).backward(dy)
print(b.grad.tolist())
# > [[6.0], [60.0]]

# %% [markdown]
# ## Finite differences
#
# Is a gradient right? The definition of the derivative gives a second opinion, which needs the forward pass alone:
#
#     (f(x + eps) - f(x)) / eps              leaves an error of the size eps
#     (f(x + eps) - f(x - eps)) / (2 eps)    the central difference: eps^2
#
# because in the second the even terms of the Taylor series cancel. For f = x^3 at x = 1, whose derivative is 3:


# %%
def cube(x: float) -> float:
    return x * x * x


for eps in (1e-1, 1e-2, 1e-3):
    forward = (cube(1 + eps) - cube(1)) / eps
    central = (cube(1 + eps) - cube(1 - eps)) / (2 * eps)
    print(f"eps {eps:g}: errors {forward - 3:.1e} and {central - 3:.1e}")
# > eps 0.1: errors 3.1e-01 and 1.0e-02
# > eps 0.01: errors 3.0e-02 and 1.0e-04
# > eps 0.001: errors 3.0e-03 and 1.0e-06

# %% [markdown]
# ## Why float64
#
# A smaller eps is better until rounding takes over. f(x + eps) and f(x - eps) are nearly equal; each is rounded by
# about u f, with u = 6e-8 in float32 and 1e-16 in float64, and the difference of the two errors is divided by 2 eps. In
# float32 no eps is good: where the formula's error has become small, rounding is large already.

# %%
for dtype in (np.float32, np.float64):
    errors = []
    for eps in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        x, step = dtype(1.1), dtype(eps)
        central = (cube(x + step) - cube(x - step)) / (2 * step)
        errors.append(f"{abs(central - 3 * x * x):.0e}")
    print(dtype.__name__, *errors)
# > float32 1e-02 1e-04 1e-04 1e-03 6e-03
# > float64 1e-02 1e-04 1e-06 1e-08 1e-10

# %% [markdown]
# With eps = 1e-6 and float64 a check to five digits is safe on both sides. So minivae's gradients are checked in
# float64, by the same code that trains in float32.
#
# ## A checker of gradients
#
# For an array there are two ways. Entry by entry costs two forward passes for each. Or one tests all entries at once
# along a random direction v: the change of the number sum(dy * f) is sum(g * v), if g is the gradient. A wrong entry
# changes that sum by its error times a random number. Two forward passes are enough whatever the size of the array, as
# long as the error stands out from the tolerance.


# %%
from collections.abc import Callable

rng = np.random.default_rng(0)


def looks_right(f: Callable, vjp: Callable, x: np.ndarray, dy: np.ndarray, eps: float = 1e-6) -> bool:
    """Compare vjp(x, dy) with finite differences along a random direction."""
    v = rng.normal(size=x.shape)
    change = (dy * (f(x + eps * v) - f(x - eps * v))).sum() / (2 * eps)
    return bool(abs(change - (vjp(x, dy) * v).sum()) < 1e-5 * (1 + abs(change)))


x = rng.normal(size=(4, 5))
dy = rng.normal(size=(4, 5))
print(looks_right(np.tanh, lambda x, dy: dy * (1 - np.tanh(x) ** 2), x, dy))
print(looks_right(np.tanh, lambda x, dy: dy * (1 - np.tanh(x)), x, dy))  # a forgotten square
# > True
# > False

# %% [markdown]
# ## Why dy is random
#
# A loss that is the sum of all outputs sends dy = 1 everywhere, and many wrong gradients agree with it: whatever is
# transposed, permuted or handed to the wrong neighbour has the right sum. Take y = x in reverse order, and forget to
# reverse on the way back:


# %%
def reverse(x: np.ndarray) -> np.ndarray:
    return x[:, ::-1]


print(looks_right(reverse, lambda x, dy: dy, x, np.ones_like(dy)))  # wrong, and not seen
print(looks_right(reverse, lambda x, dy: dy, x, dy))
print(looks_right(reverse, lambda x, dy: dy[:, ::-1], x, dy))
# > True
# > False
# > True

# %% [markdown]
# ## Three planted errors
#
# `mv.gradcheck` does this for any function of Tensors. Each of the next operations has an error that people make. Which
# of them does it find?


# %%
from typing import Any


class Scale(mv.Function):
    """y = x * s for a number s. Error: the gradient of s is not summed over the elements that it multiplies."""

    def forward(self, x: Any, s: Any) -> Any:
        self.save(x, s)
        return x * s

    def backward(self, dy: Any) -> Any:
        x, s = self.saved
        return dy * s, (dy * x).mean().reshape(s.shape)


class Softmax(mv.Function):
    """y = exp(x) / sum exp(x) by rows. Error: the gradient of an element-wise function; each y depends on all x."""

    def forward(self, x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        y = e / e.sum(axis=1, keepdims=True)
        self.save(y)
        return y

    def backward(self, dy: Any) -> Any:
        (y,) = self.saved
        return dy * y * (1 - y)


class Relu(mv.Function):
    """y = max(x, 0). No error: at 0, where the slope jumps, the differences could not tell, but no x is 0 here."""

    def forward(self, x: Any) -> Any:
        self.save(x)
        return np.maximum(x, 0)

    def backward(self, dy: Any) -> Any:
        (x,) = self.saved
        return dy * (x > 0)


for function, inputs in ((Scale, [x, np.array([2.0])]), (Softmax, [x]), (Relu, [x])):
    try:
        print(function.__name__, mv.gradcheck(function.apply, inputs))
    except AssertionError as error:
        print(f"{function.__name__}: {str(error).split(':')[0]}")
# > Scale: gradient of input 1 (shape (1,)) is wrong at index (0,)
# > Softmax: gradient of input 0 (shape (4, 5)) is wrong at index (0, 0)
# > Relu True

# %% [markdown]
# What no such check can see: a forward pass that computes the wrong function, with the right gradient of it. For that
# there are other tests: closed forms, an independent implementation, the identity <conv(x), y> = <x, transposed
# conv(y)>.
#
# ## Where it stands in minivae
#
# * `minivae/ops/broadcast.py`: broadcasting backwards. `minivae/ops/arithmetic.py`: the operations that use it.
# * `minivae/autograd/gradcheck.py`: the check, with the measured errors of float32 and float64, and what it can find.
# * `minivae/autograd/function.py`: `Function`, the class of an operation.
#
# Exercise: `minivae learn exercise 2`, then `minivae learn check 2`.
