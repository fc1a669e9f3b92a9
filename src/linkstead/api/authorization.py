"""Whether the RAM user who signed a request may make it. Source: `cloud-api.md` 2.5 and 2.6.

It is decided on the names in the request alone, before anything is looked at but to whom an IotId or a TopicId belongs:
what is somebody else's is told apart in no way from what does not exist.
"""

from collections.abc import Mapping

from linkstead.errors import ApiError, codes
from linkstead.registry import AccessKey, Registry

INDIRECT_NAMES_MAX = 200
"""IotIds and TopicIds in one request, twice what any action takes; a request with more is about every product."""

LISTS_OF_DEVICES = frozenset({"DeviceListStr"})
"""Parameters that hold devices as JSON: a request with one is about every product."""

SERVICE = "iot"
CONSUME = "iot:sub"
"""What a consumer of server-side subscription needs. Source: AMQP client access reference, RAM users."""

INSPECT_CALLS, INSPECT_DEVICE = "linkstead:QueryCalls", "linkstead:QueryDevice"
INSPECT_GROUPS, INSPECT_METRICS = "linkstead:QueryConsumerGroups", "linkstead:QueryMetrics"
"""What the inspection API needs."""

PLANT_FAULTS = "linkstead:PlantFaults"
"""What it takes to have things go wrong, where that can be asked for."""


async def authorize(registry: Registry, caller: AccessKey, action: str, parameters: Mapping[str, str]) -> None:
    """Let a request pass that is signed by the account itself, or by a user whose policy allows it.

    Args:
        action: as on the wire.
        parameters: of the request, as sent.

    Raises:
        ApiError(FORBIDDEN_RAM): the policy does not allow it, or there is none.
    """
    if not caller.user_name:
        return
    policy = await registry.find_policy(caller.account_id, caller.user_name)
    name = f"{SERVICE}:{action}"
    if policy.allows_everywhere(name):
        return
    product_keys = await _products_named(registry, caller.account_id, parameters)
    if not policy.allows(name, product_keys or ()):
        raise ApiError(codes.FORBIDDEN_RAM)


async def authorize_products(registry: Registry, caller: AccessKey, name: str, *product_keys: str) -> None:
    """The same for what is no action of the OpenAPI: `name` has its service in front.

    Raises:
        ApiError(FORBIDDEN_RAM): see `authorize`.
    """
    if caller.user_name:
        policy = await registry.find_policy(caller.account_id, caller.user_name)
        if not policy.allows(name, product_keys):
            raise ApiError(codes.FORBIDDEN_RAM)


async def _products_named(registry: Registry, account_id: str, parameters: Mapping[str, str]) -> set[str] | None:
    """The products that a request is about; None where some cannot be told, and it may be about any."""
    product_keys: set[str] = set()
    indirect_count = 0
    for name, value in parameters.items():
        word = _last_word(name)
        if not value:
            continue
        if word in LISTS_OF_DEVICES:
            return None
        if word.endswith("ProductKey"):
            product_keys.add(value)
        elif word.endswith("IotId") or word == "TopicId":
            indirect_count += 1
            if indirect_count > INDIRECT_NAMES_MAX:
                return None
            product_key = await _find_owner(registry, account_id, word, value)
            if product_key is None:
                return None
            product_keys.add(product_key)
    return product_keys


def _last_word(name: str) -> str:
    """`IotId` of `IotId.1`, `ProductKey` of `Device.1.ProductKey`."""
    return next((part for part in reversed(name.split(".")) if not part.isdigit()), "")


async def _find_owner(registry: Registry, account_id: str, word: str, value: str) -> str | None:
    """The product of the account that a device or a topic class belongs to, or None."""
    if word == "TopicId":
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            return None
        topic = await registry.store.find_topic(int(value))
        product = await registry.find_product(topic.product_key) if topic else None
        return product.product_key if product and product.account_id == account_id else None
    device = await registry.find_device_by_iot_id(value)
    return device.product_key if device and device.account_id == account_id else None
