"""What every process of a server has: its loop and limits, when it ends, how it says that it is ready."""

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from linkstead.cli.capture import Capture
from linkstead.config import Settings
from linkstead.server import Endpoints, StartError, write_ready_file

try:
    import uvloop
except ImportError:
    make_loop = asyncio.new_event_loop
else:
    make_loop = uvloop.new_event_loop

GARBAGE_THRESHOLDS = (10_000, 20, 100)
"""Objects made since the last collection, and how many of the younger make one of the older."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread that writes to the database may keep the interpreter from the event loop; Python's own is 5 ms."""


def make_witness(settings: Settings) -> Capture | None:
    """Who looks on while devices come in, where that is asked for."""
    if not settings.capture:
        return None
    return Capture(partial(click.echo, err=True), admits_strangers=settings.admit_strangers)


def collect_garbage_rarely() -> None:
    """Leave what is there for good out of every collection, and begin one less often: a tenth of a call's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def favour_event_loop() -> None:
    """Have other threads give way soon: until then no call goes on."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def raise_file_limit() -> None:
    """Take as many file descriptors as the machine gives: every device holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals() -> asyncio.Event:
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


@contextlib.contextmanager
def ready_file(settings: Settings, endpoints: Endpoints, access_key_id: str | None) -> Iterator[None]:
    """Keep the ready file there, if one is wanted.

    Raises:
        StartError: it cannot be written.
    """
    if settings.ready_file is None:
        yield
        return
    path = Path(settings.ready_file)
    try:
        write_ready_file(path, endpoints, access_key_id)
    except OSError as error:
        raise StartError(f"--ready-file {path}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def name_ports(endpoints: Endpoints) -> dict[str, str]:
    ports = {
        "http": endpoints.http,
        "https": endpoints.https,
        "mqtt": endpoints.mqtt,
        "mqtts": endpoints.mqtts,
        "amqp": endpoints.amqp,
        "amqps": endpoints.amqps,
        "metrics": endpoints.metrics,
    }
    return {name: str(address) for name, address in ports.items() if address is not None}
