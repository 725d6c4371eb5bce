"""The product of the table with all wrong values, and whether the table is complete."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from .judge import Row, call, cases, wrong

TABLES = sorted(p.stem for p in Path(__file__).parent.glob("table_*.py"))
TABLE: dict[str, Row] = {}
for name in TABLES:
    TABLE |= importlib.import_module(f"{__package__}.{name}").TABLE


@pytest.mark.parametrize("name", TABLE)
def test_the_valid_call_is_valid(name):
    outcome = call(TABLE[name], None, None)
    assert outcome.error is None


@pytest.mark.parametrize("name", TABLE)
def test_every_argument_is_right_or_refused(name):
    row = TABLE[name]
    found = [
        f"{argument} = {label}: {problem}"
        for argument in row.arguments
        for label, value, meaning in cases(row, argument)
        if (problem := wrong(row, argument, value, meaning))
    ]
    assert not found, f"{len(found)} of {name}\n" + "\n".join(found)
