"""The connection to a real NATS server."""

import asyncio

import pytest

from linkstead.cluster.nats_bus import NatsBus
from tests.nats_server import NatsServer

pytestmark = pytest.mark.asyncio

SAID_MAX = 20_000


async def test_flush_returns_when_the_server_has_taken_what_was_said_before(nats_server: NatsServer) -> None:
    speaker, listener = (NatsBus([nats_server.url], name, lambda: None) for name in ("speaker", "listener"))
    await speaker.connect()
    await listener.connect()
    heard: list[bytes] = []
    for number in range(100):
        listener.subscribe(f"flushed.{number}", lambda _subject, _reply, data, _is_nobody: heard.append(data))
        assert await listener.flush()
        speaker.publish(f"flushed.{number}", b"")
        assert await speaker.flush()
        assert await listener.flush()
        assert len(heard) == number + 1
    await speaker.close()
    await listener.close()


async def test_what_is_said_round_after_round_leaves_all_the_same_and_in_order(nats_server: NatsServer) -> None:
    speaker, listener = (NatsBus([nats_server.url], name, lambda: None) for name in ("speaker", "listener"))
    await speaker.connect()
    await listener.connect()
    heard: list[bytes] = []
    listener.subscribe("endless", lambda _subject, _reply, data, _is_nobody: heard.append(data))
    assert await listener.flush()
    said = 0
    while len(heard) < 100 and said < SAID_MAX:
        speaker.publish("endless", b"%d" % said)
        said += 1
        await asyncio.sleep(0)
    assert heard == [b"%d" % number for number in range(len(heard))]
    assert len(heard) >= 100
    await speaker.close()
    await listener.close()


async def test_what_a_server_does_not_take_at_once_leaves_when_it_does(nats_server: NatsServer) -> None:
    speaker, listener = (NatsBus([nats_server.url], name, lambda: None) for name in ("speaker", "listener"))
    await speaker.connect()
    await listener.connect()
    heard: list[int] = []
    listener.subscribe("large", lambda _subject, _reply, data, _is_nobody: heard.append(len(data)))
    assert await listener.flush()
    payload = b"x" * 500_000
    for _ in range(40):
        speaker.publish("large", payload)
        # Each is written by itself, faster than a server reads.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert await speaker.flush()
    assert await listener.flush()
    assert heard == [len(payload)] * 40
    await speaker.close()
    await listener.close()
