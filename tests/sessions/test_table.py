from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.registry import DeviceKey, DeviceStatus, PresenceChange
from linkstead.sessions import (
    QUEUED_MESSAGES_MAX,
    Attachment,
    Ending,
    QueuedMessage,
    QueueFull,
    Reach,
    Session,
    SessionTable,
    StatusChange,
)
from linkstead.sessions.table import QUEUED_AGE_S_MAX
from tests.fakes import KEY, OTHER_KEY, FakeLink, RecordingSink, make_device

NOW_S, NOW_MS = 1_000.0, 1_700_000_000_000
KEEP_ALIVE_S = 60
IP_ADDRESS = "192.0.2.10"
SEVEN_DAYS_S = 7 * 24 * 3600.0


class Table:
    """A table whose presence is recorded, with the arguments that rarely matter filled in."""

    def __init__(self) -> None:
        self.sink = RecordingSink()
        self.table = SessionTable(self.sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def __len__(self) -> int:
        return len(self.table)

    def connect(self, link: FakeLink, at_s: float = NOW_S, **arguments: Any) -> Attachment:
        defaults: dict[str, Any] = {
            "clean_start": True,
            "kept_s": 0.0,
            "keep_alive_s": KEEP_ALIVE_S,
            "ip_address": IP_ADDRESS,
        }
        return self.table.attach(link, now_s=at_s, now_ms=to_ms(at_s), **defaults | arguments)

    def lose(self, link: FakeLink, ending: Ending = Ending.LOST, at_s: float = NOW_S) -> bool:
        return self.table.detach(link, ending, now_s=at_s, now_ms=to_ms(at_s))

    def changes(self) -> list[tuple[DeviceKey, bool]]:
        return [(change.key, change.is_online) for change in self.sink.changes]


def to_ms(at_s: float) -> int:
    return NOW_MS + round((at_s - NOW_S) * 1000)


def message(payload: bytes = b"", queued_s: float = NOW_S) -> QueuedMessage:
    return QueuedMessage("/a1Lnk5tEad0/lamp-01/user/get", payload, queued_s)


PERSISTENT = {"clean_start": False, "kept_s": SEVEN_DAYS_S}


# --- attach and detach


def test_a_device_that_never_connected_is_out_of_reach() -> None:
    table = Table()
    assert table.reach(KEY, NOW_S) is Reach.NONE
    assert table.find(KEY) is None
    assert table.link(KEY) is None


def test_an_attached_device_can_be_reached() -> None:
    table, link = Table(), FakeLink()
    attachment = table.connect(link)
    assert (attachment.session_present, attachment.superseded) == (False, None)
    assert attachment.session is table.find(KEY)
    assert table.link(KEY) is link
    assert table.reach(KEY, NOW_S) is Reach.LIVE
    assert (table.live_count, len(table)) == (1, 1)
    assert table.reach(OTHER_KEY, NOW_S) is Reach.NONE


def test_a_detach_undoes_its_attach() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    assert table.lose(link, Ending.DISCONNECTED)
    assert (table.live_count, len(table)) == (0, 0)
    assert table.find(KEY) is None
    assert not table.lose(link, Ending.DISCONNECTED)
    assert table.live_count == 0


def test_a_link_that_was_never_attached_cannot_be_detached() -> None:
    table = Table()
    assert not table.lose(FakeLink())
    assert table.sink.changes == []


def test_sessions_of_two_devices_are_apart() -> None:
    table, link, other = Table(), FakeLink(), FakeLink(OTHER_KEY)
    table.connect(link)
    table.connect(other)
    assert table.lose(link, Ending.DISCONNECTED)
    assert table.link(OTHER_KEY) is other
    assert (table.live_count, len(table)) == (1, 1)


# --- takeover


def test_a_second_connection_takes_the_place_of_the_first() -> None:
    table, first, second = Table(), FakeLink(), FakeLink()
    table.connect(first)
    attachment = table.connect(second)
    assert attachment.superseded is first
    assert attachment.session.connections == 2
    assert table.link(KEY) is second
    assert (table.live_count, len(table)) == (1, 1)


@pytest.mark.parametrize("ending", Ending)
def test_the_late_end_of_a_superseded_connection_changes_nothing(ending: Ending) -> None:
    table, first, second = Table(), FakeLink(), FakeLink()
    table.connect(first)
    attachment = table.connect(second, **PERSISTENT)
    attachment.session.subscribe("/a", 1, 0)
    before = list(table.sink.changes)
    assert not table.lose(first, ending)
    assert table.link(KEY) is second
    assert table.reach(KEY, NOW_S) is Reach.LIVE
    assert table.live_count == 1
    assert attachment.session.subscriptions == {"/a": 1}
    assert table.sink.changes == before


def test_a_takeover_is_told_as_offline_and_then_online() -> None:
    table, first, second = Table(), FakeLink(), FakeLink()
    table.connect(first)
    table.connect(second, NOW_S + 1, ip_address="192.0.2.11")
    assert table.sink.changes == [
        PresenceChange(KEY, True, NOW_MS, IP_ADDRESS),
        PresenceChange(KEY, False, NOW_MS + 1000),
        PresenceChange(KEY, True, NOW_MS + 1001, "192.0.2.11"),
    ]


@dataclass
class StatusWatch:
    """Implements `StatusObserver`."""

    changes: list[StatusChange] = field(default_factory=list)

    def status_changed(self, change: StatusChange) -> None:
        self.changes.append(change)


def test_an_observer_is_told_who_comes_and_why_somebody_goes() -> None:
    table, first, second, watch = Table(), FakeLink(), FakeLink(), StatusWatch()
    table.observe_status(watch)
    first.heard_s = NOW_S - 0.01
    table.connect(first)
    first.heard_s, second.heard_s = NOW_S + 5, NOW_S + 10
    table.connect(second, NOW_S + 10, ip_address="192.0.2.11")
    table.lose(first, Ending.SUPERSEDED, NOW_S + 11)
    table.lose(second, Ending.DISABLED, NOW_S + 20)
    # Going and coming are told a millisecond apart: who orders by time must not take one for the other.
    assert watch.changes == [
        StatusChange(first.origin, True, NOW_MS, NOW_MS - 10, IP_ADDRESS, None),
        StatusChange(first.origin, False, NOW_MS + 10_000, NOW_MS + 5_000, IP_ADDRESS, Ending.SUPERSEDED),
        StatusChange(second.origin, True, NOW_MS + 10_001, NOW_MS + 10_000, "192.0.2.11", None),
        StatusChange(second.origin, False, NOW_MS + 20_000, NOW_MS + 10_000, "192.0.2.11", Ending.DISABLED),
    ]


def test_no_two_moments_told_of_a_device_are_the_same() -> None:
    table, watch = Table(), StatusWatch()
    table.observe_status(watch)
    table.tell_left_online(FakeLink().origin, since_ms=NOW_MS + 5, now_ms=NOW_MS, ip_address=IP_ADDRESS)
    table.connect(FakeLink(OTHER_KEY))
    for _ in range(2):
        link = FakeLink()
        table.connect(link)
        table.lose(link, Ending.DISCONNECTED, NOW_S)
    table.connect(FakeLink(), NOW_S + 1)
    moments = [change.at_ms - NOW_MS for change in watch.changes if change.origin.key == KEY]
    assert moments == [6, 7, 8, 9, 10, 1_000]
    assert [change.is_online for change in watch.changes if change.origin.key == KEY] == [
        False,
        *[True, False] * 2,
        True,
    ]


def test_only_endings_that_the_vendor_numbers_have_a_number() -> None:
    numbers = {ending: ending.reason_code for ending in Ending if ending.reason_code is not None}
    assert numbers == {Ending.SUPERSEDED: 427, Ending.DELETED: 521, Ending.DISABLED: 522}


def test_a_takeover_of_a_takeover_returns_the_connection_before() -> None:
    table = Table()
    links = [FakeLink() for _ in range(4)]
    assert [table.connect(link).superseded for link in links] == [None, *links[:3]]
    assert [table.lose(link) for link in links] == [False, False, False, True]
    assert table.live_count == 0


# --- presence


def test_every_connection_is_told_online_and_offline_in_order() -> None:
    table, link, other = Table(), FakeLink(), FakeLink(OTHER_KEY)
    table.connect(link)
    table.connect(other)
    table.lose(link, at_s=NOW_S + 2)
    table.connect(link, NOW_S + 3)
    table.lose(link, Ending.DISCONNECTED)
    table.lose(other, Ending.KEEP_ALIVE_EXPIRED)
    assert table.changes() == [
        (KEY, True),
        (OTHER_KEY, True),
        (KEY, False),
        (KEY, True),
        (KEY, False),
        (OTHER_KEY, False),
    ]
    assert table.sink.changes[2] == PresenceChange(KEY, False, NOW_MS + 2000)


def test_forgetting_tells_no_second_change() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    table.lose(link)
    table.expire(NOW_S + KEEP_ALIVE_S)
    table.forget(KEY)
    assert table.changes() == [(KEY, True), (KEY, False)]


# --- the HALFCONN window


def test_a_break_leaves_the_device_half_connected_for_one_keep_alive() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    table.lose(link, Ending.LOST, NOW_S)
    assert table.reach(KEY, NOW_S) is Reach.HALF
    assert table.reach(KEY, NOW_S + KEEP_ALIVE_S - 0.001) is Reach.HALF
    assert table.reach(KEY, NOW_S + KEEP_ALIVE_S) is Reach.NONE
    assert table.link(KEY) is None


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.LOST])
def test_no_other_ending_leaves_the_device_half_connected(ending: Ending) -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT)
    table.lose(link, ending)
    assert table.reach(KEY, NOW_S) is Reach.NONE


def test_the_window_counts_from_the_break_and_not_from_the_connect() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, keep_alive_s=30)
    table.lose(link, at_s=NOW_S + 500)
    assert table.reach(KEY, NOW_S + 529.999) is Reach.HALF
    assert table.reach(KEY, NOW_S + 530) is Reach.NONE


def test_a_new_connection_ends_the_window() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    table.lose(link)
    table.connect(link, NOW_S + 1)
    assert table.reach(KEY, NOW_S + 1) is Reach.LIVE
    table.lose(link, Ending.DISCONNECTED, NOW_S + 2)
    assert table.reach(KEY, NOW_S + 2) is Reach.NONE


def test_the_tombstone_of_a_break_is_forgotten_when_its_window_ends() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    table.lose(link)
    table.expire(NOW_S + KEEP_ALIVE_S - 0.001)
    assert len(table) == 1
    table.expire(NOW_S + KEEP_ALIVE_S)
    assert len(table) == 0


@pytest.mark.parametrize("kept_s", [0.0, SEVEN_DAYS_S])
@pytest.mark.parametrize("ending", Ending)
def test_after_every_ending_nothing_is_left_once_its_time_is_over(ending: Ending, kept_s: float) -> None:
    table, link = Table(), FakeLink()
    table.connect(link, clean_start=False, kept_s=kept_s)
    assert table.lose(link, ending)
    assert table.live_count == 0
    table.expire(NOW_S + max(kept_s, KEEP_ALIVE_S))
    assert len(table) == 0


def test_a_live_connection_never_expires() -> None:
    table, link = Table(), FakeLink()
    table.connect(link)
    table.expire(NOW_S + 1_000_000_000)
    assert table.link(KEY) is link


# --- clean and persistent sessions


def test_a_clean_session_leaves_nothing_behind() -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link).session
    session.subscribe("/a", 1, 0)
    table.deliver(KEY, message())
    table.lose(link)
    assert (session.subscriptions, session.queue) == ({}, None)
    attachment = table.connect(link, clean_start=False)
    assert not attachment.session_present
    assert (attachment.session.subscriptions, attachment.session.queue) == ({}, None)


def test_a_persistent_session_is_carried_on() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT).session.subscribe("/a", 1, 0)
    table.lose(link, Ending.DISCONNECTED)
    waiting = message()
    assert table.deliver(KEY, waiting)
    attachment = table.connect(FakeLink(), NOW_S + 1, **PERSISTENT)
    assert attachment.session_present
    assert attachment.session.subscriptions == {"/a": 1}
    assert list(attachment.session.queue or ()) == [waiting]


def test_a_clean_start_drops_what_was_kept() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT).session.subscribe("/a", 1, 0)
    table.deliver(KEY, message())
    table.lose(link)
    attachment = table.connect(link, NOW_S + 1, clean_start=True, kept_s=SEVEN_DAYS_S)
    assert not attachment.session_present
    assert (attachment.session.subscriptions, attachment.session.queue) == ({}, None)


def test_a_takeover_carries_a_persistent_session_on() -> None:
    table = Table()
    table.connect(FakeLink(), **PERSISTENT).session.subscribe("/a", 1, 0)
    attachment = table.connect(FakeLink(), NOW_S + 2 * SEVEN_DAYS_S, **PERSISTENT)
    assert attachment.session_present
    assert attachment.session.subscriptions == {"/a": 1}


def test_a_takeover_of_a_clean_session_carries_nothing_on() -> None:
    table = Table()
    table.connect(FakeLink()).session.subscribe("/a", 1, 0)
    attachment = table.connect(FakeLink(), **PERSISTENT)
    assert not attachment.session_present
    assert attachment.session.subscriptions == {}


def test_a_persistent_session_is_kept_for_seven_days() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT)
    table.lose(link)
    table.expire(NOW_S + SEVEN_DAYS_S - 0.001)
    assert len(table) == 1
    table.expire(NOW_S + SEVEN_DAYS_S)
    assert len(table) == 0


def test_no_session_is_kept_longer_than_seven_days() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, clean_start=False, kept_s=float(0xFFFFFFFF))
    table.lose(link)
    table.expire(NOW_S + SEVEN_DAYS_S)
    assert len(table) == 0


def test_a_session_whose_time_is_over_is_not_carried_on_even_if_it_is_still_there() -> None:
    # [MQTT-3.1.2-23]; housekeeping comes only every few minutes
    table, link = Table(), FakeLink()
    brief = {"clean_start": False, "kept_s": 10.0}
    table.connect(link, **brief).session.subscribe("/a", 1, 0)
    table.lose(link)
    assert table.connect(link, NOW_S + 9.999, **brief).session_present
    table.lose(link, at_s=NOW_S + 20)
    attachment = table.connect(link, NOW_S + 30, **brief)
    assert not attachment.session_present
    assert attachment.session.subscriptions == {}


# --- messages that wait


def test_a_message_for_a_live_device_is_pumped_at_once() -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link).session
    first, second = message(b"1"), message(b"2")
    assert table.deliver(KEY, first)
    assert table.deliver(KEY, second)
    assert list(session.queue or ()) == [first, second]
    assert link.pump_count == 2


def test_a_message_for_nobody_is_not_taken() -> None:
    table, link = Table(), FakeLink()
    assert not table.deliver(KEY, message())
    table.connect(link)
    table.lose(link, Ending.LOST)
    assert table.reach(KEY, NOW_S) is Reach.HALF
    assert not table.deliver(KEY, message())
    assert link.pump_count == 0


def test_a_message_for_a_session_whose_time_is_over_is_not_taken() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, clean_start=False, kept_s=10.0)
    table.lose(link)
    assert table.deliver(KEY, message(queued_s=NOW_S + 9.999))
    assert not table.deliver(KEY, message(queued_s=NOW_S + 10))


@pytest.mark.parametrize("is_live", [True, False])
def test_a_thousand_messages_can_wait_and_the_next_is_refused(is_live: bool) -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link, **PERSISTENT).session
    if not is_live:
        table.lose(link)
    waiting = [message() for _ in range(QUEUED_MESSAGES_MAX)]
    assert all(table.deliver(KEY, each) for each in waiting)
    with pytest.raises(QueueFull):
        table.deliver(KEY, message())
    assert len(waiting) == 1_000
    assert list(session.queue or ()) == waiting


def test_a_message_waits_for_seven_days() -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link, **PERSISTENT).session
    old, young = message(queued_s=NOW_S), message(queued_s=NOW_S + 1)
    table.deliver(KEY, old)
    table.deliver(KEY, young)
    table.drop_expired(session, NOW_S + QUEUED_AGE_S_MAX)
    assert list(session.queue or ()) == [old, young]
    table.expire(NOW_S + QUEUED_AGE_S_MAX + 0.5)
    assert list(session.queue or ()) == [young]
    table.drop_expired(session, NOW_S + QUEUED_AGE_S_MAX + 2)
    assert not session.queue


@pytest.mark.parametrize("qos", [0, 1])
def test_a_connected_device_takes_a_message_at_either_qos(qos: int) -> None:
    table, link = Table(), FakeLink()
    assert table.connect(link).session.takes(qos, NOW_S)


def test_a_device_that_is_away_takes_a_message_at_qos_1_while_its_session_is_kept() -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link, clean_start=False, kept_s=10.0).session
    table.lose(link)
    assert not session.takes(0, NOW_S)
    assert session.takes(1, NOW_S + 9.999)
    assert not session.takes(1, NOW_S + 10)


def test_a_half_connected_device_takes_no_message() -> None:
    table, link = Table(), FakeLink()
    session = table.connect(link).session
    table.lose(link)
    assert not session.takes(0, NOW_S)
    assert not session.takes(1, NOW_S)


# --- all devices of a product


def test_the_live_sessions_of_a_product_are_listed() -> None:
    table = Table()
    stranger = FakeLink(DeviceKey("a1Other0001", "lamp-01"))
    link, other, away = FakeLink(), FakeLink(OTHER_KEY), FakeLink(DeviceKey(KEY.product_key, "lamp-03"))
    for each in (stranger, link, other, away):
        table.connect(each, **PERSISTENT)
    table.lose(away)
    assert [session.link for session in table.list_live(KEY.product_key)] == [link, other]
    assert table.list_live("a1Lnk5tEad") == []


# --- deleted devices


def test_forgetting_a_device_drops_its_tombstone_and_its_messages() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT)
    table.deliver(KEY, message())
    table.lose(link)
    assert table.forget(KEY) is None
    assert len(table) == 0
    assert table.reach(KEY, NOW_S) is Reach.NONE
    assert not table.connect(link, **PERSISTENT).session_present


def test_forgetting_a_live_device_returns_its_connection_to_be_closed() -> None:
    table, link = Table(), FakeLink()
    table.connect(link, **PERSISTENT)
    assert table.forget(KEY) is link
    assert table.link(KEY) is link
    assert table.lose(link, Ending.DELETED)
    assert (table.live_count, len(table)) == (0, 0)
    assert table.changes() == [(KEY, True), (KEY, False)]


def test_forgetting_an_unknown_device_is_harmless() -> None:
    assert Table().forget(KEY) is None


# --- the vendor's words for it


@pytest.mark.parametrize(
    ("enabled", "activated_ms", "is_live", "status"),
    [
        (True, 0, False, DeviceStatus.UNACTIVE),
        (True, NOW_MS, False, DeviceStatus.OFFLINE),
        (True, NOW_MS, True, DeviceStatus.ONLINE),
        (True, 0, True, DeviceStatus.ONLINE),
        (False, 0, False, DeviceStatus.DISABLE),
        (False, NOW_MS, False, DeviceStatus.DISABLE),
        (False, NOW_MS, True, DeviceStatus.DISABLE),
    ],
)
def test_a_device_has_one_of_four_states(enabled: bool, activated_ms: int, is_live: bool, status: DeviceStatus) -> None:
    table = Table()
    if is_live:
        table.connect(FakeLink())
    # what was last written down does not count
    device = make_device(enabled=enabled, activated_ms=activated_ms, is_online=not is_live)
    assert table.status(device) is status


# --- whatever happens


actions = st.tuples(
    st.sampled_from(["connect", "lose", "lose-old", "expire", "forget", "deliver"]),
    st.integers(min_value=0, max_value=1),
    st.sampled_from(list(Ending)),
    st.sampled_from([0.0, 30.0, SEVEN_DAYS_S]),
    st.sampled_from([0.0, 1.0, 59.0, 60.0, 3600.0, SEVEN_DAYS_S]),
)


@given(st.lists(actions, max_size=30))
def test_the_counts_always_agree_with_what_is_there(steps: list[tuple[str, int, Ending, float, float]]) -> None:
    table, now_s = Table(), NOW_S
    keys = [KEY, OTHER_KEY]
    live: dict[DeviceKey, FakeLink] = {}
    old: list[FakeLink] = []
    for step, which, ending, kept_s, wait_s in steps:
        now_s += wait_s
        key = keys[which]
        link = live.get(key)
        if step == "connect":
            live[key] = FakeLink(key)
            attachment = table.connect(live[key], now_s, clean_start=False, kept_s=kept_s)
            assert attachment.superseded is link
            if link is not None:
                old.append(link)
        elif step == "lose" and link is not None:
            assert table.lose(link, ending, now_s)
            old.append(live.pop(key))
        elif step == "lose-old" and old:
            assert not table.lose(old[which % len(old)], ending, now_s)
        elif step == "expire":
            table.expire(now_s)
        elif step == "forget":
            assert table.forget(key) is link
        elif step == "deliver":
            table.deliver(key, message(queued_s=now_s))
        assert table.live_count == len(live)
        for each in keys:
            assert table.link(each) is live.get(each)
            assert (table.reach(each, now_s) is Reach.LIVE) is (each in live)
    online: dict[DeviceKey, bool] = {}
    for change in table.sink.changes:
        assert change.is_online is not online.get(change.key, False), "two changes of a kind in a row"
        online[change.key] = change.is_online
    assert {key for key in online if online[key]} == set(live)
    for link in live.values():
        table.lose(link, Ending.DISCONNECTED, now_s)
    table.expire(now_s + SEVEN_DAYS_S)
    assert len(table) == 0


# --- sub-devices


SUB_KEY = DeviceKey("a1Probe0001", "probe-7")


def carried(table: Table, gateway: FakeLink, sub: FakeLink, **arguments: Any) -> Attachment:
    """A sub-device logs in on its gateway's connection."""
    return table.connect(sub, carrier=table.find(gateway.key), **arguments)


@pytest.mark.parametrize(
    ("ending", "reach"),
    [
        (Ending.LOST, Reach.HALF),
        (Ending.DISCONNECTED, Reach.NONE),
        (Ending.KEEP_ALIVE_EXPIRED, Reach.NONE),
        (Ending.DISABLED, Reach.NONE),
        (Ending.DELETED, Reach.NONE),
    ],
)
def test_with_a_gateways_connection_those_of_its_sub_devices_end(ending: Ending, reach: Reach) -> None:
    table, gateway, sub = Table(), FakeLink(), FakeLink(SUB_KEY)
    table.connect(gateway)
    carried(table, gateway, sub)
    assert table.live_count == 2
    table.lose(gateway, ending)
    assert (table.live_count, table.reach(SUB_KEY, NOW_S)) == (0, reach)
    assert table.reach(SUB_KEY, NOW_S + KEEP_ALIVE_S) is Reach.NONE
    assert table.changes()[-2:] == [(SUB_KEY, False), (KEY, False)]
    assert not table.lose(sub)


def test_a_gateways_new_connection_carries_nobody() -> None:
    table, gateway, sub = Table(), FakeLink(), FakeLink(SUB_KEY)
    table.connect(gateway)
    carried(table, gateway, sub)
    session = table.connect(FakeLink()).session
    assert (session.carried, table.reach(SUB_KEY, NOW_S), table.live_count) == ({}, Reach.NONE, 1)


def test_a_sub_device_that_leaves_is_not_carried_any_longer() -> None:
    table, gateway, sub = Table(), FakeLink(), FakeLink(SUB_KEY)
    session = table.connect(gateway).session
    sub_session = carried(table, gateway, sub).session
    assert (session.carried, sub_session.carrier) == ({SUB_KEY: sub_session}, session)
    assert table.lose(sub, Ending.DISCONNECTED)
    assert (session.carried, sub_session.carrier) == ({}, None)
    assert table.reach(KEY, NOW_S) is Reach.LIVE


def test_a_sub_device_moves_from_one_carrier_to_another_and_to_a_connection_of_its_own() -> None:
    table, first, second = Table(), FakeLink(), FakeLink(OTHER_KEY)
    carriers = [table.connect(link).session for link in (first, second)]
    subs = [FakeLink(SUB_KEY) for _ in range(3)]
    carried(table, first, subs[0])
    assert carried(table, second, subs[1]).superseded is subs[0]
    assert [list(carrier.carried) for carrier in carriers] == [[], [SUB_KEY]]
    table.lose(first)
    assert table.link(SUB_KEY) is subs[1]
    assert table.connect(subs[2]).superseded is subs[1]
    assert carriers[1].carried == {}
    table.lose(second)
    assert table.link(SUB_KEY) is subs[2]


def test_the_session_of_a_sub_device_may_outlive_its_gateways() -> None:
    table, gateway = Table(), FakeLink()
    table.connect(gateway)
    carried(table, gateway, FakeLink(SUB_KEY), **PERSISTENT)
    table.lose(gateway, Ending.DELETED)
    assert table.find(KEY) is None
    assert table.deliver(SUB_KEY, message())


# --- subscriptions


def test_subscriptions_come_back_as_they_were_made_in_their_order() -> None:
    key = DeviceKey("a1pk", "lamp")
    filters = [
        "/sys/a1pk/lamp/rrpc/request/+",
        "/a1pk/lamp/user/get",
        "/ext/ntp/a1pk/lamp/response",
        "/sys/a1pk/lamp/a1pk/lamp",
        "/sys/a1pk/lamp2/thing/#",
        "/broadcast/a1pk/all",
        "#",
        "",
    ]
    session = Session(key)
    for place, topic_filter in enumerate(filters):
        session.subscribe(topic_filter, place % 2, NOW_MS + place)
    assert list(session.subscriptions.items()) == [(name, place % 2) for place, name in enumerate(filters)]
    assert list(session.subscribed_ms.items()) == [(name, NOW_MS + place) for place, name in enumerate(filters)]
    restored = Session(key)
    restored.restore_subscriptions(session.subscriptions, session.subscribed_ms)
    assert (restored.subscriptions, restored.subscribed_ms) == (session.subscriptions, session.subscribed_ms)
    for topic_filter in filters:
        assert session.unsubscribe(topic_filter)
        assert not session.unsubscribe(topic_filter)
        assert topic_filter not in session.subscriptions
    assert session.subscriptions == session.subscribed_ms == {}


def test_a_subscription_made_again_has_the_new_qos_in_its_old_place() -> None:
    session = Session(DeviceKey("a1pk", "lamp"))
    for qos in (0, 1):
        for name in ("/a1pk/lamp/user/a", "/a1pk/lamp/user/b", "/a1pk/lamp/user/c"):
            session.subscribe(name, 0, NOW_MS + qos)
    session.subscribe("/a1pk/lamp/user/b", 1, NOW_MS + 9)
    assert list(session.subscriptions.values()) == [0, 1, 0]
    assert list(session.subscribed_ms.values()) == [NOW_MS] * 3


def test_devices_share_the_filters_of_what_they_have_in_common() -> None:
    kept = []
    for name in ("lamp", "pump"):
        session = Session(DeviceKey("a1pk", name))
        session.subscribe(f"/sys/a1pk/{name}/rrpc/request/+", 0, 0)
        kept.append(session)
    assert kept[0].subscriptions != kept[1].subscriptions
    assert kept[0]._filters[0] is kept[1]._filters[0]


class RecordingObserver:
    """Implements `SessionObserver`: notes what it is told."""

    def __init__(self) -> None:
        self.changed: list[DeviceKey] = []
        self.dropped: list[QueuedMessage] = []
        self.put_away: list[tuple[DeviceKey, bool]] = []

    def session_changed(self, session: Session) -> None:
        self.changed.append(session.key)

    def session_forgotten(self, key: DeviceKey) -> None:
        pass

    def session_put_away(self, key: DeviceKey, *, has_waiting: bool) -> None:
        self.put_away.append((key, has_waiting))

    def message_sent(self, message: QueuedMessage) -> None:
        pass

    def message_acknowledged(self, message: QueuedMessage) -> None:
        pass

    def message_dropped(self, message: QueuedMessage) -> None:
        self.dropped.append(message)


def test_a_session_that_is_given_up_is_left_as_it_is_when_its_connection_ends() -> None:
    table, link = Table(), FakeLink()
    told = RecordingObserver()
    session = table.connect(link, **PERSISTENT).session
    session.subscribe("/a1Lnk5tEad0/lamp-01/user/get", 1, NOW_MS)
    table.deliver(KEY, message(b"waits"))
    table.observe(told)
    assert table.give_up(KEY) is link
    assert told.put_away == [(KEY, True)]
    told.put_away.clear()
    assert table.lose(link, Ending.SUPERSEDED)
    assert (told.changed, told.dropped) == ([], [])
    assert table.find(KEY) is None
    assert table.give_up(KEY) is None


def test_the_moment_of_a_status_does_not_go_back_with_the_clock() -> None:
    table, link, other = Table(), FakeLink(), FakeLink(OTHER_KEY)
    table.connect(link)
    table.connect(other, NOW_S + 1)
    table.lose(link, at_s=NOW_S - 600)
    moments_ms = [change.at_ms - NOW_MS for change in table.sink.changes]
    assert moments_ms == [0, 1000, 1000]
