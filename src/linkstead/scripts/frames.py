"""What goes over the pipes between the server and a child that runs scripts: texts, each with its length before it.

The server sends three, the script, the name of its function, and the JSON list of the arguments. The child sends two, a
code and a text: `OK` and the result as JSON, or one of the vendor's numbers and what went wrong. As it starts it sends
`READY` and nothing.
"""

import struct
from typing import BinaryIO

FRAME_BYTES_MAX = 2 * 1024 * 1024
"""More than the JSON list of the bytes of the largest message has."""

LENGTH = struct.Struct("!I")
READY = b"ready"
OK = b"ok"


class FrameError(Exception):
    """A length is over FRAME_BYTES_MAX, or the pipe ended inside a frame."""


def encode_frames(*texts: bytes) -> bytes:
    """Put the length before each. Raises FrameError."""
    parts: list[bytes] = []
    for text in texts:
        if len(text) > FRAME_BYTES_MAX:
            raise FrameError(f"a frame of {len(text)} B is over {FRAME_BYTES_MAX} B")
        parts += (LENGTH.pack(len(text)), text)
    return b"".join(parts)


def decode_length(head: bytes) -> int:
    """The bytes that follow this head. Raises FrameError."""
    (length,) = LENGTH.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} B is over {FRAME_BYTES_MAX} B")
    return int(length)


def read_frame(pipe: BinaryIO) -> bytes | None:
    """Wait for the next text; None when the pipe has ended. Raises FrameError."""
    head = pipe.read(LENGTH.size)
    if not head:
        return None
    if len(head) == LENGTH.size:
        length = decode_length(head)
        text = pipe.read(length)
        if len(text) == length:
            return text
    raise FrameError("the pipe ended inside a frame")
