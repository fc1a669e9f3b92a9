"""Devices registered, found and tagged by the cloud SDKs, each in its ways."""

import json
import uuid
from typing import Any

from tests.sdk.clouds import Cloud


def _until(cloud: Cloud, application: dict[str, Any], status: str) -> dict[str, Any]:
    while True:
        data: dict[str, Any] = cloud.call("QueryBatchRegisterDeviceStatus", application)["Data"]
        if data["Status"] == status:
            return data
        assert data["Status"] in ("CHECK", "CREATE")


def test_devices_are_registered_in_bulk(cloud: Cloud) -> None:
    product_key = cloud.call("CreateProduct", {"ProductName": f"Bulk_{uuid.uuid4().hex[:8]}", "NodeType": 0})[
        "ProductKey"
    ]
    names = [f"lamp-{number:03}" for number in range(60)]
    listed = [{"DeviceName": name, "DeviceNickname": f"灯_{name[5:]}"} for name in names]
    checked = cloud.call("BatchCheckDeviceNames", {"ProductKey": product_key, "DeviceNameList": listed})
    apply_id = int(checked["Data"]["ApplyId"])
    application = {"ProductKey": product_key, "ApplyId": apply_id}
    _until(cloud, application, "CHECK_SUCCESS")
    assert int(cloud.call("BatchRegisterDeviceWithApplyId", application)["Data"]["ApplyId"]) == apply_id
    _until(cloud, application, "CREATE_SUCCESS")
    page = cloud.call("QueryPageByApplyId", {"ApplyId": apply_id, "PageSize": 50})
    made = page["ApplyDeviceList"]["ApplyDeviceInfo"]
    assert (int(page["Total"]), [each["DeviceName"] for each in made]) == (60, names[:50])

    again = {"ProductKey": product_key, "DeviceName": [*names[:2], "lamp-100", "lamp-101"]}
    taken = {"ProductKey": product_key, "ApplyId": int(cloud.call("BatchCheckDeviceNames", again)["Data"]["ApplyId"])}
    failed = _until(cloud, taken, "CHECK_FAILED")
    assert (failed["ValidList"]["Name"], failed["InvalidList"]["Name"]) == (["lamp-100", "lamp-101"], names[:2])
    # The Node SDK knows nothing of them yet.
    if "InvalidDetailList" in failed:
        assert [each["DeviceName"] for each in failed["InvalidDetailList"]["invalidDetailList"]] == names[:2]

    detailed = cloud.call("BatchQueryDeviceDetail", {"ProductKey": product_key, "DeviceName": names[:2]})["Data"][
        "Data"
    ]
    assert [(each["DeviceSecret"], each["Nickname"]) for each in detailed] == [
        (made[0]["DeviceSecret"], "灯_000"),
        (made[1]["DeviceSecret"], "灯_001"),
    ]
    renamed = [{"IotId": made[0]["IotId"], "Nickname": "Hall"}, {"IotId": made[1]["IotId"]}]
    assert cloud.call("BatchUpdateDeviceNickname", {"DeviceNicknameInfo": renamed})["Success"] is True

    first = cloud.call("QueryDevice", {"ProductKey": product_key, "PageSize": 50})
    rest = cloud.call(
        "QueryDevice",
        {"ProductKey": product_key, "PageSize": 50, "CurrentPage": 2, "NextToken": first["NextToken"]},
    )
    shown = [*first["Data"]["DeviceInfo"], *rest["Data"]["DeviceInfo"]]
    assert [each["DeviceName"] for each in shown] == names[::-1]
    assert [each.get("Nickname", "") for each in shown[-2:]] == ["", "Hall"]
    assert "NextToken" not in rest

    unactive = cloud.call("QueryDeviceByStatus", {"ProductKey": product_key, "Status": 0, "PageSize": 50})
    assert (int(unactive["Total"]), int(unactive["PageCount"])) == (60, 2)
    for each in made[:2]:
        props = json.dumps({"room": f"room {product_key}", "floor": 3})
        assert cloud.call("SaveDeviceProp", {"IotId": each["IotId"], "Props": props})["Success"] is True
    tags = [{"TagKey": "room", "TagValue": f"room {product_key}"}, {"TagKey": "floor", "TagValue": "3"}]
    found = cloud.call("QueryDeviceByTags", {"Tag": tags})["Data"]["SimpleDeviceInfo"]
    assert [each["DeviceName"] for each in found] == names[1::-1]
    by_id = {"IotId": made[0]["IotId"]}
    assert cloud.call("DeleteDeviceProp", {**by_id, "PropKey": "floor"})["Success"] is True
    assert json.loads(cloud.call("QueryDeviceProp", by_id)["Props"]) == {"room": f"room {product_key}"}
    assert cloud.call("ResetThing", by_id)["Success"] is True
