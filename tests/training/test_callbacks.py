"""Callbacks: who stops a training and when, whose weights it ends with, and that no interruption changes either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import numbers

import minivae as mv
from minivae.training import BestCheckpoint, Callback, EarlyStopping, load_checkpoint

IMAGES = numbers(20, 1, 4, 4, low=0, high=1, dtype=np.float32)
SCORES = [9.0, 7.0, 8.0, 6.0, 6.5, 6.25, 7.5, 1.0]  # best 1, 2, 4; with patience 3 epoch 7 is the last
FIT: dict[str, Any] = {"epochs": len(SCORES), "batch_size": 8, "lr": 1e-2, "validation": IMAGES[:5]}
LAST, BEST = 7, 4


class Scored(mv.models.Autoencoder):
    """Its passes over data end with the number that stands in SCORES for the epoch; `steps` counts the steps."""

    steps = 0

    def build(self) -> None:
        super().build()
        self.passes = mv.nn.Buffer(np.zeros((), np.float32))

    def begin_pass(self) -> None:
        if self.training:
            self.passes.inplace()[...] += 1

    def end_pass(self) -> dict[str, float]:
        return {"score": SCORES[int(self.passes.item()) - 1]}

    def before_step(self, step: int, steps: int) -> None:
        self.steps += 1


@pytest.fixture(autouse=True)
def seeded() -> None:
    mv.manual_seed(0)


def new() -> Scored:
    mv.manual_seed(0)
    return Scored((1, 4, 4), 3, hidden=(6,))


def stopping(**options: Any) -> EarlyStopping:
    return EarlyStopping(**{"patience": 3, "monitor": "validation_score", **options})


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in history]


class TestFunctions:
    def test_one_that_returns_true_stops_after_the_checkpoint_of_its_epoch(self, tmp_path: Path) -> None:
        """All of them are called in that epoch, also those behind it. With a resume the training goes on."""
        path, seen = tmp_path / "checkpoint.npz", []
        functions = [lambda r: r["epoch"] == 2, lambda r: np.bool_(False), lambda r: seen.append(r["epoch"])]
        model = new().fit(IMAGES, **FIT, checkpoint=path, on_epoch=functions)
        assert [len(model.history), seen] == [2, [1, 2]]
        assert len(load_checkpoint(path)[1]["history"]) == 2
        assert not model.training
        resumed = new().fit(IMAGES, **FIT, checkpoint=path, resume=True)
        whole = new().fit(IMAGES, **FIT)
        assert timeless(resumed.history) == timeless(whole.history)
        assert_equal(resumed.state_dict(), whole.state_dict())

    @pytest.mark.parametrize("answer", [1, 0, "stop", [], 1.0, np.array([True])])
    def test_what_returns_something_else_is_an_error(self, answer: Any) -> None:
        class Answers(Callback):
            def after_epoch(self, model: Any, record: Any) -> Any:
                return answer

        for wrong in (lambda record: answer, [print, lambda record: answer], Answers()):
            with pytest.raises(TypeError, match="of on_epoch must return None, True or False, got"):
                new().fit(IMAGES, **FIT, on_epoch=wrong)

    @pytest.mark.parametrize("wrong", [5, "print", [print, None], EarlyStopping, {print}])
    def test_what_cannot_be_called_is_an_error_before_the_training(self, wrong: Any) -> None:
        model = new()
        with pytest.raises(TypeError, match="on_epoch must be a function, a Callback or a list of them, got"):
            model.fit(IMAGES, **FIT, on_epoch=wrong)
        assert model.steps == 0


def followed(callback: EarlyStopping, losses: list[float]) -> tuple[int, int, float]:
    """The last epoch, the best one, and the weight that a model ends with whose weight is the number of the epoch."""
    model = mv.nn.Module()
    model.weight = mv.nn.Parameter(np.zeros(()))  # type: ignore[attr-defined]
    callback.begin(model, True)
    for epoch, loss in enumerate(losses, 1):
        model.weight.inplace()[...] = epoch  # type: ignore[attr-defined]
        if callback.after_epoch(model, {"epoch": epoch, "validation_loss": loss}):
            break
    callback.end(model)
    return epoch, callback.best_epoch, float(model.weight.item())  # type: ignore[attr-defined]


class TestEarlyStopping:
    @given(
        losses=st.lists(st.integers(0, 9).map(float), min_size=1, max_size=20),
        patience=st.integers(1, 4),
        restore=st.booleans(),
    )
    def test_it_stops_when_the_first_minimum_is_patience_epochs_ago(
        self, losses: list[float], patience: int, restore: bool
    ) -> None:
        def best(epoch: int) -> int:
            return losses[:epoch].index(min(losses[:epoch])) + 1

        ends = [e for e in range(1, len(losses) + 1) if e - best(e) >= patience]
        last = ends[0] if ends else len(losses)
        found = followed(EarlyStopping(patience, restore_best=restore), losses)
        assert found == (last, best(last), best(last) if restore else last)

    @pytest.mark.parametrize(
        ("min_delta", "expected"), [(0.0, (7, 5, 5)), (0.5, (7, 5, 5)), (1.0, (5, 3, 3)), (3.5, (3, 1, 1))]
    )
    def test_a_fall_of_min_delta_or_less_counts_for_nothing(self, min_delta: float, expected: Any) -> None:
        losses = [9.0, 8.5, 7.0, 6.5, 6.25, 6.25, 6.25, 0.0]
        assert followed(EarlyStopping(2, min_delta=min_delta), losses) == expected

    @pytest.mark.parametrize("monitor", ["validation_score", "score"])
    def test_in_a_fit_weights_and_buffers_end_as_in_the_best_epoch(self, monitor: str) -> None:
        stop, states = stopping(monitor=monitor), []
        model = new()
        model.fit(IMAGES, **FIT, on_epoch=[stop, lambda record: states.append(model.state_dict())])
        assert (len(model.history), stop.best_epoch, stop.best) == (LAST, BEST, SCORES[BEST - 1])
        assert model.passes.item() == BEST
        assert_equal(model.state_dict(), states[BEST - 1])
        assert (states[BEST - 1]["decoder.0.weight"] != states[-1]["decoder.0.weight"]).any()

    def test_the_best_weights_return_also_when_nothing_stops_it(self) -> None:
        model = new().fit(IMAGES, **{**FIT, "epochs": 6}, on_epoch=stopping())
        assert (len(model.history), model.passes.item()) == (6, BEST)
        model = new().fit(IMAGES, **{**FIT, "epochs": 6}, on_epoch=stopping(restore_best=False))
        assert (len(model.history), model.passes.item()) == (6, 6)

    def test_it_forgets_another_training(self) -> None:
        stop = stopping()
        for _ in range(2):
            model = new().fit(IMAGES, **FIT, on_epoch=stop)
            assert (len(model.history), stop.best_epoch, model.passes.item()) == (LAST, BEST, BEST)

    def test_an_exception_leaves_the_weights_of_the_moment(self) -> None:
        def interrupt(record: dict[str, Any]) -> None:
            if record["epoch"] == 6:
                raise KeyboardInterrupt

        model = new()
        with pytest.raises(KeyboardInterrupt):
            model.fit(IMAGES, **FIT, on_epoch=[stopping(), interrupt])
        assert model.passes.item() == 6


class Interrupts(Callback):
    """Ctrl-C when the callbacks before it have seen epoch `at`, and there is no checkpoint of it yet."""

    def __init__(self, at: int) -> None:
        self._at = at

    def after_epoch(self, model: Any, record: dict[str, Any]) -> None:
        if record["epoch"] == self._at:
            raise KeyboardInterrupt


class TestResume:
    def train(self, folder: Path, early: int = 0, late: int = 0, **options: Any) -> tuple[Scored, EarlyStopping]:
        """A training that is killed in an epoch before or after its checkpoint is written, if any."""
        model, stop = new(), stopping()

        def interrupt(record: dict[str, Any]) -> None:
            if record["epoch"] == late:
                raise KeyboardInterrupt

        called = [stop, BestCheckpoint(folder / "best.npz", "validation_score"), Interrupts(early), interrupt]
        try:
            model.fit(IMAGES, **{**FIT, **options}, checkpoint=folder / "checkpoint.npz", on_epoch=called)
        except KeyboardInterrupt:
            assert len(model.history) == (early or late)
        return model, stop

    @pytest.fixture
    def whole(self, tmp_path: Path) -> tuple[Scored, EarlyStopping, Path]:
        folder = tmp_path / "whole"
        folder.mkdir()
        return *self.train(folder), folder

    @pytest.mark.parametrize("when", ["early", "late"])
    @pytest.mark.parametrize("epoch", range(1, LAST + 1))
    def test_killed_in_any_epoch_it_ends_the_same(self, epoch: int, when: str, whole: Any, tmp_path: Path) -> None:
        model, stop, folder = whole
        assert (len(model.history), stop.best_epoch, model.passes.item()) == (LAST, BEST, BEST)
        self.train(tmp_path, **{when: epoch})
        resume = (when, epoch) != ("early", 1)  # when there is no checkpoint yet
        resumed, again = self.train(tmp_path, resume=resume)
        assert timeless(resumed.history) == timeless(model.history)
        assert (again.best, again.best_epoch) == (stop.best, stop.best_epoch)
        assert_equal(resumed.state_dict(), model.state_dict())
        for name in ("checkpoint.npz", "best.npz"):
            assert_equal(load_checkpoint(tmp_path / name)[0], load_checkpoint(folder / name)[0])
        assert resumed.steps == 3 * (LAST - epoch + (when == "early"))

    def test_two_interruptions(self, whole: Any, tmp_path: Path) -> None:
        self.train(tmp_path, late=2)
        self.train(tmp_path, early=6, resume=True)
        assert_equal(self.train(tmp_path, resume=True)[0].state_dict(), whole[0].state_dict())

    def test_one_that_was_stopped_returns_at_once(self, whole: Any, tmp_path: Path) -> None:
        self.train(tmp_path)
        before = (tmp_path / "checkpoint.npz").read_bytes()
        again, stop = self.train(tmp_path, resume=True, epochs=FIT["epochs"] + 5)
        assert (again.steps, stop.best_epoch, len(again.history)) == (0, BEST, LAST)
        assert_equal(again.state_dict(), whole[0].state_dict())
        assert (tmp_path / "checkpoint.npz").read_bytes() == before

    def test_one_that_came_to_its_end_too(self, tmp_path: Path) -> None:
        whole, _ = self.train(tmp_path, epochs=6)
        again, _ = self.train(tmp_path, epochs=6, resume=True)
        assert (again.steps, again.passes.item()) == (0, BEST)
        assert_equal(again.state_dict(), whole.state_dict())

    @pytest.mark.parametrize(
        ("callbacks", "message"),
        [
            ([], r"callbacks was \['EarlyStopping'\], not \[\]"),
            ([stopping(), Interrupts(0)], r"callbacks was \['EarlyStopping'\], not \['EarlyStopping', 'Interrupts'\]"),
            ([stopping(patience=2)], r"callbacks\[0\].patience was 3, not 2"),
            ([stopping(monitor="score")], r"callbacks\[0\].monitor was validation_score, not score"),
            ([stopping(min_delta=0.5)], r"callbacks\[0\].min_delta was 0.0, not 0.5"),
            ([stopping(restore_best=False)], r"callbacks\[0\].restore_best was True, not False"),
        ],
        ids=["none", "more", "patience", "monitor", "min_delta", "restore_best"],
    )
    def test_other_callbacks_are_refused_by_name(self, callbacks: Any, message: str, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.npz"
        new().fit(IMAGES, **FIT, checkpoint=path, on_epoch=[stopping(), lambda record: record["epoch"] == 2])
        before, model = path.read_bytes(), new()
        weights = model.state_dict()
        with pytest.raises(ValueError, match=message):
            model.fit(IMAGES, **FIT, checkpoint=path, resume=True, on_epoch=callbacks)
        assert path.read_bytes() == before
        assert_equal(model.state_dict(), weights)

    def test_a_callback_of_ones_own_goes_on_with_its_state(self, tmp_path: Path) -> None:
        class Sums(Callback):
            """The sum of the losses, as a number and as an array; from then on it stops."""

            def __init__(self, most: float) -> None:
                self.most = most

            def begin(self, model: Any, validated: bool) -> None:
                self.total, self.squares = 0.0, np.zeros(2)

            def after_epoch(self, model: Any, record: dict[str, Any]) -> bool:
                self.total += record["score"]
                self.squares += [record["score"] ** 2, 1]
                return self.total > self.most

            def state_dict(self) -> dict[str, Any]:
                return {"total": self.total, "squares": self.squares.copy()}

            def load_state_dict(self, state: Any) -> None:
                self.total, self.squares = state["total"], state["squares"]

        path, (whole, first, second) = tmp_path / "checkpoint.npz", [Sums(35.0) for _ in range(3)]
        new().fit(IMAGES, **FIT, on_epoch=whole)
        new().fit(IMAGES, **FIT, checkpoint=path, on_epoch=[first, lambda record: record["epoch"] == 3])
        model = new().fit(IMAGES, **FIT, checkpoint=path, resume=True, on_epoch=second)
        assert whole.total == second.total == sum(SCORES[: len(model.history)])
        assert len(model.history) == 5
        np.testing.assert_array_equal(whole.squares, second.squares)
        with pytest.raises(ValueError, match=r"callbacks\[0\].most was 35.0, not 36.0"):
            new().fit(IMAGES, **FIT, checkpoint=path, resume=True, on_epoch=Sums(36.0))


class TestBestCheckpoint:
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_it_holds_the_model_of_the_best_epoch(self, suffix: str, tmp_path: Path) -> None:
        if suffix == ".safetensors":
            pytest.importorskip("safetensors")
        path, states, there = tmp_path / f"best{suffix}", [], []
        best = BestCheckpoint(str(path), monitor="score")
        model = new()

        def look(record: dict[str, Any]) -> None:
            states.append(model.state_dict())
            there.append(Scored.load(path).passes.item())

        model.fit(IMAGES, **FIT, on_epoch=[best, look])
        assert there == [1, 2, 2, 4, 4, 4, 4, 8]
        assert (best.best, best.best_epoch) == (1.0, 8)
        assert_equal(Scored.load(path).state_dict(), states[7])

    @pytest.mark.parametrize("path", ["best", "best.pkl", ""])
    def test_other_files(self, path: str) -> None:
        with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
            BestCheckpoint(path)

    def test_a_folder_that_is_not_there_is_found_before_the_training(self, tmp_path: Path) -> None:
        model = new()
        with pytest.raises(FileNotFoundError, match="absent"):
            model.fit(IMAGES, **FIT, on_epoch=BestCheckpoint(tmp_path / "absent" / "best.npz"))
        assert model.steps == 0


class TestRefused:
    @pytest.mark.parametrize("make", [stopping, lambda: BestCheckpoint("best.npz")], ids=["stop", "best"])
    def test_validation_data_that_is_not_there(self, make: Callable[[], Callback]) -> None:
        model, fit = new(), {k: v for k, v in FIT.items() if k != "validation"}
        with pytest.raises(ValueError, match="monitors 'validation_.*', but fit\\(\\) got no validation data"):
            model.fit(IMAGES, **fit, on_epoch=make())
        assert model.steps == 0

    def test_a_number_that_no_record_has(self) -> None:
        with pytest.raises(ValueError, match="no 'los' in the record of an epoch, which has epoch, loss"):
            new().fit(IMAGES, **FIT, on_epoch=stopping(monitor="los"))

    def test_one_callback_twice(self) -> None:
        stop = stopping()
        with pytest.raises(ValueError, match="must be different Callbacks"):
            new().fit(IMAGES, **FIT, on_epoch=[stop, stop])

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"patience": 0}, ValueError),
            ({"patience": 1.5}, TypeError),
            ({"min_delta": -1.0}, ValueError),
            ({"monitor": 3}, TypeError),
            ({"restore_best": 1}, TypeError),
        ],
    )
    def test_settings(self, options: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(options))):
            stopping(**options)


def test_nothing_of_the_training_is_held_by_a_callback(tmp_path: Path) -> None:
    stop, best = stopping(), BestCheckpoint(tmp_path / "best.npz")
    new().fit(IMAGES, **FIT, on_epoch=[stop, best])
    held = [value for callback in (stop, best) for value in vars(callback).values()]
    assert not [value for value in held if isinstance(value, (mv.nn.Module, mv.optim.Optimizer))]
