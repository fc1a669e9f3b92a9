"""Every action's shapes against the vendor's own: `tests/golden/operations.json` and `response-examples.json`."""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from linkstead.action import Answer, AnyAction
from linkstead.actions import ACTIONS
from linkstead.api.parameters import unknown_parameters

GOLDEN = Path(__file__).parents[1] / "golden"
OPERATIONS = {
    operation["action"]: operation
    for operation in json.loads((GOLDEN / "operations.json").read_text(encoding="utf-8"))["operations"]
}
SAMPLES = {
    sample["action"]: sample["json"]
    for sample in json.loads((GOLDEN / "response-examples.json").read_text(encoding="utf-8"))["operations"]
}

REQUIRED = {"yes", "yes (newer documentation)"}
OPTIONAL = {
    "no",
    "no (yes in 2020 documentation)",
    "yes (optional in newer documentation)",
    "only LoRaWAN",
    "no (only Type=MNS)",
    "no (yes with Fuzzy=true)",
    "one of IotId | ProductKey+DeviceName",
    "one of IotId.N | ProductKey+DeviceName.N",
}

EASED = {("UpdateThingModel", "ThingModelJson"), ("BatchPub", "TopicShortName")}
"""Required above, yet a call that only renames a module has none. Source: `cloud-api.md` 9.4.

In its place TopicTemplateName may be sent. Source: BatchPub reference.
"""

ORIGINAL_HISTORIES = tuple(f"QueryDeviceOriginal{kind}Data" for kind in ("Property", "Event", "Service"))

STATED = {
    ("QueryMessageInfo", "UniMsgId"): "yes",
    **{(name, part): "yes" for name in ORIGINAL_HISTORIES for part in ("Identifier", "StartTime", "EndTime")},
    **{
        (name, part): required
        for name in (*ORIGINAL_HISTORIES, "QueryDeviceOriginalPropertyStatus")
        for part, required in (("Asc", "yes"), ("PageSize", "yes"), ("NextPageToken", "no"))
    },
}
"""Where the description knows of no source. Source: the references of these actions."""

WITHOUT_SAMPLE = {
    "BatchUpdateDeviceNickname",
    "DeleteDeviceProp",
    "SaveDeviceProp",
    "BatchAddThingTopo",
    "CopyThingModel",
    "CreateConsumerGroupSubscribeRelation",
    "CreateThingScript",
    "DeleteConsumerGroupSubscribeRelation",
    "DeleteProductTags",
    "ResetConsumerGroupPosition",
    "SubscribeTopic",
    "UpdateDeviceShadow",
    "UpdateThingScript",
}
"""Actions without data of their own that no sample is known of."""

ROOM_TAG = {"ProductTag": [{"TagKey": "room", "TagValue": "kitchen"}]}

OWN_SAMPLES: dict[str, dict[str, Any]] = {
    "QueryDeviceCert": {
        "DeviceCertInfo": {"CertSN": "6362", "Certificate": "tXHf", "PrivateKey": "CqXL", "Status": 2},
        "RequestId": "R",
        "Success": True,
    },
    "ResetThing": {"JobId": "450407b3", "RequestId": "R", "Success": True},
    "QueryDeviceProp": {"Props": '{"room":"101"}', "RequestId": "R", "Success": True},
    "QueryDeviceByTags": {
        "Data": {
            "SimpleDeviceInfo": [
                {
                    "DeviceName": "lamp-01",
                    "IotId": "Zk3Pq8RtY2mN6vLw0HbX00100",
                    "ProductKey": "a1LkDemo001",
                    "ProductName": "DemoLamp",
                }
            ]
        },
        "Page": 1,
        "PageCount": 1,
        "PageSize": 10,
        "Total": 1,
        "RequestId": "R",
        "Success": True,
    },
    "CreateProductTags": {"InvalidProductTags": ROOM_TAG, "RequestId": "R", "Success": True},
    "UpdateProductTags": {"InvalidProductTags": ROOM_TAG, "RequestId": "R", "Success": True},
    "GetDeviceShadow": {
        "ShadowMessage": '{"state":{},"metadata":{},"timestamp":1469564576,"version":1}',
        "RequestId": "R",
        "Success": True,
    },
    "QueryDeviceOriginalPropertyData": {
        "Data": {
            "List": {"PropertyInfo": [{"Time": "1579249499000", "Value": "26"}]},
            "NextValid": True,
            "nextPageToken": "Bo",
        },
        "RequestId": "R",
        "Success": True,
    },
    "QueryDeviceOriginalPropertyStatus": {
        "Data": {
            "List": {"PropertyStatusDataInfo": [{"Identifier": "Power", "Time": 1579249499000, "Value": "26"}]},
            "NextValid": True,
            "NextPageToken": "Bo",
        },
        "RequestId": "R",
        "Success": True,
    },
    "QueryDeviceOriginalEventData": {
        "Data": {
            "List": {
                "EventInfo": [
                    {
                        "Identifier": "PowerOff",
                        "Name": "Power off",
                        "EventType": "alert",
                        "OutputData": "{}",
                        "Time": "1579249499000",
                    }
                ]
            },
            "NextValid": True,
            "NextPageToken": "Bo",
        },
        "RequestId": "R",
        "Success": True,
    },
    "QueryDeviceOriginalServiceData": {
        "Data": {
            "List": {
                "ServiceInfo": [
                    {
                        "Identifier": "Set",
                        "Name": "Set",
                        "Time": "1579249499000",
                        "InputData": "{}",
                        "OutputData": "{}",
                    }
                ]
            },
            "NextValid": True,
            "NextPageToken": "Bo",
        },
        "RequestId": "R",
        "Success": True,
    },
    "UnsubscribeTopic": {"RequestId": "R", "Success": True},
    "QueryDeviceSubTopic": {
        "TopicList": [{"TopicName": "/a1LkDemo001/lamp-01/user/get", "Timestamp": 1662039965873}],
        "RequestId": "R",
        "Success": True,
    },
    "ListProductTags": {"Data": ROOM_TAG, "RequestId": "R", "Success": True},
    "ListProductByTags": {
        "ProductInfos": {
            "ProductInfo": [
                {
                    "ProductKey": "a1LkDemo001",
                    "ProductName": "DemoLamp",
                    "NodeType": 0,
                    "CreateTime": 1545355537000,
                    "Description": "a lamp",
                }
            ]
        },
        "RequestId": "R",
        "Success": True,
    },
    "GetThingScript": {
        "Data": {"ScriptUrl": "data:text/javascript;charset=utf-8;base64,Lyo=", "ScriptType": "JavaScript"},
        "RequestId": "R",
        "Success": True,
    },
    "RemoveThingTopo": {"Data": True, "RequestId": "R", "Success": True},
    "NotifyAddThingTopo": {"Data": {"MessageId": "1735689603"}, "RequestId": "R", "Success": True},
    "GetThingTopo": {
        "Data": {
            "Total": 1,
            "PageSize": 10,
            "PageCount": 1,
            "CurrentPage": 1,
            "List": {"deviceInfo": [{"IotId": "I", "ProductKey": "a1Probe0001", "DeviceName": "probe-01"}]},
        },
        "RequestId": "R",
        "Success": True,
    },
    "GetGatewayBySubDevice": {
        "Data": {
            "iotId": "I",
            "ProductKey": "a1Gate00001",
            "ProductName": "Gateway",
            "DeviceName": "gate-01",
            "DeviceSecret": "S",
            "NodeType": 1,
            "Status": "ONLINE",
            "region": "cn-shanghai",
            "GmtCreate": "2018-08-06 10:48:41",
            "UtcCreate": "2018-08-06T02:48:41.000Z",
        },
        "RequestId": "R",
        "Success": True,
    },
    "ClearDeviceDesiredProperty": {"Data": {"Versions": '{"Temperature":3}'}, "RequestId": "R", "Success": True},
    "QueryMessageInfo": {
        "Message": {
            "UniMsgId": "889455942124347392",
            "TopicFullName": "/a1Lnk5tEad0/lamp-01/user/get",
            "MessageContent": "aGVsbG8=",
            "GenerateTime": 1624419431000,
        },
        "RequestId": "R",
        "Success": True,
    },
}
"""Of actions with data that no sample is known of."""

actions = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def _described(shape: inspect.Type) -> Any:
    """A type in the words of `operations.json`; a field that may be left out is described as if it were there."""
    match shape:
        case inspect.StrType():
            return "string"
        case inspect.IntType():
            return "integer"
        case inspect.BoolType():
            return "boolean"
        case inspect.ListType(item_type=item):
            return [_described(item)]
        case inspect.DictType():
            return "map"
        case inspect.StructType(fields=fields):
            return {field.encode_name: _described(field.type) for field in fields}
        case inspect.UnionType(types=types):
            (one,) = (kind for kind in types if not isinstance(kind, inspect.NoneType))
            return _described(one)
    raise AssertionError(shape)


def _documented_answer(operation: dict[str, Any]) -> Any:
    """An answer as described; a field whose type differs is as the documentation's example shows it.

    Source: `cloud-api.md` 4.2.
    """
    answer = copy.deepcopy(operation["response"])
    for difference in operation.get("doc_vs_sdk", ()):
        *parents, name = difference["path"].split(".")
        if difference["sdk"] is not None:
            shape = answer
            for parent in parents:
                shape = shape[parent.removesuffix("[]")]
                shape = shape[0] if parent.endswith("[]") else shape
            shape[name] = difference["doc_example"]
    return answer


def _parameter_type(parameter: dict[str, Any]) -> Any:
    if parameter["type"] == "list":
        return [parameter["items"]]
    return "integer" if parameter["type"] == "long" else parameter["type"]


def test_each_action_is_listed_under_its_own_name() -> None:
    assert all(action.name == name for name, action in ACTIONS.items())
    assert set(ACTIONS) <= set(OPERATIONS)


@actions
def test_an_answer_has_the_vendors_fields_and_types(action: AnyAction) -> None:
    assert _described(inspect.type_info(action.answer)) == _documented_answer(OPERATIONS[action.name])


@actions
def test_a_request_has_the_vendors_parameters_and_types(action: AnyAction) -> None:
    expected = {parameter["name"]: _parameter_type(parameter) for parameter in OPERATIONS[action.name]["request"]}
    assert _described(inspect.type_info(action.request)) == expected


@actions
def test_a_request_requires_what_the_vendor_requires(action: AnyAction) -> None:
    shape = inspect.type_info(action.request)
    assert isinstance(shape, inspect.StructType)
    stated = {
        parameter["name"]: STATED.get((action.name, parameter["name"]), parameter["required"])
        for parameter in OPERATIONS[action.name]["request"]
    }
    assert set(stated.values()) <= REQUIRED | OPTIONAL
    assert {field.encode_name for field in shape.fields if field.required} == {
        name for name, required in stated.items() if required in REQUIRED and (action.name, name) not in EASED
    }


@actions
def test_the_sample_answer_is_read_and_written_again(action: AnyAction) -> None:
    if action.name in WITHOUT_SAMPLE:
        assert action.answer is Answer
        sample: dict[str, Any] = {"RequestId": "41C4265E-F05D-4E2E-AB09-E031F501AF7F", "Success": True}
    else:
        sample = OWN_SAMPLES.get(action.name) or SAMPLES[action.name]
    answer = msgspec.convert(sample, action.answer, strict=True)
    assert json.loads(msgspec.json.encode(answer)) == sample
    assert json.loads(msgspec.json.encode(action.answer(request_id="R"))) == {"RequestId": "R", "Success": True}


@actions
def test_every_request_can_be_bound(action: AnyAction) -> None:
    assert unknown_parameters(action.request, {"NobodyKnowsThis": "x"}, action.aliases) == ["NobodyKnowsThis"]
