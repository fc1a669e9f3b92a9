"""What belongs to another account, or to another instance, is told apart in no way from what does not exist.

Every action there is goes through this. A parameter that these tests do not know fails them until it is listed: as one
that names something, or as one that does not.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from msgspec import inspect

from linkstead.action import AnyAction
from linkstead.actions import ACTIONS
from linkstead.registry import Instance, ProductTopic, TopicOperation
from linkstead.registry.applications import Application, ApplicationDevice, ApplicationStatus
from linkstead.registry.topic_classes import TOPIC_CLASSES_MAX
from linkstead.store import tables
from linkstead.subscription import ConsumerGroup
from tests.rig import (
    ACCOUNT_ID,
    CREATED_MS,
    INSTANCE_ID,
    LAMP,
    OTHER_ACCOUNT_ID,
    OTHER_KEY,
    PRODUCT_KEY,
    Rig,
    RigStarter,
    a_device,
)
from tests.wire import App

pytestmark = [pytest.mark.asyncio, pytest.mark.on_two_nodes]

OTHERS_INSTANCE_ID = "iot-060a0002"
APPLY_ID = 424_242
GROUP_ID = "Yw4EBEfPpwQA9GkAhSIH000100"


@dataclass(frozen=True, slots=True)
class Names:
    """What a request names."""

    product_key: str
    device_name: str
    iot_id: str
    topic_id: str
    group_id: str
    message_id: str
    apply_id: str


ABSENT = Names(
    "a1Gone00001", "gone-01", "a1Gone00001gone0100100", "999999", "Gone0000000000000000000100", "1" * 18, "777777"
)

NAMING = {
    "ProductKey": "product_key",
    "SourceProductKey": "product_key",
    "TargetProductKey": "product_key",
    "GwProductKey": "product_key",
    "DeviceName": "device_name",
    "GwDeviceName": "device_name",
    "DeviceNameList": "device_name",
    "IotId": "iot_id",
    "GwIotId": "iot_id",
    "TopicId": "topic_id",
    "GroupId": "group_id",
    "ConsumerGroupId": "group_id",
    "ConsumerGroupIds": "group_id",
    "UniMsgId": "message_id",
    "ApplyId": "apply_id",
}
"""Parameters that name something, and which of `Names`."""

OF_THE_ACCOUNT = {"group_id", "message_id"}
"""Names of what belongs to an account whatever the instance."""

PLAIN = {
    "RequestBase64Byte": "aGVsbG8=",
    "MessageContent": "aGVsbG8=",
    "Timeout": "1000",
    "TopicShortName": "get",
    "Args": "{}",
    "Identifier": "reboot",
    "Items": "{}",
    "ProductName": "Other lamp",
    "NodeType": "0",
    "Operation": "ALL",
    "PageSize": "10",
    "CurrentPage": "1",
    "StartTime": "1",
    "EndTime": "2",
    "Asc": "1",
    "ThingModelJson": "{}",
    "SourceModelVersion": "v1",
    "ScriptContent": "x",
    "ScriptType": "JavaScript",
    "GroupName": "others",
    "NewGroupName": "others",
    "Type": "AMQP",
    "DeviceDataFlag": "true",
    "Versions": "{}",
    "Identifies": "power",
    "PageNo": "1",
    "ClientId": "c",
    "Timestamp": "1",
    "SignMethod": "hmacSha1",
    "Sign": "0",
    "Count": "1",
    "Status": "1",
    "Props": '{"room":"4"}',
    "PropKey": "room",
    "TagKey": "room",
    "TagName": "room",
    "TagValue": "4",
    "ProductTagKey": "room",
    "ShadowMessage": '{"method":"update","state":{"desired":{"power":1}},"version":1}',
}
"""Values of parameters that name nothing, sent where an action has them."""

LEFT_OUT = {
    *("IotInstanceId", "ContentType", "CorrelationData", "MessageExpiryInterval", "PayloadFormatIndicator", "Qos"),
    *("ResponseTopic", "ResponseTopicTemplateName", "Retained", "TopicAlias", "TopicTemplateName", "UserProp"),
    *("AliyunCommodityCode", "AuthType", "CategoryId", "CategoryKey", "DataFormat", "Description", "Id2", "NetType"),
    *("JoinPermissionId", "ProtocolType", "PublishAuto", "ResourceGroupId", "ValidateType", "Codec", "Desc"),
    *(
        "EnableProxySubscribe",
        "AppKey",
        "DeviceNickname",
        "DevEui",
        "JoinEui",
        "LoraNodeType",
        "Nickname",
        "PinCode",
        "NextToken",
    ),
    *("FunctionBlockId", "FunctionBlockName", "EventType", "ModelVersion", "Simple", "TslUrl", "TslStr"),
    *("EventIdentifier", "PropertyIdentifier", "ServiceIdentifier", "Fuzzy", "SubBizCode", "MnsConfiguration"),
    *("DeviceLifeCycleFlag", "DeviceStatusChangeFlag", "DeviceTagFlag", "DeviceTopoLifeCycleFlag"),
    *("NextPageToken", "DeltaUpdate", "Key", "Value"),
    *("FoundDeviceListFlag", "OtaEventFlag", "OtaJobFlag", "OtaVersionFlag", "SubscribeFlags", "ThingHistoryFlag"),
}
"""Parameters that name nothing and may be absent."""

TEMPLATES = {
    "Topic": "/<product_key>/<device_name>/user/get",
    "TopicFullName": "/<product_key>/<device_name>/user/get",
    "DeviceListStr": '[{"productKey":"<product_key>","deviceName":"<device_name>"}]',
}
"""Parameters that name product and device in a longer text."""

NAMES_NOTHING = {
    *("CreateProduct", "QueryProductList", "CreateConsumerGroup", "QueryConsumerGroupList"),
    *("ListProductByTags", "QueryDeviceByTags"),
}
"""Actions on an account's all."""

SAME_FOR_THE_OWNER = {
    "QueryDeviceStatistics": "its GroupId is one of device groups",
}
"""Actions whose owner is told the same by this request, and why."""

actions = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def requests(action: AnyAction, names: Names) -> Iterator[dict[str, str]]:
    """An action's requests that name these things: by the pair of names, and by IotId where the action has it."""
    fields = dict(_flatten(inspect.type_info(action.request)))
    unknown = {_word(name) for name in fields} - NAMING.keys() - PLAIN.keys() - LEFT_OUT - TEMPLATES.keys()
    assert not unknown, f"list these parameters here: {sorted(unknown)}"
    has_iot_id = any(name.endswith("IotId") for name in fields)
    for by_iot_id in (False, True) if has_iot_id else (False,):
        parameters: dict[str, str] = {}
        for name in fields:
            text = _value(_word(name), names)
            is_of_pair = _word(name).endswith(("ProductKey", "DeviceName"))
            if text is None or (is_of_pair and by_iot_id) or (_word(name).endswith("IotId") and not by_iot_id):
                continue
            parameters[name] = text
        yield parameters


def _flatten(shape: inspect.Type) -> Iterator[tuple[str, inspect.Type]]:
    """The parameters of a request by their names on the wire; of a list its first element."""
    assert isinstance(shape, inspect.StructType)
    for field in shape.fields:
        kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        of_list = next((kind for kind in kinds if isinstance(kind, inspect.ListType)), None)
        if of_list is None:
            yield field.encode_name, field.type
        elif isinstance(of_list.item_type, inspect.StructType):
            for name, kind in _flatten(of_list.item_type):
                yield f"{field.encode_name}.1.{name}", kind
        else:
            yield f"{field.encode_name}.1", of_list.item_type


def _word(name: str) -> str:
    """The last word of a parameter's name that is no number."""
    return next(part for part in reversed(name.split(".")) if not part.isdigit())


def _value(name: str, names: Names) -> str | None:
    if name in NAMING:
        return str(getattr(names, NAMING[name]))
    if name in TEMPLATES:
        text = TEMPLATES[name].replace("<product_key>", names.product_key)
        return text.replace("<device_name>", names.device_name)
    return PLAIN.get(name)


def names_something(parameters: Mapping[str, str]) -> bool:
    return any(_word(name) in NAMING for name in parameters)


async def told(app: App, action: AnyAction, parameters: Mapping[str, str], names: Names, **more: str) -> str:
    """What an app is told, with what it named itself taken out."""
    response = await app.call(action.name, **parameters, **more)
    text = re.sub(r'"(RequestId|MessageId)":"?[0-9A-F-]+"?', "", f"{response.status} {response.body.decode()}")
    for field in Names.__dataclass_fields__:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(getattr(names, field))}(?![A-Za-z0-9])", f"<{field}>", text)
    return text


async def rows(rig: Rig) -> set[tuple[object, ...]]:
    """All that is kept but calls, the audit log, and the count of changes."""
    calls = {"call_history", "call_segment", "accepted_calls"}
    kept = tables.metadata.tables.keys() - calls - {"audit_log", "registry_version"}

    def read(connection: sa.Connection) -> set[tuple[object, ...]]:
        return {(name, *row) for name in kept for row in connection.exec_driver_sql(f"SELECT * FROM {name}")}

    return await rig.server.store._read(read)


async def fill(rig: Rig) -> Names:
    """What the first account has besides the rig's records; the names of all that is its own."""
    store = rig.server.store
    await store.add_consumer_group(ConsumerGroup(GROUP_ID, ACCOUNT_ID, "first", CREATED_MS))
    topic = ProductTopic(0, PRODUCT_KEY, f"/{PRODUCT_KEY}/${{deviceName}}/user/mine", TopicOperation.ALL)
    topic_id = await store.add_topic(topic, TOPIC_CLASSES_MAX)
    application = Application(0, PRODUCT_KEY, ApplicationStatus.CHECK_SUCCESS, 1, CREATED_MS)
    assert await store.add_application(application, [ApplicationDevice(0, "lamp-77")], 10, 10) is not None

    def renumber(connection: sa.Connection) -> None:
        # An id that is no other number in an answer.
        columns = [column for column in tables.application.c if column.name != "id"]
        copy = sa.select(sa.literal(APPLY_ID), *columns)
        connection.execute(sa.insert(tables.application).from_select(["id", *columns], copy))
        connection.execute(sa.update(tables.application_device).values(apply_id=APPLY_ID))
        connection.execute(sa.delete(tables.application).where(tables.application.c.id != APPLY_ID))

    await store._write(renumber)
    await store.add_instance(Instance(OTHERS_INSTANCE_ID, OTHER_ACCOUNT_ID, CREATED_MS))
    app = rig.app()
    message = {"ProductKey": PRODUCT_KEY, "TopicFullName": f"/{PRODUCT_KEY}/lamp-01/user/get", "MessageContent": "aGk="}
    answer = (await app.call("Pub", **message)).json()
    return Names(
        PRODUCT_KEY,
        LAMP.device_name,
        a_device(LAMP).iot_id,
        str(topic_id),
        GROUP_ID,
        str(answer["MessageId"]),
        str(APPLY_ID),
    )


@actions
async def test_what_is_another_accounts_is_as_if_it_were_not_there(rig: Rig, action: AnyAction) -> None:
    own = await fill(rig)
    stranger, owner = rig.app(OTHER_KEY), rig.app()
    before = await rows(rig)
    for parameters, absent in zip(requests(action, own), requests(action, ABSENT), strict=True):
        assert names_something(parameters) is (action.name not in NAMES_NOTHING)
        foreign = await told(stranger, action, parameters, own)
        await rig.server.store.flush()
        assert before <= await rows(rig)
        if action.name in NAMES_NOTHING:
            assert own.product_key not in foreign
            assert own.group_id not in foreign
            continue
        assert await rows(rig) == before
        assert foreign == await told(stranger, action, absent, ABSENT)
        assert await rows(rig) == before
    for parameters in requests(action, own):
        is_gone = await rig.server.registry.find_device(LAMP) is None
        if not is_gone and names_something(parameters) and action.name not in SAME_FOR_THE_OWNER:
            foreign = await told(stranger, action, parameters, own)
            assert foreign != await told(owner, action, parameters, own)


@actions
async def test_what_is_another_instances_is_as_if_it_were_not_there(start_rig: RigStarter, action: AnyAction) -> None:
    rig = await start_rig(strict_instances=True)
    own = await fill(rig)
    app = rig.app()
    of_product = {name: getattr(ABSENT, name) for name in Names.__dataclass_fields__ if name not in OF_THE_ACCOUNT}
    absent = Names(**{**{name: getattr(own, name) for name in OF_THE_ACCOUNT}, **of_product})
    before = await rows(rig)
    for here, gone in zip(requests(action, own), requests(action, absent), strict=True):
        if not any(NAMING.get(_word(name), "group_id") not in OF_THE_ACCOUNT for name in here):
            continue
        foreign = await told(app, action, here, own, IotInstanceId=INSTANCE_ID)
        await rig.server.store.flush()
        assert await rows(rig) == before
        assert foreign == await told(app, action, gone, absent, IotInstanceId=INSTANCE_ID)
        assert await rows(rig) == before


@actions
async def test_another_accounts_instance_is_as_if_it_were_not_there(start_rig: RigStarter, action: AnyAction) -> None:
    rig = await start_rig(strict_instances=True)
    own = await fill(rig)
    before = await rows(rig)
    for parameters in requests(action, own):
        answers = []
        for instance_id in (OTHERS_INSTANCE_ID, "iot-060a0009"):
            answer = await told(rig.app(), action, parameters, own, IotInstanceId=instance_id)
            answers.append(answer.replace(instance_id, "<instance>"))
        assert "IotInstanceNotFound" in answers[0]
        assert answers[0] == answers[1]
        assert await rows(rig) == before
