"""The layers of signals: what a causal one depends on, and weights that move from and to PyTorch by name."""

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
from minivae import nn


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 2), (2, 4)])
def test_a_causal_layer_sees_the_past_and_the_present_alone(kernel, dilation):
    """From the gradient: output t depends on exactly t, t - dilation, ..., as far as they are there.

    Bugs: padding on both sides sees the future; one tap too much padding hides the present (WaveNet's first layer)."""
    layer = nn.CausalConv1d(2, 3, kernel, dilation).to(dtype=np.float64)
    for t in range(9):
        x = mv.Tensor(numbers(1, 2, 9), requires_grad=True)
        y = layer(x)
        assert y.shape == (1, 3, 9)
        dy = np.zeros(y.shape)
        dy[:, :, t] = numbers(3, seed=1)
        y.backward(y.backend.asarray(dy))
        seen = np.flatnonzero(np.abs(host(x.grad)).sum(axis=(0, 1)))
        np.testing.assert_array_equal(seen, [s for s in range(9) if s <= t and s in t - dilation * np.arange(kernel)])


def test_a_causal_layer_is_a_convolution_whose_end_is_cut():
    mv.manual_seed(0)
    causal, plain = nn.CausalConv1d(2, 3, 3, dilation=2), nn.Conv1d(2, 3, 3, padding=4, dilation=2)
    plain.load_state_dict(causal.state_dict())
    x = numbers(2, 2, 9, dtype=np.float32)
    np.testing.assert_allclose(causal(x).numpy(), plain(x).numpy()[:, :, :9], rtol=1e-5, atol=1e-6)


@pytest.mark.cpu_only("compares with PyTorch on the CPU")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Conv1d", {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
        ("ConvTranspose1d", {"stride": 3, "padding": 2, "output_padding": 1, "groups": 2, "dilation": 2}),
    ],
)
def test_pytorchs_weights_give_pytorchs_outputs(name, arguments):
    torch = pytest.importorskip("torch")
    theirs, ours = getattr(torch.nn, name)(4, 6, 3, **arguments), getattr(nn, name)(4, 6, 3, **arguments)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x = numbers(2, 4, 11, dtype=np.float32)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_signal_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(N, C, L\), got shape \(2, 9\)"):
        nn.CausalConv1d(2, 3, 3)(numbers(2, 9))


def test_its_settings_are_shown():
    assert "kernel_size=(3,)" in repr(nn.Conv1d(4, 2, 3))
