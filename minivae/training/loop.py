"""The training loop, whole in Trainer.run(): batches in, steps of the optimiser out, one record of averages per epoch.

A model takes part by `loss(x)`, which returns a named tuple of scalar Tensors whose first field is `loss`. Everything
that determines how training goes on is in `Trainer.state()`: weights, moments, schedule, callbacks, the order of the
batches and the counter of the noise. A run that was saved and restored continues bit by bit as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from minivae.autograd import Tensor, no_grad
from minivae.data.batches import Batches
from minivae.data.lazy import lazily
from minivae.kernels import checks
from minivae.kernels.session import Session
from minivae.nn.module import Buffer, Module, Parameter, not_finite
from minivae.optim import ConstantSchedule, Optimizer, Schedule, clip_grad_norm
from minivae.random import Generator, current_generator, fork, use_generator

from .agreement import agree, check_weights_agree
from .averages import Averages
from .callbacks import Callback
from .checkpoint import writing
from .plain import plain
from .progress import Progress, Silent
from .sharded import backward_in_shards, checked_loss, evaluate_in_shards
from .step_state import StepState
from .team import ALONE, Team, team

EVALUATION_SEED = 0xE7A1  # evaluations always see the same noise


class Trainable(Module):
    """The loop asks a model for its loss. The other methods are for models that need more, and do nothing here.

    evaluation_batch: how many examples at a time a model of larger ones than images evaluates.
    """

    evaluation_batch = 256

    def loss(self, *batch: Any) -> Any:
        """Return a named tuple of scalar Tensors, the first of them `loss`, which are means over a batch.

        batch: (x,) or (x, labels).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define loss()")

    def check_images(self, x: Any) -> Any:
        """evaluate() calls this with data in files, an np.memmap or LazyArray, and takes its batches from what this
        returns."""
        return x

    def prepare(self, x: np.ndarray) -> None:
        """The loop calls this once with all training images, before the first step, unless a training is resumed.

        x is a LazyArray where they are in files.
        """

    def before_step(self, step: int, steps: int) -> None:
        """The loop calls this before step 0, 1, ..., steps - 1.

        What a loss needs that changes from step to step must be put into a buffer here, as the steps themselves may be
        replays of the first one (a CUDA graph).
        """

    def begin_pass(self) -> None:
        """The loop calls this before each pass over data, in training and in evaluation."""

    def end_pass(self) -> dict[str, float]:
        """The loop calls this after the pass. It returns what the record needs besides the means of the loss."""
        return {}

    def begin_epoch(self, epoch: int) -> None:
        """The loop calls this at the beginning of epoch 1, 2, ..., when the model is in training mode."""

    def end_epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """The loop calls this with the records of all epochs so far, for models that have to warn of what they see."""

    def players(self, params: list[Tensor]) -> list[list[Tensor]]:
        """Return the trained parameters by player. clip_norm bounds the gradients of each player by themselves.

        Models with an adversary have two. An optimiser moves every parameter by its own gradient and moments, so one
        optimiser of all parameters is two optimisers, each of one player (models/adversarial.py).
        """
        return [params]


class Trainer:
    """A Trainer trains a model: run() is the loop, and state() and load_state() let a training go on later.

    schedule: sets the learning rate after each step of the optimiser; None leaves it as it is. clip_norm: bound on the
    joint norm of all gradients; a model with an adversary has two players, and each has a norm of its own. generator:
    the source of all noise in training, the current one unless given. validation: x or (x, y), whose loss is in each
    record too. callbacks: called after each epoch; state() has their state. shards: see team.py; under mpiexec each
    rank makes a Trainer, and all call run() together.

    `history` has one record per epoch: epoch, the means of the loss's fields, lr, seconds, images_per_second, and the
    means over the validation data under 'validation_' + name. `stopped`: whether a callback has ended the training.
    """

    def __init__(
        self,
        model: Trainable,
        optimizer: Optimizer,
        batches: Batches,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        generator: Generator | None = None,
        validation: np.ndarray | tuple[np.ndarray, np.ndarray] | None = None,
        callbacks: Sequence[Callback] = (),
        shards: int | None = None,
    ) -> None:
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self._params, self._players = model.parameters(), model.players(optimizer.params)
        self.schedule, self.clip_norm = schedule or ConstantSchedule(optimizer), clip_norm
        self.generator = generator or current_generator()
        self.validation, self.callbacks = validation, list(callbacks)
        self.team, self._examples = team(shards), 0  # how many examples the whole batch of the present step has
        self.team.check_batch(batches.batch_size)
        self.history: list[dict[str, Any]] = []
        self.steps, self.stopped = 0, False
        for callback in self.callbacks:
            callback.begin(model, validation is not None)

    def run(
        self, epochs: int, progress: Progress | None = None, on_epoch: Sequence[Callable[[dict[str, Any]], Any]] = ()
    ) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are done in all or somebody stops it, and return the history.

        After each epoch the callbacks and then the functions on_epoch are called; any of them may return True to stop.
        Of several ranks rank 0 alone shows the progress and calls the functions.
        In the end the model is in evaluation mode, and no gradients are left.
        Raises FloatingPointError, before anything is called, when a loss (also of the validation data), a weight or a
        gradient stops being finite, TypeError if what is called returns neither None nor a bool, and ValueError if the
        ranks do not train the same model on the same data (agreement.py).
        """
        model, world, total_steps = self.model, self.team.world, epochs * len(self.batches)
        progress = progress if progress and world.rank == 0 else Silent()
        world.connect(self.optimizer.params[0].data)
        with self._session() as session:
            # On a CPU `step` is self.step, on a GPU a recording of it.
            state = StepState(model, [self.optimizer], lambda: [self._examples])
            step = session.prepare(partial(self.step, watched=session.lag == 1), state)
            if not self.steps:
                model.prepare(self.batches.x)
            agree(self.team, model, self.batches, self.generator, self.steps)
            stop = self.stopped
            while len(self.history) < epochs and not stop:
                epoch, lr = len(self.history) + 1, self.optimizer.lr
                progress.start_epoch(epoch, epochs, len(self.batches))
                averages = Averages(f"epoch {epoch}; a smaller learning rate may help", session.lag)
                model.train()
                model.begin_epoch(epoch)
                model.begin_pass()
                for chosen in self.batches.indices():
                    model.before_step(self.steps, total_steps)
                    self._examples = len(chosen)
                    own = self.batches.take(chosen[self.team.own(len(chosen))])
                    result = step(*_as_tuple(own))
                    self.schedule.step()
                    self.steps += 1
                    averages.add(result, len(chosen))
                    progress.step({**averages.means(), **averages.speed()})
                record = world.broadcast({"epoch": epoch, **self._end_epoch(averages, lr)})
                self.history.append(record)
                progress.end_epoch(record)
                model.end_epoch(self.history)
                stop = self._asked_to_stop(record, on_epoch)
            for callback in self.callbacks:
                callback.end(model)
        return self.history

    def step(self, *batch: Any, watched: bool) -> Any:
        """Make one step of the optimiser, for the examples of the batch that are this rank's (all of them if alone).

        On a GPU the session records it once and then replays it without Python. watched: read the loss before the
        backward pass, and leave the weights alone if it is not finite. Where the results of steps lag behind, nothing
        here may wait for the device.
        """
        self.zero_grad()
        if self.team.cut(self._examples):
            result = backward_in_shards(self.team, self._examples, self.model, *batch, watched=watched)
        else:
            result = checked_loss(self.model, self.model.loss(*batch))
            if not watched or isfinite(float(result.loss)):
                result.loss.backward()
        if watched and not isfinite(float(result.loss)):
            return result  # Averages raise the error
        if self.clip_norm is not None:
            for params in self._players:
                clip_grad_norm(params, self.clip_norm, error_if_nonfinite=watched)
        self.optimizer.step()
        return result

    def zero_grad(self) -> None:
        """Forget the gradients, also those of parameters that the optimiser leaves alone."""
        for p in self._params:
            p.grad = None

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Open the session of the model's backend, with the noise of this training."""
        try:
            with self.optimizer.params[0].backend.session() as session, use_generator(self.generator):
                yield session
        finally:
            self.zero_grad()
            self.model.eval()

    def _end_epoch(self, averages: Averages, lr: float) -> dict[str, Any]:
        """Make the record of the epoch. Raise FloatingPointError if anything in it is not finite."""
        averages.fetch()
        self._check_weights(averages.where)
        check_weights_agree(self.team.world, self.model)
        record = {**averages.means(), **self.model.end_pass(), "lr": lr, **averages.speed()}
        if self.validation is not None:
            x, *y = _as_tuple(self.validation)
            for name, value in evaluate(self.model, x, y[0] if y else None, team=self.team).items():
                record[f"validation_{name}"] = value
        return record

    def _check_weights(self, where: str) -> None:
        """Look for NaN: a gradient that was not finite has left its trace in the weights or in the moments."""
        arrays = {name: tensor.data for name, tensor in self.model.named_tensors((Parameter, Buffer))}
        for name, moments in self.optimizer.state.items():
            arrays |= {f"the optimiser's {name}.{i}": array for i, array in enumerate(moments)}
        if names := not_finite(arrays):
            raise FloatingPointError(f"{names[0]} has become NaN or infinite in {where}")

    def _asked_to_stop(self, record: dict[str, Any], on_epoch: Sequence[Callable[[dict[str, Any]], Any]]) -> bool:
        """Call all of them and return whether the training is to stop.

        Callbacks come first, so that the checkpoint, which one of the functions writes, has their new state. All ranks
        have the callbacks' state; rank 0 alone writes files and calls the functions, and tells what they answer.
        """
        draw, world = self.generator.draw, self.team.world
        with writing(world.rank == 0):
            for callback in self.callbacks:
                self.stopped |= _is_true(callback, callback.after_epoch(self.model, record))
        asked = [_is_true(function, function(record)) for function in on_epoch if world.rank == 0]
        self.generator.draw = draw  # training goes on with the noise that it would have had without them
        self.stopped, stop = world.broadcast((self.stopped, any(asked)))
        return self.stopped or stop

    # ---- saving and going on ----

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return (arrays, plain values) for save_checkpoint."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        arrays |= {f"optimizer/{k}": np.asarray(v) for k, v in self.optimizer.state_dict().items()}
        callbacks = [callback.state_dict() for callback in self.callbacks]
        for i, state in enumerate(callbacks):
            arrays |= {f"callbacks/{i}/{k}": v for k, v in state.items() if isinstance(v, np.ndarray)}
        return arrays, {
            "batches": self.batches.state_dict(),
            "generator": self.generator.state_dict(),
            "schedule": self.schedule.state_dict(),
            "callbacks": [{k: plain(v) for k, v in s.items() if not isinstance(v, np.ndarray)} for s in callbacks],
            "steps": self.steps,
            "stopped": self.stopped,
            "history": plain(self.history),
        }

    def load_state(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Go on from a state(). Raises ValueError or TypeError where it does not fit this model and optimiser."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

        needed = {"batches", "generator", "schedule", "callbacks", "steps", "stopped", "history"}
        if missing := sorted(needed - meta.keys()):
            raise ValueError(f"the state of a training lacks {missing}")
        history, steps = [dict(record) for record in meta["history"]], int(meta["steps"])
        stopped = checks.flag("stopped", meta["stopped"])
        self.batches.load_state_dict(meta["batches"])
        self.optimizer.load_state_dict(part("optimizer/"))
        self.schedule.load_state_dict(meta["schedule"])  # after the optimiser, whose learning rate it sets
        self.generator.load_state_dict(meta["generator"])
        for i, (callback, state) in enumerate(zip(self.callbacks, meta["callbacks"], strict=True)):
            callback.load_state_dict({**state, **part(f"callbacks/{i}/")})
        self.model.load_state_dict(part("model/"))  # last: the model is as it was if anything else is refused
        self.history, self.steps, self.stopped = history, steps, stopped


def _as_tuple(data: Any) -> tuple[Any, ...]:
    """Make (x,) of x, and leave (x, y) as it is."""
    return data if isinstance(data, tuple) else (data,)


def _is_true(asked: Any, answer: Any) -> bool:
    """Return whether the answer of a callback or function is to stop. Raise TypeError unless it is None or a bool."""
    if answer is not None and not isinstance(answer, (bool, np.bool_)):
        raise TypeError(f"{asked!r} of on_epoch must return None, True or False, got {checks.shown(answer)}")
    return bool(answer)


@no_grad()
def evaluate(
    model: Trainable,
    x: np.ndarray,
    y: np.ndarray | None = None,
    batch_size: int | None = None,
    team: Team = ALONE,
) -> dict[str, float]:
    """Compute the means of the loss's fields over x (with labels y) in evaluation mode, always with the same noise.

    x: as check_images() returns it, or an np.memmap, which is checked batch by batch. batch_size: the model's
    evaluation_batch unless given. team: the ranks that evaluate together, each a part of every batch; all of them call
    this. Raises FloatingPointError for a loss that is not finite.
    """
    training = model.training
    x = x if lazily(x) is None else model.check_images(x)
    batch_size = model.evaluation_batch if batch_size is None else batch_size
    model.eval()
    try:
        model.begin_pass()
        with fork(EVALUATION_SEED), model.parameters()[0].backend.session() as session:
            averages = Averages("evaluation", session.lag)
            for start in range(0, len(x), batch_size):
                examples = min(batch_size, len(x) - start)
                own = team.own(examples)
                batch = (a[start + own.start : start + own.stop] for a in (x, y) if a is not None)
                averages.add(evaluate_in_shards(team, examples, model, *batch), examples)
            averages.fetch()
        return {**averages.means(), **model.end_pass()}
    finally:
        model.train(training)
