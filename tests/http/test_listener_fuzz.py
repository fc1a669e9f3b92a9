import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from linkstead.config import Address
from tests.rig import Rig, RigStarter
from tests.wire import HttpClient, encode_request

pytestmark = pytest.mark.asyncio

PARALLEL = 64


def _requests(rig: Rig) -> dict[str, bytes]:
    """Good requests of each kind, each told to be the last of its connection."""
    app, last = rig.app(), {"Connection": "close"}
    form = app.sign_v1({"Action": "GetDeviceStatus", "ProductKey": "a1Lamp00001", "DeviceName": "lamp-01"}, "POST")
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    target, headers = app.sign_v3("GetDeviceStatus", {"ProductKey": "a1Lamp00001", "DeviceName": "lamp-01"})
    query = app.sign_v1({"Action": "GetDeviceStatus", "ProductKey": "a1Lamp00001", "DeviceName": "lamp-01"})
    return {
        "V1 in a form": encode_request("POST", "/", {**form_type, **last}, form.encode()),
        "V1 in the query": encode_request("GET", f"/?{query}", last),
        "V3": encode_request("POST", target, {**headers, **last}),
        "chunked": b"POST /_linkstead/x HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX: y\r\n\r\n",
    }


async def _send(address: Address, *parts: bytes) -> bytes:
    """Send the parts, each in a segment of its own, say that no more comes, and read to the end."""
    async with HttpClient.open(address) as client:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                client.send(part)
                await client.writer.drain()
                await asyncio.sleep(0)
            client.writer.write_eof()
            return await client.receive_end()
    return b""


async def _send_all(address: Address, cases: list[tuple[bytes, ...]], check: Callable[[bytes], None]) -> None:
    limit = asyncio.Semaphore(PARALLEL)

    async def send(parts: tuple[bytes, ...]) -> None:
        async with limit:
            check(await _send(address, *parts))

    async with asyncio.TaskGroup() as group:
        for parts in cases:
            group.create_task(send(parts))


def _is_answer_or_nothing(received: bytes) -> None:
    assert received == b"" or received.startswith(b"HTTP/1.1 "), received


def _is_answer(received: bytes) -> None:
    assert received.startswith(b"HTTP/1.1 "), received


async def test_a_request_that_breaks_off_anywhere_ends_in_an_answer_or_a_close(start_rig: RigStarter) -> None:
    rig = await start_rig()
    for data in _requests(rig).values():
        await _send_all(rig.http, [(data[:end],) for end in range(len(data))], _is_answer_or_nothing)
    assert not rig.server.http.connections


async def test_a_request_in_two_segments_is_answered_wherever_it_is_cut(start_rig: RigStarter) -> None:
    rig = await start_rig()
    for data in _requests(rig).values():
        await _send_all(rig.http, [(data[:cut], data[cut:]) for cut in range(1, len(data))], _is_answer)


async def test_a_request_byte_by_byte_is_answered(start_rig: RigStarter) -> None:
    rig = await start_rig()
    for data in _requests(rig).values():
        _is_answer(await _send(rig.http, *(data[index : index + 1] for index in range(len(data)))))


async def test_a_request_with_any_one_byte_changed_ends_in_an_answer_or_a_close(start_rig: RigStarter) -> None:
    rig = await start_rig()
    chance = random.Random(1)
    for data in _requests(rig).values():
        cases: list[tuple[bytes, ...]] = []
        for index, byte in enumerate(data):
            others = {0, 0x0A, 0x20, 0xFF, byte ^ 1, chance.randrange(256)}
            cases += [(data[:index] + bytes([other]) + data[index + 1 :],) for other in others - {byte}]
        await _send_all(rig.http, cases, _is_answer_or_nothing)
    assert not rig.server.http.connections
    assert rig.calls() == []


async def test_noise_ends_in_an_answer_or_a_close(start_rig: RigStarter) -> None:
    rig = await start_rig()
    chance = random.Random(2)
    noise = [chance.randbytes(chance.randrange(1, 2_000)) for _ in range(300)]
    await _send_all(rig.http, [(data,) for data in noise], _is_answer_or_nothing)
