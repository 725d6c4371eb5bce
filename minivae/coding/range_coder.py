"""A range coder: a sequence of symbols as one number, in about as many bits as its probability says (Martin 1979).

**Arithmetic coding.** The message is a number in [0, 1). Each symbol narrows the interval in which that number lies, in
proportion to the symbol's probability. With P(a) = 1/2, P(b) = 1/4 and P(c) = 1/4, a has the first half of an interval,
b the next quarter and c the last one. For the message c a b:

    start    [0, 1)            width 1
    c        [0.75, 1)         width 1/4
    a        [0.75, 0.875)     width 1/8     the first half of it
    b        [0.8125, 0.84375) width 1/32    from 1/2 to 3/4 of it

The width is the product of the probabilities, P = 1/4 * 1/2 * 1/4 = 1/32. Any number of the interval will do, and an
interval of width 2^-n holds a number of n binary digits: here 0.8125 = 0.11010 in binary, -log2 P = 5 bits. So a symbol
costs -log2 p bits, which need not be a whole number, and the probabilities may change with every symbol: the decoder
follows the same intervals, and needs the same probabilities, no more. It finds c because 0.8125 lies in c's part of
[0, 1); then a, because it lies in a's part of [0.75, 1); and so on.

**Integers.** The width of a long message is far below the least float, and a rounding that differs between two machines
would decode another message. So an interval is two integers, `low` and `width`, in units of 2^-64 of the digits that
are not settled yet, and a probability is a ratio of two integers, size / total. A symbol whose part is [start,
start + size) of total takes

    step = width // total,    low += step * start,    width = step * size.

The division drops less than one part in width / total, at most 2^-8 (MOST = 2^48) and 2^-24 for totals of 2^32.

**Digits.** When width falls below 2^56, the first byte of low is written, and both are shifted by a byte. So width is
at least 2^56 before each symbol, and never becomes 0 (no underflow). The byte is not final: a later symbol may raise
low beyond 2^64, since [low, low + width) can straddle the end of the digits. Then 1 is carried into the bytes that have
been written, as in 0.1999 + 0.0002 = 0.2001: each 255 becomes 0 and the byte before them one more. The first byte never
overflows, because the whole interval stays inside of [0, 1). At the end the number of the interval with the fewest
bytes is written; bytes of 0 at the end are left out, and the decoder reads 0 where there are none.
"""

from __future__ import annotations

DIGITS = 64  # bits of low
LEAST = 1 << (DIGITS - 8)  # the least width before a symbol
MOST = 1 << 48  # the largest total
MASK = (1 << DIGITS) - 1


class RangeEncoder:
    """It writes symbols: call encode() for one after the other, then finish()."""

    def __init__(self) -> None:
        self._low, self._width = 0, 1 << DIGITS
        self._written = bytearray()

    def encode(self, start: int, size: int, total: int) -> None:
        """Write a symbol of probability size / total whose part is [start, start + size) of [0, total).

        Raises ValueError for a part that is empty or not inside, and for a total above 2^48.
        """
        if not (0 <= start < start + size <= total <= MOST):
            raise ValueError(f"a symbol needs 0 <= start < start + size <= total <= 2^48, got {start}, {size}, {total}")
        step = self._width // total
        self._low += step * start
        self._width = step * size
        if self._low > MASK:
            self._carry()
        while self._width < LEAST:
            self._written.append(self._low >> (DIGITS - 8))
            self._low = (self._low << 8) & MASK
            self._width <<= 8

    def _carry(self) -> None:
        """Add the bit of low beyond its digits to the bytes that are written already."""
        self._low &= MASK
        last = len(self._written) - 1
        while self._written[last] == 255:
            self._written[last] = 0
            last -= 1
        self._written[last] += 1

    def finish(self) -> bytes:
        """Return all bytes. The encoder must not be used any more."""
        for bits in range(DIGITS, -1, -8):  # the number in [low, low + width) with the most zeros at its end
            number = -(-self._low >> bits) << bits
            if number < self._low + self._width:
                break
        self._low = number
        if self._low > MASK:
            self._carry()
        return (bytes(self._written) + self._low.to_bytes(DIGITS // 8, "big")).rstrip(b"\0")


class RangeDecoder:
    """It reads what RangeEncoder wrote: position() says where the next symbol lies, and decoded() is told which it is.

    After the end of the data it reads 0; its file has to say whether data was cut off.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._read = data, DIGITS // 8
        self._offset = int.from_bytes(data[: self._read].ljust(self._read, b"\0"), "big")  # the number minus low
        self._width = 1 << DIGITS

    def position(self, total: int) -> int:
        """Return a number in [0, total), which lies in the part [start, start + size) of the next symbol."""
        return min(self._offset // (self._width // total), total - 1)

    def decoded(self, start: int, size: int, total: int) -> None:
        """Move on past the symbol with this part."""
        step = self._width // total
        self._offset -= step * start
        self._width = step * size
        while self._width < LEAST:
            following = self._data[self._read] if self._read < len(self._data) else 0
            self._offset = (self._offset << 8) | following
            self._width <<= 8
            self._read += 1
