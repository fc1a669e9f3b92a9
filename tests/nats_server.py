"""Real NATS servers."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
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


@dataclass
class NatsServer:
    """One server, in a process of its own."""

    port: int
    folder: Path
    has_jetstream: bool = True
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        path = self.folder / "nats.conf"
        text = CONFIGURATION + JETSTREAM if self.has_jetstream else CONFIGURATION
        path.write_text(text.format(port=self.port, folder=self.folder))
        self.process = subprocess.Popen(
            [find_nats_server(), "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + WAIT_S
        while not is_listening(self.port):
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


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running_nats(folder: Path, *, has_jetstream: bool = True) -> Iterator[NatsServer]:
    """A server from start to stop."""
    server = NatsServer(find_free_port(), folder, has_jetstream)
    server.start()
    try:
        yield server
    finally:
        server.kill()
