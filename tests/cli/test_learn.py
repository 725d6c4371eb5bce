"""`minivae learn` lists and runs the lessons, writes exercises and checks them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command_line import minivae_command, refused, succeeded

from minivae.learn import lesson

SOLUTIONS = Path(__file__).parent.parent / "learn" / "solutions"
pytestmark = pytest.mark.cpu_only("a lesson computes where the reader is")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def test_it_lists_the_lessons():
    lines = succeeded("learn").stdout.splitlines()
    for one in lesson.lessons():
        assert f"{one.number:2}  {one.title}" in lines
    assert all(len(line) <= 80 for line in lines[:-1])  # the last is the path of a folder


def test_it_runs_a_lesson_with_its_text_its_code_and_what_that_prints():
    shown = succeeded("learn", 1).stdout
    one = lesson.lesson(1)
    assert shown.startswith("# Lesson 1: ")
    for cell in one.cells:
        assert "\n".join(cell.promised) in shown
    assert "  | class Value:" in shown
    *lines, last = shown.splitlines()
    assert str(one.path) in last
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(("typed", "parts"), [("", 1), ("\n\n", 3)])
def test_a_lesson_waits_for_enter_and_ends_where_the_input_does(typed, parts, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    result = succeeded("learn", 1, "--pause")
    assert result.stdout.count("-- Enter goes on --") == parts
    assert "Traceback" not in result.stderr


def test_an_exercise_is_written_once_and_is_to_do():
    succeeded("learn", "exercise", 1)
    stub = Path("exercise_1.py").read_text()
    assert "NotImplementedError" in stub
    refused(minivae_command("learn", "exercise", 1), "exists already", "--force")
    result = minivae_command("learn", "check", 1)
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f"to do {name}: it is not written yet" for name in ("tanh", "power", "backward")
    ]


def test_check_says_what_is_right_and_what_is_wrong():
    assert succeeded("learn", "check", 1, "--file", SOLUTIONS / "right_01.py").stdout.count("right") == 3
    result = minivae_command("learn", "check", 1, "--file", SOLUTIONS / "wrong_01_order.py")
    assert result.returncode == 1
    assert "right power" in result.stdout
    assert "wrong backward: in y = b + b * b" in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["11"], "there are lessons 1 to 10, got 11"),
        (["exercise", "0"], "there are exercises 1 to 10, got 0"),
        (["foo"], "a lesson is named by its number, got 'foo'"),
        (["2", "3"], "learn takes nothing, N, exercise N or check N, got '2 3'"),
        (["check", "4"], "exercise_4.py"),
    ],
)
def test_other_words_are_refused(words, told):
    refused(minivae_command("learn", *words), told)


def test_an_exercise_that_was_never_written_is_named_with_the_command_that_writes_it():
    refused(minivae_command("learn", "check", "3"), "'exercise_3.py' does not exist", "minivae learn exercise 3")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["3"], ["--file", "a.py"]),
        (["3"], ["--force"]),
        ([], ["--pause"]),
        (["exercise", "3"], ["--no-pause"]),
        (["check", "3"], ["--force"]),
    ],
)
def test_options_of_another_form_are_refused(words, option, tmp_path):
    refused(minivae_command("learn", *words, *option), option[0].replace("--no-", "--"))
    assert not list(tmp_path.iterdir())
