"""How features are found by their names on the wire."""

import pytest

from linkstead.tsl import (
    find_event,
    find_module,
    find_property,
    find_service,
    join_identifier,
    split_identifier,
)
from tests.tsl.documents import read_sample

MODEL = read_sample("multi-module")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Reboot", ("", "Reboot")),
        ("default:Reboot", ("", "Reboot")),
        ("testFb:testService", ("testFb", "testService")),
        ("Default:Reboot", ("Default", "Reboot")),
        ("", ("", "")),
        (":Reboot", None),
        ("testFb:", None),
        (":", None),
        ("testFb:a:b", None),
        ("default::Reboot", None),
    ],
)
def test_identifier_is_split_at_its_colon(text: str, parts: tuple[str, str] | None) -> None:
    assert split_identifier(text) == parts


def test_identifier_is_joined_with_its_module() -> None:
    assert join_identifier("", "Reboot") == "Reboot"
    assert join_identifier("testFb", "testService") == "testFb:testService"


@pytest.mark.parametrize("identifier", ["Reboot", "default:Reboot"])
def test_service_of_the_default_module_is_found(identifier: str) -> None:
    service = find_service(MODEL, identifier)
    assert service is not None
    assert service.identifier == "Reboot"


def test_service_of_a_custom_module_is_found() -> None:
    service = find_service(MODEL, "testFb:testService")
    assert service is not None
    assert service.call_type == "sync"


@pytest.mark.parametrize(
    "identifier",
    ["testService", "testFb:Reboot", "testfb:testService", "reboot", "testFb:testService:x", ":Reboot", "", "nope:a"],
)
def test_service_is_not_found_under_another_name(identifier: str) -> None:
    assert find_service(MODEL, identifier) is None


@pytest.mark.parametrize("identifier", ["set", "get", "default:set", "testFb:get"])
def test_generated_services_are_never_found(identifier: str) -> None:
    assert find_service(MODEL, identifier) is None


def test_property_and_event_are_found_by_their_names() -> None:
    level, alarm = find_property(MODEL, "testFb:Level"), find_event(MODEL, "testFb:LevelAlarm")
    assert level is not None
    assert level.is_writable
    assert alarm is not None
    assert alarm.type == "alert"
    assert find_property(MODEL, "Level") is None
    assert find_event(MODEL, "post") is None
    assert find_event(MODEL, "a:b:c") is None


def test_module_is_found_by_its_id() -> None:
    assert find_module(MODEL, "") is MODEL.modules[0]
    assert find_module(MODEL, "testFb") is MODEL.modules[1]
    assert find_module(MODEL, "default") is None
