"""Optimisers against float64 references written from the papers, step by step."""

import numpy as np
import pytest
from strategies import host, numbers, on_device

import minivae as mv
from minivae import optim

STEPS = 12


def sgd(p, gradients, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
    v = np.zeros_like(p)
    for g in gradients:
        g = g + weight_decay * p
        v = momentum * v + g
        p = p - lr * ((g + momentum * v) if nesterov else v)
        yield p


def adam(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    """Kingma & Ba, algorithm 1, in its own words; with Loshchilov & Hutter's decay."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
        yield p


CASES = {
    "SGD": (optim.SGD, sgd, {"lr": 0.1}),
    "SGD momentum": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "SGD Nesterov": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "Adam": (optim.Adam, adam, {"lr": 0.02}),
    "Adam decay": (optim.Adam, adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "AdamW": (optim.AdamW, lambda *a, **k: adam(*a, **k, decoupled=True), {"lr": 0.02, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_follows_the_paper_step_by_step(name, dtype):
    make, reference, settings = CASES[name]
    shapes = [(3, 4), (), (5,)]
    params = [mv.Tensor(numbers(*s, seed=i, dtype=dtype), requires_grad=True) for i, s in enumerate(shapes)]
    gradients = [[numbers(*s, seed=10 * t + i, dtype=dtype) for t in range(STEPS)] for i, s in enumerate(shapes)]
    expected = [
        reference(p.numpy().astype(np.float64), [g.astype(np.float64) for g in gs], **settings)
        for p, gs in zip(params, gradients, strict=True)
    ]
    optimizer = make(params, **settings)
    for t in range(STEPS):
        for p, gs in zip(params, gradients, strict=True):
            p.grad = on_device(gs[t])
        optimizer.step()
        for p, steps in zip(params, expected, strict=True):
            np.testing.assert_allclose(p.numpy(), next(steps), rtol=1e-12 if dtype == np.float64 else 2e-5, atol=1e-6)
            assert p.dtype == dtype


def test_the_state_is_m_and_v_of_the_paper():
    """They are compared through their closed form, the weighted sums of all gradients."""
    gradients = [numbers(3, seed=t) for t in range(5)]
    p = mv.Tensor(np.zeros(3), requires_grad=True)
    optimizer = optim.Adam([p], betas=(0.5, 0.75))
    for g in gradients:
        p.grad = on_device(g)
        optimizer.step()
    state = optimizer.state_dict()
    m = sum(0.5 * 0.5 ** (4 - t) * g for t, g in enumerate(gradients))
    v = sum(0.25 * 0.75 ** (4 - t) * g**2 for t, g in enumerate(gradients))
    assert sorted(state) == ["lr", "m.0", "steps", "v.0"]
    np.testing.assert_allclose(state["m.0"], m, rtol=1e-12)
    np.testing.assert_allclose(state["v.0"], v, rtol=1e-12)


@pytest.mark.parametrize("g", [100.0, 0.01, -3.0])
def test_adams_first_step_has_the_length_lr_whatever_the_gradient(g):
    p = mv.Tensor(np.zeros(1), requires_grad=True)
    p.grad = on_device(np.array([g]))
    optim.Adam([p], lr=0.1).step()
    np.testing.assert_allclose(p.numpy(), [-0.1 * g / (abs(g) + 1e-8)], rtol=1e-12)


def test_parameters_without_gradient_wait_and_keep_their_own_step_count():
    a, b = (mv.Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([a, b], lr=0.1)
    gradients = [numbers(2, seed=t) for t in range(4)]
    for t, g in enumerate(gradients):
        a.grad, b.grad = on_device(g), on_device(g) if t % 2 else None
        optimizer.step()
    np.testing.assert_allclose(a.numpy(), list(adam(np.ones(2), gradients, 0.1))[-1], rtol=1e-12)
    np.testing.assert_allclose(b.numpy(), list(adam(np.ones(2), gradients[1::2], 0.1))[-1], rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_state_round_trip_continues_bit_by_bit(name):
    make, _, settings = CASES[name]

    def run(split):
        p = mv.Tensor(numbers(7, dtype=np.float32), requires_grad=True)
        optimizer = make([p], **settings)
        for t in range(6):
            if t == split:
                state = optimizer.state_dict()
                p = mv.Tensor(p.numpy(), requires_grad=True)
                optimizer = make([p], **settings)
                optimizer.load_state_dict(state)
            p.grad = on_device(numbers(7, seed=t, dtype=np.float32))
            optimizer.step()
        return p.numpy()

    np.testing.assert_array_equal(run(split=None), run(split=3))


class TestClipping:
    def test_the_joint_norm_is_bounded_and_the_direction_kept(self):
        params = [mv.Tensor(np.zeros(s), requires_grad=True) for s in (3, 4)]
        gradients = [numbers(3), numbers(4, seed=1)]
        for p, g in zip(params, gradients, strict=True):
            p.grad = on_device(g)
        norm = optim.clip_grad_norm(params, 0.5)
        joint = np.concatenate(gradients)
        assert norm == pytest.approx(np.linalg.norm(joint))
        np.testing.assert_allclose(np.concatenate([host(p.grad) for p in params]), joint * 0.5 / norm, rtol=1e-12)

    @pytest.mark.parametrize("bound", [0.5, 100.0])
    def test_without_a_look_at_the_norm_the_gradients_are_the_same(self, bound):
        def bounded(look):
            params = [mv.Tensor(np.zeros(s), requires_grad=True) for s in (3, 4, 2)]
            for seed, p in enumerate(params[:2]):
                p.grad = on_device(numbers(*p.shape, seed=seed))
            norm = optim.clip_grad_norm(params, bound, error_if_nonfinite=look)
            assert params[2].grad is None
            return np.concatenate([host(p.grad) for p in params[:2]]), float(norm)

        (lazy, norm), (eager, looked_at) = bounded(False), bounded(True)
        np.testing.assert_array_equal(lazy, eager)
        assert norm == looked_at

    def test_without_a_look_bad_gradients_stay_bad(self):
        p = mv.Tensor(np.zeros(2), requires_grad=True)
        assert optim.clip_grad_norm([p], 1.0, error_if_nonfinite=False) == 0
        assert p.grad is None
        for bad in (np.nan, np.inf):
            p.grad = on_device(np.array([bad, 1.0]))
            with np.errstate(invalid="ignore"):
                norm = optim.clip_grad_norm([p], 1.0, error_if_nonfinite=False)
            assert np.isnan(host(p.grad)[0])
            assert not np.isfinite(float(norm))

    def test_small_gradients_are_left_alone(self):
        p = mv.Tensor(np.zeros(3), requires_grad=True)
        p.grad = on_device(numbers(3))
        before = p.grad
        optim.clip_grad_norm([p], 100.0)
        assert p.grad is before

    def test_bad_bound_and_bad_gradient(self):
        p = mv.Tensor(np.zeros(1), requires_grad=True)
        with pytest.raises(ValueError, match="max_norm must be a number .* got 0.0"):
            optim.clip_grad_norm([p], 0.0)
        p.grad = on_device(np.array([np.nan]))
        with pytest.raises(FloatingPointError, match="nan"):
            optim.clip_grad_norm([p], 1.0)


class TestSchedules:
    def optimizer(self):
        return optim.SGD([mv.Tensor(np.zeros(1), requires_grad=True)], lr=0.4)

    def rates(self, schedule, steps):
        rates = []
        for _ in range(steps):
            rates.append(schedule.optimizer.lr)
            schedule.step()
        return np.array(rates)

    def test_cosine(self):
        rates = self.rates(optim.CosineSchedule(self.optimizer(), 100, final=0.1), 140)
        t = np.minimum(np.arange(140) / 100, 1)
        np.testing.assert_allclose(rates, 0.4 * (0.1 + 0.9 * (1 + np.cos(np.pi * t)) / 2), rtol=1e-12)

    def test_constant(self):
        np.testing.assert_allclose(self.rates(optim.ConstantSchedule(self.optimizer()), 5), 0.4, rtol=1e-12)
        rates = self.rates(optim.ConstantSchedule(self.optimizer(), warmup_steps=3), 6)
        np.testing.assert_allclose(rates, 0.4 * np.array([0.25, 0.5, 0.75, 1, 1, 1]), rtol=1e-12)

    def test_a_warm_up_to_the_cosine(self):
        rates = self.rates(optim.CosineSchedule(self.optimizer(), 10, warmup_steps=3), 10)
        expected = [0.4 * min((t + 1) / 4, 1) * (1 + np.cos(np.pi * t / 10)) / 2 for t in range(10)]
        np.testing.assert_allclose(rates, expected, rtol=1e-12)

    @pytest.mark.parametrize("steps", [2**53 + 1, 2**64, 10**400])
    def test_more_steps_than_a_float_can_count(self, steps):
        assert optim.CosineSchedule(self.optimizer(), 2**53).total_steps == 2**53
        with pytest.raises(ValueError, match="total_steps must be at most 9007199254740992"):
            optim.CosineSchedule(self.optimizer(), steps)
        schedule = optim.StepSchedule(self.optimizer(), 1)
        with pytest.raises(ValueError, match="steps must be at most 9007199254740992"):
            schedule.load_state_dict({"base_lr": 0.4, "steps": steps})

    def test_step(self):
        rates = self.rates(optim.StepSchedule(self.optimizer(), 3, 0.5), 9)
        np.testing.assert_allclose(rates, 0.4 * np.repeat([1, 0.5, 0.25], 3))

    def test_warm_up_rises_linearly_to_the_schedule(self):
        rates = self.rates(optim.StepSchedule(self.optimizer(), 100, warmup_steps=4), 8)
        np.testing.assert_allclose(rates, 0.4 * np.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]))

    def test_state_round_trip(self):
        whole = self.rates(optim.CosineSchedule(self.optimizer(), 10, 3), 10)
        first = optim.CosineSchedule(self.optimizer(), 10, 3)
        self.rates(first, 4)
        second = optim.CosineSchedule(self.optimizer(), 10, 3)
        second.load_state_dict(first.state_dict())
        np.testing.assert_array_equal(self.rates(second, 6), whole[4:])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([], 0.1), ValueError, "at least one"),
        (lambda p: optim.SGD([p, p], 0.1), ValueError, "twice"),
        (lambda p: optim.SGD([np.zeros(2)], 0.1), TypeError, "ndarray"),
        (lambda p: optim.SGD([p * 2.0], 0.1), TypeError, "leaf"),
        (lambda p: optim.SGD([p], -0.1), ValueError, "lr"),
        (lambda p: optim.SGD([p], 0.1, momentum=1.0), ValueError, "momentum"),
        (lambda p: optim.SGD([p], 0.1, nesterov=True), ValueError, "nesterov"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda p: optim.AdamW([p], weight_decay=-1), ValueError, "weight_decay"),
        (lambda p: optim.CosineSchedule(optim.SGD([p], 0.1), 0), ValueError, "total_steps"),
        (lambda p: optim.StepSchedule(optim.SGD([p], 0.1), 0), ValueError, "step_size"),
        (lambda p: optim.StepSchedule(optim.SGD([p], 0.1), 5, warmup_steps=-1), ValueError, "warmup_steps"),
        (lambda p: optim.Adam([p]).load_state_dict(optim.SGD([p], 0.1).state_dict()), ValueError, "missing"),
    ],
)
def test_settings_out_of_range(make, error, message):
    with pytest.raises(error, match=message):
        make(mv.Tensor(np.zeros(2), requires_grad=True))
