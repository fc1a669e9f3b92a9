"""What devices report and are desired to be, on every engine."""

import pytest

from linkstead.registry import DeviceKey
from linkstead.store.sql import SqlStore
from linkstead.store.tables import INTEGER_MAX
from linkstead.store.telemetry import REPORTS_LISTED_MAX, measure_report
from linkstead.telemetry import DesiredProperty, Span, VersionConflict
from tests.store.samples import (
    ALWAYS,
    LAMP,
    NOW_MS,
    OTHER_LAMP,
    PRODUCT_KEY,
    a_device,
    a_point,
    add_lamps,
    an_event,
)

pytestmark = pytest.mark.asyncio

NO_LAMP = DeviceKey(PRODUCT_KEY, "none")


async def values(store: SqlStore, span: Span = ALWAYS, key: DeviceKey = LAMP) -> list[str]:
    return [point.value for point in await store.list_properties(key, "Brightness", span)]


async def test_values_come_back_as_they_were_reported(store: SqlStore) -> None:
    await add_lamps(store)
    points = [a_point('{"x":"灯"}', NOW_MS + 1), a_point("21.50", NOW_MS + 2, identifier="module:Temp")]
    store.record_properties(points)
    store.record_properties([a_point("0", key=OTHER_LAMP)])
    assert await store.list_properties(LAMP, "Brightness", ALWAYS) == points[:1]
    assert await store.list_properties(LAMP, "module:Temp", ALWAYS) == points[1:]
    assert await store.list_properties(LAMP, "brightness", ALWAYS) == []
    assert await store.list_properties(OTHER_LAMP, "Brightness", ALWAYS) == [a_point("0", key=OTHER_LAMP)]
    assert await store.list_properties(NO_LAMP, "Brightness", ALWAYS) == []


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (ALWAYS, ["1", "2a", "2b", "3"]),
        (Span(0, 2 * NOW_MS, False, 50), ["3", "2b", "2a", "1"]),
        (Span(NOW_MS + 1, NOW_MS + 2, True, 50), ["1", "2a", "2b"]),
        (Span(NOW_MS + 2, NOW_MS + 2, False, 50), ["2b", "2a"]),
        (Span(NOW_MS + 4, NOW_MS + 1, True, 50), []),
        (Span(0, 2 * NOW_MS, True, 2), ["1", "2a"]),
        (Span(0, 2 * NOW_MS, False, 2), ["3", "2b"]),
        (Span(0, 2 * NOW_MS, True, 0), []),
        (Span(0, 2 * NOW_MS, True, -1), []),
    ],
)
async def test_a_span_says_what_is_listed_and_in_which_order(store: SqlStore, span: Span, expected: list[str]) -> None:
    await add_lamps(store)
    for value, time_ms in (("3", 3), ("1", 1), ("2a", 2), ("2b", 2)):
        store.record_properties([a_point(value, NOW_MS + time_ms)])
        store.record_event(an_event(NOW_MS + time_ms, output=value))
    assert await values(store, span) == expected
    assert [event.output for event in await store.list_events(LAMP, None, None, span)] == expected


async def test_a_listing_of_reports_has_an_end(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_properties([a_point()] * (REPORTS_LISTED_MAX + 1))
    for _ in range(REPORTS_LISTED_MAX + 1):
        store.record_event(an_event())
    for limit in (REPORTS_LISTED_MAX, REPORTS_LISTED_MAX + 1):
        span = Span(0, 2 * NOW_MS, True, limit)
        assert len(await values(store, span)) == REPORTS_LISTED_MAX
        assert len(await store.list_events(LAMP, None, None, span)) == REPORTS_LISTED_MAX


async def test_events_are_listed_by_identifier_and_type(store: SqlStore) -> None:
    await add_lamps(store)
    events = [
        an_event(NOW_MS + 1),
        an_event(NOW_MS + 2, identifier="Reboot", event_type="info"),
        an_event(NOW_MS + 3, identifier="Reboot", event_type="error"),
    ]
    for event in events:
        store.record_event(event)
    store.record_event(an_event(key=OTHER_LAMP))
    assert await store.list_events(LAMP, None, None, ALWAYS) == events
    assert await store.list_events(LAMP, "Reboot", None, ALWAYS) == events[1:]
    assert await store.list_events(LAMP, None, "alert", ALWAYS) == events[:1]
    assert await store.list_events(LAMP, "Reboot", "info", ALWAYS) == events[1:2]
    assert await store.list_events(LAMP, "Reboot", "alert", ALWAYS) == []
    assert await store.list_events(NO_LAMP, None, None, ALWAYS) == []


@pytest.mark.parametrize("is_written", [False, True])
async def test_the_newest_value_of_each_property_is_present(store: SqlStore, is_written: bool) -> None:
    await add_lamps(store)
    for point in (
        a_point("first", NOW_MS + 1),
        a_point("newest", NOW_MS + 3),
        a_point("sent late", NOW_MS + 2),
        a_point("on", NOW_MS, identifier="Power"),
    ):
        store.record_properties([point])
        if is_written:
            assert await store.flush()
    store.record_properties([a_point("other", NOW_MS + 9, key=OTHER_LAMP)])
    assert await store.list_present_properties(LAMP) == [
        a_point("newest", NOW_MS + 3),
        a_point("on", NOW_MS, identifier="Power"),
    ]
    assert await values(store) == ["first", "sent late", "newest"]
    assert await store.list_present_properties(NO_LAMP) == []


@pytest.mark.parametrize("is_written", [False, True])
async def test_of_two_values_of_one_moment_the_later_is_present(store: SqlStore, is_written: bool) -> None:
    await add_lamps(store)
    for value in ("1", "2"):
        store.record_properties([a_point(value)])
        if is_written:
            assert await store.flush()
    assert await store.list_present_properties(LAMP) == [a_point("2")]
    assert await values(store) == ["1", "2"]


@pytest.mark.parametrize("time_ms", [INTEGER_MAX, -INTEGER_MAX])
async def test_the_farthest_moments_are_kept(store: SqlStore, time_ms: int) -> None:
    await add_lamps(store)
    store.record_properties([a_point("1", time_ms)])
    assert await store.list_present_properties(LAMP) == [a_point("1", time_ms)]
    assert await values(store, Span(-INTEGER_MAX, INTEGER_MAX, True, 9)) == ["1"]


async def test_reports_are_measured_by_their_texts() -> None:
    assert measure_report(a_point("灯", identifier="ab")) == 2 + 3
    assert measure_report(an_event(identifier="ab", name="灯", event_type="info", output="{}")) == 2 + 3 + 4 + 2
    for time_ms in (INTEGER_MAX + 1, -INTEGER_MAX - 1):
        with pytest.raises(ValueError, match="time_ms must fit into 64 bits"):
            measure_report(an_event(time_ms))


async def test_reports_of_a_device_that_is_gone_are_passed_over(store: SqlStore) -> None:
    await add_lamps(store)
    store.record_properties([a_point(key=NO_LAMP), a_point()])
    store.record_event(an_event(key=NO_LAMP))
    assert await store.flush()
    assert await values(store) == ["1"]
    await store.add_devices([a_device("none")])
    assert await values(store, key=NO_LAMP) == []
    assert await store.list_present_properties(NO_LAMP) == []
    assert await store.list_events(NO_LAMP, None, None, ALWAYS) == []


async def test_desired_values_count_their_versions(store: SqlStore) -> None:
    await add_lamps(store)
    assert await store.list_desired(LAMP) == []
    assert await store.set_desired(LAMP, {"Power": "1", "Mode": '"灯"'}, {}, NOW_MS) == {"Power": 1, "Mode": 1}
    assert await store.set_desired(LAMP, {"Power": "0"}, {"Power": 1, "Mode": 0}, NOW_MS + 1) == {"Power": 2}
    assert await store.set_desired(LAMP, {}, {}, NOW_MS + 2) == {}
    assert await store.list_desired(LAMP) == [
        DesiredProperty("Mode", '"灯"', 1, NOW_MS),
        DesiredProperty("Power", "0", 2, NOW_MS + 1),
    ]
    assert await store.list_desired(OTHER_LAMP) == []


@pytest.mark.parametrize("versions", [{"Power": 2}, {"Mode": 2}, {"Power": 1, "Mode": 1}, {"none": 1}])
async def test_a_desired_value_that_was_changed_meanwhile_is_not_overwritten(
    store: SqlStore, versions: dict[str, int]
) -> None:
    await add_lamps(store)
    await store.set_desired(LAMP, {"Power": "1"}, {}, NOW_MS)
    with pytest.raises(VersionConflict) as caught:
        await store.set_desired(LAMP, {"Power": "2", "Mode": "2"}, versions, NOW_MS + 1)
    assert caught.value.args[0] in versions
    assert await store.list_desired(LAMP) == [DesiredProperty("Power", "1", 1, NOW_MS)]


async def test_a_desired_value_is_cleared_and_its_version_goes_on(store: SqlStore) -> None:
    await add_lamps(store)
    await store.set_desired(LAMP, {"Power": "1", "Mode": "2", "Speed": "3"}, {}, NOW_MS)
    assert await store.clear_desired(LAMP, {"Power": 1, "Mode": None}, NOW_MS + 1) == {"Power": 2, "Mode": 2}
    assert await store.list_desired(LAMP) == [
        DesiredProperty("Mode", None, 2, NOW_MS + 1),
        DesiredProperty("Power", None, 2, NOW_MS + 1),
        DesiredProperty("Speed", "3", 1, NOW_MS),
    ]
    assert await store.set_desired(LAMP, {"Power": "5"}, {"Power": 2}, NOW_MS + 2) == {"Power": 3}


async def test_all_desired_values_are_cleared_together(store: SqlStore) -> None:
    await add_lamps(store)
    for key in (LAMP, OTHER_LAMP):
        await store.set_desired(key, {"Power": "1", "Mode": "2"}, {}, NOW_MS)
    await store.clear_desired(LAMP, {"Mode": None}, NOW_MS + 1)
    assert await store.clear_desired(LAMP, {}, NOW_MS + 2) == {"Power": 2, "Mode": 2}
    assert await store.list_desired(LAMP) == [
        DesiredProperty("Mode", None, 2, NOW_MS + 1),
        DesiredProperty("Power", None, 2, NOW_MS + 2),
    ]
    assert [desired.version for desired in await store.list_desired(OTHER_LAMP)] == [1, 1]
    assert await store.clear_desired(NO_LAMP, {}, NOW_MS) == {}


async def test_clearing_passes_over_what_was_never_desired(store: SqlStore) -> None:
    await add_lamps(store)
    await store.set_desired(LAMP, {"Power": "1"}, {}, NOW_MS)
    assert await store.clear_desired(LAMP, {"none": None, "never": 0}, NOW_MS) == {}
    assert await store.list_desired(LAMP) == [DesiredProperty("Power", "1", 1, NOW_MS)]


@pytest.mark.parametrize("version", [0, 2])
async def test_a_desired_value_that_was_changed_meanwhile_is_not_cleared(store: SqlStore, version: int) -> None:
    await add_lamps(store)
    await store.set_desired(LAMP, {"Power": "1", "Mode": "2"}, {}, NOW_MS)
    with pytest.raises(VersionConflict) as caught:
        await store.clear_desired(LAMP, {"Mode": 1, "Power": version}, NOW_MS + 1)
    assert caught.value.args == ("Power",)
    assert {desired.version for desired in await store.list_desired(LAMP)} == {1}


async def test_tags_are_added_replaced_and_deleted(store: SqlStore) -> None:
    await add_lamps(store)
    assert await store.list_tags(LAMP) == {}
    await store.save_tags(LAMP, {"room": "Küche 灯", "floor": "1"})
    await store.save_tags(LAMP, {"floor": "2"})
    await store.save_tags(LAMP, {})
    await store.save_tags(OTHER_LAMP, {"room": "hall"})
    assert await store.list_tags(LAMP) == {"floor": "2", "room": "Küche 灯"}
    await store.delete_tags(LAMP, ["floor", "none"])
    await store.delete_tags(LAMP, [])
    assert await store.list_tags(LAMP) == {"room": "Küche 灯"}
    assert await store.list_tags(OTHER_LAMP) == {"room": "hall"}


async def test_nothing_is_kept_for_a_device_that_is_gone(store: SqlStore) -> None:
    await add_lamps(store)
    await store.save_tags(NO_LAMP, {"room": "hall"})
    assert await store.set_desired(NO_LAMP, {"Power": "1"}, {}, NOW_MS) == {}
    await store.add_devices([a_device("none")])
    assert await store.list_tags(NO_LAMP) == {}
    assert await store.list_desired(NO_LAMP) == []


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_new_device_of_the_same_name_has_none_of_the_old_ones_past(store: SqlStore, is_written: bool) -> None:
    await add_lamps(store)
    for key in (LAMP, OTHER_LAMP):
        store.record_properties([a_point(key=key)])
        store.record_event(an_event(key=key))
        await store.save_tags(key, {"room": "hall"})
        await store.set_desired(key, {"Power": "1"}, {}, NOW_MS)
    if is_written:
        assert await store.flush()
    # The last device that was added: its place in the table is given to the next.
    assert await store.delete_device(OTHER_LAMP)
    await store.add_devices([a_device("lamp-0002")])
    for key, count in ((OTHER_LAMP, 0), (LAMP, 1)):
        assert len(await store.list_present_properties(key)) == count
        assert len(await values(store, key=key)) == count
        assert len(await store.list_events(key, None, None, ALWAYS)) == count
        assert len(await store.list_tags(key)) == count
        assert len(await store.list_desired(key)) == count


async def test_telemetry_does_not_raise_the_version(store: SqlStore) -> None:
    await add_lamps(store)
    version = await store.registry_version()
    store.record_properties([a_point()])
    store.record_event(an_event())
    assert await store.flush()
    await store.save_tags(LAMP, {"room": "hall"})
    await store.delete_tags(LAMP, ["room"])
    await store.set_desired(LAMP, {"Power": "1"}, {}, NOW_MS)
    await store.clear_desired(LAMP, {}, NOW_MS)
    assert await store.registry_version() == version
