"""Changing a draft."""

from collections.abc import Callable

import pytest

from linkstead.tsl import (
    Date,
    DuplicateError,
    Event,
    ModelError,
    Module,
    Numeric,
    Property,
    Service,
    ThingModel,
    add_features,
    change_feature,
    delete_features,
    delete_module,
    find_module,
    find_service,
    put_module,
    rename_module,
)
from linkstead.tsl.limits import FEATURES_MAX, FEATURES_PER_CALL_MAX, MODULES_MAX
from tests.tsl.documents import read_sample

LAMP = read_sample("lamp")
TWO_MODULES = read_sample("multi-module")


def properties(count: int, prefix: str = "p") -> Module:
    """Features to add."""
    return Module(properties=tuple(Property(f"{prefix}{position}", "P", Date()) for position in range(count)))


def only(service: Service) -> Module:
    """One feature."""
    return Module(services=(service,))


def test_features_are_added_behind_the_others() -> None:
    new = Module(events=(Event("Warm", "Warm"),), services=(Service("Ping", "Ping", "sync"),))
    module = add_features(LAMP, new).modules[0]
    assert [event.identifier for event in module.events] == ["LampFault", "Warm"]
    assert [service.identifier for service in module.services] == ["Blink", "SelfTest", "RunScene", "Ping"]
    assert module.properties == LAMP.modules[0].properties


def test_draft_itself_is_not_changed() -> None:
    before = read_sample("lamp")
    add_features(LAMP, only(Service("Ping", "Ping", "sync")))
    assert before == LAMP


def test_features_added_in_one_call_are_bounded() -> None:
    assert len(add_features(ThingModel("a1"), properties(FEATURES_PER_CALL_MAX)).modules[0].properties) == 10
    for count in (0, FEATURES_PER_CALL_MAX + 1):
        with pytest.raises(ModelError, match=f"must add 1 to 10 functions at a time, not {count}"):
            add_features(ThingModel("a1"), properties(count))


def test_features_of_a_module_are_bounded() -> None:
    full = ThingModel("a1", (properties(FEATURES_MAX - 1),))
    full = add_features(full, properties(1, "last"))
    assert len(full.modules[0].features) == FEATURES_MAX
    with pytest.raises(ModelError, match="at most 300 functions, not 301"):
        add_features(full, only(Service("one_more", "One more", "sync")))
    assert len(add_features(full, properties(1), "other", "Other").modules) == 2


def test_identifier_that_is_taken_is_refused() -> None:
    with pytest.raises(DuplicateError, match=r"services\[0\]\.identifier: Blink is there twice"):
        add_features(LAMP, only(Service("Blink", "Blink", "async")))
    with pytest.raises(DuplicateError, match=r"properties\[1\]\.identifier: p is there twice"):
        add_features(LAMP, Module(properties=(Property("p", "P", Date()),) * 2))


def test_identifier_may_be_taken_by_another_kind_or_in_another_module() -> None:
    event = Event("Blink", "Blink")
    assert event in add_features(LAMP, Module(events=(event,))).modules[0].events
    service = Service("Reboot", "Reboot", "sync")
    assert service in add_features(TWO_MODULES, only(service), "testFb").modules[1].services


def test_module_is_made_when_it_is_not_there() -> None:
    model = add_features(LAMP, only(Service("Ping", "Ping", "sync")), "radio", "Radio")
    assert model.modules[1].name == "Radio"
    assert find_service(model, "radio:Ping")
    assert find_service(model, "Ping") is None


def test_new_module_needs_a_name_and_a_good_id() -> None:
    for module_id, name, path in [
        ("radio", "", "functionBlockName"),
        ("radio", "abc", "functionBlockName"),
        ("default", "Radio", "functionBlockId"),
        ("a-b", "Radio", "functionBlockId"),
        ("", "Radio", "functionBlockName"),
    ]:
        with pytest.raises(ModelError) as caught:
            add_features(LAMP, only(Service("Ping", "Ping", "sync")), module_id, name)
        assert caught.value.path == path


def test_modules_are_bounded() -> None:
    model = LAMP
    for position in range(MODULES_MAX - 1):
        model = put_module(model, Module(f"m{position}", "Some name"))
    assert len(model.modules) == MODULES_MAX
    assert put_module(model, Module("m3", "Other name")).modules[4].name == "Other name"
    with pytest.raises(ModelError, match="at most 20 modules, not 21"):
        put_module(model, Module("one_more", "Some name"))


def test_feature_is_changed_where_it_stands() -> None:
    changed = change_feature(LAMP, "SelfTest", only(Service("SelfTest", "New", "async", desc="other")))
    services = changed.modules[0].services
    assert [service.identifier for service in services] == ["Blink", "SelfTest", "RunScene"]
    assert services[1] == Service("SelfTest", "New", "async", desc="other")


def test_changed_feature_keeps_its_description_when_it_brings_none() -> None:
    changed = change_feature(LAMP, "SelfTest", only(Service("SelfTest", "New", "async")))
    assert changed.modules[0].services[1].desc == "no inputs"


def test_changed_feature_may_have_another_identifier() -> None:
    changed = change_feature(LAMP, "SelfTest", only(Service("Check", "Check", "sync")))
    assert find_service(changed, "Check")
    assert find_service(changed, "SelfTest") is None
    with pytest.raises(DuplicateError, match="Blink is there twice"):
        change_feature(LAMP, "SelfTest", only(Service("Blink", "Blink", "sync")))


@pytest.mark.parametrize(
    ("identifier", "features", "rule"),
    [
        ("Nope", Module(services=(Service("Nope", "Nope", "sync"),)), "there is no Nope among the services"),
        ("Blink", Module(events=(Event("Blink", "Blink"),)), "there is no Blink among the events"),
        ("Blink", Module(), "must change 1 function at a time, not 0"),
        ("Blink", properties(2), "must change 1 function at a time, not 2"),
    ],
)
def test_change_of_what_is_not_there_is_refused(identifier: str, features: Module, rule: str) -> None:
    with pytest.raises(ModelError, match=rule):
        change_feature(LAMP, identifier, features)


def test_change_in_a_module_may_rename_it() -> None:
    features = Module(properties=(Property("Level", "Level", Numeric("int")),))
    changed = change_feature(TWO_MODULES, "Level", features, "testFb", "New name")
    assert changed.modules[1].name == "New name"
    assert changed.modules[1].properties[0].data_type == Numeric("int")
    assert rename_module(TWO_MODULES, "testFb", "New name").modules[1].properties == TWO_MODULES.modules[1].properties
    with pytest.raises(ModelError, match="functionBlockName: must be 4-30 characters"):
        rename_module(TWO_MODULES, "testFb", "abc")


def test_features_are_deleted_by_their_identifiers() -> None:
    changed = delete_features(LAMP, ["Brightness", "WorkMode"], ["LampFault"], ["Blink"]).modules[0]
    assert [found.identifier for found in changed.properties] == ["PowerSwitch", "ColorTemperature", "MainsVoltage"]
    assert changed.events == ()
    assert [found.identifier for found in changed.services] == ["SelfTest", "RunScene"]


def test_features_of_a_module_are_deleted_there() -> None:
    changed = delete_features(TWO_MODULES, services=["testService"], module_id="testFb")
    assert [found.identifier for found in changed.modules[1].services] == ["asyncService"]
    assert changed.modules[0] == TWO_MODULES.modules[0]


def test_delete_undoes_add() -> None:
    added = add_features(LAMP, Module(services=(Service("Ping", "Ping", "sync"),)))
    assert delete_features(added, services=["Ping"]) == LAMP
    assert delete_module(put_module(LAMP, Module("radio", "Radio")), "radio") == LAMP


def test_deleting_what_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="services: there is no LampFault"):
        delete_features(LAMP, services=["Blink", "LampFault"])


def test_whole_draft_is_deleted_with_its_modules() -> None:
    assert delete_module(TWO_MODULES, "") == ThingModel("a1ModFbDemo")


def test_unknown_module_is_refused() -> None:
    edits: list[Callable[[], ThingModel]] = [
        lambda: delete_module(LAMP, "nope"),
        lambda: delete_features(LAMP, module_id="nope"),
        lambda: rename_module(LAMP, "nope", "Some name"),
        lambda: change_feature(LAMP, "Blink", only(Service("Blink", "Blink", "sync")), "nope"),
    ]
    for edit in edits:
        with pytest.raises(ModelError, match="functionBlockId: there is no module nope"):
            edit()


def test_import_replaces_one_module() -> None:
    imported = Module("testFb", properties=(Property("New", "New", Date()),))
    model = put_module(TWO_MODULES, imported)
    module = find_module(model, "testFb")
    assert module is not None
    assert module.properties == imported.properties
    assert (module.name, module.services) == ("Test function block", ())
    assert model.modules[0] == TWO_MODULES.modules[0]
    assert put_module(TWO_MODULES, LAMP.modules[0]).modules == (LAMP.modules[0], TWO_MODULES.modules[1])
