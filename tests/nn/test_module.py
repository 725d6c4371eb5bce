"""Modules: the tree, its state, its modes."""

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae import nn


def model():
    mv.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 5))


def test_state_names_are_pytorchs():
    assert list(model().state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "4.weight",
        "4.bias",
    ]


def test_state_round_trip_gives_the_same_function():
    a, b = model(), model()
    a.train()(numbers(6, 1, 3, 3, dtype=np.float32))
    b.load_state_dict(a.state_dict())
    x = numbers(2, 1, 3, 3, seed=1, dtype=np.float32)
    np.testing.assert_array_equal(a.eval()(x).numpy(), b.eval()(x).numpy())
    assert int(b.state_dict()["1.num_batches_tracked"]) == 1


def test_state_dict_is_a_copy():
    m = model()
    m.state_dict()["4.weight"][...] = 0
    assert m[4].weight.numpy().any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("4.bias"), ValueError, r"missing \['4.bias'\]"),
        (lambda s: s.update(extra=np.zeros(1)), ValueError, r"unexpected \['extra'\]"),
        (
            lambda s: s.update({"4.bias": np.zeros(6, np.float32)}),
            ValueError,
            r"4.bias must have shape \(5,\), got \(6,\)",
        ),
        (lambda s: s.update({"4.bias": np.zeros(5)}), TypeError, "4.bias must have dtype float32, got float64"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    m = model()
    before = m.state_dict()
    state = {k: v + 1 for k, v in m.state_dict().items()}
    change(state)
    with pytest.raises(error, match=message):
        m.load_state_dict(state)
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_shared_parameter_is_trained_once():
    layer = nn.Linear(2, 2)
    m = nn.Sequential(layer, layer)
    assert len(m.parameters()) == 2
    assert m.num_parameters() == 6
    assert len(m.state_dict()) == 4  # as PyTorch writes it: both paths


def test_modes_reach_all_layers():
    m = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    x = np.ones((10, 10), np.float32)
    assert (m.train()(x).numpy() == 0).any()
    np.testing.assert_array_equal(m.eval()(x).numpy(), x)


def test_conversion_keeps_the_parameters_identity():
    m = model()
    before = m.parameters()
    m.to(dtype=np.float64)
    assert all(a is b for a, b in zip(before, m.parameters(), strict=True))
    assert {p.dtype for p in m.parameters()} == {np.dtype(np.float64)}
    assert m.state_dict()["1.num_batches_tracked"].dtype == np.int64
    assert m(numbers(2, 1, 3, 3)).dtype == np.float64


def test_zero_grad():
    m = nn.Linear(2, 2)
    m(np.ones((1, 2), np.float32)).sum().backward()
    assert m.weight.grad is not None
    m.zero_grad()
    assert m.weight.grad is None


def test_repr_shows_the_tree():
    text = repr(model())
    assert text.splitlines()[0] == "Sequential("
    assert "  (0): Conv2d(1, 4, kernel_size=(3, 3), groups=1, stride=(1, 1), padding=(1, 1)" in text
    assert "  (4): Linear(36, 5, bias=True)" in text


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module"):
        nn.Module()(1)
