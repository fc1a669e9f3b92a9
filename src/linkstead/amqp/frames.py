"""AMQP 1.0 frames: bytes to dataclasses and back, for both sides of a connection, and the messages that they carry.

`Splitter` cuts a byte stream into protocol headers and frames, `decode_frame` reads one, `encode_frame` makes one. What
a peer did wrong is `Malformed`, with the condition that AMQP names it by; what the caller did wrong is ValueError,
naming the field.

A value of no fixed type is a Python value: bool, int (of any width), float, str, `Symbol`, bytes (binary, UUID,
decimal, character), list (list and array), dict, `Described` and None. An int is sent as long.

Sections and tables are those of the OASIS standard of 2012: parts 1 (types), 2 (transport), 3 (messaging), 5 (SASL).
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, NamedTuple, TypeAlias

SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
HEADER_BYTES: Final = 8

AMQP_FRAME: Final = 0
SASL_FRAME: Final = 1

FRAME_BYTES_MIN: Final = 512
"""What every peer takes. Source: section 2.4.1, MIN-MAX-FRAME-SIZE."""

DEPTH_MAX: Final = 16
"""Lists, maps, arrays and descriptors within each other. The standard has no bound; peers send 4."""

ITEMS_MAX: Final = 4_096
"""Items of one list, map or array. The standard has no bound; peers send some dozens."""

UINT_MAX: Final = 0xFFFFFFFF

DECODE_ERROR: Final = "amqp:decode-error"
FRAMING_ERROR: Final = "amqp:connection:framing-error"
INVALID_FIELD: Final = "amqp:invalid-field"
NOT_IMPLEMENTED: Final = "amqp:not-implemented"

_BYTE, _UBYTE, _USHORT, _UINT, _ULONG = (struct.Struct("!" + code) for code in "bBHIQ")
_INT, _LONG, _DOUBLE = (struct.Struct("!" + code) for code in "iqd")
_FRAME_HEAD: Final = struct.Struct("!IBBH")


class Malformed(Exception):
    """The peer's bytes are not AMQP. `condition` is the standard's name of the error. Source: section 2.8.15."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition
        self.text = text


class Symbol(str):
    """A text of ASCII that names something."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means: a number or a symbol."""

    descriptor: "Value"
    value: "Value"


Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[Value, Value] | Described | None"
Symbols: TypeAlias = tuple[str, ...]
Properties: TypeAlias = dict[Value, Value]


# --- what frames carry. Source: sections 2.7, 2.8, 3.4, 3.5, 5.3.3; the wire types are in _SPECS ---


@dataclass(slots=True, kw_only=True)
class Error:
    """Why something ended."""

    condition: str
    description: str | None = None
    info: Properties | None = None


@dataclass(slots=True, kw_only=True)
class Open:
    """The parameters of a connection. idle_time_out: milliseconds, None for never."""

    container_id: str
    hostname: str | None = None
    max_frame_size: int = UINT_MAX
    channel_max: int = 0xFFFF
    idle_time_out: int | None = None
    outgoing_locales: Symbols = ()
    incoming_locales: Symbols = ()
    offered_capabilities: Symbols = ()
    desired_capabilities: Symbols = ()
    properties: Properties | None = None


@dataclass(slots=True, kw_only=True)
class Begin:
    """The parameters of a session. remote_channel: only in the answer."""

    remote_channel: int | None = None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int = UINT_MAX
    offered_capabilities: Symbols = ()
    desired_capabilities: Symbols = ()
    properties: Properties | None = None


@dataclass(slots=True, kw_only=True)
class Source:
    """Where a link's messages come from. expiry_policy, distribution_mode: symbols."""

    address: Value = None
    durable: int = 0
    expiry_policy: str = "session-end"
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Properties | None = None
    distribution_mode: str | None = None
    filter: Properties | None = None
    default_outcome: Any = None
    outcomes: Symbols = ()
    capabilities: Symbols = ()


@dataclass(slots=True, kw_only=True)
class Target:
    """Where a link's messages go."""

    address: Value = None
    durable: int = 0
    expiry_policy: str = "session-end"
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Properties | None = None
    capabilities: Symbols = ()


@dataclass(slots=True, kw_only=True)
class Attach:
    """The parameters of a link. role: True for a receiver. source, target: None in the refusal of a link."""

    name: str
    handle: int
    role: bool
    snd_settle_mode: int = 2
    rcv_settle_mode: int = 0
    source: Any = None
    target: Any = None
    unsettled: Properties | None = None
    incomplete_unsettled: bool = False
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: Symbols = ()
    desired_capabilities: Symbols = ()
    properties: Properties | None = None


@dataclass(slots=True, kw_only=True)
class Flow:
    """The state of a session, and of one of its links where `handle` is there."""

    next_incoming_id: int | None = None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool = False
    echo: bool = False
    properties: Properties | None = None


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A message or a part of it, the payload of its frame."""

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool = False
    rcv_settle_mode: int | None = None
    state: Any = None
    resume: bool = False
    aborted: bool = False
    batchable: bool = False


@dataclass(slots=True, kw_only=True)
class Disposition:
    """What became of deliveries. role: True when the receiver says so. last: None means first."""

    role: bool
    first: int
    last: int | None = None
    settled: bool = False
    state: Any = None
    batchable: bool = False


@dataclass(slots=True, kw_only=True)
class Detach:
    """The end of a link."""

    handle: int
    closed: bool = False
    error: Error | None = None


@dataclass(slots=True, kw_only=True)
class End:
    """The end of a session."""

    error: Error | None = None


@dataclass(slots=True, kw_only=True)
class Close:
    """The end of a connection."""

    error: Error | None = None


@dataclass(slots=True, kw_only=True)
class Received:
    """So much of the delivery has come; not an end."""

    section_number: int
    section_offset: int


@dataclass(slots=True, kw_only=True)
class Accepted:
    """Taken."""


@dataclass(slots=True, kw_only=True)
class Rejected:
    """Not to be taken by anybody."""

    error: Error | None = None


@dataclass(slots=True, kw_only=True)
class Released:
    """Not taken."""


@dataclass(slots=True, kw_only=True)
class Modified:
    """Not taken, with something to remember."""

    delivery_failed: bool = False
    undeliverable_here: bool = False
    message_annotations: Properties | None = None


@dataclass(slots=True, kw_only=True)
class SaslMechanisms:
    """The ways to log in."""

    sasl_server_mechanisms: Symbols = ()


@dataclass(slots=True, kw_only=True)
class SaslInit:
    """The way chosen, and its first bytes."""

    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(slots=True, kw_only=True)
class SaslOutcome:
    """What became of the login: 0 ok, 1 the credentials, 2 the system, 3 for good, 4 for now."""

    code: int
    additional_data: bytes | None = None


Outcome = Accepted | Rejected | Released | Modified
Performative = Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close
SaslPerformative = SaslMechanisms | SaslInit | SaslOutcome


class _Field(NamedTuple):
    name: str
    kind: str
    is_mandatory: bool
    default: Any


class _Spec(NamedTuple):
    code: int
    make: type
    fields: tuple[_Field, ...]


def _spec(code: int, make: type, kinds: str = "") -> _Spec:
    """Kinds of the fields in their order; `!` says that the field has to be there."""
    rows = [
        _Field(field.name, kind.rstrip("!"), kind.endswith("!"), None if field.default is MISSING else field.default)
        for field, kind in zip(fields(make), kinds.split(), strict=True)
    ]
    return _Spec(code, make, tuple(rows))


_ERROR: Final = _spec(0x1D, Error, "symbol! string map")
_SOURCE: Final = _spec(0x28, Source, "any uint symbol uint boolean map symbol map state symbols symbols")
_TARGET: Final = _spec(0x29, Target, "any uint symbol uint boolean map symbols")
_STATES: Final = {
    spec.code: spec
    for spec in (
        _spec(0x23, Received, "uint! ulong!"),
        _spec(0x24, Accepted),
        _spec(0x25, Rejected, "error"),
        _spec(0x26, Released),
        _spec(0x27, Modified, "boolean boolean map"),
    )
}
_PERFORMATIVES: Final = {
    spec.code: spec
    for spec in (
        _spec(0x10, Open, "string! string uint ushort uint symbols symbols symbols symbols map"),
        _spec(0x11, Begin, "ushort uint! uint! uint! uint symbols symbols map"),
        _spec(
            0x12,
            Attach,
            "string! uint! boolean! ubyte ubyte source target map boolean uint ulong symbols symbols map",
        ),
        _spec(0x13, Flow, "uint uint! uint! uint! uint uint uint uint boolean boolean map"),
        _spec(0x14, Transfer, "uint! uint binary uint boolean boolean ubyte state boolean boolean boolean"),
        _spec(0x15, Disposition, "boolean! uint! uint boolean state boolean"),
        _spec(0x16, Detach, "uint! boolean error"),
        _spec(0x17, End, "error"),
        _spec(0x18, Close, "error"),
    )
}
_SASL: Final = {
    spec.code: spec
    for spec in (
        _spec(0x40, SaslMechanisms, "symbols"),
        _spec(0x41, SaslInit, "symbol! binary string"),
        _spec(0x44, SaslOutcome, "ubyte! binary"),
    )
}
_NESTED: Final = {
    "error": {_ERROR.code: _ERROR},
    "source": {_SOURCE.code: _SOURCE},
    "target": {_TARGET.code: _TARGET},
    "state": _STATES,
}
_OPEN_KINDS: Final = frozenset(("source", "target", "state"))
"""Where the standard has more than is read here (transactions): those stay `Described`."""

_CODE_OF: Final = {
    spec.make: spec for spec in (_ERROR, _SOURCE, _TARGET, *_STATES.values(), *_PERFORMATIVES.values(), *_SASL.values())
}
_SYMBOLIC: Final = {
    **{f"amqp:{spec.make.__name__.lower()}:list": code for code, spec in (*_PERFORMATIVES.items(), *_STATES.items())},
    **{f"amqp:{spec.make.__name__.lower()}:list": spec.code for spec in (_ERROR, _SOURCE, _TARGET)},
    "amqp:sasl-mechanisms:list": 0x40,
    "amqp:sasl-init:list": 0x41,
    "amqp:sasl-outcome:list": 0x44,
}
"""A descriptor may be its symbol in place of its number. Source: section 1.3.1."""

# --- the byte stream ---


class RawFrame(NamedTuple):
    """A frame without its head."""

    type: int
    channel: int
    body: bytes


class Splitter:
    """Cuts a byte stream into protocol headers and frames, whichever the caller expects next."""

    __slots__ = ("_buffer", "_frame_bytes_max", "_pos")

    def __init__(self, frame_bytes_max: int) -> None:
        self._buffer = bytearray()
        self._pos = 0
        self._frame_bytes_max = frame_bytes_max

    @property
    def pending_bytes(self) -> int:
        """How many bytes were fed and not taken."""
        return len(self._buffer) - self._pos

    def feed(self, data: bytes) -> None:
        """Take bytes that came."""
        if self._pos:
            del self._buffer[: self._pos]
            self._pos = 0
        self._buffer += data

    def take_header(self) -> bytes | None:
        """The next HEADER_BYTES; None until they are there."""
        return self._take(HEADER_BYTES) if self.pending_bytes >= HEADER_BYTES else None

    def take_frame(self) -> RawFrame | None:
        """The next frame; None until it is there.

        Raises:
            Malformed: its size or its data offset cannot be.
        """
        if self.pending_bytes < HEADER_BYTES:
            return None
        size, offset, frame_type, channel = _FRAME_HEAD.unpack_from(self._buffer, self._pos)
        if not HEADER_BYTES <= size <= self._frame_bytes_max:
            raise Malformed(
                FRAMING_ERROR, f"a frame of {size} bytes; {HEADER_BYTES} to {self._frame_bytes_max} are taken"
            )
        if not 2 <= offset <= size // 4:
            raise Malformed(FRAMING_ERROR, f"the data offset {offset} is outside the frame")
        if self.pending_bytes < size:
            return None
        return RawFrame(frame_type, channel, self._take(size)[offset * 4 :])

    def _take(self, size: int) -> bytes:
        start = self._pos
        self._pos += size
        return bytes(self._buffer[start : self._pos])


# --- bytes to values ---


def decode_frame(frame: RawFrame) -> tuple[Performative | SaslPerformative | None, bytes]:
    """Read a frame: what it says, None for a heartbeat, and the payload of a Transfer.

    Raises:
        Malformed: with amqp:decode-error, amqp:invalid-field, amqp:not-implemented or a framing error.
    """
    if frame.type == AMQP_FRAME:
        specs = _PERFORMATIVES
    elif frame.type == SASL_FRAME:
        specs = _SASL
    else:
        raise Malformed(FRAMING_ERROR, f"frame type {frame.type} is unknown")
    body = frame.body
    if not body and frame.type == AMQP_FRAME:
        return None, b""
    try:
        performative, pos = _read_composite(body, 0, specs, 0)
    except (IndexError, struct.error):
        raise Malformed(DECODE_ERROR, "the frame is cut short") from None
    if pos != len(body) and not isinstance(performative, Transfer):
        raise Malformed(DECODE_ERROR, f"bytes stand behind the {type(performative).__name__} of a frame")
    return performative, body[pos:]


def decode_value(data: bytes, pos: int = 0) -> tuple[Value, int]:
    """Read one value of any type; returns it and where the next byte stands.

    Raises:
        Malformed: it is none, is cut short, or is over DEPTH_MAX or ITEMS_MAX.
    """
    try:
        return _read_value(data, pos, 0)
    except (IndexError, struct.error):
        raise Malformed(DECODE_ERROR, "a value is cut short") from None


_FIXED: Final = {
    0x50: _UBYTE,
    0x51: _BYTE,
    0x52: _UBYTE,
    0x53: _UBYTE,
    0x54: _BYTE,
    0x55: _BYTE,
    0x60: _USHORT,
    0x61: struct.Struct("!h"),
    0x70: _UINT,
    0x71: _INT,
    0x72: struct.Struct("!f"),
    0x80: _ULONG,
    0x81: _LONG,
    0x82: _DOUBLE,
    0x83: _LONG,
}
_OPAQUE_BYTES: Final = {0x73: 4, 0x74: 4, 0x84: 8, 0x94: 16, 0x98: 16}  # character, decimals, UUID
_KINDS: Final = {
    "boolean": frozenset((0x41, 0x42, 0x56)),
    "ubyte": frozenset((0x50,)),
    "ushort": frozenset((0x60,)),
    "uint": frozenset((0x43, 0x52, 0x70)),
    "ulong": frozenset((0x44, 0x53, 0x80)),
    "string": frozenset((0xA1, 0xB1)),
    "symbol": frozenset((0xA3, 0xB3)),
    "symbols": frozenset((0xA3, 0xB3, 0xE0, 0xF0)),
    "binary": frozenset((0xA0, 0xB0)),
    "map": frozenset((0xC1, 0xD1)),
}


def _read_composite(data: bytes, pos: int, specs: Mapping[int, _Spec], depth: int) -> tuple[Any, int]:
    """A described list as the dataclass of its descriptor."""
    if data[pos] != 0x00:
        raise Malformed(DECODE_ERROR, f"type 0x{data[pos]:02x} stands where a described list belongs")
    descriptor, pos = _read_value(data, pos + 1, depth + 1)
    code = _SYMBOLIC.get(descriptor) if isinstance(descriptor, Symbol) else descriptor
    spec = specs.get(code) if isinstance(code, int) else None
    if spec is None:
        raise Malformed(NOT_IMPLEMENTED, f"the descriptor {descriptor!r:.60} is not known here")
    count, pos, end = _read_list_head(data, pos)
    if count > len(spec.fields):
        raise Malformed(DECODE_ERROR, f"{spec.make.__name__} has {count} fields, {len(spec.fields)} are known")
    found: dict[str, Any] = {}
    for field in spec.fields[:count]:
        if data[pos] == 0x40:
            pos += 1
            continue
        found[field.name], pos = _read_field(data, pos, field, spec, depth + 1)
    if pos != end:
        raise Malformed(DECODE_ERROR, f"{spec.make.__name__} does not end where it says")
    for field in spec.fields:
        if field.is_mandatory and field.name not in found:
            raise Malformed(INVALID_FIELD, f"{spec.make.__name__} is without {_wire_name(field.name)}")
    return spec.make(**found), pos


def _read_field(data: bytes, pos: int, field: _Field, spec: _Spec, depth: int) -> tuple[Any, int]:
    kind = field.kind
    if kind in _NESTED:
        if kind in _OPEN_KINDS:
            value, end = _read_value(data, pos, depth)
            if not isinstance(value, Described):
                raise Malformed(DECODE_ERROR, f"{_wire_name(field.name)} of {spec.make.__name__} is not described")
            code = _SYMBOLIC.get(value.descriptor) if isinstance(value.descriptor, Symbol) else value.descriptor
            if not isinstance(code, int) or code not in _NESTED[kind]:
                return value, end
        return _read_composite(data, pos, _NESTED[kind], depth)
    if kind != "any" and data[pos] not in _KINDS[kind]:
        what = f"{_wire_name(field.name)} of {spec.make.__name__}"
        raise Malformed(DECODE_ERROR, f"{what} has the type 0x{data[pos]:02x}, not {kind}")
    value, pos = _read_value(data, pos, depth)
    if kind == "symbols":
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, Symbol) for item in items):
            raise Malformed(DECODE_ERROR, f"{_wire_name(field.name)} of {spec.make.__name__} holds more than symbols")
        return tuple(items), pos
    return value, pos


def _wire_name(name: str) -> str:
    return name.replace("_", "-")


def _read_list_head(data: bytes, pos: int) -> tuple[int, int, int]:
    """Count of a list's items, where they begin, and where they end."""
    code = data[pos]
    if code == 0x45:
        return 0, pos + 1, pos + 1
    if code not in (0xC0, 0xD0):
        raise Malformed(DECODE_ERROR, f"type 0x{code:02x} stands where a list belongs")
    return _read_compound_head(data, pos + 1, code)


def _read_compound_head(data: bytes, pos: int, code: int) -> tuple[int, int, int]:
    if code & 0xF0 in (0xC0, 0xE0):
        size, count, width = data[pos], data[pos + 1], 1
    else:
        size, count = struct.unpack_from("!II", data, pos)
        width = 4
    end = pos + width + size
    if size < width or end > len(data):
        raise Malformed(DECODE_ERROR, "a list, map or array is cut short")
    if count > ITEMS_MAX:
        raise Malformed(DECODE_ERROR, f"a list, map or array has {count} items, over {ITEMS_MAX}")
    return count, pos + 2 * width, end


def _read_value(data: bytes, pos: int, depth: int) -> tuple[Value, int]:
    code = data[pos]
    if code == 0x00:
        _check_depth(depth)
        descriptor, pos = _read_value(data, pos + 1, depth + 1)
        value, pos = _read_value(data, pos, depth + 1)
        return Described(descriptor, value), pos
    return _read_plain(data, pos + 1, code, depth)


def _read_plain(data: bytes, pos: int, code: int, depth: int) -> tuple[Value, int]:
    """The value that follows its constructor."""
    packed = _FIXED.get(code)
    if packed is not None:
        number: Value = packed.unpack_from(data, pos)[0]
        return number, pos + packed.size
    kind = code & 0xF0
    if kind == 0x40:
        return _read_constant(code), pos
    if code == 0x56:
        if data[pos] > 1:
            raise Malformed(DECODE_ERROR, "a boolean is neither 0 nor 1")
        return data[pos] == 1, pos + 1
    if kind in (0xA0, 0xB0):
        return _read_variable(data, pos, code)
    if code in (0xC0, 0xC1, 0xD0, 0xD1):
        return _read_compound(data, pos, code, depth)
    if code in (0xE0, 0xF0):
        return _read_array(data, pos, code, depth)
    size = _OPAQUE_BYTES.get(code)
    if size is None:
        raise Malformed(DECODE_ERROR, f"there is no type 0x{code:02x}")
    return _slice(data, pos, size), pos + size


def _read_constant(code: int) -> Value:
    match code:
        case 0x40:
            return None
        case 0x41:
            return True
        case 0x42:
            return False
        case 0x43 | 0x44:
            return 0
        case 0x45:
            return []
    raise Malformed(DECODE_ERROR, f"there is no type 0x{code:02x}")


def _slice(data: bytes, pos: int, size: int) -> bytes:
    if pos + size > len(data):
        raise Malformed(DECODE_ERROR, "a value is cut short")
    return data[pos : pos + size]


def _read_variable(data: bytes, pos: int, code: int) -> tuple[Value, int]:
    if code < 0xB0:
        size, pos = data[pos], pos + 1
    else:
        size, pos = _UINT.unpack_from(data, pos)[0], pos + 4
    raw = _slice(data, pos, size)
    try:
        match code & 0x0F:
            case 0x00:
                return raw, pos + size
            case 0x01:
                return raw.decode(), pos + size
            case 0x03:
                return Symbol(raw.decode("ascii")), pos + size
    except UnicodeDecodeError:
        raise Malformed(DECODE_ERROR, "a string is not UTF-8, or a symbol not ASCII") from None
    raise Malformed(DECODE_ERROR, f"there is no type 0x{code:02x}")


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise Malformed(DECODE_ERROR, f"values stand more than {DEPTH_MAX} deep in each other")


def _read_compound(data: bytes, pos: int, code: int, depth: int) -> tuple[Value, int]:
    _check_depth(depth)
    count, pos, end = _read_compound_head(data, pos, code)
    items: list[Value] = []
    for _ in range(count):
        item, pos = _read_value(data, pos, depth + 1)
        items.append(item)
    if pos != end:
        raise Malformed(DECODE_ERROR, "a list or map does not end where it says")
    if code & 0x0F == 0:
        return items, pos
    if count % 2:
        raise Malformed(DECODE_ERROR, "a map has a key without a value")
    keys = items[::2]
    if any(isinstance(key, list | dict | Described) for key in keys):
        raise Malformed(NOT_IMPLEMENTED, "a map has a key that is not a plain value")
    return dict(zip(keys, items[1::2], strict=True)), pos


def _read_array(data: bytes, pos: int, code: int, depth: int) -> tuple[Value, int]:
    _check_depth(depth)
    count, pos, end = _read_compound_head(data, pos, code)
    descriptor: Value = None
    is_described = data[pos] == 0x00
    if is_described:
        descriptor, pos = _read_value(data, pos + 1, depth + 1)
    constructor = data[pos]
    pos += 1
    if constructor == 0x00 or constructor & 0xF0 == 0x40:
        # Items without bytes of their own would make much of little.
        raise Malformed(NOT_IMPLEMENTED, f"an array's items have the type 0x{constructor:02x}")
    items: list[Value] = []
    for _ in range(count):
        item, pos = _read_plain(data, pos, constructor, depth + 1)
        items.append(Described(descriptor, item) if is_described else item)
    if pos != end:
        raise Malformed(DECODE_ERROR, "an array does not end where it says")
    return items, pos


# --- values to bytes ---


def encode_frame(performative: Performative | SaslPerformative, channel: int = 0, payload: bytes = b"") -> bytes:
    """Make a frame.

    Raises:
        ValueError: a field is out of its range or not there.
    """
    frame_type = SASL_FRAME if isinstance(performative, SaslPerformative) else AMQP_FRAME
    body = _write_composite(performative)
    return _FRAME_HEAD.pack(HEADER_BYTES + len(body) + len(payload), 2, frame_type, channel) + body + payload


HEARTBEAT: Final = _FRAME_HEAD.pack(HEADER_BYTES, 2, AMQP_FRAME, 0)
"""A frame without a body. Source: section 2.4.5."""


def encode_value(value: Value) -> bytes:
    """One value of any type; see the module's text for what is sent as what.

    Raises:
        ValueError: an int is over its 64 bits, or a symbol is not ASCII.
    """
    match value:
        case None:
            return b"\x40"
        case bool():
            return b"\x41" if value else b"\x42"
        case int():
            return b"\x55" + _BYTE.pack(value) if -128 <= value < 128 else b"\x81" + _pack(_LONG, value, "a long")
        case float():
            return b"\x82" + _DOUBLE.pack(value)
        case Symbol():
            return _write_variable(0xA3, _ascii(value))
        case str():
            return _write_variable(0xA1, value.encode())
        case bytes():
            return _write_variable(0xA0, value)
        case list():
            return _write_compound(0xC0, [encode_value(item) for item in value])
        case dict():
            return _write_compound(0xC1, [encode_value(item) for pair in value.items() for item in pair])
        case Described():
            descriptor = value.descriptor
            if isinstance(descriptor, int):
                return b"\x00\x80" + _pack(_ULONG, descriptor, "a descriptor") + encode_value(value.value)
            return b"\x00" + encode_value(descriptor) + encode_value(value.value)


def encode_transfers(channel: int, handle: int, delivery_id: int, message: bytes, frame_bytes_max: int) -> list[bytes]:
    """The frames of one message, unsettled; the delivery id is the tag as well.

    frame_bytes_max: what the receiver takes, FRAME_BYTES_MIN or more.
    """
    number = _UINT.pack(delivery_id)
    head = b"\x70" + _UINT.pack(handle)
    tag = b"\x70" + number + b"\xa0\x04" + number
    # handle, delivery-id, delivery-tag, message-format 0, settled false, more; behind the first frame's only the last
    whole = _write_transfer(head + tag + b"\x43\x42\x42", 6)
    room = frame_bytes_max - HEADER_BYTES - len(whole)
    if len(message) <= room:
        return [_FRAME_HEAD.pack(HEADER_BYTES + len(whole) + len(message), 2, AMQP_FRAME, channel) + whole + message]
    first = _write_transfer(head + tag + b"\x43\x42\x41", 6)
    middle = _write_transfer(head + b"\x40\x40\x40\x40\x41", 6)
    last = _write_transfer(head + b"\x40\x40\x40\x40\x42", 6)
    frames = []
    for pos in range(0, len(message), room):
        part = message[pos : pos + room]
        body = (first if pos == 0 else last if pos + room >= len(message) else middle) + part
        frames.append(_FRAME_HEAD.pack(HEADER_BYTES + len(body), 2, AMQP_FRAME, channel) + body)
    return frames


def _write_transfer(items: bytes, count: int) -> bytes:
    return b"\x00\x53\x14\xc0" + bytes((len(items) + 1, count)) + items


def encode_message(topic: str, payload: bytes, *, message_id: str, generated_ms: int, qos: int, attempts: int) -> bytes:
    """A message as consumers of the platform read it: application properties and one Data section.

    attempts: how often it was handed out, this time included. The message id stands among the properties as well, and
    the moment as creation time: that is what clients show as their own id and timestamp. There is no content type:
    with one, the Java client makes a text of the bytes.

    Source: `device-protocol.md` 8.1; sections 3.2.1 (header), 3.2.4 (properties).
    """
    # durable, priority, ttl, first-acquirer, delivery-count
    header = b"\x41\x40\x40" + (b"\x42" if attempts > 1 else b"\x41") + b"\x70" + _UINT.pack(attempts - 1)
    own_id = _write_variable(0xA1, message_id.encode())
    moment = _LONG.pack(generated_ms)
    # message-id, seven that are not there, absolute-expiry-time not either, creation-time
    properties = own_id + b"\x40" * 8 + b"\x83" + moment
    own = b"".join(
        (
            *(_TOPIC, _write_variable(0xA1, topic.encode())),
            *(_MESSAGE_ID, own_id),
            *(_GENERATE_TIME, b"\x81", moment),
            *(_QOS, b"\x71", _INT.pack(qos)),
        )
    )
    return b"".join(
        (
            b"\x00\x53\x70" + _write_counted(0xC0, header, 5),
            b"\x00\x53\x73" + _write_counted(0xC0, properties, 10),
            b"\x00\x53\x74" + _write_counted(0xC1, own, 8),
            b"\x00\x53\x75" + _write_variable(0xA0, payload),
        )
    )


_TOPIC, _MESSAGE_ID, _GENERATE_TIME, _QOS = (
    bytes((0xA1, len(name))) + name for name in (b"topic", b"messageId", b"generateTime", b"qos")
)


def _pack(packed: struct.Struct, value: int, what: str) -> bytes:
    try:
        return packed.pack(value)
    except struct.error:
        raise ValueError(f"{what} of {packed.size} bytes cannot hold {value}") from None


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("a symbol is not ASCII") from None


def _write_variable(code: int, raw: bytes) -> bytes:
    if len(raw) < 256:
        return bytes((code, len(raw))) + raw
    return bytes((code | 0x10,)) + _UINT.pack(len(raw)) + raw


def _write_compound(code: int, items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return _write_counted(code, b"".join(parts), len(parts))


def _write_counted(code: int, body: bytes, count: int) -> bytes:
    if not count and code == 0xC0:
        return b"\x45"
    if len(body) < 255 and count < 256:
        return bytes((code, len(body) + 1, count)) + body
    return bytes((code | 0x10,)) + _UINT.pack(len(body) + 4) + _UINT.pack(count) + body


def _write_composite(value: Any) -> bytes:
    spec = _CODE_OF[type(value)]
    items: list[bytes] = []
    kept = 0
    for field in spec.fields:
        held = getattr(value, field.name)
        if held is None or (held == field.default and not field.is_mandatory):
            if field.is_mandatory:
                raise ValueError(f"{spec.make.__name__} is without {_wire_name(field.name)}")
            items.append(b"\x40")
            continue
        items.append(_write_field(held, field))
        kept = len(items)
    return b"\x00\x53" + bytes((spec.code,)) + _write_compound(0xC0, items[:kept])


def _write_field(value: Any, field: _Field) -> bytes:
    match field.kind:
        case "ubyte":
            return b"\x50" + _pack(_UBYTE, value, _wire_name(field.name))
        case "ushort":
            return b"\x60" + _pack(_USHORT, value, _wire_name(field.name))
        case "uint":
            if value == 0:
                return b"\x43"
            if 0 < value < 256:
                return b"\x52" + _UBYTE.pack(value)
            return b"\x70" + _pack(_UINT, value, _wire_name(field.name))
        case "ulong":
            return b"\x80" + _pack(_ULONG, value, _wire_name(field.name))
        case "symbol":
            return _write_variable(0xA3, _ascii(value))
        case "symbols":
            symbols = [_UINT.pack(len(raw)) + raw for raw in map(_ascii, value)]
            body = b"\xb3" + b"".join(symbols)
            return b"\xf0" + _UINT.pack(len(body) + 4) + _UINT.pack(len(symbols)) + body
        case "error" | "source" | "target" | "state" if not isinstance(value, Described):
            return _write_composite(value)
    return encode_value(value)
