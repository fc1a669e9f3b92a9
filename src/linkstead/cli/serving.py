"""`dev` and `serve`: a server in this process, until a signal ends it."""

import asyncio
import logging
import signal

import click
import msgspec

from linkstead import __version__
from linkstead.cli import demo_data
from linkstead.cli.logs import set_up_logs
from linkstead.cli.options import with_settings
from linkstead.cli.process import (
    collect_garbage_rarely,
    favour_event_loop,
    make_loop,
    make_witness,
    name_ports,
    raise_file_limit,
    ready_file,
    stop_on_signals,
)
from linkstead.cli.snippets import bash_snippet, python_snippet
from linkstead.cli.supervisor import supervise
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Settings, reachable
from linkstead.registry import Device, DeviceKey
from linkstead.rehearsal import Rehearsal, TestingDesk, TurnableClock
from linkstead.server import Endpoints, Server, SystemClock
from linkstead.store.urls import hide_password

log = logging.getLogger(__name__)


@click.command()
@with_settings(is_production=True)
def serve(settings: Settings) -> None:
    """Run the server: durable, quotas on, no demo data.

    SIGTERM and Ctrl-C end it: it takes no more calls, finishes those under way, and exits with 0.
    SIGHUP has it read its certificate again, and nothing else.
    """
    set_up_logs(settings.log_format)
    raise_file_limit()
    work = supervise(settings) if settings.workers > 1 else _serve(settings)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(work)


@click.command()
@with_settings(is_production=False)
def dev(settings: Settings) -> None:
    """Run a server to develop against: demo keys, a demo product, simulated devices that answer every call.

    It prints where it listens, and two snippets that call a device when they are pasted.
    """
    set_up_logs(settings.log_format)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_develop(settings))


async def _serve(settings: Settings) -> None:
    stop = stop_on_signals()
    server = Server(without_ready_file(settings), is_production=True, witness=make_witness(settings))
    endpoints = await server.start()
    collect_garbage_rarely()
    favour_event_loop()
    try:
        with ready_file(settings, endpoints, server.access_key_id):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reload_certificate)
            log.info("ready", extra=name_ports(endpoints))
            if settings.master_key_file is None:
                log.warning("secrets are in the database as they are: with --master-key-file they are sealed")
            await stop.wait()
    finally:
        log.info("stopping: calls under way are finished")
        await server.stop()
    log.info("stopped")


async def _develop(settings: Settings) -> None:
    stop = stop_on_signals()
    steady = SystemClock()
    clock = TurnableClock(steady)
    server = Server(
        without_ready_file(settings), is_production=False, witness=make_witness(settings), clock=clock, steady=steady
    )
    endpoints = await server.start()
    rehearsal = Rehearsal(server, clock, steady)
    server.front.tools["testing"] = TestingDesk(rehearsal, server.registry).answer
    try:
        devices = await demo_data.add_demo_data(server, dynamic_registration=settings.dynamic_registration)
        await _simulate(server, devices)
        # Who waits for the ready file finds all of this said.
        click.echo(describe(settings, endpoints))
        with ready_file(settings, endpoints, server.access_key_id):
            await stop.wait()
    finally:
        await rehearsal.reset()
        await server.stop()


def without_ready_file(settings: Settings) -> Settings:
    """The settings for a server whose ready file is written here, when all that belongs to it is ready."""
    return msgspec.structs.replace(settings, ready_file=None)


async def _simulate(server: Server, devices: list[Device]) -> None:
    """Have the demo devices that are simulated connect; returns when they have, or soon later."""
    names = {known.device_name for known in demo_data.DEVICES if known.is_simulated}
    await asyncio.gather(*(server.fleet.start(device) for device in devices if device.device_name in names))


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
    lines += [f"  {name:<8}{text}" for name, text in name_ports(endpoints).items()]
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
