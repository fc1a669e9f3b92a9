import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
import pytest_asyncio

from linkstead.config import Address
from linkstead.mqtt import acceptor as acceptor_module
from linkstead.mqtt.acceptor import FIRST_BYTE_WAIT_S, SniffingAcceptor
from linkstead.testing.clock import ManualClock
from tests.rig import LAMP, Certificate, RigStarter
from tests.wire import until

pytestmark = pytest.mark.asyncio


class Echo(asyncio.Protocol):
    """What stands behind the acceptor here: it sends back what it gets."""

    def __init__(self, stand: "Stand") -> None:
        self._stand = stand

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._stand.is_secured.append(transport.get_extra_info("sslcontext") is not None)
        self._stand.open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stand.open.discard(self._transport)


class Stand:
    """An acceptor on a free port."""

    def __init__(self, certificate: Certificate) -> None:
        self.is_secured: list[bool] = []
        self.open: set[asyncio.Transport] = set()
        self.clock = ManualClock()
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self.trust = certificate.trust
        self.acceptor = SniffingAcceptor(bound, lambda: Echo(self), context, 1.0, self.clock)
        self.address = Address(*bound.getsockname())

    @contextlib.asynccontextmanager
    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        name = "localhost" if tls else None
        reader, writer = await asyncio.open_connection(*self.address, ssl=tls, server_hostname=name)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @property
    def waiting(self) -> int:
        return len(self.acceptor._waiting)


@pytest_asyncio.fixture
async def stand(certificate: Certificate, start_loop_watch: Callable[[], None]) -> AsyncIterator[Stand]:
    start_loop_watch()
    stand = Stand(certificate)
    stand.acceptor.start()
    yield stand
    stand.acceptor.close()
    for transport in list(stand.open):
        transport.abort()
    await until(lambda: not stand.open and not stand.acceptor._tasks)
    assert stand.waiting == 0
    assert stand.clock.timer_count == 0


async def test_plain_and_tls_are_told_apart_by_the_first_byte(stand: Stand) -> None:
    for tls in (None, stand.trust, None):
        async with stand.connect(tls) as (reader, writer):
            writer.write(b"\x10hello")
            assert await reader.readexactly(6) == b"\x10hello"
    assert stand.is_secured == [False, True, False]


async def test_a_connection_that_says_nothing_is_closed_at_its_time(stand: Stand) -> None:
    async with stand.connect() as (reader, _):
        await until(lambda: stand.waiting == 1)
        stand.clock.advance(FIRST_BYTE_WAIT_S - 0.1)
        assert stand.waiting == 1
        stand.clock.advance(0.1)
        assert await reader.read() == b""
    assert stand.is_secured == []


async def test_a_connection_that_leaves_without_a_byte_is_forgotten(stand: Stand) -> None:
    async with stand.connect():
        await until(lambda: stand.waiting == 1)
    await until(lambda: stand.waiting == 0)
    assert stand.clock.timer_count == 0


async def test_a_connection_that_is_reset_without_a_byte_is_forgotten(stand: Stand) -> None:
    async with stand.connect() as (_, writer):
        await until(lambda: stand.waiting == 1)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await until(lambda: stand.waiting == 0)


async def test_so_many_connections_wait_and_the_next_is_closed(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "WAITING_CONNECTIONS_MAX", 2)
    async with stand.connect() as (first_reader, first), stand.connect():
        await until(lambda: stand.waiting == 2)
        async with stand.connect() as (reader, _):
            assert await reader.read() == b""
        first.write(b"x")
        assert await first_reader.readexactly(1) == b"x"
        async with stand.connect() as (reader, writer):
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"


async def test_one_address_has_so_many_and_the_next_is_closed(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "OF_ADDRESS_MAX", 2)
    async with stand.connect(), stand.connect() as (_, second):
        await until(lambda: stand.waiting == 2)
        async with stand.connect() as (reader, _):
            assert await reader.read() == b""
        second.transport.abort()
        await until(lambda: stand.waiting == 1)
        async with stand.connect() as (reader, writer):
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
    await until(lambda: stand.waiting == 0)
    assert not stand.acceptor._of_address


async def test_so_many_are_in_the_handshake_and_the_next_is_closed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor_module, "HANDSHAKES_MAX", 1)
    async with stand.connect() as (_, first), stand.connect() as (reader, second):
        first.write(b"\x16")
        await until(lambda: len(stand.acceptor._tasks) == 1)
        second.write(b"\x16")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        async with stand.connect() as (others_reader, other):
            other.write(b"y")
            assert await others_reader.readexactly(1) == b"y"
    await until(lambda: not stand.acceptor._tasks and not stand.acceptor._of_address)


async def test_a_handshake_that_does_not_end_is_closed(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "HANDSHAKE_WAIT_S", 0.05)
    async with stand.connect() as (reader, writer):
        writer.write(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    await until(lambda: not stand.acceptor._tasks)
    assert stand.is_secured == []


async def test_where_plain_is_not_taken_only_tls_comes_in(stand: Stand) -> None:
    stand.acceptor._takes_plain = False
    async with stand.connect() as (reader, writer):
        writer.write(b"x")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    async with stand.connect(stand.trust) as (reader, writer):
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
    assert stand.is_secured == [True]


@pytest.mark.parametrize("hello", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 600])
async def test_a_tls_handshake_that_is_none_is_closed(stand: Stand, hello: bytes) -> None:
    async with stand.connect() as (reader, writer):
        writer.write(hello)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
    await until(lambda: not stand.acceptor._tasks)
    assert stand.is_secured == []


async def test_a_client_that_does_not_trust_the_certificate_is_closed(stand: Stand) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with stand.connect(ssl.create_default_context()):
            pass
    await until(lambda: not stand.acceptor._tasks)


async def test_closing_ends_what_waits_and_what_shakes_hands(
    certificate: Certificate, start_loop_watch: Callable[[], None]
) -> None:
    start_loop_watch()
    stand = Stand(certificate)
    stand.acceptor.start()
    async with stand.connect() as (silent, _), stand.connect() as (shaking, writer):
        writer.write(b"\x16\x03\x01")
        await until(lambda: stand.waiting == 1 and stand.acceptor._tasks)
        stand.acceptor.close()
        assert await silent.read() == b""
        with contextlib.suppress(ConnectionError):
            assert await shaking.read() == b""
        await until(lambda: not stand.acceptor._tasks)
    with pytest.raises(ConnectionRefusedError):
        async with stand.connect():
            pass
    assert stand.clock.timer_count == 0


# --- in the server ---


async def test_one_port_takes_devices_with_and_without_tls(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    for tls in (None, certificate.trust):
        device = rig.device()
        await device.connect(tls=tls)
        call = asyncio.ensure_future(rig.app().rrpc(LAMP))
        await device.answer_call(b"pong")
        assert (await call)["RrpcCode"] == "SUCCESS"
        await device.disconnect()


async def test_mqtts_and_https_have_ports_of_their_own(start_rig: RigStarter, certificate: Certificate) -> None:
    free = Address("127.0.0.1", 0)
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key), mqtts=free, https=free)
    assert rig.endpoints.mqtts is not None
    assert rig.endpoints.https is not None
    device = rig.device()
    device.address = rig.endpoints.mqtts
    await device.connect(tls=certificate.trust)
    app = rig.app()
    query = app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)})
    reader, writer = await asyncio.open_connection(*rig.endpoints.https, ssl=certificate.trust)
    writer.write(f"GET /?{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    await device.answer_call(b"pong")
    assert b'"RrpcCode":"SUCCESS"' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_basic_is_taken_over_https(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await start_rig(
        tls_cert=str(certificate.certificate), tls_key=str(certificate.key), https=Address("127.0.0.1", 0)
    )
    assert rig.endpoints.https is not None
    reader, writer = await asyncio.open_connection(*rig.endpoints.https, ssl=certificate.trust)
    authorization = rig.app().basic["Authorization"]
    writer.write(f"GET /_linkstead/calls HTTP/1.1\r\nAuthorization: {authorization}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
    # left open: stopping does not wait for a client over TLS that keeps its connection
    writer.transport.abort()


@pytest.mark.parametrize("port", ["http", "mqtt"])
async def test_a_tls_hello_to_a_port_without_a_certificate_is_closed(start_rig: RigStarter, port: str) -> None:
    rig = await start_rig()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*getattr(rig, port), ssl=ssl.create_default_context())


async def test_plain_bytes_to_a_port_that_speaks_tls_only_are_closed(
    start_rig: RigStarter, certificate: Certificate
) -> None:
    free = Address("127.0.0.1", 0)
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key), mqtts=free, https=free)
    for address in (rig.endpoints.mqtts, rig.endpoints.https):
        assert address is not None
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
