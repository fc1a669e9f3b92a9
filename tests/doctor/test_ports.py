"""What is wrong on the way to a port, planted and found."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from linkstead.config import Address
from linkstead.doctor import Fault
from linkstead.server import SystemClock
from tests.doctor.examined import (
    Findings,
    Serve,
    answering,
    examine,
    examine_rig,
    faults,
    make_certificate,
    peer,
    secured_peer,
)
from tests.rig import Certificate, Rig, RigStarter

pytestmark = pytest.mark.asyncio

FREE = Address("127.0.0.1", 0)
WAIT_S = 0.3


async def look(option: str, address: tuple[str, int], **patient: Any) -> Findings:
    """What is found about one port."""
    return await examine(SystemClock(), ports={option: address}, **patient)


async def everything(start_rig: RigStarter, certificate: Certificate) -> Rig:
    """A server with every port."""
    tls: dict[str, Any] = {"tls_cert": str(certificate.certificate), "tls_key": str(certificate.key)}
    return await start_rig(https=FREE, mqtts=FREE, amqp=FREE, amqps=FREE, **tls)


async def test_every_port_of_a_server_is_well_over_tls(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await everything(start_rig, certificate)
    endpoints = rig.endpoints
    ports: dict[str, tuple[str, int] | None] = {
        "https": endpoints.https,
        "mqtts": endpoints.mqtts,
        "amqps": endpoints.amqps,
    }
    findings = await examine_rig(rig, ports=ports, ca=str(certificate.certificate))
    assert faults(findings) == {}
    assert findings["mqtts.protocol"].note == "MQTT, TLS"
    # with a certificate, the devices' port speaks both
    assert faults(await look("mqtts", rig.mqtt, ca=str(certificate.certificate))) == {}


@pytest.mark.parametrize(
    ("option", "port", "found"),
    [
        ("http", "mqtt", "MQTT"),
        ("http", "mqtts", "TLS"),
        ("http", "https", "TLS"),
        ("http", "amqp", "AMQP"),
        ("https", "http", "HTTP"),
        ("https", "amqp", "AMQP"),
        ("mqtt", "http", "HTTP"),
        ("mqtt", "mqtts", "TLS"),
        ("mqtt", "amqp", "AMQP"),
        ("mqtts", "http", "HTTP"),
        ("amqp", "http", "HTTP"),
        ("amqp", "mqtt", "MQTT"),
        ("amqps", "amqp", "AMQP"),
        ("amqp", "amqps", "TLS"),
    ],
)
async def test_a_port_that_speaks_something_else_is_named(
    start_rig: RigStarter, certificate: Certificate, option: str, port: str, found: str
) -> None:
    rig = await everything(start_rig, certificate)
    findings = await look(option, getattr(rig.endpoints, port), ca=str(certificate.certificate))
    step = f"{option}.protocol"
    assert faults(findings) == {step: Fault.SPEAKS_OTHER}
    assert findings[step].facts["found"] == found
    rig.watch.take()


async def test_a_name_that_leads_nowhere_is_told() -> None:
    assert faults(await look("mqtt", ("nowhere.invalid", 1883))) == {"mqtt.name": Fault.NAME_UNKNOWN}
    assert faults(await look("mqtt", ("x" * 64, 1883))) == {"mqtt.name": Fault.NAME_UNKNOWN}


async def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(FREE)
        for host in ("127.0.0.1", "localhost"):
            findings = await look("http", (host, taken.getsockname()[1]))
            assert faults(findings) == {"http.port": Fault.PORT_CLOSED}


async def test_a_port_that_drops_what_comes_is_told() -> None:
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(FREE)
        full.listen(0)
        # as many as the system queues: it drops what comes then
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        findings = await look("http", full.getsockname(), wait_s=WAIT_S)
    assert faults(findings) == {"http.port": Fault.PORT_FILTERED}


async def test_a_host_that_cannot_be_reached_is_told() -> None:
    assert faults(await look("http", ("255.255.255.255", 80))) == {"http.port": Fault.HOST_UNREACHABLE}


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("option", ["http", "mqtt", "amqp", "https", "mqtts"])
@pytest.mark.parametrize("serve", [_silent, answering(b""), answering(b"SSH-2.0-x\r\n"), answering(b"\x20\x02")])
async def test_a_port_that_speaks_nothing_known_is_told(option: str, serve: Serve) -> None:
    async with peer(serve) as address:
        findings = await look(option, address, wait_s=WAIT_S)
    assert faults(findings) == {f"{option}.protocol": Fault.SPEAKS_UNKNOWN}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 x\r\n\r\nok\n",
        b"HTTP/",
    ],
)
async def test_another_server_of_http_is_told(answer: bytes) -> None:
    async with peer(answering(answer)) as address:
        assert faults(await look("http", address)) == {"http.protocol": Fault.NOT_LINKSTEAD}


# --- TLS ---


@contextlib.asynccontextmanager
async def secured(start_rig: RigStarter, files: tuple[Path, Path]) -> AsyncIterator[Rig]:
    """A server with this certificate."""
    yield await start_rig(https=FREE, mqtts=FREE, tls_cert=str(files[0]), tls_key=str(files[1]))


@pytest.mark.parametrize("option", ["https", "mqtts"])
@pytest.mark.parametrize(
    ("given", "is_trusted", "fault"),
    [
        ({}, True, None),
        ({}, False, Fault.CERTIFICATE_UNTRUSTED),
        ({"name": "iot.example.com"}, True, Fault.CERTIFICATE_WRONG_NAME),
        ({"name": "127.0.0.2"}, True, Fault.CERTIFICATE_WRONG_NAME),
        ({"days": (-2, -1)}, True, Fault.CERTIFICATE_EXPIRED),
        ({"days": (1, 2)}, True, Fault.CERTIFICATE_NOT_YET_VALID),
    ],
)
async def test_a_certificate_at_fault_is_told(
    start_rig: RigStarter, tmp_path: Path, option: str, given: dict[str, Any], is_trusted: bool, fault: Fault | None
) -> None:
    files = make_certificate(tmp_path, **given)
    async with secured(start_rig, files) as rig:
        address = getattr(rig.endpoints, option)
        findings = await look(option, address, ca=str(files[0]) if is_trusted else None)
    assert faults(findings).get(f"{option}.protocol") is fault


async def test_a_file_of_certificates_that_cannot_be_used_is_told(
    start_rig: RigStarter, certificate: Certificate, tmp_path: Path
) -> None:
    rig = await everything(start_rig, certificate)
    (tmp_path / "empty.pem").write_text("")
    assert rig.endpoints.https is not None
    for ca in (tmp_path / "gone.pem", tmp_path / "empty.pem"):
        findings = await look("https", rig.endpoints.https, ca=str(ca))
        assert faults(findings) == {"https.protocol": Fault.CA_FILE}


def _context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def test_an_old_version_of_tls_is_told(certificate: Certificate) -> None:
    context = _context(certificate)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with secured_peer(context) as address:
        findings = await look("https", address, ca=str(certificate.certificate))
    assert faults(findings) == {"https.protocol": Fault.TLS_OLD}


async def test_a_handshake_that_fails_otherwise_is_told(certificate: Certificate) -> None:
    context = _context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certificate.certificate)
    with secured_peer(context) as address:
        findings = await look("https", address, ca=str(certificate.certificate))
    assert faults(findings) == {"https.protocol": Fault.TLS_FAILED}
