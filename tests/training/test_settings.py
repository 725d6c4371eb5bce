"""fit(optimizer=..., schedule=...): against a loop by hand, through resumes, and what is refused."""

from __future__ import annotations

from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.data.batches import Batches
from minivae.models import PixelCNN
from minivae.optim import SGD, Adam, AdamW, ConstantSchedule, CosineSchedule, Optimizer, Schedule, StepSchedule
from minivae.random import current_generator
from minivae.training import load_checkpoint, save_checkpoint

IMAGES = numbers(20, 1, 4, 4, low=0, high=1, dtype=np.float32)
FIT: dict[str, Any] = {"epochs": 4, "batch_size": 8}
EPOCH, STEPS = 3, 12  # steps in an epoch, and in all
MOMENTUM = partial(SGD, momentum=0.9, nesterov=True)

OPTIMIZERS: dict[str, tuple[Any, Any]] = {  # what fit() is given, and what it comes to with the model's lr of 0.01
    "None": (None, lambda params: Adam(params, 0.01)),
    "SGD": (SGD, lambda params: SGD(params, 0.01)),
    "partial": (MOMENTUM, lambda params: SGD(params, 0.01, 0.9, 0.0, True)),
    "partial with lr": (partial(SGD, lr=0.3), lambda params: SGD(params, 0.3)),
    "AdamW": (partial(AdamW, weight_decay=0.5), lambda params: AdamW(params, 0.01, weight_decay=0.5)),
    "lambda": (lambda params: SGD(params, lr=0.2), lambda params: SGD(params, 0.2)),
    "lambda with lr": (lambda params, lr: SGD(params, lr * 2), lambda params: SGD(params, 0.02)),
    "some parameters": (lambda params, lr: Adam(params[1:], lr), lambda params: Adam(params[1:], 0.01)),
}


def half_cosine(t: float) -> float:
    return (1 + cos(pi * t)) / 2


SCHEDULES: dict[str, tuple[Any, Any]] = {  # what fit() is given, and the factor at each step
    "cosine": (CosineSchedule, lambda step: half_cosine(step / STEPS)),
    "None": (None, lambda step: 1.0),
    "warm-up": (
        partial(CosineSchedule, warmup_steps=5),
        lambda step: half_cosine(step / STEPS) * min(1.0, (step + 1) / 6),
    ),
    "final": (partial(CosineSchedule, final=0.5), lambda step: 0.5 + 0.5 * half_cosine(step / STEPS)),
    "shorter": (partial(CosineSchedule, total_steps=6), lambda step: half_cosine(min(step / 6, 1.0))),
    "step": (partial(StepSchedule, step_size=5), lambda step: 0.1 ** (step // 5)),
    "lambda": (
        lambda optimizer, total_steps: StepSchedule(optimizer, total_steps // 4, 0.5),
        lambda s: 0.5 ** (s // 3),
    ),
    "constant after a warm-up": (partial(ConstantSchedule, warmup_steps=7), lambda step: min(1.0, (step + 1) / 8)),
    "a factor": (lambda optimizer: Schedule(optimizer, lambda step: 1 / (step + 1)), lambda step: 1 / (step + 1)),
}


def new(**options: Any) -> mv.models.VAE:
    mv.manual_seed(0)
    return mv.models.VAE((1, 4, 4), 2, "dense", hidden=(6,), lr=0.01, **options)


def assert_equal(found: Any, expected: Any) -> None:
    for name, array in expected.state_dict().items():
        np.testing.assert_array_equal(found.state_dict()[name], array, err_msg=name)
    assert [{**r, "seconds": 0, "images_per_second": 0} for r in found.history] == [
        {**r, "seconds": 0, "images_per_second": 0} for r in expected.history
    ]


class TestByHand:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_a_fit_is_this_loop(self, name: str) -> None:
        """Also in what it records, and in the gradients of parameters that the optimiser leaves alone."""
        given, make = OPTIMIZERS[name]
        gradients: list[Any] = []
        model = new()

        def keep(record: dict[str, Any]) -> None:
            gradients.append([p.grad for p in model.parameters()])

        model.fit(IMAGES, **FIT, optimizer=given, on_epoch=keep)
        expected, sums = new().train(), [0.0] * FIT["epochs"]
        optimizer = make(expected.parameters())
        batches, base = Batches(IMAGES, 8, current_generator().seed), optimizer.lr
        for step in range(STEPS):
            if step % EPOCH == 0:
                epoch = iter(batches)
            optimizer.lr = base * half_cosine(step / STEPS)
            expected.zero_grad()
            batch = next(epoch)
            loss = expected.loss(batch).loss
            loss.backward()
            optimizer.step()
            sums[step // EPOCH] += float(loss) * len(batch)
        for key, array in expected.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[key], array, err_msg=key)
        assert [record["loss"] for record in model.history] == [total / len(IMAGES) for total in sums]
        for found, p in zip(gradients[-1], expected.parameters(), strict=True):
            np.testing.assert_array_equal(found, p.grad)
        assert all(p.grad is None for p in model.parameters())

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_the_learning_rate_of_each_step(self, name: str) -> None:
        rates = []

        class Watched(SGD):
            def step(self) -> None:
                rates.append(self.lr)
                super().step()

        schedule, factor = SCHEDULES[name]
        model = new().fit(IMAGES, **FIT, optimizer=Watched, schedule=schedule)
        np.testing.assert_allclose(rates, [0.01 * factor(step) for step in range(STEPS)], rtol=1e-12)
        assert [record["lr"] for record in model.history] == rates[::EPOCH]


class TestResume:
    def killed(self, path: Path, after: int, **options: Any) -> None:
        def interrupt(record: dict[str, Any]) -> None:
            if record["epoch"] == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            new().fit(IMAGES, **FIT, **options, checkpoint=path, on_epoch=interrupt)

    @pytest.mark.parametrize("after", [1, 3])
    @pytest.mark.parametrize(
        "options",
        [{"optimizer": given} for given, _ in OPTIMIZERS.values()]
        + [{"optimizer": MOMENTUM, "schedule": given} for given, _ in SCHEDULES.values()],
        ids=[f"optimizer {name}" for name in OPTIMIZERS] + [f"schedule {name}" for name in SCHEDULES],
    )
    def test_bit_by_bit(self, options: Any, after: int, tmp_path: Path) -> None:
        self.killed(tmp_path / "checkpoint.npz", after, **options)
        resumed = new().fit(IMAGES, **FIT, **options, checkpoint=tmp_path / "checkpoint.npz", resume=True)
        assert_equal(resumed, new().fit(IMAGES, **FIT, **options))

    @pytest.mark.parametrize(
        ("before", "now", "message"),
        [
            ({}, {"optimizer": AdamW}, "optimizer was Adam, not AdamW"),
            ({}, {"optimizer": SGD}, "optimizer was Adam, not SGD"),
            ({"optimizer": MOMENTUM}, {"optimizer": partial(MOMENTUM, momentum=0.5)}, "momentum was 0.9, not 0.5"),
            ({"optimizer": MOMENTUM}, {"optimizer": partial(MOMENTUM, nesterov=False)}, "nesterov was True, not False"),
            ({"optimizer": MOMENTUM}, {"optimizer": partial(MOMENTUM, weight_decay=0.1)}, "weight_decay was 0.0, not"),
            ({"optimizer": SGD}, {"optimizer": MOMENTUM}, "momentum was 0.0, not 0.9"),
            ({"optimizer": SGD}, {"optimizer": partial(SGD, lr=0.5)}, "lr was 0.01, not 0.5"),
            ({}, {"optimizer": partial(Adam, betas=(0.9, 0.99))}, r"betas was \[0.9, 0.999\], not \[0.9, 0.99\]"),
            ({}, {"optimizer": partial(Adam, eps=1e-6)}, "eps was 1e-08, not 1e-06"),
            ({}, {"schedule": None}, "schedule was CosineSchedule, not ConstantSchedule"),
            ({"schedule": None}, {}, "schedule was ConstantSchedule, not CosineSchedule"),
            ({}, {"schedule": partial(StepSchedule, step_size=5)}, "schedule was CosineSchedule, not StepSchedule"),
            ({}, {"schedule": partial(CosineSchedule, final=0.1)}, "final was 0.0, not 0.1"),
            ({}, {"schedule": partial(CosineSchedule, warmup_steps=2)}, "warmup_steps was 0, not 2"),
            ({}, {"schedule": partial(CosineSchedule, total_steps=9)}, "total_steps was 12, not 9"),
            (
                {"schedule": partial(CosineSchedule, warmup_steps=2)},
                {"schedule": partial(CosineSchedule, warmup_steps=2), "lr": 0.02},
                "optimizer.lr was 0.01, not 0.02",
            ),
            (
                {"schedule": partial(StepSchedule, step_size=5)},
                {"schedule": partial(StepSchedule, step_size=5, gamma=0.5)},
                "schedule.gamma was 0.1, not 0.5",
            ),
        ],
    )
    def test_another_one_is_refused_by_name(self, before: Any, now: Any, message: str, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.npz"
        self.killed(path, 1, **before)
        content, model = path.read_bytes(), new()
        weights = model.state_dict()
        with pytest.raises(ValueError, match=f"belongs to another training: .*{message}"):
            model.fit(IMAGES, **FIT, **now, checkpoint=path, resume=True)
        assert path.read_bytes() == content
        for name, array in weights.items():
            np.testing.assert_array_equal(model.state_dict()[name], array)

    def test_a_longer_training_has_a_longer_schedule_of_the_same_settings(self, tmp_path: Path) -> None:
        path, longer = tmp_path / "checkpoint.npz", {**FIT, "epochs": 6, "schedule": partial(CosineSchedule, final=0.5)}
        self.killed(path, 2, schedule=longer["schedule"])
        other = partial(CosineSchedule, final=0.25)
        with pytest.raises(ValueError, match="final was 0.5, not 0.25"):
            new().fit(IMAGES, **{**longer, "schedule": other}, checkpoint=path, resume=True)
        model = new().fit(IMAGES, **longer, checkpoint=path, resume=True)
        totals = [4, 4, 6, 6, 6, 6]  # epochs that the schedule of each epoch is for
        expected = [0.01 * (0.5 + 0.5 * half_cosine(i / total)) for i, total in enumerate(totals)]
        np.testing.assert_allclose([record["lr"] for record in model.history], expected, rtol=1e-12)

    def test_a_checkpoint_of_an_older_version_is_refused_in_a_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.npz"
        self.killed(path, 1)
        arrays, meta = load_checkpoint(path)
        fit = {"lr": 0.01, **{name: meta["fit"][name] for name in ("epochs", "clip_norm", "validation")}}
        arrays = {name.replace("/m.", "/first.").replace("/v.", "/second."): a for name, a in arrays.items()}
        save_checkpoint(path, arrays, {**meta, "fit": fit})
        with pytest.raises(ValueError, match="checkpoint.npz' was written by an older minivae"):
            new().fit(IMAGES, **FIT, checkpoint=path, resume=True)

    @pytest.mark.parametrize("labels", ["training", "validation"])
    def test_labels_that_change_alone_are_noticed(self, labels: str, tmp_path: Path) -> None:
        maps, y, other = np.arange(36).reshape(9, 2, 2) % 3, np.arange(9) % 2, np.arange(9) % 2
        other[4] ^= 1

        def fit(train: Any, validation: Any, **options: Any) -> None:
            mv.manual_seed(0)
            prior = PixelCNN((2, 2), 3, channels=2, layers=1, hidden=3, classes=2)
            prior.fit(maps, train, epochs=1, validation=(maps, validation), checkpoint=tmp_path / "c.npz", **options)

        fit(y, y)
        fit(y, y, resume=True)
        train, validation = (other, y) if labels == "training" else (y, other)
        with pytest.raises(ValueError, match="data of another content" if labels == "training" else "other validation"):
            fit(train, validation, resume=True)


class TestRefused:
    @pytest.mark.parametrize(
        "optimizer", [lambda params: SGD(params, lr=0.1), partial(SGD, lr=0.1), lambda params: Adam(params)]
    )
    def test_two_learning_rates(self, optimizer: Any) -> None:
        model = new(random_state=3)
        before = model.state_dict()
        with pytest.raises(ValueError, match=r"fit\(\) got lr = 0.5 and an optimizer that sets its own"):
            model.fit(IMAGES, **FIT, lr=0.5, optimizer=optimizer)
        for name, array in before.items():
            np.testing.assert_array_equal(model.state_dict()[name], array)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"optimizer": "adam"}, TypeError, "optimizer must be a function, got 'adam'"),
            ({"optimizer": lambda params: None}, TypeError, "optimizer must be a function that makes one, got None"),
            (
                {"optimizer": lambda: None},
                TypeError,
                "optimizer must be a function of one argument and, by this name, lr, got .*: too many",
            ),
            ({"optimizer": lambda params, rate: None}, TypeError, "missing a required argument: 'rate'"),
            ({"optimizer": lambda params: SGD([mv.nn.Parameter(np.zeros(2))], 0.1)}, ValueError, "of other parameters"),
            ({"optimizer": 0}, TypeError, "optimizer must be a function, got 0"),
            ({"schedule": ""}, TypeError, "schedule must be a function, got ''"),
            ({"schedule": "cosine"}, TypeError, "schedule must be a function, got 'cosine'"),
            ({"schedule": lambda optimizer: 0.1}, TypeError, "schedule must be a function that makes one, got 0.1"),
            ({"schedule": StepSchedule}, TypeError, "missing a required argument: 'step_size'"),
            (
                {"schedule": lambda: None},
                TypeError,
                "a function of one argument and, by this name, total_steps, got .*: too many",
            ),
            (
                {"schedule": lambda optimizer: CosineSchedule(SGD([mv.nn.Parameter(np.zeros(2))], 0.1), 3)},
                ValueError,
                "got one of another optimizer",
            ),
        ],
    )
    def test_what_makes_none(self, options: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            new().fit(IMAGES, **FIT, **options)

    def test_an_optimizer_itself(self) -> None:
        model = new()
        with pytest.raises(TypeError, match="optimizer must be a function, got"):
            model.fit(IMAGES, **FIT, optimizer=SGD(model.parameters(), 0.1))

    def test_a_function_that_tells_no_parameters(self) -> None:
        with pytest.raises(ValueError, match="no signature found for builtin"):
            new().fit(IMAGES, **FIT, optimizer=min)


def test_an_optimizer_of_ones_own_is_compared_by_its_arguments(tmp_path: Path) -> None:
    class Sign(Optimizer):
        """p -= lr scale sign(g)."""

        def __init__(self, params: Any, lr: float, scale: float) -> None:
            super().__init__(params, lr)
            self.scale = scale

        def _update(self, kernels: Any, params: Any, grads: Any, state: Any, step: Any, lr: Any) -> None:
            for p, g in zip(params, grads, strict=True):
                p -= p.dtype.type(lr * self.scale) * np.sign(g)

    path, fit = tmp_path / "checkpoint.npz", {**FIT, "epochs": 1}
    new().fit(IMAGES, **fit, optimizer=partial(Sign, scale=0.5), checkpoint=path)
    new().fit(IMAGES, **fit, optimizer=partial(Sign, scale=0.5), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="optimizer.scale was 0.5, not 0.25"):
        new().fit(IMAGES, **fit, optimizer=partial(Sign, scale=0.25), checkpoint=path, resume=True)
