"""The tables of exp, tanh and sigmoid: right to the last unit, by Python's own arithmetic of many digits."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest

from minivae.coding.functions import (
    GRID,
    LONGEST,
    SATURATED,
    exp_table,
    exponentials,
    look_up,
    sigmoid_table,
    tanh_table,
)

SOME = [0, 1, 2, 3, 100, 4095, 4096, 12345, SATURATED - 1, SATURATED, 2 * SATURATED, LONGEST]


@pytest.mark.parametrize("i", SOME)
def test_exponentials_are_right_to_110_bits(i):
    with localcontext(Context(prec=60)):
        exact = (Decimal(-i) / (1 << GRID)).exp() * (1 << 128)
    assert abs(exponentials()[i] - exact) < 1 << 18


def test_tables_are_rounded_functions():
    """They equal the float functions except where those lie within 10^-6 of a half."""
    x = np.arange(-SATURATED, SATURATED + 1) / (1 << GRID)
    for table, values in ((tanh_table(16), np.tanh(x)), (sigmoid_table(16), 1 / (1 + np.exp(-x)))):
        np.testing.assert_allclose(table, values * 65536, atol=0.5 + 1e-6, rtol=0)
    np.testing.assert_allclose(exp_table(24), np.exp(-np.arange(LONGEST + 1) / 4096) * 2**24, atol=0.5 + 1e-6, rtol=0)


def test_tables_are_integers_symmetric_and_rise():
    for table in (tanh_table(16), sigmoid_table(16)):
        assert (table == np.rint(table)).all()
        assert (np.diff(table) >= 0).all()
        assert (table + table[::-1] == table[0] + table[-1]).all()
    assert tanh_table(16)[SATURATED] == 0
    assert (tanh_table(16)[-1], sigmoid_table(16)[0], sigmoid_table(16)[-1]) == (65536, 0, 65536)
    assert (np.diff(exp_table(24)) <= 0).all()
    assert (exp_table(24)[0], exp_table(24)[-1]) == (1 << 24, 0)


def test_arguments_beyond_the_table_take_its_ends():
    x = np.array([-1e12, -SATURATED - 1.0, -SATURATED, 0, SATURATED, 1e12])
    np.testing.assert_array_equal(look_up(tanh_table(16), x), [-65536, -65536, -65536, 0, 65536, 65536])
