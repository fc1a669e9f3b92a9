"""Applications in the store."""

import pytest
import pytest_asyncio

from linkstead.registry import Application, ApplicationStatus, ProductGone
from linkstead.registry.applications import APPLICATIONS_KEPT_MAX, APPLICATIONS_OPEN_MAX, blank_devices
from linkstead.store.sql import SqlStore
from tests.store.samples import NOW_MS, PRODUCT_KEY, a_product, an_account

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(autouse=True)
async def product(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())


async def add(store: SqlStore, status: ApplicationStatus, product_key: str = PRODUCT_KEY, count: int = 2) -> int | None:
    new = Application(0, product_key, status, count, NOW_MS)
    return await store.add_application(new, blank_devices(count), APPLICATIONS_OPEN_MAX, APPLICATIONS_KEPT_MAX)


async def test_an_application_is_found_as_it_was_kept(store: SqlStore) -> None:
    apply_id = await add(store, ApplicationStatus.CREATE)
    assert apply_id is not None
    assert await store.find_application(apply_id) == Application(
        apply_id, PRODUCT_KEY, ApplicationStatus.CREATE, 2, NOW_MS
    )
    assert await store.list_application_devices(apply_id) == blank_devices(2)
    assert await store.find_application(apply_id + 1) is None


async def test_the_open_ones_are_listed_oldest_first(store: SqlStore) -> None:
    made = {status: await add(store, status) for status in ApplicationStatus}
    listed = [each.apply_id for each in await store.list_open_applications()]
    assert listed == [made[ApplicationStatus.CHECK], made[ApplicationStatus.CREATE]]


async def test_one_more_open_than_the_bound_is_refused(store: SqlStore) -> None:
    for _ in range(APPLICATIONS_OPEN_MAX):
        assert await add(store, ApplicationStatus.CHECK) is not None
    assert await add(store, ApplicationStatus.CHECK) is None


async def test_past_its_bound_a_product_forgets_its_oldest_application_that_is_not_open(store: SqlStore) -> None:
    first = await add(store, ApplicationStatus.CREATE)
    second = await add(store, ApplicationStatus.CREATE_SUCCESS)
    for _ in range(APPLICATIONS_KEPT_MAX - 2):
        assert await add(store, ApplicationStatus.CREATE_SUCCESS)
    assert first is not None
    assert second is not None
    assert await store.find_application(second) is not None
    last = await add(store, ApplicationStatus.CREATE_SUCCESS)
    assert last is not None
    assert await store.find_application(second) is None
    assert await store.list_application_devices(second) == []
    assert await store.find_application(first) is not None
    assert await store.find_application(last) is not None


async def test_an_application_starts_only_where_its_names_were_found_good(store: SqlStore) -> None:
    for status in ApplicationStatus:
        apply_id = await add(store, status)
        assert apply_id is not None
        assert await store.start_application(apply_id) is (status is ApplicationStatus.CHECK_SUCCESS)


async def test_without_its_product_no_application_is_kept(store: SqlStore) -> None:
    with pytest.raises(ProductGone):
        await add(store, ApplicationStatus.CHECK, "a1NotThere0")
