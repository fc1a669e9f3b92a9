from typing import Any

import pytest

from linkstead.registry import DeviceKey
from linkstead.tsl.limits import POST_PROPERTIES_MAX
from linkstead.uplink.batches import PACK_EVENTS_MAX, PACK_SUB_DEVICES_MAX, VALUES_MAX
from tests.fakes import KEY, NOW_MS
from tests.uplink.bench import EXAMPLES, FREE_KEY, STRICT_KEY, Bench

BATCH = "thing/event/property/batch/post"
PACK = "thing/event/property/pack/post"
HISTORY = "thing/event/property/history/post"
OWN = {"productKey": KEY.product_key, "deviceName": KEY.device_name}
SUB_DEVICE = {"productKey": "a1SubDevKey", "deviceName": "probe-7"}


def params_of(name: str) -> Any:
    (example,) = (example for example in EXAMPLES if example["name"] == name)
    return example["payload"]["params"]


# --- batch


@pytest.mark.asyncio
async def test_a_batch_brings_several_values_of_a_property(bench: Bench) -> None:
    assert await bench.code_of(BATCH, params_of("batch post")) == 200
    assert await bench.values() == {"Brightness": [("10", NOW_MS), ("20", NOW_MS + 60_000)]}
    assert (await bench.present())["Brightness"].value == "20"
    assert [(event.identifier, event.output, event.time_ms) for event in await bench.events()] == [
        ("LampFault", '{"FaultCode":1}', NOW_MS)
    ]


@pytest.mark.asyncio
async def test_what_does_not_fit_in_a_batch_is_passed_over(bench: Bench) -> None:
    params = {
        "properties": {"Brightness": [101, 20], "PowerSwitch": 1, "Mystery": [1]},
        "events": {"LampFault": [{"value": 1}, {"value": {}}], "Mystery": [{"value": {}}], "a b": [{"value": {}}]},
    }
    assert await bench.code_of(BATCH, params, STRICT_KEY) == 200
    assert await bench.values(STRICT_KEY) == {"Brightness": [("20", NOW_MS)]}
    assert [event.identifier for event in await bench.events(STRICT_KEY)] == ["LampFault"]


@pytest.mark.asyncio
async def test_what_is_passed_over_in_a_batch_is_noted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "linkstead.uplink")
    params = {"properties": {"PowerSwitch": 1, "Brightness": "s3cret"}, "events": {"Mystery": [{"value": {}}]}}
    await bench.ask(BATCH, params | {"properties": {"PowerSwitch": 1, "Brightness": ["s3cret"]}})
    for note in ("PowerSwitch (6301)", "Brightness (6306)", "Mystery (6300)"):
        assert f"reported data does not fit: {note}" in caplog.messages
    assert "s3cret" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("properties", "events", "code"),
    [
        (VALUES_MAX, 0, 200),
        (VALUES_MAX - 1, 1, 200),
        (VALUES_MAX, 1, 6106),
        (VALUES_MAX + 1, 0, 6106),
    ],
)
async def test_a_batch_has_at_most_so_many_values_and_events(
    bench: Bench, properties: int, events: int, code: int
) -> None:
    params: dict[str, Any] = {"properties": {"A": [1] * properties}, "events": {"B": [{"value": {}}] * events}}
    assert await bench.code_of(BATCH, params, FREE_KEY) == code
    kept = [value for values in (await bench.values(FREE_KEY)).values() for value in values]
    assert (len(kept), len(await bench.events(FREE_KEY))) == ((properties, events) if code == 200 else (0, 0))


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(POST_PROPERTIES_MAX, 200), (POST_PROPERTIES_MAX + 1, 6106)])
@pytest.mark.parametrize("path", [BATCH, PACK])
async def test_a_batch_or_a_pack_has_at_most_200_properties(bench: Bench, path: str, count: int, code: int) -> None:
    params = {"properties": {f"P{number}": [number] for number in range(count)}}
    assert await bench.code_of(path, params, FREE_KEY) == code
    assert len(await bench.values(FREE_KEY)) == (count if code == 200 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        "{}",
        {},
        {"properties": {}, "events": {}},
        {"properties": None},
        {"properties": [1]},
        {"properties": {"A": [1]}, "events": [1]},
    ],
)
@pytest.mark.parametrize("path", [BATCH, PACK])
async def test_a_malformed_batch_is_refused_whole(bench: Bench, path: str, params: object) -> None:
    assert await bench.code_of(path, params, FREE_KEY) == 460
    assert await bench.values(FREE_KEY) == {}


# --- pack


@pytest.mark.asyncio
async def test_a_gateways_own_part_of_a_pack_is_kept(bench: Bench) -> None:
    params: dict[str, Any] = {
        **params_of("pack post"),
        "events": {"LampFault": {"value": {"FaultCode": 1}, "time": NOW_MS}},
    }
    assert await bench.code_of(PACK, {**params, "subDevices": []}) == 200
    assert await bench.values() == {"Brightness": [("10", NOW_MS)]}
    assert [event.identifier for event in await bench.events()] == ["LampFault"]


@pytest.mark.asyncio
async def test_a_pack_with_sub_devices_is_answered_with_6401_and_its_own_part_kept(bench: Bench) -> None:
    reply = await bench.ask(PACK, params_of("pack post"))
    assert (reply["code"], reply["data"]) == (6401, {})
    assert "a1SubDevKey/probe-7" in reply["message"]
    assert await bench.values() == {"Brightness": [("10", NOW_MS)]}


@pytest.mark.asyncio
async def test_a_pack_may_speak_of_sub_devices_alone(bench: Bench) -> None:
    assert await bench.code_of(PACK, {"subDevices": [{"identity": SUB_DEVICE, "properties": {"Temp": 1}}]}) == 6401


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(PACK_EVENTS_MAX, 200), (PACK_EVENTS_MAX + 1, 6356)])
async def test_a_pack_has_at_most_20_events(bench: Bench, count: int, code: int) -> None:
    params: dict[str, Any] = {"events": {f"E{number}": {"value": {}} for number in range(count)}}
    assert await bench.code_of(PACK, params, FREE_KEY) == code
    assert len(await bench.events(FREE_KEY)) == (count if code == 200 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(PACK_SUB_DEVICES_MAX, 6401), (PACK_SUB_DEVICES_MAX + 1, 6357)])
async def test_a_pack_has_at_most_20_sub_devices(bench: Bench, count: int, code: int) -> None:
    params = {"properties": {"Brightness": 1}, "subDevices": [{"identity": SUB_DEVICE}] * count}
    assert await bench.code_of(PACK, params) == code
    assert set(await bench.values()) == ({"Brightness"} if code == 6401 else set())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sub_devices",
    [
        "x",
        {"a": 1},
        [1],
        [{}],
        [{"identity": {"productKey": "a1SubDevKey"}}],
        [{"identity": {**SUB_DEVICE, "deviceName": 7}}],
    ],
)
async def test_a_pack_with_malformed_sub_devices_is_refused_whole(bench: Bench, sub_devices: object) -> None:
    assert await bench.code_of(PACK, {"properties": {"Brightness": 1}, "subDevices": sub_devices}) == 460
    assert await bench.values() == {}


# --- history


@pytest.mark.asyncio
async def test_a_history_fills_the_past_and_leaves_the_present(bench: Bench) -> None:
    await bench.ask("thing/event/property/post", {"Brightness": 42})
    entry = {
        "identity": OWN,
        "properties": [
            {"Brightness": {"value": 10, "time": NOW_MS - 2_000}},
            {"Brightness": {"value": 20, "time": NOW_MS - 1_000}},
        ],
        "events": [{"LampFault": {"value": {"FaultCode": 1}, "time": NOW_MS - 2_000}}],
    }
    assert await bench.code_of(HISTORY, [entry]) == 200
    assert await bench.values() == {
        "Brightness": [("10", NOW_MS - 2_000), ("20", NOW_MS - 1_000), ("42", NOW_MS)],
    }
    assert (await bench.present())["Brightness"].value == "42"
    assert [event.time_ms for event in await bench.events()] == [NOW_MS - 2_000]


@pytest.mark.asyncio
async def test_the_history_of_another_device_is_answered_with_6401_and_its_own_kept(bench: Bench) -> None:
    other = {"identity": {**OWN, "deviceName": "lamp-02"}, "properties": [{"Brightness": 1}]}
    own = {"identity": OWN, "properties": [{"Brightness": 2}]}
    assert await bench.code_of(HISTORY, [other, own]) == 6401
    assert await bench.values() == {"Brightness": [("2", NOW_MS)]}
    assert await bench.values(DeviceKey(KEY.product_key, "lamp-02")) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(VALUES_MAX, 200), (VALUES_MAX + 1, 6106)])
async def test_a_history_has_at_most_so_many_values(bench: Bench, count: int, code: int) -> None:
    entry = {"identity": OWN, "properties": [{"Brightness": {"value": 1, "time": NOW_MS}}] * count}
    assert await bench.code_of(HISTORY, [entry]) == code
    assert len((await bench.values()).get("Brightness", [])) == (count if code == 200 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        "[]",
        [],
        [1],
        [{}],
        [{"identity": OWN}],
        [{"identity": OWN, "properties": []}],
        [{"identity": OWN, "properties": {"Brightness": 1}}],
        [{"identity": OWN, "properties": [{"Brightness": 1}]}, {"identity": OWN, "properties": [1]}],
        [{"identity": OWN, "properties": [{"Brightness": 1}], "events": 7}],
        [{"identity": {}, "properties": [{"Brightness": 1}]}],
    ],
)
async def test_a_malformed_history_is_refused_whole(bench: Bench, params: object) -> None:
    assert await bench.code_of(HISTORY, params) == 460
    assert await bench.values() == {}
