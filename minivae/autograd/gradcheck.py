"""The check of a gradient by finite differences.

For y = f(x) and a gradient dy that arrives at y (see graph.py), backward() claims that g is the gradient of <dy, f(x)>,
where <a, b> is the sum of the products of all entries. The central difference

    <dy, f(x + eps v) - f(x - eps v)> / (2 eps) = <g, v> + O(eps^2)

tests the claim along a direction v.

**Why float64.** Two errors work against each other. The difference leaves out terms of the size eps^2, and rounding
makes an error of about u |f| / eps, as two nearly equal numbers are subtracted; u is 6e-8 in float32 and 1e-16 in
float64. The largest error that was measured for softplus, at 61 points between -3 and 3 (its derivative lies between
0.05 and 0.95):

    eps         1e-2     1e-3     1e-5     1e-7
    float32     9e-6     2e-4     9e-3     1
    float64     2e-6     2e-8     2e-11    3e-9

In float32 even the best eps, which must be found first, leaves an error of 1e-5, and the tolerance would have to be
several times that. In float64 the default eps = 1e-6 leaves 1e-10, and a tolerance of 1e-5 is safe on both sides.

**Why random directions.** Entry by entry (v a unit vector) the test takes two evaluations of f for each entry, which is
done for small inputs. A random v tries all entries at once, with two evaluations whatever the size: a wrong entry
changes <g, v> by its error times a random number. The test sees it if that is more than the tolerance, which grows with
the root of the number of entries. So among 100,000 entries a doubled one is found, and one that is off by a thousandth
may not be; for that there are small inputs. If a direction disagrees, halving the set of entries where v is not 0, and
keeping the half that disagrees more, finds a guilty entry in log2(size) steps.

**Why a random dy.** A gradient that is transposed, permuted or distributed wrongly often has the right sum, and dy = 1
checks no more than the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minivae.kernels import backend_of, checks
from minivae.kernels import reference as host
from minivae.kernels.contract import Array, Noise

from .graph import enable_grad, no_grad
from .tensor import Tensor

ENTRY_BY_ENTRY = 128  # inputs up to this size are tested exhaustively
DIRECTIONS = 6
SEED = 0x5EED


class GradientError(AssertionError):
    """An analytic and a numerical derivative differ."""


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Sequence[Tensor | Array],
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> bool:
    """Compare backward() of fn(*inputs) with finite differences; return True, or raise an error at the first mismatch.

    inputs: float64 arrays, or leaf Tensors; integer and boolean arrays are passed on as constants. A leaf Tensor is
    changed in place and restored, so the parameters of a model may stand here while fn uses the model and ignores its
    arguments.
    fn: returns one float64 Tensor and is deterministic: freeze its noise.

    Raises GradientError with the input, the index and both derivatives; TypeError for inputs that are not float64;
    ValueError if two evaluations of fn differ, or for an eps outside (0, 1] or a negative tolerance.
    """
    checks.function("fn", fn)
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"inputs must be a list or a tuple of arrays or Tensors, got {checks.shown(inputs)}")
    eps = checks.number("eps", eps, "(0, 1]")
    rtol, atol = checks.number("rtol", rtol, "[0, inf)"), checks.number("atol", atol, "[0, inf)")
    tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    variables = _variables(tensors)
    before = [(t.requires_grad, t.grad) for t in variables.values()]
    try:
        for t in variables.values():
            t.requires_grad, t.grad = True, None
        dy = _backward(fn, tensors)
        for i, t in variables.items():
            _Check(fn, tensors, i, dy, eps, rtol, atol).run(t)
    finally:
        for t, (requires_grad, grad) in zip(variables.values(), before, strict=True):
            t.grad = grad
            t.requires_grad = requires_grad
    return True


def _variables(tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    variables = {}
    for i, t in enumerate(tensors):
        if t.dtype == np.float64:
            variables[i] = t
        elif t.dtype.kind in "fc":
            raise TypeError(f"gradcheck needs float64: input {i} is {t.dtype}, too coarse for finite differences")
    if not variables:
        raise TypeError(f"gradcheck needs at least one float64 input, got {[str(t.dtype) for t in tensors]}")
    return variables


def _backward(fn: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Array:
    with enable_grad():
        y = fn(*tensors)
    if not isinstance(y, Tensor) or y.dtype != np.float64:
        raise TypeError(f"gradcheck: fn must return a float64 Tensor, got {getattr(y, 'dtype', type(y).__name__)}")
    with no_grad():
        again = fn(*tensors)
    if not np.array_equal(y.numpy(), again.numpy(), equal_nan=True):
        raise ValueError("gradcheck: fn gives another result when called again; freeze its noise")
    dy = backend_of(y.data).asarray(host.normal(y.shape, np.float64, Noise(SEED, 0)))
    if y.requires_grad:  # otherwise every gradient is zero, which the differences will judge
        y.backward(dy)
    return dy


class _Check:
    """It computes both derivatives, analytic and numerical, of <dy, fn> with respect to input i and compares them."""

    def __init__(
        self,
        fn: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        i: int,
        dy: Array,
        eps: float,
        rtol: float,
        atol: float,
    ) -> None:
        self.fn, self.tensors, self.i, self.dy = fn, tensors, i, dy
        self.eps, self.rtol, self.atol = eps, rtol, atol

    def run(self, t: Tensor) -> None:
        g = np.zeros(t.shape) if t.grad is None else backend_of(t.grad).to_host(t.grad)
        if t.size <= ENTRY_BY_ENTRY:
            for entry in range(t.size):
                v = np.zeros(t.shape)
                v.flat[entry] = 1.0
                if self.mismatch(g, v):
                    self.fail(g, entry)
            return
        for draw in range(DIRECTIONS):
            v = host.normal(t.shape, np.float64, Noise(SEED, 1 + draw))
            if self.mismatch(g, v):
                self.fail(g, self.guilty_entry(g, v))

    def numerical(self, v: np.ndarray) -> float:
        t = self.tensors[self.i]
        original = t.numpy()
        asarray = backend_of(t.data).asarray
        try:
            t.inplace()[...] = asarray(original + self.eps * v)
            plus = self.evaluate()
            t.inplace()[...] = asarray(original - self.eps * v)
            minus = self.evaluate()
        finally:
            t.inplace()[...] = asarray(original)
        return float(((plus - minus) * self.dy).sum()) / (2 * self.eps)

    @no_grad()
    def evaluate(self) -> Array:
        return self.fn(*self.tensors).data.copy()  # the result may be a view of an input about to change

    def mismatch(self, g: np.ndarray, v: np.ndarray) -> float:
        """Return |<g, v> - numerical| where it exceeds the tolerance, else 0. NaN is a mismatch.

        The tolerance grows with the root of the number of entries, as a sum of independent errors does.
        """
        numerical = self.numerical(v)
        error = abs(float((g * v).sum()) - numerical)
        tolerance = self.atol * _norm(v) + self.rtol * max(abs(numerical), _norm(g * v))
        return 0.0 if error <= tolerance else (error if error == error else np.inf)

    def guilty_entry(self, g: np.ndarray, v: np.ndarray) -> int:
        support = np.arange(v.size)
        while len(support) > 1:
            halves = np.array_split(support, 2)
            errors = []
            for half in halves:
                part = np.zeros(v.shape)
                part.flat[half] = v.flat[half]
                errors.append(abs(float((g * part).sum()) - self.numerical(part)))
            support = halves[int(errors[1] > errors[0])]
        return int(support[0])

    def fail(self, g: np.ndarray, entry: int) -> Any:
        unit = np.zeros(g.shape)
        unit.flat[entry] = 1.0
        index = tuple(int(k) for k in np.unravel_index(entry, g.shape))
        raise GradientError(
            f"gradient of input {self.i} (shape {g.shape}) is wrong at index {index}: "
            f"backward gives {g[index]:.10g}, finite differences give {self.numerical(unit):.10g}"
        )


def _norm(v: np.ndarray) -> float:
    return float(np.sqrt((v * v).sum()))
