"""Real NATS servers: one by itself, and three of a cluster as `deploy/nats.conf` has them."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linkstead.cluster.nats_server import find_nats_server

WAIT_S = 20.0
CONFIGURATION = """\
listen: 127.0.0.1:{port}
ping_interval: "5s"
ping_max: 2
"""
JETSTREAM = 'jetstream {{ max_mem: 1GB, store_dir: "{folder}/jetstream" }}\n'
TEMPLATE = Path(__file__).parent.parent / "deploy" / "nats.conf"
PASSWORD = "the-password"


@dataclass
class NatsServer:
    """One server, in a process of its own."""

    port: int
    folder: Path
    has_jetstream: bool = True
    process: subprocess.Popen[bytes] | None = None
    configuration: str = ""
    host: str = "127.0.0.1"
    user: str = ""

    @property
    def url(self) -> str:
        return f"nats://{self.user}{self.host}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        path = self.folder / "nats.conf"
        text = CONFIGURATION + JETSTREAM if self.has_jetstream else CONFIGURATION
        path.write_text(self.configuration or text.format(port=self.port, folder=self.folder))
        self.process = subprocess.Popen(
            [find_nats_server(), "-c", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NATS_PASSWORD": PASSWORD},
        )
        deadline_s = time.monotonic() + WAIT_S
        while not is_listening(self.port, self.host):
            assert self.process.poll() is None, "nats-server ended"
            assert time.monotonic() < deadline_s, "nats-server does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it there and then."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def find_free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


@contextlib.contextmanager
def running_nats(folder: Path, *, has_jetstream: bool = True) -> Iterator[NatsServer]:
    """A server from start to stop."""
    server = NatsServer(find_free_port(), folder, has_jetstream)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def configure(number: int, port: int, route_ports: Sequence[int], host: str) -> str:
    """What `deploy/nats.conf` says of one of three servers, on one machine."""
    replaced: Mapping[str, str] = {
        "server_name: nats-1 ": f"server_name: nats-{number + 1} ",
        "0.0.0.0:4222": f"{host}:{port}",
        "0.0.0.0:6222": f"{host}:{route_ports[number]}",
        **{f"nats-{each + 1}:6222": f"{host}:{route_port}" for each, route_port in enumerate(route_ports)},
    }
    text = TEMPLATE.read_text()
    for known, here in replaced.items():
        assert known in text, known
        text = text.replace(known, here)
    return text


@contextlib.contextmanager
def running_nats_cluster(folder: Path, host: str = "127.0.0.1") -> Iterator[list[NatsServer]]:
    """Three servers of one cluster from start to stop."""
    ports, route_ports = ([find_free_port() for _ in range(3)] for _ in range(2))
    with contextlib.ExitStack() as stack:
        servers = []
        for number, port in enumerate(ports):
            place = folder / f"nats-{number + 1}"
            place.mkdir()
            text = configure(number, port, route_ports, host).replace("/var/lib/nats", str(place / "jetstream"))
            server = NatsServer(port, place, configuration=text, host=host, user=f"linkstead:{PASSWORD}@")
            server.start()
            stack.callback(server.kill)
            servers.append(server)
        yield servers
