"""`device`: devices, straight in the database, and one that is simulated."""

import asyncio
import codecs
import csv
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from linkstead.cli.csv_file import Row, check_faults, read_csv
from linkstead.cli.device_certificate import issue_certificate, remove_certificate, set_certificate
from linkstead.cli.device_file import BATCH_ROWS, CSV_COLUMNS, each_device, export_devices, import_devices
from linkstead.cli.installation import Installation, open_installation
from linkstead.cli.logs import set_up_logs
from linkstead.cli.options import ADDRESS, option, with_storage
from linkstead.cli.tables import JSON_OPTION, print_record
from linkstead.config import Address, Settings
from linkstead.errors import ApiError
from linkstead.registry import AlreadyExists, Device, DeviceKey, creation, names
from linkstead.server import SystemClock
from linkstead.simulator import Behaviour, BehaviourError, SimulatedDevice, read_behaviour
from linkstead.simulator.behaviour import EVERY_S_MAX, EVERY_S_MIN
from linkstead.simulator.device import POST_EVERY_S, Carrier, RefusedError
from linkstead.tsl import ModelError, Module, ThingModel, read_tsl
from linkstead.tsl.reading import check_modules

DEVICE_SECRET_VARIABLE = "LINKSTEAD_DEVICE_SECRET"
"""The environment variable for a device's secret: other users of the machine do not see it."""


@click.group()
def device() -> None:
    """Devices. A running server can call a new one at once."""


@device.command()
@click.argument("product_key", metavar="[PRODUCT_KEY]", default="")
@click.argument("device_name", metavar="[NAME]", default="")
@click.option("--device-secret", default="", help="Carried over from elsewhere; drawn when it is not given.")
@click.option("--nickname", default="", help="4 to 64 letters, digits and _; a Chinese character counts 2.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), metavar="FILE", help="Make all that a file lists.")
@click.option("--skip-existing", is_flag=True, help="With --csv: pass over devices that are there already.")
@JSON_OPTION
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


@device.command("list")
@click.argument("product_key")
@JSON_OPTION
@with_storage
def list_devices(settings: Settings, product_key: str, as_json: bool) -> None:
    """List the devices of a product, newest first; no secrets. With --json, one object a line."""

    async def run() -> None:
        async with open_installation(settings) as installation:
            await installation.find_product(product_key)
            async for each in each_device(installation, product_key):
                _print_device(each, as_json)

    asyncio.run(run())


def _print_device(each: Device, as_json: bool) -> None:
    if as_json:
        fields = {
            "product_key": each.product_key,
            "device_name": each.device_name,
            "iot_id": each.iot_id,
            "nickname": each.nickname,
            "status": each.written_status,
        }
        click.echo(json.dumps(fields, ensure_ascii=False))
    else:
        click.echo(
            f"{each.device_name:<{names.DEVICE_NAME_CHARS_MAX}}  {each.written_status:<8}  {each.nickname}".rstrip()
        )


@device.command()
@click.argument("product_key")
@click.argument("device_name")
@option("--mqtt", type=ADDRESS, default=str(Settings().mqtt), help="The server's MQTT port.")
@click.option("--device-secret", envvar=DEVICE_SECRET_VARIABLE, show_envvar=True, help="The device's secret.")
@click.option("--from-store", is_flag=True, help="Take the secret from the database in --data or --database.")
@click.option(
    "--model",
    "model_paths",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Be what this thing model says, a TSL document; once for each of its modules.",
)
@click.option(
    "--behaviour",
    "behaviour_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.py",
    help="Do what the functions of this file say. The file is run, so it should be one you trust.",
)
@click.option(
    "--post-every-s",
    type=float,
    metavar="N",
    show_default=f"what --behaviour says, or {POST_EVERY_S:.0f}",
    help=f"Seconds between posts of all properties, {EVERY_S_MIN} to {EVERY_S_MAX:.0f}; 0: only when it connects.",
)
@click.option(
    "--carrier",
    type=click.Choice(get_args(Carrier)),
    default="ext",
    show_default=True,
    help="Ask for synchronous services on /ext/rrpc/…, or on the system topic.",
)
@with_storage
def run(
    settings: Settings,
    product_key: str,
    device_name: str,
    mqtt: Address,
    device_secret: str | None,
    from_store: bool,
    model_paths: tuple[Path, ...],
    behaviour_path: Path | None,
    post_every_s: float | None,
    carrier: Carrier,
) -> None:
    """Be a device until Ctrl-C: connect, stay connected, and answer every call.

    Without --model each call is answered with its own payload.
    """
    if not model_paths and (behaviour_path is not None or post_every_s is not None):
        raise click.UsageError("--behaviour and --post-every-s need --model FILE")
    if post_every_s and not EVERY_S_MIN <= post_every_s <= EVERY_S_MAX:
        raise click.UsageError(f"--post-every-s takes {EVERY_S_MIN} to {EVERY_S_MAX:.0f}, or 0")
    key = DeviceKey(product_key, device_name)
    model = _read_model(product_key, model_paths) if model_paths else None
    behaviour = _read_behaviour(behaviour_path, model) if behaviour_path and model else Behaviour()
    if from_store:
        device_secret = asyncio.run(_find_secret(settings, key))
    elif device_secret is None:
        raise click.UsageError("give --device-secret or --from-store")
    set_up_logs("text")
    simulated = SimulatedDevice(
        mqtt.host,
        mqtt.port,
        key,
        device_secret,
        SystemClock(),
        model=model,
        behaviour=behaviour,
        post_every_s=post_every_s,
        carrier=carrier,
    )
    try:
        asyncio.run(_run_until_signalled(simulated, f"{key} is connected to {mqtt} and answers calls; Ctrl-C ends it"))
    except RefusedError as error:
        raise click.ClickException(
            f"{mqtt} refused {key} (CONNACK {error.args[0]}): is it registered there, enabled, and this its secret?"
        ) from None


def _read_model(product_key: str, paths: Sequence[Path]) -> ThingModel:
    """The model that some documents make, in any order. The product that they name does not matter.

    Raises:
        click.ClickException: one of them is at fault, or two are of the same module.
    """
    modules: list[Module] = []
    for path in paths:
        try:
            modules.append(read_tsl(path.read_bytes().removeprefix(codecs.BOM_UTF8)).module)
        except ModelError as error:
            raise click.ClickException(f"{path}: {error}") from None
    modules.sort(key=lambda module: module.module_id)
    model = ThingModel(product_key, tuple(modules if not modules[0].module_id else (Module(), *modules)))
    try:
        check_modules(model)
    except ModelError as error:
        raise click.ClickException(f"--model: {error}") from None
    return model


def _read_behaviour(path: Path, model: ThingModel) -> Behaviour:
    try:
        return read_behaviour(path.read_bytes(), str(path), model)
    except BehaviourError as error:
        raise click.ClickException(str(error)) from None


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


device.add_command(export_devices)
device.add_command(import_devices)
device.add_command(issue_certificate)
device.add_command(set_certificate)
device.add_command(remove_certificate)
