"""Policies, temporary keys and the audit log in the database, and their bounds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.registry.audit import AuditEntry
from linkstead.store import SqliteStore, accounts, batches
from linkstead.store import audit as audit_store
from linkstead.testing.clock import ManualClock
from tests.store.samples import ACCOUNT_ID, an_access_key, an_account

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "linkstead.db", ManualClock())
    await store.open()
    await store.add_account(an_account())
    yield store
    await store.close()


def an_entry(number: int, **fields: object) -> AuditEntry:
    usual: dict[str, object] = dict.fromkeys(AuditEntry.__dataclass_fields__, "")
    return AuditEntry(**{**usual, "time_ms": number, "is_verified": True, **fields})  # type: ignore[arg-type]


async def test_a_policy_is_kept_replaced_and_deleted(store: SqliteStore) -> None:
    assert await store.find_policy(ACCOUNT_ID, "operator") is None
    for document in ("one", "two"):
        version = await store.registry_version()
        assert await store.save_policy(ACCOUNT_ID, "operator", document)
        assert await store.find_policy(ACCOUNT_ID, "operator") == document
        assert await store.registry_version() > version
    assert await store.find_policy("1002", "operator") is None
    assert await store.delete_policy(ACCOUNT_ID, "operator")
    assert not await store.delete_policy(ACCOUNT_ID, "operator")


async def test_an_account_has_so_many_policies_and_no_more(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "POLICIES_PER_ACCOUNT_MAX", 2)
    await store.add_account(an_account("1002", "second"))
    assert await store.save_policy(ACCOUNT_ID, "first", "x")
    assert await store.save_policy(ACCOUNT_ID, "second", "x")
    assert not await store.save_policy(ACCOUNT_ID, "third", "x")
    assert await store.save_policy(ACCOUNT_ID, "second", "y")
    assert await store.save_policy("1002", "third", "x")


async def test_a_key_that_is_in_use_is_not_deleted(store: SqliteStore) -> None:
    await store.add_access_key(an_access_key())
    assert not await store.delete_access_key("key-1")
    await store.set_access_key_enabled("key-1", enabled=False)
    assert await store.delete_access_key("key-1")
    assert await store.find_access_key("key-1") is None
    assert not await store.delete_access_key("key-1")


async def test_the_audit_log_waits_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AUDIT_QUEUE_MAX", 3)
    store = SqliteStore(tmp_path / "other.db", ManualClock())
    await store.open()
    for number in range(4):
        store.record_audit(an_entry(number))
    assert [entry.time_ms for entry in await store.list_audit(None, 0, 10)] == [3, 2, 1]
    store.record_audit(an_entry(5))
    await store.close()
    store.record_audit(an_entry(6))
    store = SqliteStore(tmp_path / "other.db", ManualClock())
    await store.open()
    assert [entry.time_ms for entry in await store.list_audit(None, 0, 10)] == [5, 3, 2, 1]
    await store.close()


async def test_a_listing_of_the_audit_log_is_bounded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_store, "AUDIT_LISTED_MAX", 2)
    for number in range(3):
        store.record_audit(an_entry(number))
    assert [entry.time_ms for entry in await store.list_audit(None, 0, 10)] == [2, 1]
