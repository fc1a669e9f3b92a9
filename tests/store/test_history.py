"""The history of calls: rows and back, on every engine."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from linkstead.invocation import Call, CallFilter, Diagnosis, Evidence, Moment, Stage, Stray, Verdict
from linkstead.invocation.record import EVIDENCE_PAYLOAD_BYTES_MAX
from linkstead.registry import DeviceKey
from linkstead.store.history import (
    CALLS_LISTED_MAX,
    CALLS_MERGED_AT_ONCE_MAX,
    RECORD,
    SERVICE_ACTIONS,
    decode_call,
    encode_call,
)
from linkstead.store.sql import SqlStore
from linkstead.store.tables import INTEGER_MAX, call_history
from linkstead.telemetry import Span
from tests.store.samples import (
    ACCOUNT_ID,
    ALWAYS,
    LAMP,
    NOW_MS,
    OTHER_LAMP,
    PRODUCT_KEY,
    a_call,
    a_message,
    an_open_call,
    keep,
    numbers,
    values,
)

whole_numbers = st.integers(0, INTEGER_MAX)
moments = st.builds(
    Moment,
    stage=st.sampled_from(Stage),
    time_ms=whole_numbers,
    monotonic_s=st.floats(allow_nan=False),
    node=st.text(),
)
evidence = st.builds(
    Evidence,
    reason=st.sampled_from(Stray),
    time_ms=whole_numbers,
    sender=st.text(),
    topic=st.text(),
    payload=st.binary(),
    payload_bytes=whole_numbers,
)
call_fields: dict[str, st.SearchStrategy[Any]] = {
    "request_id": st.text(),
    "node": st.text(),
    "action": st.text(),
    "account_id": st.text(),
    "access_key_id": st.text(),
    "instance_id": st.text(),
    "message_id": whole_numbers,
    "key": st.none() | st.builds(DeviceKey, st.text(), st.text()),
    "target": st.text(),
    "timeout_ms": whole_numbers,
    "request_payload": st.binary(),
    "request_bytes": whole_numbers,
    "answer_payload": st.binary(),
    "answer_bytes": whole_numbers,
    "verdict": st.none() | st.sampled_from(Verdict),
    "code": st.text(),
    "diagnosis": st.none() | st.sampled_from(Diagnosis),
    "late_by_ms": whole_numbers,
    "timeline": st.lists(moments, max_size=9),
    "evidence": st.lists(evidence, max_size=3),
    "evidence_dropped": whole_numbers,
    "unknown_parameters": st.lists(st.text(), max_size=3),
    "caller_gone": st.booleans(),
    "is_asynchronous": st.booleans(),
    "alink_id": whole_numbers,
    "result_code": st.integers(-INTEGER_MAX, INTEGER_MAX),
    "output_faults": st.lists(st.text(), max_size=3),
    "iot_id": st.text(),
    "is_handed_over": st.booleans(),
    "is_stranded": st.booleans(),
}
calls = st.builds(Call, **call_fields)


@given(calls)
def test_a_call_comes_back_as_it_was(call: Call) -> None:
    decoded = decode_call(encode_call(call)[RECORD])
    assert values(decoded) == values(call)
    assert {type(moment.stage) for moment in decoded.timeline} <= {Stage}
    assert type(decoded.key) is type(call.key)


def test_every_field_of_a_call_is_tried() -> None:
    assert {field.name for field in msgspec.structs.fields(Call)} == set(call_fields)


def test_fields_keep_their_places() -> None:
    """What is on disk says nothing but the place: a new field goes to the end, any other change needs a revision."""
    assert [field.name for field in msgspec.structs.fields(Call)][:30] == [
        "request_id",
        "node",
        "action",
        "account_id",
        "access_key_id",
        "instance_id",
        "message_id",
        "key",
        "target",
        "timeout_ms",
        "request_payload",
        "request_bytes",
        "answer_payload",
        "answer_bytes",
        "verdict",
        "code",
        "diagnosis",
        "late_by_ms",
        "timeline",
        "evidence",
        "evidence_dropped",
        "unknown_parameters",
        "caller_gone",
        "is_asynchronous",
        "alink_id",
        "result_code",
        "output_faults",
        "iot_id",
        "is_handed_over",
        "is_stranded",
    ]
    assert [field.name for field in msgspec.structs.fields(Moment)][:4] == ["stage", "time_ms", "monotonic_s", "node"]


def test_a_record_from_before_a_field_was_added_is_read() -> None:
    """The fields that came with asynchronous calls, and so what is on disk from before them."""
    values_now = msgspec.msgpack.decode(encode_call(an_open_call(caller_gone=True, output_faults=["x"]))[RECORD])
    decoded = decode_call(msgspec.msgpack.encode(values_now[:23]))
    assert values(decoded) == values(an_open_call(is_asynchronous=False, alink_id=0, caller_gone=True))


def test_the_columns_of_a_row_are_those_of_the_table() -> None:
    row = encode_call(an_open_call(7, target="setMode"))
    names = [column.name for column in call_history.columns if column.name != "id"]
    shown = dict(zip(names, row, strict=True))
    record = shown.pop("record")
    assert isinstance(record, bytes)
    assert values(decode_call(record)) == values(an_open_call(7, target="setMode"))
    assert shown == {
        "request_id": an_open_call(7).request_id,
        "message_id": 7,
        "account_id": ACCOUNT_ID,
        "product_key": LAMP.product_key,
        "device_name": LAMP.device_name,
        "action": "InvokeThingService",
        "verdict": None,
        "diagnosis": None,
        "received_ms": NOW_MS,
        "alink_id": 7,
        "service": "setMode",
    }


def test_text_that_is_not_utf_8_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_call(a_call(action="\ud800"))


@pytest.mark.parametrize("call", [a_call(timeout_ms=2**64), a_call(INTEGER_MAX + 1), a_call(alink_id=INTEGER_MAX + 1)])
def test_a_number_past_64_bits_cannot_be_kept(call: Call) -> None:
    with pytest.raises(OverflowError):
        encode_call(call)


@pytest.mark.asyncio
async def test_a_call_is_found_by_either_id(store: SqlStore) -> None:
    call = a_call(889455942124347392)
    await keep(store, call, a_call(2))
    assert values(await store.find_call(ACCOUNT_ID, "889455942124347392")) == values(call)
    assert values(await store.find_call(ACCOUNT_ID, call.request_id)) == values(call)


@pytest.mark.asyncio
async def test_the_first_verdict_of_a_call_stays(store: SqlStore) -> None:
    ended, ended_otherwise, not_ended, told_more = (a_call(7) for _ in range(4))
    ended.verdict = told_more.verdict = Verdict.SUCCESS
    ended_otherwise.verdict, not_ended.verdict = Verdict.EXPIRED, None
    told_more.late_by_ms = 9
    await keep(store, ended)
    for call in (ended_otherwise, not_ended):
        await keep(store, call)
        assert values(await store.find_call(ACCOUNT_ID, "7")) == values(ended)
    await keep(store, told_more)
    assert values(await store.find_call(ACCOUNT_ID, "7")) == values(told_more)


@pytest.mark.asyncio
async def test_a_call_of_another_account_is_not_found(store: SqlStore) -> None:
    call = a_call(7, account_id="1002")
    await keep(store, call)
    assert await store.find_call(ACCOUNT_ID, "7") is None
    assert await store.find_call(ACCOUNT_ID, call.request_id) is None
    assert await store.list_calls(CallFilter(ACCOUNT_ID)) == []
    assert numbers(await store.list_calls(CallFilter("1002"))) == [7]


@pytest.mark.asyncio
@pytest.mark.parametrize("call_id", ["", "0", "1", "x", "²", str(INTEGER_MAX), str(INTEGER_MAX + 1), "9" * 5_000])
async def test_an_id_of_no_call_finds_none(store: SqlStore, call_id: str) -> None:
    await keep(store, a_call(0, key=None, verdict=Verdict.REJECTED, diagnosis=Diagnosis.REJECTED))
    assert await store.find_call(ACCOUNT_ID, call_id) is None


@pytest.mark.asyncio
async def test_the_highest_message_id_is_found(store: SqlStore) -> None:
    await keep(store, a_call(INTEGER_MAX))
    assert values(await store.find_call(ACCOUNT_ID, str(INTEGER_MAX))) == values(a_call(INTEGER_MAX))


@pytest.mark.asyncio
@pytest.mark.parametrize("alink_id", [1, 2**31 - 1, INTEGER_MAX])
async def test_a_call_is_found_by_its_alink_id_and_of_several_the_latest(store: SqlStore, alink_id: int) -> None:
    calls = [an_open_call(10**18 + number, alink_id=alink_id) for number in range(3)]
    other = a_call(10**18 + 3, alink_id=alink_id, account_id="1002")
    await keep(store, ended(calls[0]), calls[1], calls[2], other)
    assert values(await store.find_call(ACCOUNT_ID, str(alink_id))) == values(calls[2])
    store.record_call(ended(calls[2]))
    assert values(await store.find_call(ACCOUNT_ID, str(alink_id))) == values(calls[2])
    assert values(await store.find_call("1002", str(alink_id))) == values(other)
    assert await store.find_call("1003", str(alink_id)) is None


@pytest.mark.asyncio
async def test_a_message_id_comes_before_an_alink_id(store: SqlStore) -> None:
    call = a_call(7)
    await keep(store, call, a_call(8, alink_id=7))
    assert values(await store.find_call(ACCOUNT_ID, "7")) == values(call)


@pytest.mark.asyncio
async def test_a_request_id_of_digits_is_found(store: SqlStore) -> None:
    call = a_call(7)
    call.request_id = "12345"
    await keep(store, call)
    assert values(await store.find_call(ACCOUNT_ID, "12345")) == values(call)


@pytest.mark.asyncio
async def test_calls_are_listed_newest_first(store: SqlStore) -> None:
    await keep(store, *(a_call(number, received_ms=NOW_MS + number % 3) for number in range(1, 7)))
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [5, 2, 4, 1, 6, 3]
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, limit=2))) == [5, 2]
    assert await store.list_calls(CallFilter(ACCOUNT_ID, limit=0)) == []
    assert await store.list_calls(CallFilter(ACCOUNT_ID, limit=-1)) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "calls_wanted",
    [
        CallFilter(ACCOUNT_ID),
        CallFilter(ACCOUNT_ID, product_key=PRODUCT_KEY),
        CallFilter(ACCOUNT_ID, product_key=PRODUCT_KEY, device_name="lamp-0002"),
        CallFilter(ACCOUNT_ID, device_name="lamp-0001"),
        CallFilter(ACCOUNT_ID, action="InvokeThingService"),
        CallFilter(ACCOUNT_ID, verdict=Verdict.TIMEOUT),
        CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.EXT_NOT_SET),
        CallFilter(ACCOUNT_ID, before_ms=NOW_MS + 4),
        CallFilter(ACCOUNT_ID, action="RRpc", verdict=Verdict.TIMEOUT, before_ms=NOW_MS + 6),
        CallFilter(ACCOUNT_ID, action="none"),
    ],
)
async def test_a_filter_means_the_same_as_in_memory(store: SqlStore, calls_wanted: CallFilter) -> None:
    kept = [
        a_call(1, received_ms=NOW_MS + 1),
        a_call(2, received_ms=NOW_MS + 2, key=DeviceKey(PRODUCT_KEY, "lamp-0002")),
        a_call(3, received_ms=NOW_MS + 3, key=DeviceKey("a1Fan000001", "lamp-0001")),
        a_call(4, received_ms=NOW_MS + 4, action="InvokeThingService"),
        a_call(5, received_ms=NOW_MS + 5, verdict=Verdict.TIMEOUT, diagnosis=Diagnosis.EXT_NOT_SET),
        a_call(6, received_ms=NOW_MS + 6, verdict=Verdict.TIMEOUT, diagnosis=Diagnosis.WRITTEN_NO_ANSWER),
        a_call(7, received_ms=NOW_MS + 7, key=None, verdict=Verdict.REJECTED, diagnosis=Diagnosis.REJECTED, action=""),
        a_call(8, received_ms=NOW_MS + 8, account_id="1002"),
    ]
    await keep(store, *kept)
    expected = [call.message_id for call in reversed(kept) if calls_wanted.matches(call)]
    assert numbers(await store.list_calls(calls_wanted)) == expected


@pytest.mark.asyncio
async def test_a_listing_has_an_end(store: SqlStore) -> None:
    await keep(store, *(a_call(number) for number in range(1, CALLS_LISTED_MAX + 2)))
    assert len(await store.list_calls(CallFilter(ACCOUNT_ID, limit=CALLS_LISTED_MAX))) == CALLS_LISTED_MAX
    assert len(await store.list_calls(CallFilter(ACCOUNT_ID, limit=CALLS_LISTED_MAX + 1))) == CALLS_LISTED_MAX


@pytest.mark.asyncio
async def test_a_call_recorded_again_replaces_what_was_kept(store: SqlStore) -> None:
    call = a_call(1, verdict=Verdict.TIMEOUT, diagnosis=Diagnosis.WRITTEN_NO_ANSWER)
    await keep(store, call)
    call.diagnosis = Diagnosis.ANSWERED_LATE
    call.late_by_ms = 120
    call.add_evidence(Evidence(Stray.LATE, NOW_MS + 9, str(call.key), "/a/topic", b"late", 4))
    await keep(store, call)
    assert values(await store.find_call(ACCOUNT_ID, "1")) == values(call)
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.ANSWERED_LATE))) == [1]
    assert await store.list_calls(CallFilter(ACCOUNT_ID, diagnosis=Diagnosis.WRITTEN_NO_ANSWER)) == []


SERVICE_CALLS = [
    a_call(1, received_ms=NOW_MS + 1, action="InvokeThingService", target="setMode"),
    a_call(2, received_ms=NOW_MS + 2, action="InvokeThingsService", target="reboot"),
    a_call(3, received_ms=NOW_MS + 3, action="SetDeviceProperty", target="set"),
    a_call(4, received_ms=NOW_MS + 3, action="SetDevicesProperty", target="set"),
    an_open_call(5, received_ms=NOW_MS + 4),
    a_call(6, received_ms=NOW_MS + 4, action="RRpc", target="/user/get"),
    a_call(7, received_ms=NOW_MS + 4, action="InvokeThingService", target="setMode", key=OTHER_LAMP),
    a_call(8, received_ms=NOW_MS + 4, action="InvokeThingService", target="setMode", account_id="1002"),
    a_call(
        9,
        received_ms=NOW_MS + 4,
        action="InvokeThingService",
        target="setMode",
        verdict=Verdict.REJECTED,
        diagnosis=Diagnosis.REJECTED,
    ),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("identifier", "span", "expected"),
    [
        (None, ALWAYS, [1, 2, 3, 4, 5]),
        (None, Span(0, 2 * NOW_MS, False, 50), [5, 4, 3, 2, 1]),
        ("setMode", ALWAYS, [1, 5]),
        ("set", ALWAYS, [3, 4]),
        ("none", ALWAYS, []),
        (None, Span(NOW_MS + 2, NOW_MS + 3, True, 50), [2, 3, 4]),
        (None, Span(NOW_MS + 3, NOW_MS + 2, True, 50), []),
        (None, Span(0, 2 * NOW_MS, True, 2), [1, 2]),
        ("setMode", Span(0, 2 * NOW_MS, False, 1), [5]),
        (None, Span(0, 2 * NOW_MS, True, 0), []),
        (None, Span(0, 2 * NOW_MS, True, -1), []),
    ],
)
async def test_service_calls_are_listed_by_identifier_and_time(
    store: SqlStore, identifier: str | None, span: Span, expected: list[int]
) -> None:
    await keep(store, *SERVICE_CALLS)
    assert numbers(await store.list_service_calls(ACCOUNT_ID, LAMP, identifier, span)) == expected


def test_every_action_of_services_is_tried() -> None:
    assert {call.action for call in SERVICE_CALLS} == SERVICE_ACTIONS | {"RRpc"}


@pytest.mark.asyncio
async def test_a_listing_of_service_calls_has_an_end(store: SqlStore) -> None:
    await keep(store, *(an_open_call(number) for number in range(1, CALLS_LISTED_MAX + 2)))
    span = Span(0, 2 * NOW_MS, True, CALLS_LISTED_MAX + 1)
    assert len(await store.list_service_calls(ACCOUNT_ID, LAMP, None, span)) == CALLS_LISTED_MAX


@pytest.mark.asyncio
async def test_a_kept_call_is_found_as_it_was_whosever_it_is(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1), an_open_call(2, account_id="1002")], [])
    assert values(await store.find_kept_call(an_open_call(1).request_id)) == values(an_open_call(1))
    assert values(await store.find_kept_call(an_open_call(2).request_id)) == values(an_open_call(2, account_id="1002"))
    assert await store.find_kept_call("none") is None


@pytest.mark.asyncio
async def test_an_open_call_is_found_by_device_and_alink_id(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1), an_open_call(2), an_open_call(3, alink_id=1, key=OTHER_LAMP)], [])
    assert values(await store.find_open_call(LAMP, 1)) == values(an_open_call(1))
    assert values(await store.find_open_call(OTHER_LAMP, 1)) == values(an_open_call(3, alink_id=1, key=OTHER_LAMP))
    for key, alink_id in ((LAMP, 3), (OTHER_LAMP, 2), (LAMP, 0), (LAMP, -1), (LAMP, INTEGER_MAX + 1)):
        assert await store.find_open_call(key, alink_id) is None


@pytest.mark.asyncio
async def test_the_highest_alink_id_is_found(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1, alink_id=INTEGER_MAX)], [])
    assert values(await store.find_open_call(LAMP, INTEGER_MAX)) == values(an_open_call(1, alink_id=INTEGER_MAX))


@pytest.mark.asyncio
async def test_of_open_calls_with_one_alink_id_the_latest_is_found(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1, alink_id=9)], [])
    await store.keep_calls([an_open_call(2, alink_id=9)], [])
    assert values(await store.find_open_call(LAMP, 9)) == values(an_open_call(2, alink_id=9))
    store.record_call(ended(an_open_call(2, alink_id=9)))
    assert values(await store.find_open_call(LAMP, 9)) == values(an_open_call(1, alink_id=9))


def ended(call: Call) -> Call:
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    return call


@pytest.mark.asyncio
@pytest.mark.parametrize("is_written", [False, True])
async def test_a_call_that_ended_is_no_longer_open(store: SqlStore, is_written: bool) -> None:
    await store.keep_calls([an_open_call(1), an_open_call(2)], [])
    store.record_call(ended(an_open_call(1)))
    if is_written:
        assert await store.flush()
    assert await store.find_open_call(LAMP, 1) is None
    assert values(await store.find_kept_call(an_open_call(1).request_id)) == values(ended(an_open_call(1)))
    assert await store.find_open_call(LAMP, 2) is not None
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID, verdict=Verdict.SUCCESS))) == [1]
    assert numbers(await store.list_calls(CallFilter(ACCOUNT_ID))) == [2, 1]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_written", [False, True])
async def test_an_ended_call_is_found_by_device_and_alink_id(store: SqlStore, is_written: bool) -> None:
    calls = [an_open_call(number, alink_id=9) for number in (1, 2, 3)]
    await store.keep_calls(calls, [])
    assert await store.find_ended_call(LAMP, 9) is None
    for call in calls[:2]:
        store.record_call(ended(call))
    # One that an app waited for has no message that is answered where this one is.
    store.record_call(a_call(4, action="InvokeThingService", alink_id=9))
    if is_written:
        assert await store.flush()
    assert values(await store.find_ended_call(LAMP, 9)) == values(calls[1])
    for key, alink_id in ((LAMP, 1), (OTHER_LAMP, 9), (LAMP, 0), (LAMP, INTEGER_MAX + 1)):
        assert await store.find_ended_call(key, alink_id) is None


@pytest.mark.asyncio
async def test_open_calls_are_listed_by_device_and_service_newest_first(store: SqlStore) -> None:
    calls = [
        *(an_open_call(number, received_ms=NOW_MS + number) for number in (1, 2, 3)),
        an_open_call(4, target="reboot"),
        an_open_call(5, key=OTHER_LAMP),
        an_open_call(6, action="Pub", alink_id=0),
        an_open_call(7, action="SetDeviceDesiredProperty", target="set"),
        an_open_call(8, action="SetDeviceProperty", target="set", received_ms=NOW_MS + 8),
    ]
    await store.keep_calls(calls, [])
    assert numbers(await store.list_open_calls(LAMP, "setMode", 50)) == [3, 2, 1]
    assert numbers(await store.list_open_calls(LAMP, "setMode", 2)) == [3, 2]
    assert await store.list_open_calls(LAMP, "setMode", 0) == []
    assert sorted(numbers(await store.list_open_calls(LAMP, None, 50))) == [1, 2, 3, 4, 7, 8]
    assert numbers(await store.list_open_calls(LAMP, None, 1)) == [8]
    assert numbers(await store.list_open_calls(LAMP, "set", 50)) == [8, 7]
    store.record_call(ended(calls[2]))
    assert numbers(await store.list_open_calls(LAMP, "setMode", 2)) == [2, 1]


@pytest.mark.asyncio
async def test_a_verdict_that_is_written_never_becomes_another(store: SqlStore) -> None:
    call = an_open_call(1)
    await store.keep_calls([call], [])
    lost, answered = msgspec.structs.replace(call), msgspec.structs.replace(call)
    lost.end(Verdict.UNKNOWN, Diagnosis.NODE_LOST)
    answered.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    store.record_call(lost)
    await store.flush()
    # The node that was taken for dead says what it thinks.
    store.record_call(answered)
    found = await store.find_call(call.account_id, call.request_id)
    assert found is not None
    assert (found.verdict, found.diagnosis) == (Verdict.UNKNOWN, Diagnosis.NODE_LOST)
    # What else is told of it is kept.
    lost.late_by_ms = 7
    store.record_call(lost)
    found = await store.find_call(call.account_id, call.request_id)
    assert found is not None
    assert found.late_by_ms == 7


@pytest.mark.asyncio
async def test_what_its_own_node_wrote_of_a_call_stays_when_another_adds_to_it(store: SqlStore) -> None:
    count = CALLS_MERGED_AT_ONCE_MAX + 1
    store.node = "node-1"
    received = [Moment(Stage.RECEIVED, NOW_MS, 1.0, "node-1")]
    calls = [an_open_call(number) for number in range(1, count + 1)]
    for call in calls:
        call.timeline = list(received)
    await store.keep_calls(calls, [])
    for call in calls:
        call.timeline.append(Moment(Stage.WRITTEN, NOW_MS + 5, 1.005, "node-1"))
        call.add_evidence(Evidence(Stray.WRONG_TOPIC, NOW_MS + 6, str(call.key), "/a/topic", b"first", 5))
        store.record_call(call)
    await store.flush()
    # As the other has read them before.
    store.node = "node-2"
    for call in calls:
        read = msgspec.structs.replace(call, timeline=list(received), evidence=[])
        read.timeline.append(Moment(Stage.ACKNOWLEDGED, NOW_MS + 7, 9.0, "node-2"))
        read.add_evidence(Evidence(Stray.MALFORMED, NOW_MS + 8, str(call.key), "/a/topic", b"second", 6))
        store.record_call(read)
    await store.flush()
    for call in (calls[0], calls[-1]):
        found = await store.find_kept_call(call.request_id)
        assert found is not None
        assert [moment.stage for moment in found.timeline] == [Stage.RECEIVED, Stage.WRITTEN, Stage.ACKNOWLEDGED]
        assert sorted(found.reasons()) == [Stray.MALFORMED, Stray.WRONG_TOPIC]


@pytest.mark.asyncio
async def test_what_a_device_said_is_kept_though_another_node_has_ended_its_call_before(store: SqlStore) -> None:
    store.node = "node-1"
    received = Moment(Stage.RECEIVED, NOW_MS, 1.0, "node-1")
    call = an_open_call(1)
    call.timeline = [received]
    await store.keep_calls([call], [])
    expired, answered = (msgspec.structs.replace(call, timeline=[received], evidence=[]) for _ in range(2))
    expired.end(Verdict.EXPIRED, Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT)
    store.record_call(expired)
    await store.flush()
    answered.timeline.append(Moment(Stage.ANSWERED, NOW_MS + 9, 1.009, "node-1"))
    answered.set_answer(b"a" * (EVIDENCE_PAYLOAD_BYTES_MAX + 1))
    answered.add_evidence(Evidence(Stray.MALFORMED, NOW_MS + 8, str(call.key), "/a/topic", b"before", 6))
    answered.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    for _ in range(2):
        store.record_call(answered)
        await store.flush()
        found = await store.find_kept_call(call.request_id)
        assert found is not None
        assert (found.verdict, found.answer_payload) == (Verdict.EXPIRED, b"")
        late = b"a" * EVIDENCE_PAYLOAD_BYTES_MAX
        assert [(each.reason, each.payload) for each in found.evidence] == [
            (Stray.MALFORMED, b"before"),
            (Stray.LATE, late),
        ]
        assert found.evidence[1].payload_bytes == EVIDENCE_PAYLOAD_BYTES_MAX + 1


@pytest.mark.asyncio
async def test_of_two_answers_to_two_nodes_the_first_stays(store: SqlStore) -> None:
    store.node = "node-1"
    call = an_open_call(1)
    call.timeline = [Moment(Stage.RECEIVED, NOW_MS, 1.0, "node-1")]
    await store.keep_calls([call], [])
    for number, payload in enumerate((b"first", b"second", b"second")):
        answered = msgspec.structs.replace(call, timeline=list(call.timeline), evidence=[])
        answered.timeline.append(Moment(Stage.ANSWERED, NOW_MS + min(number, 1), 1.001, "node-1"))
        answered.set_answer(payload)
        answered.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
        store.record_call(answered)
        await store.flush()
    found = await store.find_kept_call(call.request_id)
    assert found is not None
    assert found.answer_payload == b"first"
    assert [(each.reason, each.payload) for each in found.evidence] == [(Stray.DUPLICATE, b"second")]


@pytest.mark.asyncio
async def test_what_has_left_before_is_not_claimed(store: SqlStore) -> None:
    store.node = "node-1"
    calls = [a_call_that_waits(number) for number in range(1, 4)]
    await store.keep_calls(calls, [])
    calls[1].timeline = [Moment(Stage.WRITTEN, NOW_MS, 1.0, "node-1")]
    calls[2].end(Verdict.SUCCESS, Diagnosis.DELIVERED)
    for call in calls[1:]:
        store.record_call(call)
    await store.flush()
    store.node = "node-2"
    claimed = await store.claim_stranded([call.request_id for call in calls])
    assert [(call.request_id, call.is_stranded) for call in claimed] == [
        (calls[0].request_id, True),
        (calls[1].request_id, False),
    ]
    found = [await store.find_kept_call(call.request_id) for call in calls]
    assert [call.is_stranded for call in found if call is not None] == [True, False, False]


@pytest.mark.asyncio
async def test_that_a_call_has_left_comes_too_late_once_it_is_claimed(store: SqlStore) -> None:
    store.node = "node-1"
    call = a_call_that_waits(1)
    await store.keep_calls([call], [])
    (claimed,) = await store.claim_stranded([call.request_id])
    call.timeline.append(Moment(Stage.WRITTEN, NOW_MS + 1, 1.001, "node-1"))
    call.add_evidence(Evidence(Stray.MALFORMED, NOW_MS + 2, str(call.key), "/a/topic", b"said", 4))
    store.record_call(call)
    await store.flush()
    store.node = "node-2"
    claimed.end(Verdict.UNKNOWN, Diagnosis.NODE_LOST)
    store.record_call(claimed)
    found = await found_after_flush(store, call)
    assert (found.diagnosis, [moment.stage for moment in found.timeline]) == (Diagnosis.NODE_LOST, [Stage.RECEIVED])
    assert list(found.reasons()) == [Stray.MALFORMED]


@pytest.mark.asyncio
async def test_an_answer_ends_a_call_though_it_is_claimed(store: SqlStore) -> None:
    store.node = "node-1"
    call = a_call_that_waits(1)
    await store.keep_calls([call], [])
    (claimed,) = await store.claim_stranded([call.request_id])
    call.timeline += [Moment(stage, NOW_MS + 1, 1.001, "node-1") for stage in (Stage.WRITTEN, Stage.ANSWERED)]
    call.set_answer(b"said")
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    store.record_call(call)
    await store.flush()
    claimed.end(Verdict.UNKNOWN, Diagnosis.NODE_LOST)
    store.record_call(claimed)
    found = await found_after_flush(store, call)
    assert (found.verdict, found.answer_payload, len(found.timeline)) == (Verdict.SUCCESS, b"said", 3)


def a_call_that_waits(number: int) -> Call:
    """One of `node-1` that has not left."""
    call = an_open_call(number, is_asynchronous=True)
    call.timeline = [Moment(Stage.RECEIVED, NOW_MS, 1.0, "node-1")]
    return call


async def found_after_flush(store: SqlStore, call: Call) -> Call:
    """A call as it is written."""
    assert await store.flush()
    found = await store.find_kept_call(call.request_id)
    assert found is not None
    return found


@pytest.mark.asyncio
async def test_a_call_of_another_node_that_is_not_there_any_longer_is_written_as_it_is(store: SqlStore) -> None:
    store.node = "node-2"
    call = an_open_call(1)
    store.record_call(call)
    found = await store.find_kept_call(call.request_id)
    assert found is not None
    assert found.timeline == call.timeline


@pytest.mark.parametrize(
    "spoil", [lambda record: record[:-1], lambda record: record.replace(b"InvokeThing", b"InvokeThin\xff")]
)
@pytest.mark.asyncio
async def test_a_call_that_cannot_be_read_stays_and_holds_up_no_other(
    store: SqlStore, caplog: pytest.LogCaptureFixture, spoil: Callable[[bytes], bytes]
) -> None:
    calls = [an_open_call(1), an_open_call(2)]
    await store.keep_calls(calls, [])
    spoiled = spoil(encode_call(calls[0])[RECORD])
    change = sa.update(call_history).where(call_history.c.request_id == calls[0].request_id).values(record=spoiled)
    await store._write(lambda connection: connection.execute(change))
    store.node = "node-2"
    for call in calls:
        store.record_call(ended(call))
    assert await store.flush()
    found = await store.find_kept_call(calls[1].request_id)
    assert found is not None
    assert found.is_ended
    assert "cannot be read, and stays as it is" in caplog.text
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        await store.find_kept_call(calls[0].request_id)


@pytest.mark.asyncio
async def test_calls_that_no_message_waits_for_are_listed_a_part_at_a_time(store: SqlStore) -> None:
    assert await store.list_stranded_calls(None, 2) == []
    calls = [
        *(an_open_call(number, received_ms=NOW_MS + number % 2) for number in range(1, 6)),
        an_open_call(6, key=None, action="PubBroadcast", alink_id=0, received_ms=NOW_MS + 2),
        an_open_call(7),
        an_open_call(8),
    ]
    await store.keep_calls(calls, [a_message(7)])
    store.record_call(ended(calls[-1]))
    listed = []
    last = None
    while part := await store.list_stranded_calls(last, 2):
        last = part[-1]
        listed.append(numbers(part))
    assert listed == [[2, 4], [1, 3], [5, 6]]


@pytest.mark.asyncio
async def test_a_part_of_stranded_calls_has_an_end(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(number) for number in range(1, CALLS_LISTED_MAX + 2)], [])
    for limit in (CALLS_LISTED_MAX, CALLS_LISTED_MAX + 1):
        assert len(await store.list_stranded_calls(None, limit)) == CALLS_LISTED_MAX
    assert await store.list_stranded_calls(None, -1) == []


@pytest.mark.asyncio
async def test_news_of_an_open_call_show_while_they_wait(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1)], [])
    call = an_open_call(1, answer_bytes=5)
    store.record_call(call)
    assert await store.find_open_call(LAMP, 1) is call
    assert await store.find_kept_call(call.request_id) is call
    assert await store.flush()
    assert values(await store.find_open_call(LAMP, 1)) == values(call)


@pytest.mark.asyncio
async def test_a_request_id_is_kept_once(store: SqlStore) -> None:
    await store.keep_calls([an_open_call(1)], [])
    with pytest.raises(IntegrityError):
        await store.keep_calls([an_open_call(1, target="other")], [])
    assert values(await store.find_open_call(LAMP, 1)) == values(an_open_call(1))
