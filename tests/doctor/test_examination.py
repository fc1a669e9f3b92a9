"""Faults planted in a server and in what is known of it, and found."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from linkstead.config import Address
from linkstead.doctor import Fault, State
from linkstead.doctor.databases import Database, PostgresDatabase, SqliteDatabase
from linkstead.doctor.examination import CALL_TIMEOUT_MS, TIMESTAMP_TOLERANCE_S
from linkstead.registry import DeviceKey
from linkstead.server import database_path
from linkstead.store.urls import hide_password
from tests.doctor.examined import OffsetClock, answering, examine, examine_rig, faults, left_out, peer, proxy
from tests.rig import (
    DISABLED_KEY,
    DISABLED_LAMP,
    INSTANCE_ID,
    INSTANCE_LAMP,
    LAMP,
    OTHER_LAMP,
    PRODUCT_KEY,
    RAM_KEY,
    SECOND_LAMP,
    Rig,
    RigStarter,
    a_device,
    a_product,
    device_secret,
)
from tests.wire import until

pytestmark = pytest.mark.asyncio

FREE = Address("127.0.0.1", 0)
GET = f"/{PRODUCT_KEY}/{LAMP.device_name}/user/get"
CID = f"{PRODUCT_KEY}.{LAMP.device_name}"


async def test_a_server_that_is_well_passes_every_step(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    findings = await examine_rig(rig, topic=GET, rrpc_topic="/a/b", instance_id=INSTANCE_ID)
    assert faults(findings) == {}
    assert left_out(findings) == {}
    assert [name for name in findings if "." not in name] == [
        "clock",
        "signature-v1",
        "signature-v3",
        "instance",
        "product",
        "device",
        "client-id",
        "device-login",
        "connection",
        "topic-class",
        "subscription",
        "ext",
        "call",
        "amqp-login",
        "amqp-link",
    ]
    call = findings["call"].call
    assert call is not None
    assert (call["verdict"], call["target"]) == ("SUCCESS", "/a/b")
    assert findings["call"].note.startswith("SUCCESS · answered, ")
    await until(lambda: not rig.is_online)


PLANTED: dict[str, tuple[dict[str, Any], dict[str, Any], str, Fault]] = {
    "an unknown key": ({}, {"access_key_id": "nobody"}, "signature-v1", Fault.ACCESS_KEY_UNKNOWN),
    "a disabled key": (
        {},
        {"access_key_id": DISABLED_KEY.access_key_id, "access_key_secret": DISABLED_KEY.secret},
        "signature-v1",
        Fault.ACCESS_KEY_DISABLED,
    ),
    "a wrong secret": ({}, {"access_key_secret": "wrong-secret"}, "signature-v1", Fault.ACCESS_KEY_SECRET_WRONG),
    "a quota": (
        {"quotas_enabled": True, "quotas": {"QueryProductList": 1}},
        {},
        "signature-v3",
        Fault.QUOTA,
    ),
    "an instance": ({"strict_instances": True}, {"instance_id": "iot-none"}, "instance", Fault.INSTANCE_UNKNOWN),
    "no such product": ({}, {"product_key": "a1Nobody001"}, "product", Fault.PRODUCT_NOT_FOUND),
    "another's product": ({}, {"product_key": OTHER_LAMP.product_key}, "product", Fault.PRODUCT_NOT_FOUND),
    "no product key": ({}, {"product_key": "?"}, "product", Fault.REQUEST_REFUSED),
    "no such device": ({}, {"device_name": "lamp-99"}, "device", Fault.DEVICE_NOT_FOUND),
    "a disabled device": ({}, {"device_name": DISABLED_LAMP.device_name}, "device", Fault.DEVICE_DISABLED),
    "never activated": ({}, {"device_secret": ""}, "connection", Fault.DEVICE_NEVER_ACTIVATED),
    "no options": ({}, {"client_id": "lamp-01"}, "client-id", Fault.CLIENT_ID),
    "a long client id": ({}, {"client_id": "x" * 65 + "|securemode=3|"}, "client-id", Fault.CLIENT_ID),
    "a signmethod": ({}, {"client_id": "x|signmethod=md5|"}, "client-id", Fault.SIGN_METHOD),
    "a short keep-alive": ({}, {"keep_alive_s": 29}, "client-id", Fault.KEEP_ALIVE),
    "a long keep-alive": ({}, {"keep_alive_s": 1201}, "client-id", Fault.KEEP_ALIVE),
    "a password": ({}, {"mqtt_password": "00ff00ff"}, "client-id", Fault.MQTT_PASSWORD),
    "a device secret": ({}, {"device_secret": "other-secret"}, "device-login", Fault.DEVICE_SECRET_WRONG),
    "another's topic": ({}, {"topic": "/a/b"}, "topic-class", Fault.TOPIC_FORM),
    "no topic class": (
        {},
        {
            "topic": f"/{INSTANCE_LAMP.product_key}/lamp-01/user/update/error",
            "product_key": INSTANCE_LAMP.product_key,
            "device_secret": device_secret(INSTANCE_LAMP),
        },
        "topic-class",
        Fault.TOPIC_CLASS_MISSING,
    ),
    "ext": (
        {},
        {"client_id": f"{CID}|signmethod=hmacsha1,ext=0|", "rrpc_topic": "/a"},
        "ext",
        Fault.EXT_NOT_SET,
    ),
    "no model": ({}, {"service": "Blink"}, "thing-model", Fault.MODEL_NOT_PUBLISHED),
    "no module": ({}, {"service": "m:Blink"}, "thing-model", Fault.MODEL_NOT_PUBLISHED),
    "a group": ({"amqp": FREE}, {"consumer_group_id": "none"}, "amqp-login", Fault.CONSUMER_GROUP_UNKNOWN),
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_a_fault_is_found_first_where_it_is(start_rig: RigStarter, planted: str) -> None:
    settings, patient, step, fault = PLANTED[planted]
    rig = await start_rig(**settings)
    findings = await examine_rig(rig, **patient)
    assert next(iter(faults(findings).items())) == (step, fault)


@pytest.mark.parametrize(("denied", "step"), [("*", "product"), ("RRpc", "call")])
async def test_what_a_user_may_not_do_is_told(rig: Rig, denied: str, step: str) -> None:
    allow = '{"Effect":"Allow","Action":"*","Resource":"*"}'
    deny = f'{{"Effect":"Deny","Action":"{denied}","Resource":"*"}}'
    policy = f'{{"Version":"1","Statement":[{allow},{deny}]}}'
    assert await rig.server.registry.save_policy(RAM_KEY.account_id, RAM_KEY.user_name, policy)
    findings = await examine_rig(rig, access_key_id=RAM_KEY.access_key_id, access_key_secret=RAM_KEY.secret)
    assert faults(findings) == {step: Fault.FORBIDDEN}
    assert findings["signature-v3"].state is State.OK


async def test_what_depends_on_a_fault_is_not_tried(rig: Rig) -> None:
    findings = await examine_rig(rig, access_key_secret="wrong-secret")
    assert faults(findings) == {"signature-v1": Fault.ACCESS_KEY_SECRET_WRONG}
    assert left_out(findings) == {
        "signature-v3": "signature-v1",
        "product": "signature-v1",
        "device": "product",
        "connection": "device",
        "ext": "connection",
        "call": "connection",
    }
    facts = findings["signature-v1"].facts
    assert facts["ours"] == facts["theirs"]
    assert facts["ours"].startswith("GET&%2F&AccessKeyId%3D")


# --- clocks ---


@pytest.mark.parametrize(("offset_s", "skew"), [(901, "-901 s"), (-901, "+901 s"), (86_400, "-86400 s")])
async def test_clocks_that_differ_are_found_and_by_how_much(rig: Rig, offset_s: int, skew: str) -> None:
    findings = await examine_rig(rig, clock=OffsetClock(rig.server.clock, offset_s), product_key="")
    assert faults(findings) == {"clock": Fault.CLOCK_SKEW}
    assert findings["clock"].facts["skew"] == skew
    assert left_out(findings)["signature-v1"] == "clock"


async def test_clocks_may_differ_by_what_signatures_allow(rig: Rig) -> None:
    for offset_s in (TIMESTAMP_TOLERANCE_S, -TIMESTAMP_TOLERANCE_S):
        assert faults(await examine_rig(rig, clock=OffsetClock(rig.server.clock, offset_s))) == {}


async def test_clocks_that_differ_are_found_though_nobody_tells_the_time(rig: Rig) -> None:
    async with proxy(rig.http, down=lambda data: data.replace(b"Date:", b"Etad:").replace(b"date:", b"etad:")) as port:
        clock = OffsetClock(rig.server.clock, 1_000)
        findings = await examine_rig(rig, clock=clock, ports={"http": port})
    assert left_out(findings)["clock"] == "Date"
    assert faults(findings) == {"signature-v1": Fault.CLOCK_SKEW}


# --- what proxies do ---


async def test_a_proxy_that_changes_the_query_is_found(rig: Rig) -> None:
    async with proxy(rig.http, lambda data: data.replace(b"PageSize=1&", b"PageSize=2&")) as port:
        findings = await examine_rig(rig, ports={"http": port})
    assert faults(findings) == {"signature-v1": Fault.SIGNATURE_DIFFERS}
    facts = findings["signature-v1"].facts
    place = int(facts["place"]) - 1
    assert facts["ours"][:place] == facts["theirs"][:place]
    assert (facts["ours"][place], facts["theirs"][place]) == ("1", "2")


async def test_a_proxy_that_changes_the_host_is_found(rig: Rig) -> None:
    def rename(data: bytes) -> bytes:
        return data.replace(b"host: 127.0.0.1", b"host: internal0")

    async with proxy(rig.http, rename) as port:
        findings = await examine_rig(rig, ports={"http": port})
    assert faults(findings) == {"signature-v3": Fault.SIGNATURE_DIFFERS}
    assert findings["signature-v1"].state is State.OK


@pytest.mark.parametrize("body", [b"ok\n", b'ok\n{"a": 1}', b"ok\n[]"])
async def test_answers_that_cannot_be_read_are_told(rig: Rig, body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # well to whom asks for its health, and something else to an app
        content = b"ok\n" if b"/healthz" in await reader.read(65_536) else body.removeprefix(b"ok\n") or body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))

    async with peer(serve) as port:
        findings = await examine_rig(rig, ports={"http": port})
    assert faults(findings) == {"signature-v1": Fault.NO_ANSWER}


# --- devices ---


async def test_a_device_that_was_connected_is_told_apart(rig: Rig) -> None:
    device = await rig.connected()
    await device.disconnect()
    await until(lambda: not rig.is_online)
    await rig.server.store.flush()
    findings = await examine_rig(rig, device_secret="")
    assert faults(findings) == {"connection": Fault.DEVICE_NOT_CONNECTED}


async def test_a_connected_device_is_left_alone_unless_it_may_be_cut_off(rig: Rig) -> None:
    device = await rig.connected()
    findings = await examine_rig(rig, topic=GET)
    assert left_out(findings) == {"device-login": "--take-over", "call": "--take-over"}
    assert faults(findings) == {"subscription": Fault.TOPIC_NOT_SUBSCRIBED}
    assert findings["connection"].note == "ONLINE, 1"
    assert faults(await examine_rig(rig, topic=GET, is_taking_over=True)) == {}
    await device.expect_closed()


async def test_the_secret_of_a_device_that_shows_a_certificate_is_not_tried(rig: Rig) -> None:
    key = DeviceKey("a1Meter0001", "meter-01")
    await rig.server.store.add_product(replace(a_product(key.product_key), auth_type="x509"))
    await rig.server.store.add_devices([a_device(key)])
    findings = await examine_rig(rig, product_key=key.product_key, device_name=key.device_name)
    assert left_out(findings)["device-login"] == "device-certificate"


async def test_without_an_access_key_that_works_a_refused_device_may_be_anything(rig: Rig) -> None:
    for key, secret in (
        (LAMP, "wrong-secret"),
        (DeviceKey(PRODUCT_KEY, "nobody"), "nobodys-secret"),
        (DISABLED_LAMP, ""),
    ):
        findings = await examine_rig(
            rig,
            ports={"mqtt": rig.mqtt},
            device_name=key.device_name,
            device_secret=secret or device_secret(key),
        )
        assert faults(findings) == {"device-login": Fault.DEVICE_REFUSED}


async def test_a_password_that_is_right_is_told(rig: Rig) -> None:
    client_id = "c|securemode=3,signmethod=hmacsha1,timestamp=1|"
    content = f"clientIdcdeviceName{LAMP.device_name}productKey{LAMP.product_key}timestamp1"
    findings = await examine_rig(rig, client_id=client_id, mqtt_password="0" * 40)
    assert findings["client-id"].facts == {"sign_method": "hmacsha1", "content": content}


async def test_a_server_that_is_stopping_refuses(rig: Rig) -> None:
    rig.server.gateway.drain()
    findings = await examine_rig(rig, device_name=SECOND_LAMP.device_name)
    assert faults(findings) == {"device-login": Fault.CONNECT_REFUSED}
    assert findings["device-login"].facts["reason"] == "CONNACK 3: unavailable"


async def test_a_call_whose_answer_is_lost_is_told_with_its_timeline(rig: Rig) -> None:
    def swallow(data: bytes) -> bytes:
        if b"/rrpc/response/" not in data:
            return data
        rig.clock.advance(CALL_TIMEOUT_MS / 1000)
        return b""

    async with proxy(rig.mqtt, swallow) as port:
        findings = await examine_rig(rig, ports={"http": rig.http, "mqtt": port})
    assert faults(findings) == {"call": Fault.CALL_FAILED}
    assert findings["call"].facts == {"verdict": "TIMEOUT", "diagnosis": "written-no-answer"}
    call = findings["call"].call
    assert call is not None
    assert [moment["stage"] for moment in call["timeline"]][-2:] == ["written", "returned"]


# --- consumers ---


async def test_a_consumer_with_a_wrong_secret_is_told(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    findings = await examine_rig(rig, ports={"amqp": rig.endpoints.amqp}, access_key_secret="wrong-secret")
    assert faults(findings) == {"amqp-login": Fault.AMQP_LOGIN}


async def test_a_consumer_that_is_closed_on_is_told(rig: Rig) -> None:
    async with peer(answering(b"AMQP\x03\x01\x00\x00")) as port:
        findings = await examine_rig(rig, ports={"amqp": port})
    assert faults(findings) == {"amqp-login": Fault.AMQP_REFUSED}


# --- the database beside it ---


async def test_the_database_tells_whose_a_product_is(rig: Rig) -> None:
    database = _open_beside(rig)
    findings = await examine_rig(rig, product_key=OTHER_LAMP.product_key, database=database)
    assert faults(findings) == {"product": Fault.PRODUCT_OF_OTHER_ACCOUNT}
    assert findings["product"].facts["account_id"] == "1002"
    findings = await examine_rig(rig, product_key="a1Nobody001", database=database)
    assert faults(findings) == {"product": Fault.PRODUCT_NOT_THERE}
    assert {findings[name].state for name in ("master-key", "nats")} == {State.NOT_USED}


def _open_beside(rig: Rig) -> Database:
    settings = rig.server.settings
    if settings.database is not None:
        return PostgresDatabase(settings.database, hide_password(settings.database))
    path = database_path(settings)
    path.chmod(0o600)
    return SqliteDatabase(path)


async def test_nothing_is_examined_of_a_patient_without_ports(rig: Rig) -> None:
    assert await examine(rig.server.clock) == {}
