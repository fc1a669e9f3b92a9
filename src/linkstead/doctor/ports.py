"""The way to a port: name, connection, TLS, and what is spoken there."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import NamedTuple

from linkstead.amqp.frames import SASL_HEADER
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import FaultFound
from linkstead.mqtt.codes import CONNACK
from linkstead.mqtt.packets import MQTT_3_1_1, Connect, encode

READ_BYTES_MAX = 65_536
"""Of what a peer says to a probe; more is not looked at."""

PROBE_WAIT_S = 2.0
"""For an answer to each of the probes that find out what is spoken, when it is not what was expected."""

PROBE_CLIENT_ID = "linkstead-doctor"
"""No client id that a device may have: the CONNECT is answered, and refused."""

PROBES = {
    "HTTP": b"GET /healthz HTTP/1.1\r\nHost: linkstead-doctor\r\nConnection: close\r\n\r\n",
    "MQTT": encode(Connect(MQTT_3_1_1, PROBE_CLIENT_ID), MQTT_3_1_1),
    "AMQP": SASL_HEADER,
}
"""What to say first, by what is spoken."""

STATUS_DIGITS = 3
WANTED = {"http": "HTTP", "mqtt": "MQTT", "amqp": "AMQP"}
TLS = "TLS"
NOTHING_KNOWN = "?"

VERIFY_FAULTS = {
    9: Fault.CERTIFICATE_NOT_YET_VALID,
    10: Fault.CERTIFICATE_EXPIRED,
    62: Fault.CERTIFICATE_WRONG_NAME,
    64: Fault.CERTIFICATE_WRONG_NAME,
}
"""Source: OpenSSL, X509_V_ERR_…; any other is a matter of trust."""

OLD_TLS_REASONS = {
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_SSL_VERSION",
    "NO_PROTOCOLS_AVAILABLE",
}
NOT_TLS_REASONS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST"}


class Answer(NamedTuple):
    """An answer of HTTP; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Port:
    """One port of the server. kind: `http`, `mqtt` or `amqp`. tls: None where it is to speak without."""

    kind: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    wait_s: float
    said: bytes = field(default=b"", init=False)

    async def resolve(self) -> str:
        """Find the addresses of the name."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FaultFound(Fault.NAME_UNKNOWN, host=self.host, reason=_reason(error)) from None
        return ", ".join(dict.fromkeys(str(each[4][0]) for each in found))

    async def connect(self) -> str:
        """Make a TCP connection, and leave it."""
        place = {"host": self.host, "port": self.port}
        try:
            async with asyncio.timeout(self.wait_s):
                _, writer = await asyncio.open_connection(self.host, self.port)
        except TimeoutError:
            raise FaultFound(Fault.PORT_FILTERED, wait_s=f"{self.wait_s:g}", **place) from None
        except OSError as error:
            is_refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
            if is_refused and error.errno not in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise FaultFound(Fault.PORT_CLOSED, **place) from None
            raise FaultFound(Fault.HOST_UNREACHABLE, reason=_reason(error), **place) from None
        await _leave(writer)
        return f"{self.host}:{self.port}"

    async def check_protocol(self) -> str:
        """Hear that the peer speaks what it should, over TLS where it should."""
        wanted = WANTED[self.kind]
        try:
            said = await self._exchange(PROBES[wanted], self.tls, self.wait_s)
        except ssl.SSLCertVerificationError as error:
            fault = VERIFY_FAULTS.get(error.verify_code, Fault.CERTIFICATE_UNTRUSTED)
            raise self._fault(fault, reason=error.verify_message) from None
        except ssl.SSLError as error:
            if error.reason in OLD_TLS_REASONS:
                raise self._fault(Fault.TLS_OLD, reason=error.reason) from None
            raise await self._find_other(wanted, error.reason or str(error)) from None
        except (OSError, TimeoutError) as error:
            raise await self._find_other(wanted, _reason(error)) from None
        found = name_protocol(said)
        if found != wanted:
            raise await self._find_other(wanted, "")
        self.said = said
        return f"{wanted}, TLS" if self.tls else wanted

    async def _find_other(self, wanted: str, reason: str) -> FaultFound:
        """Find what is spoken instead, and the fault that this is."""
        found = await self._identify()
        expected = f"{wanted} over TLS" if self.tls else wanted
        if self.tls is not None and found == TLS:
            return self._fault(Fault.TLS_FAILED, reason=reason or TLS)
        if found == NOTHING_KNOWN:
            return self._fault(Fault.SPEAKS_UNKNOWN, wanted=expected, reason=reason or "-")
        return self._fault(Fault.SPEAKS_OTHER, found=found, wanted=expected)

    async def _identify(self) -> str:
        wait_s = min(self.wait_s, PROBE_WAIT_S)
        for probe in PROBES.values():
            with contextlib.suppress(OSError, TimeoutError):
                found = name_protocol(await self._exchange(probe, None, wait_s))
                if found != NOTHING_KNOWN:
                    return found
        # whatever certificate: that it is TLS is all there is to find out
        any_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        any_tls.check_hostname = False
        any_tls.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(wait_s):
                _, writer = await asyncio.open_connection(self.host, self.port, ssl=any_tls)
        except ssl.SSLError as error:
            return NOTHING_KNOWN if error.reason in NOT_TLS_REASONS else TLS
        except (OSError, TimeoutError):
            return NOTHING_KNOWN
        await _leave(writer)
        return TLS

    async def _exchange(self, said: bytes, tls: ssl.SSLContext | None, wait_s: float) -> bytes:
        """Say something on a connection of its own and hear the answer, to its end for HTTP."""
        async with asyncio.timeout(wait_s):
            reader, writer = await self.open(tls)
            try:
                writer.write(said)
                heard = b""
                while len(heard) < READ_BYTES_MAX and (data := await reader.read(READ_BYTES_MAX)):
                    heard += data
                    if not heard.startswith(b"HTTP/"):
                        break
                return heard
            finally:
                writer.transport.abort()

    async def open(self, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the port, by TLS where it is given."""
        name = self.host if tls else None
        return await asyncio.open_connection(self.host, self.port, ssl=tls, server_hostname=name)

    def _fault(self, fault: Fault, **facts: object) -> FaultFound:
        return FaultFound(fault, host=self.host, port=self.port, **facts)


def name_protocol(said: bytes) -> str:
    """What somebody speaks whose first bytes these are, `NOTHING_KNOWN` where they do not tell."""
    if said.startswith(b"HTTP/"):
        # that is how an MQTT port of Linkstead answers a browser
        return "MQTT" if b"This port speaks MQTT" in said else "HTTP"
    if said.startswith(b"AMQP"):
        return "AMQP"
    if said[:2] == b"\x15\x03":
        return TLS
    if len(said) >= 4 and said[0] >> 4 == CONNACK and said[1] in (2, 3):
        return "MQTT"
    return NOTHING_KNOWN


def read_answer(said: bytes) -> Answer:
    """Take an answer of HTTP apart; the status is 0 where it tells none."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = first.split(" ")[1] if first.count(" ") else ""
    pairs = (line.partition(":") for line in lines)
    number = int(status) if status.isascii() and status.isdigit() and len(status) == STATUS_DIGITS else 0
    return Answer(number, {name.lower(): value.strip() for name, _, value in pairs}, body)


def make_trust(ca: str | None) -> ssl.SSLContext:
    """What certificates are checked by. Raises FaultFound for a file that cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise FaultFound(Fault.CA_FILE, reason=_reason(error)) from None


async def _leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "time out"
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(number)
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
