"""The connection to a real NATS server."""

import pytest

from linkstead.cluster.nats_bus import NatsBus
from tests.nats_server import NatsServer

pytestmark = pytest.mark.asyncio


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
