"""The graph of a computation, and the backward pass that runs through it.

Every operation that was applied is a *node*. Its *edges* lead to where its inputs came from: other nodes and, in the
end, *leaves*, which no operation made, such as the weights of a model. For a = 3,

    b = a + a  =  6            a ---> b ---> c            c = 2 a^2, so that dc/da = 4 a = 12
    c = a * b  = 18            `------------>^            (arrows: forward; the edges run against them)

**What dy is.** Let L be the one number whose derivatives are wanted. The backward pass brings to each node dy = dL/dy,
an array with the shape of the node's result y: how fast L grows with each element of y. The node answers with the same
for each of its inputs x, by the chain rule

    dx_i = sum over j of (dL/dy_j) (dy_j/dx_i).

This is the product of the vector dy with the Jacobian matrix of the operation, the *vector-Jacobian product*. The
matrix itself is never made: for y = a * b the answer is simply (dy * b, dy * a). The pass begins at the result, where
dL/dL = 1.

**Why gradients add.** If a grows by a little da, b grows by da + da, and c by b da + a (2 da) = (6 + 6) da: what a does
to c through each of its uses adds up, to first order in da. So the gradient of something that was used
several times is the sum of what its uses send back: c sends dy * b = 6 to a and dy * a = 3 to b, and b passes its 3 on
to a twice. 6 + 3 + 3 = 12.

**Why a topological order.** b may pass on only what is complete. If b had two users and went on after the first had
answered, a would get a part of its gradient; if b went on after each, every *path* would be walked, and their number
doubles with each b = b + b. In a topological order inputs stand before their users. Walked backwards, all users of a
node have answered when its turn comes, and each node is visited once.

**Why saved arrays are freed.** An operation saves what its vector-Jacobian product needs: a * b saves a and b. In a
training step these arrays are most of the memory. After a node's turn nobody needs them, so the node lets go of them,
and memory falls while the pass goes on: of 100 operations that save 4 MB each, 400 MB are held when the pass begins,
200 MB when half of it is done. The price is that backward() runs once through a graph, unless it is told to retain it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from minivae.kernels.contract import Array


class Node:
    """Gradients arrive at a node. edges: the node of each input, None for one that needs no gradient."""

    edges: tuple[Node | None, ...] = ()
    grad: Array | None = None

    def backward(self, dy: Array) -> Any:
        """Return the vector-Jacobian product: the gradient of each input, for the gradient dy of the result."""
        raise NotImplementedError

    def checked(self, gradients: Any) -> Sequence[Array | None]:
        """Return what backward() returned, one gradient or None for each edge. Raise RuntimeError if it does not fit.

        The check is kept out of backward(), which users write, so that backward() states the mathematics alone.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what was saved for backward()."""


class Leaf(Node):
    """A leaf is where gradients end. They add up in `grad` over all uses and passes, until somebody sets it to None."""


def backward(result: Node, dy: Array, retain_graph: bool = False) -> None:
    """Carry the gradient dy of the result to all leaves that the result depends on."""
    for leaf, gradient in leaf_gradients(result, dy, retain_graph):
        leaf.grad = gradient if leaf.grad is None else as_array(leaf.grad + gradient)


def leaf_gradients(result: Node, dy: Array, retain_graph: bool = False) -> Iterator[tuple[Leaf, Array]]:
    """Yield each leaf that the result depends on with its gradient, as soon as that is complete."""
    gradients = {result: dy}
    for node in reversed(topological_order(result)):
        if node in gradients and isinstance(node, Leaf):  # otherwise no user of it had a gradient to send
            yield node, read_only(gradients.pop(node))
        elif node in gradients:
            add_up(gradients, node.edges, node.checked(node.backward(read_only(gradients.pop(node)))))
        if not retain_graph:
            node.release()


def gradient_at(leaf: Leaf, result: Node, dy: Array) -> Array | None:
    """Return the gradient of the result at one leaf alone, None where the result does not depend on it.

    Of all nodes only those between leaf and result are asked. Nothing is freed and no leaf collects anything, so that
    backward() can still run. For a weight of the last layer this is a small part of the pass.
    """
    order: list[Node] = topological_order(result)
    between: set[Node] = {leaf}
    for node in order:
        if not between.isdisjoint(edge for edge in node.edges if edge is not None):
            between.add(node)
    gradients = {result: dy}
    for node in reversed(order):
        if node in between and node is not leaf and node in gradients:
            sent = node.checked(node.backward(read_only(gradients.pop(node))))
            add_up(gradients, [edge if edge in between else None for edge in node.edges], sent)
    return gradients.get(leaf)


def add_up(gradients: dict[Node, Array], edges: Sequence[Node | None], sent: Sequence[Array | None]) -> None:
    """Add the gradients that a node sends along its edges to those that the nodes at the ends already have."""
    for edge, g in zip(edges, sent, strict=True):
        if edge is not None and g is not None:
            gradients[edge] = as_array(gradients[edge] + g) if edge in gradients else g


def topological_order(result: Node) -> list[Node]:
    """Return all nodes that the result depends on, inputs before users.

    It is a depth-first search that enters a node when all of its inputs are there. Its own stack takes the place of
    recursion, since a graph may be 100,000 operations deep.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(result, False)]
    while stack:
        node, inputs_are_there = stack.pop()
        if inputs_are_there:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend([(edge, False) for edge in node.edges if edge is not None])
    return order


def as_array(value: Any) -> Array:
    """Turn a number back into an array, as NumPy makes numbers of results without axes."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def read_only(array: Array) -> Array:
    """Return a view that cannot be written through, as others may hold the array. A GPU's arrays have no such flag."""
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


# ---- switching the graph off ----

_state = threading.local()


def is_grad_enabled() -> bool:
    """Return whether operations enter the graph in this thread."""
    return getattr(_state, "enabled", True)


class _GradMode(ContextDecorator):
    enabled: bool

    def __enter__(self) -> None:
        _state.before = [*getattr(_state, "before", ()), is_grad_enabled()]  # for each thread: they share a decorator
        _state.enabled = self.enabled

    def __exit__(self, *_: object) -> None:
        _state.enabled = _state.before.pop()


class no_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Inside this context manager or decorator, operations make constants and save nothing for a backward pass."""

    enabled = False


class enable_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Inside this context manager or decorator, operations enter the graph again, even within a no_grad()."""

    enabled = True
