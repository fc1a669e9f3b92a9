import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkstead.sessions import LinkBlocked, LinkBroken, LinkTooSmall
from linkstead.store import SqliteStore
from linkstead.telemetry import PropertyPoint, TelemetryStore
from linkstead.testing.clock import ManualClock
from linkstead.tsl import read_model
from linkstead.uplink import lanes
from linkstead.uplink.desk import QUERIES, REPORTS
from tests.fakes import KEY, NOW_MS, OTHER_KEY
from tests.uplink.bench import EXAMPLES, FREE_KEY, MODULES_KEY, Bench

PK, DN = KEY
SYS = f"/sys/{PK}/{DN}"
POST = "thing/event/property/post"
PATHS = [*REPORTS, *QUERIES, "thing/event/LampFault/post"]
NODE_ID = f"1|exp-topic|{SYS}/{POST}_reply"


class GatedStore:
    """Implements `TelemetryStore` by a real one, asked once `gate` is set; it breaks while `failure` is set."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    @property
    def port(self) -> TelemetryStore:
        return cast("TelemetryStore", self)

    def record_properties(self, points: Sequence[PropertyPoint]) -> None:
        if self.failure is not None:
            raise self.failure
        self._store.record_properties(points)

    async def list_tags(self, key: Any) -> dict[str, str]:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await self._store.list_tags(key)


# --- the envelope


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "request_id", ["123", "", NODE_ID, "灯", 7, 1_536_045_963_829, 4_294_967_296, 10**30, 1.5, None, True, ["a"]]
)
@pytest.mark.parametrize("path", [POST, "thing/deviceinfo/get"])
async def test_the_id_comes_back_as_it_came(bench: Bench, path: str, request_id: Any) -> None:
    reply = await bench.ask(path, {"Brightness": 42} if path == POST else None, id=request_id)
    assert (reply["code"], type(reply["id"])) == (200, type(request_id))


@pytest.mark.asyncio
async def test_a_request_without_an_id_gets_an_empty_one(bench: Bench) -> None:
    assert bench.publish(f"{SYS}/{POST}", b'{"params":{"Brightness":42}}')
    await bench.uplink.drain()
    ((_, payload),) = bench.link.messages
    assert json.loads(payload)["id"] == ""


SERVED = [
    example
    for example in EXAMPLES
    if example["direction"] == "up" and example["topic"].partition("?")[0].startswith(f"{SYS}/thing/event/")
]


@pytest.mark.asyncio
@pytest.mark.parametrize("example", SERVED, ids=lambda example: example["name"])
@pytest.mark.parametrize("is_warm", [True, False])
async def test_what_the_examples_post_is_taken(bench: Bench, example: dict[str, Any], is_warm: bool) -> None:
    if is_warm:
        await bench.warm()
    request = example["payload"]
    assert bench.publish(example["topic"], json.dumps(request).encode())
    await bench.uplink.drain()
    replies = [json.loads(payload) for _, payload in bench.link.messages]
    assert [reply["id"] for reply in replies] == ([request["id"]] if request.get("sys") != {"ack": 0} else [])
    assert {reply["code"] for reply in replies} <= {6401 if "subDevices" in request["params"] else 200}
    assert await bench.values() or await bench.events()


@pytest.mark.asyncio
async def test_the_reply_to_a_post_is_that_of_the_examples(bench: Bench) -> None:
    post, reply = (
        next(example for example in EXAMPLES if example["name"] == name)
        for name in ("property post", "property post reply")
    )
    assert bench.publish(post["topic"], json.dumps(post["payload"]).encode())
    await bench.uplink.drain()
    ((topic, payload),) = bench.link.messages
    assert (topic, json.loads(payload)) == (reply["topic"], reply["payload"])


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "?", "?_rid=7"])
async def test_every_topic_has_its_reply_topic(bench: Bench, path: str, query: str) -> None:
    assert bench.publish(f"{SYS}/{path}{query}", b'{"id":"1"}', 1)
    await bench.uplink.drain()
    ((topic, payload),) = bench.link.messages
    assert topic == f"{SYS}/{path}_reply"
    assert json.loads(payload).keys() == {"id", "code", "data", "message", "method", "version"}


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("ack", [0, "0"])
async def test_a_device_that_wants_no_reply_gets_none(bench: Bench, path: str, ack: object) -> None:
    for params in ({"Brightness": 42}, None):
        payload = json.dumps({"id": "1", "params": params, "sys": {"ack": ack}}).encode()
        assert bench.publish(f"{SYS}/{path}", payload)
        await bench.uplink.drain()
    assert bench.link.sent == []


@pytest.mark.asyncio
async def test_a_post_that_wants_no_reply_is_kept_all_the_same(bench: Bench) -> None:
    (example,) = (example for example in EXAMPLES if example["name"] == "property post, C4 style")
    assert bench.publish(example["topic"], json.dumps(example["payload"]).encode())
    await bench.uplink.drain()
    assert bench.link.sent == []
    assert await bench.values() == {"Brightness": [("42", NOW_MS)]}


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["thing.event.property.post", "something.else", ""])
async def test_the_method_comes_back(bench: Bench, method: str) -> None:
    payload = json.dumps({"id": "1", "method": method, "params": {"Brightness": 42}}).encode()
    assert bench.publish(f"{SYS}/{POST}", payload)
    await bench.uplink.drain()
    ((_, reply),) = bench.link.messages
    assert (json.loads(reply)["code"], json.loads(reply)["method"]) == (200, method)


@pytest.mark.asyncio
@pytest.mark.parametrize("method", [7, True, ["thing"], {}])
@pytest.mark.parametrize("path", [POST, "thing/deviceinfo/get"])
async def test_a_method_that_is_no_text_is_refused(bench: Bench, path: str, method: object) -> None:
    await bench.warm()
    for _ in range(2):
        bench.link.sent.clear()
        payload = json.dumps({"id": "1", "method": method, "params": {"Brightness": 42}}).encode()
        assert bench.publish(f"{SYS}/{path}", payload)
        await bench.uplink.drain()
        ((_, reply),) = bench.link.messages
        assert (json.loads(reply)["code"], json.loads(reply)["method"]) == (6450, path.replace("/", "."))
    assert await bench.values() == {}


GARBAGE = [
    b"",
    b"x",
    b"null",
    b"7",
    b"[]",
    b"{",
    b'{"id":"1","params":{"Brightness":42}',
    b"\x00\x01",
    b'{"id":"\xff"}',
    b'{"id":"\\ud800"}',
    b'{"id":NaN}',
    b"[" * 200_000,
    b'{"params":' * 20_000 + b"{}" + b"}" * 20_000,
    b'{"params":' * 33 + b"{}" + b"}" * 33,
    b"9" * 10_000,
    b"{'id':'1','params':{'Brightness':42}}",
]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [POST, "thing/deviceinfo/get"])
@pytest.mark.parametrize("is_warm", [True, False])
async def test_what_is_no_request_is_dropped(
    bench: Bench, path: str, is_warm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linkstead.uplink")
    if is_warm:
        await bench.warm()
    for payload in GARBAGE:
        assert bench.publish(f"{SYS}/{path}", payload)
        await bench.uplink.drain()
    assert bench.link.sent == []
    assert caplog.messages == ["request is no JSON object, dropped (6207)"] * len(GARBAGE)


@pytest.mark.asyncio
async def test_nesting_up_to_32_levels_is_taken(bench: Bench) -> None:
    value = b"[" * 29 + b"]" * 29
    assert bench.publish(
        f"/sys/{FREE_KEY.product_key}/{FREE_KEY.device_name}/{POST}",
        b'{"id":"1","params":{"A":{"value":%b}}}' % value,
        link=bench.connect(FREE_KEY),
    )
    await bench.uplink.drain()
    assert await bench.values(FREE_KEY) == {"A": [(value.decode(), NOW_MS)]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text()
            | st.sampled_from(["value", "time", "properties", "events", "subDevices", "identity", "Brightness"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.asyncio
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(PATHS), json_values)
async def test_every_request_is_answered_with_a_number(bench: Bench, path: str, params: object) -> None:
    for key in (KEY, FREE_KEY):
        code = await bench.code_of(path, params, key)
        assert code in {200, 460, *range(6000, 7000)}


# --- whose topics


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_a_device_cannot_speak_for_another(bench: Bench, path: str) -> None:
    await bench.warm()
    other = bench.connect(OTHER_KEY)
    assert not bench.publish(f"{SYS}/{path}", b'{"id":"1","params":{"Brightness":42}}', link=other)
    await bench.uplink.drain()
    assert (bench.link.sent, other.sent) == ([], [])
    assert await bench.values() == {}


@pytest.mark.asyncio
async def test_reports_are_kept_with_the_device_they_came_from(bench: Bench) -> None:
    await bench.ask(POST, {"Brightness": 1})
    await bench.ask(POST, {"Brightness": 2}, OTHER_KEY)
    assert await bench.values(OTHER_KEY) == {"Brightness": [("2", NOW_MS)]}
    assert await bench.values() == {"Brightness": [("1", NOW_MS)]}


# --- now or in turn


@pytest.mark.asyncio
async def test_a_report_is_served_at_once_when_the_rules_are_at_hand(bench: Bench) -> None:
    await bench.warm()
    assert bench.publish(f"{SYS}/{POST}", b'{"id":"1","params":{"Brightness":42}}')
    assert len(bench.link.sent) == 1
    assert bench.publish(f"{SYS}/thing/event/LampFault/post", b'{"id":"2","params":{}}')
    assert len(bench.link.sent) == 2


@pytest.mark.asyncio
async def test_a_report_waits_for_what_the_device_asked_before(store: SqliteStore) -> None:
    gated = GatedStore(store)
    bench = Bench(store, ManualClock(), gated.port)
    await bench.warm()
    other = bench.connect(OTHER_KEY)
    assert bench.publish(f"{SYS}/thing/deviceinfo/get", b'{"id":"1"}')
    for number in range(2, 5):
        assert bench.publish(f"{SYS}/{POST}", b'{"id":"%d","params":{"Brightness":42}}' % number)
    assert bench.publish(
        f"/sys/{PK}/{OTHER_KEY.device_name}/{POST}", b'{"id":"9","params":{"Brightness":1}}', link=other
    )
    assert (len(bench.link.sent), len(other.sent)) == (0, 1)
    gated.gate.set()
    await bench.uplink.drain()
    assert [json.loads(payload)["id"] for _, payload in bench.link.messages] == ["1", "2", "3", "4"]
    assert bench.publish(f"{SYS}/{POST}", b'{"id":"5","params":{"Brightness":42}}')
    assert len(bench.link.sent) == 5


@pytest.mark.asyncio
async def test_a_newly_published_model_counts_from_the_next_message(bench: Bench) -> None:
    assert await bench.code_of("thing/event/Mystery/post", {}) == 6300
    draft = json.dumps(
        [
            {
                "profile": {"version": "1.0", "productKey": PK},
                "properties": [],
                "services": [],
                "events": [{"identifier": "Mystery", "name": "Mystery", "type": "alert", "outputData": []}],
            }
        ]
    )
    await bench.models.publish(read_model(draft), "2", "", bench.now_ms)
    assert await bench.code_of("thing/event/Mystery/post", {}) == 200


# --- bounds


@pytest.mark.asyncio
async def test_so_many_messages_of_a_device_may_be_under_way(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "MESSAGES_OF_A_DEVICE_MAX", 3)
    gated = GatedStore(store)
    bench = Bench(store, ManualClock(), gated.port)
    for number in range(4):
        assert bench.publish(f"{SYS}/thing/deviceinfo/get", b'{"id":"%d"}' % number, 1)
    assert bench.uplink.dropped_count == 1
    assert caplog.messages == ["too much under way, request dropped (6452)"]
    gated.gate.set()
    await bench.uplink.drain()
    assert [json.loads(payload)["id"] for _, payload in bench.link.messages] == ["0", "1", "2"]
    bench.publish(f"{SYS}/thing/deviceinfo/get", b'{"id":"4"}')
    await bench.uplink.drain()
    assert len(bench.link.sent) == 4


# --- what goes wrong


@pytest.mark.asyncio
async def test_a_store_that_breaks_is_answered_with_500_and_logged(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    gated = GatedStore(store)
    gated.gate.set()
    bench = Bench(store, ManualClock(), gated.port)
    await bench.warm()
    gated.failure = OSError("disk on fire")
    assert await bench.code_of("thing/deviceinfo/get") == 500
    assert await bench.code_of(POST, {"Brightness": 42}) == 500
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "request failed"),
        (logging.ERROR, "request failed"),
    ]
    gated.failure = None
    assert await bench.code_of(POST, {"Brightness": 42}) == 200


@pytest.mark.asyncio
async def test_a_product_that_is_gone_is_told(bench: Bench) -> None:
    stranger = bench.connect(MODULES_KEY._replace(product_key="a1Nowhere01"))
    topic = f"/sys/a1Nowhere01/{MODULES_KEY.device_name}/{POST}"
    assert bench.publish(topic, b'{"id":"1","params":{"A":1}}', link=stranger)
    await bench.uplink.drain()
    ((_, payload),) = stranger.messages
    assert json.loads(payload)["code"] == 6250


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [LinkBroken, LinkBlocked, LinkTooSmall])
@pytest.mark.parametrize("path", [POST, "thing/deviceinfo/get"])
async def test_a_device_that_has_gone_is_served_and_not_answered(
    bench: Bench, path: str, failure: type[Exception]
) -> None:
    await bench.warm()
    bench.link.failure = failure
    assert bench.publish(f"{SYS}/{path}", b'{"id":"1","params":{"Brightness":42}}')
    await bench.uplink.drain()
    assert set(await bench.values()) == ({"Brightness"} if path == POST else set())


@pytest.mark.asyncio
async def test_no_value_of_a_device_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "5dee0c1f"
    params: list[Any] = [
        {"Brightness": secret, "WorkMode": {"value": 1, "time": secret}},
        {"value": {"FaultCode": secret}, "time": secret},
        {"value": {"FaultCode": secret}},
        {"properties": {"Brightness": [secret]}, "events": {"LampFault": [secret, {"value": {}, "time": secret}]}},
        [{"attrKey": "k", "attrValue": secret}],
        {"Brightness": {"version": secret}},
        secret,
    ]
    for path in PATHS:
        for each in params:
            await bench.ask(path, each)
    assert caplog.records
    assert secret not in "".join(str(vars(record)) for record in caplog.records)
