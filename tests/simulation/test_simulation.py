"""The rules of calls and of letters hold whatever apps, devices, consumers, the network and the server's death do.

See CONTRIBUTING.md.
"""

import os
from collections.abc import Callable, Sequence

import pytest

from linkstead.alink.services import Reply
from linkstead.invocation import Call, Delivery, LocalRouter
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import QueuedMessage, SessionTable
from linkstead.subscription import Attachment, GroupDestinations, Letter, NoticeKind
from linkstead.uplink import News, uplink
from linkstead.uplink.uplink import Uplink
from linkstead.webhook.sender import Answer
from tests.simulation.disk import MemoryStore
from tests.simulation.rules import Violation
from tests.simulation.simulation import simulate

CROWD_NAME = "LINKSTEAD_SIMULATION_CROWD"
SEED_NAME = "LINKSTEAD_SIMULATION_SEED"
SEEDS = 100
LONG_SEEDS = 3_000
CROWDED_SEEDS = 2
CROWD = 16
"""How many times as many calls are made there."""

BATCH = 20
"""Seeds of one test."""


def check(seed: int, crowd: int = 1) -> None:
    """One seed; where a rule is broken the failure says how to see it again."""
    try:
        simulate(seed, crowd)
    except Exception as error:
        error.add_note(f"again: {SEED_NAME}={seed} .venv/bin/pytest tests/simulation -k repeat")
        raise


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


def test_a_seed_tells_the_same_story_twice() -> None:
    assert simulate(3) == simulate(3)


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_rules_hold(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + LONG_SEEDS, BATCH))
def test_the_rules_hold_for_many_seeds(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.parametrize("seed", range(CROWDED_SEEDS))
def test_the_rules_hold_in_a_crowd(seed: int) -> None:
    check(seed, CROWD)


def test_repeat() -> None:
    """The seed that the environment names, or the first one."""
    check(int(os.environ.get(SEED_NAME, "0")), int(os.environ.get(CROWD_NAME, "1")))


# --- what the simulation is worth: each fault is found


def set_no_timer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalRouter, "_expire", lambda router, pending: None)


def take_any_sender(patch: pytest.MonkeyPatch) -> None:
    answer = LocalRouter.answer

    def answer_for_anybody(router: LocalRouter, origin: Origin, message_id: int, topic: str, payload: bytes) -> bool:
        pending = router._pending.get(message_id)
        if pending is not None:
            origin, topic = Origin(pending.key, origin.account_id, origin.iot_id), pending.message.answer_topic
        return answer(router, origin, message_id, topic, payload)

    patch.setattr(LocalRouter, "answer", answer_for_anybody)


def take_nothing_for_sub_devices(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(uplink, "find_carried", lambda sessions, link, key: None)


def mark_nothing_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalRouter, "note_written", lambda router, call: None)


def drop_late_answers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalRouter, "_keep_with_ended", lambda router, call, publish: None)


def look_up_no_ended_call(patch: pytest.MonkeyPatch) -> None:
    async def find_none(store: MemoryStore, key: DeviceKey, alink_id: int) -> None:
        return None

    patch.setattr(MemoryStore, "find_ended_call", find_none)


def take_no_unreadable_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "answer_malformed", lambda *answer: None)


def forget_messages_when_sent(patch: pytest.MonkeyPatch) -> None:
    message_sent = Delivery.message_sent

    def send_and_forget(delivery: Delivery, message: QueuedMessage) -> None:
        message_sent(delivery, message)
        delivery._store.drop_message(message.row_id)

    patch.setattr(Delivery, "message_sent", send_and_forget)


def leave_calls_behind(patch: pytest.MonkeyPatch) -> None:
    async def do_nothing(delivery: Delivery) -> None:
        pass

    patch.setattr(Delivery, "end_stranded", do_nothing)


def forget_what_is_released(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Attachment, "release", lambda attachment, letter: attachment._desk.backlog.acknowledge_letter(letter.row_id)
    )


def tell_groups_of_everything(patch: pytest.MonkeyPatch) -> None:
    destinations = GroupDestinations.destinations

    async def find_all(groups: GroupDestinations, product_key: str) -> dict[NoticeKind, Sequence[str]]:
        found = await destinations(groups, product_key)
        return dict.fromkeys(NoticeKind, next(iter(found.values()), []))

    patch.setattr(GroupDestinations, "destinations", find_all)


def keep_what_is_accepted(patch: pytest.MonkeyPatch) -> None:
    def settle(attachment: Attachment, letter: Letter) -> None:
        attachment._settle(letter)

    patch.setattr(Attachment, "accept", settle)


def tell_no_results(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_tell_ended", lambda *ended: None)


def keep_calls_before_their_notices(patch: pytest.MonkeyPatch) -> None:
    call_ended = News.call_ended

    def tell_and_deny(news: News, call: Call, reply: Reply | None) -> bool:
        call_ended(news, call, reply)
        return False

    patch.setattr(News, "call_ended", tell_and_deny)


def tell_what_the_clock_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SessionTable, "_next_status_ms", lambda table, key, now_ms: now_ms)


def take_any_answer_of_a_receiver(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Answer, "is_accepted", property(lambda answer: answer.status > 0))


def send_twice(patch: pytest.MonkeyPatch) -> None:
    send = Delivery._send

    def send_and_repeat(delivery: Delivery, call: Call, key: DeviceKey, topic: str, payload: bytes) -> None:
        send(delivery, call, key, topic, payload)
        link = delivery._sessions.link(key)
        if link is not None:
            link.send(topic, payload)

    patch.setattr(Delivery, "_send", send_and_repeat)


def acknowledge_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Uplink, "must_settle", lambda uplink, key: False)


@pytest.mark.parametrize(
    ("rules", "plant"),
    [
        ({1}, set_no_timer),
        ({1}, leave_calls_behind),
        ({2}, take_any_sender),
        ({2}, take_nothing_for_sub_devices),
        ({3}, mark_nothing_written),
        ({2, 4}, take_no_unreadable_answer),
        ({4}, drop_late_answers),
        ({4}, look_up_no_ended_call),
        ({5}, forget_messages_when_sent),
        ({6}, forget_what_is_released),
        ({7}, tell_groups_of_everything),
        ({8}, keep_what_is_accepted),
        ({9}, tell_no_results),
        ({9}, keep_calls_before_their_notices),
        ({10}, tell_what_the_clock_says),
        ({11}, take_any_answer_of_a_receiver),
        ({12}, acknowledge_at_once),
        ({13}, send_twice),
    ],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, rules: set[int], plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation) as caught:
        simulate_all(range(SEEDS))
    assert caught.value.rule in rules
