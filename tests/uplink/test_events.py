import json
from typing import Any

import pytest

from linkstead.registry import DeviceKey
from linkstead.telemetry import EventRecord
from linkstead.tsl.limits import TIME_AHEAD_MS_MAX
from tests.fakes import KEY, NOW_MS
from tests.uplink.bench import BARE_KEY, EXAMPLES, FREE_KEY, MODULES_KEY, STRICT_KEY, Bench

POST = "thing/event/LampFault/post"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["event post", "event post, unwrapped"])
async def test_an_event_is_kept(bench: Bench, name: str) -> None:
    (post,) = (example["payload"] for example in EXAMPLES if example["name"] == name)
    bench.clock.advance(3)
    assert await bench.code_of(POST, post["params"]) == 200
    time_ms = post["params"].get("time", NOW_MS + 3_000)
    output = '{"FaultCode":1,"Temperature":92.5}'
    assert await bench.events() == [EventRecord(KEY, "LampFault", "Lamp fault", "error", output, time_ms)]


@pytest.mark.asyncio
async def test_the_event_of_a_module_bears_its_name(bench: Bench) -> None:
    checker = await bench.models.find_checker(MODULES_KEY.product_key)
    assert checker is not None
    (event,) = checker.model.modules[1].events
    assert await bench.code_of(f"thing/event/testFb:{event.identifier}/post", {"value": {}}, MODULES_KEY) == 200
    assert await bench.code_of(f"thing/event/{event.identifier}/post", {"value": {}}, MODULES_KEY) == 6300
    (kept,) = await bench.events(MODULES_KEY)
    assert (kept.identifier, kept.name, kept.event_type) == (f"testFb:{event.identifier}", event.name, event.type)


@pytest.mark.asyncio
@pytest.mark.parametrize("identifier", ["Mystery", "post", "lampfault", "testFb:LampFault"])
@pytest.mark.parametrize("key", [KEY, STRICT_KEY, BARE_KEY])
async def test_an_unknown_event_is_refused(bench: Bench, key: DeviceKey, identifier: str) -> None:
    assert await bench.code_of(f"thing/event/{identifier}/post", {"value": {}}, key) == 6300
    assert await bench.events(key) == []


@pytest.mark.asyncio
async def test_a_verification_free_product_takes_any_event(bench: Bench) -> None:
    assert await bench.code_of("thing/event/my:Mystery/post", {"value": {"a": [1.50]}}, FREE_KEY) == 200
    assert await bench.code_of(POST, {"FaultCode": "none"}, FREE_KEY) == 200
    assert await bench.events(FREE_KEY) == [
        EventRecord(FREE_KEY, "my:Mystery", "my:Mystery", "info", '{"a":[1.5]}', NOW_MS),
        EventRecord(FREE_KEY, "LampFault", "Lamp fault", "error", '{"FaultCode":"none"}', NOW_MS),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(("key", "kept"), [(STRICT_KEY, {"FaultCode"}), (KEY, {"FaultCode", "Temperature", "Mystery"})])
async def test_the_level_of_the_product_decides_which_outputs_are_kept(
    bench: Bench, key: DeviceKey, kept: set[str]
) -> None:
    assert await bench.code_of(POST, {"FaultCode": 1, "Temperature": "hot", "Mystery": 1}, key) == 200
    (event,) = await bench.events(key)
    assert set(json.loads(event.output)) == kept


@pytest.mark.asyncio
async def test_an_event_may_have_no_outputs(bench: Bench) -> None:
    assert await bench.code_of(POST, {}) == 200
    assert [event.output for event in await bench.events()] == ["{}"]


@pytest.mark.asyncio
@pytest.mark.parametrize("params", [None, [], "{}", 1, {"value": 1}, {"value": []}, {"value": None, "time": NOW_MS}])
async def test_outputs_that_are_no_object_are_refused(bench: Bench, params: Any) -> None:
    assert await bench.code_of(POST, params) == 460
    assert await bench.events() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [KEY, FREE_KEY])
@pytest.mark.parametrize("identifier", ["a b", "a:b:c", ":a", "x" * 51])
async def test_a_malformed_identifier_is_refused(bench: Bench, key: DeviceKey, identifier: str) -> None:
    assert await bench.code_of(f"thing/event/{identifier}/post", {"value": {}}, key) == 6321


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("time", "code"),
    [
        (NOW_MS + TIME_AHEAD_MS_MAX, 200),
        (NOW_MS + TIME_AHEAD_MS_MAX + 1, 6326),
        (str(NOW_MS), 200),
        ("yesterday", 6326),
        (-1, 6326),
    ],
)
async def test_a_time_may_be_24_hours_ahead_and_no_more(bench: Bench, time: object, code: int) -> None:
    assert await bench.code_of(POST, {"value": {}, "time": time}) == code
    assert [event.time_ms for event in await bench.events()] == ([int(str(time))] if code == 200 else [])
