import io

import pytest

from linkstead.scripts.frames import FRAME_BYTES_MAX, FrameError, decode_length, encode_frames, read_frame


def test_frames_are_read_as_they_were_written() -> None:
    pipe = io.BytesIO(encode_frames(b"one", b"", b"\x00three"))
    assert [read_frame(pipe) for _ in range(4)] == [b"one", b"", b"\x00three", None]


def test_the_largest_frame_fits_and_a_larger_one_does_not() -> None:
    assert decode_length(encode_frames(bytes(FRAME_BYTES_MAX))[:4]) == FRAME_BYTES_MAX
    with pytest.raises(FrameError, match="over 2097152 B"):
        encode_frames(bytes(FRAME_BYTES_MAX + 1))
    with pytest.raises(FrameError, match="over 2097152 B"):
        decode_length((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("kept", [1, 3, 4, 6])
def test_a_pipe_that_ends_inside_a_frame_is_at_fault(kept: int) -> None:
    with pytest.raises(FrameError, match="ended inside"):
        read_frame(io.BytesIO(encode_frames(b"one")[:kept]))
