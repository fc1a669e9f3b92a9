"""Devices of both generations of the vendor's C SDK, by what they say on the wire: `golden/c-sdk-samples.json`.

What goes either way is compared byte for byte, in packets made here: no code of the server checks itself.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkstead.invocation import Call
from linkstead.registry import DeviceKey
from tests.mqtt.wire_cases import frame, text
from tests.rig import Rig, RigStarter, a_device, a_product
from tests.test_services import publish
from tests.tsl.documents import read_sample
from tests.wire import WAIT_S, DeviceClient, until

pytestmark = pytest.mark.asyncio

SAMPLES = json.loads((Path(__file__).parent / "golden" / "c-sdk-samples.json").read_text(encoding="utf-8"))
KEY = DeviceKey(SAMPLES["device"]["product_key"], SAMPLES["device"]["device_name"])
GENERATIONS = ("c3", "c4")
PACKET_ID = b"\x00\x01"
SUBSCRIBE_PACKET_ID = b"\x00\x02"
CONNACK, PUBACK = b"\x20\x02\x00\x00", b"\x40\x02" + PACKET_ID
PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"


def cases(kind: str) -> list[Any]:
    """The samples of a kind: generation and sample."""
    return [
        pytest.param(generation, sample, id=f"{generation}: {sample['name']}")
        for generation in GENERATIONS
        for sample in SAMPLES[generation][kind]
    ]


def packet(message: Mapping[str, Any], call: Call | None = None) -> bytes:
    """A PUBLISH, with the ids of the call in place of `<mid>` and `<id>`."""
    topic, payload = (fill(message[name], call) for name in ("topic", "payload"))
    packet_id = PACKET_ID if message["qos"] else b""
    return frame(0x30 | message["qos"] << 1, text(topic), packet_id, payload.encode())


def fill(sample: str, call: Call | None) -> str:
    if call is None:
        return sample
    return sample.replace("<mid>", str(call.message_id)).replace("<id>", str(call.alink_id))


async def expect(device: DeviceClient, data: bytes) -> None:
    """The next bytes, which have to be these."""
    async with asyncio.timeout(WAIT_S):
        assert await device.reader.readexactly(len(data)) == data


async def exchange(device: DeviceClient, sent: bytes, answer: bytes) -> None:
    device.send_bytes(sent)
    await expect(device, answer)


async def expect_silence(device: DeviceClient) -> None:
    """Nothing else was sent. The first answer to a PINGREQ may overtake what came in one segment with it."""
    for _ in range(2):
        await exchange(device, PINGREQ, PINGRESP)


async def connect(rig: Rig, generation: str) -> DeviceClient:
    """Connect as the SDK does, and say what it says at the start."""
    await rig.server.store.add_product(a_product(KEY.product_key))
    secret = SAMPLES["device"]["device_secret"]
    await rig.server.store.add_devices([msgspec.structs.replace(a_device(KEY), device_secret=secret)])
    await publish(rig, KEY.product_key, read_sample("lamp").modules[0], read_sample("multi-module").modules[1])
    samples = SAMPLES[generation]
    said = samples["connect"]
    flags = bytes.fromhex(said["flags"]) + said["keep_alive_s"].to_bytes(2, "big")
    names = (said["client_id"], said["user_name"], said["password"])
    device = rig.device(KEY)
    await device.open()
    await exchange(device, frame(0x10, text("MQTT"), b"\x04", flags, *map(text, names)), CONNACK)
    for step in samples["start"]:
        if "up" in step:
            sent = packet(step["up"])
        else:
            sent = frame(0x82, SUBSCRIBE_PACKET_ID, text(step["subscribe"]), b"\x00")
        await exchange(device, sent, bytes.fromhex(step["down_hex"]))
    return device


@pytest.mark.parametrize(("generation", "sample"), cases("calls"))
async def test_a_call_is_what_the_sdk_understands_and_its_reply_is_understood(
    start_rig: RigStarter, generation: str, sample: dict[str, Any]
) -> None:
    rig = await start_rig()
    device = await connect(rig, generation)
    parameters = {"ProductKey": KEY.product_key, "DeviceName": KEY.device_name, **sample["call"]}
    action = parameters.pop("Action")
    calling = asyncio.ensure_future(rig.app().call(action, **parameters))
    await until(lambda: any(each.request_payload for each in rig.calls()))
    (call,) = rig.calls()
    await expect(device, packet(sample["down"], call))
    if sample["down"]["qos"]:
        device.send_bytes(PUBACK)
    await exchange(device, packet(sample["up"], call), PUBACK if sample["up"]["qos"] else b"")
    answer = (await calling).json()
    assert answer["Success"] is True
    assert answer["Data"]["MessageId"] == str(call.alink_id)
    assert answer["Data"].get("Result") == (fill(sample["result"], call) if "result" in sample else None)
    await until(lambda: call.is_ended)
    assert (call.verdict, call.diagnosis, call.result_code) == ("SUCCESS", "answered", sample["code"])
    assert (call.evidence, call.output_faults) == ([], [])
    await expect_silence(device)


@pytest.mark.parametrize(("generation", "sample"), cases("posts"))
async def test_a_post_is_taken_and_replied_to_as_the_sdk_asks(
    start_rig: RigStarter, generation: str, sample: dict[str, Any]
) -> None:
    rig = await start_rig()
    device = await connect(rig, generation)
    acknowledgement = PUBACK if sample["up"]["qos"] else b""
    reply = packet(sample["down"]) if "down" in sample else b""
    device.send_bytes(packet(sample["up"]))
    async with asyncio.timeout(WAIT_S):
        came = await device.reader.readexactly(len(acknowledgement) + len(reply))
    assert came in (acknowledgement + reply, reply + acknowledgement)
    await expect_silence(device)
    names = {"ProductKey": KEY.product_key, "DeviceName": KEY.device_name}
    if "values" in sample:
        answer = (await rig.app().call("QueryDevicePropertyStatus", **names)).json()
        found = {info["Identifier"]: info.get("Value") for info in answer["Data"]["List"]["PropertyStatusInfo"]}
        assert sample["values"].items() <= found.items()
    else:
        span = {"StartTime": "1", "EndTime": "4000000000000", "Identifier": "LampFault", "PageSize": "10", "Asc": "0"}
        answer = (await rig.app().call("QueryDeviceEventData", **names, **span)).json()
        (event,) = answer["Data"]["List"]["EventInfo"]
        assert json.loads(event["OutputData"]) == {"FaultCode": 1, "Temperature": 92.5}
