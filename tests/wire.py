"""The clients' side of every wire that the server speaks: signed and raw HTTP, and devices over MQTT."""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

from linkstead.alink import credentials
from linkstead.api import signatures
from linkstead.clock import Clock
from linkstead.config import Address
from linkstead.mqtt.packets import (
    MQTT_3_1_1,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    Publish,
    Splitter,
    decode,
    encode,
)
from linkstead.registry import DeviceKey

WAIT_S = 20.0
"""No test waits on purpose: what has not come by then never will."""

READ_BYTES_MAX = 65_536

PacketKind = TypeVar("PacketKind", bound=Packet)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something has become true that no byte and no event tells of."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off: the other side gets RST, as from a machine that lost it."""
    break_off(writer.transport)


def break_off(transport: asyncio.WriteTransport) -> None:
    """The same for what has no streams."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


# --- HTTP ---


class Response(NamedTuple):
    """One response; the names of its headers are spelled as sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def encode_request(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"", version: str = "HTTP/1.1"
) -> bytes:
    """A request as bytes; `Host` and `Content-Length` are added where they are not given."""
    lines = dict(headers or {})
    given = {name.lower() for name in lines}
    if "host" not in given:
        lines["Host"] = "localhost"
    if body and "content-length" not in given:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} {version}\r\n{head}\r\n".encode() + body


class HttpClient:
    """One connection over which anything can be sent; use `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: Address, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, *, with_body: bool = True) -> Response:
        """Read the next response."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("Content-Length", "0")) if with_body else 0)
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        return Response(int(status), headers, body)

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        self.send(encode_request(method, target, headers, body))
        return await self.receive(with_body=method != "HEAD")

    async def receive_end(self) -> bytes:
        """Read what still comes until the server closes the connection."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read()

    async def expect_closed(self) -> None:
        """The server closes the connection, orderly or not, and sends nothing more."""
        with contextlib.suppress(ConnectionError):
            assert await self.receive_end() == b""


async def fetch(
    address: Address, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Response:
    """One request over a connection of its own."""
    async with HttpClient.open(address) as client:
        return await client.request(method, target, headers, body)


_nonces = count(1)


class App:
    """An application with a key: each of its calls is signed, and goes over a connection of its own."""

    def __init__(self, address: Address, clock: Clock, access_key_id: str, secret: str) -> None:
        self.address = address
        self.clock = clock
        self.access_key_id = access_key_id
        self.secret = secret

    @property
    def host(self) -> str:
        return str(self.address)

    @property
    def basic(self) -> dict[str, str]:
        """The header for HTTP Basic."""
        pair = f"{self.access_key_id}:{self.secret}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def now(self, offset_s: float = 0.0) -> str:
        return signatures.format_timestamp(self.clock.time_s() + offset_s)

    def sign_v1(
        self, parameters: Mapping[str, str], method: str = "GET", *, nonce: str = "", timestamp: str | None = None
    ) -> str:
        """A query, or form body, signed by version 1."""
        whole = {"Version": "2018-01-20", "Format": "JSON", **parameters}
        return signatures.signed_query_v1(
            method,
            whole,
            self.access_key_id,
            self.secret,
            nonce or f"nonce-{next(_nonces)}",
            self.now() if timestamp is None else timestamp,
        )

    def sign_v3(
        self,
        action: str,
        parameters: Mapping[str, str],
        body: bytes = b"",
        *,
        method: str = "POST",
        path: str = "/",
        version: str = "2018-01-20",
        nonce: str = "",
        timestamp: str | None = None,
    ) -> tuple[str, dict[str, str]]:
        """A target and headers signed by version 3."""
        query = signatures.encode_parameters(parameters)
        headers = signatures.signed_headers_v3(
            method,
            self.host,
            path,
            query.encode(),
            action,
            version,
            body,
            self.access_key_id,
            self.secret,
            nonce or f"nonce-{next(_nonces)}",
            self.now() if timestamp is None else timestamp,
        )
        return f"{path}?{query}" if query else path, headers

    async def call(self, action: str, **parameters: str) -> Response:
        """Call an action by version 1; everything is in the query."""
        return await fetch(self.address, "GET", f"/?{self.sign_v1({'Action': action, **parameters})}")

    async def call_v3(self, action: str, **parameters: str) -> Response:
        """Call an action by version 3; everything is in the query."""
        target, headers = self.sign_v3(action, parameters)
        return await fetch(self.address, "POST", target, headers)

    def rrpc_parameters(self, key: DeviceKey, payload: bytes | str = b"ping", **others: str) -> dict[str, str]:
        """The parameters of an RRpc; a text is sent as it is, bytes in Base64."""
        text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
        return {
            "ProductKey": key.product_key,
            "DeviceName": key.device_name,
            "RequestBase64Byte": text,
            "Timeout": "5000",
            **others,
        }

    async def rrpc(self, key: DeviceKey, payload: bytes | str = b"ping", **others: str) -> dict[str, Any]:
        """Call a device: the parameters in a form body, the answer as JSON."""
        form = self.sign_v1({"Action": "RRpc", **self.rrpc_parameters(key, payload, **others)}, "POST")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await fetch(self.address, "POST", "/", headers, form.encode())
        assert response.status == 200, response
        answer: dict[str, Any] = response.json()
        return answer

    async def call_record(self, call_id: int | str) -> dict[str, Any]:
        """What the inspection API shows of a call."""
        response = await fetch(self.address, "GET", f"/_linkstead/calls/{call_id}", self.basic)
        assert response.status == 200, response
        record: dict[str, Any] = response.json()
        return record

    async def last_record(self) -> dict[str, Any]:
        """The whole record of the call that came in last."""
        response = await fetch(self.address, "GET", "/_linkstead/calls?limit=1", self.basic)
        return await self.call_record(response.json()["calls"][0]["request_id"])


def stages(record: Mapping[str, Any]) -> list[str]:
    """The stages of a record's timeline, in order."""
    return [moment["stage"] for moment in record["timeline"]]


# --- MQTT ---


class DeviceClient:
    """A device, or something that behaves as none should. Not connected until `connect`."""

    def __init__(self, address: Address, key: DeviceKey, device_secret: str) -> None:
        self.address = address
        self.key = key
        self.device_secret = device_secret
        self.level = MQTT_3_1_1
        self._splitter = Splitter()
        self._received: list[Packet] = []
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def reader(self) -> asyncio.StreamReader:
        assert self._reader is not None, "not connected"
        return self._reader

    @property
    def writer(self) -> asyncio.StreamWriter:
        assert self._writer is not None, "not connected"
        return self._writer

    def topic(self, rest: str) -> str:
        """A topic below the device's own `/sys/{pk}/{dn}/`."""
        return f"/sys/{self.key.product_key}/{self.key.device_name}/{rest}"

    def custom_topic(self, rest: str) -> str:
        """A topic below the device's own `/{pk}/{dn}/`."""
        return f"/{self.key.product_key}/{self.key.device_name}/{rest}"

    def connect_packet(self, **fields: Any) -> Connect:
        """A CONNECT as an SDK sends it; `options` are those in the client id, other fields are the packet's."""
        options = fields.pop("options", "ext=1")
        client_id = f"{self.key.product_key}.{self.key.device_name}|securemode=3,signmethod=hmacsha256,{options}|"
        password = credentials.sign_connect(self.key, credentials.parse_client_id(client_id), self.device_secret)
        usual: dict[str, Any] = {
            "level": MQTT_3_1_1,
            "client_id": client_id,
            "clean_start": True,
            "keep_alive_s": 60,
            "user_name": f"{self.key.device_name}&{self.key.product_key}",
            "password": password.encode(),
        }
        return Connect(**{**usual, **fields})

    async def open(self, tls: ssl.SSLContext | None = None, *, receive_bytes: int | None = None) -> None:
        """Open the connection and send nothing; `receive_bytes` makes the machine take no more than about that."""
        await self.close()
        host, port = self.address
        limit = READ_BYTES_MAX
        if receive_bytes is None:
            self._reader, self._writer = await asyncio.open_connection(host, port, ssl=tls)
        else:
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, (host, port))
            limit = receive_bytes
            self._reader, self._writer = await asyncio.open_connection(sock=peer, limit=limit, ssl=tls)
        self._splitter = Splitter()
        self._received = []

    async def request_connect(self, *behind: Packet, tls: ssl.SSLContext | None = None, **fields: Any) -> ConnAck:
        """Send CONNECT, and `behind` it more in the same segment; the answer may be a refusal."""
        if self._writer is None or self._writer.is_closing():
            await self.open(tls)
        packet = self.connect_packet(**fields)
        self.level = packet.level
        self.send(packet, *behind)
        return await self.expect(ConnAck)

    async def connect(self, *behind: Packet, tls: ssl.SSLContext | None = None, **fields: Any) -> ConnAck:
        """Connect; it has to succeed."""
        answer = await self.request_connect(*behind, tls=tls, **fields)
        assert answer.reason_code == 0
        return answer

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(encode(packet, self.level) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Packet:
        """The next packet."""
        async with asyncio.timeout(WAIT_S):
            while not self._received:
                data = await self.reader.read(READ_BYTES_MAX)
                assert data, "the server closed the connection"
                self._received += [decode(frame, self.level) for frame in self._splitter.feed(data)]
        return self._received.pop(0)

    async def expect(self, kind: type[PacketKind]) -> PacketKind:
        """The next packet, which has to be of this kind."""
        packet = await self.receive()
        assert isinstance(packet, kind), packet
        return packet

    async def expect_silence(self) -> None:
        """Nothing was sent but the answers to two PINGREQ: the first may overtake what came in one segment with it."""
        for _ in range(2):
            self.send(PingReq())
            await self.expect(PingResp)

    async def expect_closed(self) -> None:
        """The server closes the connection and sends nothing more; this side is closed as well."""
        assert not self._received, self._received
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() == b""
        await self.close()

    async def answer(self, request: Publish, payload: bytes, *, topic: str = "", qos: int = 0) -> None:
        """Answer a call, on its own topic unless another is given; at QoS 1 wait for the PUBACK."""
        self.send(Publish(topic or answer_topic(request.topic), payload, qos, 1 if qos else 0))
        if qos:
            assert (await self.expect(PubAck)).packet_id == 1

    async def expect_call(self) -> Publish:
        """The next packet, which has to be a call."""
        request = await self.expect(Publish)
        assert "/rrpc/" in request.topic
        assert request.qos == 0
        return request

    async def answer_call(self, payload: bytes, *, qos: int = 0) -> Publish:
        """Wait for a call and answer it."""
        request = await self.expect_call()
        await self.answer(request, payload, qos=qos)
        return request

    async def disconnect(self) -> None:
        """Say goodbye, and wait for the server to close."""
        self.send(Disconnect())
        await self.expect_closed()

    async def close(self) -> None:
        """Close without DISCONNECT."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def reset(self) -> None:
        """Break the connection off."""
        reset(self.writer)


def answer_topic(topic: str) -> str:
    """The topic on which the answer to a call on `topic` has to come."""
    return topic.replace("/rrpc/request/", "/rrpc/response/", 1) if topic.startswith("/sys/") else topic


def message_id(topic: str) -> int:
    """The message id in the topic of a call."""
    levels = topic.split("/")
    return int(levels[3] if topic.startswith("/ext/") else levels[6])


def properties(**values: Any) -> Properties:
    """Properties of MQTT 5.0."""
    made: Properties = {}
    made.update(values)  # type: ignore[typeddict-item]
    return made
