from typing import Any

import pytest

from linkstead.invocation import Call, CallFilter, CallJournal, Diagnosis, Evidence, GuestCall, Stage, Stray, Verdict
from linkstead.registry import DeviceKey
from tests.fakes import ACCOUNT_ID, KEY, OTHER_ACCOUNT_ID, OTHER_KEY, RecordingSink

OTHER_PRODUCT = DeviceKey("a1Probe0001", "lamp-01")


def make_call(number: int, **fields: Any) -> Call:
    """A call received in second `number`, with `number` as its message id."""
    values: dict[str, Any] = {"account_id": ACCOUNT_ID, "message_id": number, "key": KEY, "action": "RRpc"} | fields
    call = Call(f"request-{number}", "node-1", **values)
    call.mark(Stage.RECEIVED, float(number), float(number))
    return call


def make_evidence(payload: bytes = b"") -> Evidence:
    return Evidence(Stray.LATE, 0, str(KEY), "/topic", payload, len(payload))


class Journal:
    """A journal and its sink, with short ways to fill it."""

    def __init__(self, **bounds: int) -> None:
        self.sink = RecordingSink()
        self.journal = CallJournal(self.sink, **bounds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    def __len__(self) -> int:
        return len(self.journal)

    def begin(self, call: Call) -> Call:
        self.open(call)
        self.index_message_id(call)
        return call

    def finish(self, call: Call, verdict: Verdict = Verdict.SUCCESS, diagnosis: Diagnosis = Diagnosis.ANSWERED) -> Call:
        call.end(verdict, diagnosis)
        self.close(call)
        return call

    def add(self, number: int, verdict: Verdict = Verdict.SUCCESS, **fields: Any) -> Call:
        return self.finish(self.begin(make_call(number, **fields)), verdict)

    def listed(self, **fields: Any) -> list[int]:
        return [call.message_id for call in self.list(CallFilter(ACCOUNT_ID, **fields))]


# --- finding


def test_a_call_is_found_from_its_beginning_by_either_id() -> None:
    calls = Journal()
    call = calls.begin(make_call(5))
    assert calls.find(ACCOUNT_ID, "5") is call
    assert calls.find(ACCOUNT_ID, "request-5") is call
    assert calls.find_by_message_id(5) is call
    calls.finish(call)
    assert calls.find(ACCOUNT_ID, "5") is call
    assert calls.find(ACCOUNT_ID, "request-5") is call
    assert len(calls) == 1


def test_a_call_without_a_message_id_is_found_by_its_request_id() -> None:
    calls = Journal()
    call = make_call(0)
    calls.open(call)
    calls.finish(call, Verdict.REJECTED, Diagnosis.REJECTED)
    assert calls.find(ACCOUNT_ID, "request-0") is call
    assert calls.find(ACCOUNT_ID, "0") is None


def test_a_call_of_another_account_is_not_found() -> None:
    calls = Journal()
    calls.begin(make_call(5))
    assert calls.find(OTHER_ACCOUNT_ID, "5") is None
    assert calls.find(OTHER_ACCOUNT_ID, "request-5") is None


@pytest.mark.parametrize(
    "call_id", ["", "6", "05x", "-5", "٥", "request-6", "9" * 19, "9" * 20, "9" * 5_000, "5" + "\0"]
)
def test_an_id_that_no_call_has_finds_nothing(call_id: str) -> None:
    calls = Journal()
    calls.add(5)
    assert calls.find(ACCOUNT_ID, call_id) is None


def test_the_largest_message_id_is_found() -> None:
    calls = Journal()
    call = calls.add(2**63 - 1)
    assert calls.find(ACCOUNT_ID, "9223372036854775807") is call


def test_a_call_is_found_by_its_alink_id_and_of_several_the_latest() -> None:
    calls = Journal()
    ended = [calls.add(number, alink_id=7) for number in (100, 101)]
    calls.add(102, alink_id=7, account_id=OTHER_ACCOUNT_ID)
    assert calls.find(ACCOUNT_ID, "7") is ended[1]
    under_way = calls.begin(make_call(103, alink_id=7))
    assert calls.find(ACCOUNT_ID, "7") is under_way
    named = calls.add(7)
    assert calls.find(ACCOUNT_ID, "7") is named
    assert calls.find(ACCOUNT_ID, "8") is None


def test_the_last_call_of_a_device_is_the_one_that_ended_last() -> None:
    calls = Journal()
    assert calls.last_call_of(KEY) is None
    first, second = calls.begin(make_call(1)), calls.begin(make_call(2))
    assert calls.last_call_of(KEY) is None
    calls.finish(second)
    calls.finish(first)
    other = calls.add(3, key=OTHER_KEY)
    assert calls.last_call_of(KEY) is first
    assert calls.last_call_of(OTHER_KEY) is other


def test_a_call_that_was_never_sent_is_not_the_last_of_its_device() -> None:
    calls = Journal()
    call = make_call(0)
    calls.open(call)
    calls.finish(call, Verdict.REJECTED, Diagnosis.REJECTED)
    assert calls.last_call_of(KEY) is None


# --- listing


def test_calls_are_listed_newest_first() -> None:
    calls = Journal()
    for number in (1, 2, 3):
        calls.add(number)
    calls.begin(make_call(4))
    assert calls.listed() == [4, 3, 2, 1]
    assert calls.listed(limit=2) == [4, 3]
    assert calls.listed(limit=0) == []


def test_a_call_that_waited_long_is_listed_by_when_it_came() -> None:
    calls = Journal()
    slow = calls.begin(make_call(1))
    calls.add(2)
    calls.add(3)
    calls.finish(slow, Verdict.TIMEOUT)
    assert calls.listed(limit=2) == [3, 2]
    assert calls.listed(limit=2, before_ms=2_000) == [1]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"product_key": KEY.product_key}, [5, 3, 2, 1]),
        ({"device_name": "lamp-01"}, [5, 4, 3, 1]),
        ({"product_key": KEY.product_key, "device_name": "lamp-01"}, [5, 3, 1]),
        ({"product_key": "a1Nobody001"}, []),
        ({"action": "RRpc"}, [5, 4, 2, 1]),
        ({"action": "InvokeThingService"}, [3]),
        ({"verdict": Verdict.TIMEOUT}, [5, 2]),
        ({"verdict": Verdict.OFFLINE}, []),
        ({"diagnosis": Diagnosis.ANSWERED_LATE}, [5]),
        ({"before_ms": 3_000}, [2, 1]),
        ({"before_ms": 3_001}, [3, 2, 1]),
        ({"before_ms": 0}, []),
        ({"verdict": Verdict.TIMEOUT, "limit": 1}, [5]),
    ],
)
def test_a_filter_leaves_the_calls_that_match(fields: dict[str, Any], numbers: list[int]) -> None:
    calls = Journal()
    calls.add(1)
    calls.add(2, Verdict.TIMEOUT, key=OTHER_KEY)
    calls.add(3, action="InvokeThingService")
    calls.add(4, key=OTHER_PRODUCT)
    calls.finish(calls.begin(make_call(5)), Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    calls.add(6, account_id=OTHER_ACCOUNT_ID)
    assert calls.listed(**fields) == numbers


def test_a_call_without_a_device_matches_no_device() -> None:
    calls = Journal()
    calls.add(1, key=None)
    assert calls.listed() == [1]
    assert calls.listed(product_key=KEY.product_key) == []
    assert calls.listed(device_name=KEY.device_name) == []


# --- what is kept, and where it goes


def test_every_ended_call_goes_to_the_store_once() -> None:
    calls = Journal()
    open_call = calls.begin(make_call(1))
    assert calls.sink.calls == []
    calls.finish(open_call)
    assert calls.sink.calls == [open_call]


def test_evidence_of_an_open_call_goes_with_it_when_it_ends() -> None:
    calls = Journal()
    call = calls.begin(make_call(1))
    calls.add_evidence(call, make_evidence())
    assert len(call.evidence) == 1
    assert calls.sink.calls == []
    calls.finish(call)
    assert calls.sink.calls == [call]


def test_the_record_of_another_node_goes_to_the_store_while_the_call_is_handed_over_to_that() -> None:
    calls = Journal()
    calls.begin(make_call(1))
    of_other = make_call(1)
    calls.update(of_other)
    calls.add_evidence(of_other, make_evidence())
    of_other.end(Verdict.EXPIRED, Diagnosis.NOT_CONNECTED)
    calls.note_end(of_other)
    assert calls.sink.calls == [of_other] * 3


def test_evidence_of_an_ended_call_goes_to_the_store_again() -> None:
    calls = Journal()
    call = calls.add(1)
    calls.add_evidence(call, make_evidence())
    assert len(call.evidence) == 1
    assert calls.sink.calls == [call, call]


def test_as_many_calls_are_kept_as_the_bound_says() -> None:
    calls = Journal(calls_max=3)
    for number in (1, 2, 3):
        calls.add(number, key=OTHER_KEY if number == 1 else KEY)
    assert (len(calls), calls.listed()) == (3, [3, 2, 1])
    calls.add(4)
    assert (len(calls), calls.listed()) == (3, [4, 3, 2])
    assert calls.find(ACCOUNT_ID, "1") is None
    assert calls.find(ACCOUNT_ID, "request-1") is None
    assert calls.find_by_message_id(1) is None
    assert calls.last_call_of(OTHER_KEY) is None


def test_open_calls_are_never_dropped() -> None:
    calls = Journal(calls_max=1)
    for number in (1, 2, 3):
        calls.begin(make_call(number))
    calls.add(4)
    calls.add(5)
    assert calls.listed() == [5, 3, 2, 1]


def test_the_last_call_of_a_device_stays_while_it_is_kept() -> None:
    calls = Journal(calls_max=2)
    calls.add(1)
    last = calls.add(2)
    calls.add(3, key=OTHER_KEY)
    assert calls.last_call_of(KEY) is last
    calls.add(4, key=OTHER_KEY)
    assert calls.last_call_of(KEY) is None


def test_as_many_bytes_are_kept_as_the_bound_says() -> None:
    calls = Journal(bytes_max=100)
    calls.add(1, request_payload=b"x" * 40, answer_payload=b"y" * 20)
    calls.add(2, request_payload=b"x" * 40)
    assert calls.listed() == [2, 1]
    calls.add(3, request_payload=b"x")
    assert calls.listed() == [3, 2]
    calls.add(4, request_payload=b"x" * 59)
    assert calls.listed() == [4, 3, 2]


def test_a_call_over_the_bound_alone_is_not_kept_and_spoils_nothing() -> None:
    calls = Journal(bytes_max=100)
    calls.add(1)
    large = calls.add(2, request_payload=b"x" * 101)
    assert (len(calls), calls.sink.calls[-1]) == (0, large)
    calls.add(3, request_payload=b"x" * 100)
    assert calls.listed() == [3]


def test_the_bytes_of_late_evidence_count_too() -> None:
    calls = Journal(bytes_max=100)
    calls.add(1, request_payload=b"x" * 30)
    second = calls.add(2, request_payload=b"x" * 30)
    calls.add_evidence(second, make_evidence(b"e" * 40))
    assert calls.listed() == [2, 1]
    calls.add_evidence(second, make_evidence(b"e"))
    assert calls.listed() == [2]
    # What goes takes away no more than it brought.
    calls.add(3, request_payload=b"x" * 29)
    assert calls.listed() == [3, 2]
    calls.add(4, request_payload=b"x" * 72)
    assert calls.listed() == [4]
    calls.add(5, request_payload=b"x" * 28)
    assert calls.listed() == [5, 4]


def test_evidence_of_a_call_no_longer_kept_still_goes_to_the_store() -> None:
    calls = Journal(calls_max=1, bytes_max=100)
    evicted = calls.add(1)
    kept = calls.add(2, request_payload=b"x" * 100)
    calls.add_evidence(evicted, make_evidence(b"e" * 1_000))
    assert len(evicted.evidence) == 1
    assert calls.sink.calls == [evicted, kept, evicted]
    assert calls.listed() == [2]


def test_what_is_kept_of_a_call_of_another_node_is_found_by_its_message_id_alone_and_counts() -> None:
    calls = Journal(bytes_max=10)
    guest = GuestCall("request-5@node-1", "node-1", account_id=ACCOUNT_ID, message_id=5, key=KEY)
    calls.index_message_id(guest)
    guest.set_answer(b"12345")
    guest.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    calls.close_guest(guest)
    assert calls.find_by_message_id(5) is guest
    assert calls.last_call_of(KEY) is guest
    assert calls.find(ACCOUNT_ID, "5") is None
    assert not calls.sink.calls
    calls.add_evidence(guest, make_evidence(b"12345"))
    assert calls.sink.calls == [guest]
    assert calls.find_by_message_id(5) is guest
    calls.add_evidence(guest, make_evidence(b"1"))
    assert calls.find_by_message_id(5) is None
    assert calls.last_call_of(KEY) is None


def test_what_was_closed_since_can_be_told() -> None:
    journal = Journal()
    calls = [journal.begin(make_call(number)) for number in range(3)]
    assert (journal.open_count, journal.closed_count) == (3, 0)
    assert journal.list_open(2) == [calls[2], calls[1]]
    for call in calls:
        journal.finish(call)
    assert (journal.open_count, journal.closed_count) == (0, 3)
    assert list(journal.latest(2)) == [calls[2], calls[1]]
    assert list(journal.latest(0)) == []
    assert len(list(journal.latest(9))) == 3
