"""`device issue-certificate`, `set-certificate` and `remove-certificate`: what a device shows in place of a secret."""

import asyncio
from pathlib import Path

import click

from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.options import with_storage
from linkstead.config import Settings
from linkstead.registry import AlreadyExists, DeviceCertificate, DeviceKey, creation
from linkstead.server import SystemClock

DAYS_DEFAULT, DAYS_MAX = 3_650, 36_500
"""A device is in the field for long; it is not valid longer than the authority."""

FILE_BYTES_MAX = 1024 * 1024
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("issue-certificate")
@click.argument("product_key")
@click.argument("device_name")
@click.option(
    "--ca", type=FOLDER, required=True, metavar="DIR", help="Directory of the authority that `certificate create` made."
)
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="Where NAME.pem and NAME.key go.")
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    metavar="N",
    default=DAYS_DEFAULT,
    show_default=True,
    help="How long it is valid, not longer than the authority.",
)
@with_storage
def issue_certificate(settings: Settings, product_key: str, device_name: str, ca: Path, out: Path, days: int) -> None:
    """Make a key and a certificate for a device, and let the device in with that from now on.

    It takes the place of the certificate that the device had. Its product's AuthType is x509.
    """
    from linkstead.tls.authority import AuthorityUnusable, create_device_certificate  # noqa: PLC0415

    key = DeviceKey(product_key, device_name)

    async def run() -> None:
        async with open_installation(settings) as installation:
            await _check_device(installation, key)
            try:
                issued = create_device_certificate(
                    product_key, device_name, folder=out, ca_folder=ca, days=days, now_s=SystemClock().time_s()
                )
            except AuthorityUnusable as error:
                raise click.ClickException(str(error)) from None
            await _set(installation, key, issued.certificate)
            click.echo(f"The device:  {issued.certificate} {issued.key}")

    asyncio.run(run())


@click.command("set-certificate")
@click.argument("product_key")
@click.argument("device_name")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@with_storage
def set_certificate(settings: Settings, product_key: str, device_name: str, path: Path) -> None:
    """Let a device in with a certificate that it has: the first one of a PEM file.

    It takes the place of the certificate that the device had. Its product's AuthType is x509. The server trusts whoever
    signed it by `--device-ca`.
    """
    key = DeviceKey(product_key, device_name)

    async def run() -> None:
        async with open_installation(settings) as installation:
            await _check_device(installation, key)
            await _set(installation, key, path)

    asyncio.run(run())


@click.command("remove-certificate")
@click.argument("product_key")
@click.argument("device_name")
@with_storage
def remove_certificate(settings: Settings, product_key: str, device_name: str) -> None:
    """Let a device in no longer with the certificate that it has. A connection that it has goes on."""
    key = DeviceKey(product_key, device_name)

    async def run() -> None:
        async with open_installation(settings) as installation:
            await installation.find_device(key)
            if not await installation.store.delete_device_certificate(key):
                raise click.ClickException(f"{key} has no certificate")

    asyncio.run(run())


async def _check_device(installation: Installation, key: DeviceKey) -> None:
    product = await installation.find_product(key.product_key)
    await installation.find_device(key)
    if product.auth_type != creation.X509:
        raise click.ClickException(
            f"the AuthType of product {key.product_key} is {product.auth_type}: its devices have no certificates"
        )


async def _set(installation: Installation, key: DeviceKey, path: Path) -> None:
    """Raises click.ClickException: the file cannot be used, or the certificate is another device's."""
    new = read_certificate(key, path, installation.clock.time_s())
    try:
        is_set = await installation.store.set_device_certificate(new)
    except AlreadyExists:
        owner = await installation.store.find_certificate(new.fingerprint)
        raise click.ClickException(f"{path}: it is the certificate of {owner.key if owner else 'another'}") from None
    if not is_set:
        raise click.ClickException(f"there is no device {key}")
    click.echo(f"{key} comes in with the certificate {new.fingerprint}.")


def read_certificate(key: DeviceKey, path: Path, now_s: float) -> DeviceCertificate:
    """The certificate of a device in a PEM file, the first one there.

    Raises:
        click.ClickException: the file cannot be read, has none, or one of an authority or outside its time.
    """
    from linkstead.tls.certificates import read_certificates  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        found = read_certificates(data)[0]
    except OSError as error:
        raise click.ClickException(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise click.ClickException(f"{path}: it holds no certificate in PEM") from None
    if len(data) > FILE_BYTES_MAX:
        raise click.ClickException(f"{path}: it is longer than {FILE_BYTES_MAX} bytes")
    if found.is_ca:
        raise click.ClickException(f"{path}: it is the certificate of an authority, not of a device")
    if fault := found.find_fault_of_time(now_s):
        raise click.ClickException(f"{path}: {fault}")
    return DeviceCertificate(
        key=key,
        fingerprint=found.fingerprint.replace(":", "").lower(),
        serial_number=found.serial_number,
        certificate=found.pem,
        not_after_ms=int(found.not_after.timestamp() * 1000),
    )
