import pytest

from linkstead.sessions import SessionTable, TappedMessage, Way
from linkstead.sessions.tap import MESSAGES_WAITING_MAX, PAYLOAD_KEPT_BYTES_MAX
from tests.fakes import KEY, OTHER_KEY, RecordingSink


@pytest.fixture
def table() -> SessionTable:
    return SessionTable(RecordingSink())


def note(table: SessionTable, payload: bytes = b"x") -> None:
    assert table.taps is not None
    table.taps.note(KEY, Way.TO_DEVICE, "/a", payload, 1.5)


def is_tapped(table: SessionTable) -> bool:
    return table.taps is not None


def test_nothing_is_kept_while_nobody_looks(table: SessionTable) -> None:
    assert not is_tapped(table)
    first, second = table.tap(KEY), table.tap(OTHER_KEY)
    table.untap(first)
    assert is_tapped(table)
    table.untap(second)
    assert not is_tapped(table)
    table.untap(second)


def test_each_who_looks_at_a_device_is_shown_its_messages_once(table: SessionTable) -> None:
    first, second, other = table.tap(KEY), table.tap(KEY), table.tap(OTHER_KEY)
    note(table)
    table.untap(second)
    note(table, b"yy")
    message = TappedMessage(1_500, Way.TO_DEVICE, "/a", b"x", 1)
    assert first.take() == ([message, message._replace(payload=b"yy", payload_bytes=2)], 0)
    assert second.take() == ([message], 0)
    assert other.take() == first.take() == ([], 0)


def test_of_too_many_messages_the_newest_are_kept(table: SessionTable) -> None:
    tap = table.tap(KEY)
    for number in range(MESSAGES_WAITING_MAX):
        note(table, bytes([number]))
    messages, dropped = tap.take()
    assert (len(messages), dropped) == (MESSAGES_WAITING_MAX, 0)
    for number in range(MESSAGES_WAITING_MAX + 2):
        note(table, bytes([number]))
    messages, dropped = tap.take()
    assert ([message.payload for message in messages][:1], dropped) == ([b"\2"], 2)
    assert tap.take() == ([], 0)


def test_of_a_large_message_the_beginning_is_kept(table: SessionTable) -> None:
    tap = table.tap(KEY)
    for size in (PAYLOAD_KEPT_BYTES_MAX, PAYLOAD_KEPT_BYTES_MAX + 1):
        note(table, bytes(size))
        ((message,), _) = tap.take()
        assert (len(message.payload), message.payload_bytes) == (PAYLOAD_KEPT_BYTES_MAX, size)


def test_what_a_gateway_carries_is_a_message_of_the_device_behind_it(table: SessionTable) -> None:
    gateway, behind = table.tap(KEY), table.tap(OTHER_KEY)
    assert table.taps is not None
    with table.taps.carrying(OTHER_KEY):
        note(table)
    assert (len(gateway.take()[0]), len(behind.take()[0])) == (0, 1)
    note(table)
    assert (len(gateway.take()[0]), len(behind.take()[0])) == (1, 0)
