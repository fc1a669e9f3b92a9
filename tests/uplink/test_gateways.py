"""What gateways ask, and every code they may be answered with."""

import json
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from linkstead.alink import registration
from linkstead.alink.sub_devices import describe
from linkstead.registry import SUB_DEVICES_MAX, DeviceKey
from linkstead.uplink import desk
from linkstead.uplink.gateways import ENTRIES_MAX
from tests.fakes import KEY, FakeLink, make_device, make_product
from tests.gateways import GATEWAY, PROBE, SECOND_GATEWAY, SECOND_PROBE, TIMESTAMP, sign
from tests.uplink.bench import FOREIGN_KEY, Bench

pytestmark = pytest.mark.asyncio

SWITCHED_OFF = DeviceKey("a1Closed001", "probe-01")
DISABLED = DeviceKey(PROBE.product_key, "probe-off")
NOBODY = DeviceKey(PROBE.product_key, "nobody")
NO_PRODUCT = DeviceKey("a1Nothing01", "probe-01")
ADD, DELETE, GET, FOUND = "thing/topo/add", "thing/topo/delete", "thing/topo/get", "thing/list/found"
REGISTER, UNREGISTER = "thing/sub/register", "thing/sub/unregister"
SIGNED_REGISTER = "thing/proxy/provisioning/product_register"
PRODUCT_SECRET = make_product().product_secret
SECRET = make_device().device_secret


@pytest_asyncio.fixture
async def house(bench: Bench) -> Bench:
    """With two gateways, and probes that may register."""
    fields: dict[str, Any]
    for key, fields in (
        (GATEWAY, {"node_type": 1}),
        (PROBE, {"dynamic_registration": True}),
        (SWITCHED_OFF, {}),
    ):
        await bench.store.add_product(make_product(key.product_key, product_name=key.product_key, **fields))
    keys = (GATEWAY, SECOND_GATEWAY, PROBE, SECOND_PROBE, DISABLED, SWITCHED_OFF)
    devices = [make_device(key, iot_id=f"{key.product_key}{key.device_name}") for key in keys]
    await bench.store.add_devices(
        [msgspec.structs.replace(device, enabled=device.key != DISABLED) for device in devices]
    )
    return bench


def entry(key: DeviceKey, **members: Any) -> dict[str, Any]:
    named = {**describe(key), "clientId": "probe", "timestamp": TIMESTAMP, "signMethod": "hmacSha1", **members}
    return {"sign": sign(named, "hmacsha1", SECRET), **named}


async def add(house: Bench, *keys: DeviceKey, gateway: DeviceKey = GATEWAY) -> None:
    assert await house.code_of(ADD, [entry(key) for key in keys], gateway) == 200


# --- topology


async def test_what_is_added_is_told_and_is_no_more_once_it_is_deleted(house: Bench) -> None:
    names = [describe(PROBE), describe(SECOND_PROBE)]
    reply = await house.ask(ADD, [entry(PROBE), entry(SECOND_PROBE)], GATEWAY)
    assert (reply["code"], reply["data"]) == (200, names)
    nothing: tuple[Any, ...] = ({}, "{}", None)
    for params in nothing:
        assert sorted((await house.ask(GET, params, GATEWAY))["data"], key=str) == sorted(names, key=str)
    reply = await house.ask(DELETE, [describe(PROBE)], GATEWAY)
    assert (reply["code"], reply["data"]) == (200, [describe(PROBE)])
    assert (await house.ask(GET, {}, GATEWAY))["data"] == [describe(SECOND_PROBE)]
    assert await house.code_of(DELETE, [describe(SECOND_PROBE), describe(PROBE)], GATEWAY) == 6401
    assert (await house.ask(GET, {}, GATEWAY))["data"] == [describe(SECOND_PROBE)]
    assert (await house.ask(UNREGISTER, [describe(SECOND_PROBE)], GATEWAY))["code"] == 200
    assert await house.registry.find_device(SECOND_PROBE) is not None


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 460),
        ([], 460),
        ([1], 460),
        ([{"productKey": "a1Meter0001"}], 460),
        ([describe(PROBE)], 460),
        ([entry(PROBE, signMethod="md4")], 460),
        ([entry(PROBE, sign="00")], 401),
        ([entry(PROBE) | {"timestamp": "1"}], 401),
        ([entry(GATEWAY)], 6402),
        ([entry(SECOND_GATEWAY)], 460),
        ([entry(NOBODY)], 6100),
        ([entry(NO_PRODUCT)], 6100),
        ([entry(FOREIGN_KEY)], 6100),
        ([entry(DISABLED)], 6204),
        ([entry(PROBE), entry(NOBODY)], 6100),
    ],
)
async def test_what_cannot_be_added_is_answered_with_its_code_and_nothing_is_added(
    house: Bench, params: Any, code: int
) -> None:
    assert await house.code_of(ADD, params, GATEWAY) == code
    assert (await house.ask(GET, {}, GATEWAY))["data"] == []


async def test_so_many_entries_a_request_may_have(house: Bench) -> None:
    assert await house.code_of(ADD, [entry(PROBE)] * ENTRIES_MAX, GATEWAY) == 200
    assert await house.code_of(ADD, [entry(PROBE)] * (ENTRIES_MAX + 1), GATEWAY) == 460


async def test_past_its_bound_a_gateway_is_answered_with_6400(house: Bench) -> None:
    keys = [DeviceKey(PROBE.product_key, f"meter-{number:04}") for number in range(SUB_DEVICES_MAX)]
    await house.store.add_devices([make_device(key, iot_id=key.device_name) for key in keys])
    await house.store.bind_sub_devices(GATEWAY, keys, house.now_ms)
    assert await house.code_of(ADD, [entry(PROBE)], GATEWAY) == 6400
    assert len((await house.ask(GET, {}, GATEWAY))["data"]) == SUB_DEVICES_MAX


async def test_what_was_found_is_only_taken_notice_of(house: Bench) -> None:
    reply = await house.ask(FOUND, [describe(NOBODY)], GATEWAY)
    assert (reply["code"], reply["data"]) == (200, {})
    assert await house.code_of(FOUND, [{}], GATEWAY) == 460


@pytest.mark.parametrize("path", [ADD, DELETE, GET, REGISTER, UNREGISTER, SIGNED_REGISTER])
async def test_who_is_no_gateway_is_answered_with_403(house: Bench, path: str) -> None:
    assert await house.code_of(path, [entry(PROBE)], KEY) == 403


# --- registration


async def test_a_gateway_is_given_secrets_as_long_as_nobody_else_has_the_device(house: Bench) -> None:
    reply = await house.ask(REGISTER, [describe(PROBE), describe(SECOND_PROBE)], GATEWAY)
    assert reply["code"] == 200
    assert reply["data"][0] == {"iotId": "a1Meter0001probe-01", **describe(PROBE), "deviceSecret": SECRET}
    await add(house, PROBE)
    assert await house.code_of(REGISTER, [describe(PROBE)], GATEWAY) == 200
    assert await house.code_of(REGISTER, [describe(PROBE)], SECOND_GATEWAY) == 6619


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 460),
        ([], 460),
        ([{"deviceName": "probe-01"}], 460),
        ([describe(NO_PRODUCT)], 5005),
        ([describe(FOREIGN_KEY)], 5005),
        ([describe(SWITCHED_OFF)], 6288),
        ([describe(PROBE), describe(NOBODY)], 6100),
    ],
)
async def test_what_cannot_be_registered_is_answered_with_its_code(house: Bench, params: Any, code: int) -> None:
    assert await house.code_of(REGISTER, params, GATEWAY) == code


async def test_registrations_that_are_signed_succeed_and_fail_each_on_its_own(house: Bench) -> None:
    def proxied(key: DeviceKey, secret: str = PRODUCT_SECRET, **members: Any) -> dict[str, Any]:
        signature = registration.sign_request(key, "8Ygb7ULYh53B6OA", "hmacsha256", secret)
        named = {**describe(key), "random": "8Ygb7ULYh53B6OA", "signMethod": "hmacSha256", "sign": signature}
        return named | members

    await add(house, SECOND_PROBE, gateway=SECOND_GATEWAY)
    proxieds = [
        proxied(PROBE),
        proxied(PROBE, "another"),
        proxied(SECOND_PROBE),
        proxied(NOBODY),
        proxied(NO_PRODUCT),
        proxied(SWITCHED_OFF),
        proxied(PROBE, random=7),
        proxied(PROBE, signMethod="md4"),
    ]
    reply = await house.ask(SIGNED_REGISTER, {"proxieds": proxieds}, GATEWAY)
    assert reply["code"] == 200
    (success,) = reply["data"]["successes"]
    assert success == {"iotId": "a1Meter0001probe-01", **describe(PROBE), "deviceSecret": SECRET}
    failures = reply["data"]["failures"]
    assert [failure["code"] for failure in failures] == [6600, 6619, 6100, 6250, 6288, 460, 6292]
    assert all(failure.keys() == {"productKey", "deviceName", "code", "message"} for failure in failures)
    assert await house.code_of(SIGNED_REGISTER, {"proxieds": [1]}, GATEWAY) == 460
    assert await house.code_of(SIGNED_REGISTER, {}, GATEWAY) == 460


# --- logins


async def log_in_code(house: Bench, request: str, params: Any, link: FakeLink) -> int:
    return int((await ask_session(house, request, params, link))["code"])


async def ask_session(house: Bench, request: str, params: Any, link: FakeLink) -> dict[str, Any]:
    """Ask on a topic of sessions; the one reply."""
    topic = f"/ext/session/{link.key.product_key}/{link.key.device_name}/combine/{request}"
    link.sent.clear()
    assert house.publish(topic, json.dumps({"id": "1", "params": params}).encode(), link=link)
    await house.uplink.drain()
    ((reply_topic, payload),) = link.messages
    assert reply_topic == f"{topic}_reply"
    reply: dict[str, Any] = json.loads(payload)
    return reply


@pytest.mark.parametrize(
    ("params", "code", "is_named"),
    [
        ([], 460, False),
        ({}, 460, False),
        (describe(PROBE), 460, False),
        (entry(NOBODY), 6100, True),
        (entry(FOREIGN_KEY), 6100, True),
        (entry(PROBE, sign="00"), 6287, True),
        (entry(DISABLED), 522, True),
        (entry(SECOND_PROBE), 6401, True),
        (entry(PROBE), 200, True),
        (entry(PROBE, timestamp=1700000000000), 200, True),
    ],
)
async def test_a_login_is_answered_with_its_code_and_the_names_in_it(
    house: Bench, params: Any, code: int, is_named: bool
) -> None:
    await add(house, PROBE)
    await add(house, SECOND_PROBE, gateway=SECOND_GATEWAY)
    link = house.connect(GATEWAY)
    reply = await ask_session(house, "login", params, link)
    names = {name: params[name] for name in ("productKey", "deviceName")} if is_named else {}
    assert (reply["code"], reply["data"]) == (code, names)
    assert (house.sessions.link(PROBE) is not None) is (code == 200)


async def test_a_login_whose_gateway_has_gone_meanwhile_is_none(house: Bench) -> None:
    await add(house, PROBE)
    link = house.connect(GATEWAY)
    newer = house.connect(GATEWAY)
    assert await log_in_code(house, "login", entry(PROBE), link) == 500
    assert house.sessions.link(PROBE) is None
    assert await log_in_code(house, "login", entry(PROBE), newer) == 200


async def test_the_method_of_a_batch_may_be_said_once(house: Bench) -> None:
    await add(house, PROBE)
    link = house.connect(GATEWAY)
    bare = {name: value for name, value in entry(PROBE).items() if name != "signMethod"}
    assert await log_in_code(house, "batch_login", {"deviceList": [bare]}, link) == 6287
    assert await log_in_code(house, "batch_login", {"deviceList": [bare], "signMethod": "hmacSha1"}, link) == 200


async def test_who_is_not_logged_in_cannot_log_out(house: Bench) -> None:
    link = house.connect(GATEWAY)
    assert await log_in_code(house, "logout", describe(PROBE), link) == 520
    assert await log_in_code(house, "logout", {}, link) == 460
    assert await log_in_code(house, "batch_logout", [describe(PROBE)], link) == 520
    assert await log_in_code(house, "batch_logout", [], link) == 460


async def test_a_topic_of_sessions_that_nobody_knows_is_answered(house: Bench) -> None:
    link = house.connect(GATEWAY)
    assert await log_in_code(house, "dance", {}, link) == 6831


async def test_so_many_requests_of_a_gateway_may_be_under_way(house: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "GATEWAY_REQUESTS_MAX", 3)
    link = house.connect(GATEWAY)
    for _ in range(4):
        assert house.publish("/sys/a1Gate00001/gate-01/thing/topo/get", b"{}", link=link)
    await house.uplink.drain()
    assert (len(link.messages), house.uplink.dropped_count) == (3, 1)


async def test_reports_of_another_gateways_devices_are_refused_and_the_rest_is_taken(house: Bench) -> None:
    await add(house, PROBE)
    await add(house, SECOND_PROBE, gateway=SECOND_GATEWAY)
    parts = [{"identity": describe(key), "properties": {"Temp": 1}} for key in (SECOND_PROBE, PROBE)]
    pack = {"properties": {"Own": 1}, "subDevices": parts}
    assert await house.code_of("thing/event/property/pack/post", pack, GATEWAY) == 6401
    assert set(await house.values(GATEWAY)) == {"Own"}
    assert set(await house.values(PROBE)) == {"Temp"}
    assert set(await house.values(SECOND_PROBE)) == set()
    history = [{"identity": describe(PROBE), "properties": [{"Temp": {"value": 2, "time": 5}}], "events": []}]
    assert await house.code_of("thing/event/property/history/post", history, GATEWAY) == 200
    assert ("2", 5) in (await house.values(PROBE))["Temp"]
