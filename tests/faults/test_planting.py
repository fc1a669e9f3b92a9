"""Which call a message belongs to, and what is remembered of it."""

import json

import pytest

from linkstead.alink import topics
from linkstead.faults.planting import Planting, read_request_id
from linkstead.faults.rules import Fault, Kind, Occasion, RuleBook
from linkstead.invocation import Call, CallJournal, Stage
from linkstead.testing.clock import ManualClock
from tests.fakes import ACCOUNT_ID, KEY, OTHER_KEY, RecordingSink

REPLY = topics.service(KEY, "RunScene") + "_reply"


class World:
    """Faults over a journal."""

    def __init__(self, *kinds: Kind) -> None:
        self.book = RuleBook()
        self.rules = [self.book.add(ACCOUNT_ID, Fault(kind=kind)) for kind in kinds]
        self.journal = CallJournal(RecordingSink())
        self.planting = Planting(self.book, self.journal, ManualClock())

    def call(self, request_id: str, *, alink_id: int = 0, payload: bytes = b"", message_id: int = 0) -> Call:
        """A call that is under way."""
        call = Call(request_id, "node", account_id=ACCOUNT_ID, key=KEY, alink_id=alink_id, message_id=message_id)
        call.is_asynchronous = not message_id
        call.set_request(payload)
        self.journal.open(call)
        if message_id:
            self.journal.index_message_id(call)
        return call


def alink(number: int) -> bytes:
    return json.dumps({"id": str(number), "version": "1.0", "method": "thing.service.RunScene", "params": {}}).encode()


def reply(number: int) -> bytes:
    return json.dumps({"id": str(number), "code": 200, "data": {}}).encode()


def test_the_id_of_a_request_is_read() -> None:
    assert read_request_id(alink(7)) == 7
    assert [read_request_id(payload) for payload in (b"", b"no json", b'["id"]', b'{"id":"x"}')] == [0, 0, 0, 0]


def test_an_asynchronous_call_is_found_by_the_id_in_its_message() -> None:
    world = World(Kind.DROP_REQUEST)
    first, second = (world.call(name, alink_id=number) for name, number in (("r1", 1), ("r2", 2)))
    planted = world.planting.meet_request(KEY, topics.service(KEY, "RunScene"), alink(2))
    assert planted is not None
    assert planted.call is second
    assert second.moment(Stage.PLANTED_DROP_REQUEST) is not None
    assert first.timeline == []


def test_bytes_of_a_script_are_of_the_call_that_waits_longest() -> None:
    world = World(Kind.DROP_REQUEST)
    first, _ = world.call("r1", alink_id=1), world.call("r2", alink_id=2)
    planted = world.planting.meet_request(KEY, topics.down_raw(KEY), b"\x01\x02")
    assert planted is not None
    assert planted.call is first


@pytest.mark.parametrize(
    "topic",
    [
        topics.service(KEY, "RunScene"),
        topics.service(OTHER_KEY, "RunScene"),
        topics.alink(KEY, "thing/event/property/post_reply"),
        topics.rrpc_request(KEY, 99),
        "/ext/rrpc/none/topic",
        f"/{KEY.product_key}/{KEY.device_name}/user/get",
    ],
)
def test_what_belongs_to_no_call_meets_nothing(topic: str) -> None:
    world = World(Kind.DROP_REQUEST)
    world.call("r1", alink_id=1, payload=b"other")
    assert world.planting.meet_request(KEY, topic, b"\x01") is None
    assert world.rules[0].seen == 0


def test_a_message_that_is_sent_again_is_not_counted_again() -> None:
    world = World(Kind.DUPLICATE_REQUEST)
    world.call("r1", message_id=5)
    assert world.planting.meet_request(KEY, topics.rrpc_request(KEY, 5), b"") is not None
    assert world.planting.meet_request(KEY, topics.rrpc_request(KEY, 5), b"") is None
    assert world.rules[0].seen == 1


def test_the_first_answer_meets_what_was_kept_for_it_and_the_second_nothing() -> None:
    world = World(Kind.DROP_ANSWER)
    call = world.call("r1", alink_id=1)
    assert world.planting.meet_answer(KEY, REPLY, reply(1)) is None
    assert world.planting.meet_request(KEY, topics.service(KEY, "RunScene"), alink(1)) is None
    assert world.planting.meet_answer(KEY, REPLY, reply(2)) is None
    planted = world.planting.meet_answer(KEY, REPLY, reply(1))
    assert planted is not None
    assert [rule.fault.kind for rule in planted.faults] == [Kind.DROP_ANSWER]
    assert call.moment(Stage.PLANTED_DROP_ANSWER) is not None
    assert world.planting.meet_answer(KEY, REPLY, reply(1)) is None


def test_what_was_taken_away_acts_on_no_answer_either() -> None:
    world = World(Kind.DROP_ANSWER)
    world.call("r1", message_id=5)
    world.planting.meet_request(KEY, topics.rrpc_request(KEY, 5), b"")
    world.book.remove(ACCOUNT_ID, world.rules[0].number)
    world.planting.forget(world.rules[0])
    assert world.planting.meet_answer(KEY, topics.rrpc_response(KEY, 5), b"") is None
    assert not world.planting.looks_at_messages
    assert not world.book.has(Occasion.MESSAGE)


def test_so_many_calls_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkstead.faults.planting.CALLS_REMEMBERED_MAX", 2)
    world = World(Kind.DROP_ANSWER)
    for number in (1, 2, 3):
        world.call(f"r{number}", message_id=number)
        world.planting.meet_request(KEY, topics.rrpc_request(KEY, number), b"")
    met = [world.planting.meet_answer(KEY, topics.rrpc_response(KEY, number), b"") for number in (1, 2, 3)]
    assert [each is not None for each in met] == [False, True, True]
