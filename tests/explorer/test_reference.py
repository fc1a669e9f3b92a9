from collections.abc import Iterable
from pathlib import Path

import pytest

from linkstead.actions import ACTIONS, product, product_tag, topology
from linkstead.actions.device import listings, registration, status
from linkstead.actions.device_data import desired, histories, originals, properties
from linkstead.actions.messaging import broadcasting, payload, rrpc
from linkstead.actions.subscription import groups, relations
from linkstead.api.parameters import bind
from linkstead.errors import ErrorRow, codes
from linkstead.explorer import reference
from linkstead.explorer.arguments import flatten_arguments, make_example
from linkstead.explorer.operations import read_table
from linkstead.explorer.reference import (
    GATEWAY_CODES,
    LANGUAGES,
    Parameter,
    describe_action,
    describe_actions,
)
from linkstead.models.scripts import SCRIPT_BYTES_MAX
from linkstead.registry import applications, names
from linkstead.registry.paging import CURRENT_PAGE_MAX
from linkstead.telemetry.shadow import SHADOW_BYTES_MAX
from linkstead.tsl.limits import TSL_BYTES_MAX, VERSION_CHARS_MAX
from linkstead.uplink.gateways import ENTRIES_MAX
from tests.explorer.raised_codes import TABLE, make_table

ENDS = {"en": (".",), "zh": ("。",), "ja": ("。", "…")}
DOCS = Path(__file__).parents[2]


def every_parameter() -> Iterable[tuple[str, Parameter, str]]:
    """Action, parameter and the parameter's name in the table."""
    for action in describe_actions().values():
        for parameter in action.parameters:
            name = f"{parameter.name}.N" if parameter.is_repeated else parameter.name
            yield action.name, parameter, name
            for field in parameter.fields:
                yield action.name, field, f"{parameter.name}.{field.name}"


def test_every_action_served_is_described_and_no_other() -> None:
    assert [row["action"] for row in read_table("actions.csv")] == list(ACTIONS)
    assert list(describe_actions()) == list(ACTIONS)


def test_an_action_that_is_not_served_has_no_description() -> None:
    with pytest.raises(KeyError):
        describe_action("ListOTAFirmware")


def test_every_parameter_is_described_and_no_other() -> None:
    rows = read_table("parameters.csv")
    keys = [(row["parameter"], action) for row in rows for action in row["actions"].split(";")]
    assert len(keys) == len(set(keys))
    used = {(name, action if (name, action) in keys else "") for action, _, name in every_parameter()}
    assert set(keys) == used


@pytest.mark.parametrize("table", ["actions.csv", "parameters.csv"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there_in_every_language(table: str, language: str) -> None:
    for row in read_table(table):
        text = row[language]
        assert text == text.strip()
        assert text.endswith(ENDS[language])
        assert text.isascii() == (language == "en") or "…" in text or "²" in text


def test_the_codes_of_every_action_are_those_of_its_code() -> None:
    rows = [(row["action"], row["code"]) for row in read_table("codes.csv")]
    assert rows == make_table(), f"run `python -m tests.explorer.raised_codes`, which writes {TABLE.name}"


def test_some_codes_that_are_known_to_be_sent() -> None:
    assert {"iot.messagebroker.InvalidTimeoutValue", "iot.device.NotExistedDevice"} <= {
        row.code for row in describe_action("RRpc").codes
    }
    assert [row.code for row in describe_action("CreateConsumerGroup").codes] == [
        "iot.consumer.group.ConsumerGroupExceedLimit",
        "iot.consumer.group.ConsumerGroupNameExisted",
        "iot.consumer.group.CreateConsumerGroupFailed",
        "iot.consumer.group.InvalidConsumerGroupName",
    ]


def test_what_no_action_sends_the_gateway_does() -> None:
    raised = {row.code for row in vars(codes).values() if isinstance(row, ErrorRow)}
    sent = {row.code for action in describe_actions().values() for row in action.codes}
    assert raised - sent <= {row.code for row in GATEWAY_CODES}


def test_shapes_give_kinds_and_what_is_required() -> None:
    rrpc_reference = describe_action("RRpc")
    timeout = next(parameter for parameter in rrpc_reference.parameters if parameter.name == "Timeout")
    assert (timeout.kind, timeout.is_required, timeout.is_repeated, timeout.default) == ("integer", True, False, None)
    assert [parameter.is_required for parameter in rrpc_reference.parameters] == [True] * 4 + [False] * 3
    assert rrpc_reference.aliases == {"TimeOut": "Timeout"}
    assert rrpc_reference.is_call
    assert rrpc_reference.quota == 1000
    tags = describe_action("CreateProductTags").parameters[1]
    assert (tags.name, tags.kind, tags.is_repeated) == ("ProductTag", "object", True)
    assert [field.name for field in tags.fields] == ["TagKey", "TagValue"]
    page_size = next(each for each in describe_action("QueryDevice").parameters if each.name == "PageSize")
    assert page_size.default == 10


def test_answers_are_described_to_their_leaves() -> None:
    fields = {field.name: field for field in describe_action("QueryProductList").answer}
    assert [name for name, field in fields.items() if not field.is_optional] == ["RequestId", "Success"]
    (product_list,) = (field for field in fields["Data"].fields if field.name == "List")
    (product_info,) = product_list.fields
    assert (product_info.name, product_info.is_repeated) == ("ProductInfo", True)
    assert {"ProductKey", "GmtCreate"} <= {field.name for field in product_info.fields}


def test_every_page_of_the_documents_is_there() -> None:
    pages = {action.docs for action in describe_actions().values()}
    assert [page for page in pages if not (DOCS / page).is_file()] == []
    assert set(reference.DOCS) == {action.chapter for action in describe_actions().values()}


@pytest.mark.parametrize("whole", [False, True], ids=["required", "whole"])
@pytest.mark.parametrize("name", ACTIONS)
def test_an_example_binds_to_the_shape(name: str, whole: bool) -> None:
    arguments = make_example(describe_action(name), whole=whole)
    action = ACTIONS[name]
    bound = bind(action.request, flatten_arguments(arguments), {})
    assert isinstance(bound, action.request)
    assert {parameter.name for parameter in describe_action(name).parameters if parameter.is_required} <= set(arguments)


def test_an_example_is_one_of_the_choices() -> None:
    for _, parameter, _ in every_parameter():
        if " | " in parameter.range and parameter.example:
            assert parameter.example in parameter.range.split(" | ")


def span(first: int, last: int) -> str:
    return f"{first}..{last}"


RANGES = {
    ("RRpc", "Timeout"): span(rrpc.TIMEOUT_MS_MIN, rrpc.TIMEOUT_MS_MAX),
    ("RRpc", "RequestBase64Byte"): f"Base64 of {span(0, payload.PAYLOAD_BYTES_MAX)} bytes",
    ("Pub", "MessageContent"): f"Base64 of {span(1, payload.PAYLOAD_BYTES_MAX)} bytes",
    ("PubBroadcast", "MessageContent"): f"Base64 of {span(1, broadcasting.BROADCAST_BYTES_MAX)} bytes",
    ("QueryProductList", "PageSize"): span(1, product.PAGE_SIZE_MAX),
    ("QueryProductList", "CurrentPage"): span(1, CURRENT_PAGE_MAX),
    ("ListProductByTags", "PageSize"): span(1, product_tag.PAGE_SIZE_MAX),
    ("CreateProductTags", "ProductTag.N"): span(1, product_tag.TAGS_OF_A_REQUEST_MAX),
    ("QueryDeviceByStatus", "PageSize"): span(1, listings.PAGE_SIZE_MAX),
    ("QueryDeviceByStatus", "Status"): " | ".join(map(str, listings.STATUS_NUMBERS)),
    ("QueryDeviceByTags", "Tag.N"): span(1, listings.TAGS_MAX),
    ("BatchUpdateDeviceNickname", "DeviceNicknameInfo.N"): span(1, registration.RENAMED_MAX),
    ("BatchUpdateDeviceNickname", "DeviceNicknameInfo.Nickname"): names.RENAMED_NICKNAME_RULE.replace("-", "..", 1),
    ("BatchGetDeviceState", "IotId.N"): span(1, status.STATES_MAX),
    ("BatchRegisterDevice", "Count"): span(1, applications.APPLICATION_DEVICES_MAX),
    ("BatchCheckDeviceNames", "DeviceNameList.N"): span(1, applications.APPLICATION_DEVICES_MAX),
    ("QueryDevicePropertyData", "PageSize"): span(1, properties.PROPERTIES_PAGE_SIZE_MAX),
    ("QueryDevicePropertiesData", "PageSize"): span(1, properties.PROPERTIES_PAGE_SIZE_MAX),
    ("QueryDevicePropertiesData", "Identifier.N"): span(1, properties.IDENTIFIERS_MAX),
    ("QueryDeviceOriginalPropertyData", "PageSize"): span(1, originals.PROPERTY_PAGE_SIZE_MAX),
    ("QueryDeviceOriginalEventData", "NextPageToken"): f"{span(0, originals.TOKEN_CHARS_MAX)} characters",
    ("QueryDeviceEventData", "PageSize"): span(1, histories.PAGE_SIZE_MAX),
    ("QueryDeviceEventData", "StartTime"): span(0, histories.TIME_MS_MAX),
    ("ClearDeviceDesiredProperty", "Identifies.N"): span(1, desired.PROPERTIES_MAX),
    ("BatchAddThingTopo", "TopoAddItem.N"): span(1, ENTRIES_MAX),
    ("GetThingTopo", "PageSize"): span(1, topology.PAGE_SIZE_MAX),
    ("QueryConsumerGroupList", "PageSize"): span(1, groups.PAGE_SIZE_MAX),
    ("CreateSubscribeRelation", "ConsumerGroupIds.N"): span(1, relations.GROUPS_PER_PRODUCT_MAX),
    ("CreateThingScript", "ScriptContent"): f"{span(1, SCRIPT_BYTES_MAX)} bytes",
    ("UpdateDeviceShadow", "ShadowMessage"): f"JSON object, {span(1, SHADOW_BYTES_MAX)} bytes",
    ("ImportThingModelTsl", "TslStr"): f"JSON object, {span(1, TSL_BYTES_MAX)} bytes",
    ("PublishThingModel", "ModelVersion"): f"{span(1, VERSION_CHARS_MAX)} of A-Z a-z 0-9 .",
    ("RegisterDevice", "DeviceName"): names.DEVICE_NAME_RULE.replace("-", "..", 1),
    ("RegisterDevice", "Nickname"): names.NICKNAME_RULE.replace("-", "..", 1),
    ("QueryProduct", "ProductKey"): names.PRODUCT_KEY_RULE.replace("-", "..", 1),
    ("CreateConsumerGroup", "GroupName"): names.CONSUMER_GROUP_NAME_RULE.replace("-", "..", 1),
}
"""What the table says of a range, beside what the code checks."""


def test_ranges_are_those_that_are_checked() -> None:
    told = {(action, name): parameter.range for action, parameter, name in every_parameter()}
    assert {key: told[key] for key in RANGES} == RANGES
