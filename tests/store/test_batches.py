"""When batches are written, what bounds them, and what happens while they cannot be."""

import asyncio
import logging

import pytest
from sqlalchemy.exc import OperationalError

from linkstead.invocation import Call, Evidence, Stray
from linkstead.registry import DeviceKey, PresenceChange
from linkstead.store import batches
from linkstead.store.batches import (
    BATCH_DELAY_S,
    BATCH_ROWS,
    DROPPED_LOGGED_EVERY_S,
    HISTORY_QUEUE_BYTES_MAX,
    HISTORY_QUEUE_MAX,
    NOTICE_QUEUE_BYTES_MAX,
    NOTICE_QUEUE_MAX,
    REPORT_QUEUE_BYTES_MAX,
    REPORT_QUEUE_MAX,
    RETRY_S_MAX,
    RETRY_S_MIN,
    Batch,
    Batches,
)
from linkstead.store.history import RECORD, decode_call
from linkstead.store.presence import PresenceNote
from linkstead.store.sessions import SessionNote
from linkstead.telemetry import PropertyPoint
from linkstead.testing.clock import ManualClock
from tests.store.samples import (
    DESTINATION,
    LAMP,
    NOW_MS,
    OTHER_LAMP,
    PRODUCT_KEY,
    a_call,
    a_notice,
    a_point,
    a_session,
    an_event,
    an_open_call,
)

pytestmark = pytest.mark.asyncio

EVIDENCE = Evidence(Stray.LATE, NOW_MS, "", "/a/topic", b"late", 4)


class Shelf:
    """Where batches go: keeps them, fails while `is_broken`, and stays on the way while `gate` is shut."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.tries = 0
        self.is_broken = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batch: Batch) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.is_broken:
            raise OperationalError("INSERT", None, OSError("disk I/O error"))
        self.batches.append(batch)

    @property
    def written(self) -> list[tuple[list[Call], list[PresenceNote]]]:
        return [([decode_call(row[RECORD]) for row in batch.calls], list(batch.presence)) for batch in self.batches]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [(len(batch.calls), len(batch.presence)) for batch in self.batches]

    @property
    def numbers(self) -> list[int]:
        return [call.message_id for calls, _ in self.written for call in calls]

    @property
    def notice_numbers(self) -> list[int]:
        return [note.notice.message_id for batch in self.batches for note in batch.notices]

    @property
    def report_times(self) -> list[int]:
        return [report.time_ms - NOW_MS for batch in self.batches for report in batch.reports]


class Setting:
    """Batches with a clock to turn and a shelf to look at."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.shelf = Shelf()
        self.node = ""
        self.batches = Batches(self.clock, self.shelf.write, lambda: self.node)

    def record(self, *numbers: int) -> None:
        for number in numbers:
            self.batches.record_call(a_call(number))

    def change(self, *numbers: int, is_online: bool = True) -> None:
        for number in numbers:
            key = DeviceKey(PRODUCT_KEY, f"lamp-{number:04}")
            self.batches.record_presence(PresenceChange(key, is_online, NOW_MS + number))

    def report(self, *numbers: int, key: DeviceKey = LAMP) -> None:
        self.batches.record_reports([a_point(str(number), NOW_MS + number, key=key) for number in numbers])

    def notify(self, *numbers: int, payload: bytes = b"") -> None:
        for number in numbers:
            self.batches.record_notice([DESTINATION], a_notice(number, payload=payload, topic=""))

    async def turn(self, seconds: float) -> None:
        """Turn the clock, and let what falls due run as far as it can."""
        self.clock.advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_calls_wait_for_company(setting: Setting) -> None:
    setting.record(1, 2)
    await setting.turn(BATCH_DELAY_S * 0.98)
    setting.record(3)
    assert setting.shelf.sizes == []
    await setting.turn(BATCH_DELAY_S * 0.02)
    assert setting.shelf.numbers == [1, 2, 3]
    assert setting.batches.calls_waiting == 0
    assert setting.clock.timer_count == 0


async def test_a_full_batch_does_not_wait(setting: Setting) -> None:
    setting.record(*range(1, BATCH_ROWS))
    await setting.settle()
    assert setting.shelf.sizes == []
    setting.record(BATCH_ROWS)
    await setting.settle()
    assert setting.shelf.sizes == [(BATCH_ROWS, 0)]
    assert setting.clock.timer_count == 0


async def test_one_more_than_a_batch_goes_with_the_next(setting: Setting) -> None:
    setting.record(*range(1, BATCH_ROWS + 2))
    await setting.settle()
    assert setting.shelf.numbers == list(range(1, BATCH_ROWS + 2))
    assert setting.shelf.sizes == [(BATCH_ROWS, 0), (1, 0)]


async def test_calls_that_come_while_a_batch_is_written_wait_their_turn(setting: Setting) -> None:
    setting.shelf.gate.clear()
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    setting.record(2)
    await setting.turn(BATCH_DELAY_S)
    assert setting.batches.calls_waiting == 2
    setting.shelf.gate.set()
    await setting.settle()
    assert setting.shelf.numbers == [1]
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.numbers == [1, 2]


async def test_devices_wait_like_calls_and_go_with_them(setting: Setting) -> None:
    setting.change(1, 2)
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.sizes == [(1, 2)]
    setting.change(*range(BATCH_ROWS))
    await setting.settle()
    assert setting.shelf.sizes == [(1, 2), (0, BATCH_ROWS)]


async def test_changes_of_one_device_become_one_note(setting: Setting) -> None:
    for _ in range(BATCH_ROWS):
        setting.change(1)
        setting.change(1, is_online=False)
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.sizes == [(0, 1)]


async def test_a_call_is_written_as_it_is_by_then(setting: Setting) -> None:
    call = a_call(1)
    setting.batches.record_call(call)
    call.add_evidence(EVIDENCE)
    setting.batches.record_call(call)
    assert setting.batches.calls_waiting == 1
    await setting.turn(BATCH_DELAY_S)
    [([written], _)] = setting.shelf.written
    assert written.evidence == [EVIDENCE]


async def test_a_call_recorded_while_it_is_written_is_written_again(setting: Setting) -> None:
    call = a_call(1)
    setting.shelf.gate.clear()
    setting.batches.record_call(call)
    await setting.turn(BATCH_DELAY_S)
    call.add_evidence(EVIDENCE)
    setting.batches.record_call(call)
    setting.shelf.gate.set()
    await setting.settle()
    await setting.turn(BATCH_DELAY_S)
    assert [len(calls[0].evidence) for calls, _ in setting.shelf.written] == [0, 1]
    assert setting.batches.calls_waiting == 0


async def test_flush_writes_at_once_and_takes_the_timer_back(setting: Setting) -> None:
    setting.record(*range(1, 2 * BATCH_ROWS + 2))
    setting.change(1)
    assert await setting.batches.flush()
    assert setting.shelf.sizes == [(BATCH_ROWS, 1), (BATCH_ROWS, 0), (1, 0)]
    assert setting.clock.timer_count == 0


async def test_flush_with_nothing_to_write_writes_nothing(setting: Setting) -> None:
    assert await setting.batches.flush()
    assert setting.shelf.tries == 0


async def test_flush_waits_for_the_batch_under_way(setting: Setting) -> None:
    setting.shelf.gate.clear()
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    flushing = asyncio.ensure_future(setting.batches.flush())
    await setting.settle()
    assert not flushing.done()
    setting.shelf.gate.set()
    assert await flushing
    assert setting.shelf.numbers == [1]


async def test_flush_ends_although_calls_keep_coming(setting: Setting) -> None:
    setting.shelf.gate.clear()
    setting.record(1)
    flushing = asyncio.ensure_future(setting.batches.flush())
    await setting.settle()
    setting.record(2)
    setting.shelf.gate.set()
    assert await flushing
    assert setting.shelf.numbers == [1]


async def test_what_could_not_be_written_is_tried_again_ever_more_rarely(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.shelf.is_broken = True
    setting.record(1, 2)
    setting.change(1)
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.tries == 1
    assert caplog.messages == ["what was recorded cannot be written: disk I/O error"]
    wait_s = RETRY_S_MIN
    for tries in range(2, 12):
        await setting.turn(wait_s * 0.99)
        assert setting.shelf.tries == tries - 1
        await setting.turn(wait_s * 0.01 + 1e-9)
        assert setting.shelf.tries == tries
        wait_s = min(wait_s * 2, RETRY_S_MAX)
    assert wait_s == RETRY_S_MAX
    setting.shelf.is_broken = False
    setting.record(3)
    await setting.turn(RETRY_S_MAX)
    assert setting.shelf.numbers == [1, 2, 3]
    assert setting.shelf.sizes == [(3, 1)]


async def test_after_a_failure_the_usual_delay_holds_again(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    setting.shelf.is_broken = False
    await setting.turn(RETRY_S_MIN)
    setting.record(2)
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.numbers == [1, 2]


async def test_a_full_batch_does_not_hurry_a_database_that_fails(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    setting.record(*range(2, 2 * BATCH_ROWS))
    await setting.settle()
    assert setting.shelf.tries == 1


async def test_a_failed_flush_says_so_and_loses_nothing(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.record(1)
    setting.change(1)
    assert not await setting.batches.flush()
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    assert setting.shelf.sizes == [(1, 1)]
    assert setting.clock.timer_count == 0


async def test_news_of_a_device_joins_what_could_not_be_written(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.change(1)
    await setting.turn(BATCH_DELAY_S)
    setting.shelf.is_broken = False
    setting.change(1, is_online=False)
    await setting.turn(RETRY_S_MIN)
    [(_, [note])] = setting.shelf.written
    assert (note.is_online, note.online_ms) == (False, NOW_MS + 1)


async def test_news_that_came_while_writing_failed_joins_too(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.shelf.gate.clear()
    call = a_call(1)
    setting.batches.record_call(call)
    setting.change(1)
    await setting.turn(BATCH_DELAY_S)
    call.add_evidence(EVIDENCE)
    setting.batches.record_call(call)
    setting.change(1, is_online=False)
    setting.shelf.gate.set()
    await setting.settle()
    assert setting.batches.calls_waiting == 1
    setting.shelf.is_broken = False
    await setting.turn(RETRY_S_MIN)
    [([written], [note])] = setting.shelf.written
    assert written.evidence == [EVIDENCE]
    assert (note.is_online, note.online_ms) == (False, NOW_MS + 1)


async def test_a_device_is_known_to_wait_until_it_is_written(setting: Setting) -> None:
    key = DeviceKey(PRODUCT_KEY, "lamp-0001")
    assert not setting.batches.has_presence(key)
    setting.change(1)
    assert setting.batches.has_presence(key)
    setting.shelf.gate.clear()
    await setting.turn(BATCH_DELAY_S)
    assert setting.batches.has_presence(key)
    setting.shelf.gate.set()
    await setting.settle()
    assert not setting.batches.has_presence(key)


async def test_what_waits_for_a_device_can_be_forgotten(setting: Setting) -> None:
    setting.change(1, 2)
    setting.batches.forget_device(LAMP)
    setting.batches.forget_device(DeviceKey(PRODUCT_KEY, "none"))
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.sizes == [(0, 1)]


async def test_a_flush_that_is_cancelled_loses_nothing(setting: Setting) -> None:
    setting.shelf.gate.clear()
    setting.record(1)
    setting.change(1)
    flushing = asyncio.ensure_future(setting.batches.flush())
    await setting.settle()
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert setting.batches.calls_waiting == 1
    setting.shelf.gate.set()
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.sizes == [(1, 1)]


async def test_calls_wait_up_to_the_bound_and_the_oldest_goes_past_it(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    setting.record(*range(2, HISTORY_QUEUE_MAX + 1))
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (HISTORY_QUEUE_MAX, 0)
    setting.record(HISTORY_QUEUE_MAX + 1)
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (HISTORY_QUEUE_MAX, 1)
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    assert setting.shelf.numbers == list(range(2, HISTORY_QUEUE_MAX + 2))


async def test_a_flood_of_calls_pushes_out_no_asynchronous_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "HISTORY_QUEUE_MAX", 3)
    setting = Setting()
    setting.batches.record_call(an_open_call(1))
    setting.record(2, 3, 4)
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (4, 0)
    setting.record(5)
    for number in (6, 7):
        setting.batches.record_call(an_open_call(number))
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (6, 1)
    setting.batches.record_call(an_open_call(8))
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (6, 2)
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.numbers == [6, 7, 8, 3, 4, 5]


async def test_asynchronous_calls_wait_like_others(setting: Setting) -> None:
    setting.batches.record_call(an_open_call(1))
    await setting.turn(BATCH_DELAY_S)
    for number in range(2, BATCH_ROWS + 2):
        setting.batches.record_call(an_open_call(number))
    await setting.settle()
    assert setting.shelf.numbers == list(range(1, BATCH_ROWS + 2))
    assert setting.clock.timer_count == 0


async def test_what_is_being_written_counts_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "HISTORY_QUEUE_MAX", 3)
    setting = Setting()
    setting.shelf.gate.clear()
    setting.record(1, 2)
    await setting.turn(BATCH_DELAY_S)
    setting.record(3, 4)
    assert (setting.batches.calls_waiting, setting.batches.calls_dropped) == (3, 1)
    setting.shelf.gate.set()
    assert await setting.batches.flush()
    assert setting.shelf.numbers == [1, 2, 4]


async def test_payloads_wait_up_to_the_bound_and_the_oldest_goes_past_it(setting: Setting) -> None:
    half = bytes(HISTORY_QUEUE_BYTES_MAX // 2)
    setting.batches.record_call(a_call(1, request_payload=half))
    setting.batches.record_call(a_call(2, answer_payload=half))
    assert setting.batches.calls_dropped == 0
    setting.batches.record_call(a_call(3, answer_payload=b"1"))
    assert setting.batches.calls_dropped == 1
    await setting.batches.flush()
    assert setting.shelf.numbers == [2, 3]
    setting.batches.record_call(a_call(4, request_payload=half))
    setting.batches.record_call(a_call(5, request_payload=half))
    assert setting.batches.calls_dropped == 1
    setting.batches.record_call(a_call(6, request_payload=half + half))
    assert setting.batches.calls_dropped == 3
    await setting.batches.flush()
    assert setting.shelf.numbers == [2, 3, 6]


async def test_evidence_that_is_added_counts_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "HISTORY_QUEUE_BYTES_MAX", 2 * len(EVIDENCE.payload))
    setting = Setting()
    first, second = a_call(1), a_call(2)
    setting.batches.record_call(first)
    setting.batches.record_call(second)
    for call in (second, second, first):
        assert setting.batches.calls_dropped == 0
        call.add_evidence(EVIDENCE)
        setting.batches.record_call(call)
    assert setting.batches.calls_dropped == 1
    await setting.batches.flush()
    assert setting.shelf.numbers == [2]


async def test_dropped_calls_are_told_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batches, "HISTORY_QUEUE_MAX", 1)
    setting = Setting()
    setting.shelf.gate.clear()
    setting.record(1, 2, 3)
    assert caplog.messages == ["calls dropped from the history since the start: 1"]
    await setting.turn(DROPPED_LOGGED_EVERY_S - 0.001)
    setting.record(4)
    assert len(caplog.messages) == 1
    await setting.turn(0.001)
    setting.record(5)
    assert caplog.messages[1:] == ["calls dropped from the history since the start: 4"]
    setting.shelf.gate.set()


async def test_a_call_that_cannot_be_written_takes_no_other_with_it(setting: Setting) -> None:
    setting.record(1)
    setting.batches.record_call(a_call(2, action="\ud800"))
    setting.batches.record_call(a_call(3, timeout_ms=2**64))
    setting.record(4)
    assert await setting.batches.flush()
    assert setting.shelf.numbers == [1, 4]
    assert (setting.batches.calls_dropped, setting.batches.calls_waiting) == (2, 0)


async def test_where_nothing_is_left_to_write_nothing_is_written(setting: Setting) -> None:
    setting.batches.record_call(a_call(1, action="\ud800"))
    assert await setting.batches.flush()
    assert (setting.batches.calls_dropped, setting.batches.calls_waiting, setting.shelf.tries) == (1, 0, 0)


async def test_closing_writes_what_waits(setting: Setting) -> None:
    setting.record(1)
    setting.change(1)
    await setting.batches.close()
    assert setting.shelf.sizes == [(1, 1)]
    assert setting.clock.timer_count == 0


async def test_closing_waits_for_the_batch_under_way(setting: Setting) -> None:
    setting.shelf.gate.clear()
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    setting.record(2)
    closing = asyncio.ensure_future(setting.batches.close())
    await setting.settle()
    assert not closing.done()
    setting.shelf.gate.set()
    await closing
    assert setting.shelf.numbers == [1, 2]


async def test_closing_leaves_no_task_behind(setting: Setting) -> None:
    setting.record(*range(1, BATCH_ROWS + 1))
    assert len(asyncio.all_tasks()) == 2
    await setting.batches.close()
    assert setting.shelf.sizes == [(BATCH_ROWS, 0)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_over_a_database_that_fails_says_what_is_lost(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.shelf.is_broken = True
    setting.record(1, 2)
    setting.change(1)
    await setting.batches.close()
    assert caplog.record_tuples[-1][1:] == (logging.ERROR, "closing with 2 calls, 1 devices not written")
    assert setting.clock.timer_count == 0


async def test_what_comes_after_closing_is_counted_and_dropped(setting: Setting) -> None:
    await setting.batches.close()
    setting.record(1)
    setting.change(1)
    await setting.turn(RETRY_S_MAX)
    assert setting.shelf.tries == 0
    assert (setting.batches.calls_dropped, setting.batches.calls_waiting) == (1, 0)


@pytest.mark.parametrize("call", [a_call(1), an_open_call(1)])
async def test_a_call_that_waits_is_found(setting: Setting, call: Call) -> None:
    setting.batches.record_call(call)
    assert setting.batches.find_call(call.request_id) is call
    setting.shelf.gate.clear()
    await setting.turn(BATCH_DELAY_S)
    assert setting.batches.find_call(call.request_id) is call
    setting.shelf.gate.set()
    await setting.settle()
    assert setting.batches.find_call(call.request_id) is None


async def test_batches_written_are_counted(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.record(1)
    await setting.turn(BATCH_DELAY_S)
    assert setting.batches.written_count == 0
    setting.shelf.is_broken = False
    await setting.turn(RETRY_S_MIN)
    assert setting.batches.written_count == 1


async def test_reports_wait_like_calls_and_go_with_them(setting: Setting) -> None:
    setting.report(1, 2)
    setting.batches.record_reports([an_event(NOW_MS + 3)])
    setting.record(1)
    await setting.turn(BATCH_DELAY_S * 0.98)
    assert setting.shelf.tries == 0
    await setting.turn(BATCH_DELAY_S * 0.02)
    assert setting.shelf.tries == 1
    assert setting.shelf.report_times == [1, 2, 3]
    setting.report(*range(BATCH_ROWS))
    await setting.settle()
    assert [len(batch.reports) for batch in setting.shelf.batches] == [3, BATCH_ROWS]
    assert setting.clock.timer_count == 0


async def test_of_the_values_of_a_property_the_newest_is_the_present_one(setting: Setting) -> None:
    setting.report(2, 3, 1)
    setting.batches.record_reports([a_point("later", NOW_MS + 3)])
    setting.report(5, key=OTHER_LAMP)
    setting.batches.record_reports([a_point("other", NOW_MS, identifier="Power")])
    await setting.turn(BATCH_DELAY_S)
    [batch] = setting.shelf.batches
    assert batch.present == [
        a_point("later", NOW_MS + 3),
        a_point("5", NOW_MS + 5, key=OTHER_LAMP),
        a_point("other", NOW_MS, identifier="Power"),
    ]
    assert len(batch.reports) == 6


async def test_a_newer_value_that_could_not_be_written_stays_the_present_one(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.report(2)
    await setting.turn(BATCH_DELAY_S)
    setting.report(1)
    setting.shelf.is_broken = False
    await setting.turn(RETRY_S_MIN)
    [batch] = setting.shelf.batches
    assert batch.present == [a_point("2", NOW_MS + 2)]
    assert setting.shelf.report_times == [2, 1]


async def test_reports_wait_up_to_the_bound_and_the_oldest_goes_past_it(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.shelf.is_broken = True
    setting.report(1)
    await setting.turn(BATCH_DELAY_S)
    setting.report(*range(2, REPORT_QUEUE_MAX + 1))
    assert setting.batches.reports_dropped == 0
    caplog.clear()
    setting.report(REPORT_QUEUE_MAX + 1)
    assert setting.batches.reports_dropped == 1
    assert caplog.messages == ["reports of devices dropped from the history since the start: 1"]
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    assert setting.shelf.report_times == list(range(2, REPORT_QUEUE_MAX + 2))


async def test_texts_of_reports_wait_up_to_the_bound_and_the_oldest_goes_past_it(setting: Setting) -> None:
    name_bytes = len("Brightness")
    half = "x" * (REPORT_QUEUE_BYTES_MAX // 2 - name_bytes)
    setting.batches.record_reports([a_point(half, NOW_MS + 1), a_point(half, NOW_MS + 2)])
    assert setting.batches.reports_dropped == 0
    setting.batches.record_reports([a_point("", NOW_MS + 3, identifier="x")])
    assert setting.batches.reports_dropped == 1
    assert await setting.batches.flush()
    assert setting.shelf.report_times == [2, 3]
    setting.batches.record_reports([a_point(half, NOW_MS + 4), a_point(half, NOW_MS + 5)])
    assert setting.batches.reports_dropped == 1


async def test_what_is_present_is_not_lost_with_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "REPORT_QUEUE_MAX", 1)
    setting = Setting()
    setting.batches.record_reports([a_point(identifier=f"p{number}") for number in range(3)])
    assert setting.batches.reports_dropped == 2
    await setting.turn(BATCH_DELAY_S)
    [batch] = setting.shelf.batches
    assert (len(batch.reports), len(batch.present)) == (1, 3)


async def test_a_report_that_cannot_be_written_takes_no_other_with_it(setting: Setting) -> None:
    setting.report(1)
    setting.batches.record_reports([a_point("\ud800"), a_point("1", 2**63), a_point("2", -(2**63))])
    setting.batches.record_reports([an_event(output="\ud800")])
    setting.report(2)
    assert await setting.batches.flush()
    assert setting.shelf.report_times == [1, 2]
    assert setting.batches.reports_dropped == 4


async def test_the_latest_state_of_a_session_is_written(setting: Setting) -> None:
    for kept_until_ms in (1, 2, 3):
        setting.batches.record_session(SessionNote.of(a_session(kept_until_ms=kept_until_ms)))
    setting.batches.record_session(SessionNote.of(a_session(OTHER_LAMP)))
    await setting.turn(BATCH_DELAY_S)
    [batch] = setting.shelf.batches
    assert batch.sessions == [SessionNote.of(a_session(kept_until_ms=3)), SessionNote.of(a_session(OTHER_LAMP))]


async def test_accepted_calls_are_forgotten_in_one_with_their_history(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.batches.record_accepted(7, [an_open_call(1), an_open_call(2)])
    assert not await setting.batches.flush()
    setting.shelf.is_broken = False
    setting.batches.record_accepted(8, [an_open_call(3)])
    assert await setting.batches.flush()
    [batch] = setting.shelf.batches
    assert (len(batch.calls), batch.settled) == (3, [7, 8])


@pytest.mark.parametrize("is_unwritable", [True, False])
async def test_an_accepted_call_that_is_dropped_from_the_history_stays_where_it_is(
    setting: Setting, is_unwritable: bool
) -> None:
    call = an_open_call(1)
    setting.batches.record_accepted(7, [call])
    if is_unwritable:
        call.target = "\ud800"
    else:
        for number in range(2, HISTORY_QUEUE_MAX + 2):
            setting.batches.record_call(an_open_call(number))
    assert await setting.batches.flush()
    assert setting.batches.calls_dropped == 1
    assert [batch.settled for batch in setting.shelf.batches if batch.settled] == []


async def test_what_was_accepted_last_before_closing_is_left_to_the_next(setting: Setting) -> None:
    await setting.batches.close()
    setting.batches.record_accepted(7, [an_open_call(1)])
    assert setting.batches.calls_dropped == 1
    await setting.batches.flush()
    assert setting.shelf.batches == []


async def test_messages_to_forget_are_never_dropped(setting: Setting) -> None:
    setting.shelf.is_broken = True
    for row_id in range(1, REPORT_QUEUE_MAX + 2):
        setting.batches.drop_message(row_id)
    setting.batches.drop_message(1)
    assert not await setting.batches.flush()
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    dropped = [row_id for batch in setting.shelf.batches for row_id in batch.dropped_messages]
    assert sorted(dropped) == list(range(1, REPORT_QUEUE_MAX + 2))


async def test_a_message_is_not_forgotten_before_what_became_of_the_calls_before_it_is_written(
    setting: Setting,
) -> None:
    setting.shelf.gate.clear()
    for number in range(1, 2 * BATCH_ROWS + 2):
        setting.batches.record_call(an_open_call(number))
        setting.batches.drop_message(number)
    setting.shelf.gate.set()
    assert await setting.batches.flush()
    written = [(len(batch.calls), len(batch.dropped_messages)) for batch in setting.shelf.batches]
    assert written == [(2 * BATCH_ROWS + 1, BATCH_ROWS), (0, BATCH_ROWS), (0, 1)]


async def test_nothing_of_a_deleted_device_is_put_back(setting: Setting) -> None:
    setting.shelf.is_broken = True
    setting.shelf.gate.clear()
    for key in (LAMP, OTHER_LAMP):
        setting.report(1, key=key)
        setting.batches.record_session(SessionNote.of(a_session(key)))
        setting.batches.record_presence(PresenceChange(key, True, NOW_MS))
    await setting.turn(BATCH_DELAY_S)
    setting.report(2)
    setting.batches.forget_device(LAMP)
    setting.shelf.gate.set()
    await setting.settle()
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    [batch] = setting.shelf.batches
    left = [report.key for report in batch.reports], [point.key for point in batch.present]
    assert left == ([OTHER_LAMP], [OTHER_LAMP])
    assert [note.key for note in batch.sessions] == [OTHER_LAMP]
    assert [note.key for note in batch.presence] == [OTHER_LAMP]


async def test_what_is_forgotten_does_not_count_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "REPORT_QUEUE_BYTES_MAX", 2 * len("Brightness1"))
    setting = Setting()
    setting.report(1, 2)
    setting.batches.forget_device(LAMP)
    setting.report(3, 4)
    assert setting.batches.reports_dropped == 0
    await setting.turn(BATCH_DELAY_S)
    setting.report(5, 6)
    assert setting.batches.reports_dropped == 0


async def test_closing_writes_every_kind_and_then_takes_none(setting: Setting) -> None:
    def record_each() -> None:
        setting.report(1)
        setting.batches.record_session(SessionNote.of(a_session()))
        setting.batches.drop_message(1)

    record_each()
    await setting.batches.close()
    record_each()
    assert await setting.batches.flush()
    [batch] = setting.shelf.batches
    assert [isinstance(report, PropertyPoint) for report in batch.reports] == [True]
    assert (len(batch.present), len(batch.sessions), batch.dropped_messages) == (1, 1, [1])
    assert setting.batches.reports_dropped == 1
    assert setting.clock.timer_count == 0


async def test_a_notice_is_written_with_the_call_that_it_tells_of(setting: Setting) -> None:
    """However many wait, and whatever waits before them."""
    setting.shelf.is_broken = True
    setting.record(*range(1, BATCH_ROWS + 2))
    for number in range(2 * BATCH_ROWS):
        setting.batches.record_call(an_open_call(number))
        setting.notify(number)
    assert not await setting.batches.flush()
    setting.shelf.is_broken = False
    await setting.turn(RETRY_S_MAX)
    [first] = [batch for batch in setting.shelf.batches if batch.notices]
    told = {note.notice.message_id for note in first.notices}
    kept = {decode_call(row[RECORD]).message_id for row in first.calls if decode_call(row[RECORD]).is_asynchronous}
    assert told == kept == set(range(2 * BATCH_ROWS))


async def test_notices_wait_for_company_up_to_a_batch(setting: Setting) -> None:
    setting.notify(1)
    await setting.settle()
    assert setting.shelf.notice_numbers == []
    await setting.turn(BATCH_DELAY_S)
    assert setting.shelf.notice_numbers == [1]
    setting.notify(*range(2, BATCH_ROWS + 2))
    await setting.settle()
    assert setting.shelf.notice_numbers == list(range(1, BATCH_ROWS + 2))


async def test_of_too_many_notices_the_oldest_are_dropped_and_counted(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.shelf.is_broken = True
    setting.notify(*range(NOTICE_QUEUE_MAX))
    assert setting.batches.notices_dropped == 0
    setting.notify(NOTICE_QUEUE_MAX)
    assert setting.batches.notices_dropped == 1
    assert "messages for subscribers dropped since the start: 1" in caplog.messages
    assert ("linkstead_dropped_total", ("notices",), 1.0) in list(setting.batches.sample())
    setting.shelf.is_broken = False
    assert await setting.batches.flush()
    assert setting.shelf.notice_numbers == list(range(1, NOTICE_QUEUE_MAX + 1))


async def test_of_too_large_notices_the_oldest_are_dropped_and_counted(setting: Setting) -> None:
    half = bytes(NOTICE_QUEUE_BYTES_MAX // 2)
    setting.notify(1, 2, payload=half)
    assert setting.batches.notices_dropped == 0
    setting.notify(3, payload=b"1")
    assert setting.batches.notices_dropped == 1
    assert await setting.batches.flush()
    assert setting.shelf.notice_numbers == [2, 3]


async def test_no_flood_of_calls_pushes_out_a_notice(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "HISTORY_QUEUE_MAX", 3)
    flooded = Setting()
    flooded.notify(1)
    flooded.record(*range(10))
    assert (flooded.batches.notices_dropped, flooded.batches.calls_dropped) == (0, 7)
    assert await flooded.batches.flush()
    assert flooded.shelf.notice_numbers == [1]


async def test_a_notice_that_cannot_be_kept_is_dropped_alone(setting: Setting) -> None:
    setting.notify(1)
    setting.batches.record_notice([DESTINATION], a_notice(2, topic="/\ud800"))
    assert setting.batches.notices_dropped == 1
    assert await setting.batches.flush()
    assert setting.shelf.notice_numbers == [1]


async def test_notices_after_closing_are_counted_as_dropped(setting: Setting) -> None:
    await setting.batches.close()
    setting.notify(1)
    assert setting.batches.notices_dropped == 1
    assert setting.clock.timer_count == 0
