"""The checker must accept right gradients, and above all reject wrong ones."""

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.autograd import Function, GradientError
from minivae.autograd.gradcheck import __doc__ as docstring


def broken(backward):
    """An operation y = a^2 * b, summed over nothing, with the backward pass given."""

    class Op(Function):
        def forward(self, a, b):
            self.save(a, b)
            return a * a * b

        def backward(self, dy):
            return backward(dy, *self.saved)

    return Op.apply


def right(dy, a, b):
    return 2 * a * b * dy, a * a * dy


SIZES = [(3, 4), (20, 30)]  # entry by entry, and along random directions


@pytest.mark.parametrize("shape", SIZES)
def test_accepts_a_right_gradient(shape):
    assert mv.gradcheck(broken(right), [numbers(*shape), numbers(*shape, seed=1)])


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    ("what", "backward"),
    [
        ("zero gradient", lambda dy, a, b: (0 * a, a * a * dy)),
        ("missing gradient", lambda dy, a, b: (None, a * a * dy)),
        ("missing factor", lambda dy, a, b: (a * b * dy, a * a * dy)),
        ("wrong sign", lambda dy, a, b: (2 * a * b * dy, -a * a * dy)),
        ("ignores the upstream gradient", lambda dy, a, b: (2 * a * b, a * a)),
        ("uses the mean of the upstream gradient", lambda dy, a, b: (2 * a * b * dy.mean(), a * a * dy.mean())),
        ("gradients to the wrong inputs", lambda dy, a, b: (a * a * dy, 2 * a * b * dy)),
        ("relative error of 1e-3", lambda dy, a, b: (2.002 * a * b * dy, a * a * dy)),
    ],
)
def test_rejects_a_wrong_gradient(shape, what, backward):
    with pytest.raises(GradientError):
        mv.gradcheck(broken(backward), [numbers(*shape), numbers(*shape, seed=1)])


@pytest.mark.cpu_only("its Function computes with @, which is no primitive")
@pytest.mark.parametrize("n", [4, 25])
def test_rejects_a_transposed_gradient(n):
    class MatMul(Function):
        def forward(self, a, b):
            self.save(a, b)
            return a @ b

        def backward(self, dy):
            a, b = self.saved
            return (dy @ b.T).T, a.T @ dy

    with pytest.raises(GradientError, match="input 0"):
        mv.gradcheck(MatMul.apply, [numbers(n, n), numbers(n, n, seed=1)])


@pytest.mark.cpu_only("its Function computes with NumPy")
@pytest.mark.parametrize("n", [5, 300])
def test_rejects_assignment_where_it_should_add(n):
    """col2im with = instead of +=: the bug of overlapping windows."""

    class Windows(Function):
        def forward(self, x):
            return np.stack([x[:-1], x[1:]])

        def backward(self, dy):
            dx = np.zeros(dy.shape[1] + 1)
            dx[:-1] = dy[0]
            dx[1:] = dy[1]
            return dx

    with pytest.raises(GradientError):
        mv.gradcheck(Windows.apply, [numbers(n)])


@pytest.mark.parametrize("shape", [(3, 4), (40, 50)])
def test_names_the_input_the_index_and_both_derivatives(shape):
    guilty = (2, 1)

    def backward(dy, a, b):
        db = a * a * dy
        db[guilty] += 5.0
        return 2 * a * b * dy, db

    with pytest.raises(GradientError) as error:
        mv.gradcheck(broken(backward), [numbers(*shape), numbers(*shape, seed=1)])
    text = str(error.value)
    assert f"input 1 (shape {shape}) is wrong at index {guilty}" in text
    claimed, found = (float(part.split()[0].rstrip(",")) for part in (text.split("gives ")[1], text.split("give ")[1]))
    assert claimed - found == pytest.approx(5.0, abs=1e-5)


def test_rejects_nan():
    with pytest.raises(GradientError):
        mv.gradcheck(broken(lambda dy, a, b: (2 * a * b * dy * np.nan, a * a * dy)), [numbers(3), numbers(3, seed=1)])


def test_a_result_without_history_is_judged_by_the_differences():
    assert mv.gradcheck(lambda x: mv.Tensor(np.ones(3)), [numbers(3)])
    with pytest.raises(GradientError):
        mv.gradcheck(lambda x: mv.Tensor(x.data * 2), [numbers(3)])


def test_parameters_are_checked_where_they_stand_and_restored():
    layer = mv.nn.Linear(3, 2).to(dtype=np.float64)
    x = numbers(4, 3)
    before = layer.state_dict()
    assert mv.gradcheck(lambda *_: layer(x), layer.parameters())
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(p.grad is None for p in layer.parameters())


def test_noise_must_be_frozen():
    mv.manual_seed(0)
    with pytest.raises(ValueError, match="freeze its noise"):
        mv.gradcheck(lambda x: mv.functional.dropout(x, 0.5), [numbers(10)])


def test_float32_is_refused():
    with pytest.raises(TypeError, match="float64"):
        mv.gradcheck(lambda x: x, [numbers(3, dtype=np.float32)])


def test_integers_are_constants():
    table, index = numbers(4, 2), np.array([1, 1, 3])
    assert mv.gradcheck(lambda i, t: mv.functional.embedding(i, t), [index, table])


@pytest.mark.parametrize("size", [200, 3_000, 100_000])
def test_one_wrong_entry_of_many_is_found(size):
    """Also where it is one of 100,000: the errors of all the others must not make room for it."""

    class Doubles(Function):
        def forward(self, x):
            return x * 1.0

        def backward(self, dy):
            g = dy.copy()
            g[size // 3] *= 2
            return g

    with pytest.raises(GradientError, match=rf"index \({size // 3},\)"):
        mv.gradcheck(Doubles.apply, [numbers(size)])


def test_the_errors_in_its_docstring_are_those_of_softplus():
    lines = [line.split() for line in str(docstring).splitlines() if line.startswith("    ")]
    (steps,) = [numbers for name, *numbers in lines if name == "eps"]
    table = [line for line in lines if line[0] in ("float32", "float64")]
    x = np.linspace(-3, 3, 61)
    for dtype, *errors in table:
        number = np.dtype(dtype).type
        for eps, said in zip(map(number, steps), map(float, errors), strict=True):
            up, down = (np.log1p(np.exp(x.astype(dtype) + h)) for h in (eps, -eps))
            error = np.abs((up - down) / (2 * eps) - 1 / (1 + np.exp(-x))).max()
            assert said / 3 < error < said * 3
    assert len(table) == 2
