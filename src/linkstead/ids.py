"""The port for identifiers and chance."""

import string
from typing import Protocol

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
LOWER_AND_DIGITS = string.ascii_lowercase + string.digits
UPPER_AND_DIGITS = string.ascii_uppercase + string.digits
HEX_DIGITS = "0123456789abcdef"


class Ids(Protocol):
    """Everything that has to be unique or unguessable."""

    def message_id(self) -> int:
        """A positive 63-bit number of 18 or 19 digits, never given twice, rising with time.

        Source: RRpc reference, sample MessageId 889455942124347392.
        """

    def alink_id(self) -> int:
        """A number from 1 to 2,147,483,647 for a message to a device, not given again for a day.

        Source: `device-protocol.md` 5.1: one SDK keeps it in a signed 32-bit integer.
        """

    def request_id(self) -> str:
        """An upper-case UUID, new per request. Source: every sample answer, field RequestId."""

    def token(self, alphabet: str, length: int) -> str:
        """`length` characters drawn from `alphabet` in a way nobody can guess: keys, secrets, generated names."""
