"""Modules: the tree, its state, its modes."""

import copy
import sys

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


class Net(nn.Module):
    """Has the attributes that it is given."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return x


# ---- the tree ----


def test_modules_come_by_path_and_once():
    shared = nn.Linear(2, 2)
    inner = nn.Sequential(shared, nn.ReLU())
    net = Net(first=shared, inner=inner, last=shared)
    assert list(net.named_modules()) == [("", net), ("first", shared), ("inner", inner), ("inner.1", inner[1])]
    assert list(net.modules()) == [net, shared, inner, inner[1]]
    assert list(net.children()) == [shared, inner, shared]


def test_frozen_parameters_get_no_gradients_and_are_not_moved():
    mv.manual_seed(0)
    encoder, decoder = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.BatchNorm2d(2)), nn.Linear(2, 3)
    net = Net(encoder=encoder, decoder=decoder)
    assert encoder.requires_grad_(False) is encoder
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2
    decoder(encoder[:2](numbers(4, 3, dtype=np.float32))).sum().backward()
    assert [p.grad is None for p in net.parameters()] == [True] * 4 + [False] * 2
    assert {p.requires_grad for p in net.to(dtype=np.float64).requires_grad_().parameters()} == {True}
    with pytest.raises(TypeError, match="requires_grad must be True or False, got 1"):
        net.requires_grad_(1)


# ---- what holds Modules and is none ----

HIDDEN = {
    "list": lambda member: [member],
    "list with others": lambda member: [None, 1, member],
    "tuple": lambda member: (member, member),
    "dict": lambda member: {"a": member},
    "set": lambda member: {member},
    "list of lists": lambda member: [[], [member]],
    "dict of tuples": lambda member: {"a": (1, member)},
    "dict of dicts": lambda member: {"a": {"b": member}},
}
MEMBERS = {
    "Linear": (lambda: nn.Linear(1, 1), r"nn\.ModuleList"),
    "Parameter": (lambda: nn.Parameter(np.ones(1)), "attribute of its own"),
    "Buffer": (lambda: nn.Buffer(np.ones(1)), "attribute of its own"),
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("kind", HIDDEN)
def test_modules_and_parameters_do_not_hide_in_plain_containers(kind, member):
    make, cure = MEMBERS[member]
    hidden = HIDDEN[kind](make())
    with pytest.raises(TypeError, match=rf"Net\.blocks is a {type(hidden).__name__} with a {member} in it.*{cure}"):
        Net(blocks=hidden)


FILLED = {
    "list": ([], lambda blocks, member: blocks.append(member)),
    "dict": ({}, lambda blocks, member: blocks.update(a=member)),
    "set": (set(), lambda blocks, member: blocks.add(member)),
    "list of lists": ([[], []], lambda blocks, member: blocks[1].append(member)),
    "dict of lists": ({"a": []}, lambda blocks, member: blocks["a"].append(member)),
}
WALKS = {
    "parameters": lambda net: net.parameters(),
    "num_parameters": lambda net: net.num_parameters(),
    "state_dict": lambda net: net.state_dict(),
    "load_state_dict": lambda net: net.load_state_dict({}),
    "modules": lambda net: list(net.modules()),
    "named_modules": lambda net: list(net.named_modules()),
    "train": lambda net: net.train(),
    "to": lambda net: net.to(dtype=np.float64),
    "zero_grad": lambda net: net.zero_grad(),
    "requires_grad_": lambda net: net.requires_grad_(False),
}


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("kind", FILLED)
def test_containers_that_are_filled_later_are_noticed_by_whoever_walks_the_tree(kind, walk):
    empty, fill = FILLED[kind]
    net = Net(inner=Net(blocks=copy.deepcopy(empty)))
    WALKS[walk](net)
    fill(net.inner.blocks, nn.Linear(1, 1))
    with pytest.raises(TypeError, match=rf"Net\.blocks is a {type(empty).__name__} with a Linear in it"):
        WALKS[walk](net)


def test_other_values_in_plain_containers_are_the_modules_own_business():
    values = {
        "sizes": (3, 4),
        "history": [{"loss": 1.0}, {"loss": 0.5}],
        "results": [mv.Tensor(np.ones(2)), np.ones(2)],
        "classes": [nn.Linear, nn.Parameter],
        "settings": {"a": {"b": [None]}},
        "text": "abc",
    }
    net = Net(**values)
    assert net.parameters() == []
    assert all(getattr(net, name) is value for name, value in values.items())


# ---- buffers that are no part of the state ----


def test_a_buffer_that_does_not_persist_moves_and_is_in_no_state():
    net = Net(kept=nn.Buffer(np.ones(2)), moment=nn.Buffer(np.ones(3), persistent=False))
    assert net.kept.persistent
    assert not net.moment.persistent
    assert list(net.state_dict()) == ["kept"]
    assert net.parameters() == []
    net.to(dtype=np.float32)
    assert net.moment.dtype == np.float32
    assert not net.moment.persistent
    net.load_state_dict({"kept": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(net.kept.numpy(), [0, 0])
    np.testing.assert_array_equal(net.moment.numpy(), [1, 1, 1])
    with pytest.raises(ValueError, match=r"unexpected \['moment'\]"):
        net.load_state_dict({"kept": np.zeros(2, np.float32), "moment": np.zeros(3, np.float32)})


# ---- calls ----


class Twice:
    """Not a Module itself."""

    def forward(self, x):
        return 2 * x


class Mixed(Twice, Net):
    pass


class Counted(Net):
    """Has a __call__ of its own."""

    def __call__(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return super().__call__(x)


class Thrice(Counted):
    def forward(self, x):
        return 3 * x


def test_a_call_is_the_forward_that_the_object_has_now(monkeypatch):
    net, mixed, thrice = Net(), Mixed(), Thrice()
    assert (net(1), mixed(1), thrice(1), thrice.calls) == (1, 2, 3, 1)
    net.forward = lambda x, y=0: x + y + 10
    assert (net(1), net(1, y=2)) == (11, 13)
    monkeypatch.setattr(Net, "forward", lambda self, x: -x)
    assert (Net()(1), net(1)) == (-1, 11)
    assert callable(net)


def test_a_call_is_one_frame_of_python():
    class Depth(nn.Module):
        def forward(self):
            return sys._getframe().f_back

    assert Depth()() is sys._getframe()
