"""`product show --code`: a program that calls a service, for a product as it is in the database."""

import click

from linkstead.cli.endpoint import parse_endpoint
from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.snippets import find_known_secret
from linkstead.cli.thing_model import describe_model
from linkstead.config import Address, Settings
from linkstead.explorer.snippets import ActionCall, action_snippet
from linkstead.registry import Device, DeviceKey
from linkstead.tsl import ServiceChecker, make_example_arguments, write_literal

DEVICES_LOOKED_AT_MAX = 100
"""For one that is online."""


async def write_program(
    settings: Settings, product_key: str, language: str, identifier: str, device_name: str, endpoint: str
) -> str:
    """A program that calls a service of the product's published thing model, with arguments that pass its checks.

    Args:
        settings: where the database is.
        product_key: of a product in it.
        language: one of `LANGUAGES`.
        identifier: the service by its name on the wire.
        device_name: "" for a device of the product: one that is online, if there is.
        endpoint: `http://HOST:PORT` or `https://HOST:PORT`.

    Raises:
        click.ClickException: there is no such product or device; no model is published, or it has no such service; the
            account has no key that is enabled.
        click.UsageError: `endpoint` is not of that form.
    """
    scheme, host, port = parse_endpoint(endpoint)
    async with open_installation(settings) as installation:
        product = await installation.find_product(product_key)
        service = await _find_service(installation, product_key, identifier)
        device = await _find_device(installation, product_key, device_name)
        access_key_id = await _find_access_key_id(installation, product.account_id)
    arguments = {
        "ProductKey": device.product_key,
        "DeviceName": device.device_name,
        "Identifier": service.identifier,
        "Args": write_literal(make_example_arguments(service.service)),
    }
    if product.instance_id:
        arguments["IotInstanceId"] = product.instance_id
    call = ActionCall(
        scheme=scheme,
        endpoint=str(Address(host, port)),
        action="InvokeThingService",
        arguments=arguments,
        access_key_id=access_key_id,
        secret_shown=find_known_secret(access_key_id),
    )
    return action_snippet(language, call)


async def _find_service(installation: Installation, product_key: str, identifier: str) -> ServiceChecker:
    checker = await installation.models.find_checker(product_key)
    if checker is None:
        raise click.ClickException(
            f"no thing model of {product_key} is published; `linkstead product import-model` does it"
        )
    service = checker.find_service(identifier)
    if service is None:
        _, services = await describe_model(installation.models, product_key)
        known = ", ".join(each["identifier"] for each in services) or "none"
        raise click.ClickException(f"there is no service {identifier}; there is: {known}")
    return service


async def _find_device(installation: Installation, product_key: str, device_name: str) -> Device:
    if device_name:
        return await installation.find_device(DeviceKey(product_key, device_name))
    devices = (await installation.store.list_devices(product_key, 0, DEVICES_LOOKED_AT_MAX)).records
    if not devices:
        raise click.ClickException(f"{product_key} has no device; `linkstead device create` makes one")
    return next((device for device in devices if device.is_online), devices[0])


async def _find_access_key_id(installation: Installation, account_id: str) -> str:
    """The account's oldest key that is enabled."""
    for key in await installation.store.list_access_keys(account_id):
        if key.enabled:
            return key.access_key_id
    raise click.ClickException("the account has no key that is enabled; `linkstead account add-key` makes one")
