"""Webhooks and the letters that were not taken; on every engine."""

from typing import Any

import pytest
import sqlalchemy as sa

from linkstead.registry import ProductGone
from linkstead.store import webhooks
from linkstead.store.retention import DAY_MS, LETTER_DAYS, PRUNED_PER_TRANSACTION_MAX
from linkstead.store.sql import SqlStore
from linkstead.store.tables import letter
from linkstead.store.webhooks import DEAD_LETTER_DAYS, ERROR_CHARS_MAX, WAITED_TOO_LONG, WAITING_DAYS
from linkstead.subscription import NoticeKind
from linkstead.subscription.webhooks import WEBHOOKS_PER_PRODUCT_MAX, DeadLetter, Webhook, WebhookRefused
from tests.store.samples import ACCOUNT_ID, NOW_MS, PRODUCT_KEY, a_product, add_lamps

pytestmark = pytest.mark.asyncio

HOOK, OTHER_HOOK = "webhook/wh_1", "webhook/wh_2"


def a_webhook(number: int = 1, **fields: Any) -> Webhook:
    given: dict[str, Any] = {
        "account_id": ACCOUNT_ID,
        "product_key": PRODUCT_KEY,
        "url": "https://example.org/hook",
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "kinds": frozenset({NoticeKind.DEVICE_DATA, NoticeKind.DEVICE_TAG}),
        "enabled": True,
        "created_ms": NOW_MS,
    }
    return Webhook(f"wh_{number}", **(given | fields))


async def add_letters(store: SqlStore, destination: str, count: int = 1, **fields: Any) -> list[int]:
    """Have letters wait; returns their ids."""
    row = {
        "destination": destination,
        "message_id": 7,
        "topic": "/a1/lamp/user/灯",
        "payload": b"{}",
        "generated_ms": NOW_MS,
        "qos": 0,
        "attempts": 14,
        "due_ms": NOW_MS,
        "is_dead": False,
        "last_error": "",
    } | fields

    def add(connection: sa.Connection) -> list[int]:
        return list(connection.execute(sa.insert(letter).returning(letter.c.id), [row] * count).scalars())

    return await store._write(add)


async def letters(store: SqlStore) -> list[Any]:
    """Every letter's id, due time, number of attempts, error, and whether it is dead."""
    columns = (letter.c.id, letter.c.due_ms, letter.c.attempts, letter.c.last_error, letter.c.is_dead)
    statement = sa.select(*columns).order_by(letter.c.id)
    return await store._read(lambda connection: [tuple(row) for row in connection.execute(statement)])


async def test_webhooks_are_kept_as_they_are(store: SqlStore) -> None:
    await add_lamps(store)
    version = await store.registry_version()
    made = [a_webhook(1), a_webhook(2, enabled=False, kinds=frozenset(NoticeKind))]
    for each in made:
        await store.add_webhook(each)
    assert await store.list_webhooks() == made
    assert await store.find_webhook("wh_2") == made[1]
    assert await store.find_webhook("wh_3") is None
    assert await store.registry_version() == version + 2


async def test_a_webhook_is_enabled_and_disabled(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_webhook(a_webhook())
    version = await store.registry_version()
    assert await store.set_webhook_enabled("wh_1", enabled=False)
    assert await store.find_webhook("wh_1") == a_webhook(enabled=False)
    assert await store.registry_version() == version + 1
    assert not await store.set_webhook_enabled("wh_2", enabled=False)
    assert await store.registry_version() == version + 1


async def test_a_webhook_needs_its_product(store: SqlStore) -> None:
    await add_lamps(store)
    with pytest.raises(ProductGone):
        await store.add_webhook(a_webhook(product_key="a1Gone00001"))


async def test_a_product_has_so_many_webhooks_and_no_more(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_product(a_product("a1Fan000001"))
    for number in range(WEBHOOKS_PER_PRODUCT_MAX):
        await store.add_webhook(a_webhook(number))
    with pytest.raises(WebhookRefused, match="the product has 10 webhooks"):
        await store.add_webhook(a_webhook(99))
    await store.add_webhook(a_webhook(100, product_key="a1Fan000001"))
    assert len(await store.list_webhooks()) == WEBHOOKS_PER_PRODUCT_MAX + 1


async def test_an_installation_has_so_many_webhooks_and_no_more(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WEBHOOKS_MAX", 2)
    await add_lamps(store)
    for number in range(2):
        await store.add_webhook(a_webhook(number))
    with pytest.raises(WebhookRefused, match="there are 2 webhooks"):
        await store.add_webhook(a_webhook(2))


async def test_what_waits_goes_with_its_webhook(store: SqlStore) -> None:
    await add_lamps(store)
    for number in (1, 2):
        await store.add_webhook(a_webhook(number))
    await add_letters(store, HOOK, PRUNED_PER_TRANSACTION_MAX + 1)
    await add_letters(store, HOOK, is_dead=True)
    [other] = await add_letters(store, OTHER_HOOK)
    assert await store.delete_webhook("wh_1")
    assert [row[0] for row in await letters(store)] == [other]
    assert await store.list_webhooks() == [a_webhook(2)]
    assert not await store.delete_webhook("wh_1")


async def test_a_letter_is_postponed_with_the_reason(store: SqlStore) -> None:
    first, second = await add_letters(store, HOOK, 2)
    await store.postpone_letter(first, 14, NOW_MS + 5, "x" * (ERROR_CHARS_MAX + 1))
    assert await letters(store) == [
        (first, NOW_MS + 5, 14, "x" * ERROR_CHARS_MAX, False),
        (second, NOW_MS, 14, "", False),
    ]
    await store.postpone_letter(second + 1, 14, NOW_MS, "gone meanwhile")


async def test_a_letter_is_given_up_and_revived(store: SqlStore) -> None:
    first, second, third = await add_letters(store, HOOK, 3)
    [other] = await add_letters(store, OTHER_HOOK)
    for row_id, died_ms in ((first, 10), (second, 30), (other, 20)):
        await store.bury_letter(row_id, 14, died_ms, "HTTP 500")
    assert await store.count_dead_letters(HOOK) == 2
    topic = "/a1/lamp/user/灯"
    dead = [DeadLetter(row_id, 7, topic, NOW_MS, 14, at, "HTTP 500") for row_id, at in ((second, 30), (first, 10))]
    assert await store.list_dead_letters(HOOK, 10) == dead
    assert await store.list_dead_letters(HOOK, 1) == dead[:1]
    assert await store.revive_letters(HOOK, other, NOW_MS) == 0
    assert await store.revive_letters(HOOK, third, NOW_MS) == 0
    assert await store.revive_letters(HOOK, first, NOW_MS + 1) == 1
    assert (first, NOW_MS + 1, 0, "HTTP 500", False) in await letters(store)
    assert await store.revive_letters(HOOK, None, NOW_MS + 2) == 1
    assert await store.count_dead_letters(HOOK) == 0
    assert await store.count_dead_letters(OTHER_HOOK) == 1


async def test_what_is_due_too_long_is_given_up(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_webhook(a_webhook())
    now_ms = NOW_MS + WAITING_DAYS * DAY_MS
    [late] = await add_letters(store, HOOK, due_ms=NOW_MS - 1)
    [in_time] = await add_letters(store, HOOK, due_ms=NOW_MS, generated_ms=0)
    [group] = await add_letters(store, "1001/DEFAULT_GROUP", due_ms=NOW_MS - 1)
    assert await store._prune_webhook_letters(now_ms) == 1
    assert await letters(store) == [
        (late, now_ms, 14, WAITED_TOO_LONG, True),
        (in_time, NOW_MS, 14, "", False),
        (group, NOW_MS - 1, 14, "", False),
    ]


async def test_dead_letters_are_kept_for_a_time(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_webhook(a_webhook())
    await add_letters(store, HOOK, PRUNED_PER_TRANSACTION_MAX + 1, due_ms=NOW_MS - 1, is_dead=True)
    [kept] = await add_letters(store, HOOK, due_ms=NOW_MS, is_dead=True)
    assert await store.prune(NOW_MS + DEAD_LETTER_DAYS * DAY_MS) == PRUNED_PER_TRANSACTION_MAX + 1
    assert [row[0] for row in await letters(store)] == [kept]


async def test_past_their_number_those_that_died_first_go(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEAD_LETTERS_MAX", 2)
    await add_lamps(store)
    await store.add_webhook(a_webhook())
    ids = [(await add_letters(store, HOOK, due_ms=NOW_MS - at, is_dead=True))[0] for at in (0, 1)]
    assert await store.prune(NOW_MS) == 0
    ids += [(await add_letters(store, HOOK, due_ms=NOW_MS - at, is_dead=True))[0] for at in (2, 3)]
    assert await store.prune(NOW_MS) == 2
    assert [row[0] for row in await letters(store)] == ids[:2]


async def test_letters_of_webhooks_that_went_with_their_product_go(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_product(a_product("a1Fan000001"))
    await store.add_webhook(a_webhook(1))
    await store.add_webhook(a_webhook(2, product_key="a1Fan000001"))
    [kept] = await add_letters(store, HOOK)
    await add_letters(store, OTHER_HOOK, PRUNED_PER_TRANSACTION_MAX + 1)
    assert await store.delete_product("a1Fan000001")
    assert await store.list_webhooks() == [a_webhook(1)]
    assert await store.prune(NOW_MS) == PRUNED_PER_TRANSACTION_MAX + 1
    assert [row[0] for row in await letters(store)] == [kept]


async def test_waits_between_attempts_outlive_the_process(store: SqlStore) -> None:
    [waiting] = await add_letters(store, HOOK, due_ms=NOW_MS + 60_000)
    [under_way] = await add_letters(store, HOOK, due_ms=NOW_MS - 1)
    assert len(await store.lease_letters(HOOK, 10, NOW_MS, NOW_MS + 30_000)) == 1
    assert (await store.take_over([], NOW_MS)).destinations == {HOOK}
    assert [row[:2] for row in await letters(store)] == [(waiting, NOW_MS + 60_000), (under_way, NOW_MS)]


async def test_what_waits_for_a_webhook_is_not_too_old_after_a_day(store: SqlStore) -> None:
    await add_lamps(store)
    await store.add_webhook(a_webhook())
    [kept] = await add_letters(store, HOOK)
    await add_letters(store, "1001/DEFAULT_GROUP")
    assert await store.prune(NOW_MS + LETTER_DAYS * DAY_MS + 1) == 1
    assert [row[0] for row in await letters(store)] == [kept]
