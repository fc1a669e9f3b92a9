from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from linkstead.errors import ApiError, ErrorRow, codes
from linkstead.registry import Account, Device, Product, Registry
from linkstead.registry.creation import add_device, add_product, new_device, new_product
from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock

NOW_MS = 1_700_000_000_000
SECRET = "kept-from-Elsewhere!~"


class RepeatedIds:
    """Implements `Ids`: every token is the first character of its alphabet, over and over."""

    def message_id(self) -> int:
        return 1

    def request_id(self) -> str:
        return "41C4265E-F05D-4E2E-AB09-E031F501AF7F"

    def alink_id(self) -> int:
        return 1

    def token(self, alphabet: str, length: int) -> str:
        return alphabet[0] * length


IDS = RepeatedIds()


@pytest_asyncio.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    clock = ManualClock()
    store = SqliteStore(tmp_path / "linkstead.db", clock)
    await store.open()
    await store.add_account(Account("1001", "first", NOW_MS))
    await store.add_account(Account("1002", "second", NOW_MS))
    yield Registry(store, clock.monotonic_s)
    await store.close()


def a_product(**fields: Any) -> Product:
    given: dict[str, Any] = {
        "account_id": "1001",
        "instance_id": "",
        "product_name": "DemoLamp",
        "node_type": 0,
        "created_ms": NOW_MS,
    }
    return new_product(IDS, **(given | fields))


def a_device(**fields: Any) -> Device:
    return new_device(IDS, a_product(), created_ms=NOW_MS, **fields)


def test_what_is_not_given_is_drawn() -> None:
    product = a_product()
    assert (product.product_key, product.product_secret) == ("a1" + "a" * 9, "a" * 16)
    device = new_device(IDS, product, created_ms=NOW_MS)
    assert (device.product_key, device.device_name) == (product.product_key, "a" * 20)
    assert (device.iot_id, device.device_secret) == ("a" * 20 + "00100", "0" * 32)


@pytest.mark.parametrize("product_key", ["k", "aldfeSe1", "a1B2c3D4e5F", "x" * 20])
def test_a_key_and_secrets_from_elsewhere_are_carried_over(product_key: str) -> None:
    product = a_product(product_key=product_key, product_secret=SECRET)
    assert (product.product_key, product.product_secret) == (product_key, SECRET)
    device = new_device(IDS, product, created_ms=NOW_MS, device_name="lamp-01", device_secret=SECRET)
    assert (device.product_key, device.device_name, device.device_secret) == (product_key, "lamp-01", SECRET)


@pytest.mark.parametrize("product_key", ["x" * 21, "a1/b", "a1 b", "灯"])
def test_a_product_key_that_no_topic_can_hold_is_refused(product_key: str) -> None:
    with pytest.raises(ApiError) as caught:
        a_product(product_key=product_key)
    assert caught.value.row is codes.INVALID_FORMATTED_PRODUCT_KEY
    assert f"ProductKey={product_key}; 1-20 of" in caught.value.message("en")


@pytest.mark.parametrize("secret", ["x" * 65, "with blank", "Schlüssel", "line\nbreak"])
def test_a_malformed_secret_is_refused_and_not_shown(secret: str) -> None:
    for make in (lambda: a_product(product_secret=secret), lambda: a_device(device_secret=secret)):
        with pytest.raises(ApiError) as caught:
            make()
        assert caught.value.row is codes.INVALID_FORMATTED_PARAMETER
        message = caught.value.message("en")
        assert "Secret=***; 1-64 printable" in message
        assert secret not in message


def test_a_secret_of_the_greatest_length_is_accepted() -> None:
    assert a_device(device_secret="x" * 64).device_secret == "x" * 64


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"product_name": ""}, codes.NULL_PRODUCT_NAME),
        ({"product_name": "Lam"}, codes.INVALID_FORMATTED_PRODUCT_NAME),
        ({"node_type": 2}, codes.INVALID_NODE_TYPE),
        ({"aliyun_commodity_code": ""}, codes.INVALID_ALIYUN_COMMODITY_CODE),
        ({"description": "x" * 101}, codes.LONG_PRODUCT_DESC),
    ],
)
def test_a_product_that_breaks_a_rule_is_not_made(fields: dict[str, Any], row: ErrorRow) -> None:
    with pytest.raises(ApiError) as caught:
        a_product(**fields)
    assert caught.value.row is row


@pytest.mark.asyncio
async def test_a_given_product_key_that_is_taken_is_refused_whoever_has_it(registry: Registry) -> None:
    mine = await add_product(registry, IDS, a_product(product_key="a1Taken"), key_given=True)
    assert await registry.find_product("a1Taken") == mine
    with pytest.raises(ApiError) as caught:
        await add_product(registry, IDS, a_product(product_key="a1Taken", account_id="1002"), key_given=True)
    assert caught.value.row is codes.ILLEGAL_REQUEST
    assert "ProductKey=a1Taken; unique" in caught.value.message("en")
    assert await registry.find_product("a1Taken") == mine


@pytest.mark.asyncio
async def test_drawing_stops_when_every_draw_is_taken(registry: Registry) -> None:
    product = await add_product(registry, IDS, a_product(), key_given=False)
    with pytest.raises(ApiError) as caught:
        await add_product(registry, IDS, a_product(product_name="Second"), key_given=False)
    assert caught.value.row is codes.CREATE_PRODUCT_FAILED
    await add_device(registry, IDS, new_device(IDS, product, created_ms=NOW_MS), name_given=False)
    with pytest.raises(ApiError) as caught:
        await add_device(registry, IDS, new_device(IDS, product, created_ms=NOW_MS), name_given=False)
    assert caught.value.row is codes.CREATE_DEVICE_FAILED
    named = new_device(IDS, product, created_ms=NOW_MS, device_name="lamp-01")
    with pytest.raises(ApiError) as caught:
        await add_device(registry, IDS, named, name_given=True)
    # the name is free, the IotId is not
    assert caught.value.row is codes.CREATE_DEVICE_FAILED
