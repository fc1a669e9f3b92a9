"""Examining a server, and the peers that faults are planted with."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from linkstead.clock import Clock
from linkstead.config import Address
from linkstead.doctor import Examination, Fault, Finding, Patient, State
from linkstead.ids import Ids
from linkstead.system_ids import SystemIds
from linkstead.testing.clock import ManualClock
from tests.rig import KEY, LAMP, Rig, device_secret

Findings = dict[str, Finding]
Change = Callable[[bytes], bytes]


class OffsetClock(ManualClock):
    """A machine whose clock is set wrong, by so many seconds from another."""

    def __init__(self, clock: Clock, offset_s: float) -> None:
        super().__init__(clock.time_s() + offset_s)


async def examine(clock: Clock, ids: Ids | None = None, *, free_bytes_min: int = 0, **patient: Any) -> Findings:
    """All findings by step. No secret may be in any of them."""
    whole = Patient(**{"wait_s": 5.0, "ports": {}, **patient})
    examination = Examination(whole, clock, ids or SystemIds(clock), free_bytes_min=free_bytes_min)
    findings = {finding.step: finding async for finding in examination.run()}
    shown = repr((findings, whole))
    for secret in (whole.access_key_secret, whole.device_secret, whole.mqtt_password):
        assert not secret or secret not in shown
    return findings


async def examine_rig(rig: Rig, *, clock: Clock | None = None, **patient: Any) -> Findings:
    """All findings about a server, by step; with the key, the product and the device of the tests unless others are."""
    ports = {"http": rig.http, "mqtt": rig.mqtt}
    if rig.endpoints.amqp is not None:
        ports["amqp"] = rig.endpoints.amqp
    usual: dict[str, Any] = {
        "ports": ports,
        "access_key_id": KEY.access_key_id,
        "access_key_secret": KEY.secret,
        "product_key": LAMP.product_key,
        "device_name": LAMP.device_name,
        "device_secret": device_secret(LAMP),
    }
    return await examine(clock or rig.server.clock, rig.server.ids, **{**usual, **patient})


def faults(findings: Findings) -> dict[str, Fault]:
    """What was found wrong, by step, the first first."""
    return {name: finding.fault for name, finding in findings.items() if finding.fault is not None}


def left_out(findings: Findings) -> dict[str, str]:
    """What was not tried, and what it waits for."""
    return {name: finding.note for name, finding in findings.items() if finding.state is State.NOT_TRIED}


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(serve: Serve) -> AsyncIterator[Address]:
    """Somebody who listens on a port of this machine."""

    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            if is_over:
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    is_over = False
    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        is_over = True
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@contextlib.contextmanager
def secured_peer(context: ssl.SSLContext) -> Iterator[Address]:
    """Somebody who shakes hands, and closes; one who is refused is told so, as asyncio does not."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as talking:
                    talking.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(*listening.getsockname())
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.asynccontextmanager
async def proxy(target: Address, up: Change = bytes, down: Change = bytes) -> AsyncIterator[Address]:
    """A proxy that changes what it passes on, a piece at a time."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Change) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(change(data))
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        try:
            await asyncio.gather(pump(reader, far_writer, up), pump(far_reader, writer, down))
        finally:
            far_writer.transport.abort()
            with contextlib.suppress(OSError):
                await far_writer.wait_closed()

    async with peer(serve) as address:
        yield address


def answering(answer: bytes) -> Serve:
    """Answers whatever comes with this, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)

    return serve


def make_certificate(folder: Path, *, name: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)) -> tuple[Path, Path]:
    """A certificate that signs itself, valid from and to so many days from now, and its key."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o600)
    return cert_path, key_path


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
