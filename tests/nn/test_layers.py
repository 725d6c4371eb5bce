"""Layers: initial values by their distribution, gradients of parameters and input, arguments that do not fit."""

import numpy as np
import pytest
import scipy.stats
from strategies import apart, numbers

import minivae as mv
import minivae.functional as F
from minivae import nn

IMAGES = (2, 4, 6, 6)
LAYERS = {
    "Linear": (lambda: nn.Linear(6, 3), (2, 4, 6)),
    "Linear without bias": (lambda: nn.Linear(6, 3, bias=False), (2, 6)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=(1, 2), groups=2), IMAGES),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGES),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), IMAGES[:3]),
    "CausalConv1d": (lambda: nn.CausalConv1d(4, 6, 3, dilation=2, groups=2), IMAGES[:3]),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGES[:3]),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGES),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGES),
    "Sequential": (lambda: nn.Sequential(nn.Conv2d(4, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2)), IMAGES),
    "Unflatten": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Unflatten((2, 2, 2)), nn.Upsample(2)), (2, 6)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), IMAGES),
    "ReLU": (nn.ReLU, IMAGES),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), IMAGES),
    "GELU": (nn.GELU, IMAGES),
    "SiLU": (nn.SiLU, IMAGES),
    "Sigmoid": (nn.Sigmoid, IMAGES),
    "Softplus": (nn.Softplus, IMAGES),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_input_and_parameters(name):
    make, shape = LAYERS[name]
    layer = make().to(dtype=np.float64)
    x = mv.Tensor(apart(*shape, gap=0.01))
    assert mv.gradcheck(lambda *_: layer(x), [x, *layer.parameters()], rtol=1e-4, atol=1e-6)


def test_embedding():
    layer = nn.Embedding(5, 3).to(dtype=np.float64)
    index = np.array([[0, 4], [4, 4]])
    assert mv.gradcheck(lambda *_: layer(index), layer.parameters())
    np.testing.assert_array_equal(layer(index).numpy(), layer.weight.numpy()[index])


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(300, 200), 300),
        (lambda: nn.Conv2d(24, 60, (3, 5), groups=2), 12 * 15),
        (lambda: nn.ConvTranspose2d(60, 24, (3, 5), groups=2), 12 * 15),
    ],
)
def test_initial_weights_are_uniform_within_pytorchs_bound(layer, fan_in):
    mv.manual_seed(0)
    made = layer()
    bound = 1 / np.sqrt(fan_in)
    for values in (made.weight.numpy(), made.bias.numpy()):
        assert np.abs(values).max() <= bound
        assert scipy.stats.kstest(values.ravel() / bound, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_initial_embedding_is_standard_normal():
    mv.manual_seed(0)
    assert scipy.stats.kstest(nn.Embedding(100, 50).weight.numpy().ravel(), "norm").pvalue > 1e-3


def test_the_seed_determines_the_weights():
    def weights(seed):
        mv.manual_seed(seed)
        return nn.Linear(5, 4).weight.numpy()

    np.testing.assert_array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))


def test_weight_layouts():
    assert nn.Conv2d(4, 6, 3, groups=2).weight.shape == (6, 2, 3, 3)
    assert nn.ConvTranspose2d(4, 6, 3, groups=2).weight.shape == (4, 3, 3, 3)
    assert nn.Linear(4, 6).weight.shape == (6, 4)


def test_batch_norm_in_evaluation_does_not_look_at_the_batch():
    layer = nn.BatchNorm2d(4)
    for seed in range(3):
        layer(numbers(*IMAGES, seed=seed, dtype=np.float32))
    layer.eval()
    x = numbers(*IMAGES, seed=9, dtype=np.float32)
    np.testing.assert_allclose(layer(x).numpy()[:1], layer(x[:1]).numpy(), rtol=1e-6)
    assert layer.num_batches_tracked.item() == 3


def test_a_layer_may_be_used_twice_in_one_graph():
    """State kept on the layer between forward and backward would break this."""
    layer = nn.Linear(3, 3).to(dtype=np.float64)
    x = numbers(2, 3)
    assert mv.gradcheck(lambda *_: layer(F.tanh(layer(x))), layer.parameters())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(0, 3), ValueError, "in_features must be at least 1, got 0"),
        (lambda: nn.Linear(2.5, 3), TypeError, "in_features must be an int"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2"),
        (lambda: nn.Conv2d(2, 4, 3, stride=0), ValueError, "stride"),
        (lambda: nn.Conv2d(2, 4, (3, 3, 3)), TypeError, "kernel_size"),
        (lambda: nn.ConvTranspose2d(2, 4, 3, padding=-1), ValueError, "padding"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "3 groups"),
        (lambda: nn.Dropout(1.0), ValueError, r"\[0, 1\)"),
        (lambda: nn.Sequential(nn.ReLU(), F.relu), TypeError, "layer 1"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3), np.float32)), ValueError, r"\(2, 3\)"),
        (lambda: nn.Unflatten((2, 2))(mv.Tensor(np.ones((1, 5)))), ValueError, r"\(N, 4\)"),
    ],
)
def test_arguments_that_do_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()
