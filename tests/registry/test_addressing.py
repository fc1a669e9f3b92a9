from collections.abc import Awaitable

import pytest

from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.registry import DeviceKey, Registry, Scope, find_device, find_product, find_senior_product
from linkstead.testing.clock import ManualClock
from tests.fakes import ACCOUNT_ID, KEY, OTHER_ACCOUNT_ID, FakeStore, make_device, make_product

INSTANCE_ID = "iot-060a0001"
FOREIGN_KEY = DeviceKey("a1Probe0001", "probe-7")
NAMED_KEY = DeviceKey("a1Named0001", "lamp-09")
ANY_INSTANCE = Scope(ACCOUNT_ID, None)
PUBLIC_INSTANCE = Scope(ACCOUNT_ID, "")
NAMED_INSTANCE = Scope(ACCOUNT_ID, INSTANCE_ID)


@pytest.fixture
def registry() -> Registry:
    """A product with a device in the public instance, one in a named instance, and one of another account."""
    store = FakeStore()
    for key, account_id, instance_id in (
        (KEY, ACCOUNT_ID, ""),
        (NAMED_KEY, ACCOUNT_ID, INSTANCE_ID),
        (FOREIGN_KEY, OTHER_ACCOUNT_ID, ""),
    ):
        owner = {"account_id": account_id, "instance_id": instance_id}
        store.products[key.product_key] = make_product(key.product_key, **owner)
        store.devices[key] = make_device(key, **owner)
    return Registry(store.port, ManualClock().monotonic_s)


async def refusal(finding: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await finding
    return caught.value


# --- products


@pytest.mark.asyncio
@pytest.mark.parametrize("scope", [ANY_INSTANCE, PUBLIC_INSTANCE])
async def test_a_product_of_ones_own_is_found(registry: Registry, scope: Scope) -> None:
    assert (await find_product(registry, scope, KEY.product_key)).product_key == KEY.product_key


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("product_key", "row", "said"),
    [
        ("", codes.NULL_PRODUCT_KEY, ""),
        ("a1-nk5tEad0", codes.INVALID_FORMATTED_PRODUCT_KEY, "ProductKey=a1-nk5tEad0; 1-20 of A-Z a-z 0-9"),
        ("A" * 21, codes.INVALID_FORMATTED_PRODUCT_KEY, "1-20 of"),
        ("a1Nobody001", codes.NOT_EXISTED_PRODUCT, "ProductKey=a1Nobody001"),
        (FOREIGN_KEY.product_key, codes.NOT_EXISTED_PRODUCT, f"ProductKey={FOREIGN_KEY.product_key}"),
    ],
)
async def test_a_product_that_cannot_be_found_is_refused(
    registry: Registry, product_key: str, row: ErrorRow, said: str
) -> None:
    error = await refusal(find_product(registry, ANY_INSTANCE, product_key))
    assert error.row is row
    assert said in error.message("en")


@pytest.mark.asyncio
async def test_a_product_without_a_thing_model_is_told_from_one_that_has_it() -> None:
    store = FakeStore()
    store.products = {
        "a1Senior001": make_product("a1Senior001", aliyun_commodity_code="iothub_senior"),
        "a1Plain0001": make_product("a1Plain0001", aliyun_commodity_code="iothub"),
    }
    registry = Registry(store.port, ManualClock().monotonic_s)
    assert (await find_senior_product(registry, ANY_INSTANCE, "a1Senior001")).product_key == "a1Senior001"
    error = await refusal(find_senior_product(registry, ANY_INSTANCE, "a1Plain0001"))
    assert error.row is codes.NOT_SENIOR_PRODUCT
    assert "ProductKey=a1Plain0001; AliyunCommodityCode == iothub_senior" in error.message("en")
    absent = await refusal(find_senior_product(registry, ANY_INSTANCE, "a1Nobody001"))
    assert absent.row is codes.NOT_EXISTED_PRODUCT


@pytest.mark.asyncio
async def test_instances_are_told_apart_only_where_the_scope_has_one(registry: Registry) -> None:
    named = NAMED_KEY.product_key
    assert (await find_product(registry, ANY_INSTANCE, named)).instance_id == INSTANCE_ID
    assert (await find_product(registry, NAMED_INSTANCE, named)).instance_id == INSTANCE_ID
    assert (await refusal(find_product(registry, PUBLIC_INSTANCE, named))).row is codes.NOT_EXISTED_PRODUCT
    assert (await refusal(find_product(registry, NAMED_INSTANCE, KEY.product_key))).row is codes.NOT_EXISTED_PRODUCT


# --- devices


@pytest.mark.asyncio
async def test_a_device_is_found_by_its_names_or_by_its_iot_id(registry: Registry) -> None:
    by_names = await find_device(registry, ANY_INSTANCE, product_key=KEY.product_key, device_name=KEY.device_name)
    by_id = await find_device(registry, ANY_INSTANCE, iot_id=make_device().iot_id)
    assert by_names.key == by_id.key == KEY


@pytest.mark.asyncio
async def test_the_iot_id_wins_and_the_names_are_not_looked_at(registry: Registry) -> None:
    found = await find_device(
        registry, ANY_INSTANCE, iot_id=make_device().iot_id, product_key="not/one", device_name="#"
    )
    assert found.key == KEY


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("product_key", "device_name", "row"),
    [
        ("", "", codes.NULL_PRODUCT_KEY),
        ("", "lamp-01", codes.NULL_PRODUCT_KEY),
        ("a1/nk5tEad0", "lamp-01", codes.INVALID_FORMATTED_PRODUCT_KEY),
        ("a1Nobody001", "", codes.NOT_EXISTED_PRODUCT),
        ("a1Nobody001", "lamp-01", codes.NOT_EXISTED_PRODUCT),
        (KEY.product_key, "", codes.NULL_DEVICE_NAME),
        (KEY.product_key, "lam", codes.INVALID_FORMATTED_DEVICE_NAME),
        (KEY.product_key, "lamp/01", codes.INVALID_FORMATTED_DEVICE_NAME),
        (KEY.product_key, "lamp-02", codes.NOT_EXISTED_DEVICE),
        (*FOREIGN_KEY, codes.NOT_EXISTED_PRODUCT),
    ],
)
async def test_a_device_that_cannot_be_found_by_its_names_is_refused(
    registry: Registry, product_key: str, device_name: str, row: ErrorRow
) -> None:
    finding = find_device(registry, ANY_INSTANCE, product_key=product_key, device_name=device_name)
    assert (await refusal(finding)).row is row


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("iot_id", "row"),
    [
        ("a b", codes.INVALID_IOT_ID),
        ("Q" * 65, codes.INVALID_IOT_ID),
        ("nobody", codes.NOT_EXISTED_DEVICE),
        (make_device(FOREIGN_KEY).iot_id, codes.NOT_EXISTED_DEVICE),
    ],
)
async def test_a_device_that_cannot_be_found_by_its_iot_id_is_refused(
    registry: Registry, iot_id: str, row: ErrorRow
) -> None:
    error = await refusal(find_device(registry, ANY_INSTANCE, iot_id=iot_id))
    assert error.row is row
    assert f"IotId={iot_id}" in error.message("en")


@pytest.mark.asyncio
async def test_what_belongs_to_somebody_else_reads_as_what_does_not_exist(registry: Registry) -> None:
    foreign = await refusal(find_product(registry, ANY_INSTANCE, FOREIGN_KEY.product_key))
    nobody = await refusal(find_product(registry, ANY_INSTANCE, "a1Nobody001"))
    assert foreign.message("en").replace(FOREIGN_KEY.product_key, "a1Nobody001") == nobody.message("en")
    foreign = await refusal(find_device(registry, ANY_INSTANCE, iot_id=make_device(FOREIGN_KEY).iot_id))
    nobody = await refusal(find_device(registry, ANY_INSTANCE, iot_id="nobody"))
    assert foreign.message("en").replace(make_device(FOREIGN_KEY).iot_id, "nobody") == nobody.message("en")


@pytest.mark.asyncio
async def test_a_device_of_another_instance_is_not_found_by_either_way(registry: Registry) -> None:
    by_id = await refusal(find_device(registry, PUBLIC_INSTANCE, iot_id=make_device(NAMED_KEY).iot_id))
    assert by_id.row is codes.NOT_EXISTED_DEVICE
    finding = find_device(
        registry, PUBLIC_INSTANCE, product_key=NAMED_KEY.product_key, device_name=NAMED_KEY.device_name
    )
    assert (await refusal(finding)).row is codes.NOT_EXISTED_PRODUCT
    found = await find_device(registry, NAMED_INSTANCE, iot_id=make_device(NAMED_KEY).iot_id)
    assert found.key == NAMED_KEY


@pytest.mark.asyncio
async def test_a_warm_lookup_by_names_asks_the_store_for_nothing(registry: Registry) -> None:
    store = registry.store
    assert isinstance(store, FakeStore)
    for _ in range(2):
        await find_device(registry, ANY_INSTANCE, product_key=KEY.product_key, device_name=KEY.device_name)
    assert store.reads == {"find_product": 1, "find_device": 1}
