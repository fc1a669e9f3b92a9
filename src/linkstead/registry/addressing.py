"""Finding what a request names, inside the caller's own account and instance.

What belongs to somebody else is told apart in no way from what does not exist. Source of the codes and of their order:
`cloud-api.md` 5.1, 6.3 and 9.1.
"""

from typing import NamedTuple

from linkstead.errors import ApiError, codes
from linkstead.registry import names
from linkstead.registry.creation import WITH_THING_MODEL
from linkstead.registry.records import Device, DeviceKey, Product
from linkstead.registry.registry import Registry


class Scope(NamedTuple):
    """What a request may see: one account's records, of one instance, or of all when `instance_id` is None."""

    account_id: str
    instance_id: str | None

    def covers(self, record: Product | Device) -> bool:
        """True when the record is the account's, and of the instance where instances are told apart."""
        account_id, instance_id = self
        return record.account_id == account_id and (instance_id is None or instance_id == record.instance_id)


async def find_product(registry: Registry, scope: Scope, product_key: str) -> Product:
    """The product of this key.

    Raises:
        ApiError(NULL_PRODUCT_KEY, INVALID_FORMATTED_PRODUCT_KEY, NOT_EXISTED_PRODUCT): empty, malformed, not there.
    """
    if not product_key:
        raise ApiError(codes.NULL_PRODUCT_KEY)
    if not names.is_product_key(product_key):
        raise ApiError(codes.INVALID_FORMATTED_PRODUCT_KEY, ProductKey=product_key, rule=names.PRODUCT_KEY_RULE)
    product = await registry.find_product(product_key)
    if product is None or not scope.covers(product):
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product_key)
    return product


async def find_senior_product(registry: Registry, scope: Scope, product_key: str) -> Product:
    """The product of this key, which has to have a thing model.

    Raises:
        ApiError(NOT_SENIOR_PRODUCT): it has none; else see `find_product`.
    """
    product = await find_product(registry, scope, product_key)
    if product.aliyun_commodity_code != WITH_THING_MODEL:
        raise ApiError(
            codes.NOT_SENIOR_PRODUCT, ProductKey=product_key, rule=f"AliyunCommodityCode == {WITH_THING_MODEL}"
        )
    return product


def recall_device(registry: Registry, scope: Scope, key: DeviceKey) -> Device | None:
    """The device of this name as far as it is at hand: None says nothing about the store."""
    known = registry.recall_device(key)
    if known is None or known.account_id != scope.account_id:
        return None
    return known if scope.instance_id is None or scope.instance_id == known.instance_id else None


async def find_device(
    registry: Registry, scope: Scope, *, iot_id: str = "", product_key: str = "", device_name: str = ""
) -> Device:
    """The device named by its IotId, or by ProductKey and DeviceName; where there is an IotId the pair is ignored.

    Raises:
        ApiError(INVALID_IOT_ID, NOT_EXISTED_DEVICE): no such IotId.
        ApiError(NULL_PRODUCT_KEY, NULL_DEVICE_NAME, …): see `find_product`; one of the pair alone is refused.
    """
    if not iot_id:
        # A device at hand has a product, and a good name: nothing needs to be asked.
        known = recall_device(registry, scope, DeviceKey(product_key, device_name))
        if known is not None:
            return known
    if iot_id:
        if not names.is_iot_id(iot_id):
            raise ApiError(codes.INVALID_IOT_ID, IotId=iot_id, rule=names.IOT_ID_RULE)
        device = await registry.find_device_by_iot_id(iot_id)
        if device is None or not scope.covers(device):
            raise ApiError(codes.NOT_EXISTED_DEVICE, IotId=iot_id)
        return device
    await find_product(registry, scope, product_key)
    if not device_name:
        raise ApiError(codes.NULL_DEVICE_NAME)
    if not names.is_device_name(device_name):
        raise ApiError(codes.INVALID_FORMATTED_DEVICE_NAME, DeviceName=device_name, rule=names.DEVICE_NAME_RULE)
    device = await registry.find_device(DeviceKey(product_key, device_name))
    if device is None or not scope.covers(device):
        raise ApiError(codes.NOT_EXISTED_DEVICE, DeviceName=device_name)
    return device
