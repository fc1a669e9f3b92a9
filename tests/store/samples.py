"""Records to fill a store with."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.models import ThingModelVersion
from linkstead.registry import AccessKey, Account, Device, DeviceKey, Instance, Product
from linkstead.sessions import SavedMessage, SavedSession
from linkstead.store.sql import SqlStore
from linkstead.subscription import ConsumerGroup, Letter, Notice, NoticeKind, SubscribeRelation, destination_of
from linkstead.telemetry import EventRecord, PropertyPoint, Span

NOW_MS = 1_700_000_000_000
ACCOUNT_ID = "1001"
PRODUCT_KEY = "a1Lamp00001"
SECRET = "a-Secret-nobody-may-see"
LAMP = DeviceKey(PRODUCT_KEY, "lamp-0001")
OTHER_LAMP = DeviceKey(PRODUCT_KEY, "lamp-0002")
GROUP_ID = "Yw4EBEfPpwQA9GkAhSIH000100"
DESTINATION, OTHER_DESTINATION = destination_of(ACCOUNT_ID, GROUP_ID), destination_of(ACCOUNT_ID, "DEFAULT_GROUP")
ALWAYS = Span(0, 2 * NOW_MS, ascending=True, limit=1_000)


def an_account(account_id: str = ACCOUNT_ID, name: str = "first", created_ms: int = NOW_MS) -> Account:
    return Account(account_id, name, created_ms)


def an_access_key(access_key_id: str = "key-1", **fields: Any) -> AccessKey:
    given: dict[str, Any] = {
        "secret": SECRET,
        "account_id": ACCOUNT_ID,
        "user_name": "",
        "enabled": True,
        "created_ms": NOW_MS,
    }
    return AccessKey(access_key_id, **(given | fields))


def an_instance(instance_id: str = "iot-060a0001", **fields: Any) -> Instance:
    given: dict[str, Any] = {"account_id": ACCOUNT_ID, "created_ms": NOW_MS}
    return Instance(instance_id, **(given | fields))


def a_product(product_key: str = PRODUCT_KEY, **fields: Any) -> Product:
    given: dict[str, Any] = {
        "account_id": ACCOUNT_ID,
        "instance_id": "",
        "product_name": f"name of {product_key}",
        "product_secret": SECRET,
        "node_type": 0,
        "data_format": 1,
        "net_type": "WIFI",
        "aliyun_commodity_code": "iothub_senior",
        "auth_type": "secret",
        "protocol_type": "",
        "validate_type": 1,
        "category_key": "Lighting",
        "description": "ein Lämpchen 灯",
        "id2": False,
        "dynamic_registration": True,
        "created_ms": NOW_MS,
    }
    return Product(product_key, **(given | fields))


def a_device(device_name: str = "lamp-0001", **fields: Any) -> Device:
    given: dict[str, Any] = {
        "product_key": PRODUCT_KEY,
        "account_id": ACCOUNT_ID,
        "instance_id": "",
        "device_secret": SECRET,
        "nickname": "",
        "enabled": True,
        "created_ms": NOW_MS,
        "modified_ms": NOW_MS,
        "activated_ms": 0,
        "online_ms": 0,
        "status_ms": 0,
        "is_online": False,
        "ip_address": "",
        "firmware_version": "",
    }
    given |= fields
    return Device(
        iot_id=given.pop("iot_id", f"iot-id-of-{given['product_key']}-{device_name}"), device_name=device_name, **given
    )


def some_devices(names: Iterable[str], **fields: Any) -> list[Device]:
    return [a_device(name, **fields) for name in names]


def a_call(number: int = 1, *, received_ms: int = NOW_MS, **fields: Any) -> Call:
    """A call that was answered, unless `fields` says otherwise; ids are made of `number`."""
    given: dict[str, Any] = {
        "action": "RRpc",
        "account_id": ACCOUNT_ID,
        "message_id": number,
        "key": LAMP,
        "timeout_ms": 5_000,
        "verdict": Verdict.SUCCESS,
        "diagnosis": Diagnosis.ANSWERED,
    }
    call = Call(f"41C4265E-F05D-4E2E-AB09-{number:012X}", "node-1", **(given | fields))
    for place, stage in enumerate((Stage.RECEIVED, Stage.ROUTED, Stage.WRITTEN, Stage.ANSWERED)):
        call.mark(stage, received_ms / 1000 + place, 1_000.0 + place)
    return call


def an_open_call(number: int = 1, **fields: Any) -> Call:
    """An asynchronous call that was accepted and has not ended; its Alink id is `number` too."""
    given: dict[str, Any] = {
        "action": "InvokeThingService",
        "target": "setMode",
        "verdict": None,
        "diagnosis": None,
        "is_asynchronous": True,
        "alink_id": number,
    }
    return a_call(number, **(given | fields))


def a_message(number: int = 1, **fields: Any) -> SavedMessage:
    """A message for a lamp; what it says and the call it belongs to are made of `number`."""
    given: dict[str, Any] = {
        "key": LAMP,
        "topic": f"/sys/{PRODUCT_KEY}/lamp-0001/thing/service/setMode",
        "payload": b"message %d" % number,
        "accepted_ms": NOW_MS,
        "call_id": a_call(number).request_id,
    }
    return SavedMessage(**(given | fields))


def a_session(key: DeviceKey = LAMP, **fields: Any) -> SavedSession:
    given: dict[str, Any] = {"kept_s": 600.0, "kept_until_ms": 0, "subscriptions": {"/sys/#": 1, "/user/灯": 0}}
    return SavedSession(key, **(given | fields))


def a_point(value: str = "1", time_ms: int = NOW_MS, **fields: Any) -> PropertyPoint:
    given: dict[str, Any] = {"key": LAMP, "identifier": "Brightness"}
    return PropertyPoint(value=value, time_ms=time_ms, **(given | fields))


def an_event(time_ms: int = NOW_MS, **fields: Any) -> EventRecord:
    given: dict[str, Any] = {
        "key": LAMP,
        "identifier": "LampFault",
        "name": "Störung 灯",
        "event_type": "alert",
        "output": '{"FaultCode":1}',
    }
    return EventRecord(time_ms=time_ms, **(given | fields))


def a_model_version(version: str = "1.0", **fields: Any) -> ThingModelVersion:
    given: dict[str, Any] = {
        "product_key": PRODUCT_KEY,
        "description": "first",
        "created_ms": NOW_MS,
        "document": '{"properties":[{"name":"Helligkeit 灯"}]}',
    }
    return ThingModelVersion(version=version, **(given | fields))


def a_group(group_id: str = GROUP_ID, **fields: Any) -> ConsumerGroup:
    given: dict[str, Any] = {"account_id": ACCOUNT_ID, "group_name": f"name of {group_id}", "created_ms": NOW_MS}
    return ConsumerGroup(group_id, **(given | fields))


def a_relation(product_key: str = PRODUCT_KEY, **fields: Any) -> SubscribeRelation:
    given: dict[str, Any] = {
        "type": "AMQP",
        "kinds": frozenset({NoticeKind.DEVICE_DATA, NoticeKind.STATUS_CHANGE}),
        "group_ids": (GROUP_ID, "DEFAULT_GROUP"),
    }
    return SubscribeRelation(product_key, **(given | fields))


def a_notice(number: int = 1, **fields: Any) -> Notice:
    """A message of a lamp; its id and what it says are made of `number`."""
    given: dict[str, Any] = {
        "account_id": ACCOUNT_ID,
        "key": LAMP,
        "kind": NoticeKind.DEVICE_DATA,
        "topic": f"/{PRODUCT_KEY}/lamp-0001/thing/event/property/post",
        "payload": b"notice %d" % number,
        "message_id": number,
        "generated_ms": NOW_MS,
        "qos": 1,
    }
    return Notice(**(given | fields))


def a_letter(row_id: int, number: int = 1, attempts: int = 1, **fields: Any) -> Letter:
    """The letter that a notice becomes."""
    notice = a_notice(number, **fields)
    return Letter(row_id, notice.message_id, notice.topic, notice.payload, notice.generated_ms, notice.qos, attempts)


async def add_lamps(store: SqlStore, *names: str) -> None:
    """Add the account, the product, and lamps: `LAMP` and `OTHER_LAMP` unless others are named."""
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices(names or ("lamp-0001", "lamp-0002")))


def count_of(connection: sa.Connection, table: str) -> int:
    """How many rows a table has."""
    count: int = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    return count


async def until_written(store: SqlStore) -> None:
    """Let a batch that is due be written: in a thread of its own, and nothing tells when."""
    while store.history_waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)


def values(call: Call | None) -> dict[str, Any]:
    """What a call that is there has in its fields."""
    assert call is not None
    return msgspec.structs.asdict(call)


def numbers(found: list[Call]) -> list[int]:
    """The message ids of calls."""
    return [call.message_id for call in found]


async def keep(store: SqlStore, *kept: Call) -> None:
    """Record calls, until they are on the disk."""
    for call in kept:
        store.record_call(call)
    assert await store.flush()
