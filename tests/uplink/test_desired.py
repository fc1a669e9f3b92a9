import json

import pytest

from tests.fakes import KEY, NOW_MS, OTHER_KEY
from tests.uplink.bench import Bench

GET = "thing/property/desired/get"
DELETE = "thing/property/desired/delete"


async def desire(bench: Bench, **values: str) -> None:
    await bench.store.set_desired(KEY, values, {}, NOW_MS)


async def told(bench: Bench, params: object) -> object:
    reply = await bench.ask(GET, params)
    assert reply["code"] == 200
    return reply["data"]


@pytest.mark.asyncio
async def test_a_device_asks_what_properties_are_desired_to_be(bench: Bench) -> None:
    await desire(bench, PowerSwitch="1", Brightness="42")
    await desire(bench, Brightness="43")
    assert await told(bench, ["Brightness"]) == {"Brightness": {"value": 43, "version": 2}}
    assert await told(bench, ["Brightness", "default:PowerSwitch"]) == {
        "PowerSwitch": {"value": 1, "version": 1},
        "Brightness": {"value": 43, "version": 2},
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("params", [None, [], {}, "{}", ""])
async def test_a_device_that_names_no_property_is_told_of_all(bench: Bench, params: object) -> None:
    await desire(bench, PowerSwitch="1", Brightness="42")
    assert await told(bench, params) == {
        "PowerSwitch": {"value": 1, "version": 1},
        "Brightness": {"value": 42, "version": 1},
    }


@pytest.mark.asyncio
async def test_what_is_not_desired_is_left_out(bench: Bench) -> None:
    await desire(bench, PowerSwitch="1")
    await bench.store.clear_desired(KEY, {"PowerSwitch": None}, NOW_MS)
    assert await told(bench, ["PowerSwitch", "Brightness"]) == {}
    assert await told(bench, []) == {}


@pytest.mark.asyncio
async def test_a_desired_value_is_told_as_it_was_written(bench: Bench) -> None:
    await desire(bench, Curve='{"points":[1.50,2e3],"name":"灯"}')
    await bench.ask(GET, ["Curve"])
    ((_, payload),) = bench.link.messages
    assert '"value":{"points":[1.50,2e3],"name":"灯"}' in payload.decode()
    assert json.loads(payload)["code"] == 200


@pytest.mark.asyncio
async def test_a_device_is_told_of_its_own_only(bench: Bench) -> None:
    await bench.store.set_desired(OTHER_KEY, {"PowerSwitch": "1"}, {}, NOW_MS)
    assert await told(bench, ["PowerSwitch"]) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("params", [{"PowerSwitch": 1}, "PowerSwitch", 7, [7], ["a b"], [None], ["a:b:c"]])
async def test_a_malformed_question_is_refused(bench: Bench, params: object) -> None:
    assert await bench.code_of(GET, params) == 460


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [{}, {"version": 1}, {"version": "1"}, {"version": None}])
async def test_a_device_clears_what_it_has_done(bench: Bench, version: object) -> None:
    await desire(bench, PowerSwitch="1", Brightness="42")
    reply = await bench.ask(DELETE, {"PowerSwitch": version})
    assert (reply["code"], reply["data"]) == (200, {})
    assert await told(bench, []) == {"Brightness": {"value": 42, "version": 1}}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [2, "2", 0])
async def test_a_device_clears_nothing_that_is_newer_than_it_knows(bench: Bench, version: object) -> None:
    await desire(bench, PowerSwitch="1", Brightness="42")
    reply = await bench.ask(DELETE, {"Brightness": {"version": 1}, "PowerSwitch": {"version": version}})
    assert reply["code"] == 460
    assert "PowerSwitch" in reply["message"]
    assert len(await bench.store.list_desired(KEY)) == 2
    assert all(found.value is not None for found in await bench.store.list_desired(KEY))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        [],
        ["PowerSwitch"],
        {"PowerSwitch": 1},
        {"PowerSwitch": {"version": -1}},
        {"PowerSwitch": {"version": 1.5}},
        {"PowerSwitch": {"version": True}},
        {"PowerSwitch": {"version": "9" * 19}},
        {"a b": {}},
    ],
)
async def test_a_malformed_clearing_is_refused_whole(bench: Bench, params: object) -> None:
    await desire(bench, PowerSwitch="1")
    assert await bench.code_of(DELETE, params) == 460
    assert await told(bench, []) == {"PowerSwitch": {"value": 1, "version": 1}}
