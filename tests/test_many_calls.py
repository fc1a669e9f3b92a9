import asyncio
import base64

import pytest

from linkstead.mqtt.packets import Publish
from linkstead.registry import DeviceKey
from linkstead.server import SystemClock
from tests.rig import ACCOUNT_ID, PRODUCT_KEY, Rig, RigStarter, a_device, device_secret
from tests.wire import DeviceClient, HttpClient, answer_topic, encode_request

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

CALLS = 10_000
CONNECTIONS = 64
DEVICES = 100


async def _echo(device: DeviceClient) -> None:
    """Answer every call with its payload turned round."""
    while True:
        request = await device.expect_call()
        device.send(Publish(answer_topic(request.topic), request.payload[::-1]))


async def _call(rig: Rig, keys: list[DeviceKey], numbers: range) -> list[str]:
    """Make calls one after the other over one connection; gives what was wrong."""
    app = rig.app()
    wrong = []
    async with HttpClient.open(rig.http) as client:
        for number in numbers:
            payload = b"call %d" % number
            parameters = app.rrpc_parameters(keys[number % len(keys)], payload, Timeout="8000")
            query = app.sign_v1({"Action": "RRpc", **parameters})
            client.send(encode_request("GET", f"/?{query}"))
            answer = (await client.receive()).json()
            if base64.b64decode(answer.get("PayloadBase64Byte", "")) != payload[::-1]:
                wrong.append(f"{number}: {answer}")
    return wrong


async def test_ten_thousand_calls_get_ten_thousand_right_answers(start_rig: RigStarter) -> None:
    rig = await start_rig(clock=SystemClock())
    keys = [DeviceKey(PRODUCT_KEY, f"echo-{index:03}") for index in range(DEVICES)]
    await rig.server.registry.add_devices([a_device(key, ACCOUNT_ID) for key in keys])
    devices = [DeviceClient(rig.mqtt, key, device_secret(key)) for key in keys]
    for device in devices:
        await device.connect()
    echoing = [asyncio.ensure_future(_echo(device)) for device in devices]
    try:
        async with asyncio.timeout(55):
            found = await asyncio.gather(
                *(_call(rig, keys, range(start, CALLS, CONNECTIONS)) for start in range(CONNECTIONS))
            )
    finally:
        for task in echoing:
            task.cancel()
        await asyncio.wait(echoing)
        for device in devices:
            await device.close()
    assert [wrong for part in found for wrong in part] == []
    assert rig.server.router.pending_count == 0
    assert not rig.server.journal._open
