import asyncio
import contextlib
import random

import pytest

from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    MQTT_5,
    ConnAck,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    encode,
)
from tests.rig import LAMP, Rig
from tests.wire import DeviceClient, properties, until

pytestmark = pytest.mark.asyncio

PARALLEL = 32
LEVELS = [MQTT_3_1_1, MQTT_5]


def _stream(device: DeviceClient, level: int, *last: Packet) -> bytes:
    """A short life of a device: CONNECT, SUBSCRIBE, PUBLISH at both QoS, PINGREQ, and what is given."""
    fields = properties(session_expiry_interval=60, receive_maximum=5) if level == MQTT_5 else {}
    packets: list[Packet] = [
        device.connect_packet(level=level, properties=fields),
        Subscribe(1, [Subscription(device.custom_topic("user/get"), 1), Subscription(device.topic("#"))]),
        Publish(device.custom_topic("user/get"), b"hello", 1, 2),
        Publish(device.topic("rrpc/response/123"), b"hello"),
        PingReq(),
        *last,
    ]
    return b"".join(encode(packet, level) for packet in packets)


async def _send(rig: Rig, *parts: bytes) -> bytes:
    """Send the parts, each in a segment of its own, close this side, and read to the end."""
    reader, writer = await asyncio.open_connection(*rig.mqtt)
    received = b""
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()
            async with asyncio.timeout(20):
                received = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return received


async def _send_all(rig: Rig, cases: list[tuple[bytes, ...]]) -> list[bytes]:
    limit = asyncio.Semaphore(PARALLEL)

    async def send(parts: tuple[bytes, ...]) -> bytes:
        async with limit:
            return await _send(rig, *parts)

    return list(await asyncio.gather(*(send(parts) for parts in cases)))


async def _check_calm(rig: Rig) -> None:
    """Every connection has ended, and the server goes on."""
    await until(lambda: not rig.server.gateway.connections)
    assert not rig.is_online
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


@pytest.mark.parametrize("level", LEVELS)
async def test_a_stream_that_breaks_off_anywhere_ends_cleanly(rig: Rig, level: int) -> None:
    data = _stream(rig.device(), level, Disconnect())
    for received in await _send_all(rig, [(data[:end],) for end in range(len(data) + 1)]):
        assert received[:1] in (b"", b"\x20")
    await _check_calm(rig)


async def _exchange(device: DeviceClient, level: int, *parts: bytes) -> list[Packet]:
    """Send a stream, each part in a segment of its own; what it is answered with, in no order that matters."""
    await device.open()
    device.level = level
    for part in parts:
        device.send_bytes(part)
        await device.writer.drain()
        await asyncio.sleep(0)
    received = [await device.receive() for _ in range(5)]
    await device.expect_silence()
    return sorted(received, key=repr)


@pytest.mark.parametrize("level", LEVELS)
async def test_a_stream_is_understood_wherever_it_is_cut(rig: Rig, level: int) -> None:
    device = rig.device()
    data = _stream(device, level)
    whole = await _exchange(device, level, data)
    assert {type(packet) for packet in whole} == {ConnAck, SubAck, Publish, PubAck, PingResp}
    for cut in range(1, len(data)):
        assert await _exchange(device, level, data[:cut], data[cut:]) == whole
    assert await _exchange(device, level, *(data[index : index + 1] for index in range(len(data)))) == whole
    await device.close()
    await _check_calm(rig)


@pytest.mark.parametrize("level", LEVELS)
async def test_a_stream_with_any_one_byte_changed_ends_cleanly(rig: Rig, level: int) -> None:
    data = _stream(rig.device(), level, Disconnect())
    chance = random.Random(level)
    cases: list[tuple[bytes, ...]] = []
    for index, byte in enumerate(data):
        others = {0, 0x7F, 0x80, 0xFF, 0x23, 0x2B, byte ^ 0x01, byte ^ 0x10, byte ^ 0x80, chance.randrange(256)}
        cases += [(data[:index] + bytes([other]) + data[index + 1 :],) for other in others - {byte}]
    for received in await _send_all(rig, cases):
        assert received[:1] in (b"", b"\x20", b"H"), received
    await _check_calm(rig)


@pytest.mark.parametrize("level", LEVELS)
async def test_noise_behind_a_good_connect_ends_cleanly(rig: Rig, level: int) -> None:
    device = rig.device()
    connect = encode(device.connect_packet(level=level), level)
    chance = random.Random(level)
    cases: list[tuple[bytes, ...]] = [(connect + chance.randbytes(chance.randrange(1, 300)),) for _ in range(300)]
    for received in await _send_all(rig, cases):
        assert received[:1] in (b"", b"\x20")
    await _check_calm(rig)


async def test_noise_ends_cleanly(rig: Rig) -> None:
    chance = random.Random(3)
    await _send_all(rig, [(chance.randbytes(chance.randrange(1, 300)),) for _ in range(300)])
    await _check_calm(rig)
