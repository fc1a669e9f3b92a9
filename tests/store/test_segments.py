"""Calls that are kept many to a row: found and listed as if each had its own; on every engine."""

import random
from pathlib import Path
from typing import Any

import pytest

from linkstead.invocation import Call, CallFilter, Diagnosis, Evidence, Stage, Stray, Verdict
from linkstead.registry import DeviceKey
from linkstead.store import SqliteStore, retention, segments
from linkstead.store.batches import BATCH_ROWS
from linkstead.store.history import encode_call
from linkstead.store.retention import CALL_HISTORY_DAYS, DAY_MS, PRUNED_PER_TRANSACTION_MAX
from linkstead.store.segments import SEGMENT_CALLS_MIN, is_for_segment
from linkstead.store.sql import SqlStore
from linkstead.telemetry import Span
from linkstead.testing.clock import ManualClock
from tests.store.samples import (
    ACCOUNT_ID,
    ALWAYS,
    LAMP,
    NOW_MS,
    OTHER_LAMP,
    PRODUCT_KEY,
    a_call,
    an_open_call,
    count_of,
    keep,
    numbers,
    values,
)

MANY = 2 * SEGMENT_CALLS_MIN


def a_returned_call(number: int = 1, *, received_ms: int = NOW_MS, **fields: Any) -> Call:
    """A call whose app has its answer: of such are segments made."""
    call = a_call(number, received_ms=received_ms, **fields)
    call.mark(Stage.RETURNED, received_ms / 1000 + 5, 1_005.0)
    return call


def a_service_call(number: int, **fields: Any) -> Call:
    """A synchronous service whose app has its answer; its Alink id is `number` too."""
    given: dict[str, Any] = {"action": "InvokeThingService", "target": "setMode", "alink_id": number}
    return a_returned_call(number, **(given | fields))


async def count_rows(store: SqlStore) -> tuple[int, int]:
    """Rows of calls, and segments."""
    return (
        await store._read(count_of, "call_history"),
        await store._read(count_of, "call_segment"),
    )


def test_a_call_whose_app_has_its_answer_is_for_a_segment() -> None:
    assert is_for_segment(a_returned_call(), encode_call(a_returned_call()))
    rejected = a_returned_call(verdict=Verdict.REJECTED, diagnosis=Diagnosis.REJECTED, key=None)
    assert is_for_segment(rejected, encode_call(rejected))
    service = a_service_call(1)
    assert is_for_segment(service, encode_call(service))


@pytest.mark.parametrize(
    "call",
    [
        a_call(),
        a_call(timeline=[]),
        an_open_call(),
        a_returned_call(verdict=None, diagnosis=None),
        a_returned_call(is_asynchronous=True),
        a_returned_call(evidence=[Evidence(Stray.LATE, NOW_MS, "", "/a/topic", b"late", 4)]),
    ],
)
def test_a_call_that_is_looked_for_otherwise_or_written_again_is_not(call: Call) -> None:
    assert not is_for_segment(call, encode_call(call))


def test_a_fault_that_acted_after_the_answer_has_a_call_written_as_a_row() -> None:
    call = a_returned_call()
    call.mark(Stage.PLANTED_DUPLICATE_ANSWER, NOW_MS / 1000 + 6, 1_006.0)
    assert not is_for_segment(call, encode_call(call))


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "expected"), [(SEGMENT_CALLS_MIN - 1, (31, 0)), (SEGMENT_CALLS_MIN, (0, 1))])
async def test_few_calls_are_rows_and_many_are_a_segment(
    store: SqlStore, count: int, expected: tuple[int, int]
) -> None:
    await keep(store, *(a_returned_call(number) for number in range(1, count + 1)))
    assert await count_rows(store) == expected
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == list(range(count, 0, -1))


@pytest.mark.asyncio
async def test_calls_in_a_segment_are_found_by_either_id(store: SqlStore) -> None:
    calls = [a_returned_call(10**18 + number, received_ms=NOW_MS + number) for number in range(MANY)]
    await keep(store, *calls)
    assert await count_rows(store) == (0, 1)
    for call in (calls[0], calls[7], calls[-1]):
        assert values(await store.find_call(ACCOUNT_ID, str(call.message_id))) == values(call)
        assert values(await store.find_call(ACCOUNT_ID, call.request_id)) == values(call)
        assert await store.find_call("1002", call.request_id) is None
    for call_id in ("", "0", "1", "x", "²", str(10**18 + MANY), "9" * 5_000):
        assert await store.find_call(ACCOUNT_ID, call_id) is None


@pytest.mark.asyncio
async def test_ids_that_are_alike_by_chance_are_told_apart(store: SqlStore) -> None:
    await keep(store, *(a_returned_call(number) for number in range(1, MANY)))
    assert await store.find_call(ACCOUNT_ID, str(2**32 + 7)) is None
    assert values(await store.find_call(ACCOUNT_ID, "7")) == values(a_returned_call(7))


@pytest.mark.asyncio
async def test_calls_of_each_account_are_kept_apart(store: SqlStore) -> None:
    mine = [a_returned_call(number) for number in range(1, MANY)]
    theirs = [a_returned_call(number, account_id="1002") for number in range(MANY, 2 * MANY)]
    a_few = [a_returned_call(number, account_id="1003") for number in range(2 * MANY, 2 * MANY + 3)]
    await keep(store, *(call for pair in zip(mine, theirs, strict=False) for call in pair), *a_few)
    assert await count_rows(store) == (3, 2)
    for account_id, expected in ((ACCOUNT_ID, mine), ("1002", theirs[: len(mine)]), ("1003", a_few)):
        assert numbers(await store.list_calls(CallFilter(account_id, limit=1_000))) == numbers(expected[::-1])


@pytest.mark.asyncio
async def test_a_call_that_something_came_for_later_is_as_it_is_now(store: SqlStore) -> None:
    fields = {"verdict": Verdict.TIMEOUT, "diagnosis": Diagnosis.WRITTEN_NO_ANSWER}
    calls = [a_returned_call(number, received_ms=NOW_MS + number, **fields) for number in range(MANY)]
    await keep(store, *calls)
    late = calls[5]
    late.diagnosis = Diagnosis.ANSWERED_LATE
    late.add_evidence(Evidence(Stray.LATE, NOW_MS + 9, str(late.key), "/a/topic", b"late", 4))
    await keep(store, late)
    assert await count_rows(store) == (1, 1)
    assert values(await store.find_call(ACCOUNT_ID, late.request_id)) == values(late)
    assert values(await store.find_call(ACCOUNT_ID, str(late.message_id))) == values(late)
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, limit=MANY))) == list(range(MANY - 1, -1, -1))
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.ANSWERED_LATE))) == [5]
    others = CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.WRITTEN_NO_ANSWER, limit=MANY)
    assert 5 not in numbers(await store.list_calls(others))


FILTERS = [
    CallFilter(ACCOUNT_ID, limit=1_000),
    CallFilter(ACCOUNT_ID, limit=7),
    CallFilter(ACCOUNT_ID, limit=0),
    CallFilter(ACCOUNT_ID, product_key=PRODUCT_KEY, device_name="lamp-0002", limit=9),
    CallFilter(ACCOUNT_ID, device_name="lamp-0001"),
    CallFilter(ACCOUNT_ID, product_key="none"),
    CallFilter(ACCOUNT_ID, action="InvokeThingService", limit=200),
    CallFilter(ACCOUNT_ID, action="RRpc", verdict=Verdict.TIMEOUT),
    CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.EXT_NOT_SET),
    CallFilter(ACCOUNT_ID, verdict=Verdict.OFFLINE),
    CallFilter(ACCOUNT_ID, before_ms=NOW_MS + 333, limit=20),
    CallFilter(ACCOUNT_ID, before_ms=NOW_MS - 5_000, device_name="lamp-0002", limit=20),
    CallFilter("1002"),
]


@pytest.mark.asyncio
async def test_a_filter_means_the_same_as_in_memory(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in rows and in segments, whose times overlap, as calls end in another order than they began in."""
    monkeypatch.setattr(segments, "SEGMENTS_READ_FIRST", 1)
    monkeypatch.setattr(segments, "SEGMENTS_READ_MAX", 2)
    chance = random.Random(6)
    kept: list[Call] = []
    times = iter(chance.sample(range(NOW_MS - 6_000, NOW_MS + 2_000), 12 * 50))
    for part in range(12):
        calls = []
        for number in range(part * 50, part * 50 + 50):
            fields: dict[str, Any] = {"key": chance.choice((LAMP, LAMP, OTHER_LAMP))}
            if chance.random() < 0.1:
                fields |= {"verdict": Verdict.TIMEOUT, "diagnosis": Diagnosis.WRITTEN_NO_ANSWER}
            if chance.random() < 0.02:
                fields |= {"verdict": Verdict.TIMEOUT, "diagnosis": Diagnosis.EXT_NOT_SET}
            if chance.random() < 0.1:
                fields |= {"action": "InvokeThingService", "target": "setMode"}
            if chance.random() < 0.05:
                fields |= {"key": DeviceKey(PRODUCT_KEY, f"lamp-{number:04}")}
            if chance.random() < 0.1:
                fields |= {"is_asynchronous": True}
            calls.append(a_returned_call(number + 1, received_ms=next(times), **fields))
        await keep(store, *calls)
        kept += calls
    rows, in_segments = await count_rows(store)
    assert rows > 30
    assert in_segments == 12
    kept.sort(key=lambda call: call.received_ms, reverse=True)
    for wanted in FILTERS:
        expected = [call.message_id for call in kept if wanted.matches(call)][: wanted.limit]
        assert numbers(await store.list_calls(wanted)) == expected


@pytest.mark.asyncio
async def test_services_in_segments_are_found_by_their_alink_ids(store: SqlStore) -> None:
    calls = [a_service_call(10**18 + n, alink_id=1_000 + n % 40, received_ms=NOW_MS + n) for n in range(MANY)]
    await keep(store, *calls)
    assert await count_rows(store) == (0, 1)
    # Those of the first 24 were given anew.
    for alink_id, expected in ((1_000, calls[40]), (1_023, calls[63]), (1_024, calls[24]), (1_039, calls[39])):
        assert values(await store.find_call(ACCOUNT_ID, str(alink_id))) == values(expected)
    assert await store.find_call(ACCOUNT_ID, "1040") is None
    assert await store.find_call("1002", "1000") is None
    assert await store.find_call(ACCOUNT_ID, str(2**32 + 1_000)) is None
    later, earlier = (a_call(n, alink_id=1_000, received_ms=NOW_MS + ms) for n, ms in ((1, 900), (2, -900)))
    await keep(store, earlier)
    assert values(await store.find_call(ACCOUNT_ID, "1000")) == values(calls[40])
    await keep(store, later)
    assert values(await store.find_call(ACCOUNT_ID, "1000")) == values(later)


@pytest.mark.asyncio
async def test_a_service_that_was_answered_late_is_as_it_is_now(store: SqlStore) -> None:
    fields = {"verdict": Verdict.TIMEOUT, "diagnosis": Diagnosis.WRITTEN_NO_ANSWER}
    calls = [a_service_call(number, received_ms=NOW_MS + number, **fields) for number in range(1, MANY)]
    await keep(store, *calls)
    late = calls[5]
    late.diagnosis = Diagnosis.ANSWERED_LATE
    late.add_evidence(Evidence(Stray.LATE, NOW_MS + 9, str(late.key), "/a/topic", b"late", 4))
    await keep(store, late)
    assert await count_rows(store) == (1, 1)
    for call_id in (late.request_id, str(late.message_id)):
        assert values(await store.find_call(ACCOUNT_ID, call_id)) == values(late)
    listed = await store.list_service_calls(ACCOUNT_ID, LAMP, "setMode", ALWAYS)
    assert [values(call) for call in listed] == [values(call) for call in calls]


def matches_span(call: Call, key: DeviceKey, identifier: str | None, span: Span) -> bool:
    place = (call.received_ms, call.request_id)
    return (
        call.account_id == ACCOUNT_ID
        and call.key == key
        and call.action == "InvokeThingService"
        and call.verdict is not Verdict.REJECTED
        and identifier in (None, call.target)
        and span.start_ms <= call.received_ms <= span.end_ms
        and (span.after is None or (place > span.after if span.ascending else place < span.after))
    )


@pytest.mark.asyncio
async def test_services_of_rows_and_segments_are_listed_together(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENTS_READ_FIRST", 1)
    monkeypatch.setattr(segments, "SEGMENTS_READ_MAX", 2)
    chance = random.Random(7)
    kept: list[Call] = []
    for part in range(8):
        calls = []
        for number in range(part * 60, part * 60 + 60):
            fields: dict[str, Any] = {
                "key": chance.choice((LAMP, LAMP, OTHER_LAMP)),
                "target": chance.choice(("setMode", "setMode", "reboot")),
                "is_asynchronous": chance.random() < 0.2,
                "account_id": chance.choice((ACCOUNT_ID, ACCOUNT_ID, ACCOUNT_ID, "1002")),
            }
            if chance.random() < 0.1:
                fields |= {"verdict": Verdict.REJECTED, "diagnosis": Diagnosis.REJECTED}
            if chance.random() < 0.1:
                fields |= {"action": "RRpc"}
            # Several of a moment, in several segments.
            calls.append(a_service_call(number + 1, received_ms=NOW_MS + chance.randrange(150), **fields))
        await keep(store, *calls)
        kept += calls
    assert (await count_rows(store))[1] >= 8
    for turn in range(60):
        ascending = bool(turn % 2)
        key, identifier = chance.choice((LAMP, OTHER_LAMP)), chance.choice((None, "setMode", "reboot", "none"))
        start_ms, end_ms = (NOW_MS + chance.choice((-9, chance.randrange(150), 200)) for _ in range(2))
        last = chance.choice(kept)
        after = (last.received_ms, last.request_id) if turn % 3 else None
        span = Span(min(start_ms, end_ms), max(start_ms, end_ms), ascending, chance.choice((1, 5, 20, 500)), after)
        expected = [call for call in kept if matches_span(call, key, identifier, span)]
        expected.sort(key=lambda call: (call.received_ms, call.request_id), reverse=not ascending)
        listed = await store.list_service_calls(ACCOUNT_ID, key, identifier, span)
        assert numbers(listed) == numbers(expected[: span.limit])


@pytest.mark.asyncio
async def test_calls_of_many_segments_are_listed_page_by_page(store: SqlStore) -> None:
    for part in range(10):
        await keep(store, *(a_returned_call(n, received_ms=NOW_MS + n) for n in range(part * 40, part * 40 + 40)))
    listed: list[int] = []
    before_ms: int | None = None
    while page := await store.list_calls(CallFilter(ACCOUNT_ID, before_ms=before_ms, limit=33)):
        listed += numbers(page)
        before_ms = page[-1].received_ms
    assert listed == list(range(399, -1, -1))


@pytest.mark.asyncio
async def test_segments_of_calls_past_their_age_are_deleted(store: SqlStore) -> None:
    now_ms = NOW_MS + CALL_HISTORY_DAYS * DAY_MS
    await keep(store, *(a_returned_call(number, received_ms=NOW_MS - 2) for number in range(MANY)))
    await keep(store, *(a_returned_call(number, received_ms=NOW_MS) for number in range(MANY, 2 * MANY)))
    assert await store.prune(now_ms) == MANY
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, limit=200))) == list(range(2 * MANY - 1, MANY - 1, -1))
    assert await store.prune(now_ms + 1) == MANY
    assert await count_rows(store) == (0, 0)


@pytest.mark.asyncio
async def test_of_rows_and_segments_past_the_number_kept_the_older_are_deleted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CALL_HISTORY_ROWS_MAX", 110)
    await keep(store, a_call(1, received_ms=NOW_MS - 9), a_call(2, received_ms=NOW_MS - 8))
    await keep(store, *(a_returned_call(number) for number in range(10, 60)))
    await keep(store, a_call(3, received_ms=NOW_MS + 1))
    await keep(store, *(a_returned_call(number, received_ms=NOW_MS + 2) for number in range(60, 110)))
    assert await store.prune(NOW_MS) == 0
    await keep(store, *(a_call(number, received_ms=NOW_MS + 3) for number in range(200, 209)))
    assert await store.prune(NOW_MS) == 2
    assert await count_rows(store) == (10, 2)
    await keep(store, *(a_returned_call(number, received_ms=NOW_MS + 4) for number in range(110, 160)))
    assert await store.prune(NOW_MS) == 50
    left = numbers(await store.list_calls(CallFilter(ACCOUNT_ID, limit=1_000)))
    assert left == [*range(159, 109, -1), *range(208, 199, -1), *range(109, 59, -1), 3]


@pytest.mark.asyncio
async def test_rows_alone_go_where_segments_are_all_that_may_be_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CALL_HISTORY_ROWS_MAX", 40)
    await keep(store, *(a_returned_call(number) for number in range(50)))
    await keep(store, *(a_returned_call(number, received_ms=NOW_MS + 1) for number in range(50, 85)))
    assert await store.prune(NOW_MS) == 0
    await keep(store, a_call(99, received_ms=NOW_MS + 2), *(a_call(n, received_ms=NOW_MS) for n in range(200, 204)))
    assert await store.prune(NOW_MS) == 50
    assert await count_rows(store) == (5, 1)


@pytest.mark.asyncio
async def test_more_segments_are_deleted_than_one_transaction_takes(store: SqlStore) -> None:
    count = PRUNED_PER_TRANSACTION_MAX + BATCH_ROWS + 1
    await keep(store, *(a_returned_call(number) for number in range(count)))
    assert await store.prune(NOW_MS + CALL_HISTORY_DAYS * DAY_MS + 1) == count
    assert await count_rows(store) == (0, 0)


@pytest.mark.asyncio
async def test_rows_and_segments_are_listed_together_when_the_store_is_opened_again(tmp_path: Path) -> None:
    for turn in range(2):
        store = SqliteStore(tmp_path / "linkstead.db", ManualClock())
        await store.open()
        await keep(store, a_call(901 + turn, received_ms=NOW_MS + turn * 2))
        await keep(store, *(a_returned_call(n, received_ms=NOW_MS + 1) for n in range(turn * 50, turn * 50 + 50)))
        listed = numbers(await store.list_calls(CallFilter(ACCOUNT_ID, limit=1_000)))
        await store.close()
    assert listed == [902, *range(99, -1, -1), 901]
