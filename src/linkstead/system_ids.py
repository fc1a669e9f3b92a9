"""Ids for a server that runs, from its clock and the machine's randomness; compiled, as each call takes two."""

import random
import secrets
import uuid
from typing import Final

from linkstead.clock import Clock

MESSAGE_ID_EPOCH_MS: Final = 1_577_836_800_000
"""2020-01-01: message ids count milliseconds from here, shifted by `MESSAGE_ID_SEQUENCE_BITS`; 19 digits until 2089."""

MESSAGE_ID_SEQUENCE_BITS: Final = 22
ALINK_ID_MAX: Final = 2_147_483_647

_RANDOM_BITS: Final = MESSAGE_ID_SEQUENCE_BITS - 1
_HEX_PAIRS: Final = [f"{number:02X}" for number in range(256)]


class SystemIds:
    """Implements `Ids`.

    A message id is the milliseconds since `MESSAGE_ID_EPOCH_MS` and a running number that starts at random, so that two
    starts within a millisecond do not meet. A request id is a random UUID whose tail counts up.
    """

    def __init__(self, clock: Clock) -> None:
        self._time_s = clock.time_s
        self._last = 0
        self._alink_last = secrets.randbelow(ALINK_ID_MAX)
        self._draw = random.Random(secrets.randbits(128)).getrandbits
        self._uuid_head = str(uuid.uuid4()).upper()[:-12]
        self._uuid_tail = secrets.randbits(39) << 8
        self._uuid_start = ""

    def message_id(self) -> int:
        """See `Ids.message_id`."""
        now_ms = int(self._time_s() * 1000) - MESSAGE_ID_EPOCH_MS
        drawn = (now_ms << MESSAGE_ID_SEQUENCE_BITS) + self._draw(_RANDOM_BITS)
        # The clock may stand still or be set back: an id is never given twice.
        self._last = drawn if drawn > self._last else self._last + 1
        return self._last

    def alink_id(self) -> int:
        """See `Ids.alink_id`."""
        self._alink_last = self._alink_last % ALINK_ID_MAX + 1
        return self._alink_last

    def request_id(self) -> str:
        """See `Ids.request_id`."""
        tail = self._uuid_tail
        last = tail & 0xFF
        # All but the last two digits is written once in 256 times.
        if not last or not self._uuid_start:
            self._uuid_start = f"{self._uuid_head}{tail >> 8:010X}"
        self._uuid_tail = (tail + 1) & 0xFFFF_FFFF_FFFF
        return self._uuid_start + _HEX_PAIRS[last]

    def token(self, alphabet: str, length: int) -> str:
        """See `Ids.token`."""
        return "".join([secrets.choice(alphabet) for _ in range(length)])
