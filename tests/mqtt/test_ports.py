import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from linkstead.mqtt.ports import Ports
from linkstead.testing.clock import ManualClock
from tests.rig import Certificate

pytestmark = pytest.mark.asyncio

MakePorts = Callable[..., Ports]


class Echo(asyncio.Protocol):
    """What stands behind a port here: it sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@pytest.fixture
def make_ports(start_loop_watch: Callable[[], None]) -> Iterator[MakePorts]:
    made: list[Ports] = []

    def make(*, are_shared: bool = False) -> Ports:
        start_loop_watch()
        made.append(Ports(ManualClock(), are_shared=are_shared))
        return made[-1]

    yield make
    assert not any(ports._listeners for ports in made)


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def hears_itself(place: tuple[str, int], trust: ssl.SSLContext | None = None) -> bool:
    """Whether an echo comes from there."""
    reader, writer = await asyncio.open_connection(*place, ssl=trust, server_hostname="localhost" if trust else None)
    writer.write(b"ping")
    try:
        return await reader.read(4) == b"ping"
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("takes_plain", [False, True])
async def test_a_port_without_tls_is_listened_on_until_it_is_closed(make_ports: MakePorts, takes_plain: bool) -> None:
    ports = make_ports()
    place = await ports.open("127.0.0.1", 0, Echo, takes_plain=takes_plain)
    assert place[0] == "127.0.0.1"
    assert place[1] > 0
    assert await hears_itself(place)
    ports.close()
    with pytest.raises(ConnectionRefusedError):
        await hears_itself(place)


@pytest.mark.parametrize("takes_plain", [False, True])
async def test_a_port_with_tls_takes_what_has_none_where_it_is_to(
    make_ports: MakePorts, tls: ssl.SSLContext, certificate: Certificate, takes_plain: bool
) -> None:
    ports = make_ports()
    place = await ports.open("127.0.0.1", 0, Echo, tls, takes_plain=takes_plain)
    assert await hears_itself(place, certificate.trust)
    assert await hears_itself(place) is takes_plain
    ports.close()
    with pytest.raises(ConnectionRefusedError):
        await hears_itself(place)


@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_port_is_listened_on_once_unless_it_is_shared(
    make_ports: MakePorts, tls: ssl.SSLContext, with_tls: bool
) -> None:
    given = tls if with_tls else None
    alone = make_ports()
    place = await alone.open("127.0.0.1", 0, Echo, given)
    for are_shared in (False, True):
        with pytest.raises(OSError, match="in use"):
            await make_ports(are_shared=are_shared).open(*place, Echo, given)
    alone.close()
    first, second = make_ports(are_shared=True), make_ports(are_shared=True)
    place = await first.open("127.0.0.1", 0, Echo, given)
    assert await second.open(*place, Echo, given) == place
    first.close()
    second.close()


@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_host_that_is_not_there_is_told(make_ports: MakePorts, tls: ssl.SSLContext, with_tls: bool) -> None:
    with pytest.raises(OSError, match=r"not known|resolution|No address"):
        await make_ports().open("nowhere.invalid", 0, Echo, tls if with_tls else None)
