"""Servers that can be killed process by process, each back at the address where it was."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Protocol

from linkstead.config import Settings
from linkstead.models import ModelShelf
from linkstead.registry import DeviceKey
from linkstead.server import SystemClock, make_store
from linkstead.tsl import ThingModel
from tests.cli.processes import ServerProcess, serving, wait_for
from tests.cluster.test_workers import children, is_running_anew
from tests.nats_server import find_free_port
from tests.postgres import PostgresServer
from tests.rig import PRODUCT_KEY, a_device
from tests.tsl.documents import read_sample

ACTIVATED_S_MAX = 20.0


class Installation(Protocol):
    """What is called, and what is killed."""

    @property
    def server(self) -> ServerProcess:
        """The server as it runs now; its addresses stay."""

    def kill(self) -> None:
        """Kill the victim."""

    def restore(self) -> None:
        """Return when it runs again."""


async def add_lamps(database: str, keys: list[DeviceKey]) -> None:
    """Register devices of a product with a thing model."""
    store = make_store(Settings(database=database), SystemClock())
    await store.open()
    await store.add_devices([a_device(key) for key in keys])
    await ModelShelf(store).publish(ThingModel(PRODUCT_KEY, read_sample("lamp").modules), "1", "", 1)
    await store.close()


async def until_activated(database: str, keys: list[DeviceKey]) -> None:
    """Return when it is on the disk that these devices have connected once."""
    store = make_store(Settings(database=database), SystemClock())
    await store.open()
    try:
        async with asyncio.timeout(ACTIVATED_S_MAX):
            devices = await store.find_devices(keys)
            while not all(device.activated_ms for device in devices):
                await asyncio.sleep(0.02)
                devices = await store.find_devices(keys)
    finally:
        await store.close()


class OneServer:
    """`serve`, killed and started anew by hand."""

    def __init__(self, folder: Path, database: str, *options: str) -> None:
        self._folder = folder
        addresses = ("--http", f"127.0.0.1:{find_free_port()}", "--mqtt", f"127.0.0.1:{find_free_port()}")
        self._options = ("--no-quotas", "--database", database, *addresses, *options)
        self._lives = contextlib.ExitStack()
        self._life_count = 0
        self.server = self._start()

    def _start(self) -> ServerProcess:
        self._life_count += 1
        return self._lives.enter_context(
            serving("serve", *self._options, folder=self._folder, name=f"life-{self._life_count}")
        )

    def kill(self) -> None:
        self.server.child.kill()
        self.server.end()

    def restore(self) -> None:
        self.server = self._start()

    def close(self) -> None:
        """End it, orderly."""
        assert self.server.stop() == 0, self.server.stderr
        self._lives.close()


class Workers(OneServer):
    """`serve --workers 2`, of which one process is killed; it is the supervisor's to start it anew."""

    def __init__(self, folder: Path, database: str, victim: str) -> None:
        super().__init__(folder, database, "--workers", "2")
        self._victim = victim
        self._killed = 0

    def kill(self) -> None:
        self._killed = children(self.server.child.pid)[self._victim]
        os.kill(self._killed, signal.SIGKILL)

    def restore(self) -> None:
        wait_for(lambda: is_running_anew(self.server, self._victim, self._killed))


class Supervised(Workers):
    """The same, but the supervisor itself is killed, and all its processes end with it."""

    def kill(self) -> None:
        OneServer.kill(self)

    def restore(self) -> None:
        OneServer.restore(self)


class WithDatabase(OneServer):
    """`serve`, whose PostgreSQL server is killed."""

    def __init__(self, folder: Path, database: str, postgres: PostgresServer) -> None:
        super().__init__(folder, database)
        self._postgres = postgres

    def kill(self) -> None:
        self._postgres.kill()

    def restore(self) -> None:
        self._postgres.start()
