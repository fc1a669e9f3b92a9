"""What a NATS server says, read however it is cut."""

import logging

import pytest
from nats.errors import ProtocolError

from linkstead.cluster.nats_parser import LINE_BYTES_MAX, Listening, MessageParser

Heard = list[tuple[str, str, bytes, bool]]

SAID = (
    b'INFO {"server_id":"one"}\r\n'
    b"MSG ls.c.d.p.n 7 5\r\nhello\r\n"
    b"PING\r\n"
    b"MSG ls.c.d.p.n 7 ls.c.r.node.9 4\r\n\r\n\r\n\r\n"
    b"HMSG ls.c.r.node.9 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"HMSG ls.c.lease 7 back 23 28\r\nNATS/1.0\r\nNamed: ab\r\n\r\nhello\r\n"
    b"MSG ls.nobody 8 2\r\nxx\r\n"
    b"MSG ls.empty 7 0\r\n\r\n"
    b"PONG\r\n"
)
LINES = [b'INFO {"server_id":"one"}\r\n', b"PING\r\n", b"PONG\r\n"]
MESSAGES: Heard = [
    ("ls.c.d.p.n", "", b"hello", False),
    ("ls.c.d.p.n", "ls.c.r.node.9", b"\r\n\r\n", False),
    ("ls.c.r.node.9", "", b"", True),
    ("ls.c.lease", "back", b"hello", False),
    ("ls.empty", "", b"", False),
]


class Lines:
    """Keeps the lines that are no messages."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def reset(self) -> None:
        self.heard.clear()

    async def parse(self, data: bytes) -> None:
        self.heard.append(data)


def make_parser() -> tuple[MessageParser, Heard, Lines]:
    heard: Heard = []
    lines = Lines()
    listening = Listening("ls.>", "", lambda *said: heard.append(said))
    return MessageParser({7: listening}, lines), heard, lines


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [*range(1, 40), len(SAID)])
async def test_messages_and_lines_are_told_apart_wherever_they_are_cut(size: int) -> None:
    parser, heard, lines = make_parser()
    for start in range(0, len(SAID), size):
        await parser.parse(SAID[start : start + size])
    assert heard == MESSAGES
    assert lines.heard == LINES


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said",
    [
        b"MSG \r\n",
        b"MSG subject 7 many\r\n",
        b"MSG subject seven 0\r\n\r\n",
        b"MSG \xff 7 0\r\n\r\n",
        b"HMSG subject 7 x 0\r\n\r\n",
        b"x" * (LINE_BYTES_MAX + 1),
    ],
)
async def test_what_no_server_says_is_refused(said: bytes) -> None:
    parser, heard, _ = make_parser()
    with pytest.raises(ProtocolError):
        await parser.parse(said)
    assert not heard


@pytest.mark.asyncio
async def test_a_line_may_come_in_pieces_up_to_its_bound() -> None:
    parser, _, lines = make_parser()
    line = b"x" * (LINE_BYTES_MAX - 2) + b"\r\n"
    await parser.parse(line[:-2])
    await parser.parse(line[-2:])
    assert lines.heard == [line]


@pytest.mark.asyncio
async def test_what_was_begun_on_one_connection_is_not_ended_on_the_next() -> None:
    parser, heard, lines = make_parser()
    await parser.parse(b"PING\r\nMSG ls.c.d.p.n 7 500\r\nhel")
    parser.reset()
    await parser.parse(SAID)
    assert heard == MESSAGES
    assert lines.heard == LINES


@pytest.mark.asyncio
async def test_a_handler_that_fails_costs_no_other_message(caplog: pytest.LogCaptureFixture) -> None:
    heard: Heard = []

    def take(subject: str, reply: str, payload: bytes, is_nobody: bool) -> None:
        heard.append((subject, reply, payload, is_nobody))
        if len(heard) == 1:
            raise ZeroDivisionError

    parser = MessageParser({7: Listening("ls.>", "", take)}, Lines())
    with caplog.at_level(logging.ERROR):
        await parser.parse(SAID)
    assert heard == MESSAGES
    assert [record.message for record in caplog.records] == ["a message of another node could not be handled"]
