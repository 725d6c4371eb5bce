"""Sequential and ModuleList: Modules by number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

import minivae as mv
from minivae import nn

CONTAINERS = {"ModuleList": nn.ModuleList, "Sequential": lambda layers=(): nn.Sequential(*layers)}
containers = pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)


def layers(count):
    return [nn.Linear(2, 2) for _ in range(count)]


class Net(nn.Module):
    """As PyTorch's documentation has it: linear layers in a ModuleList."""

    def __init__(self, *blocks):
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@containers
@examples
@given(count=st.integers(0, 4), data=st.data())
def test_it_is_indexed_like_a_list(make, count, data):
    modules = layers(count)
    made, part = make(modules), data.draw(st.slices(count))
    assert len(made) == count
    assert list(made) == list(made.children()) == modules
    assert [made[i] for i in range(-count, count)] == 2 * modules
    for i in (count, -count - 1):
        with pytest.raises(IndexError):
            made[i]
    assert type(made[part]) is type(made)
    assert list(made[part]) == modules[part]
    assert [name for name, _ in made[part].named_children()] == [str(i) for i in range(len(modules[part]))]


@containers
def test_append_and_extend_go_on_counting(make):
    modules = layers(5)
    made = make(modules[:1]).append(modules[1]).extend(module for module in modules[2:4])
    made.extend(make(modules[4:]))
    assert list(made) == modules
    assert [name for name, _ in made.named_children()] == ["0", "1", "2", "3", "4"]
    made.extend(made[:1])
    assert made[5] is made[0]


@containers
def test_what_is_no_module_is_refused_and_changes_nothing(make):
    made = make(layers(2))
    for wrong in (None, 1, np.ones(2), nn.Linear, mv.functional.relu, [nn.ReLU()], nn.Parameter(np.ones(2))):
        with pytest.raises(TypeError, match="layer 2 must be a Module, got"):
            made.append(wrong)
        with pytest.raises(TypeError, match="layer 3 must be a Module, got"):
            made.extend([nn.ReLU(), wrong])
    for wrong in (None, 1, nn.Linear(2, 2)):
        with pytest.raises(TypeError, match="must be given Modules to iterate over, got"):
            made.extend(wrong)
    assert len(made) == 2
    with pytest.raises(TypeError, match="layer 1 must be a Module, got"):
        make([nn.ReLU(), 3])


def test_a_module_list_belongs_to_the_tree():
    mv.manual_seed(0)
    net = Net(*layers(2), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)))
    assert list(net.state_dict())[:4] == ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]
    assert list(net.state_dict())[4] == "blocks.2.1.weight"
    assert len(net.parameters()) == 6
    assert not net.eval().blocks[2][0].training
    assert net.to(dtype=np.float64).blocks[0].weight.dtype == np.float64
    other = Net(*layers(2), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3))).to(dtype=np.float64)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.blocks[1].bias.numpy(), net.blocks[1].bias.numpy())


def test_gradients_reach_a_module_list():
    net = Net(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype=np.float64)
    assert mv.gradcheck(lambda *_: net(numbers(2, 3)), net.parameters())


def test_a_module_list_is_no_function():
    with pytest.raises(NotImplementedError, match="ModuleList does not define forward"):
        nn.ModuleList(layers(1))(np.ones((1, 2), np.float32))


def test_a_slice_of_a_sequential_is_the_function_of_its_layers():
    whole, x = nn.Sequential(*layers(1), nn.ReLU(), *layers(1), nn.ReLU()), numbers(3, 2, dtype=np.float32)
    np.testing.assert_array_equal(whole[2:](whole[:2](x)).numpy(), whole(x).numpy())
    assert whole[:1][0].weight is whole[0].weight


class Doubled(nn.Linear):
    """A Linear whose forward() knows no relu."""

    def forward(self, x):
        return 2 * super().forward(x)


class Renamed(nn.Linear):
    """A Linear with the forward() of a Linear."""


class Leaky(nn.ReLU):
    """A ReLU that is none."""

    def forward(self, x):
        return mv.functional.leaky_relu(x, 0.5)


FUSED = {
    "Linear": (lambda: nn.Linear(3, 4), (5, 3)),
    "Renamed": (lambda: Renamed(3, 4), (5, 3)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, 3), (2, 2, 5, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 4, 3), (2, 2, 5, 5)),
}


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_relu_behind_a_layer_with_weights_is_done_by_it_bit_by_bit(name, dtype, monkeypatch):
    make, shape = FUSED[name]
    layer, x = make().to(dtype=dtype), mv.Tensor(numbers(*shape, dtype=dtype), requires_grad=True)
    results = []
    for network in (lambda x: mv.functional.relu(layer(x)), nn.Sequential(layer, nn.ReLU())):
        layer.zero_grad()
        x.grad = None
        y = network(x)
        y.backward(numbers(*y.shape, seed=1, dtype=dtype))
        tensors = mv.Tensor.wrap(x.grad), *(mv.Tensor.wrap(p.grad) for p in layer.parameters())
        results.append([y.numpy(), *(t.numpy() for t in tensors)])
    for separate, fused in zip(*results, strict=True):
        np.testing.assert_array_equal(separate.view(f"u{separate.itemsize}"), fused.view(f"u{fused.itemsize}"))
    relus = []
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: relus.append(x) or x)
    assert (nn.Sequential(layer, nn.ReLU(), nn.ReLU())(x).numpy() >= 0).all()
    assert len(relus) == 1  # the second one, which no layer does


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (lambda: Doubled(2, 2), nn.ReLU, lambda x, w: np.maximum(2 * (x @ w), 0)),
        (lambda: nn.Linear(2, 2), Leaky, lambda x, w: np.where(x @ w > 0, x @ w, 0.5 * (x @ w))),
    ],
    ids=["a layer that knows no relu", "a ReLU of another kind"],
)
def test_subclasses_with_a_forward_of_their_own_are_called_one_by_one(first, second, expected):
    model, x = nn.Sequential(first(), second()).to(dtype=np.float64), numbers(5, 2)
    model[0].bias.inplace()[...] = 0
    np.testing.assert_allclose(model(x).numpy(), expected(x, model[0].weight.numpy().T), rtol=1e-12)


@containers
def test_errors_of_whoever_makes_the_modules_come_through(make):
    with pytest.raises(TypeError, match="in_features must be an int"):
        make(nn.Linear(size, 2) for size in (2, 2.5))
