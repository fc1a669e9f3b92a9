"""Frames of a WebSocket as they are cut and made again, held against what made and what reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from linkstead.faults.frames import BINARY, CONTINUATION, FRAME_BYTES_MAX, Frame, Frames, make_frame, make_message
from linkstead.mqtt.websocket import HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX
from tests.mqtt.test_websocket import frame

LAST = 0x80


def cut(data: bytes, size: int) -> list[Frame]:
    """All frames in bytes that come so many at a time."""
    frames = Frames()
    found = []
    for at in range(0, len(data), size):
        frames.feed(data[at : at + size])
        while (each := frames.take_frame()) is not None:
            found.append(each)
    assert frames.take_rest() == b""
    return found


def read_as_server(data: bytes) -> list[tuple[int, bytes, bool]]:
    """What the library reads that the server reads with: of what message, payload, and whether it is complete."""
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(data)
    found: list[tuple[int, bytes, bool]] = []
    for each in protocol.received_frames():
        assert isinstance(each.payload, bytes | bytearray)
        found.append((each.opcode, bytes(each.payload), each.message_finished))
    return found


@given(payload=st.binary(max_size=300), masked=st.booleans(), last=st.booleans(), size=st.integers(1, 400))
def test_a_frame_is_cut_and_made_as_it_was(payload: bytes, masked: bool, last: bool, size: int) -> None:
    data = frame(payload, is_masked=masked, is_last=last)
    assert cut(data * 2, size) == [Frame(BINARY | LAST * last, payload, data)] * 2
    assert make_frame(BINARY | LAST * last, payload, is_masked=masked) == data


@given(payload=st.binary(max_size=300))
def test_the_mask_of_a_client_is_taken_off(payload: bytes) -> None:
    client = FrameProtocol(client=True, extensions=[])
    [found] = cut(bytes(client.send_data(payload, fin=True)), 7)
    assert (found.payload, found.is_binary, found.is_last) == (payload, True, True)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, MESSAGE_BYTES_MAX])
def test_every_length_is_written_as_it_is_read(size: int) -> None:
    payload = bytes(size)
    assert read_as_server(make_message(payload, is_masked=True))[0][0] == Opcode.BINARY
    assert sum(len(part) for _, part, _ in read_as_server(make_message(payload, is_masked=True))) == size
    [found] = cut(make_message(payload, is_masked=False), 100_000)
    assert found.payload == payload


def test_a_frame_that_is_changed_keeps_its_place_in_the_message() -> None:
    data = frame(b"one ", is_last=False) + frame(b"two", opcode=CONTINUATION)
    begun, ended = cut(data, len(data))
    changed = begun.change(b"") + ended.change(b"three")
    assert read_as_server(changed) == [(Opcode.BINARY, b"", False), (Opcode.BINARY, b"three", True)]
    assert cut(frame(b"x", is_masked=False), 9)[0].change(b"y") == frame(b"y", is_masked=False)


def test_what_is_put_inside_a_message_is_a_part_of_it() -> None:
    data = frame(b"one", is_last=False) + make_message(b"held", is_masked=True, is_inside=True)
    data += frame(b"two", opcode=CONTINUATION)
    assert [part for _, part, _ in read_as_server(data)] == [b"one", b"held", b"two"]


@pytest.mark.parametrize(
    ("head", "is_binary"), [(0x82, True), (0x00, True), (0x81, False), (0x89, False), (0xC2, False)]
)
def test_only_messages_of_bytes_are_looked_into(head: int, is_binary: bool) -> None:
    assert cut(make_frame(head, b"x", is_masked=True), 9)[0].is_binary is is_binary


def test_a_frame_as_long_as_the_bound_is_waited_for_and_no_longer_one() -> None:
    head_bytes = 14
    fits = frame(bytes(FRAME_BYTES_MAX - head_bytes))
    assert len(fits) == FRAME_BYTES_MAX
    assert len(cut(fits, 100_000)) == 1
    frames = Frames()
    frames.feed(frame(bytes(FRAME_BYTES_MAX - head_bytes + 1))[:head_bytes])
    with pytest.raises(ValueError, match=f"over {FRAME_BYTES_MAX}"):
        frames.take_frame()
    assert len(frames.take_rest()) == head_bytes


def test_a_head_is_waited_for_up_to_the_bound() -> None:
    frames = Frames()
    frames.feed(b"GET " + bytes(HANDSHAKE_BYTES_MAX - 5))
    assert frames.take_head() is None
    assert not frames.is_open
    frames.feed(b"x")
    with pytest.raises(ValueError, match="head"):
        frames.take_head()


def test_what_is_behind_the_head_is_left() -> None:
    frames = Frames()
    frames.feed(b"GET / HTTP/1.1\r\nHost: x\r")
    assert frames.take_head() is None
    frames.feed(b"\n\r\n" + frame(b"x"))
    assert frames.take_head() == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert frames.is_open
    assert frames.take_frame() == Frame(0x82, b"x", frame(b"x"))
