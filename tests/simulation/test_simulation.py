"""The five rules of a call hold whatever apps, devices, the network and the server's death do; see CONTRIBUTING.md."""

import os
from collections.abc import Callable

import pytest

from linkstead.invocation import Delivery, LocalRouter
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import QueuedMessage
from linkstead.uplink import uplink
from tests.simulation.disk import MemoryStore
from tests.simulation.rules import Violation
from tests.simulation.simulation import simulate

SEED_NAME = "LINKSTEAD_SIMULATION_SEED"
SEEDS = 120
LONG_SEEDS = 3_000
BATCH = 20
"""Seeds of one test."""


def check(seed: int) -> None:
    """One seed; where a rule is broken the failure says how to see it again."""
    try:
        simulate(seed)
    except Exception as error:
        error.add_note(f"again: {SEED_NAME}={seed} .venv/bin/pytest tests/simulation -k repeat")
        raise


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


def test_a_seed_tells_the_same_story_twice() -> None:
    assert simulate(3) == simulate(3)


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_five_rules_hold(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + LONG_SEEDS, BATCH))
def test_the_five_rules_hold_for_many_seeds(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


def test_repeat() -> None:
    """The seed that the environment names, or the first one."""
    check(int(os.environ.get(SEED_NAME, "0")))


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

    patch.setattr(Delivery, "_end_stranded", do_nothing)


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        (1, set_no_timer),
        (1, leave_calls_behind),
        (2, take_any_sender),
        (2, take_nothing_for_sub_devices),
        (3, mark_nothing_written),
        (2, take_no_unreadable_answer),
        (4, drop_late_answers),
        (4, look_up_no_ended_call),
        (5, forget_messages_when_sent),
    ],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, rule: int, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation) as caught:
        simulate_all(range(SEEDS))
    assert caught.value.rule == rule
