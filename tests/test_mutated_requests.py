"""Every action is sent what nobody meant to send: the right kind of error comes back, and nothing was written."""

import json
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from linkstead.actions import ACTIONS
from linkstead.errors import CATALOGUE
from linkstead.registry import DeviceKey
from linkstead.server import DATABASE_FILE
from linkstead.store import batches
from tests.rig import INSTANCE_LAMP, LAMP, OTHER_LAMP, PRODUCT_KEY, SECOND_LAMP, Rig, a_device, running
from tests.test_services import publish
from tests.tsl.documents import read_sample
from tests.wire import Response, fetch

pytestmark = pytest.mark.asyncio

GOLDEN = Path(__file__).parent / "golden" / "operations.json"
OPERATIONS = {
    operation["action"]: operation for operation in json.loads(GOLDEN.read_text(encoding="utf-8"))["operations"]
}

MUTATIONS = [40, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]

GONE_LAMP = DeviceKey(PRODUCT_KEY, "nobody")
KEYS = (LAMP, SECOND_LAMP, GONE_LAMP, INSTANCE_LAMP, OTHER_LAMP)

USUAL = {
    "ProductKey": PRODUCT_KEY,
    "DeviceName": LAMP.device_name,
    "Identifier": "Blink",
    "Args": '{"Times":3,"IntervalSec":0.5}',
    "Items": '{"PowerSwitch":1}',
    "MessageContent": "aGVsbG8=",
    "RequestBase64Byte": "aGVsbG8=",
    "Timeout": "1000",
    "TopicFullName": f"/{PRODUCT_KEY}/{LAMP.device_name}/user/get",
    "TopicShortName": "get",
    "Operation": "ALL",
    "CurrentPage": "1",
    "PageSize": "10",
    "StartTime": "1",
    "EndTime": "1700000000000",
    "Asc": "1",
    "ProductName": "NewLamp",
    "NodeType": "0",
    "Type": "AMQP",
    "ConsumerGroupIds": "DEFAULT_GROUP",
    "ConsumerGroupId": "DEFAULT_GROUP",
    "GroupId": "DEFAULT_GROUP",
    "GroupName": "readers",
    "DeviceDataFlag": "true",
    "TslStr": '{"profile":{"productKey":"a1Lamp00001"},"properties":[],"services":[],"events":[]}',
}
"""What is sent for a parameter of this name before it is mutated; for another name, one of `STRANGE`."""

STRANGE = (
    *("", " ", "0", "-1", "1", "2", "3", "1.5", "1e3", "NaN", "true", "false", "True", "null", "None", "١"),
    *("99999999999999999999", "-99999999999999999999", "2147483648", "9223372036854775808"),
    *("{}", "[]", "[[]]", '{"a":1}', '{"PowerSwitch":1}', '{"a":', '"', "[" * 3_000, '{"a":' * 3_000),
    *('{"a":' * 600 + "1" + "}" * 600, '{"a":' + "[" * 1_500 + "]" * 1_500 + "}"),
    *("x", "x" * 33, "x" * 300, "x" * 70_000, "灯", "灯" * 40, "\0", "a\nb", "%", "../..", "a b", "<a>&", "'; --"),
    *("aGVsbG8=", "aGVsbG8", "#", "+", "/", "${deviceName}", "DEFAULT_GROUP", "AMQP", "MNS", "SUB", "iothub_senior"),
    *(key.product_key for key in KEYS),
    *(key.device_name for key in KEYS),
    *(a_device(key).iot_id for key in KEYS),
    *(f"/{key}/user/get" for key in KEYS),
)


def parameters_of(action: str) -> Iterator[str]:
    """The names of an action's parameters as they are sent."""
    for parameter in OPERATIONS[action]["request"]:
        name = parameter["name"]
        if "wire" not in parameter:
            yield name
        elif isinstance(parameter["items"], str):
            yield from (f"{name}.1", f"{name}.2")
        else:
            yield from (f"{name}.1.{field}" for field in parameter["items"])


def make_request(action: str, chance: random.Random) -> dict[str, str]:
    """The parameters of a request as it may be meant, and some of them changed."""
    request = {}
    for name in parameters_of(action):
        usual = USUAL.get(name) or USUAL.get(re.split(r"\.\d+\.?", name)[-1] or name.split(".")[0])
        if usual is not None and chance.random() < 0.9:
            request[name] = usual
    names = [*parameters_of(action), "IotInstanceId"]
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice(names)
        match chance.randrange(8):
            case 0:
                request.pop(name, None)
            case 1:
                request[name.replace(".1", chance.choice([".0", ".-1", ".x", ".99999999", ".1.1", ""]))] = "x"
            case 2:
                request[chance.choice(["Unknown", name.lower(), f"{name}.1", f"{name}.1.Name"])] = "x"
            case _:
                request[name] = chance.choice(STRANGE)
    return request


@contextmanager
def watched(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees whether anybody else wrote: `PRAGMA data_version`."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def version(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return number


def check_answer(response: Response) -> bool:
    """An answer of the kind that the vendor's gateway gives; True when it says success."""
    answer: dict[str, Any] = response.json()
    assert answer["RequestId"]
    if response.status == 200 and answer["Success"]:
        return True
    code = answer.get("Code")
    if code is None:
        assert answer["RrpcCode"] in {"OFFLINE", "HALFCONN", "TIMEOUT"}
        return False
    row = CATALOGUE.get(code) or CATALOGUE.get(re.sub(r"(Missing|Invalid)[\w.]+", r"\1<Param>", code))
    assert row is not None, code
    assert code not in {"InternalError", "iot.system.SystemException", "ServiceUnavailable"}
    assert row.http_status == response.status
    assert answer.get("ErrorMessage") or answer["Message"]
    return False


async def send(rig: Rig, action: str, request: dict[str, str]) -> Response:
    form = rig.app().sign_v1({**request, "Action": action}, "POST")
    return await fetch(rig.http, "POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, form.encode())


@pytest.mark.parametrize("count", MUTATIONS)
@pytest.mark.parametrize("action", ACTIONS)
async def test_whatever_is_sent_is_answered_and_a_refusal_writes_nothing(
    action: str, count: int, filled_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is recorded of a call may be written later; here it never is.
    monkeypatch.setattr(batches, "BATCH_ROWS", 10**9)
    chance = random.Random(f"{action} {count}")
    async with running(filled_database, tmp_path) as rig:
        await publish(rig, PRODUCT_KEY, read_sample("lamp").modules[0])
        with watched(tmp_path / DATABASE_FILE) as connection:
            for _ in range(count):
                request = make_request(action, chance)
                # The refusal before this one is in the audit log then, and not written while this request is answered.
                await rig.server.store.flush()
                before = version(connection)
                response = await send(rig, action, request)
                if not check_answer(response):
                    assert version(connection) == before, request
