"""Secrets sealed under a master key: what is on the disk, what comes back, and what is refused."""

import base64
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from linkstead.registry import DeviceKey
from linkstead.store import SqliteStore, StoreUnusable, sealing
from linkstead.store.sealing import SEALED, SEALED_PER_TRANSACTION_MAX, SealBroken, UnknownMasterKey
from linkstead.store.vault import KEY_FILE_BYTES_MAX, MASTER_KEYS_MAX, AesVault, MasterKeyFileError, read_vault
from linkstead.subscription import NoticeKind
from linkstead.subscription.webhooks import Webhook
from linkstead.testing.clock import ManualClock
from tests.store.samples import (
    ACCOUNT_ID,
    LAMP,
    NOW_MS,
    PRODUCT_KEY,
    SECRET,
    a_device,
    a_product,
    an_access_key,
    an_account,
)

FIRST, SECOND = bytes(32), bytes(range(32))
HOOK_SECRET = "whsec_aSecretNobodyMaySee00000000000000"
TOKEN = "T0ken-nobody-may-see"
TEMPORARY = an_access_key("STS.1", security_token=TOKEN, expires_ms=NOW_MS)


def a_webhook() -> Webhook:
    return Webhook(
        webhook_id="hook-1",
        account_id=ACCOUNT_ID,
        product_key=PRODUCT_KEY,
        url="http://127.0.0.1/",
        secret=HOOK_SECRET,
        kinds=frozenset({NoticeKind.STATUS_CHANGE}),
        enabled=True,
        created_ms=NOW_MS,
    )


async def opened(path: Path, *keys: bytes) -> SqliteStore:
    store = SqliteStore(path, ManualClock(), AesVault(list(keys)) if keys else None)
    await store.open()
    return store


async def fill(store: SqliteStore) -> None:
    await store.add_account(an_account())
    for key in (an_access_key(), TEMPORARY):
        await store.add_access_key(key)
    await store.add_product(a_product())
    await store.add_devices([a_device(), a_device("lamp-0002")])
    await store.add_webhook(a_webhook())


async def check(store: SqliteStore) -> None:
    """All secrets come back as they went in, by whatever way."""
    assert await store.find_access_key("key-1") == an_access_key()
    assert await store.list_access_keys(ACCOUNT_ID) == [TEMPORARY, an_access_key()]
    assert await store.find_product(PRODUCT_KEY) == a_product()
    assert (await store.list_products(ACCOUNT_ID, None, None, 0, 10)).records == [a_product()]
    device = a_device()
    assert await store.find_device(LAMP) == device
    assert await store.find_device_by_iot_id(device.iot_id) == device
    assert await store.find_devices([LAMP]) == [device]
    assert device in (await store.list_devices(PRODUCT_KEY, 0, 1_000)).records
    assert await store.find_webhook("hook-1") == a_webhook()
    assert await store.list_webhooks() == [a_webhook()]


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))


def secrets_on_disk(path: Path) -> set[str]:
    return {secret for secret in (SECRET, HOOK_SECRET, TOKEN) if secret.encode() in on_disk(path)}


def nobody(table: str, count: int) -> None:
    """Nobody is told."""


@pytest.mark.asyncio
async def test_what_is_there_is_sealed_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path)
    await fill(store)
    await check(store)
    await store.close()
    assert secrets_on_disk(path) == {SECRET, HOOK_SECRET, TOKEN}
    store = await opened(path, FIRST)
    told: list[tuple[str, int]] = []
    assert await store.seal_secrets(lambda table, count: told.append((table, count)))
    assert sorted(told) == [("access_key", 2), ("device", 2), ("product", 1), ("webhook", 1)]
    assert store.is_sealed
    assert secrets_on_disk(path) == set()
    await check(store)
    assert not await store.seal_secrets(nobody)
    await store.close()
    store = await opened(path, FIRST)
    await check(store)
    await store.close()


@pytest.mark.asyncio
async def test_what_is_written_later_is_sealed_too(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path, FIRST)
    assert await store.seal_secrets(nobody)
    await fill(store)
    await check(store)
    changed = replace(a_product(), product_secret=SECRET[::-1])
    await store.update_product(changed)
    assert await store.find_product(PRODUCT_KEY) == changed
    await store.close()
    assert secrets_on_disk(path) == set()
    assert SECRET[::-1].encode() not in on_disk(path)


@pytest.mark.asyncio
async def test_many_rows_are_sealed_part_by_part_and_the_rest_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path)
    await fill(store)
    names = [f"many-{number:04}" for number in range(SEALED_PER_TRANSACTION_MAX + 1)]
    await store.add_devices([a_device(name, iot_id=f"iot{name}".replace("-", "")) for name in names])
    await store.close()
    whole, parts = sealing.seal_part, 0

    def some(*args: object) -> tuple[int, str]:
        nonlocal parts
        parts += 1
        if parts == 4:
            raise InterruptedError
        return whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sealing, "seal_part", some)
    store = await opened(path, FIRST)
    with pytest.raises(InterruptedError):
        await store.seal_secrets(nobody)
    await store.close()
    monkeypatch.undo()
    with pytest.raises(StoreUnusable):
        await opened(path)
    store = await opened(path, FIRST)
    assert store.is_sealed
    await check(store)
    assert await store.seal_secrets(nobody)
    await check(store)
    for name in (names[0], names[-1]):
        device = await store.find_device(DeviceKey(PRODUCT_KEY, name))
        assert device is not None
        assert device.device_secret == SECRET
    await store.close()
    assert secrets_on_disk(path) == set()


@pytest.mark.asyncio
async def test_without_the_key_or_with_another_nothing_opens(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path, FIRST)
    await store.seal_secrets(nobody)
    await store.close()
    key_id = AesVault([FIRST]).key_id
    with pytest.raises(StoreUnusable, match=f"sealed under the master key {key_id}, which was not given"):
        await opened(path)
    with pytest.raises(StoreUnusable, match=f"the master key {key_id}, which is not in the file"):
        await opened(path, SECOND)


@pytest.mark.asyncio
async def test_a_new_key_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path, FIRST)
    await store.seal_secrets(nobody)
    await fill(store)
    await store.close()
    store = await opened(path, SECOND, FIRST)
    other = await opened(path, FIRST)
    await check(store)
    assert await store.seal_secrets(nobody)
    await check(store)
    # Who has the file open without the new key is told.
    with pytest.raises(UnknownMasterKey, match=AesVault([SECOND]).key_id):
        await other.check_master_keys()
    await other.close()
    await store.close()
    assert secrets_on_disk(path) == set()
    store = await opened(path, SECOND)
    await check(store)
    await store.close()
    with pytest.raises(StoreUnusable):
        await opened(path, FIRST)


@pytest.mark.asyncio
async def test_a_key_that_was_never_turned_on_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path, FIRST)
    await fill(store)
    assert not store.is_sealed
    await store.close()
    assert secrets_on_disk(path) == {SECRET, HOOK_SECRET, TOKEN}
    store = await opened(path)
    assert not await store.seal_secrets(nobody)
    await check(store)
    await store.close()


@pytest.mark.asyncio
async def test_a_secret_moved_to_another_row_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "linkstead.db"
    store = await opened(path, FIRST)
    await store.seal_secrets(nobody)
    await fill(store)
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE device SET device_secret = (SELECT device_secret FROM device WHERE device_name = 'lamp-0001')"
        )
    store = await opened(path, FIRST)
    await store.find_device(LAMP)
    with pytest.raises(SealBroken, match="what is sealed there was changed, or belongs elsewhere"):
        await store.find_device(DeviceKey(PRODUCT_KEY, "lamp-0002"))
    await store.close()


def test_every_secret_in_the_tables_is_among_the_sealed() -> None:
    named = {(where.table.name, column) for where in SEALED.values() for column in where.columns}
    tables = {where.table.metadata for where in SEALED.values()}
    (metadata,) = tables
    found = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if "secret" in column.name or column.name == "security_token"
    }
    assert named == found


@pytest.mark.parametrize("broken", ["", "0123456789abcdef", "0123456789abcdef x", " 1 "])
def test_what_was_never_sealed_does_not_open(broken: str) -> None:
    vault = AesVault([FIRST])
    with pytest.raises(SealBroken):
        vault.open("place", f" 1 {broken}")
    with pytest.raises(SealBroken):
        vault.open("place", f" 1 {vault.key_id} {broken}")


def line(key: bytes) -> str:
    return base64.b64encode(key).decode() + "\n"


def test_a_key_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_text(f"# the new one\n{line(FIRST)}\n{line(SECOND)}")
    vault = read_vault(path)
    assert vault.key_id == AesVault([FIRST]).key_id
    assert vault.key_ids == AesVault([SECOND, FIRST]).key_ids
    assert vault.open("a", AesVault([SECOND]).seal("a", "text")) == "text"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 keys, not 1 to 8"),
        (line(FIRST) * (MASTER_KEYS_MAX + 1), "9 keys, not 1 to 8"),
        (line(FIRST[:31]), "line 1 is not 32 bytes in Base64"),
        (line(FIRST) + "secret!\n", "line 2 is not 32 bytes in Base64"),
        ("#" * (KEY_FILE_BYTES_MAX + 1), f"more than {KEY_FILE_BYTES_MAX} bytes"),
    ],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    with pytest.raises(MasterKeyFileError, match=said) as caught:
        read_vault(path)
    assert "secret!" not in str(caught.value)


def test_a_key_file_reaches_to_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    text = line(FIRST) * MASTER_KEYS_MAX
    path.write_text(text + "#" * (KEY_FILE_BYTES_MAX - len(text)))
    assert read_vault(path).key_ids == AesVault([FIRST]).key_ids


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyFileError, match="No such file"):
        read_vault(tmp_path / "gone.key")
