"""Every lesson prints what its text promises, and can be read from its file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minivae.learn import lesson

LESSONS = lesson.lessons()
ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.cpu_only("a lesson computes where the reader is")


def test_the_lessons_are_numbered_from_1():
    assert [one.number for one in LESSONS] == list(range(1, len(LESSONS) + 1))
    assert all(one.path.name.startswith(f"lesson_{one.number:02}_") for one in LESSONS)


NUMBER = re.compile(r"-?\d[\d,]*\.\d+(?:e[-+]?\d+)?|-?\d+e[-+]?\d+")  # one with a decimal point or an exponent


def same(promised: str, printed: str) -> bool:
    """Compare two lines. Words and whole numbers must be equal, other numbers to 5 % or a unit of the last digit,
    as a training in float32 takes another course on another processor."""
    if NUMBER.sub("", promised) != NUMBER.sub("", printed):
        return False
    pairs = zip(NUMBER.findall(promised), NUMBER.findall(printed), strict=True)
    return all(close(*(number.replace(",", "") for number in pair)) for pair in pairs)


def close(said: str, found: str) -> bool:
    mantissa, _, exponent = said.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(said) - float(found)) <= max(0.05 * abs(float(said)), 1.01 * unit)


@pytest.mark.parametrize("one", LESSONS, ids=lambda one: one.path.stem)
def test_a_lesson_prints_what_it_promises(one):
    for cell, printed in one.run():
        lines = printed.splitlines()
        if cell.promised == ("...",):  # times, which nobody can promise
            assert lines
            continue
        assert len(lines) == len(cell.promised), f"the cell at line {cell.line} prints {lines}"
        for promised, line in zip(cell.promised, lines, strict=True):
            assert same(promised, line), f"the cell at line {cell.line} promises {promised!r} and prints {line!r}"


@pytest.mark.parametrize(
    ("promised", "printed"), [("a 12", "a 13"), ("1.50 b", "1.58 b"), ("1.5", "1.5 b"), ("2e-4", "4e-4")]
)
def test_other_lines_are_not_the_same(promised, printed):
    assert not same(promised, printed)
    assert same(promised, promised)


@pytest.mark.parametrize("one", LESSONS, ids=lambda one: one.path.stem)
def test_a_lesson_ends_in_links_that_exist(one):
    last = one.cells[-1]
    links = [
        word for word in last.source.replace("`", " ").split() if word.startswith(("minivae/", "kernels/", "tests/"))
    ]
    assert last.is_text
    assert links
    for link in links:
        assert (ROOT / link.rstrip(".,:;")).exists(), link


def test_a_lesson_runs_as_a_script():
    one = LESSONS[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(one.path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [line for cell in one.cells for line in cell.promised]


def test_a_broken_promise_is_seen(tmp_path):
    path = tmp_path / "lesson_09_x.py"
    path.write_text("# %% [markdown]\n# # Lesson 9: X\n\n# %%\nprint(1)\nprint(2)\n# > 1\n# > 3\n")
    read = lesson.read(path)
    assert (read.number, read.title) == (9, "X")
    (_, _), (cell, printed) = read.run()
    assert (printed, cell.promised) == ("1\n2\n", ("1", "3"))


def test_errors_have_the_line_of_the_file(tmp_path):
    path = tmp_path / "lesson_09_x.py"
    path.write_text("# %% [markdown]\n# # Lesson 9: X\n\n# %%\na = 1\na / 0\n")
    with pytest.raises(ZeroDivisionError) as found:
        list(lesson.read(path).run())
    assert found.traceback[-1].lineno + 1 == 6  # which counts from 0


def test_text_is_wrapped_and_code_in_it_is_not():
    text = "one two three four\n\n    a    b    c    d\n\n* first item\n* second item"
    expected = "one two\nthree four\n\n    a    b    c    d\n\n* first\n  item\n* second\n  item"
    assert lesson.wrapped(text, 10) == expected


@pytest.mark.parametrize("one", LESSONS, ids=lambda one: one.path.stem)
def test_a_lesson_fits_a_terminal_of_80_columns(one):
    for cell in one.cells:
        shown = lesson.wrapped(cell.source, 80).splitlines() if cell.is_text else lesson.barred(cell.source, 80)
        assert [line for line in [*shown, *cell.promised] if len(line) > 80] == []


def test_a_long_line_of_code_goes_on_behind_a_colon():
    assert lesson.barred("if x:\n    y = first + second + third", 28) == [
        "  | if x:",
        "  |     y = first + second +",
        "  :             third",
    ]
