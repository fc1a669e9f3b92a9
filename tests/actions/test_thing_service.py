"""Services and property sets: what is refused and with which number, and what a call's end says."""

import json
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from linkstead.actions import thing_service
from linkstead.actions.thing_service.invoking import invoke_thing_service, invoke_things_service
from linkstead.actions.thing_service.setting import (
    SetDevicePropertyRequest,
    SetDevicesPropertyRequest,
    set_device_property,
    set_devices_property,
)
from linkstead.actions.thing_service.shapes import InvokeThingServiceRequest, InvokeThingsServiceRequest
from linkstead.actions.thing_service.target import DEVICES_MAX
from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.invocation import Call, Diagnosis, Message, Outcome, RouterOverloaded, Verdict
from linkstead.registry import DeviceKey
from linkstead.sessions import QUEUED_MESSAGES_MAX, LinkTooSmall
from tests.actions.lamps import add_lamp, named
from tests.actions.world import World, check_refusal
from tests.fakes import FakeLink

pytestmark = pytest.mark.asyncio

BLINK = '{"Times":3,"IntervalSec":0.5}'
SCENE = '{"SceneId":"evening","Steps":[]}'
SEVEN_DAYS_S = 7 * 24 * 3600.0


@dataclass
class ScriptedRouter:
    """Implements `Router`: every call ends so."""

    end: Outcome | Exception
    messages: list[Message]

    async def call(self, call: Call, message: Message, *, activated: bool, enabled: bool) -> Outcome:
        assert activated
        assert enabled
        self.messages.append(message)
        if isinstance(self.end, Exception):
            raise self.end
        call.end(self.end.verdict, self.end.diagnosis)
        return self.end


async def online_lamp(world: World, *, kept_s: float = 0.0) -> tuple[DeviceKey, FakeLink]:
    """A lamp that is connected, as its record says too."""
    key = await add_lamp(world)
    link = FakeLink(key)
    world.attach(link, kept_s=kept_s)
    assert await world.store.flush()
    return key, link


def request(key: DeviceKey, identifier: str, args: str, **fields: Any) -> InvokeThingServiceRequest:
    return InvokeThingServiceRequest(identifier=identifier, args=args, **{**named(key), **fields})


async def refused(world: World, key: DeviceKey, identifier: str, args: str, **fields: Any) -> tuple[ErrorRow, int, str]:
    """How a call is refused: the code, the number that stays with its record, and the text."""
    context, call = world.call_context("InvokeThingService")
    with pytest.raises(ApiError) as caught:
        await invoke_thing_service(context, request(key, identifier, args, **fields))
    return caught.value.row, call.result_code, caught.value.message("en")


async def invoke_ended(world: World, key: DeviceKey, end: Outcome | Exception, **switches: Any) -> tuple[Call, str]:
    """A synchronous call that ends so: its record, and the result."""
    context, call = world.call_context("InvokeThingService")
    context = msgspec.structs.replace(
        context, router=ScriptedRouter(end, []), behaviour=replace(context.behaviour, **switches)
    )
    answer = await invoke_thing_service(context, request(key, "Blink", BLINK))
    assert answer.data
    assert isinstance(answer.data.result, str)
    return call, answer.data.result


async def test_the_chapter_has_four_actions() -> None:
    assert [action.name for action in thing_service.ACTIONS] == [
        "InvokeThingService",
        "InvokeThingsService",
        "SetDeviceProperty",
        "SetDevicesProperty",
    ]


# --- what a synchronous call's end says. Source: `cloud-api.md` 8


@pytest.mark.parametrize(
    ("verdict", "row", "number"),
    [
        (Verdict.OFFLINE, codes.MESSAGE_OFFLINE, 9201),
        (Verdict.HALFCONN, codes.MESSAGE_HALFCONN, 9201),
        (Verdict.TIMEOUT, codes.MESSAGE_TIMEOUT, 1905),
        (Verdict.FAILED, codes.INVOKE_THING_SERVICE_FAILED, 6207),
        (Verdict.UNKNOWN, codes.SYSTEM_EXCEPTION, 0),
    ],
)
async def test_each_verdict_has_its_code_and_its_number(
    world: World, verdict: Verdict, row: ErrorRow, number: int
) -> None:
    key, _ = await online_lamp(world)
    context, call = world.call_context("InvokeThingService")
    context = msgspec.structs.replace(context, router=ScriptedRouter(Outcome(verdict, Diagnosis.NOT_CONNECTED), []))
    await check_refusal(invoke_thing_service(context, request(key, "Blink", BLINK)), row)
    assert (call.verdict, call.code, call.result_code) == (verdict, row.code, number)


@pytest.mark.parametrize(
    ("failure", "row"),
    [(RouterOverloaded(), codes.MESSAGE_RATE_LIMIT), (LinkTooSmall(), codes.INVOKE_THING_SERVICE_FAILED)],
)
async def test_a_call_that_cannot_be_sent_is_refused(world: World, failure: Exception, row: ErrorRow) -> None:
    key, _ = await online_lamp(world)
    context, call = world.call_context("InvokeThingService")
    context = msgspec.structs.replace(context, router=ScriptedRouter(failure, []))
    await check_refusal(invoke_thing_service(context, request(key, "Blink", BLINK)), row)
    assert not call.is_ended


@pytest.mark.parametrize(
    ("data", "has_faults"), [('{"Executed":3,"FinishedAt":"1700000003000"}', False), ('{"Executed":"three"}', True)]
)
async def test_outputs_that_do_not_fit_are_noted_and_handed_on(world: World, data: str, has_faults: bool) -> None:
    key, _ = await online_lamp(world)
    end = Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, b'{"id":"1","code":200,"data":%b}' % data.encode())
    call, result = await invoke_ended(world, key, end, profile="observed")
    assert result == data
    assert bool(call.output_faults) is has_faults


async def test_a_call_waits_as_long_as_the_server_is_told_to(world: World) -> None:
    key, _ = await online_lamp(world)
    end = Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, b'{"code":200}')
    call, _ = await invoke_ended(world, key, end)
    assert call.timeout_ms == 8_000
    call, _ = await invoke_ended(world, key, end, service_timeout_ms=5_000)
    assert call.timeout_ms == 5_000


# --- Args


@pytest.mark.parametrize(
    "args",
    [
        BLINK,
        "{'Times':3,'IntervalSec':0.5}",
        "{Times:3,IntervalSec:0.5}",
        '{"Times":3,"IntervalSec":0.5,}',
        ' { "Times" : 3 , "IntervalSec" : 0.5 } ',
    ],
)
async def test_args_are_read_as_programs_write_them_and_sent_as_json(world: World, args: str) -> None:
    key, _ = await online_lamp(world)
    router = ScriptedRouter(Outcome(Verdict.SUCCESS, Diagnosis.ANSWERED, b'{"code":200}'), [])
    context, _ = world.call_context("InvokeThingService")
    await invoke_thing_service(msgspec.structs.replace(context, router=router), request(key, "Blink", args))
    (message,) = router.messages
    assert message.payload.endswith(b'"params":' + BLINK.encode() + b"}")


@pytest.mark.parametrize("args", ["", "[]", "1", "null", '"{}"', "{", "{}{}", "Times=3", "\x00"])
async def test_args_that_are_no_object_are_refused(world: World, args: str) -> None:
    key, _ = await online_lamp(world)
    row, number, text = await refused(world, key, "Blink", args)
    assert (row, number) == (codes.CHECK_INVALID_FORMATTED_PARAMETER, 6207)
    assert "The args parameter format is invalid." in text


@pytest.mark.parametrize(
    ("identifier", "args", "number", "said"),
    [
        ("Blink", "{}", 6302, "Times"),
        ("Blink", '{"Times":3}', 6302, "IntervalSec"),
        ("Blink", '{"Times":3,"IntervalSec":0.5,"More":1}', 6304, "params not exist -> More"),
        ("Blink", '{"Times":"3","IntervalSec":0.5}', 6306, "data type is not int -> Times"),
        ("Blink", '{"Times":0,"IntervalSec":0.5}', 6306, "Times"),
        ("Blink", '{"Times":21,"IntervalSec":0.5}', 6306, "Times"),
        ("Blink", '{"Times":3,"IntervalSec":1}', 6307, "IntervalSec"),
        ("Blink", '{"Times":3,"IntervalSec":5.1}', 6307, "IntervalSec"),
        ("RunScene", '{"SceneId":1,"Steps":[]}', 6310, "data type is not string -> SceneId"),
        ("RunScene", '{"SceneId":"a","Steps":{}}', 6328, "Steps"),
        ("RunScene", '{"SceneId":"a","Steps":[{"Level":1}]}', 6312, "Steps"),
        ("Nothing", "{}", 6206, "service not found"),
        ("set", "{}", 6206, "service not found"),
    ],
)
async def test_what_does_not_fit_the_model_is_refused_by_its_number(
    world: World, identifier: str, args: str, number: int, said: str
) -> None:
    key, link = await online_lamp(world)
    row, found, text = await refused(world, key, identifier, args)
    assert (row, found) == (codes.INVOKE_THING_SERVICE_FAILED, number)
    assert said in text
    assert link.sent == []


@pytest.mark.parametrize("qos", [-1, 2])
async def test_a_qos_is_0_or_1(world: World, qos: int) -> None:
    key, link = await online_lamp(world)
    one = named(key)
    several: dict[str, Any] = {"product_key": key.product_key, "device_name": [key.device_name]}
    items = '{"PowerSwitch":1}'
    for action in (
        invoke_thing_service(world.call_context("x")[0], request(key, "RunScene", SCENE, qos=qos)),
        invoke_things_service(
            world.context(), InvokeThingsServiceRequest(identifier="RunScene", args=SCENE, qos=qos, **several)
        ),
        set_device_property(world.call_context("x")[0], SetDevicePropertyRequest(items=items, qos=qos, **one)),
        set_devices_property(world.context(), SetDevicesPropertyRequest(items=items, qos=qos, **several)),
    ):
        with pytest.raises(ApiError) as caught:
            await action
        assert caught.value.code == "InvalidQos"
    assert link.sent == []


async def test_a_product_without_a_thing_model_has_no_services(world: World) -> None:
    product = await world.create_product()
    await world.register_device(product.product_key)
    key = DeviceKey(product.product_key, "lamp-01")
    assert (await refused(world, key, "Blink", BLINK))[0] is codes.NOT_SENIOR_PRODUCT


# --- bounds


async def test_past_a_thousand_waiting_messages_a_call_is_refused(world: World) -> None:
    key, link = await online_lamp(world, kept_s=SEVEN_DAYS_S)
    world.detach(link)
    for _ in range(QUEUED_MESSAGES_MAX):
        context, _ = world.call_context("InvokeThingService")
        await invoke_thing_service(context, request(key, "RunScene", SCENE, qos=1))
    row, _, _ = await refused(world, key, "RunScene", SCENE, qos=1)
    assert row is codes.MESSAGE_RATE_LIMIT


@pytest.mark.parametrize(
    ("count", "row"),
    [(0, codes.NONE_DEVICE_NAME_ELEMENT), (100, codes.NOT_EXISTED_DEVICE), (101, codes.INVALID_FORMATTED_PARAMETER)],
)
async def test_a_request_names_one_to_a_hundred_devices(world: World, count: int, row: ErrorRow) -> None:
    assert DEVICES_MAX == 100
    key, link = await online_lamp(world)
    names = [key.device_name, *(f"nobody-{number}" for number in range(1, count))][:count]
    several: dict[str, Any] = {"product_key": key.product_key, "device_name": names}
    await check_refusal(
        invoke_things_service(world.context(), InvokeThingsServiceRequest(identifier="SelfTest", args="{}", **several)),
        row,
    )
    await check_refusal(
        set_devices_property(world.context(), SetDevicesPropertyRequest(items='{"PowerSwitch":1}', **several)), row
    )
    assert link.sent == []


async def test_a_device_named_twice_is_called_once(world: World) -> None:
    key, link = await online_lamp(world)
    names = [key.device_name, key.device_name]
    await set_devices_property(
        world.context(),
        SetDevicesPropertyRequest(items='{"Brightness":7}', product_key=key.product_key, device_name=names),
    )
    ((topic, payload),) = link.messages
    assert topic == f"/sys/{key.product_key}/{key.device_name}/thing/service/property/set"
    assert json.loads(payload)["params"] == {"Brightness": 7}
