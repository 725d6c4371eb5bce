"""The range coder: every message survives, and takes as many bytes as its probability says."""

from fractions import Fraction
from math import log2

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minivae.coding import RangeDecoder, RangeEncoder
from minivae.coding.range_coder import MOST

SIZES = st.one_of(st.just(1), st.integers(1, 40), st.integers(1, 1 << 24), st.integers(1, MOST // 8))
TABLES = st.lists(SIZES, min_size=1, max_size=8)


@st.composite
def messages(draw):
    """Draw [(frequencies of the symbols, the symbol)]."""
    tables = draw(st.lists(TABLES, min_size=1, max_size=5))
    picks = draw(st.lists(st.tuples(st.integers(0, len(tables) - 1), st.integers(0, 7)), max_size=80))
    return [(tables[t], symbol % len(tables[t])) for t, symbol in picks]


def encoded(message):
    coder = RangeEncoder()
    for sizes, symbol in message:
        coder.encode(sum(sizes[:symbol]), sizes[symbol], sum(sizes))
    return coder.finish()


def decoded(data, tables):
    coder, found = RangeDecoder(data), []
    for sizes in tables:
        position, symbol = coder.position(sum(sizes)), 0
        assert 0 <= position < sum(sizes)
        while position >= sum(sizes[: symbol + 1]):
            symbol += 1
        coder.decoded(sum(sizes[:symbol]), sizes[symbol], sum(sizes))
        found.append(symbol)
    return found


def bits(message):
    return sum(log2(Fraction(sum(sizes), sizes[symbol])) for sizes, symbol in message)


class TestMessages:
    @given(messages())
    @settings(max_examples=100, deadline=None)
    @example([([1, MOST - 1], 0)] * 100)  # the least probability
    @example([([1, MOST - 1], 1)] * 1000)  # the largest one: no bits
    @example([([1], 0)] * 10)  # a symbol that is certain
    @example([([3, 1], 0), ([1, 3], 1)] * 400)
    @example([])
    def test_any_message_survives_within_two_bytes_of_its_bits(self, message):
        data = encoded(message)
        assert decoded(data, [sizes for sizes, _ in message]) == [symbol for _, symbol in message]
        lost = sum(sum(sizes) for sizes, _ in message) * 2.0**-56 / 0.69  # by the divisions
        assert len(data) <= bits(message) / 8 + lost + 2

    @given(messages())
    @settings(max_examples=50, deadline=None)
    def test_the_number_lies_in_the_interval_of_the_exact_coder(self, message):
        """With powers of two as totals no division has a remainder, and the interval is that of the probabilities."""
        message = [([1, 2, 1, 4], symbol % 4) for _, symbol in message][:18]  # width >= 2^-54 of the start
        low, width = Fraction(0), Fraction(1)
        for sizes, symbol in message:
            low += width * Fraction(sum(sizes[:symbol]), sum(sizes))
            width *= Fraction(sizes[symbol], sum(sizes))
        data = encoded(message)
        assert low <= Fraction(int.from_bytes(data, "big"), 256 ** len(data)) < low + width

    def test_the_worked_example_of_the_file(self):
        """P(a), P(b), P(c) = 1/2, 1/4, 1/4: c a b is [0.8125, 0.84375), of width 1/32."""
        message = [([2, 1, 1], symbol) for symbol in (2, 0, 1)]
        assert encoded(message) == bytes([0b11010000])
        assert bits(message) == 5

    def test_a_carry_runs_through_all_bytes_of_255(self):
        """The message is the number 1/2: its interval begins below, 0.0111...1, and the next symbol may lie above."""
        tables = [[1, 1, 1]] * 400
        half = list(zip(tables, decoded(b"\x80", tables), strict=True))
        coder = RangeEncoder()
        for _, symbol in half:
            coder.encode(symbol, 1, 3)
        written = bytes(coder._written)
        assert written == b"\x7f" + b"\xff" * (len(written) - 1)
        assert len(written) > 60
        assert coder.finish() == encoded(half) == b"\x80"
        for last, start in ((0, written), (99, b"\x80" + bytes(len(written) - 1))):
            message = [*half, ([1] * 100, last)]
            data = encoded(message)
            assert data.startswith(start)
            assert decoded(data, [sizes for sizes, _ in message]) == [symbol for _, symbol in message]

    def test_zeros_at_the_end_cost_nothing(self):
        assert encoded([([1, 1], 0)] * 1000) == b""


@pytest.mark.parametrize("part", [(0, 0, 4), (-1, 1, 4), (3, 2, 4), (0, 1, MOST + 1), (0, 1, 0)])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(ValueError, match=f"got {part[0]}, {part[1]}, {part[2]}"):
        RangeEncoder().encode(*part)


def test_the_uniform_distribution_takes_log2_k_bits():
    message = [([1] * 5, n % 5) for n in range(4000)]
    assert len(encoded(message)) == pytest.approx(4000 * log2(5) / 8, abs=2)
