"""What every cloud SDK does, in each of its ways: the same story of calls, told by all of them."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.sdk.calls import call_device, status
from tests.sdk.clouds import Cloud, Refused
from tests.sdk.identity import Identity, Key
from tests.sdk.installation import KEY, Installation
from tests.sdk.paho_device import SILENCE

AWKWARD = "a b+c*d~e!f'g(h)i&j=k/l?m%n,灯<é>\"#"
"""Every kind of sign that clients escape in their own ways."""

EVERY_BYTE = bytes(range(256))
ANSWERED_STAGES = ["received", "authenticated", "accepted", "routed", "written", "answered", "returned"]
ABSENT_PRODUCT_KEY = "a1absent000"


def _failure(cloud: Cloud, call: Callable[[], dict[str, Any]]) -> str:
    """The code of a business failure, which one SDK throws and the others give back."""
    if cloud.raises_on_code:
        with pytest.raises(Refused) as refused:
            call()
        return refused.value.code
    answer = call()
    assert answer["Success"] is False
    assert answer["ErrorMessage"]
    code: str = answer["Code"]
    return code


def _same_message_id(cloud: Cloud, given: object, true: str) -> bool:
    if cloud.rounds:
        return float(str(given)) == float(true)
    return str(given) == true


def test_products_are_managed(cloud: Cloud) -> None:
    name = "灯_product_1"
    created = cloud.call(
        "CreateProduct",
        {"ProductName": name, "NodeType": 1, "NetType": "CELLULAR", "DataFormat": 1, "Description": AWKWARD},
    )
    assert created["Success"] is True
    product_key = created["ProductKey"]
    data = created["Data"]
    assert (data["ProductKey"], data["ProductName"], data["Description"]) == (product_key, name, AWKWARD)
    assert (int(data["NodeType"]), int(data["DataFormat"]), data["Id2"]) == (1, 1, False)

    shown = cloud.call("QueryProduct", {"ProductKey": product_key})["Data"]
    assert (shown["ProductName"], shown["Description"], int(shown["NetType"])) == (name, AWKWARD, 6)
    assert shown["ProductSecret"] == data["ProductSecret"]
    assert int(shown["DeviceCount"]) == 0

    listed = cloud.call("QueryProductList", {"CurrentPage": 1, "PageSize": 200})["Data"]
    assert int(listed["Total"]) == len(listed["List"]["ProductInfo"])
    newest = listed["List"]["ProductInfo"][0]
    assert (newest["ProductKey"], newest["ProductName"]) == (product_key, name)

    update = {"ProductKey": product_key, "ProductName": f"{name}b", "Description": "short"}
    assert cloud.call("UpdateProduct", update)["Success"] is True
    shown = cloud.call("QueryProduct", {"ProductKey": product_key})["Data"]
    assert (shown["ProductName"], shown["Description"]) == (f"{name}b", "short")

    assert cloud.call("DeleteProduct", {"ProductKey": product_key})["Success"] is True
    code = _failure(cloud, lambda: cloud.call("QueryProduct", {"ProductKey": product_key}))
    assert code == "iot.prod.NotExistedProduct"


def test_devices_are_managed(cloud: Cloud) -> None:
    created = cloud.call("CreateProduct", {"ProductName": "Devices", "NodeType": 0})
    product_key = created["ProductKey"]
    by_name = {"ProductKey": product_key, "DeviceName": "lamp:1@a.b_c-d"}
    registered = cloud.call("RegisterDevice", {**by_name, "Nickname": "台灯_1"})["Data"]
    iot_id = registered["IotId"]
    drawn = cloud.call("RegisterDevice", {"ProductKey": product_key})["Data"]
    assert len(drawn["DeviceName"]) == 20
    identity = {name: registered[name] for name in ("IotId", "ProductKey", "DeviceName", "DeviceSecret", "Nickname")}
    assert identity == {**by_name, "Nickname": "台灯_1", "IotId": iot_id, "DeviceSecret": registered["DeviceSecret"]}

    page = cloud.call("QueryDevice", {"ProductKey": product_key, "CurrentPage": 1, "PageSize": 10})
    assert (int(page["Total"]), int(page["PageCount"])) == (2, 1)
    assert [info["DeviceName"] for info in page["Data"]["DeviceInfo"]] == [drawn["DeviceName"], by_name["DeviceName"]]

    detail = cloud.call("QueryDeviceDetail", by_name)["Data"]
    assert identity.items() <= detail.items()
    assert (detail["Status"], int(detail["NodeType"]), detail["ProductName"]) == ("UNACTIVE", 0, "Devices")
    assert cloud.call("QueryDeviceInfo", {"IotId": iot_id})["Data"] == identity
    assert cloud.call("GetDeviceStatus", {"IotId": iot_id})["Data"]["Status"] == "UNACTIVE"

    names = [by_name["DeviceName"], drawn["DeviceName"], "not-there"]
    states = cloud.call("BatchGetDeviceState", {"ProductKey": product_key, "DeviceName": names})
    found = {state["DeviceName"]: state["Status"] for state in states["DeviceStatusList"]["DeviceStatus"]}
    assert found == dict.fromkeys(names[:2], "UNACTIVE")
    counted = cloud.call("QueryDeviceStatistics", {"ProductKey": product_key})["Data"]
    assert [int(counted[name]) for name in ("deviceCount", "activeCount", "onlineCount")] == [2, 0, 0]

    assert cloud.call("DisableThing", by_name)["Success"] is True
    assert cloud.call("GetDeviceStatus", by_name)["Data"]["Status"] == "DISABLE"
    assert cloud.call("EnableThing", by_name)["Success"] is True
    assert cloud.call("GetDeviceStatus", by_name)["Data"]["Status"] == "UNACTIVE"

    refused = _failure(cloud, lambda: cloud.call("DeleteProduct", {"ProductKey": product_key}))
    assert refused == "iot.system.IllegalRequest"
    for named in ({"IotId": iot_id}, {"IotId": drawn["IotId"]}):
        assert cloud.call("DeleteDevice", named)["Success"] is True
    gone = _failure(cloud, lambda: cloud.call("QueryDeviceDetail", by_name))
    assert gone == "iot.device.NotExistedDevice"
    assert cloud.call("DeleteProduct", {"ProductKey": product_key})["Success"] is True


def test_answer_comes_back_byte_for_byte(cloud: Cloud, server: Installation, echo: Identity) -> None:
    assert status(cloud, echo) == "ONLINE"
    answer = call_device(cloud, echo, EVERY_BYTE)
    assert (answer["Success"], answer["RrpcCode"]) == (True, "SUCCESS")
    assert base64.b64decode(answer["PayloadBase64Byte"], validate=True) == EVERY_BYTE
    assert "Code" not in answer
    record = server.find_call(answer["RequestId"])
    assert (record["verdict"], record["diagnosis"]) == ("SUCCESS", "answered")
    assert [moment["stage"] for moment in record["timeline"]] == ANSWERED_STAGES
    assert _same_message_id(cloud, answer["MessageId"], record["message_id"])


def test_custom_topic_reaches_the_device_as_it_was_sent(cloud: Cloud, server: Installation, echo: Identity) -> None:
    topic = f"/{echo.product_key}/灯 ~*!'(),:@=&%/get"
    answer = call_device(cloud, echo, b"lights", Topic=topic)
    assert (answer["RrpcCode"], answer["PayloadBase64Byte"]) == ("SUCCESS", "bGlnaHRz")
    assert server.find_call(answer["RequestId"])["target"] == topic


def test_silent_device_times_out(cloud: Cloud, server: Installation, echo: Identity) -> None:
    answer = call_device(cloud, echo, SILENCE, Timeout=1000)
    assert (answer["Success"], answer["RrpcCode"]) == (False, "TIMEOUT")
    assert "1000 ms" in answer["ErrorMessage"]
    assert not {"Code", "PayloadBase64Byte"} & answer.keys()
    record = server.find_call(answer["RequestId"])
    assert (record["verdict"], record["diagnosis"]) == ("TIMEOUT", "written-no-answer")
    moments = {moment["stage"]: moment["offset_ms"] for moment in record["timeline"]}
    assert 1000 <= moments["returned"] - moments["routed"] < 2000
    assert _same_message_id(cloud, answer["MessageId"], record["message_id"])


def test_absent_device_is_offline(cloud: Cloud, server: Installation, unplugged: Identity) -> None:
    answer = call_device(cloud, unplugged, b"lights")
    assert (answer["Success"], answer["RrpcCode"]) == (False, "OFFLINE")
    assert answer["ErrorMessage"] == "The device is not connected."
    assert not {"Code", "PayloadBase64Byte"} & answer.keys()
    record = server.find_call(answer["RequestId"])
    assert (record["verdict"], record["diagnosis"]) == ("OFFLINE", "never-activated")
    assert "written" not in [moment["stage"] for moment in record["timeline"]]


def test_call_that_breaks_a_rule_tells_its_code(cloud: Cloud, echo: Identity) -> None:
    code = _failure(cloud, lambda: call_device(cloud, echo, b"lights", Timeout=8001))
    assert code == "iot.messagebroker.InvalidTimeoutValue"
    absent = Identity(ABSENT_PRODUCT_KEY, echo.device_name, "", "")
    assert _failure(cloud, lambda: call_device(cloud, absent, b"lights")) == "iot.prod.NotExistedProduct"


def test_wrong_secret_is_the_sdks_own_exception(cloud: Cloud, product_key: str) -> None:
    wrong = Key(KEY.access_key_id, "not-the-secret")
    with pytest.raises(Refused) as refused:
        cloud.call("QueryProduct", {"ProductKey": product_key}, wrong)
    assert refused.value.code == cloud.secret_code
    assert refused.value.request_id
    assert KEY.access_key_secret not in str(refused.value)


def test_unknown_key_is_the_sdks_own_exception(cloud: Cloud, product_key: str) -> None:
    with pytest.raises(Refused) as refused:
        cloud.call("QueryProduct", {"ProductKey": product_key}, Key("LTAInobody", KEY.access_key_secret))
    assert refused.value.code == "InvalidAccessKeyId.NotFound"
    assert "Specified access key is not found." in refused.value.message


def test_missing_parameter_is_the_sdks_own_exception(cloud: Cloud, echo: Identity) -> None:
    with pytest.raises(Refused) as refused:
        cloud.call("RRpc", {**echo.target, "RequestBase64Byte": "bGlnaHRz"})
    assert refused.value.code == "MissingTimeout"
    assert "Timeout is mandatory for this action." in refused.value.message
