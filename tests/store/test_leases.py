"""What nodes have in hand, and who takes it over, on every engine."""

import pytest

from linkstead.registry import Application, ApplicationStatus, Node, NodeState, Taken
from linkstead.registry.applications import blank_devices
from linkstead.store.sql import SqlStore
from tests.store.samples import (
    DESTINATION,
    NOW_MS,
    OTHER_DESTINATION,
    PRODUCT_KEY,
    a_notice,
    add_lamps,
)

pytestmark = pytest.mark.asyncio

UNTIL_MS = NOW_MS + 90_000
HERE, THERE = "here", "there"
WORK = "work"


async def add_node(store: SqlStore, node_id: str) -> None:
    assert await store.beat(Node(node_id, 1, NOW_MS, NOW_MS, "1", "", "", NodeState.UP))


async def record(store: SqlStore, *numbers: int, destination: str = DESTINATION) -> None:
    for number in numbers:
        store.record_notice([destination], a_notice(number))
    assert await store.flush()


async def lease(store: SqlStore, node_id: str, now_ms: int = NOW_MS, limit: int = 10) -> list[tuple[int, int, int]]:
    """The row and message ids that a node is given, and which attempt it is."""
    store.node = node_id
    letters = await store.lease_letters(DESTINATION, limit, now_ms, UNTIL_MS)
    return [(letter.row_id, letter.message_id, letter.attempts) for letter in letters]


async def test_letters_of_a_dead_node_are_available_again_and_those_of_others_are_not(store: SqlStore) -> None:
    await add_node(store, HERE)
    await add_node(store, THERE)
    await record(store, 1, 2, 3)
    await record(store, 4, destination=OTHER_DESTINATION)
    assert [letter[1] for letter in await lease(store, THERE, limit=2)] == [1, 2]
    assert [letter[1] for letter in await lease(store, HERE)] == [3]
    assert await store.take_over([], NOW_MS + 1) == Taken(frozenset(), 0)
    assert await store.take_over([THERE], NOW_MS + 1) == Taken(frozenset({DESTINATION}), 0)
    assert await lease(store, HERE, NOW_MS) == []
    assert [letter[1:] for letter in await lease(store, HERE, NOW_MS + 1)] == [(1, 2), (2, 2)]
    assert await store.take_over([THERE], NOW_MS + 2) == Taken(frozenset(), 0)


async def test_letters_of_who_is_no_node_any_longer_are_available_again(store: SqlStore) -> None:
    await add_node(store, THERE)
    await record(store, 1)
    await lease(store, THERE)
    assert await store.remove_node(THERE)
    assert (await store.take_over([], NOW_MS + 1)).destinations == {DESTINATION}
    assert len(await lease(store, HERE, NOW_MS + 1)) == 1


async def test_a_letter_whose_lease_has_ended_keeps_its_place_when_its_node_is_found_dead(store: SqlStore) -> None:
    await record(store, 1)
    await lease(store, THERE)
    await store.take_over([THERE], UNTIL_MS + 5)
    assert await store.next_due_ms(DESTINATION) == UNTIL_MS


async def test_who_lost_a_letter_to_another_cannot_give_it_back(store: SqlStore) -> None:
    await record(store, 1)
    [(row_id, _, attempts)] = await lease(store, THERE)
    await store.take_over([THERE], NOW_MS)
    assert len(await lease(store, HERE)) == 1
    store.return_letter(row_id, attempts, NOW_MS)
    assert await store.flush()
    assert await lease(store, THERE) == []
    await store.postpone_letter(row_id, attempts, NOW_MS, "too late")
    await store.bury_letter(row_id, attempts, NOW_MS, "too late")
    assert await store.next_due_ms(DESTINATION) == UNTIL_MS
    store.return_letter(row_id, attempts + 1, NOW_MS)
    assert await store.flush()
    assert len(await lease(store, THERE)) == 1


async def test_a_letter_that_was_given_back_is_in_nobodys_hand(store: SqlStore) -> None:
    await record(store, 1, 2)
    first, second = await lease(store, THERE)
    store.return_letter(first[0], 1, NOW_MS + 60_000)
    await store.postpone_letter(second[0], 1, NOW_MS + 60_000, "HTTP 500")
    assert await store.flush()
    assert await store.take_over([THERE], NOW_MS) == Taken(frozenset(), 0)
    assert await store.next_due_ms(DESTINATION) == NOW_MS + 60_000


async def test_open_applications_of_a_dead_node_are_worked_on_by_who_takes_them_over(store: SqlStore) -> None:
    await add_lamps(store)
    await add_node(store, HERE)
    await add_node(store, THERE)
    store.node = THERE
    opened = Application(0, PRODUCT_KEY, ApplicationStatus.CREATE, 1, NOW_MS)
    apply_id = await store.add_application(opened, blank_devices(1), 10, 10)
    checked = await store.add_application(
        Application(0, PRODUCT_KEY, ApplicationStatus.CHECK_SUCCESS, 1, NOW_MS), blank_devices(1), 10, 10
    )
    assert [found.apply_id for found in await store.list_open_applications()] == [apply_id]
    store.node = HERE
    assert await store.list_open_applications() == []
    assert await store.take_over([], NOW_MS) == Taken(frozenset(), 0)
    assert await store.take_over([THERE], NOW_MS) == Taken(frozenset(), 1)
    assert [found.apply_id for found in await store.list_open_applications()] == [apply_id]
    # Who starts one works on it.
    assert checked is not None
    assert await store.start_application(checked)
    assert [found.apply_id for found in await store.list_open_applications()] == [apply_id, checked]
    assert not await store.start_application(checked)


async def test_one_node_at_a_time_does_the_work_for_all(store: SqlStore) -> None:
    await add_node(store, HERE)
    await add_node(store, THERE)
    store.node = HERE
    assert await store.take_lease(WORK, [])
    assert await store.take_lease(WORK, [THERE])
    store.node = THERE
    assert not await store.take_lease(WORK, [])
    assert await store.take_lease("other work", [])
    assert await store.take_lease(WORK, [HERE])
    store.node = HERE
    assert not await store.take_lease(WORK, [])
    assert await store.remove_node(THERE)
    assert await store.take_lease(WORK, [])
