"""The thing model, in every cloud SDK: brought in, changed, published and read back, the same in all of them."""

import json
from typing import Any

from tests.sdk.clouds import Cloud
from tests.tsl.documents import load

FLASH = {"identifier": "Flash", "serviceName": "闪烁/Flash é", "callType": "ASYNC"}


def _tsl(cloud: Cloud, action: str, **parameters: object) -> Any:
    return json.loads(cloud.call(action, parameters)["Data"]["TslStr"])


def test_a_thing_model_is_managed(cloud: Cloud) -> None:
    created = cloud.call(
        "CreateProduct",
        {"ProductName": "Model_lamp", "NodeType": 0, "AliyunCommodityCode": "iothub_senior", "PublishAuto": "false"},
    )
    key = created["ProductKey"]
    lamp = load("lamp.tsl.json")
    lamp["profile"]["productKey"] = key
    text = json.dumps(lamp, ensure_ascii=False, indent=2)
    assert cloud.call("ImportThingModelTsl", {"ProductKey": key, "TslStr": text})["Success"] is True
    assert _tsl(cloud, "GetThingModelTsl", ProductKey=key) == lamp
    assert _tsl(cloud, "GetThingModelTsl", ProductKey=key, Simple="true") == load("lamp.simple.json")

    module = {"ProductKey": key, "FunctionBlockId": "lights"}
    added = {"FunctionBlockName": "灯灯灯灯", "ThingModelJson": json.dumps({"services": [FLASH]})}
    assert cloud.call("CreateThingModel", {**module, **added})["Success"] is True
    changed = {"Identifier": "Flash", "ThingModelJson": json.dumps({"services": [{**FLASH, "callType": "SYNC"}]})}
    assert cloud.call("UpdateThingModel", {**module, **changed})["Success"] is True
    named = ["PowerSwitch", "Brightness", "ColorTemperature"]
    assert cloud.call("DeleteThingModel", {"ProductKey": key, "PropertyIdentifier": named})["Success"] is True
    publish = {"ProductKey": key, "ModelVersion": "1.0", "Description": "erste <Fassung> & 灯"}
    assert cloud.call("PublishThingModel", publish)["Success"] is True

    (version,) = cloud.call("ListThingModelVersion", {"ProductKey": key})["Data"]["ModelVersions"]
    assert (version["ModelVersion"], version["Description"]) == ("1.0", publish["Description"])
    assert int(version["GmtCreate"]) > 1_700_000_000_000
    published = _tsl(cloud, "GetThingModelTslPublished", ProductKey=key)
    assert [found["identifier"] for found in published["properties"]] == ["WorkMode", "MainsVoltage"]
    shown = cloud.call("QueryThingModelPublished", module)
    found = json.loads(shown["Data"]["ThingModelJson"])
    assert (shown["ProductKey"], found["name"], found["_ppk"]["version"]) == (key, "灯灯灯灯", "1.0")
    assert found["services"][0].items() >= {**FLASH, "callType": "SYNC"}.items()

    copy = {"SourceProductKey": key, "SourceModelVersion": "1.0", "TargetProductKey": key}
    assert cloud.call("CopyThingModel", copy)["Success"] is True
    draft = cloud.call("QueryThingModel", module)
    assert json.loads(draft["Data"]["ThingModelJson"])["services"] == found["services"]
    assert cloud.call("DeleteProduct", {"ProductKey": key})["Success"] is True
