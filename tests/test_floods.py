"""Who floods a port, or says nothing, or reads nothing, stays outside, and nobody else notices."""

import asyncio
import contextlib

import pytest

from linkstead.amqp.protocol import LINK_WAIT_S
from linkstead.config import Address
from linkstead.mqtt.protocol import CONNECT_WAIT_S
from linkstead.newcomers import Newcomers
from tests.rig import LAMP, SECOND_LAMP, Rig, RigStarter
from tests.wire import HttpClient, until

pytestmark = pytest.mark.asyncio
FREE = Address("127.0.0.1", 0)
HALF_A_REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + bytes(50_000)


async def _is_refused(address: Address, data: bytes = b"") -> bool:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read() == b""
    except ConnectionError:
        return True
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(("in_all", "of_address"), [(3, 9), (9, 3)])
async def test_so_many_may_be_there_without_connect_and_the_next_is_closed(
    rig: Rig, in_all: int, of_address: int
) -> None:
    newcomers = rig.server.gateway.newcomers = Newcomers(in_all, of_address, 999)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(HttpClient.open(rig.mqtt))
        await until(lambda: newcomers.count == 3)
        assert await _is_refused(rig.mqtt)
        assert newcomers.refused_count == 1
    await until(lambda: newcomers.count == 0)
    await rig.connected()
    assert (newcomers.count, newcomers.kept_bytes) == (0, 0)


async def test_those_who_are_there_without_connect_are_closed_in_time(rig: Rig) -> None:
    async with HttpClient.open(rig.mqtt) as client:
        await until(lambda: rig.server.gateway.newcomers.count == 1)
        rig.clock.advance(CONNECT_WAIT_S + 10)
        await client.expect_closed()
    await until(lambda: rig.server.gateway.newcomers.count == 0)


async def test_what_newcomers_send_is_bounded_for_all_together(rig: Rig) -> None:
    newcomers = rig.server.gateway.newcomers = Newcomers(99, 99, 1_000)
    # The beginning of a CONNECT that is longer than what follows.
    head = b"\x10\xff\xff\x03\x00\x04MQTT\x04\x02\x00\x3c"
    async with HttpClient.open(rig.mqtt) as first:
        first.send(head + bytes(700))
        await until(lambda: newcomers.kept_bytes > 700)
        assert await _is_refused(rig.mqtt, head + bytes(700))
        assert newcomers.count == 1
    await until(lambda: newcomers.kept_bytes == 0)


async def test_a_device_that_is_connected_is_no_newcomer_whatever_it_sends(rig: Rig) -> None:
    newcomers = rig.server.gateway.newcomers = Newcomers(1, 1, 1_000)
    first, second = await rig.connected(LAMP), await rig.connected(SECOND_LAMP)
    for device in (first, second):
        await device.expect_silence()
    assert (newcomers.count, newcomers.kept_bytes, newcomers.refused_count) == (0, 0, 0)


async def test_a_device_that_was_refused_is_no_newcomer_when_it_has_gone(rig: Rig) -> None:
    device = rig.device()
    await device.request_connect(password=b"wrong")
    await device.close()
    await until(lambda: rig.server.gateway.newcomers.count == 0)
    assert rig.server.gateway.newcomers.kept_bytes == 0


async def test_as_many_devices_connect_as_the_port_may_have(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkstead.mqtt.gateway.CONNECTIONS_MAX", 1)
    await rig.connected()
    assert await _is_refused(rig.mqtt)


@pytest.mark.parametrize(("in_all", "of_address"), [(2, 9), (9, 2)])
async def test_so_many_consumers_may_be_there_without_login(
    start_rig: RigStarter, in_all: int, of_address: int
) -> None:
    rig = await start_rig(amqp=FREE)
    assert rig.endpoints.amqp is not None
    newcomers = rig.server.consumers.newcomers = Newcomers(in_all, of_address, 999)
    async with HttpClient.open(rig.endpoints.amqp) as first, HttpClient.open(rig.endpoints.amqp):
        await until(lambda: newcomers.count == 2)
        assert await _is_refused(rig.endpoints.amqp)
        rig.clock.advance(LINK_WAIT_S + 10)
        with contextlib.suppress(ConnectionError):
            await first.receive_end()
    await until(lambda: newcomers.count == 0)
    assert newcomers.kept_bytes == 0


async def test_what_consumers_send_before_their_login_is_bounded(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    assert rig.endpoints.amqp is not None
    newcomers = rig.server.consumers.newcomers = Newcomers(9, 9, 20)
    header = b"AMQP\x03\x01\x00\x00"
    async with HttpClient.open(rig.endpoints.amqp) as first:
        first.send(header)
        await until(lambda: newcomers.kept_bytes == 8)
        assert await _is_refused(rig.endpoints.amqp, bytes(13)) or newcomers.refused_count
    await until(lambda: newcomers.count == 0)
    assert newcomers.kept_bytes == 0


async def test_calls_go_on_beside_clients_that_are_stuck(rig: Rig) -> None:
    device = await rig.connected()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(60):
            address = rig.http if number % 2 else rig.mqtt
            client = await stack.enter_async_context(HttpClient.open(address))
            client.send(HALF_A_REQUEST if number % 2 else b"\x10\xff")
        for _ in range(5):
            call = asyncio.ensure_future(rig.app().rrpc(LAMP))
            await device.answer_call(b"pong")
            assert (await call)["RrpcCode"] == "SUCCESS"
    await until(lambda: rig.server.http.places.kept_bytes == 0)
