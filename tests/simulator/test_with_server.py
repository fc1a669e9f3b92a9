"""A simulated device with the server itself, each over real sockets."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest

from linkstead.registry import DeviceKey
from linkstead.simulator import SimulatedDevice, read_behaviour
from linkstead.simulator.device import Carrier, RefusedError
from linkstead.telemetry import Span
from linkstead.tsl import ModelChecker, ValidateType, put_module
from tests.rig import DISABLED_LAMP, LAMP, Rig, device_secret
from tests.simulator.things import BLINK, request
from tests.tsl.documents import read_sample
from tests.wire import WAIT_S, until

pytestmark = pytest.mark.asyncio

Value = TypeVar("Value")

MODEL = read_sample("multi-module")
LAMP_MODEL = read_sample("lamp")


def make_device(rig: Rig, key: DeviceKey = LAMP, secret: str = "", **fields: Any) -> SimulatedDevice:
    return SimulatedDevice(*rig.mqtt, key, secret or device_secret(key), rig.clock, **fields)


@contextlib.asynccontextmanager
async def online(rig: Rig, **fields: Any) -> AsyncIterator[SimulatedDevice]:
    """A device that is connected to the server."""
    device = make_device(rig, **fields)
    task = asyncio.ensure_future(device.run())
    try:
        async with asyncio.timeout(WAIT_S):
            await device.connected.wait()
        yield device
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish_models(rig: Rig) -> None:
    """Make the features of two samples, one of them with a module, those of the server's product."""
    for module in (LAMP_MODEL.modules[0], MODEL.modules[1]):
        await rig.server.models.edit_draft(LAMP.product_key, partial(put_module, module=module))
    await rig.server.models.publish_draft(LAMP.product_key, "", "", 1)


async def rrpc(rig: Rig, payload: bytes, **others: str) -> bytes:
    answer = await rig.app().rrpc(LAMP, payload, **others)
    assert answer["RrpcCode"] == "SUCCESS", answer
    return base64.b64decode(answer["PayloadBase64Byte"])


@pytest.mark.parametrize("carrier", ["ext", "sys"])
@pytest.mark.parametrize("model", [None, LAMP_MODEL])
async def test_calls_come_back_as_they_went(rig: Rig, carrier: Carrier, model: Any) -> None:
    async with online(rig, carrier=carrier, model=model):
        assert rig.is_online
        assert await rrpc(rig, b"ping \xff\x00") == b"ping \xff\x00"
        if carrier == "ext":
            assert await rrpc(rig, b"ping", Topic="/a1Lamp00001/lamp-01/user/get") == b"ping"
    await until(lambda: not rig.is_online)


async def test_a_service_that_came_by_rrpc_is_answered(rig: Rig) -> None:
    async with online(rig, model=LAMP_MODEL):
        for topic in ("", "/sys/a1Lamp00001/lamp-01/thing/service/Blink"):
            reply = json.loads(await rrpc(rig, request("Blink", BLINK), **({"Topic": topic} if topic else {})))
            assert (reply["id"], reply["code"]) == ("7", 200)


@pytest.mark.parametrize(("key", "secret"), [(LAMP, "wrong"), (DISABLED_LAMP, "")])
async def test_a_device_that_may_not_connect_is_refused(rig: Rig, key: DeviceKey, secret: str) -> None:
    with pytest.raises(RefusedError):
        await asyncio.wait_for(make_device(rig, key, secret).run(), WAIT_S)


async def invoke(rig: Rig, identifier: str, arguments: dict[str, Any]) -> Any:
    response = await rig.app().call(
        "InvokeThingService",
        ProductKey=LAMP.product_key,
        DeviceName=LAMP.device_name,
        Identifier=identifier,
        Args=json.dumps(arguments),
    )
    return response.json()


@pytest.mark.parametrize("carrier", ["ext", "sys"])
async def test_synchronous_services_are_answered_on_both_carriers(rig: Rig, carrier: Carrier) -> None:
    await publish_models(rig)
    model = await rig.server.models.find_published(LAMP.product_key)
    assert model is not None
    async with online(rig, carrier=carrier, model=model):
        for identifier, arguments in (("Blink", BLINK), ("testFb:testService", {"param1": 3, "ratio": 0.5})):
            answer = await invoke(rig, identifier, arguments)
            assert answer["Success"], answer
            result = json.loads(answer["Data"]["Result"])
            assert (result["code"], result["id"]) == (200, answer["Data"]["MessageId"])
            found = ModelChecker(model).find_service(identifier)
            assert found is not None
            assert found.check_output(result["data"], ValidateType.STRICT) == {}


async def test_what_the_behaviour_refuses_is_what_the_app_is_told(rig: Rig) -> None:
    await publish_models(rig)
    source = "from linkstead.simulator import Refuse\ndef Blink(inputs, state):\n    raise Refuse(100001, 'too hot')\n"
    behaviour = read_behaviour(source, "own.py", LAMP_MODEL)
    async with online(rig, model=LAMP_MODEL, behaviour=behaviour):
        result = json.loads((await invoke(rig, "Blink", BLINK))["Data"]["Result"])
        assert (result["code"], result["message"]) == (100001, "too hot")


async def eventually(read: Callable[[], Awaitable[Value]], is_it: Callable[[Value], bool]) -> Value:
    """What the store has, once it is what is waited for: nothing tells of that."""
    async with asyncio.timeout(WAIT_S):
        while not is_it(found := await read()):  # noqa: ASYNC110
            await asyncio.sleep(0)
    return found


async def present(rig: Rig) -> dict[str, Any]:
    """The properties as the server has them."""
    points = await rig.server.store.list_present_properties(LAMP)
    return {point.identifier: json.loads(point.value) for point in points}


async def test_what_it_posts_is_what_the_server_has(rig: Rig) -> None:
    await publish_models(rig)
    model = await rig.server.models.find_published(LAMP.product_key)
    async with online(rig, model=model) as device:
        await eventually(lambda: present(rig), lambda found: found == device.thing.state)
        assert len(device.thing.state) == 7


async def test_a_property_that_is_set_comes_back_as_a_post(rig: Rig) -> None:
    await publish_models(rig)
    async with online(rig, model=LAMP_MODEL) as device:
        wanted = 1 - device.thing.state["PowerSwitch"]
        response = await rig.app().call(
            "SetDeviceProperty",
            ProductKey=LAMP.product_key,
            DeviceName=LAMP.device_name,
            Items=json.dumps({"PowerSwitch": wanted}),
        )
        assert response.json()["Success"]
        await eventually(lambda: present(rig), lambda found: found.get("PowerSwitch") == wanted)
        assert device.thing.state["PowerSwitch"] == wanted


async def test_an_asynchronous_service_has_its_result_recorded(rig: Rig) -> None:
    await publish_models(rig)
    async with online(rig, model=LAMP_MODEL):
        answer = await invoke(rig, "RunScene", {"SceneId": "evening", "Steps": [{"Level": 20, "HoldMs": 500}]})
        assert answer["Success"], answer
        assert "Result" not in answer["Data"]
        await until(lambda: rig.calls()[0].result_code == 200)


async def test_events_arrive(rig: Rig) -> None:
    await publish_models(rig)
    behaviour = read_behaviour("events = {'LampFault': 20}\npost_every_s = 0\n", "own.py", LAMP_MODEL)
    always = Span(0, 2**53, ascending=True, limit=10)
    async with online(rig, model=LAMP_MODEL, behaviour=behaviour):
        rig.clock.advance(20)
        (event,) = await eventually(lambda: rig.server.store.list_events(LAMP, None, None, always), bool)
        assert (event.identifier, json.loads(event.output).keys()) == ("LampFault", {"FaultCode", "Temperature"})
