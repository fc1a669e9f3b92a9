import asyncio
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from alibabacloud_iot20180120 import models as sdk

from linkstead.action import Answer
from linkstead.actions import ACTIONS
from linkstead.actions.product import CreateProductRequest, create_product
from linkstead.actions.thing_model.editing import IDENTIFIERS_MAX
from linkstead.api.parameters import bind
from linkstead.api.render import render_json, render_xml
from linkstead.errors import ErrorRow, codes
from linkstead.models import VERSIONS_KEPT_MAX
from linkstead.tsl.limits import (
    DESCRIPTION_CHARS_MAX,
    FEATURES_PER_CALL_MAX,
    MODULE_NAME_RULE,
    MODULE_TSL_BYTES_MAX,
    TSL_BYTES_MAX,
    VERSION_CHARS_MAX,
)
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal, refusal
from tests.tsl.documents import GOLDEN, load

pytestmark = pytest.mark.asyncio

LAMP_KEY, MODULES_KEY = "a1Lnk5tEad0", "a1ModFbDemo"
SAMPLES = {
    "lamp.tsl.json": "",
    "all-types.tsl.json": "",
    "raw-probe.tsl.json": "",
    "multi-module.default.tsl.json": "",
    "multi-module.testFb.tsl.json": "testFb",
}
"""Every sample, and the module that it is to be found in."""

REQUESTS: dict[str, dict[str, str]] = {
    "CreateThingModel": {"ThingModelJson": "{}"},
    "UpdateThingModel": {"ThingModelJson": "{}"},
    "DeleteThingModel": {},
    "ImportThingModelTsl": {"TslStr": "{}"},
    "GetThingModelTsl": {},
    "GetThingModelTslPublished": {},
    "QueryThingModel": {},
    "QueryThingModelPublished": {},
    "PublishThingModel": {},
    "ListThingModelVersion": {},
    "CopyThingModel": {"SourceProductKey": "", "SourceModelVersion": "1", "TargetProductKey": ""},
}
"""Every action of the chapter, and what it needs beside the product."""


async def make_product(
    world: World,
    product_key: str = LAMP_KEY,
    *,
    publish_auto: bool = False,
    account_id: str | None = None,
    **fields: Any,
) -> str:
    """A product with a thing model that has this key."""
    world.ids.tokens.extend([product_key[2:], "Qm7vT2xYb4KdPz9L"])
    request = CreateProductRequest(
        product_name=f"Lamp_{product_key}",
        node_type=0,
        aliyun_commodity_code="iothub_senior",
        publish_auto=publish_auto,
        **fields,
    )
    answer = await create_product(world.context(account_id) if account_id else world.context(), request)
    assert answer.product_key == product_key
    return product_key


async def call(world: World, action_name: str, parameters: dict[str, str]) -> Answer:
    """What an action answers to these parameters."""
    action = ACTIONS[action_name]
    answer: Answer = await action.function(world.context(), bind(action.request, parameters, action.aliases))
    return answer


async def do(world: World, action_name: str, product_key: str = LAMP_KEY, **parameters: str) -> dict[str, Any]:
    """What an app reads of the answer; parameters of the same name in a list are `Name_1`, `Name_2`."""
    named = {name.replace("_", "."): value for name, value in parameters.items()}
    answer = await call(world, action_name, {"ProductKey": product_key, **named})
    read: dict[str, Any] = json.loads(render_json(answer))
    return read


async def get_tsl(world: World, product_key: str = LAMP_KEY, *, published: bool = False, **parameters: Any) -> Any:
    """GetThingModelTsl, its document as JSON."""
    action_name = "GetThingModelTslPublished" if published else "GetThingModelTsl"
    return json.loads((await do(world, action_name, product_key, **parameters))["Data"]["TslStr"])


async def query(world: World, product_key: str = LAMP_KEY, *, published: bool = False, **parameters: Any) -> Any:
    """QueryThingModel, its document as JSON."""
    action_name = "QueryThingModelPublished" if published else "QueryThingModel"
    return json.loads((await do(world, action_name, product_key, **parameters))["Data"]["ThingModelJson"])


async def import_sample(world: World, name: str, product_key: str = LAMP_KEY, **parameters: str) -> None:
    await do(world, "ImportThingModelTsl", product_key, TslStr=(GOLDEN / name).read_text("utf-8"), **parameters)


async def import_services(world: World, *identifiers: str, product_key: str = LAMP_KEY, **parameters: str) -> None:
    """Put these services in the place of all that is in a module."""
    document = {"services": [{"identifier": name, "name": name, "callType": "sync"} for name in identifiers]}
    await do(world, "ImportThingModelTsl", product_key, TslStr=json.dumps(document), **parameters)


async def services(world: World, product_key: str = LAMP_KEY, **parameters: Any) -> list[str]:
    """The identifiers of the services of a module, those that the platform generates not among them."""
    document = await get_tsl(world, product_key, **parameters)
    return [each["identifier"] for each in document["services"] if each["identifier"] not in ("set", "get")]


def features(*identifiers: str, **keys: Any) -> str:
    """ThingModelJson with these services."""
    found = [{"identifier": name, "serviceName": name, "callType": "SYNC", **keys} for name in identifiers]
    return json.dumps({"services": found})


def names(count: int) -> list[str]:
    return [f"Service{number}" for number in range(count)]


async def check_refused(
    world: World, row: ErrorRow, said: str, action_name: str, product_key: str = LAMP_KEY, **parameters: str
) -> None:
    """The action fails with this error, its text ends so, and nothing was changed."""
    before = await query(world, product_key)
    error = await refusal(do(world, action_name, product_key, **parameters))
    assert error.row is row
    assert error.message("en").endswith(f"({said})"), error.message("en")
    assert await query(world, product_key) == before


async def check_missing(world: World, action_name: str, parameter: str, **parameters: str) -> None:
    error = await refusal(do(world, action_name, **parameters))
    assert (error.code, error.row.http_status) == (f"Missing{parameter}", 400)


# ---- which products


@pytest.mark.parametrize("action_name", REQUESTS)
async def test_only_products_with_a_thing_model_take_these_actions(world: World, action_name: str) -> None:
    plain = (await world.create_product("Plain")).product_key
    keys = {"SourceProductKey": plain, "TargetProductKey": plain, "ProductKey": plain}
    acting = call(world, action_name, {**REQUESTS[action_name], **keys})
    said = f"ProductKey={plain}; AliyunCommodityCode == iothub_senior"
    await check_refusal(acting, codes.NOT_SENIOR_PRODUCT, said)


@pytest.mark.parametrize("action_name", REQUESTS)
async def test_a_product_of_somebody_else_is_not_found(world: World, action_name: str) -> None:
    foreign = await make_product(world, account_id=OTHER_ACCOUNT_ID)
    keys = {"SourceProductKey": foreign, "TargetProductKey": foreign, "ProductKey": foreign}
    acting = call(world, action_name, {**REQUESTS[action_name], **keys})
    await check_refusal(acting, codes.NOT_EXISTED_PRODUCT, f"ProductKey={foreign}")


@pytest.mark.parametrize("action_name", REQUESTS)
async def test_a_product_key_that_is_empty_is_told(world: World, action_name: str) -> None:
    await check_refusal(call(world, action_name, {"ProductKey": "", **REQUESTS[action_name]}), codes.NULL_PRODUCT_KEY)


async def test_a_product_that_another_process_deletes_meanwhile_is_not_found(world: World) -> None:
    await make_product(world)
    await query(world)
    await world.store.delete_product(LAMP_KEY)
    for action_name in ("CreateThingModel", "PublishThingModel"):
        acting = do(world, action_name, ThingModelJson=features("Blink"))
        await check_refusal(acting, codes.NOT_EXISTED_PRODUCT, f"ProductKey={LAMP_KEY}")


# ---- ImportThingModelTsl, GetThingModelTsl, QueryThingModel


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_is_imported_and_got_back_whole(world: World, name: str) -> None:
    key = await make_product(world, load(name)["profile"]["productKey"])
    if name == "multi-module.default.tsl.json":
        await import_sample(world, "multi-module.testFb.tsl.json", key)
    await import_sample(world, name, key)
    module: dict[str, Any] = {"FunctionBlockId": SAMPLES[name]}
    assert await get_tsl(world, key, **module) == load(name)
    await do(world, "PublishThingModel", key)
    assert await get_tsl(world, key, published=True, **module) == load(name)
    version = (await do(world, "ListThingModelVersion", key))["Data"]["ModelVersions"][0]["ModelVersion"]
    assert await get_tsl(world, key, ModelVersion=version, **module) == load(name)


async def test_the_simple_form_is_the_one_for_devices(world: World) -> None:
    await make_product(world)
    await import_sample(world, "lamp.tsl.json")
    assert await get_tsl(world, Simple="true") == load("lamp.simple.json")
    await do(world, "PublishThingModel")
    assert await get_tsl(world, published=True, Simple="true") == load("lamp.simple.json")


async def test_an_imported_model_is_shown_as_thing_model_json_with_sorted_keys(world: World) -> None:
    await make_product(world)
    await import_sample(world, "lamp.tsl.json")
    answer = await do(world, "QueryThingModel")
    text = answer["Data"]["ThingModelJson"]
    expected = load("lamp.thing-model.json")
    assert answer["ProductKey"] == LAMP_KEY
    assert text == json.dumps(expected, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


async def test_a_published_model_is_shown_with_its_version(world: World) -> None:
    await make_product(world)
    await import_sample(world, "lamp.tsl.json")
    await do(world, "PublishThingModel", ModelVersion="1.0", Description="first")
    expected = {**load("lamp.thing-model.json"), "_ppk": {"version": "1.0", "description": "first"}}
    assert await query(world, published=True) == expected
    assert await query(world, ModelVersion="1.0") == expected
    assert await query(world) == load("lamp.thing-model.json")


@pytest.mark.parametrize("name", [*SAMPLES, "lamp.thing-model.json"])
async def test_a_sample_made_function_by_function_is_the_sample_imported(world: World, name: str) -> None:
    key = await make_product(world, "a1Written00")
    if name == "lamp.thing-model.json":
        whole = load(name)
    else:
        sample_key = await make_product(world, load(name)["profile"]["productKey"])
        await import_sample(world, name, sample_key)
        whole = await query(world, sample_key, FunctionBlockId=SAMPLES[name])
    module = {kind: whole[kind] for kind in ("identifier", "name") if kind in whole}
    for kind in ("properties", "events", "services"):
        for feature in whole[kind]:
            await do(world, "CreateThingModel", key, ThingModelJson=json.dumps({kind: [feature], **module}))
    written = await query(world, key, FunctionBlockId=whole.get("identifier", ""))
    there = json.dumps(written).replace(key, whole["productKey"])
    assert json.loads(there) == whole


async def test_a_draft_that_was_never_written_is_empty(world: World) -> None:
    await make_product(world)
    document = await get_tsl(world)
    assert (document["properties"], document["events"], document["services"]) == ([], [], [])
    assert document["profile"] == {"version": "1.0", "productKey": LAMP_KEY}
    assert await query(world) == {"productKey": LAMP_KEY, "properties": [], "events": [], "services": []}


async def test_an_import_takes_the_place_of_its_module_alone(world: World) -> None:
    key = await make_product(world, MODULES_KEY)
    await import_sample(world, "multi-module.default.tsl.json", key)
    await import_sample(world, "multi-module.testFb.tsl.json", key)
    await import_services(world, "Only", product_key=key)
    assert await services(world, key) == ["Only"]
    assert await services(world, key, FunctionBlockId="testFb") == ["testService", "asyncService"]
    await import_services(world, "New", product_key=key, FunctionBlockId="testFb")
    assert await services(world, key) == ["Only"]
    assert await services(world, key, FunctionBlockId="testFb") == ["New"]
    module = await get_tsl(world, key, FunctionBlockId="testFb")
    assert (module["functionBlockId"], module["functionBlockName"]) == ("testFb", "Test function block")


async def test_the_parameters_name_the_module_whatever_the_document_says(world: World) -> None:
    key = await make_product(world, MODULES_KEY)
    module = {"FunctionBlockId": "other", "FunctionBlockName": "Other block"}
    await import_sample(world, "multi-module.testFb.tsl.json", key, **module)
    assert (await get_tsl(world, key))["functionBlocks"] == [
        {"functionBlockId": "other", "functionBlockName": "Other block", "productKey": key}
    ]
    assert (await query(world, key))["functionBlocks"][0]["functionBlockId"] == "other"
    shown = await query(world, key, FunctionBlockId="other")
    assert (shown["identifier"], shown["name"]) == ("other", "Other block")


def service(**keys: Any) -> dict[str, Any]:
    return {"identifier": "Blink", "name": "Blink", "callType": "sync", **keys}


BAD_DOCUMENTS: list[tuple[Any, ErrorRow, str]] = [
    ([], codes.BATCH_CREATE_THING_MODEL_FAILED, "TslStr: must be an object, not []"),
    (
        {"services": [service(callType="later")]},
        codes.BATCH_CREATE_THING_MODEL_FAILED,
        'TslStr.services[0].callType: must be one of sync, async, not "later"',
    ),
    (
        {"services": [service(), service(identifier="Run", inputData=[{"identifier": "n", "name": "N"}])]},
        codes.BATCH_CREATE_THING_MODEL_FAILED,
        "TslStr.services[1].inputData[0].dataType: is missing",
    ),
    (
        {"services": [service(), service()]},
        codes.THING_MODEL_NAME_DUPLICATED,
        "TslStr.services[1].identifier: Blink is there twice",
    ),
    (
        {"profile": {"productKey": "a1Other0001"}},
        codes.BATCH_CREATE_THING_MODEL_FAILED,
        f"TslStr.profile.productKey: must be {LAMP_KEY}",
    ),
    (
        {"functionBlockId": "lights"},
        codes.BATCH_CREATE_THING_MODEL_FAILED,
        f"functionBlockName: must be {MODULE_NAME_RULE}",
    ),
]


@pytest.mark.parametrize(("document", "row", "said"), BAD_DOCUMENTS)
async def test_a_bad_document_is_refused_with_its_place_and_the_rule(
    world: World, document: Any, row: ErrorRow, said: str
) -> None:
    await make_product(world)
    await import_sample(world, "lamp.tsl.json")
    await check_refused(world, row, said, "ImportThingModelTsl", TslStr=json.dumps(document))


async def test_text_that_is_no_json_is_refused(world: World) -> None:
    await make_product(world)
    error = await refusal(do(world, "ImportThingModelTsl", TslStr="{"))
    assert error.row is codes.BATCH_CREATE_THING_MODEL_FAILED
    assert "(TslStr: must be JSON: " in error.message("en")


async def test_an_import_without_a_document_is_refused_whatever_its_url(world: World) -> None:
    await make_product(world)
    await check_missing(world, "ImportThingModelTsl", "TslStr")
    await check_missing(world, "ImportThingModelTsl", "TslStr", TslStr="", TslUrl="https://example.com/tsl.json")


@pytest.mark.parametrize(
    ("document", "bytes_max"), [({}, TSL_BYTES_MAX), ({"functionBlockId": "lights"}, MODULE_TSL_BYTES_MAX)]
)
async def test_a_document_may_be_as_large_as_its_bound(world: World, document: dict[str, Any], bytes_max: int) -> None:
    await make_product(world)
    text = json.dumps(document | {"functionBlockName": "Lights"} if document else document)
    await do(world, "ImportThingModelTsl", TslStr=text.ljust(bytes_max))
    said = f"TslStr: must have at most {bytes_max} bytes, not {bytes_max + 1}"
    await check_refused(
        world, codes.BATCH_CREATE_THING_MODEL_FAILED, said, "ImportThingModelTsl", TslStr=text.ljust(bytes_max + 1)
    )


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"FunctionBlockId": "a b", "FunctionBlockName": "Lights"}, "functionBlockId: must be 1-30 of A-Z a-z 0-9 _"),
        ({"FunctionBlockId": "default", "FunctionBlockName": "Lights"}, "functionBlockId: must be"),
        ({"FunctionBlockId": "lights", "FunctionBlockName": "abc"}, "functionBlockName: must be 4-30 characters"),
        ({"FunctionBlockId": "lights"}, "functionBlockName: must be 4-30 characters"),
        ({"FunctionBlockName": "Lights"}, "functionBlockName: must be empty for the default module"),
    ],
)
@pytest.mark.parametrize("action_name", ["CreateThingModel", "ImportThingModelTsl"])
async def test_a_module_that_may_not_be_so_named_is_refused(
    world: World, action_name: str, parameters: dict[str, str], said: str
) -> None:
    await make_product(world)
    acting = do(world, action_name, ThingModelJson=features("Blink"), TslStr="{}", **parameters)
    await check_refusal(acting, codes.BATCH_CREATE_THING_MODEL_FAILED, said)


# ---- CreateThingModel


async def test_functions_are_added_to_those_there_are(world: World) -> None:
    await make_product(world)
    await do(world, "CreateThingModel", ThingModelJson=features("Blink", "Run"))
    await do(world, "CreateThingModel", ThingModelJson=features("Stop"))
    assert await services(world) == ["Blink", "Run", "Stop"]


async def test_functions_are_added_to_a_module_that_is_made_for_them(world: World) -> None:
    await make_product(world)
    named = {"FunctionBlockId": "lights", "FunctionBlockName": "Lights"}
    await do(world, "CreateThingModel", ThingModelJson=features("Blink"), **named)
    await do(world, "CreateThingModel", ThingModelJson=features("Run"), FunctionBlockId="lights")
    assert await services(world, FunctionBlockId="lights") == ["Blink", "Run"]
    assert await services(world) == []
    await do(
        world, "CreateThingModel", ThingModelJson=features("Stop"), FunctionBlockId="lights", FunctionBlockName="Lamps"
    )
    assert (await get_tsl(world))["functionBlocks"][0]["functionBlockName"] == "Lamps"


async def test_as_many_functions_as_may_be_are_added_at_once(world: World) -> None:
    await make_product(world)
    await do(world, "CreateThingModel", ThingModelJson=features(*names(FEATURES_PER_CALL_MAX)))
    assert len(await services(world)) == FEATURES_PER_CALL_MAX
    for text, count in ((features(*names(FEATURES_PER_CALL_MAX + 1)), FEATURES_PER_CALL_MAX + 1), ("{}", 0)):
        said = f"ThingModelJson: must add 1 to {FEATURES_PER_CALL_MAX} functions at a time, not {count}"
        await check_refused(world, codes.BATCH_CREATE_THING_MODEL_FAILED, said, "CreateThingModel", ThingModelJson=text)


async def test_a_function_that_is_there_is_not_added_again(world: World) -> None:
    await make_product(world)
    await do(world, "CreateThingModel", ThingModelJson=features("Blink"))
    await check_refused(
        world,
        codes.THING_MODEL_NAME_DUPLICATED,
        "services[1].identifier: Blink is there twice",
        "CreateThingModel",
        ThingModelJson=features("Run", "Blink"),
    )
    await check_refused(
        world,
        codes.THING_MODEL_NAME_DUPLICATED,
        "ThingModelJson.services[1].identifier: Run is there twice",
        "CreateThingModel",
        ThingModelJson=features("Run", "Run"),
    )


async def test_a_bad_function_is_refused_with_its_place_and_the_rule(world: World) -> None:
    await make_product(world)
    await check_refused(
        world,
        codes.BATCH_CREATE_THING_MODEL_FAILED,
        'ThingModelJson.services[0].callType: must be one of SYNC, ASYNC, not "sync"',
        "CreateThingModel",
        ThingModelJson=features("Run", callType="sync"),
    )


async def test_of_many_requests_at_once_none_is_lost(world: World) -> None:
    await make_product(world)
    wanted = names(12)
    await asyncio.gather(*(do(world, "CreateThingModel", ThingModelJson=features(name)) for name in wanted))
    assert sorted(await services(world)) == sorted(wanted)


# ---- UpdateThingModel


async def test_a_function_is_changed_in_its_place(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run", "Stop")
    await do(world, "UpdateThingModel", Identifier="Run", ThingModelJson=features("Walk", callType="ASYNC"))
    assert await services(world) == ["Blink", "Walk", "Stop"]
    assert [each["callType"] for each in (await get_tsl(world))["services"]] == ["sync", "async", "sync"]


async def test_without_an_identifier_the_function_names_itself(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run", FunctionBlockId="lights", FunctionBlockName="Lights")
    changed = features("Run", serviceName="Fast run")
    await do(world, "UpdateThingModel", ThingModelJson=changed, FunctionBlockId="lights")
    document = await get_tsl(world, FunctionBlockId="lights")
    assert [each["name"] for each in document["services"]] == ["Blink", "Fast run"]


async def test_a_module_is_renamed(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink", FunctionBlockId="lights", FunctionBlockName="Lights")
    await do(world, "UpdateThingModel", FunctionBlockId="lights", FunctionBlockName="Lamps")
    assert (await get_tsl(world))["functionBlocks"][0]["functionBlockName"] == "Lamps"
    assert await services(world, FunctionBlockId="lights") == ["Blink"]


async def test_an_update_of_nothing_is_refused(world: World) -> None:
    await make_product(world)
    await check_missing(world, "UpdateThingModel", "ThingModelJson")
    await check_missing(world, "UpdateThingModel", "ThingModelJson", FunctionBlockId="lights")
    await check_missing(world, "UpdateThingModel", "ThingModelJson", FunctionBlockName="Lights")
    renaming = {"FunctionBlockId": "lights", "FunctionBlockName": "Lights"}
    await check_missing(world, "UpdateThingModel", "ThingModelJson", Identifier="Blink", **renaming)


@pytest.mark.parametrize(
    ("parameters", "row", "said"),
    [
        (
            {"Identifier": "Fly", "ThingModelJson": features("Fly")},
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            "Identifier: there is no Fly among the services",
        ),
        (
            {"Identifier": "Run", "ThingModelJson": features("Blink")},
            codes.THING_MODEL_NAME_DUPLICATED,
            "services[0].identifier: Blink is there twice",
        ),
        (
            {"ThingModelJson": features("Blink", "Run")},
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            "ThingModelJson: must change 1 function at a time, not 2",
        ),
        (
            {"ThingModelJson": "{}"},
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            "ThingModelJson: must change 1 function at a time, not 0",
        ),
        (
            {"ThingModelJson": features("Run"), "FunctionBlockId": "lights"},
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            "functionBlockId: there is no module lights",
        ),
        (
            {"FunctionBlockId": "lights", "FunctionBlockName": "Lights"},
            codes.BATCH_CREATE_THING_MODEL_FAILED,
            "functionBlockId: there is no module lights",
        ),
    ],
)
async def test_an_update_that_breaks_a_rule_changes_nothing(
    world: World, parameters: dict[str, str], row: ErrorRow, said: str
) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run")
    await check_refused(world, row, said, "UpdateThingModel", **parameters)


# ---- DeleteThingModel


async def test_functions_of_each_kind_are_deleted(world: World) -> None:
    await make_product(world)
    await import_sample(world, "lamp.tsl.json")
    await do(
        world,
        "DeleteThingModel",
        PropertyIdentifier_1="Brightness",
        PropertyIdentifier_2="WorkMode",
        EventIdentifier_1="LampFault",
        ServiceIdentifier_1="SelfTest",
    )
    left = await query(world)
    assert {kind: [each["identifier"] for each in left[kind]] for kind in ("properties", "events", "services")} == {
        "properties": ["PowerSwitch", "ColorTemperature", "MainsVoltage"],
        "events": [],
        "services": ["Blink", "RunScene"],
    }


async def test_functions_of_a_module_are_deleted(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run")
    await import_services(world, "Blink", "Run", FunctionBlockId="lights", FunctionBlockName="Lights")
    await do(world, "DeleteThingModel", FunctionBlockId="lights", ServiceIdentifier_1="Blink")
    assert await services(world) == ["Blink", "Run"]
    assert await services(world, FunctionBlockId="lights") == ["Run"]


async def test_a_module_is_deleted_and_then_all_there_is(world: World) -> None:
    key = await make_product(world, MODULES_KEY)
    await import_sample(world, "multi-module.default.tsl.json", key)
    await import_sample(world, "multi-module.testFb.tsl.json", key)
    await import_services(world, "Blink", product_key=key, FunctionBlockId="lights", FunctionBlockName="Lights")
    await do(world, "PublishThingModel", key)
    await do(world, "DeleteThingModel", key, FunctionBlockId="lights")
    assert [each["functionBlockId"] for each in (await get_tsl(world, key))["functionBlocks"]] == ["testFb"]
    await do(world, "DeleteThingModel", key)
    assert await query(world, key) == {"productKey": key, "properties": [], "events": [], "services": []}
    assert await services(world, key, published=True, FunctionBlockId="lights") == ["Blink"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ServiceIdentifier_1": "Blink", "ServiceIdentifier_2": "Fly"}, "services: there is no Fly"),
        ({"PropertyIdentifier_1": "Blink"}, "properties: there is no Blink"),
        ({"EventIdentifier_1": "Blink"}, "events: there is no Blink"),
        ({"ServiceIdentifier_1": "Blink", "FunctionBlockId": "x"}, "functionBlockId: there is no module x"),
        ({"FunctionBlockId": "x"}, "functionBlockId: there is no module x"),
    ],
)
async def test_what_is_not_there_is_not_deleted_and_nothing_else_either(
    world: World, parameters: dict[str, str], said: str
) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run")
    await check_refused(world, codes.BATCH_CREATE_THING_MODEL_FAILED, said, "DeleteThingModel", **parameters)


@pytest.mark.parametrize("parameter", ["PropertyIdentifier", "EventIdentifier", "ServiceIdentifier"])
async def test_more_identifiers_than_may_be_are_refused(world: World, parameter: str) -> None:
    await make_product(world)
    wanted = {f"{parameter}_{number}": f"Missing{number}" for number in range(1, IDENTIFIERS_MAX + 1)}
    refused = await refusal(do(world, "DeleteThingModel", **wanted))
    assert refused.row is codes.BATCH_CREATE_THING_MODEL_FAILED
    said = f"{parameter}={IDENTIFIERS_MAX + 1}; <= {IDENTIFIERS_MAX}"
    one_more = {**wanted, f"{parameter}_99": "Missing"}
    await check_refusal(do(world, "DeleteThingModel", **one_more), codes.INVALID_FORMATTED_PARAMETER, said)


async def test_as_many_functions_as_may_be_are_deleted_at_once(world: World) -> None:
    await make_product(world)
    await import_services(world, *names(IDENTIFIERS_MAX), "Left")
    wanted = {f"ServiceIdentifier_{number}": name for number, name in enumerate(names(IDENTIFIERS_MAX), 1)}
    await do(world, "DeleteThingModel", **wanted)
    assert await services(world) == ["Left"]


# ---- PublishThingModel, ListThingModelVersion


async def test_the_draft_is_effective_only_once_it_is_published(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink")
    await do(world, "PublishThingModel", ModelVersion="1.0")
    await do(world, "CreateThingModel", ThingModelJson=features("Run"))
    assert await services(world, published=True) == ["Blink"]
    assert await services(world) == ["Blink", "Run"]
    effective = await world.models.find_published(LAMP_KEY)
    assert effective is not None
    assert [each.identifier for each in effective.modules[0].services] == ["Blink"]
    await do(world, "PublishThingModel", ModelVersion="1.1")
    assert await services(world, published=True) == ["Blink", "Run"]
    assert await services(world, published=True, ModelVersion="1.0") == ["Blink"]
    effective = await world.models.find_published(LAMP_KEY)
    assert effective is not None
    assert [each.identifier for each in effective.modules[0].services] == ["Blink", "Run"]


async def test_versions_are_listed_newest_first_and_the_newest_are_kept(world: World) -> None:
    await make_product(world)
    assert (await do(world, "ListThingModelVersion"))["Data"] == {"ModelVersions": []}
    for number in range(VERSIONS_KEPT_MAX + 1):
        await do(world, "PublishThingModel", ModelVersion=f"v{number}", Description="" if number else "first")
        world.clock.advance(1.0)
    listed = (await do(world, "ListThingModelVersion"))["Data"]["ModelVersions"]
    assert [each["ModelVersion"] for each in listed] == [f"v{number}" for number in range(VERSIONS_KEPT_MAX, 0, -1)]
    assert listed[0] == {"ModelVersion": f"v{VERSIONS_KEPT_MAX}", "GmtCreate": world.now_ms - 1_000}


async def test_a_version_is_listed_with_its_description(world: World) -> None:
    await make_product(world)
    await do(world, "PublishThingModel", ModelVersion="1.0", Description="x" * DESCRIPTION_CHARS_MAX)
    (listed,) = (await do(world, "ListThingModelVersion"))["Data"]["ModelVersions"]
    assert listed == {"ModelVersion": "1.0", "GmtCreate": world.now_ms, "Description": "x" * DESCRIPTION_CHARS_MAX}


async def test_versions_without_a_name_get_the_milliseconds(world: World) -> None:
    await make_product(world)
    for _ in range(2):
        await do(world, "PublishThingModel")
    listed = (await do(world, "ListThingModelVersion"))["Data"]["ModelVersions"]
    assert [each["ModelVersion"] for each in listed] == [str(world.now_ms + 1), str(world.now_ms)]


async def test_a_version_or_description_that_breaks_its_rule_is_refused(world: World) -> None:
    await make_product(world)
    await do(world, "PublishThingModel", ModelVersion="V" * VERSION_CHARS_MAX)
    for bad in ("V" * (VERSION_CHARS_MAX + 1), "1-0", "灯"):
        said = f"ModelVersion={bad}; 1-16 of A-Z a-z 0-9 ."
        await check_refusal(do(world, "PublishThingModel", ModelVersion=bad), codes.INVALID_FORMATTED_PARAMETER, said)
    said = f"Description={DESCRIPTION_CHARS_MAX + 1}; <= {DESCRIPTION_CHARS_MAX}"
    long = do(world, "PublishThingModel", Description="x" * (DESCRIPTION_CHARS_MAX + 1))
    await check_refusal(long, codes.INVALID_FORMATTED_PARAMETER, said)


async def test_a_version_is_published_once(world: World) -> None:
    await make_product(world)
    await do(world, "PublishThingModel", ModelVersion="1.0")
    again = do(world, "PublishThingModel", ModelVersion="1.0")
    await check_refusal(again, codes.BATCH_CREATE_THING_MODEL_FAILED, "ModelVersion=1.0; unique")


@pytest.mark.parametrize("action_name", ["GetThingModelTslPublished", "QueryThingModelPublished"])
async def test_before_anything_is_published_that_is_said(world: World, action_name: str) -> None:
    await make_product(world)
    await import_services(world, "Blink")
    acting = do(world, action_name)
    await check_refusal(acting, codes.QUERY_PRODUCT_ABILITIES_FAILED, "ModelVersion=; nothing is published")


@pytest.mark.parametrize(
    "action_name", ["GetThingModelTsl", "GetThingModelTslPublished", "QueryThingModel", "QueryThingModelPublished"]
)
async def test_a_version_or_module_that_is_not_there_is_told_with_those_there_are(
    world: World, action_name: str
) -> None:
    await make_product(world)
    await do(world, "PublishThingModel", ModelVersion="1.0")
    alone = do(world, action_name, FunctionBlockId="x")
    said = "FunctionBlockId=x; there is the default module only"
    await check_refusal(alone, codes.QUERY_PRODUCT_ABILITIES_FAILED, said)
    await import_services(world, "Blink", FunctionBlockId="lights", FunctionBlockName="Lights")
    await do(world, "PublishThingModel", ModelVersion="1.1")
    absent = do(world, action_name, ModelVersion="2.0")
    await check_refusal(absent, codes.QUERY_PRODUCT_ABILITIES_FAILED, "ModelVersion=2.0; 1.1 | 1.0")
    module = do(world, action_name, FunctionBlockId="x")
    await check_refusal(module, codes.QUERY_PRODUCT_ABILITIES_FAILED, "FunctionBlockId=x; lights")


async def test_a_new_product_publishes_its_empty_model_unless_told_otherwise(world: World) -> None:
    await make_product(world, publish_auto=True)
    assert await services(world, published=True) == []
    (listed,) = (await do(world, "ListThingModelVersion"))["Data"]["ModelVersions"]
    assert listed == {"ModelVersion": str(world.now_ms), "GmtCreate": world.now_ms}
    other = await make_product(world, "a1Other0001", publish_auto=False)
    assert (await do(world, "ListThingModelVersion", other))["Data"] == {"ModelVersions": []}


async def test_a_product_with_a_thing_model_is_deleted_with_it(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink")
    await do(world, "PublishThingModel")
    await call(world, "DeleteProduct", {"ProductKey": LAMP_KEY})
    await make_product(world)
    assert await services(world) == []
    assert (await do(world, "ListThingModelVersion"))["Data"] == {"ModelVersions": []}


# ---- CopyThingModel


async def test_a_version_is_copied_into_the_draft_of_another_product(world: World) -> None:
    source, target = await make_product(world, MODULES_KEY), await make_product(world, "a1Target000")
    await import_sample(world, "multi-module.default.tsl.json", source)
    await import_sample(world, "multi-module.testFb.tsl.json", source)
    await do(world, "PublishThingModel", source, ModelVersion="1.0")
    await do(world, "DeleteThingModel", source)
    await import_services(world, "Gone", product_key=target)
    await copy(world, source, "1.0", target)
    for name, module in (("multi-module.default.tsl.json", ""), ("multi-module.testFb.tsl.json", "testFb")):
        copied = await get_tsl(world, target, FunctionBlockId=module)
        assert json.loads(json.dumps(copied).replace(target, source)) == load(name)
    assert (await do(world, "ListThingModelVersion", target))["Data"] == {"ModelVersions": []}


async def copy(world: World, source: str, version: str, target: str) -> None:
    parameters = {"SourceProductKey": source, "SourceModelVersion": version, "TargetProductKey": target}
    await call(world, "CopyThingModel", parameters)


async def test_an_old_version_is_brought_back_by_copying_it_to_its_own_product(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink")
    await do(world, "PublishThingModel", ModelVersion="1.0")
    await do(world, "DeleteThingModel")
    await copy(world, LAMP_KEY, "1.0", LAMP_KEY)
    assert await services(world) == ["Blink"]


async def test_a_copy_that_breaks_a_rule_changes_nothing(world: World) -> None:
    source, target = await make_product(world), await make_product(world, "a1Target000")
    other = await make_product(world, "a1Category0", category_key="Lighting")
    await do(world, "PublishThingModel", source, ModelVersion="1.0")
    await import_services(world, "Left", product_key=target)
    absent = copy(world, source, "2.0", target)
    await check_refusal(absent, codes.QUERY_PRODUCT_ABILITIES_FAILED, "SourceModelVersion=2.0; 1.0")
    mixed = copy(world, source, "1.0", other)
    said = f'TargetProductKey={other}; CategoryKey == ""'
    await check_refusal(mixed, codes.BATCH_CREATE_THING_MODEL_FAILED, said)
    assert await services(world, target) == ["Left"]


# ---- on the wire


async def test_the_vendors_sdk_reads_what_it_wrote(world: World) -> None:
    await make_product(world)
    text = (GOLDEN / "lamp.tsl.json").read_text("utf-8")

    async def ask(action_name: str, **fields: Any) -> Any:
        """The answer's body as the SDK makes it of the JSON, to a request as the SDK writes it."""
        request = getattr(sdk, f"{action_name}Request")(**fields)
        answer = await call(world, action_name, {name: str(value) for name, value in request.to_map().items()})
        answer.request_id = "41C4265E-F05D-4E2E-AB09-E031F501AF7F"
        body = getattr(sdk, f"{action_name}ResponseBody")().from_map(json.loads(render_json(answer)))
        assert (body.success, body.code, body.error_message, body.request_id) == (True, None, None, answer.request_id)
        return body

    await ask("ImportThingModelTsl", product_key=LAMP_KEY, tsl_str=text)
    added = {"function_block_id": "lights", "function_block_name": "Lights"}
    await ask("CreateThingModel", product_key=LAMP_KEY, thing_model_json=features("Blink"), **added)
    changed = {"function_block_id": "lights", "identifier": "Blink", "thing_model_json": features("Run")}
    await ask("UpdateThingModel", product_key=LAMP_KEY, **changed)
    await ask("PublishThingModel", product_key=LAMP_KEY, model_version="1.0", description="first")
    versions = (await ask("ListThingModelVersion", product_key=LAMP_KEY)).data.model_versions
    assert [(each.model_version, each.description, each.gmt_create) for each in versions] == [
        ("1.0", "first", world.now_ms)
    ]
    expected = {
        **load("lamp.tsl.json"),
        "functionBlocks": [{"functionBlockId": "lights", "functionBlockName": "Lights", "productKey": LAMP_KEY}],
    }
    for action_name in ("GetThingModelTsl", "GetThingModelTslPublished"):
        body = await ask(action_name, product_key=LAMP_KEY, simple=False)
        assert (json.loads(body.data.tsl_str), body.data.tsl_uri) == (expected, None)
    for action_name in ("QueryThingModel", "QueryThingModelPublished"):
        body = await ask(action_name, product_key=LAMP_KEY, function_block_id="lights")
        shown = json.loads(body.data.thing_model_json)
        assert (body.product_key, shown["identifier"], shown["services"][0]["identifier"]) == (
            LAMP_KEY,
            "lights",
            "Run",
        )
    target = await make_product(world, "a1Target000")
    keys = {"source_product_key": LAMP_KEY, "source_model_version": "1.0", "target_product_key": target}
    await ask("CopyThingModel", **keys)
    await ask("DeleteThingModel", product_key=LAMP_KEY)


async def test_the_vendors_sdk_deletes_by_lists(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink", "Run", "Stop")
    request = sdk.DeleteThingModelRequest(product_key=LAMP_KEY, service_identifier=["Run", "Blink"])
    sent = request.to_map()
    named = {f"ServiceIdentifier.{number}": name for number, name in enumerate(sent.pop("ServiceIdentifier"), 1)}
    await call(world, "DeleteThingModel", {**sent, **named})
    assert await services(world) == ["Stop"]


async def test_texts_stand_in_xml_as_they_do_in_json(world: World) -> None:
    await make_product(world)
    await import_services(world, "Blink")
    for version, description in (("1.0", "erste <Fassung> & 灯"), ("1.1", "")):
        await do(world, "PublishThingModel", ModelVersion=version, Description=description)
    request = {"ProductKey": LAMP_KEY}
    for action_name, path in (("GetThingModelTsl", "Data/TslStr"), ("QueryThingModel", "Data/ThingModelJson")):
        answer = await call(world, action_name, request)
        root = ElementTree.fromstring(render_xml(action_name, answer))
        data = json.loads(render_json(answer))["Data"]
        assert root.findtext(path) == data[path.partition("/")[2]]
    versions = await call(world, "ListThingModelVersion", request)
    root = ElementTree.fromstring(render_xml("ListThingModelVersion", versions))
    assert [
        (each.findtext("ModelVersion"), each.findtext("Description")) for each in root.findall("Data/ModelVersions")
    ] == [
        ("1.1", None),
        ("1.0", "erste <Fassung> & 灯"),
    ]


# --- a released product


async def test_the_model_of_a_released_product_stays_until_that_is_taken_back(world: World) -> None:
    await make_product(world)
    await make_product(world, MODULES_KEY)
    await import_sample(world, "lamp.tsl.json")
    await do(world, "PublishThingModel", ModelVersion="1.0")
    before = await get_tsl(world)
    thing_model = await query(world)
    feature = json.dumps({"properties": thing_model["properties"][:1]})
    tsl = (GOLDEN / "lamp.tsl.json").read_text("utf-8")
    await do(world, "ReleaseProduct")
    changes: dict[str, dict[str, str]] = {
        "CreateThingModel": {"ThingModelJson": feature, "FunctionBlockId": "more", "FunctionBlockName": "More"},
        "UpdateThingModel": {"ThingModelJson": feature},
        "DeleteThingModel": {},
        "ImportThingModelTsl": {"TslStr": tsl},
        "PublishThingModel": {},
    }
    for name, parameters in changes.items():
        work = call(world, name, {"ProductKey": LAMP_KEY, **parameters})
        await check_refusal(work, codes.BATCH_CREATE_THING_MODEL_FAILED, "CancelReleaseProduct")
    copying = {"SourceProductKey": LAMP_KEY, "SourceModelVersion": "1.0", "TargetProductKey": LAMP_KEY}
    error = await refusal(call(world, "CopyThingModel", copying))
    assert "CancelReleaseProduct" in error.message("en")
    assert await get_tsl(world) == before
    assert len((await do(world, "ListThingModelVersion"))["Data"]["ModelVersions"]) == 1
    assert (await call(world, "CopyThingModel", {**copying, "TargetProductKey": MODULES_KEY})).success
    await do(world, "CancelReleaseProduct")
    await do(world, "DeleteThingModel")
    assert await get_tsl(world) != before
