"""Every exercise accepts its solution, refuses wrong ones, and says 'to do' of what is not written."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivae.learn import exercise, lesson

SOLUTIONS = Path(__file__).parent / "solutions"
NUMBERS = [one.number for one in lesson.lessons()]
pytestmark = pytest.mark.cpu_only("an exercise computes where the learner is")


def wrong_solutions(number: int) -> list[Path]:
    return sorted(SOLUTIONS.glob(f"wrong_{number:02}_*.py"))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_is_right(number):
    outcomes = exercise.exercise(number).check(SOLUTIONS / f"right_{number:02}.py")
    assert outcomes
    assert {outcome.state for outcome in outcomes} == {exercise.RIGHT}, outcomes


@pytest.mark.parametrize("number", NUMBERS)
def test_the_stub_is_to_do(number, tmp_path):
    found = exercise.exercise(number)
    stub = tmp_path / "stub.py"
    stub.write_text(found.stub())
    assert {outcome.state for outcome in found.check(stub)} == {exercise.TO_DO}


@pytest.mark.parametrize("number", NUMBERS)
def test_each_check_refuses_a_wrong_solution_and_says_why(number):
    found = exercise.exercise(number)
    refused = set()
    for path in wrong_solutions(number):
        wrong = [outcome for outcome in found.check(path) if outcome.state == exercise.WRONG]
        assert wrong, f"{path.name} passes"
        assert all(outcome.why for outcome in wrong)
        refused |= {outcome.name for outcome in wrong}
    assert refused == set(found.checks())


def test_a_file_that_does_not_run_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def tanh(x:\n")
    with pytest.raises(ValueError, match="does not run: SyntaxError"):
        exercise.exercise(1).check(path)


def test_the_helpers_of_checks_refuse():
    with pytest.raises(AssertionError, match=r"x must have shape \(2,\), yours has \(3,\)"):
        exercise.expect_close("x", [1, 2, 3], [1, 2])
    with pytest.raises(AssertionError, match=r"x at \[1\] must be 2, yours is nan"):
        exercise.expect_close("x", [1, float("nan")], [1, 2])
    with pytest.raises(AssertionError, match=r"x must be 1, yours is 1\.0000001"):
        exercise.expect_close("x", 1.0000001, 1.0, tolerance=1e-9)
    with pytest.raises(AssertionError, match="x must be numbers"):
        exercise.expect_close("x", None, [1, 2])
    exercise.expect_gradient("the gradient", lambda x: x**3, [2.0], [1.0], [12.0])
    with pytest.raises(AssertionError, match=r"the gradient at \[0\] must be 12, yours is 11"):
        exercise.expect_gradient("the gradient", lambda x: x**3, [2.0], [1.0], [11.0])
