import asyncio
from typing import Any

import pytest

from linkstead.api import openapi
from linkstead.api.exchange import HttpRequest
from linkstead.api.openapi import VERDICT_WAIT_MS
from linkstead.api.parameters import NAME_SHOWN_CHARS_MAX
from linkstead.http.listener import ANSWER_WAIT_S
from linkstead.mqtt.gateway import DeviceConnection
from linkstead.registry import DeviceKey
from linkstead.sessions import SessionTable
from tests.api.refusals import check_code, check_refusal
from tests.rig import INSTANCE_ID, INSTANCE_LAMP, LAMP, OTHER_KEY, OTHER_LAMP, RAM_KEY, Rig, RigStarter
from tests.wire import HttpClient, encode_request, reset, stages, until

pytestmark = pytest.mark.asyncio


# --- the record ---


async def test_the_timeline_of_a_good_call_has_every_stage(rig: Rig) -> None:
    device = await rig.connected()
    rig.clock.advance(1.0)
    call = asyncio.ensure_future(rig.app().rrpc(LAMP, b"ping"))
    request = await device.expect_call()
    rig.clock.advance(0.25)
    await device.answer(request, b"pong")
    answer = await call
    record = await rig.app().call_record(answer["MessageId"])
    assert stages(record) == ["received", "authenticated", "accepted", "routed", "written", "answered", "returned"]
    offsets = [moment["offset_ms"] for moment in record["timeline"]]
    assert offsets == [0.0, 0.0, 0.0, 0.0, 0.0, 250.0, 250.0]
    assert record["received_ms"] == 1_700_000_001_000
    assert (record["verdict"], record["diagnosis"], record["caller_gone"]) == ("SUCCESS", "answered", False)
    assert (record["action"], record["access_key_id"], record["timeout_ms"]) == ("RRpc", "app-key", 5000)
    assert (record["request"]["base64"], record["answer"]["base64"]) == ("cGluZw==", "cG9uZw==")
    assert record["request_id"] == answer["RequestId"]


async def test_a_call_under_way_is_visible(rig: Rig) -> None:
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    record = await rig.app().last_record()
    assert (record["verdict"], stages(record)[-1]) == (None, "written")
    await device.answer(request, b"")
    await call
    assert (await rig.app().last_record())["verdict"] == "SUCCESS"


@pytest.mark.parametrize(
    ("changes", "code", "diagnosis"),
    [
        ({"Timeout": "1"}, "iot.messagebroker.InvalidTimeoutValue", "rejected"),
        ({"DeviceName": "lamp-99"}, "iot.device.NotExistedDevice", "rejected"),
        ({"Timeout": "x"}, "InvalidTimeout", "rejected"),
    ],
)
async def test_a_rejected_call_is_recorded_with_its_code(
    rig: Rig, changes: dict[str, str], code: str, diagnosis: str
) -> None:
    app = rig.app()
    await app.call("RRpc", **{**app.rrpc_parameters(LAMP), **changes})
    record = await app.last_record()
    assert (record["verdict"], record["code"], record["diagnosis"]) == ("REJECTED", code, diagnosis)
    assert stages(record) == ["received", "authenticated", "returned"]


async def test_a_request_whose_key_is_not_known_leaves_no_record(rig: Rig) -> None:
    app = rig.app()
    app.secret = "wrong"
    check_code(await app.call("RRpc", **app.rrpc_parameters(LAMP)), 400, "SignatureDoesNotMatch")
    assert rig.calls() == []


async def test_an_action_that_calls_no_device_leaves_no_record(rig: Rig) -> None:
    response = await rig.app().call("GetDeviceStatus", ProductKey=LAMP.product_key, DeviceName=LAMP.device_name)
    assert response.json()["Success"] is True
    assert rig.calls() == []


# --- the caller that goes away ---


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("answered", [True, False])
async def test_a_caller_that_goes_away_leaves_a_whole_record(rig: Rig, how: str, answered: bool) -> None:
    device = await rig.connected()
    app = rig.app()
    query = app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)})
    async with HttpClient.open(rig.http) as client:
        client.send(encode_request("GET", f"/?{query}"))
        request = await device.expect_call()
        (connection,) = rig.server.http.connections
        if how == "reset":
            reset(client.writer)
        else:
            client.writer.close()
        await until(lambda: connection._transport is None or connection._client_is_done)
    if answered:
        await device.answer(request, b"too late for the caller")
    else:
        rig.clock.advance(5.0)
    await until(lambda: not rig.server.http.answering.under_way_count)
    record = await app.last_record()
    assert record["caller_gone"] is True
    assert record["verdict"] == ("SUCCESS" if answered else "TIMEOUT")
    assert "returned" not in stages(record)
    assert rig.server.router.pending_count == 0
    assert not rig.server.journal._open


# --- unknown parameters, instances, language ---


async def test_unknown_parameters_are_recorded_with_the_call(rig: Rig) -> None:
    await rig.app().rrpc(LAMP, ServiceCode="iot", Zeal="1", RegionId="cn-shanghai", ContentType="65")
    assert (await rig.app().last_record())["unknown_parameters"] == ["ServiceCode", "Zeal"]


async def test_so_many_unknown_parameters_are_recorded_each_so_long(rig: Rig) -> None:
    names = {f"{index:02}{'x' * 100}": "" for index in range(openapi.UNKNOWN_PARAMETERS_KEPT_MAX + 1)}
    await rig.app().rrpc(LAMP, **names)
    kept = (await rig.app().last_record())["unknown_parameters"]
    assert kept == [name[:NAME_SHOWN_CHARS_MAX] for name in list(names)[: openapi.UNKNOWN_PARAMETERS_KEPT_MAX]]


async def test_unknown_parameters_are_refused_where_that_is_asked_for(start_rig: RigStarter) -> None:
    rig = await start_rig(strict=True)
    app = rig.app()
    response = await app.call("RRpc", **app.rrpc_parameters(LAMP, ServiceCode="iot"))
    message = "Specified parameter ServiceCode is not valid."
    check_refusal(response, 400, "InvalidServiceCode", message, "localhost", as_xml=False)
    long_name = "X" * 1_000
    response = await app.call("RRpc", **app.rrpc_parameters(LAMP, **{long_name: ""}))
    assert response.json()["Code"] == f"Invalid{'X' * NAME_SHOWN_CHARS_MAX}"
    assert (await app.rrpc(LAMP, TimeOut="1000", IotInstanceId=""))["RrpcCode"] == "OFFLINE"


@pytest.mark.parametrize("instance_id", ["", INSTANCE_ID, "iot-of-another-time"])
@pytest.mark.parametrize("key", [LAMP, INSTANCE_LAMP])
async def test_any_instance_is_accepted_as_usual(rig: Rig, instance_id: str, key: DeviceKey) -> None:
    answer = await rig.app().rrpc(key, IotInstanceId=instance_id)
    assert answer["RrpcCode"] == "OFFLINE"
    record = await rig.app().last_record()
    assert record["instance_id"] == (INSTANCE_ID if instance_id == INSTANCE_ID else "")


@pytest.mark.parametrize(
    ("instance_id", "key", "code"),
    [
        (None, LAMP, None),
        ("", LAMP, None),
        (INSTANCE_ID, INSTANCE_LAMP, None),
        (None, INSTANCE_LAMP, "iot.prod.NotExistedProduct"),
        (INSTANCE_ID, LAMP, "iot.prod.NotExistedProduct"),
        ("iot-of-another-time", LAMP, "iot.auth.IotInstanceNotFound"),
    ],
)
async def test_instances_are_told_apart_where_that_is_asked_for(
    start_rig: RigStarter, instance_id: str | None, key: DeviceKey, code: str | None
) -> None:
    rig = await start_rig(strict_instances=True)
    others = {} if instance_id is None else {"IotInstanceId": instance_id}
    answer = await rig.app().rrpc(key, **others)
    assert (answer.get("Code"), answer.get("RrpcCode")) == (code, None if code else "OFFLINE")


async def test_what_another_account_owns_does_not_exist(rig: Rig) -> None:
    assert (await rig.app().rrpc(OTHER_LAMP))["Code"] == "iot.prod.NotExistedProduct"
    assert (await rig.app(OTHER_KEY).rrpc(LAMP))["Code"] == "iot.prod.NotExistedProduct"
    assert (await rig.app(OTHER_KEY).rrpc(OTHER_LAMP))["RrpcCode"] == "OFFLINE"


async def test_a_ram_users_key_calls_for_its_account(rig: Rig) -> None:
    assert (await rig.app(RAM_KEY).rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    assert (await rig.app().last_record())["access_key_id"] == RAM_KEY.access_key_id


async def test_errors_are_told_in_chinese_where_that_is_asked_for(start_rig: RigStarter) -> None:
    rig = await start_rig(language="zh")
    assert (await rig.app().rrpc(LAMP))["ErrorMessage"] == "设备不在线。"
    assert (await rig.app().rrpc(LAMP, ProductKey=""))["Code"] == "iot.prod.NullProductKey"
    message = (await rig.app().rrpc(LAMP, Timeout="1"))["ErrorMessage"]
    assert message == "Timeout 不在允许范围内 (Timeout=1; 1000..8000 ms)"
    response = await rig.app().call("RRpc")
    assert response.json()["Message"].startswith("ProductKey ")


# --- quotas ---


async def test_an_account_makes_so_many_calls_a_second_and_no_more(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True)
    app, ram_user = rig.app(), rig.app(RAM_KEY)
    async with HttpClient.open(rig.http) as client:

        async def call(key: Any) -> int:
            caller = ram_user if key is RAM_KEY else app
            query = caller.sign_v1({"Action": "RRpc", **caller.rrpc_parameters(LAMP)})
            return (await client.request("GET", f"/?{query}")).status

        for index in range(1_000):
            assert await call(RAM_KEY if index % 2 else None) == 200
        response = await app.call("RRpc", **app.rrpc_parameters(LAMP))
        message = "Request was denied due to user flow control."
        check_refusal(response, 400, "Throttling.User", message, "localhost", as_xml=False)
        response = await ram_user.call_v3("RRpc", **app.rrpc_parameters(LAMP))
        check_refusal(response, 429, "Throttling.User", message, ram_user.host, as_xml=False)
        record = await app.last_record()
        assert (record["verdict"], record["diagnosis"], record["code"]) == ("REJECTED", "throttled", "Throttling.User")
        assert (await rig.app(OTHER_KEY).rrpc(OTHER_LAMP))["RrpcCode"] == "OFFLINE"
        rig.clock.advance(1.0)
        assert await call(None) == 200


async def test_no_quota_counts_where_they_are_off(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=False, quotas={"RRpc": 1})
    for _ in range(3):
        assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"


async def test_a_quota_is_lifted_by_0_and_set_by_another_number(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True, quotas={"RRpc": 0, "GetDeviceStatus": 1})
    app = rig.app()
    for _ in range(5):
        assert (await app.rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    names = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name}
    assert (await app.call("GetDeviceStatus", **names)).status == 200
    check_code(await app.call("GetDeviceStatus", **names), 400, "Throttling.User")


# --- what breaks inside ---


async def _fail(*_: object) -> None:
    raise OSError("disk on fire")


def _check_no_traceback(body: bytes) -> None:
    for word in (b"Traceback", b"disk on fire", b"OSError", b".py"):
        assert word not in body


async def test_a_store_that_fails_in_a_call_is_unknown_and_logged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.server.store, "find_device", _fail)
    response = await rig.app().call("RRpc", **rig.app().rrpc_parameters(LAMP))
    _check_no_traceback(response.body)
    answer = response.json()
    request_id = answer.pop("RequestId")
    error_message = "The call failed inside the server."
    assert answer == {"Success": False, "RrpcCode": "UNKNOWN", "ErrorMessage": error_message}
    record = await rig.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("UNKNOWN", "internal-error")
    (error,) = rig.watch.take()
    assert "disk on fire" in error
    assert request_id in error


@pytest.mark.parametrize(
    ("action", "parameters", "bound_ms"),
    [
        ("RRpc", {"Timeout": "1000"}, 1_000),
        ("RRpc", {"TimeOut": "2500"}, 2_500),
        ("RRpc", {"Timeout": "99999"}, 8_000),
        ("RRpc", {"Timeout": "9000"}, 8_000),
        ("RRpc", {"Timeout": "1"}, 1_000),
        ("RRpc", {"Timeout": "²"}, 8_000),
        ("RRpc", {}, 8_000),
        ("InvokeThingService", {}, 8_000),
    ],
)
async def test_a_request_is_answered_when_the_time_is_up_that_it_waits_for_a_device(
    rig: Rig, action: str, parameters: dict[str, str], bound_ms: int
) -> None:
    query = rig.app().sign_v1({"Action": action, **parameters})
    for path in ("/", "/_linkstead/calls"):
        request = HttpRequest("GET", path, query.encode(), {}, b"", 0.0, 0.0)
        wanted_s = (bound_ms + VERDICT_WAIT_MS) / 1000 if path == "/" else ANSWER_WAIT_S
        assert rig.server.front.bound_s(request) == wanted_s
    target, headers = rig.app().sign_v3(action, parameters)
    names = {name.lower(): [value] for name, value in headers.items()}
    request = HttpRequest("POST", "/", target.partition("?")[2].encode(), names, b"", 0.0, 0.0)
    assert rig.server.front.bound_s(request) == (bound_ms + VERDICT_WAIT_MS) / 1000


@pytest.mark.parametrize(
    "query", [b"", b"Action=GetDeviceStatus", b"Action=Nothing", b"Format=%FF", b"Action=RRpc&Format=x"]
)
async def test_a_request_that_waits_for_no_device_is_answered_before_its_client_gives_up(
    rig: Rig, query: bytes
) -> None:
    request = HttpRequest("GET", "/", query, {}, b"", 0.0, 0.0)
    assert rig.server.front.bound_s(request) == ANSWER_WAIT_S


async def test_a_store_that_fails_outside_a_call_is_a_system_exception_and_logged(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.server.store, "find_access_key", _fail)
    for by_version in (rig.app().call, rig.app().call_v3):
        response = await by_version("QueryDevice", ProductKey=LAMP.product_key)
        assert response.status == 200
        _check_no_traceback(response.body)
        assert response.json()["Code"] == "iot.system.SystemException"
        (error,) = rig.watch.take()
        assert response.json()["RequestId"] in error


async def test_a_store_that_fails_before_the_action_ends_the_call_as_our_mistake(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.server.store, "list_instances", _fail)
    answer = await rig.app().rrpc(LAMP, IotInstanceId="iot-1")
    assert (answer["Success"], answer["Code"]) == (False, "iot.system.SystemException")
    record = await rig.app().last_record()
    assert (record["verdict"], record["diagnosis"]) == ("UNKNOWN", "internal-error")
    assert len(rig.watch.take()) == 1


async def test_a_mistake_in_an_action_is_a_system_exception_and_logged(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(SessionTable, "status", stumble)
    names = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name}
    response = await rig.app().call("GetDeviceStatus", **names)
    assert response.json()["Code"] == "iot.system.SystemException"
    assert b"mistake of ours" not in response.body
    (error,) = rig.watch.take()
    assert "a mistake of ours" in error
    assert response.json()["RequestId"] in error


async def test_a_mistake_in_the_router_is_unknown_and_leaves_nothing_pending(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.connected()

    def stumble(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(DeviceConnection, "send", stumble)
    answer = await rig.app().rrpc(LAMP)
    assert answer["RrpcCode"] == "UNKNOWN"
    assert rig.server.router.pending_count == 0
    assert len(rig.watch.take()) == 1
