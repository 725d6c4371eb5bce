"""A batch that is cut into shards makes the step of the whole batch, to rounding in float64, with every model.

Each test computes the same thing in one piece and in 2, 3 and 4 unequal shards. A layer or a loss that looks at its own
shard only, or noise that belongs to a shard and not to an example, shows at once: it is off by far more than rounding.
That the number of ranks changes no bit is in test_shards_under_mpi.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from shard_models import CASES, Case

import minivae as mv
from minivae import models
from minivae.nn.module import Buffer, Parameter
from minivae.nn.quantizers.vector import VectorQuantizer
from minivae.random import current_generator
from minivae.shards import current_shard
from minivae.training.callbacks import EarlyStopping
from minivae.training.loop import evaluate
from minivae.training.sharded import backward_in_shards
from minivae.training.team import Team
from minivae.training.world import World

EXAMPLES = 11  # of a batch: 5 + 6, 3 + 4 + 4, 2 + 3 + 3 + 3
Arrays = dict[str, np.ndarray]

every_model = pytest.mark.parametrize("name", CASES)
cut = pytest.mark.parametrize("shards", [2, 3, 4])


def model_of(case: Case) -> models.Estimator:
    """Return a model in float64 with all weights different from 0, so that every gradient says something."""
    mv.manual_seed(0)
    model = case.make().to(dtype=np.float64)
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.inplace()[...] += rng.normal(0, 0.1, p.shape)
    model.prepare(case.x)
    for quantizer in model.modules():
        if isinstance(quantizer, VectorQuantizer):  # let two codes die, so that they are restarted
            quantizer.codebook.inplace()[:2] = 9
            quantizer.counts.inplace()[:2] = 1e-3
    return model


def data(case: Case, examples: int = EXAMPLES) -> tuple[np.ndarray, ...]:
    return tuple(a[:examples] for a in (case.x, case.y) if a is not None)


def after_a_step(case: Case, shards: int) -> dict[str, Arrays]:
    """Return what a step in so many shards computes and changes: the fields of the loss, gradients, buffers, ..."""
    model, team = model_of(case), Team(World(), shards)
    model.train()
    model.begin_epoch(1)
    model.begin_pass()
    model.before_step(1, 10)
    if team.cut(EXAMPLES):
        result = backward_in_shards(team, EXAMPLES, model, *data(case), watched=True)
    else:
        result = model.loss(*data(case))
        result.loss.backward()
    return {
        "loss": {name: field.numpy() for name, field in result._asdict().items()},
        "gradient": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "buffer": {name: b.numpy() for name, b in model.named_tensors(Buffer)},
        "record": {name: np.array(value) for name, value in model.end_pass().items()},
        "draws": {"": np.array(current_generator().draw)},
    }


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        most = np.abs(array).max(initial=0)
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-10 * most + 1e-13, err_msg=name)


@every_model
@cut
def test_a_batch_in_shards_has_the_loss_the_gradients_and_the_statistics_of_the_whole(name: str, shards: int) -> None:
    found, expected = after_a_step(CASES[name], shards), after_a_step(CASES[name], 1)
    for part, arrays in expected.items():
        assert_close(found[part], arrays)
    some = [bool(np.abs(gradient).max() > 1e-12) for gradient in expected["gradient"].values()]
    assert np.mean(some) > 0.7  # the others are of ReLUs that are off, or of a bias before a batch normalisation


def trained(case: Case, shards: int) -> tuple[Arrays, list[dict[str, Any]]]:
    """Train for 2 epochs, each of whose last batch of 2 examples is too small for 4 shards.

    Adam would make a step of the rounding errors in the gradient of a bias before a batch normalisation, which is 0.
    """
    model = model_of(case)
    held_out = data(case)
    validation = held_out if case.y is not None else held_out[0]
    options = {
        "epochs": 2,
        "batch_size": 10,
        "clip_norm": 1.0,
        "optimizer": partial(mv.optim.SGD, lr=0.1, momentum=0.9),
    }
    model.fit(case.x, case.y, **options, validation=validation, on_epoch=EarlyStopping(patience=9), shards=shards)
    history = [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in model.history]
    return {k: t.numpy() for k, t in model.named_tensors((Parameter, Buffer))}, history


@every_model
@pytest.mark.parametrize("shards", [2, 4])
def test_a_training_in_shards_is_that_of_whole_batches(name: str, shards: int) -> None:
    found, expected = trained(CASES[name], shards), trained(CASES[name], 1)
    assert_close(found[0], expected[0])
    for mine, theirs in zip(found[1], expected[1], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@every_model
@cut
def test_an_evaluation_in_shards_is_that_of_whole_batches(name: str, shards: int) -> None:
    case = CASES[name]
    model = model_of(case)
    found = evaluate(model, *data(case), batch_size=6, team=Team(World(), shards))
    assert found == pytest.approx(evaluate(model, *data(case), batch_size=6), rel=1e-9)


def test_every_model_is_on_the_list() -> None:
    """A new model needs a line in tests/shard_models.py."""
    public = {name for name in models.__all__ if hasattr(getattr(models, name), "fit")} - {"Codec", "Estimator"}
    assert public | models.MODELS.keys() <= {name.split("-")[0] for name in CASES}
    for name, case in CASES.items():
        own = getattr(models, name.split("-")[0], None)
        assert own is None or not issubclass(own, models.Estimator) or type(case.make()) is own


def test_every_choice_of_a_model_is_on_the_list() -> None:
    """Each word that a constructor takes, such as a likelihood or a corruption, is that of a case."""
    chosen = {(key, value) for case in CASES.values() for key, value in case.make().get_params().items()
              if isinstance(value, str)}  # fmt: skip
    for name, words in {
        "likelihood": ("bernoulli", "gaussian", "logistic", "continuous-bernoulli", "mu-law"),
        "corruption": ("gaussian", "masking", "salt-and-pepper"),
        "quantizer": ("vq", "fsq", "rvq"),
        "update": ("ema", "gradient"),
        "sampling": ("stratified", "weighted"),
        "sparsity": ("l1", "kl"),
        "adversary": ("hinge", "non-saturating"),
    }.items():
        assert {(name, word) for word in words} <= chosen


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "restart" in case.make().get_params()])
def test_the_cases_restart_codes(name: str) -> None:
    """Otherwise nobody would see where restarted codes come from."""
    if name == "VQVAE-fsq":
        return

    def restarted(restart: float) -> Arrays:
        case = CASES[name]
        make = lambda: case.make().set_params(restart=restart)  # noqa: E731
        return after_a_step(case._replace(make=make), 1)["buffer"]

    with_restarts, without = restarted(0.6), restarted(0.0)
    assert any(not np.array_equal(with_restarts[k], without[k]) for k in without if k.endswith("counts"))


def test_a_shard_whose_loss_depends_on_other_parameters_is_refused() -> None:
    case = CASES["Autoencoder"]
    model = case.make()
    first, last = model.parameters()[0], model.parameters()[-1]

    class Loss(NamedTuple):
        loss: mv.Tensor

    def loss(x: np.ndarray) -> Loss:
        used = first if current_shard().leads else last
        return Loss((used * float(len(x))).sum())

    model.loss = loss
    with pytest.raises(RuntimeError, match="depend on the same parameters"):
        backward_in_shards(Team(World(), 2), 4, model, case.x[:4], watched=True)


def test_a_shard_that_draws_more_than_another_is_refused() -> None:
    team = Team(World(), 2)

    def draw(rows: np.ndarray) -> None:
        for _ in range(len(rows)):
            current_generator().next()

    with pytest.raises(RuntimeError, match=r"draw equally often, got \[\d+, \d+\] draws"):
        team.each(draw, 3, np.zeros(3))
