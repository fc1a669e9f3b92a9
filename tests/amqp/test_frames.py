"""The codec: what is written is read again, and whatever is read ends in a value or in Malformed."""

import contextlib
import struct
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.amqp import frames
from linkstead.amqp.frames import (
    DEPTH_MAX,
    FRAME_BYTES_MIN,
    HEARTBEAT,
    ITEMS_MAX,
    Accepted,
    Attach,
    Begin,
    Close,
    Described,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Malformed,
    Modified,
    Open,
    RawFrame,
    Received,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Splitter,
    Symbol,
    Target,
    Transfer,
    decode_frame,
    decode_value,
    encode_frame,
    encode_message,
    encode_transfers,
    encode_value,
)

MAX_FRAME = 65_536
symbols = st.text(st.characters(max_codepoint=126), max_size=20).map(Symbol)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    symbols,
    st.binary(max_size=300),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(scalars, inner, max_size=6),
        st.builds(Described, st.one_of(st.integers(0, 2**64 - 1), symbols), inner),
    ),
    max_leaves=20,
)
maps = st.none() | st.dictionaries(symbols, scalars, max_size=4)
uints, ushorts, ubytes = (st.integers(0, 2**bits - 1) for bits in (32, 16, 8))
names = st.lists(symbols, max_size=4).map(tuple)
errors = st.builds(Error, condition=symbols, description=st.none() | st.text(max_size=40), info=maps)
states = st.one_of(
    st.builds(Received, section_number=uints, section_offset=st.integers(0, 2**64 - 1)),
    st.builds(Accepted),
    st.builds(Rejected, error=st.none() | errors),
    st.builds(Released),
    st.builds(Modified, delivery_failed=st.booleans(), undeliverable_here=st.booleans(), message_annotations=maps),
    st.builds(Described, st.integers(0x30, 0x40), st.lists(scalars, max_size=3)),
)
termini = {
    "address": scalars,
    "durable": uints,
    "expiry_policy": symbols,
    "timeout": uints,
    "dynamic": st.booleans(),
    "dynamic_node_properties": maps,
    "capabilities": names,
}
sources = st.builds(
    Source,
    **termini,
    distribution_mode=st.none() | symbols,
    filter=maps,
    default_outcome=st.none() | states,
    outcomes=names,
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "ubyte": ubytes,
    "ushort": ushorts,
    "uint": uints,
    "ulong": st.integers(0, 2**64 - 1),
    "string": st.text(max_size=40),
    "symbol": symbols,
    "symbols": names,
    "binary": st.binary(max_size=40),
    "map": maps,
    "error": errors,
    "state": states,
    "source": sources,
    "target": st.builds(Target, **termini),
}
PERFORMATIVES = [
    *(Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close),
    *(SaslMechanisms, SaslInit, SaslOutcome),
]


def _strategy(make: type) -> st.SearchStrategy[Any]:
    spec = frames._CODE_OF[make]
    built = {}
    for field in spec.fields:
        strategy = KINDS[field.kind].filter(lambda value: value is not None)
        built[field.name] = strategy if field.is_mandatory else strategy | st.just(field.default)
    return st.builds(make, **built)


def _read(data: bytes, frame_bytes_max: int = MAX_FRAME) -> RawFrame:
    splitter = Splitter(frame_bytes_max)
    splitter.feed(data)
    frame = splitter.take_frame()
    assert frame is not None
    assert splitter.pending_bytes == 0
    return frame


@given(values)
def test_a_value_comes_back(value: Any) -> None:
    data = encode_value(value)
    assert decode_value(data) == (value, len(data))


@pytest.mark.parametrize("make", PERFORMATIVES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_performative_comes_back(make: type, data: st.DataObject) -> None:
    performative = data.draw(_strategy(make))
    payload = b"payload" if make is Transfer else b""
    channel = 0 if make in PERFORMATIVES[9:] else 5
    frame = _read(encode_frame(performative, channel, payload))
    assert decode_frame(frame) == (performative, payload)
    assert frame.channel == channel
    assert len(fields(make)) == len(frames._CODE_OF[make].fields)


@given(data=st.data())
def test_a_frame_cut_short_is_malformed(data: st.DataObject) -> None:
    performative = data.draw(st.sampled_from([Open, Attach, Flow, Disposition, SaslInit]).flatmap(_strategy))
    frame = _read(encode_frame(performative))
    cut = data.draw(st.integers(1, len(frame.body) - 1))
    with pytest.raises(Malformed):
        decode_frame(frame._replace(body=frame.body[:cut]))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([0, 1, 2]))
def test_whatever_comes_is_read_or_malformed(body: bytes, frame_type: int) -> None:
    for data in (body, b"\x00\x53" + body, b"\x00\x53\x12\xc0" + body):
        with contextlib.suppress(Malformed):
            decode_frame(RawFrame(frame_type, 0, data))


@settings(max_examples=300)
@given(data=st.data())
def test_a_frame_with_other_bytes_is_read_or_malformed(data: st.DataObject) -> None:
    performative = data.draw(st.sampled_from([Open, Attach, Flow, Disposition, Begin]).flatmap(_strategy))
    body = bytearray(_read(encode_frame(performative)).body)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        decode_frame(RawFrame(0, 0, bytes(body)))


def test_a_known_open_is_the_bytes_of_the_standard() -> None:
    data = bytes.fromhex("0000001c 02000000 005310 c0 0f 05 a103616263 40 7000001000 40 520a".replace(" ", ""))
    data = struct.pack("!I", len(data)) + data[4:]
    opened, _ = decode_frame(_read(data))
    assert opened == Open(container_id="abc", max_frame_size=4096, idle_time_out=10)
    assert encode_frame(Close()) == bytes.fromhex("0000000c0200000000531845")
    assert encode_frame(SaslOutcome(code=1)) == bytes.fromhex("00000010020100000053 44c003015001".replace(" ", ""))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("43", 0),
        ("44", 0),
        ("45", []),
        ("5601", True),
        ("5600", False),
        ("50ff", 255),
        ("51ff", -1),
        ("60ffff", 65_535),
        ("61ffff", -1),
        ("70ffffffff", 2**32 - 1),
        ("71ffffffff", -1),
        ("52ff", 255),
        ("53ff", 255),
        ("54ff", -1),
        ("55ff", -1),
        ("80ffffffffffffffff", 2**64 - 1),
        ("81ffffffffffffffff", -1),
        ("723fc00000", 1.5),
        ("823ff8000000000000", 1.5),
        ("7300000041", b"\0\0\0A"),
        ("98" + "ab" * 16, b"\xab" * 16),
        ("8400" + "00" * 7, bytes(8)),
        ("b100000001" + "61", "a"),
        ("b300000001" + "61", "a"),
        ("b000000001" + "61", b"a"),
        ("d0000000060000000241" + "42", [True, False]),
        ("c0030241" + "42", [True, False]),
        ("d100000006000000024142", {True: False}),
        ("e00402500102", [1, 2]),
        ("f000000007000000025501ff", [1, -1]),
        ("e006010053015007", [Described(1, 7)]),
    ],
)
def test_every_type_of_the_standard_is_read(data: str, value: Any) -> None:
    raw = bytes.fromhex(data)
    assert decode_value(raw) == (value, len(raw))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "cut short"),
        ("5602", "neither 0 nor 1"),
        ("46", "no type 0x46"),
        ("a2" + "0161", "no type 0xa2"),
        ("99", "no type 0x99"),
        ("a102" + "ff61", "not UTF-8"),
        ("a301" + "ff", "not ASCII"),
        ("a105" + "61", "cut short"),
        ("a1", "cut short"),
        ("b1ffffffff" + "61", "cut short"),
        ("c00002", "cut short"),
        ("c0ff0141", "cut short"),
        ("c0020241", "cut short"),
        ("c004024141" + "41", "does not end"),
        ("c10201" + "41", "key without a value"),
        ("c10402" + "414141", "does not end"),
        ("c10302" + "4541", "not a plain value"),
        ("e00401500101", "does not end"),
        ("e0020140", "type 0x40"),
        ("e0050100530140", "type 0x40"),
        ("e0050100530100", "type 0x00"),
        ("f0000000050000ffff" + "45", "over 4096"),
        ("d0000000040000ffff", "over 4096"),
    ],
)
def test_what_is_wrong_with_a_value_is_told(data: str, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        decode_value(bytes.fromhex(data))


def test_values_stand_so_deep_in_each_other_and_no_deeper() -> None:
    value: Any = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    assert decode_value(encode_value(value))[0] == value
    with pytest.raises(Malformed, match="more than 16 deep"):
        decode_value(encode_value([value]))
    with pytest.raises(Malformed, match="more than 16 deep"):
        decode_value(b"\x00" * 2_000)
    with pytest.raises(Malformed, match="more than 16 deep"):
        decode_value(b"\xe0\xff\x01" * 2_000)


def test_lists_are_so_long_and_no_longer() -> None:
    assert decode_value(encode_value([None] * ITEMS_MAX))[0] == [None] * ITEMS_MAX
    with pytest.raises(Malformed, match="4097 items, over 4096"):
        decode_value(encode_value([None] * (ITEMS_MAX + 1)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**63, "a long"),
        (Symbol("ä"), "ASCII"),
        (Described(-1, 1), "a descriptor"),
    ],
)
def test_what_cannot_be_sent_is_told(value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encode_value(value)


def test_a_field_out_of_range_is_told() -> None:
    with pytest.raises(ValueError, match="channel-max"):
        encode_frame(Open(container_id="x", channel_max=65_536))
    with pytest.raises(ValueError, match="Open is without container-id"):
        encode_frame(Open(container_id=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "condition", "text"),
    [
        ("005310" + "45", "amqp:invalid-field", "Open is without container-id"),
        ("005310" + "c0020140", "amqp:invalid-field", "Open is without container-id"),
        ("005310" + "c0020141", "amqp:decode-error", "container-id of Open has the type 0x41, not string"),
        ("005318" + "c0030240" + "40", "amqp:decode-error", "Close has 2 fields, 1 are known"),
        ("005318" + "4540", "amqp:decode-error", "bytes stand behind the Close"),
        ("005318" + "41", "amqp:decode-error", "where a list belongs"),
        ("005318" + "c0030140" + "40", "amqp:decode-error", "does not end"),
        ("005319" + "45", "amqp:not-implemented", "the descriptor 25"),
        ("00a303" + "616263" + "45", "amqp:not-implemented", "the descriptor 'abc'"),
        ("40", "amqp:decode-error", "type 0x40"),
        ("005315" + "c0060541434041" + "41", "amqp:decode-error", "state of Disposition is not described"),
    ],
)
def test_what_is_wrong_with_a_frame_is_told(body: str, condition: str, text: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_frame(RawFrame(0, 0, bytes.fromhex(body)))
    assert caught.value.condition == condition
    assert text in caught.value.text


def test_a_descriptor_may_be_a_symbol() -> None:
    body = b"\x00" + encode_value(Symbol("amqp:close:list")) + b"\x45"
    assert decode_frame(RawFrame(0, 0, body)) == (Close(), b"")
    state = b"\x00" + encode_value(Symbol("amqp:accepted:list")) + b"\x45"
    body = b"\x00\x53\x15\xc0" + bytes([len(state) + 5, 5]) + b"\x41\x43\x40\x41" + state
    assert decode_frame(RawFrame(0, 0, body)) == (Disposition(role=True, first=0, settled=True, state=Accepted()), b"")
    body = b"\x00" + encode_value(Symbol("amqp:sasl-outcome:list")) + b"\xc0\x03\x01\x50\x00"
    assert decode_frame(RawFrame(1, 0, body)) == (SaslOutcome(code=0), b"")


def test_a_state_whose_descriptor_is_no_number_stays_as_it_is() -> None:
    state = b"\x00\x45\x45"
    body = b"\x00\x53\x15\xc0" + bytes([len(state) + 5, 5]) + b"\x41\x43\x40\x41" + state
    decoded, _ = decode_frame(RawFrame(0, 0, body))
    assert decoded == Disposition(role=True, first=0, settled=True, state=Described([], []))


def test_frames_are_cut_wherever_their_bytes_are_split() -> None:
    sent = [encode_frame(Close()), HEARTBEAT, encode_frame(SaslOutcome(code=0))]
    splitter, header, found = Splitter(MAX_FRAME), None, []
    for byte in frames.AMQP_HEADER + b"".join(sent):
        splitter.feed(bytes([byte]))
        if header is None:
            header = splitter.take_header()
        elif frame := splitter.take_frame():
            found.append(decode_frame(frame)[0])
    assert header == frames.AMQP_HEADER
    assert found == [Close(), None, SaslOutcome(code=0)]


def test_a_frame_is_so_large_and_no_larger() -> None:
    assert len(_read(struct.pack("!IBBH", 512, 2, 0, 0) + bytes(504), 512).body) == 504
    for head, text in (
        (struct.pack("!IBBH", 513, 2, 0, 0), "a frame of 513 bytes"),
        (struct.pack("!IBBH", 7, 2, 0, 0), "a frame of 7 bytes"),
        (struct.pack("!IBBH", 8, 1, 0, 0), "data offset 1"),
        (struct.pack("!IBBH", 8, 3, 0, 0), "data offset 3"),
    ):
        splitter = Splitter(512)
        splitter.feed(head)
        with pytest.raises(Malformed, match=text):
            splitter.take_frame()


def test_an_extended_header_is_skipped() -> None:
    body = encode_frame(Close())[8:]
    data = struct.pack("!IBBH", 12 + len(body), 3, 0, 0) + b"more" + body
    assert decode_frame(_read(data)) == (Close(), b"")


@given(st.integers(0, 3_000), st.integers(FRAME_BYTES_MIN, 1_024))
def test_a_message_is_split_over_frames_that_the_receiver_takes(size: int, frame_bytes_max: int) -> None:
    message = bytes(index % 251 for index in range(size))
    sent = encode_transfers(3, 2, 77, message, frame_bytes_max)
    read = [decode_frame(_read(frame, frame_bytes_max)) for frame in sent]
    assert b"".join(payload for _, payload in read) == message
    first = Transfer(
        handle=2, delivery_id=77, delivery_tag=b"\0\0\0M", message_format=0, settled=False, more=len(sent) > 1
    )
    assert read[0][0] == first
    for position, (transfer, _) in enumerate(read[1:], 2):
        assert transfer == Transfer(handle=2, more=position < len(sent))


def sections(message: bytes) -> dict[int, Any]:
    """The sections of a message by their descriptors."""
    found, pos = {}, 0
    while pos < len(message):
        section, pos = decode_value(message, pos)
        assert isinstance(section, Described)
        assert section.descriptor not in found
        found[section.descriptor] = section.value
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(("attempts", "first_acquirer"), [(1, True), (3, False)])
def test_a_message_has_its_sections(attempts: int, first_acquirer: bool) -> None:
    message = encode_message("/t", b"\xff" * 300, message_id="889", generated_ms=5, qos=1, attempts=attempts)
    found = sections(message)
    assert found[0x70] == [True, None, None, first_acquirer, attempts - 1]
    assert found[0x73] == ["889", *[None] * 8, 5]
    assert found[0x74] == {"topic": "/t", "messageId": "889", "generateTime": 5, "qos": 1}
    assert found[0x75] == b"\xff" * 300
    assert list(found) == [0x70, 0x73, 0x74, 0x75]
