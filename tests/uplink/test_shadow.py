import json
from typing import Any, cast

import pytest

from linkstead.registry import DeviceKey
from linkstead.sessions import LinkBroken
from linkstead.store import SqliteStore
from linkstead.telemetry import Shadow, ShadowFault, TelemetryStore
from linkstead.testing.clock import ManualClock
from linkstead.uplink.lanes import MESSAGES_OF_A_DEVICE_MAX
from linkstead.uplink.shadow import CODES
from tests.fakes import KEY, OTHER_KEY
from tests.uplink.bench import Bench

pytestmark = pytest.mark.asyncio

PK, DN = KEY
UPDATE, GET = f"/shadow/update/{PK}/{DN}", f"/shadow/get/{PK}/{DN}"


async def tell(bench: Bench, payload: bytes) -> dict[str, Any]:
    """The one reply to a message."""
    bench.link.sent.clear()
    assert bench.publish(UPDATE, payload, qos=1)
    await bench.uplink.drain()
    ((topic, answer),) = bench.link.messages
    assert topic == GET
    reply = json.loads(answer)
    assert (reply.pop("method"), reply.pop("timestamp")) == ("reply", bench.now_ms // 1000)
    assert isinstance(reply, dict)
    return reply


async def ask(bench: Bench, method: str, state: Any = None, version: Any = None) -> dict[str, Any]:
    members = {"method": method, "state": state, "version": version}
    return await tell(bench, json.dumps({name: value for name, value in members.items() if value is not None}).encode())


def taken(version: int) -> dict[str, Any]:
    return {"payload": {"status": "success", "version": version}}


async def code_of(bench: Bench, payload: bytes) -> str:
    """The code of a refusal, after which nothing has changed."""
    before = await bench.store.find_shadow(KEY)
    reply = await tell(bench, payload)
    assert reply["payload"]["status"] == "error"
    assert reply["payload"]["content"]["errormessage"]
    assert await bench.store.find_shadow(KEY) == before
    code = reply["payload"]["content"]["errorcode"]
    assert isinstance(code, str)
    return code


async def test_a_device_reports_reads_and_deletes(bench: Bench) -> None:
    now_s = bench.now_ms // 1000
    assert await ask(bench, "get") == {"payload": {"status": "success", "state": {}, "metadata": {}}, "version": 0}
    assert await ask(bench, "update", {"reported": {"color": "red", "level": 1.50}}, 1) == taken(1)
    assert await ask(bench, "update", {"reported": {"level": 2}}, 5) == taken(5)
    assert await ask(bench, "get") == {
        "payload": {
            "status": "success",
            "state": {"reported": {"color": "red", "level": 2}},
            "metadata": {"reported": {"color": {"timestamp": now_s}, "level": {"timestamp": now_s}}},
        },
        "version": 5,
    }
    assert await ask(bench, "delete", {"reported": {"color": "null"}}, 6) == taken(6)
    assert (await ask(bench, "get"))["payload"]["state"] == {"reported": {"level": 2}}
    assert await ask(bench, "delete", {"reported": "null"}, 7) == taken(7)
    assert (await ask(bench, "get"))["payload"]["state"] == {}


async def test_a_device_says_that_nothing_is_wanted_any_more(bench: Bench) -> None:
    def want(shadow: Shadow) -> Shadow:
        return shadow.take_version(1, 1).desire({"color": "green"}, is_delta=False)

    for version, state in ((2, {"desired": "null"}), (3, {"desired": "null", "reported": {"color": "green"}})):
        await ask(bench, "update", {"reported": {"color": "red"}}, -1)
        await bench.store.change_shadow(KEY, want)
        assert "desired" in (await ask(bench, "get"))["payload"]["state"]
        assert await ask(bench, "update", state, version) == taken(version)
        assert "desired" not in (await ask(bench, "get"))["payload"]["state"]
    assert (await ask(bench, "get"))["payload"]["state"] == {"reported": {"color": "green"}}


async def test_a_version_begins_again(bench: Bench) -> None:
    await ask(bench, "update", {"reported": {"a": 1}}, 9)
    assert await code_of(bench, b'{"method":"update","state":{"reported":{"a":2}},"version":9}') == "409"
    assert await ask(bench, "update", {"reported": {"a": 3}}, -1) == taken(0)
    assert await ask(bench, "update", {"reported": {"a": 4}}, 1) == taken(1)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "407"),
        (b"{}", "407"),
        (b"{", "400"),
        (b'{"version":3}', "401"),
        (b'{"method":"put"}', "406"),
        (b'{"method":7}', "406"),
        (b'{"method":"update","version":3}', "402"),
        (b'{"method":"delete","version":3}', "402"),
        (b'{"method":"update","state":{"reported":{"a":1}}}', "403"),
        (b'{"method":"update","state":{"reported":{"a":1}},"version":"3"}', "403"),
        (b'{"method":"delete","state":{"reported":"null"},"version":1.5}', "403"),
        (b'{"method":"update","state":{},"version":3}', "404"),
        (b'{"method":"delete","state":{},"version":3}', "404"),
        (b'{"method":"update","state":{"reported":{}},"version":3}', "405"),
        (b'{"method":"update","state":{"reported":"null"},"version":3}', "405"),
        (b'{"method":"update","state":{"reported":{"a":1},"desired":{"a":1}},"version":3}', "405"),
        (b'{"method":"delete","state":{"reported":{"a":"red"}},"version":3}', "405"),
        (b'{"method":"update","state":{"reported":{"a":1}},"version":2}', "409"),
        (b'{"method":"delete","state":{"reported":"null"},"version":1}', "409"),
        (
            json.dumps({"method": "update", "state": {"reported": dict.fromkeys(map(str, range(129)), 1)}}).encode(),
            "408",
        ),
        (b'{"method":"update","version":3,"state":{"reported":{"a":"' + b"x" * 16_400 + b'"}}}', "408"),
    ],
)
async def test_a_message_that_breaks_a_rule_is_answered_with_its_code(bench: Bench, payload: bytes, code: str) -> None:
    await ask(bench, "update", {"reported": {"first": 1}}, 2)
    assert await code_of(bench, payload) == code


async def test_every_fault_has_a_code() -> None:
    assert set(CODES) == set(ShadowFault)


class BrokenTelemetry:
    """Implements what of `TelemetryStore` a shadow is read with; it always breaks."""

    async def find_shadow(self, key: DeviceKey) -> Shadow | None:
        raise OSError(f"the disk of {key}")


async def test_a_store_that_fails_is_told_of(store: SqliteStore) -> None:
    bench = Bench(store, ManualClock(), cast("TelemetryStore", BrokenTelemetry()))
    reply = await ask(bench, "get")
    assert reply["payload"]["content"]["errorcode"] == "500"


async def test_a_device_that_was_deleted_is_told(bench: Bench) -> None:
    await bench.store.delete_device(KEY)
    reply = await ask(bench, "update", {"reported": {"a": 1}}, 1)
    assert reply["payload"]["content"]["errorcode"] == "500"


async def test_a_reply_that_cannot_be_sent_is_passed_over(bench: Bench) -> None:
    bench.link.failure = LinkBroken
    bench.publish(UPDATE, b'{"method":"update","state":{"reported":{"a":1}},"version":1}')
    await bench.uplink.drain()
    assert await bench.store.find_shadow(KEY) is not None


async def test_the_shadow_of_another_device_is_out_of_reach(bench: Bench) -> None:
    topic = f"/shadow/update/{OTHER_KEY.product_key}/{OTHER_KEY.device_name}"
    assert not bench.publish(topic, b'{"method":"update","state":{"reported":{"a":1}},"version":1}')
    await bench.uplink.drain()
    assert await bench.store.find_shadow(OTHER_KEY) is None


async def test_messages_are_served_in_their_order_and_past_the_bound_dropped(bench: Bench) -> None:
    for version in range(1, MESSAGES_OF_A_DEVICE_MAX + 2):
        bench.publish(
            UPDATE, json.dumps({"method": "update", "state": {"reported": {"a": 1}}, "version": version}).encode()
        )
    await bench.uplink.drain()
    versions = [json.loads(payload)["payload"]["version"] for _, payload in bench.link.messages]
    assert versions == list(range(1, MESSAGES_OF_A_DEVICE_MAX + 1))
    assert bench.uplink.dropped_count == 1
