"""What only the PostgreSQL store promises: its connections, its locks, and what it does while the server is away."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from linkstead.registry import AlreadyExists, StoreAway
from linkstead.store import StoreUnusable, postgres
from linkstead.store import postgres as postgres_module
from linkstead.store.batches import HISTORY_QUEUE_MAX, RETRY_S_MAX
from linkstead.store.migration import REVISIONS
from linkstead.store.postgres import CLAIM_SETTINGS, READ_CONNECTIONS_MAX, TRIES_MAX, PostgresStore, UnfitValue
from linkstead.testing.clock import ManualClock
from tests.postgres import PASSWORD, USER, PostgresServer, Way
from tests.store.samples import (
    ACCOUNT_ID,
    DESTINATION,
    LAMP,
    NOW_MS,
    PRODUCT_KEY,
    SECRET,
    a_call,
    a_device,
    a_message,
    a_notice,
    a_product,
    add_lamps,
    an_access_key,
    an_account,
    an_open_call,
    until_written,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that may be killed."""
    with closing(PostgresServer()) as server:
        server.start()
        yield server


@pytest.fixture
def killable(own_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The same, that runs again afterwards."""
    yield own_postgres
    own_postgres.start()


@pytest_asyncio.fixture
async def url(postgres: PostgresServer, postgres_template: str) -> AsyncIterator[str]:
    async with postgres.copied(postgres_template) as url:
        yield url


@pytest_asyncio.fixture
async def stores(url: str, clock: ManualClock) -> AsyncIterator[list[PostgresStore]]:
    """The same database as two nodes have it."""
    stores = [PostgresStore(url, clock) for _ in range(2)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


# --- opening ---


async def test_nodes_that_start_at_once_on_a_new_database_make_its_tables_once(postgres: PostgresServer) -> None:
    url = postgres.url(await postgres.make_database())
    stores = [PostgresStore(url, ManualClock()) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        assert await store.registry_version() == 0
        await store.close()


async def test_a_migration_that_fails_leaves_nothing_behind(postgres: PostgresServer) -> None:
    name = await postgres.make_database()
    await postgres.run("CREATE TABLE device (something TEXT)", database=name)
    store = PostgresStore(postgres.url(name), ManualClock())
    with pytest.raises(StoreUnusable, match='relation "device" already exists'):
        await store.open()
    await postgres.run("DROP TABLE device", database=name)
    await store.open()
    assert await store.registry_version() == 0
    await store.close()


async def test_a_database_of_a_later_version_is_refused(postgres: PostgresServer, postgres_template: str) -> None:
    name = await postgres.make_database(postgres_template)
    await postgres.run("UPDATE alembic_version SET version_num = '9999'", database=name)
    with pytest.raises(StoreUnusable, match=f"revision 9999.*knows those up to {REVISIONS[-1]}"):
        await PostgresStore(postgres.url(name), ManualClock()).open()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("no_such_database", 'database "no_such_database" does not exist'),
        ("postgres?user=nobody", 'password authentication failed for user "nobody"'),
        ("postgres?sslmode=require", "rejected SSL upgrade"),
        ("postgres?sslmode=strange", "sslmode"),
        ("postgres?port=1", "Connect call failed"),
    ],
)
async def test_what_cannot_be_opened_is_named_without_its_password(
    postgres: PostgresServer, end: str, reason: str
) -> None:
    url = postgres.url(end)
    if "user=" in end or "port=" in end:
        url = url.replace(f"{USER}:{PASSWORD}@127.0.0.1:{postgres.port}", "") + f"&password={PASSWORD}&host=127.0.0.1"
        url += "" if "port=" in end else f"&port={postgres.port}"
    with pytest.raises(StoreUnusable, match=reason) as caught:
        await PostgresStore(url, ManualClock()).open()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_an_error_shows_no_secret(stores: list[PostgresStore]) -> None:
    with pytest.raises(IntegrityError) as refused:
        await stores[0].add_access_key(an_access_key(account_id="none"))
    assert "foreign key" in str(refused.value)
    with pytest.raises(UnfitValue) as misfit:
        await stores[0].add_access_key(an_access_key(secret=f"{SECRET}\ud800"))
    for caught in (refused, misfit):
        assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_text_with_a_nul_is_kept_without_it(stores: list[PostgresStore]) -> None:
    store = stores[0]
    await add_lamps(store)
    store.record_call(a_call(1, action="RRpc\x00"))
    assert await store.flush()
    assert await store.find_call(ACCOUNT_ID, "1") is not None
    assert await store.find_product("a\x00") is None


# --- several nodes ---


async def test_of_many_who_take_one_name_one_gets_it(stores: list[PostgresStore]) -> None:
    await stores[0].add_account(an_account())
    await stores[0].add_product(a_product())
    outcomes = await asyncio.gather(
        *(stores[number % 2].add_devices([a_device(iot_id=f"iot-{number}")]) for number in range(8)),
        return_exceptions=True,
    )
    assert sorted(str(outcome) for outcome in outcomes) == ["None"] + ["device_name"] * 7
    assert all(outcome is None or isinstance(outcome, AlreadyExists) for outcome in outcomes)


async def test_desired_values_that_are_set_at_once_are_counted_one_by_one(stores: list[PostgresStore]) -> None:
    await add_lamps(stores[0])
    versions = await asyncio.gather(
        *(stores[number % 2].set_desired(LAMP, {"power": str(number)}, {}, NOW_MS) for number in range(10))
    )
    assert sorted(version["power"] for version in versions) == list(range(1, 11))


async def test_a_letter_is_leased_to_one_node(stores: list[PostgresStore]) -> None:
    for number in range(200):
        stores[0].record_notice([DESTINATION], a_notice(number))
    assert await stores[0].flush()
    leased = await asyncio.gather(
        *(stores[number % 2].lease_letters(DESTINATION, 30, NOW_MS, NOW_MS + 1) for number in range(8))
    )
    ids = [letter.message_id for letters in leased for letter in letters]
    assert len(ids) == len(set(ids))
    left = await stores[1].lease_letters(DESTINATION, 200, NOW_MS, NOW_MS + 1)
    assert sorted([*ids, *(letter.message_id for letter in left)]) == list(range(200))


async def test_a_transaction_that_is_given_up_for_another_is_run_again(stores: list[PostgresStore]) -> None:
    await stores[0].add_account(an_account())
    await stores[0].add_product(a_product())
    tries = []

    def update(connection: sa.Connection, given_up: int) -> int:
        tries.append(given_up)
        connection.exec_driver_sql("UPDATE product SET description = description || 'x'")
        if len(tries) <= given_up:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")
        return len(tries)

    assert await stores[0]._write(update, TRIES_MAX - 1) == TRIES_MAX
    tries.clear()
    with pytest.raises(OperationalError, match="deadlock"):
        await stores[0]._write(update, TRIES_MAX)
    found = await stores[0].find_product(PRODUCT_KEY)
    assert found is not None
    assert found.description.endswith("x")
    assert not found.description.endswith("xx")


async def test_statements_beyond_the_connections_wait_for_their_turn(stores: list[PostgresStore]) -> None:
    count = READ_CONNECTIONS_MAX * 5
    assert await asyncio.gather(*(stores[0].registry_version() for _ in range(count))) == [0] * count


async def test_a_caller_that_is_cancelled_leaves_nothing_half_done(stores: list[PostgresStore]) -> None:
    adding = asyncio.ensure_future(stores[0].add_account(an_account()))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert await stores[1].list_accounts() == [an_account()]


# --- a server that is away ---


async def test_a_restarted_server_is_found_again_by_every_connection(
    killable: PostgresServer, clock: ManualClock
) -> None:
    store = PostgresStore(killable.url(await killable.make_database()), clock)
    await store.open()
    await store.add_account(an_account())
    await asyncio.gather(*(store.list_accounts() for _ in range(READ_CONNECTIONS_MAX * 2)))
    killable.kill()
    with pytest.raises(OperationalError):
        await store.list_accounts()
    with pytest.raises(OperationalError):
        await store.keep_calls([an_open_call(1)], [a_message(1)])
    await asyncio.to_thread(killable.start)
    accounts = await asyncio.gather(*(store.list_accounts() for _ in range(READ_CONNECTIONS_MAX * 2)))
    assert accounts == [[an_account()]] * len(accounts)
    await store.keep_calls([an_open_call(1)], [a_message(1)])
    assert await store.find_open_call(LAMP, 1) is not None
    await store.close()


async def test_history_waits_for_the_server_within_its_bound(killable: PostgresServer, clock: ManualClock) -> None:
    store = PostgresStore(killable.url(await killable.make_database()), clock)
    await store.open()
    await add_lamps(store)
    killable.kill()
    for number in range(HISTORY_QUEUE_MAX + 3):
        store.record_call(a_call(number))
    assert not await store.flush()
    assert (store.history_waiting, store.history_dropped) == (HISTORY_QUEUE_MAX, 3)
    await asyncio.to_thread(killable.start)
    # So much goes in parts, each after a wait of its own until one was written.
    while not await store.flush():
        clock.advance(RETRY_S_MAX)
    await until_written(store)
    calls = await store._read(
        lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM call_history").scalar()
    )
    assert (calls, store.history_dropped) == (HISTORY_QUEUE_MAX, 3)
    await store.close()


async def test_a_statement_that_takes_too_long_fails_and_the_next_does_not(
    url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_TIMEOUT_S", 0.1)
    store = PostgresStore(url, clock)
    await store.open()
    with pytest.raises(OperationalError):
        await store._write(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(10)"))
    await store.add_account(an_account())
    await store.close()


async def test_a_silent_host_does_not_keep_from_the_next(
    postgres: PostgresServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "CONNECT_TIMEOUT_S", 2.0)
    way = Way(postgres.port)
    name = await postgres.make_database()
    async with way.opened():
        way.fall_silent()
        hosts = f"127.0.0.1:{way.port},127.0.0.1:{postgres.port}"
        url = f"postgresql://{USER}:{PASSWORD}@{hosts}/{name}?target_session_attrs=read-write"
        store = PostgresStore(url, clock)
        await store.open()
        await store.add_account(an_account())
        assert await store.list_accounts() == [an_account()]
        await store.close()


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("postgresql://u:p@a:1,b:2/d?x=y", ["postgresql://u:p@a:1/d?x=y", "postgresql://u:p@b:2/d?x=y"]),
        ("postgres://a,b,[::1]:5", ["postgres://a", "postgres://b", "postgres://[::1]:5"]),
        ("postgresql://u@a,b?application_name=c@d,e", [f"postgresql://u@{c}?application_name=c@d,e" for c in "ab"]),
        ("postgresql:///d?host=a,b", ["postgresql:///d?host=a,b"]),
        ("postgresql://u:p@a/d", ["postgresql://u:p@a/d"]),
    ],
)
async def test_each_host_of_a_url_is_named_by_a_url_of_its_own(url: str, urls: list[str]) -> None:
    assert postgres_module.name_places(url) == urls


# --- who serves ---


async def test_a_server_that_knows_of_no_others_has_the_database_for_itself(
    stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLAIM_SETTINGS, "lock_timeout", "100ms")
    first, second = stores
    assert await first.claim(is_alone=True)
    assert not await second.claim(is_alone=True)
    assert not await second.claim(is_alone=False)
    # Once more, as after the database was away.
    assert await first.claim(is_alone=True)
    await first.close()
    assert await second.claim(is_alone=True)


async def test_nodes_that_know_of_each_other_share_the_database_and_no_other_comes(
    stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLAIM_SETTINGS, "lock_timeout", "100ms")
    first, second = stores
    assert await first.claim(is_alone=False)
    assert await second.claim(is_alone=False)
    assert not await second.claim(is_alone=True)
    assert await first.claim(is_alone=False)


async def test_who_claims_a_database_waits_for_a_server_that_is_just_ending(stores: list[PostgresStore]) -> None:
    first, second = stores
    assert await first.claim(is_alone=True)
    claiming = asyncio.ensure_future(second.claim(is_alone=True))
    await asyncio.sleep(0.05)
    assert not claiming.done()
    await first.close()
    assert await claiming


async def test_a_database_that_is_away_cannot_be_claimed(killable: PostgresServer, clock: ManualClock) -> None:
    store = PostgresStore(killable.url(await killable.make_database()), clock)
    await store.open()
    killable.kill()
    with pytest.raises(StoreAway):
        await store.claim(is_alone=True)
    await store.close()
