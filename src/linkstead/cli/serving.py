"""`dev` and `serve`: a server in this process, until a signal ends it."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import msgspec

from linkstead import __version__
from linkstead.cli import demo_data
from linkstead.cli.capture import Capture
from linkstead.cli.logs import set_up_logs
from linkstead.cli.options import with_settings
from linkstead.cli.snippets import bash_snippet, python_snippet
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Settings, reachable
from linkstead.registry import Device, DeviceKey
from linkstead.server import Endpoints, Server, StartError, write_ready_file
from linkstead.store.urls import hide_password

try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop  # type: ignore[assignment]

log = logging.getLogger(__name__)

GARBAGE_THRESHOLDS = (10_000, 20, 100)
"""Objects made since the last collection, and how many of the younger make one of the older."""


@click.command()
@with_settings(is_production=True)
def serve(settings: Settings) -> None:
    """Run the server: durable, quotas on, no demo data.

    SIGTERM and Ctrl-C end it: it takes no more calls, finishes those under way, and exits with 0.
    SIGHUP has it read its certificate again, and nothing else.
    """
    set_up_logs(settings.log_format)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings))


@click.command()
@with_settings(is_production=False)
def dev(settings: Settings) -> None:
    """Run a server to develop against: demo keys, a demo product, simulated devices that answer every call.

    It prints where it listens, and two snippets that call a device when they are pasted.
    """
    set_up_logs(settings.log_format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_develop(settings))


async def _serve(settings: Settings) -> None:
    stop = _stop_on_signals()
    server = Server(without_ready_file(settings), is_production=True, witness=make_witness(settings))
    endpoints = await server.start()
    collect_garbage_rarely()
    try:
        with ready_file(settings, server, endpoints):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reload_certificate)
            log.info("ready", extra=_name_ports(endpoints))
            if settings.master_key_file is None:
                log.warning("secrets are in the database as they are: with --master-key-file they are sealed")
            await stop.wait()
    finally:
        log.info("stopping: calls under way are finished")
        await server.stop()
    log.info("stopped")


async def _develop(settings: Settings) -> None:
    stop = _stop_on_signals()
    server = Server(without_ready_file(settings), is_production=False, witness=make_witness(settings))
    endpoints = await server.start()
    try:
        devices = await demo_data.add_demo_data(server, dynamic_registration=settings.dynamic_registration)
        await _simulate(server, devices)
        # Who waits for the ready file finds all of this said.
        click.echo(describe(settings, endpoints))
        with ready_file(settings, server, endpoints):
            await stop.wait()
    finally:
        await server.stop()


def _stop_on_signals() -> asyncio.Event:
    """Set once by SIGTERM or Ctrl-C; a second signal ends the process there and then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def take() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, take)
    return stop


def make_witness(settings: Settings) -> Capture | None:
    """Who looks on while devices come in, where that is asked for."""
    if not settings.capture:
        return None
    return Capture(partial(click.echo, err=True), admits_strangers=settings.admit_strangers)


def without_ready_file(settings: Settings) -> Settings:
    """The settings for a server whose ready file is written here, when all that belongs to it is ready."""
    return msgspec.structs.replace(settings, ready_file=None)


@contextlib.contextmanager
def ready_file(settings: Settings, server: Server, endpoints: Endpoints) -> Iterator[None]:
    """Keep the ready file there, if one is wanted.

    Raises:
        StartError: it cannot be written.
    """
    if settings.ready_file is None:
        yield
        return
    path = Path(settings.ready_file)
    try:
        write_ready_file(path, endpoints, server.access_key)
    except OSError as error:
        raise StartError(f"--ready-file {path}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def collect_garbage_rarely() -> None:
    """Leave what is there for good out of every collection, and begin one less often: a tenth of a call's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _raise_file_limit() -> None:
    """Take as many file descriptors as the machine gives: every device holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _simulate(server: Server, devices: list[Device]) -> None:
    """Have the demo devices that are simulated connect; returns when they have, or soon later."""
    names = {known.device_name for known in demo_data.DEVICES if known.is_simulated}
    await asyncio.gather(*(server.fleet.start(device) for device in devices if device.device_name in names))


def _name_ports(endpoints: Endpoints) -> dict[str, str]:
    ports = {
        "http": endpoints.http,
        "https": endpoints.https,
        "mqtt": endpoints.mqtt,
        "mqtts": endpoints.mqtts,
        "amqp": endpoints.amqp,
        "amqps": endpoints.amqps,
    }
    return {name: str(address) for name, address in ports.items() if address is not None}


def describe(settings: Settings, endpoints: Endpoints) -> str:
    """What `dev` prints: where it listens, the keys, the devices, and how to call one."""
    http = reachable(endpoints.http)
    access_key_id = settings.access_key_id or ""
    is_demo = access_key_id == DEMO_ACCESS_KEY_ID
    first = DeviceKey(demo_data.PRODUCT_KEY, demo_data.FIRST.device_name)
    own_key = DeviceKey(demo_data.PRODUCT_KEY, demo_data.OWN.device_name)
    simulated = ", ".join(known.device_name for known in demo_data.DEVICES if known.is_simulated)
    lines = [f"Linkstead {__version__}, for development; do not leave it open to others", ""]
    lines += [f"  {'console':<8}http://{http}/console/"]
    lines += [f"  {name:<8}{text}" for name, text in _name_ports(endpoints).items()]
    lines += [
        f"  {'key':<8}{access_key_id}" + (f"  secret {DEMO_ACCESS_KEY_SECRET}" if is_demo else ""),
        f"  {'data':<8}{hide_password(settings.database or settings.data)}",
        "",
        f"  Devices of product {demo_data.PRODUCT_KEY}, simulated, answering every call: {simulated}",
        f"  For a device of yours: ProductKey {own_key.product_key}  DeviceName {own_key.device_name}",
        f"                         DeviceSecret {demo_data.OWN.device_secret}",
        "",
        "Call a device with the vendor's SDK (pip install alibabacloud_iot20180120):",
        "",
        python_snippet(http, access_key_id, first),
        "or with curl, in bash:",
        "",
        bash_snippet(http, access_key_id, first),
        f"or from here: linkstead call rrpc {first.product_key} {first.device_name} hello --endpoint http://{http}",
    ]
    return "\n".join(lines)
