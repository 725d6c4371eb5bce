# %% [markdown]
# # Lesson 1: An engine for numbers
#
# A model is a function with thousands of parameters, and training needs the derivative of one number, the loss, by each
# of them. This lesson builds a machine that finds all of them in one pass, for plain numbers, in 60 lines. The rest of
# minivae is the same machine for arrays.
#
# ## A number that remembers where it came from
#
# Take c = a * (a + a) at a = 3. The machine has to know that c was made of a and of b = a + a, and how fast it grows
# with each: the *local derivatives*. For a product y = u * v they are dy/du = v and dy/dv = u, for a sum 1 and 1.

# %%
from __future__ import annotations


class Value:
    """A number, the numbers that it was made of (parents), and its derivative by each of them (local)."""

    def __init__(self, data: float, parents: tuple[Value, ...] = (), local: tuple[float, ...] = ()) -> None:
        self.data, self.parents, self.local = data, parents, local
        self.grad = 0.0  # the derivative of the result by this number, once there was a backward pass

    def __add__(self, other: Value) -> Value:
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Value) -> Value:
        return Value(self.data * other.data, (self, other), (other.data, self.data))


a = Value(3.0)
b = a + a
c = a * b
print(f"b = {b.data}, c = {c.data}")
# > b = 6.0, c = 18.0

# %% [markdown]
# Every number is a *node* of a graph, its parents are where its *edges* lead, and `a`, which no operation made, is a
# *leaf*:
#
#     a ---> b ---> c
#     `------------>^
#
# ## The chain rule, and why gradients add
#
# Let grad of a node be the derivative of c by it, so that grad of c is 1. A node hands to each parent its own grad
# times the local derivative: this is the chain rule. If a node was used twice, both uses send something. Move a by a
# little da: b moves by da + da, and c by b da + a (2 da), so what a does through each of its uses adds up. **The
# gradient of a number is the sum of what all its uses send back.** Here c sends 6 to a directly, and 3 to b; b sends
# this 3 to a twice: 6 + 3 + 3 = 12, the derivative of 2 a^2 at 3.
#
# ## Why the order matters
#
# b may pass its grad on only when it is whole. Otherwise it would send a part, and later another part, and a node with
# n doublings below it would be walked once for each path: 2^n times. In a *topological order* parents stand before what
# was made of them. Walked backwards, each node comes after all of its users, so its grad is whole when its turn comes,
# and each node is visited once.


# %%
def topological_order(result: Value) -> list[Value]:
    """Return all nodes that the result was made of, parents first."""
    order: list[Value] = []
    seen: set[int] = set()

    def visit(node: Value) -> None:
        if id(node) not in seen:
            seen.add(id(node))
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(result)
    return order


def backward(result: Value) -> None:
    """Add to the grad of every node the derivative of the result by it."""
    result.grad = 1.0
    for node in reversed(topological_order(result)):
        for parent, local in zip(node.parents, node.local, strict=True):
            parent.grad += node.grad * local


backward(c)
print(f"dc/da = {a.grad}, dc/db = {b.grad}")
# > dc/da = 12.0, dc/db = 3.0

# %% [markdown]
# ## Seeing the two rules fail
#
# A backward pass that *replaces* a grad instead of adding to it forgets all uses but the last.
#
# One that visits each node once, but those nearest to the result first, lets nodes speak before they have heard
# everything. Take y = b + b * b with b = 2 a, at a = 3: dy/db = 1 + 2 b = 13, and dy/da = 26. b is next to y, so its
# turn comes when only the 1 of the sum has arrived. It sends 2 * 1 to a. The 12 of the product arrives when b's turn is
# over.
#
# And one that walks path by path is right, but takes a step for each path: 16 doublings, y = 2^16 x, are 17 nodes and
# 2^16 paths.


# %%
def forgetful(result: Value) -> None:
    result.grad = 1.0
    for node in reversed(topological_order(result)):
        for parent, local in zip(node.parents, node.local, strict=True):
            parent.grad = node.grad * local  # = in place of +=


def hasty(result: Value) -> None:
    result.grad = 1.0
    order = [result]  # each node as soon as a user of it has had its turn
    for node in order:
        for parent, local in zip(node.parents, node.local, strict=True):
            parent.grad += node.grad * local
            if parent not in order:
                order.append(parent)


def paths(node: Value) -> int:
    return sum(paths(parent) for parent in node.parents) or 1


a = Value(3.0)
forgetful(a * (a + a))
print(f"without the sum: dc/da = {a.grad}")
a = Value(3.0)
b = Value(2.0) * a
hasty(b + b * b)
print(f"in another order: dy/da = {a.grad}, though dy/db = {b.grad}")
x = y = Value(1.0)
for _ in range(16):
    y = y + y
backward(y)
print(f"16 doublings: {len(topological_order(y))} nodes, {paths(y):,} paths, dy/dx = {x.grad:,.0f}")
# > without the sum: dc/da = 3.0
# > in another order: dy/da = 2.0, though dy/db = 13.0
# > 16 doublings: 17 nodes, 65,536 paths, dy/dx = 65,536

# %% [markdown]
# ## It learns
#
# With a third operation this engine can train. Two inputs, three hidden numbers and the exclusive or, which no linear
# function computes. (The signs -1 and 1 stand for false and true.) Each step moves every parameter against its grad.

# %%
import math
import random


def tanh(x: Value) -> Value:
    y = math.tanh(x.data)
    return Value(y, (x,), (1 - y * y,))


random.seed(1)
hidden = [[Value(random.gauss(0, 1)) for _ in range(3)] for _ in range(3)]  # 3 units of two weights and a bias
output = [Value(random.gauss(0, 1)) for _ in range(4)]
parameters = [weight for unit in [*hidden, output] for weight in unit]


def predict(p: float, q: float) -> Value:
    inputs = [Value(p), Value(q), Value(1.0)]
    units = [tanh(w[0] * inputs[0] + w[1] * inputs[1] + w[2] * inputs[2]) for w in hidden]
    return output[0] * units[0] + output[1] * units[1] + output[2] * units[2] + output[3] * inputs[2]


def loss() -> Value:
    total = Value(0.0)
    for p, q, target in ((-1, -1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)):
        error = predict(p, q) + Value(-target)
        total = total + error * error
    return total


print(f"at first: {loss().data:.2f}")
for _ in range(300):
    for parameter in parameters:
        parameter.grad = 0.0  # or they would add up over the steps
    backward(loss())
    for parameter in parameters:
        parameter.data -= 0.05 * parameter.grad
print(f"after 300 steps: {loss().data:.4f}")
print([round(predict(p, q).data) for p, q in ((-1, -1), (-1, 1), (1, -1), (1, 1))])
# > at first: 5.13
# > after 300 steps: 0.0000
# > [-1, 1, 1, -1]

# %% [markdown]
# (From `random.seed(0)` it stops at a loss of 2.01: a local minimum, where two of the four answers are 0.)
#
# ## From numbers to arrays
#
# In minivae a node holds an array, and dy, the gradient that arrives, has the array's shape. A node cannot keep all
# local derivatives, as for arrays of a million numbers these would be a matrix of a million times a million. It keeps a
# function instead, which answers dy with the gradient of each parent: for y = a * b simply (dy * b, dy * a). Such a
# function is called a *vector-Jacobian product*. Otherwise it is the same machine. Compare:

# %%
import numpy as np

import minivae as mv

t = mv.Tensor(np.array([3.0]), requires_grad=True)
u = t * (t + t)
u.backward(np.ones(1))
print(t.grad)
# > [12.]

# %% [markdown]
# ## Where it stands in minivae
#
# * `minivae/autograd/graph.py`: nodes, leaves, `topological_order` without recursion (a graph may be 100,000 operations
#   deep) and `backward`, which also frees what each operation saved as soon as its turn is over.
# * `minivae/autograd/function.py`: what an operation is, a forward pass and a vector-Jacobian product.
# * `minivae/ops/arithmetic.py`: sum and product for arrays of any shapes. Lesson 2 says what broadcasting adds.
#
# Exercise: `minivae learn exercise 1`, then `minivae learn check 1`.
