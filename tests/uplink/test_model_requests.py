import json

import pytest

from tests.uplink.bench import BARE_KEY, MODULES_KEY, Bench, read_golden


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("thing/dsltemplate/get", {}),
        ("thing/dsltemplate/get", None),
        ("thing/dynamicTsl/get", {"nodes": ["type", "identifier"], "addDefault": False}),
    ],
)
async def test_a_device_is_told_its_published_model(bench: Bench, path: str, params: object) -> None:
    reply = await bench.ask(path, params)
    assert (reply["code"], reply["data"]) == (200, json.loads(read_golden("lamp.tsl.json")))


@pytest.mark.asyncio
async def test_a_device_with_modules_is_told_the_default_one(bench: Bench) -> None:
    reply = await bench.ask("thing/dsltemplate/get", {}, MODULES_KEY)
    assert reply["data"] == json.loads(read_golden("multi-module.default.tsl.json"))


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["thing/dsltemplate/get", "thing/dynamicTsl/get"])
async def test_where_nothing_is_published_there_is_nothing_to_tell(bench: Bench, path: str) -> None:
    assert await bench.code_of(path, {}, BARE_KEY) == 6317


@pytest.mark.asyncio
async def test_there_is_no_remote_configuration(bench: Bench) -> None:
    assert await bench.code_of("thing/config/get", {"configScope": "product", "getType": "file"}) == 6710


@pytest.mark.asyncio
async def test_a_log_is_taken(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    assert await bench.code_of("thing/log/post", {"logs": ["s3cret"]}) == 200
    assert "s3cret" not in "".join(str(vars(record)) for record in caplog.records)
