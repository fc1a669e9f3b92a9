"""Inputs that nobody meant to send: seeds, changed by chance that follows from a number."""

import random
from collections.abc import Sequence

INPUT_BYTES_MAX = 8_192
"""Of a mutated input: larger bounds are tested at their place; here many small inputs find more than few large ones."""

CHANGES_MAX = 6
TELLING_BYTES = b'\x00\x01\n\r "%&/=[\\{\x7f\x80\xc0\xfe\xff'
TELLING_WORDS = (
    b"\x00\x00",
    b"\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"-1",
    b"1e999",
    b"NaN",
    b"9223372036854775808",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"%00",
    b"%",
    b"[[[[[[[[",
    b'{"a":',
    b"\r\n\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
)


class Mutator:
    """Draws inputs; the same seeds and number give the same."""

    def __init__(self, seeds: Sequence[bytes], number: int) -> None:
        self._seeds = seeds
        self._chance = random.Random(number)

    def draw(self) -> bytes:
        """The next input."""
        chance = self._chance
        data = bytearray(chance.choice(self._seeds))
        for _ in range(chance.randint(1, CHANGES_MAX)):
            self._change(data)
        return bytes(data[:INPUT_BYTES_MAX])

    def _change(self, data: bytearray) -> None:
        chance = self._chance
        place = chance.randrange(len(data) + 1)
        match chance.randrange(10):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(data):
                data[place] = chance.choice(TELLING_BYTES)
            case 2 if place < len(data):
                data[place] = (data[place] + chance.choice((-2, -1, 1, 2))) & 0xFF
            case 3:
                data[place:place] = chance.choice(TELLING_WORDS)
            case 4:
                word = chance.choice(TELLING_WORDS)
                data[place : place + len(word)] = word
            case 5:
                del data[place : place + chance.randint(1, 16)]
            case 6:
                part = data[place : place + chance.randint(1, 64)]
                data[place:place] = part * chance.randint(1, 8)
            case 7:
                other = chance.choice(self._seeds)
                begin = chance.randrange(len(other) + 1)
                data[place:] = other[begin:]
            case 8:
                del data[place:]
            case _:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
