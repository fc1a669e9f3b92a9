"""Frames of a WebSocket, cut and made again, sans-IO: what is no message of MQTT stays as it was, byte for byte.

Only the framing is looked at here. What breaks a rule of WebSocket is for the ends to say.
Source: RFC 6455 section 5.2.
"""

from typing import Final, NamedTuple

from linkstead.mqtt.websocket import HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX

CONTINUATION: Final = 0x0
BINARY: Final = 0x2

FRAME_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 16
"""Of a frame with its head; what announces more is not waited for."""

HEAD_END: Final = b"\r\n\r\n"

_LAST: Final = 0x80
_MASKED: Final = 0x80
_LENGTHS: Final = {126: 2, 127: 8}
"""What stands for a longer length in the second byte: in how many bytes that follows."""

_MASK_BYTES: Final = 4


class Frame(NamedTuple):
    """One frame.

    Args:
        head: its first byte: whether it is the last of its message, reserved bits, and what it is.
        payload: what is in it, the mask taken off.
        data: all of it as it came.
    """

    head: int
    payload: bytes
    data: bytes

    @property
    def is_binary(self) -> bool:
        """True for a part of a message of bytes, or of what goes on where one began."""
        return self.head & 0x7F in (CONTINUATION, BINARY)

    @property
    def is_last(self) -> bool:
        """True where a message ends with it."""
        return bool(self.head & _LAST)

    def change(self, payload: bytes) -> bytes:
        """The same frame with something else in it."""
        return make_frame(self.head, payload, is_masked=bool(self.data[1] & _MASKED))


class Frames:
    """Cuts one direction of a WebSocket: first the head of the handshake, then frames.

    Attributes:
        is_open: the head of the handshake has passed.
        rest: what came and is not cut yet.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.rest = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self.rest += data

    def take_head(self) -> bytes | None:
        """The head of the handshake, once it is all there. Raises ValueError: it is longer than any that is taken."""
        end = self.rest.find(HEAD_END)
        if end < 0:
            if len(self.rest) >= HANDSHAKE_BYTES_MAX:
                raise ValueError(f"a head of more than {HANDSHAKE_BYTES_MAX} bytes")
            return None
        self.is_open = True
        return self._take(end + len(HEAD_END))

    def take_frame(self) -> Frame | None:
        """The next frame, once it is all there. Raises ValueError: it is longer than any that is taken."""
        rest = self.rest
        if len(rest) < 2:
            return None
        length, start = rest[1] & ~_MASKED, 2
        if size := _LENGTHS.get(length):
            start += size
            if len(rest) < start:
                return None
            length = int.from_bytes(rest[2:start], "big")
        mask_at = start
        if rest[1] & _MASKED:
            start += _MASK_BYTES
        end = start + length
        if end > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {end} bytes is announced, over {FRAME_BYTES_MAX}")
        if len(rest) < end:
            return None
        payload = _mask(bytes(rest[start:end]), bytes(rest[mask_at:start]))
        return Frame(rest[0], payload, self._take(end))

    def take_rest(self) -> bytes:
        """All that was not cut."""
        return self._take(len(self.rest))

    def _take(self, size: int) -> bytes:
        data = bytes(self.rest[:size])
        del self.rest[:size]
        return data


def make_frame(head: int, payload: bytes, *, is_masked: bool) -> bytes:
    """A frame with this first byte; where it is masked, as those of clients are, then with zeros."""
    mask = _MASKED if is_masked else 0
    if len(payload) < min(_LENGTHS):
        start = bytes([head, mask | len(payload)])
    else:
        sign, size = next(each for each in _LENGTHS.items() if len(payload) < 1 << 8 * each[1])
        start = bytes([head, mask | sign]) + len(payload).to_bytes(size, "big")
    return start + bytes(_MASK_BYTES if is_masked else 0) + payload


def make_message(payload: bytes, *, is_masked: bool, is_inside: bool = False) -> bytes:
    """A frame for bytes of MQTT that no frame brought: a message, or a part of the one that has begun."""
    return make_frame(CONTINUATION if is_inside else BINARY | _LAST, payload, is_masked=is_masked)


def _mask(payload: bytes, key: bytes) -> bytes:
    if not any(key):
        return payload
    size = len(payload)
    keys = (key * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")
