import pytest

from linkstead.telemetry import TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX
from linkstead.uplink.tags import TAGS_MAX
from tests.fakes import KEY
from tests.uplink.bench import Bench

UPDATE = "thing/deviceinfo/update"
DELETE = "thing/deviceinfo/delete"
GET = "thing/deviceinfo/get"
ROOM = {"attrKey": "room", "attrValue": "kitchen"}
FLOOR = {"attrKey": "floor", "attrValue": "2"}


@pytest.mark.asyncio
async def test_a_device_adds_and_replaces_tags(bench: Bench) -> None:
    assert await bench.code_of(UPDATE, [ROOM, FLOOR]) == 200
    assert await bench.code_of(UPDATE, [{"attrKey": "room", "attrValue": "厨房", "domain": "SYSTEM"}]) == 200
    assert await bench.store.list_tags(KEY) == {"room": "厨房", "floor": "2"}


@pytest.mark.asyncio
async def test_tags_that_are_told_again_are_not_written_again(bench: Bench) -> None:
    await bench.ask(UPDATE, [ROOM, FLOOR])
    before = bench.store.statement_count
    await bench.ask(GET)
    read = bench.store.statement_count - before
    assert await bench.code_of(UPDATE, [ROOM]) == 200
    assert bench.store.statement_count == before + 2 * read
    assert await bench.code_of(UPDATE, [{**ROOM, "attrValue": "hall"}]) == 200
    assert bench.store.statement_count > before + 3 * read


@pytest.mark.asyncio
async def test_a_device_deletes_tags(bench: Bench) -> None:
    await bench.ask(UPDATE, [ROOM, FLOOR])
    assert await bench.code_of(DELETE, [{"attrKey": "room"}, {"attrKey": "unknown"}]) == 200
    assert await bench.store.list_tags(KEY) == {"floor": "2"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("params", "data"),
    [
        (None, [ROOM, FLOOR]),
        ({}, [ROOM, FLOOR]),
        ([], [ROOM, FLOOR]),
        ("{}", [ROOM, FLOOR]),
        ({"attrKeys": ["floor", "unknown"]}, [FLOOR]),
        ({"attrKeys": []}, []),
    ],
)
async def test_a_device_asks_for_its_tags(bench: Bench, params: object, data: list[dict[str, str]]) -> None:
    await bench.ask(UPDATE, [ROOM, FLOOR])
    reply = await bench.ask(GET, params)
    assert reply["code"] == 200
    assert sorted(reply["data"], key=str) == sorted(data, key=str)


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "code"), [(TAGS_MAX, 200), (TAGS_MAX + 1, 460)])
async def test_one_request_has_at_most_200_tags(bench: Bench, count: int, code: int) -> None:
    tags = [{"attrKey": f"k{number}", "attrValue": ""} for number in range(count)]
    assert await bench.code_of(UPDATE, tags) == code
    assert len(await bench.store.list_tags(KEY)) == (count if code == 200 else 0)
    assert await bench.code_of(DELETE, tags) == code


@pytest.mark.asyncio
async def test_one_device_has_at_most_200_tags(bench: Bench) -> None:
    await bench.ask(UPDATE, [{"attrKey": f"k{number}", "attrValue": ""} for number in range(TAGS_MAX - 1)])
    assert await bench.code_of(UPDATE, [ROOM, FLOOR]) == 460
    assert await bench.code_of(UPDATE, [ROOM]) == 200
    assert await bench.code_of(UPDATE, [{**ROOM, "attrValue": "hall"}]) == 200
    assert await bench.code_of(UPDATE, [FLOOR]) == 460
    assert len(await bench.store.list_tags(KEY)) == TAGS_MAX


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("k" * TAG_KEY_BYTES_MAX, "v" * TAG_VALUE_BYTES_MAX, 200),
        ("k" * (TAG_KEY_BYTES_MAX + 1), "", 460),
        ("k", "v" * (TAG_VALUE_BYTES_MAX + 1), 460),
        ("灯" * 33, "灯" * 341, 200),
        ("灯" * 34, "", 460),
        ("k", "灯" * 342, 460),
        ("", "v", 460),
        ("k", 7, 460),
        ("k", None, 460),
        (7, "v", 460),
    ],
)
async def test_keys_and_values_have_their_lengths_in_bytes(bench: Bench, key: object, value: object, code: int) -> None:
    assert await bench.code_of(UPDATE, [FLOOR, {"attrKey": key, "attrValue": value}]) == code
    assert len(await bench.store.list_tags(KEY)) == (2 if code == 200 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [UPDATE, DELETE])
@pytest.mark.parametrize("params", [None, {}, [], "[]", ["room"], [{}], [{"attrValue": "x"}], [[ROOM]]])
async def test_a_malformed_list_is_refused(bench: Bench, path: str, params: object) -> None:
    assert await bench.code_of(path, params) == 460


@pytest.mark.asyncio
@pytest.mark.parametrize("params", [["room"], {"attrKeys": "room"}, {"attrKeys": [7]}, {"other": 1}, 7])
async def test_a_malformed_question_is_refused(bench: Bench, params: object) -> None:
    assert await bench.code_of(GET, params) == 460
