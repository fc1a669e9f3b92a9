import json
import logging
from typing import Any

import pytest

from linkstead.tsl.limits import POST_PROPERTIES_MAX, TIME_AHEAD_MS_MAX
from tests.fakes import KEY, NOW_MS
from tests.uplink.bench import BARE_KEY, EXAMPLES, FREE_KEY, MODULES_KEY, STRICT_KEY, Bench

POST = "thing/event/property/post"


@pytest.mark.asyncio
async def test_values_are_kept_with_the_time_they_came(bench: Bench) -> None:
    bench.clock.advance(1.5)
    assert await bench.code_of(POST, {"PowerSwitch": 1, "Brightness": {"value": 42}}) == 200
    assert await bench.values() == {
        "PowerSwitch": [("1", NOW_MS + 1_500)],
        "Brightness": [("42", NOW_MS + 1_500)],
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("time", [NOW_MS - 60_000, str(NOW_MS - 60_000)])
async def test_a_value_may_tell_its_time(bench: Bench, time: object) -> None:
    assert await bench.code_of(POST, {"Brightness": {"value": 42, "time": time}}) == 200
    assert await bench.values() == {"Brightness": [("42", NOW_MS - 60_000)]}


@pytest.mark.asyncio
async def test_the_time_of_a_value_is_when_it_came_not_when_it_was_read(bench: Bench) -> None:
    # Nothing is at hand: the message waits for the store.
    assert bench.publish(f"/sys/{KEY.product_key}/{KEY.device_name}/{POST}", b'{"id":"1","params":{"Brightness":42}}')
    bench.clock.advance(5)
    await bench.uplink.drain()
    assert await bench.values() == {"Brightness": [("42", NOW_MS)]}


@pytest.mark.asyncio
async def test_an_older_value_does_not_become_the_present_one(bench: Bench) -> None:
    await bench.ask(POST, {"Brightness": 42})
    await bench.ask(POST, {"Brightness": {"value": 10, "time": NOW_MS - 1}})
    assert await bench.values() == {"Brightness": [("10", NOW_MS - 1), ("42", NOW_MS)]}
    assert (await bench.present())["Brightness"].value == "42"


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["230.50", "2.305e2", "230", "-0.0", "0.1000000000000000055511151231257827", "1E2"])
async def test_a_number_is_kept_as_it_was_written(bench: Bench, text: str) -> None:
    topic = f"/sys/{KEY.product_key}/{KEY.device_name}/{POST}"
    assert bench.publish(topic, b'{"id":"1","params":{"MainsVoltage":%b}}' % text.encode())
    await bench.uplink.drain()
    assert await bench.values() == {"MainsVoltage": [(text, NOW_MS)]}


@pytest.mark.asyncio
async def test_the_property_of_a_module_bears_its_name(bench: Bench) -> None:
    (post,) = (example["payload"] for example in EXAMPLES if example["name"] == "module property post")
    assert await bench.code_of(POST, post["params"], MODULES_KEY) == 200
    assert await bench.values(MODULES_KEY) == {"testFb:Level": [("3.5", NOW_MS)], "DeviceLabel": [('"a"', NOW_MS)]}


@pytest.mark.asyncio
async def test_the_name_of_the_default_module_is_left_out(bench: Bench) -> None:
    assert await bench.code_of(POST, {"default:DeviceLabel": "a"}, MODULES_KEY) == 200
    assert await bench.values(MODULES_KEY) == {"DeviceLabel": [('"a"', NOW_MS)]}


# A value of a kind that fits, one out of range, one of the wrong type, one that is not in the model.
MIXED: dict[str, Any] = {"PowerSwitch": 1, "Brightness": 101, "WorkMode": "white", "Mystery": 7}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("key", "kept"),
    [
        (STRICT_KEY, {"PowerSwitch"}),
        (KEY, {"PowerSwitch", "Brightness", "WorkMode", "Mystery"}),
        (FREE_KEY, {"PowerSwitch", "Brightness", "WorkMode", "Mystery"}),
    ],
)
async def test_the_level_of_the_product_decides_what_is_kept(bench: Bench, key: Any, kept: set[str]) -> None:
    assert await bench.code_of(POST, MIXED, key) == 200
    assert set(await bench.values(key)) == kept


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("key", "told"),
    [
        (STRICT_KEY, ["Brightness (6306), WorkMode (6309), Mystery (6304)"]),
        (KEY, ["WorkMode (6309), Mystery (6304)"]),
        (FREE_KEY, []),
    ],
)
async def test_what_does_not_fit_is_noted_without_its_value(
    bench: Bench, key: Any, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linkstead.uplink")
    await bench.ask(POST, MIXED | {"WorkMode": "s3cret"}, key)
    assert [record.getMessage() for record in caplog.records] == [
        f"reported data does not fit: {text}" for text in told
    ]
    assert "s3cret" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.asyncio
async def test_a_struct_that_looks_like_a_wrapper_is_one(bench: Bench) -> None:
    params = {"A": {"value": {"x": 1}, "time": NOW_MS}, "B": {"value": 1, "unit": "V"}, "C": {"time": NOW_MS}}
    assert await bench.code_of(POST, params, FREE_KEY) == 200
    kept = {name: json.loads(values[0][0]) for name, values in (await bench.values(FREE_KEY)).items()}
    assert kept == {"A": {"x": 1}, "B": {"value": 1, "unit": "V"}, "C": {"time": NOW_MS}}


@pytest.mark.asyncio
async def test_without_a_published_model_a_product_that_checks_notes_everything(bench: Bench) -> None:
    assert await bench.code_of(POST, {"Power": 1}, BARE_KEY) == 200
    assert await bench.values(BARE_KEY) == {"Power": [("1", NOW_MS)]}


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [STRICT_KEY, KEY, FREE_KEY])
@pytest.mark.parametrize("ahead_ms", [0, 1])
async def test_a_time_may_be_24_hours_ahead_and_no_more(bench: Bench, key: Any, ahead_ms: int) -> None:
    time = NOW_MS + TIME_AHEAD_MS_MAX + ahead_ms
    assert await bench.code_of(POST, {"Brightness": {"value": 1, "time": time}, "PowerSwitch": 1}, key) == 200
    assert set(await bench.values(key)) == ({"PowerSwitch"} if ahead_ms else {"PowerSwitch", "Brightness"})


@pytest.mark.asyncio
@pytest.mark.parametrize("time", ["soon", -1, 1.5, True, [], {}, "9" * 16])
async def test_a_value_with_a_malformed_time_is_passed_over(
    bench: Bench, time: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linkstead.uplink")
    assert await bench.code_of(POST, {"Brightness": {"value": 1, "time": time}, "PowerSwitch": 1}) == 200
    assert set(await bench.values()) == {"PowerSwitch"}
    assert "Brightness.time (6326)" in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [KEY, FREE_KEY])
@pytest.mark.parametrize("name", ["", "a b", "a:b:c", ":a", "a:", "x" * 51, "y" * 31 + ":a", "灯", "a\0"])
async def test_a_malformed_identifier_is_passed_over_at_every_level(bench: Bench, key: Any, name: str) -> None:
    assert await bench.code_of(POST, {name: 1, "PowerSwitch": 1}, key) == 200
    assert set(await bench.values(key)) == {"PowerSwitch"}


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(POST_PROPERTIES_MAX, 200), (POST_PROPERTIES_MAX + 1, 6106)])
async def test_a_post_has_at_most_200_properties(bench: Bench, count: int, code: int) -> None:
    assert await bench.code_of(POST, {f"P{number}": number for number in range(count)}, FREE_KEY) == code
    assert len(await bench.values(FREE_KEY)) == (count if code == 200 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("params", [None, {}, [], [{"PowerSwitch": 1}], "{}", '{"PowerSwitch":1}', 1, True])
async def test_a_post_without_properties_is_refused(bench: Bench, params: object) -> None:
    assert await bench.code_of(POST, params) == 460
    assert await bench.values() == {}
