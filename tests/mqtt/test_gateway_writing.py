"""A device that does not read: what is written to it waits within bounds, and no verdict says it had more."""

import asyncio
import os
import socket
from typing import Any

import pytest

from linkstead.mqtt import gateway
from linkstead.mqtt.gateway import WRITE_BUFFER_BYTES_MAX, DeviceConnection
from linkstead.mqtt.packets import PingReq, PingResp, Publish, encode
from linkstead.mqtt.sockets import SocketTransport
from linkstead.sessions import QueuedMessage
from tests.rig import LAMP, Certificate, Rig, RigStarter
from tests.wire import DeviceClient, stages, until

pytestmark = pytest.mark.asyncio

PAYLOAD_BYTES = 256 * 1024


def _transport(connection: DeviceConnection) -> asyncio.Transport:
    assert connection._transport is not None
    return connection._transport


async def _connect_without_reading(rig: Rig) -> tuple[DeviceClient, DeviceConnection]:
    """A device whose machine takes a few kilobytes and whose program takes nothing more, and the server's end of it."""
    device = rig.device()
    await device.open(receive_bytes=4_096)
    await device.connect()
    device.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = rig.server.gateway.connections
    transport: object = _transport(connection)
    assert isinstance(transport, SocketTransport)
    with socket.socket(fileno=os.dup(transport.fileno())) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    return device, connection


async def _call_until_refused(rig: Rig) -> tuple[list[asyncio.Future[dict[str, Any]]], dict[str, Any]]:
    """Call with long payloads until the server takes no more; the calls under way, and the refusal."""
    waiting: list[asyncio.Future[dict[str, Any]]] = []
    while True:
        call = asyncio.ensure_future(rig.app().rrpc(LAMP, bytes(PAYLOAD_BYTES), Timeout="8000"))
        await until(lambda: call.done() or rig.server.router.pending_count > len(waiting))  # noqa: B023
        if rig.server.router.pending_count == len(waiting):
            return waiting, await call
        waiting.append(call)
        assert len(waiting) < 100


async def test_a_device_that_does_not_read_is_called_up_to_a_bound(rig: Rig) -> None:
    device, connection = await _connect_without_reading(rig)
    waiting, refusal = await _call_until_refused(rig)
    assert refusal["Code"] == "iot.messagebroker.RateLimit"
    assert "RrpcCode" not in refusal
    record = await rig.app().call_record(refusal["RequestId"])
    assert (record["verdict"], record["diagnosis"]) == ("REJECTED", "throttled")
    size = _transport(connection).get_write_buffer_size()
    assert WRITE_BUFFER_BYTES_MAX < size <= WRITE_BUFFER_BYTES_MAX + PAYLOAD_BYTES + 100
    records = rig.calls()
    unwritten = sum("written" not in [moment.stage for moment in call.timeline] for call in records) - 1
    assert unwritten >= WRITE_BUFFER_BYTES_MAX // PAYLOAD_BYTES

    device.reset()
    await until(lambda: rig.server.router.pending_count == len(waiting) - unwritten)
    rig.clock.advance(8.0)
    verdicts = []
    for call in waiting:
        answer = await call
        record = await rig.app().call_record(answer["MessageId"])
        verdicts.append((answer["RrpcCode"], record["diagnosis"], "written" in stages(record)))
    assert set(verdicts) <= {("TIMEOUT", "written-no-answer", True), ("HALFCONN", "write-failed", False)}
    assert sum(verdict == "HALFCONN" for verdict, _, _ in verdicts) == unwritten


async def test_a_message_that_never_left_is_no_timeout(rig: Rig) -> None:
    await _connect_without_reading(rig)
    waiting, _ = await _call_until_refused(rig)
    rig.clock.advance(8.0)
    last = await waiting[-1]
    record = await rig.app().call_record(last["MessageId"])
    assert (record["verdict"], record["diagnosis"]) == ("HALFCONN", "write-failed")
    assert "written" not in stages(record)


async def test_a_device_that_reads_late_gets_every_call(rig: Rig) -> None:
    device, _ = await _connect_without_reading(rig)
    waiting, _ = await _call_until_refused(rig)
    device.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in waiting:
        request = await device.expect_call()
        assert len(request.payload) == PAYLOAD_BYTES
        await device.answer(request, b"late but good")
    for call in waiting:
        answer = await call
        assert answer["RrpcCode"] == "SUCCESS"
        assert "written" in stages(await rig.app().call_record(answer["MessageId"]))
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


async def test_a_device_that_asks_without_reading_is_read_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "WRITE_BUFFER_BYTES_MAX", 65_536)
    device, connection = await _connect_without_reading(rig)
    pings = 200_000
    device.send_bytes(encode(PingReq(), device.level) * pings)
    transport = _transport(connection)
    await until(lambda: not transport.is_reading())
    assert transport.get_write_buffer_size() <= 65_536 + 262_144
    device.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(pings):
        await device.expect(PingResp)
    assert transport.is_reading()
    await device.expect_silence()


async def test_a_device_that_asks_without_reading_is_cut_when_its_keep_alive_is_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "WRITE_BUFFER_BYTES_MAX", 65_536)
    device, connection = await _connect_without_reading(rig)
    device.send_bytes(encode(PingReq(), device.level) * 200_000)
    await until(lambda: not _transport(connection).is_reading())
    rig.clock.advance(90.0)
    assert not rig.is_online
    rig.clock.advance(gateway.CLOSE_WAIT_S)
    await until(lambda: not rig.server.gateway.connections)


async def test_messages_of_qos_1_wait_for_a_device_that_does_not_read(rig: Rig) -> None:
    device, connection = await _connect_without_reading(rig)
    topic = device.custom_topic("user/get")
    for index in range(40):
        message = QueuedMessage(topic, b"%d" % index + bytes(PAYLOAD_BYTES), rig.clock.monotonic_s())
        assert rig.server.sessions.deliver(LAMP, message)
    assert _transport(connection).get_write_buffer_size() <= PAYLOAD_BYTES + 100
    device.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for index in range(40):
        message_received = await device.expect(Publish)
        assert message_received.payload.startswith(b"%d\0" % index)
    await device.expect_silence()


# --- over TLS, where the transport counts otherwise ---


async def test_written_is_marked_over_tls(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    device = rig.device()
    await device.connect(tls=certificate.trust)
    for timeout_s in (1, 2):
        call = asyncio.ensure_future(rig.app().rrpc(LAMP, Timeout=f"{timeout_s}000"))
        await device.expect_call()
        rig.clock.advance(timeout_s)
        answer = await call
        assert answer["RrpcCode"] == "TIMEOUT"
        assert "written" in stages(await rig.app().call_record(answer["MessageId"]))


async def test_messages_of_qos_1_flow_over_tls(start_rig: RigStarter, certificate: Certificate) -> None:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    device = rig.device()
    await device.connect(tls=certificate.trust)
    topic = device.custom_topic("user/get")
    for index in range(20):
        message = QueuedMessage(topic, b"%d" % index, rig.clock.monotonic_s())
        assert rig.server.sessions.deliver(LAMP, message)
    for index in range(20):
        assert (await device.expect(Publish)).payload == b"%d" % index


async def test_a_device_over_tls_that_does_not_read_is_called_up_to_a_bound(
    start_rig: RigStarter, certificate: Certificate
) -> None:
    rig = await start_rig(tls_cert=str(certificate.certificate), tls_key=str(certificate.key))
    device = rig.device()
    await device.open(certificate.trust)
    await device.connect()
    device.writer.transport.pause_reading()  # type: ignore[attr-defined]
    waiting, refusal = await _call_until_refused(rig)
    assert refusal["Code"] == "iot.messagebroker.RateLimit"
    device.reset()
    rig.clock.advance(8.0)
    verdicts = {(await call)["RrpcCode"] for call in waiting}
    assert verdicts == {"TIMEOUT", "HALFCONN"}
