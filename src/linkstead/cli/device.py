"""`device`: devices, straight in the database, and one that is simulated."""

import asyncio
import csv
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from linkstead.cli.csv_file import Row, check_faults, read_csv
from linkstead.cli.installation import Installation, open_installation, with_storage
from linkstead.cli.logs import set_up_logs
from linkstead.cli.options import ADDRESS, config_option, storage_options
from linkstead.cli.tables import JSON_OPTION, print_record
from linkstead.config import Address, Settings
from linkstead.errors import ApiError
from linkstead.registry import AlreadyExists, Device, DeviceKey, DeviceStatus, creation, names
from linkstead.server import SystemClock
from linkstead.simulator import SimulatedDevice
from linkstead.simulator.device import RefusedError

CSV_COLUMNS = ("product_key", "device_name", "device_secret", "nickname")
BATCH_ROWS = 1_000
"""Devices written in one transaction, and listed at a time."""

DEVICE_SECRET_VARIABLE = "LINKSTEAD_DEVICE_SECRET"
"""The environment variable for a device's secret: other users of the machine do not see it."""

_STORAGE = [config_option(), *storage_options()]


@click.group()
def device() -> None:
    """Devices. A running server can call a new one at once."""


@device.command(params=[*_STORAGE, JSON_OPTION])
@click.argument("product_key", metavar="[PRODUCT_KEY]", default="")
@click.argument("device_name", metavar="[NAME]", default="")
@click.option("--device-secret", default="", help="Carried over from elsewhere; drawn when it is not given.")
@click.option("--nickname", default="", help="4 to 64 letters, digits and _; a Chinese character counts 2.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), metavar="FILE", help="Make all that a file lists.")
@click.option("--skip-existing", is_flag=True, help="With --csv: pass over devices that are there already.")
@with_storage
def create(
    settings: Settings,
    product_key: str,
    device_name: str,
    device_secret: str,
    nickname: str,
    csv_path: Path | None,
    skip_existing: bool,
    as_json: bool,
) -> None:
    """Make a device of a product, or all that a CSV file lists.

    The file's first line names its columns: product_key, and any of device_name, device_secret and nickname. It is
    checked whole before anything is written. Devices whose name or secret was drawn are printed as such a file.
    """
    if bool(product_key) == (csv_path is not None):
        raise click.UsageError("give PRODUCT_KEY or --csv FILE")
    if csv_path is not None:
        _create_from_file(settings, csv_path, skip_existing=skip_existing)
        return

    async def run() -> Device:
        async with open_installation(settings) as installation:
            product = await installation.find_product(product_key)
            new = creation.new_device(
                installation.ids,
                product,
                created_ms=installation.now_ms,
                device_name=device_name,
                nickname=nickname,
                device_secret=device_secret,
            )
            return await creation.add_device(installation.registry, installation.ids, new, name_given=bool(device_name))

    made = asyncio.run(run())
    print_record(
        {
            "product_key": made.product_key,
            "device_name": made.device_name,
            "device_secret": made.device_secret,
            "iot_id": made.iot_id,
        },
        as_json,
    )


def _create_from_file(settings: Settings, path: Path, *, skip_existing: bool) -> None:
    rows = read_csv(path, CSV_COLUMNS, ["product_key"])

    async def run() -> list[Device]:
        async with open_installation(settings) as installation:
            new = await _build(installation, rows, skip_existing=skip_existing)
            await _write(installation, new)
            return new

    made = asyncio.run(run())
    click.echo(f"{len(made)} devices made, {len(rows) - len(made)} were there already", err=True)
    given = {(row.cells["product_key"], row.cells["device_name"]) for row in rows if row.cells["device_secret"]}
    drawn = [each for each in made if each.key not in given]
    if drawn:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows((each.product_key, each.device_name, each.device_secret, each.nickname) for each in drawn)


async def _build(installation: Installation, rows: Sequence[Row], *, skip_existing: bool) -> list[Device]:
    """The devices of some rows, those left out that are there already and may be.

    Raises:
        click.ClickException: rows are at fault.
    """
    store, now_ms = installation.store, installation.now_ms
    product_keys = dict.fromkeys(row.cells["product_key"] for row in rows)
    products = {key: await store.find_product(key) for key in product_keys}
    faults: list[tuple[int, str]] = []
    lines: dict[DeviceKey, int] = {}
    devices: list[Device] = []
    for row in rows:
        product = products[row.cells["product_key"]]
        if product is None:
            faults.append((row.line, f"there is no product {row.cells['product_key']}"))
            continue
        try:
            new = creation.new_device(
                installation.ids,
                product,
                created_ms=now_ms,
                device_name=row.cells["device_name"],
                nickname=row.cells["nickname"],
                device_secret=row.cells["device_secret"],
            )
        except ApiError as error:
            faults.append((row.line, error.message("en")))
            continue
        if new.key in lines:
            faults.append((row.line, f"{new.key} stands in line {lines[new.key]} already"))
            continue
        lines[new.key] = row.line
        devices.append(new)
    existing = {found.key for found in await store.find_devices(list(lines))}
    if not skip_existing:
        faults += [(lines[key], f"{key} is there already; --skip-existing passes it over") for key in existing]
    check_faults(faults)
    return [new for new in devices if new.key not in existing]


async def _write(installation: Installation, devices: Sequence[Device]) -> None:
    is_seen = sys.stderr.isatty()
    with click.progressbar(length=len(devices), label="writing", file=sys.stderr, hidden=not is_seen) as bar:
        for start in range(0, len(devices), BATCH_ROWS):
            batch = devices[start : start + BATCH_ROWS]
            try:
                await installation.registry.add_devices(batch)
            except AlreadyExists as taken:
                raise click.ClickException(
                    f"{start} devices were written, then {taken.args[-1]} had been made meanwhile; "
                    "run it again with --skip-existing"
                ) from None
            bar.update(len(batch))


@device.command("list", params=[*_STORAGE, JSON_OPTION])
@click.argument("product_key")
@with_storage
def list_devices(settings: Settings, product_key: str, as_json: bool) -> None:
    """List the devices of a product, newest first; no secrets. With --json, one object a line."""

    async def run() -> None:
        async with open_installation(settings) as installation:
            await installation.find_product(product_key)
            offset = 0
            while page := (await installation.store.list_devices(product_key, offset, BATCH_ROWS)).records:
                offset += len(page)
                for each in page:
                    _print_device(each, as_json)

    asyncio.run(run())


def _print_device(each: Device, as_json: bool) -> None:
    if as_json:
        fields = {
            "product_key": each.product_key,
            "device_name": each.device_name,
            "iot_id": each.iot_id,
            "nickname": each.nickname,
            "status": _status(each),
        }
        click.echo(json.dumps(fields, ensure_ascii=False))
    else:
        click.echo(f"{each.device_name:<{names.DEVICE_NAME_CHARS_MAX}}  {_status(each):<8}  {each.nickname}".rstrip())


def _status(each: Device) -> DeviceStatus:
    """The state as last written down: a running server knows better for a moment."""
    if not each.enabled:
        return DeviceStatus.DISABLE
    if not each.activated_ms:
        return DeviceStatus.UNACTIVE
    return DeviceStatus.ONLINE if each.is_online else DeviceStatus.OFFLINE


@device.command(params=_STORAGE)
@click.argument("product_key")
@click.argument("device_name")
@click.option("--mqtt", type=ADDRESS, default=str(Settings().mqtt), show_default=True, help="The server's MQTT port.")
@click.option("--device-secret", envvar=DEVICE_SECRET_VARIABLE, show_envvar=True, help="The device's secret.")
@click.option("--from-store", is_flag=True, help="Take the secret from the database in --data or --database.")
@with_storage
def run(
    settings: Settings, product_key: str, device_name: str, mqtt: Address, device_secret: str | None, from_store: bool
) -> None:
    """Be a device until Ctrl-C: connect, stay connected, and answer every call with its own payload."""
    key = DeviceKey(product_key, device_name)
    if from_store:
        device_secret = asyncio.run(_find_secret(settings, key))
    elif device_secret is None:
        raise click.UsageError("give --device-secret or --from-store")
    set_up_logs("text")
    simulated = SimulatedDevice(mqtt.host, mqtt.port, key, device_secret, SystemClock())
    try:
        asyncio.run(_run_until_signalled(simulated, f"{key} is connected to {mqtt} and answers calls; Ctrl-C ends it"))
    except RefusedError as error:
        raise click.ClickException(
            f"{mqtt} refused {key} (CONNACK {error.args[0]}): is it registered there, enabled, and this its secret?"
        ) from None


async def _find_secret(settings: Settings, key: DeviceKey) -> str:
    async with open_installation(settings) as installation:
        return (await installation.find_device(key)).device_secret


async def _run_until_signalled(simulated: SimulatedDevice, greeting: str) -> None:
    work = asyncio.ensure_future(simulated.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    connected = asyncio.ensure_future(simulated.connected.wait())
    await asyncio.wait([work, connected], return_when=asyncio.FIRST_COMPLETED)
    if connected.done():
        click.echo(greeting)
    connected.cancel()
    try:
        await work
    except asyncio.CancelledError:
        # Only a signal cancels it: that is how it is meant to end.
        return
