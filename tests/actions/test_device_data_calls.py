"""What devices reported as events, and which services of theirs were called."""

import json
from typing import Any

import pytest
import pytest_asyncio
from msgspec import UNSET

from linkstead.actions.device_data.events import EventData, QueryDeviceEventDataRequest, query_device_event_data
from linkstead.actions.device_data.histories import PAGE_SIZE_MAX
from linkstead.actions.device_data.services import (
    QueryDeviceServiceDataRequest,
    ServiceData,
    query_device_service_data,
)
from linkstead.actions.thing_service.invoking import invoke_thing_service
from linkstead.actions.thing_service.setting import SetDevicePropertyRequest, set_device_property
from linkstead.actions.thing_service.shapes import InvokeThingServiceRequest
from linkstead.alink.services import parse_reply
from linkstead.errors import codes
from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.registry import DeviceKey
from linkstead.telemetry import EventRecord
from tests.actions.lamps import FOREVER, NOW_MS, add_lamp, named, publish
from tests.actions.world import ACCOUNT_ID, World, check_refusal
from tests.fakes import FakeLink


@pytest_asyncio.fixture
async def lamp(world: World) -> DeviceKey:
    return await add_lamp(world)


# --- events


async def event_data(world: World, key: DeviceKey, **fields: Any) -> EventData:
    request = QueryDeviceEventDataRequest(**named(key), **{**FOREVER, **fields})
    answer = await query_device_event_data(world.context(), request)
    assert answer.data is not UNSET
    return answer.data


def record_events(world: World, key: DeviceKey) -> None:
    for number, (identifier, event_type) in enumerate(
        [("A", "info"), ("A", "alert"), ("m:B", "alert"), ("C", "error")]
    ):
        world.store.record_event(
            EventRecord(key, identifier, f"Event {identifier}", event_type, '{"n":1.50}', NOW_MS + number)
        )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"asc": 1}, [0, 1, 2, 3]),
        ({"identifier": "A"}, [1, 0]),
        ({"identifier": "default:A"}, [1, 0]),
        ({"identifier": "m:B"}, [2]),
        ({"identifier": "B"}, []),
        ({"event_type": "alert"}, [2, 1]),
        ({"identifier": "A", "event_type": "alert"}, [1]),
        ({"start_time": NOW_MS + 2, "end_time": NOW_MS + 1}, [2, 1]),
    ],
)
async def test_events_are_told_by_identifier_type_and_time(
    world: World, lamp: DeviceKey, fields: dict[str, Any], expected: list[int]
) -> None:
    record_events(world, lamp)
    infos = (await event_data(world, lamp, **fields)).list.event_info
    assert [int(info.time) - NOW_MS for info in infos] == expected


@pytest.mark.asyncio
async def test_an_event_is_told_as_it_was_reported(world: World, lamp: DeviceKey) -> None:
    record_events(world, lamp)
    (info,) = (await event_data(world, lamp, identifier="m:B")).list.event_info
    assert (info.identifier, info.name, info.event_type) == ("m:B", "Event m:B", "alert")
    assert (info.output_data, info.time) == ('{"n":1.50}', str(NOW_MS + 2))


@pytest.mark.asyncio
async def test_a_page_of_events_is_of_10_unless_said_otherwise(world: World, lamp: DeviceKey) -> None:
    for number in range(PAGE_SIZE_MAX + 1):
        world.store.record_event(EventRecord(lamp, "A", "A", "info", "{}", NOW_MS + number))
    usual = await event_data(world, lamp)
    assert (len(usual.list.event_info), usual.next_valid, usual.next_time) == (10, True, NOW_MS + 40)
    largest = await event_data(world, lamp, page_size=PAGE_SIZE_MAX)
    assert (len(largest.list.event_info), largest.next_valid, largest.next_time) == (50, True, NOW_MS)
    await check_refusal(event_data(world, lamp, page_size=PAGE_SIZE_MAX + 1), codes.INVALID_PAGE_PARAMS, "PageSize=51")


@pytest.mark.asyncio
async def test_an_unknown_event_type_is_refused(world: World, lamp: DeviceKey) -> None:
    await check_refusal(
        event_data(world, lamp, event_type="warning"), codes.INVALID_FORMATTED_PARAMETER, "EventType=warning"
    )


# --- service calls


async def service_data(world: World, key: DeviceKey, **fields: Any) -> ServiceData:
    request = QueryDeviceServiceDataRequest(**named(key), **{**FOREVER, **fields})
    answer = await query_device_service_data(world.context(), request)
    assert answer.data is not UNSET
    return answer.data


async def run_scene(world: World, key: DeviceKey, args: str) -> int:
    """Call the lamp's asynchronous service; returns the Alink id."""
    context, call = world.call_context("InvokeThingService")
    await invoke_thing_service(context, InvokeThingServiceRequest(args=args, identifier="RunScene", **named(key)))
    world.journal.close(call)
    return call.alink_id


def answer_scene(world: World, link: FakeLink, alink_id: int, payload: bytes) -> None:
    topic = f"/sys/{link.key.product_key}/{link.key.device_name}/thing/service/RunScene_reply"
    world.delivery.answer(link.origin, "RunScene", parse_reply(payload), topic, payload)


@pytest.mark.asyncio
async def test_a_service_call_is_told_with_the_whole_reply(world: World, lamp: DeviceKey) -> None:
    link = FakeLink(lamp, ACCOUNT_ID)
    world.attach(link)
    args = '{"SceneId":"evening","Steps":[{"Level":20,"HoldMs":500}]}'
    alink_id = await run_scene(world, lamp, args)
    answer_scene(world, link, alink_id, b'{"id":"%d","code":200,"data":{"Accepted":1,"Duration":12.50}}' % alink_id)
    (info,) = (await service_data(world, lamp)).list.service_info
    assert (info.identifier, info.name, info.time, info.input_data) == ("RunScene", "Run scene", NOW_MS, args)
    assert isinstance(info.output_data, str)
    assert '"Duration":12.50' in info.output_data
    assert json.loads(info.output_data) == {
        "code": 200,
        "data": {"Accepted": 1, "Duration": 12.5},
        "id": str(alink_id),
        "message": "success",
        "version": "1.0",
    }


@pytest.mark.asyncio
async def test_a_call_without_a_reply_has_no_output(world: World, lamp: DeviceKey) -> None:
    await run_scene(world, lamp, '{"SceneId":"evening","Steps":[]}')
    (info,) = (await service_data(world, lamp)).list.service_info
    assert (info.input_data, info.output_data) == ('{"SceneId":"evening","Steps":[]}', UNSET)


@pytest.mark.asyncio
async def test_property_sets_are_told_as_set_and_refused_calls_not_at_all(world: World, lamp: DeviceKey) -> None:
    world.attach(FakeLink(lamp, ACCOUNT_ID))
    await run_scene(world, lamp, '{"SceneId":"evening","Steps":[]}')
    world.clock.advance(1)
    context, call = world.call_context("SetDeviceProperty")
    await set_device_property(context, SetDevicePropertyRequest(items='{"PowerSwitch":1}', **named(lamp)))
    world.journal.close(call)
    told = {}
    for identifier in ("", "set", "RunScene", "Blink"):
        data = await service_data(world, lamp, identifier=identifier)
        told[identifier] = [(info.identifier, info.input_data) for info in data.list.service_info]
    property_set, scene = ("set", '{"PowerSwitch":1}'), ("RunScene", '{"SceneId":"evening","Steps":[]}')
    assert told == {"": [property_set, scene], "set": [property_set], "RunScene": [scene], "Blink": []}


@pytest.mark.asyncio
async def test_service_calls_are_told_page_by_page(world: World, lamp: DeviceKey) -> None:
    for _ in range(3):
        await run_scene(world, lamp, '{"SceneId":"evening","Steps":[]}')
        world.clock.advance(1)
    first = await service_data(world, lamp, page_size=2)
    assert [info.time - NOW_MS for info in first.list.service_info] == [2_000, 1_000]
    assert (first.next_valid, first.next_time) == (True, NOW_MS)
    second = await service_data(world, lamp, page_size=2, end_time=first.next_time)
    assert [info.time - NOW_MS for info in second.list.service_info] == [0]
    await check_refusal(service_data(world, lamp, page_size=51), codes.INVALID_PAGE_PARAMS, "PageSize=51")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("request_payload", "answer_payload", "input_data"),
    [
        (b'{"id":"7","params":{"Times":3}}', b"nonsense", '{"Times":3}'),
        (b'{"id":"7","params":{"Times":3', b'{"data":{}}', UNSET),
        (b'{"id":"7"}', b"", UNSET),
        (b"", b"[1]", UNSET),
    ],
)
async def test_what_cannot_be_read_is_left_out(
    world: World, lamp: DeviceKey, request_payload: bytes, answer_payload: bytes, input_data: object
) -> None:
    call = Call("R-1", "node", action="InvokeThingService", account_id=ACCOUNT_ID, key=lamp, target="Blink")
    call.mark(Stage.RECEIVED, world.clock.time_s(), world.clock.monotonic_s())
    call.set_request(request_payload)
    call.set_answer(answer_payload)
    call.end(Verdict.FAILED, Diagnosis.ANSWER_MALFORMED)
    world.store.record_call(call)
    (info,) = (await service_data(world, lamp)).list.service_info
    assert (info.name, info.input_data, info.output_data) == ("Blink", input_data, UNSET)


@pytest.mark.asyncio
async def test_a_service_that_left_the_model_goes_by_its_identifier(world: World, lamp: DeviceKey) -> None:
    await run_scene(world, lamp, '{"SceneId":"evening","Steps":[]}')
    await publish(world, lamp.product_key, "all-types.tsl.json", version="2")
    (info,) = (await service_data(world, lamp)).list.service_info
    assert (info.identifier, info.name) == ("RunScene", "RunScene")
