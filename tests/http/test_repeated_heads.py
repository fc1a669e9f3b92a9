"""Requests signed by V3 are taken without the parser when they are like those before: as the parser would take them."""

import asyncio
from typing import NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.http.listener import HEAD_BYTES_MAX, PIPELINED_REQUESTS_MAX, REPEATED_TAIL_BYTES_MAX, HttpListener
from linkstead.testing.clock import ManualClock

Lines = list[tuple[bytes, bytes]]

AUTHORIZATION = b"ACS3-HMAC-SHA256 Credential=ak,SignedHeaders=host;x-acs-date,Signature="
LINES: Lines = [
    (b"Host", b"localhost:8686"),
    (b"Connection", b"keep-alive"),
    (b"x-acs-action", b"RRpc"),
    (b"X-Acs-Date", b"2024-01-01T00:00:00Z"),
    (b"x-acs-signature-nonce", b"nonce-0"),
    (b"Accept", b"*/*"),
    (b"Authorization", AUTHORIZATION + b"0" * 64),
]
CHANGING = (b"Authorization", b"x-acs-signature-nonce")


def resign(lines: Lines, mark: bytes, names: tuple[bytes, ...] = CHANGING) -> Lines:
    """The same with other values, as the next request of a program has them."""
    return [(name, value[:-1] + mark if name in names else value) for name, value in lines]


def write_head(lines: Lines, query: bytes = b"a=1", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    fields = b"".join([b"%s: %s\r\n" % line for line in lines])
    return b"%s /?%s %s\r\n%s\r\n" % (method, query, version, fields)


class Seen(NamedTuple):
    """What the answerer saw of some bytes, and what was told to who sent them."""

    requests: list[tuple[object, ...]]
    written: bytes
    is_closing: bool


class Line:
    """One connection without a socket, whose requests are answered at once."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.written = b""
        self.closing = False
        self.listener = HttpListener(self._answer, lambda _reply, _delivered: None, ManualClock(), lambda _: 1.0)
        self.connection = self.listener.make_protocol()
        self.connection.connection_made(cast("asyncio.Transport", self))

    async def _answer(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        return HttpReply(200, "text/plain", b"%d" % len(request.query))

    def send(self, *segments: bytes) -> Seen:
        self.requests.clear()
        self.written = b""
        for segment in segments:
            if not self.closing:
                self.connection.data_received(segment)
        return Seen([_look(request) for request in self.requests], self.written, self.closing)

    # What a transport is asked.

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nothing comes here unasked."""

    def resume_reading(self) -> None:
        """Nothing comes here unasked."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nobody reads here."""


def _look(request: HttpRequest) -> tuple[object, ...]:
    headers = [(name, values.copy()) for name, values in request.headers.items()]
    return request.method, request.path, request.query, headers, request.body


def is_taken_without_the_parser(line: Line, head: bytes) -> bool:
    """Send what has to be one good request, and say whether values of the one before were used."""
    line.send()
    before = line.connection._repeated_headers
    assert line.send(head) == Line().send(head)
    (request,) = line.requests
    return request.headers["host"] is before.get("host")


def open_line(lines: Lines = LINES) -> Line:
    """A connection on which requests were seen to differ in what a signature changes."""
    line = Line()
    for mark in (b"1", b"2"):
        line.send(write_head(resign(lines, mark)))
    return line


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_the_third_of_the_requests_that_a_program_signs_is_taken_without_the_parser(method: bytes) -> None:
    line = Line()
    taken = [
        is_taken_without_the_parser(line, write_head(resign(LINES, b"%d" % index), b"n=%d" % index, method))
        for index in range(5)
    ]
    assert taken == [False, False, True, True, True]


def test_a_header_of_the_signature_that_is_new_in_varying_is_learnt() -> None:
    line, dated = open_line(), (*CHANGING, b"X-Acs-Date")
    heads = [write_head(resign(LINES, b"%d" % index, dated)) for index in range(4)]
    assert [is_taken_without_the_parser(line, head) for head in heads] == [False, True, True, True]


@pytest.mark.parametrize("blanks", [b"", b"   "])
def test_as_many_blanks_before_a_value_as_there_were_are_no_part_of_it(blanks: bytes) -> None:
    line = open_line([(name, blanks + value) for name, value in LINES])
    for value in (b"a", b"a  ", b"a b ", b"~", b"a=b:c"):
        lines = [(name, blanks + (value if name in CHANGING else other)) for name, other in LINES]
        assert is_taken_without_the_parser(line, write_head(lines))
        assert line.requests[0].headers["x-acs-signature-nonce"] == [value.decode()]
        more = [(name, b" " + value if name in CHANGING else value) for name, value in lines]
        assert line.send(write_head(more)) == Line().send(write_head(more))
        assert line.requests[0].headers["x-acs-signature-nonce"] == [value.decode()]
        line = open_line([(name, blanks + value) for name, value in LINES])


@pytest.mark.parametrize("at", range(len(LINES)))
@pytest.mark.parametrize(
    "value", [b"", b" ", b"\t", b"a\tb", b"a\t", b"a\0", b"a\rb", b"a\nb", b"a\x7f", b"a\x80", b"\xff", b"a\r\n b"]
)
def test_a_value_that_is_not_printable_is_left_to_the_parser(at: int, value: bytes) -> None:
    line, name = open_line(), LINES[at][0]
    lines = [*LINES[:at], (name, value), *LINES[at + 1 :]]
    host = line.connection._repeated_headers["host"]
    assert line.send(write_head(lines)) == Line().send(write_head(lines))
    assert not any(request.headers["host"] is host for request in line.requests)


@pytest.mark.parametrize(
    "added",
    [
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Connection: close",
        b"Host: other",
        b"x-acs-signature-nonce: b",
        b" folded",
        b"X-New:",
        b"X-New : a",
        b"",
    ],
)
@pytest.mark.parametrize("at", range(len(LINES) + 1))
def test_a_line_more_is_left_to_the_parser(at: int, added: bytes) -> None:
    head = write_head(LINES)
    place = len(b"\r\n".join(head.split(b"\r\n")[: at + 1])) + 2
    sent = head[:place] + added + b"\r\n" + head[place:]
    line = open_line()
    host = line.connection._repeated_headers["host"]
    assert line.send(sent) == Line().send(sent)
    assert not any(request.headers.get("host") is host for request in line.requests)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"Host", [b"a", b"b", b"c", b"d"]),
        (b"Connection", [b"keep-alive", b"Keep-Alive", b"keep-alive", b"close"]),
        (b"Content-Length", [b"0", b"00", b"0", b"5"]),
        (b"User-Agent", [b"a", b"b", b"c", b"d"]),
        (b"X-Acs", [b"a", b"b", b"c", b"d"]),
        (b"Proxy-Authorization", [b"a", b"b", b"c", b"d"]),
    ],
)
def test_other_headers_may_not_differ(name: bytes, values: list[bytes]) -> None:
    others, line = [each for each in LINES if each[0] != name], Line()
    for value in values:
        head = write_head(resign([(b"host", b"h"), (name, value), *others], b"1"))
        host = line.connection._repeated_headers.get("host", [])
        told = line.send(head)
        assert told == Line().send(head)
        assert not any(request.headers["host"] is host for request in line.requests)
        if told.is_closing:
            return


@pytest.mark.parametrize("name", [b"x-acs-signature-nonce", b"Authorization", b"x-acs-more"])
def test_a_name_that_comes_twice_is_left_to_the_parser(name: bytes) -> None:
    lines = [*LINES, (name.swapcase(), b"a")] if name in dict(LINES) else [*LINES, (name, b"a"), (name, b"b")]
    line = open_line(lines)
    for index in range(3):
        assert not is_taken_without_the_parser(line, write_head(resign(lines, b"%d" % index, (*CHANGING, name))))


def test_a_head_as_long_as_it_may_be_is_taken_and_a_longer_one_is_left_to_the_parser() -> None:
    line, shortest = open_line(), len(write_head(LINES, b""))
    assert is_taken_without_the_parser(line, write_head(LINES, b"a" * (HEAD_BYTES_MAX - shortest)))
    assert not is_taken_without_the_parser(line, write_head(LINES, b"a" * (HEAD_BYTES_MAX - shortest + 1)))


@pytest.mark.parametrize(
    ("size_bytes", "is_kept"), [(REPEATED_TAIL_BYTES_MAX, True), (REPEATED_TAIL_BYTES_MAX + 1, False)]
)
def test_so_much_behind_a_target_is_remembered(size_bytes: int, is_kept: bool) -> None:
    shortest = len(write_head([*LINES, (b"X", b"")], b"")) - len(b"GET /?")
    lines = [*LINES, (b"X", b"x" * (size_bytes - shortest))]
    assert is_taken_without_the_parser(open_line(lines), write_head(lines)) is is_kept


def test_a_head_that_breaks_off_anywhere_is_left_to_the_parser() -> None:
    head = write_head(resign(LINES, b"3"))
    for end in range(len(head)):
        line, parts = open_line(), (head[:end], head[end:])
        assert line.send(*parts) == Line().send(*parts)


def test_headers_of_a_request_stay_as_they_were() -> None:
    line = open_line()
    line.send(write_head(resign(LINES, b"1")))
    (first,) = line.requests
    before = _look(first)
    assert is_taken_without_the_parser(line, write_head(resign(LINES, b"2")))
    assert _look(first) == before


@pytest.mark.parametrize("size_bytes", [0, 1])
def test_what_is_the_body_of_a_request_is_no_request(size_bytes: int) -> None:
    line, body = open_line(), write_head(resign(LINES, b"3"))
    head = write_head([*LINES, (b"Content-Length", b"%d" % (len(body) + size_bytes))])
    assert line.send(head, body) == Line().send(head, body)
    assert len(line.requests) == 1 - size_bytes


def test_a_request_that_waits_for_its_turn_counts_as_others_do() -> None:
    line = open_line()
    line.connection.pause_writing()
    were_refused = []
    for index in range(PIPELINED_REQUESTS_MAX + 1):
        line.connection.data_received(write_head(resign(LINES, b"%d" % (index % 10)), b"n=%d" % index))
        were_refused.append(line.connection._is_refused)
    assert were_refused == [False] * PIPELINED_REQUESTS_MAX + [True]


# --- whatever the bytes ---

BYTES = [b"", b" ", b"\t", b"\0", b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\r\n", b"\x7f", b"\x80", b"\xff", b":", b"a"]
ADDED = [
    (b"Content-Length", b"0"),
    (b"Content-Length", b"3"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Host", b"other"),
    (b"Connection", b"close"),
    (b"Expect", b"100-continue"),
    (b"Upgrade", b"h2c"),
    (b"x-acs-signature-nonce", b"twice"),
    (b"x-acs-security-token", b"t"),
    (b"Authorization", b"Basic YTpi"),
    (b" x-acs-date", b"folded"),
    (b"x-acs-date ", b"blank"),
]
BEHIND = [
    b"abc",
    b"\r\n",
    write_head(LINES),
    b"GET /?b HTTP/1.1\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
]
values = st.one_of(
    st.sampled_from([b"a", b"b", b"0", b"a b", b"keep-alive"]), st.lists(st.sampled_from(BYTES)).map(b"".join)
)


@st.composite
def sent_heads(draw: st.DrawFn) -> bytes:
    """A request of a program that signs by V3, as it is or with changes that are meant badly."""
    lines = resign(LINES, draw(st.sampled_from([b"1", b"2", b"3"])))
    query, method, version, inserted, behind = b"a=1", b"GET", b"HTTP/1.1", b"", b""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        at = draw(st.integers(0, len(lines) - 1))
        name, value = lines[at]
        match draw(st.integers(0, 9)):
            case 0:
                lines[at] = name, draw(values)
            case 1:
                cut = draw(st.integers(0, len(value)))
                lines[at] = name, value[:cut] + draw(values) + value[cut:]
            case 2:
                lines[at] = draw(st.sampled_from([name.upper(), name + b" ", name[1:], b"x-acs-other"])), value
            case 3:
                lines.insert(at, draw(st.sampled_from(ADDED)))
            case 4:
                del lines[at]
            case 5:
                lines.append(lines.pop(at))
            case 6:
                query = draw(st.one_of(st.sampled_from([b"", b"a=%20&b=2", b"?", b"#"]), values))
            case 7:
                method = draw(st.sampled_from([b"POST", b"get", b"HEAD"]))
                version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 ", b"http/1.1"]))
            case 8:
                behind = draw(st.sampled_from(BEHIND))
            case 9:
                inserted = draw(values)
    head = write_head(lines, query, method, version)
    at = draw(st.integers(0, len(head))) if inserted else 0
    return head[:at] + inserted + head[at:] + behind


@given(st.lists(sent_heads(), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=400)
def test_what_follows_requests_of_a_program_is_taken_as_if_it_came_first(
    heads: list[bytes], data: st.DataObject
) -> None:
    line = open_line()
    for head in heads:
        cuts = sorted(data.draw(st.one_of(st.just([]), st.lists(st.integers(0, len(head)), max_size=2))))
        segments = [head[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(head)], strict=True)]
        alone = Line()
        assert line.send(*segments) == alone.send(*segments)
        good = write_head(resign(LINES, b"9"), b"good")
        is_whole = not line.connection._in_request
        assert line.send(good) == alone.send(good)
        if line.closing or not is_whole:
            return
