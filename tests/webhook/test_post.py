"""One request: who is trusted, and what is left out."""

import asyncio
import ssl
from pathlib import Path

import pytest

from linkstead.testing.clock import ManualClock
from linkstead.webhook.post import HttpPost
from linkstead.webhook.sender import Answer
from tests.rig import make_certificate
from tests.webhook.receiver import Receiver, status

pytestmark = pytest.mark.asyncio


async def post(url: str, tls: ssl.SSLContext | None = None) -> Answer:
    post = HttpPost(ManualClock(), tls)
    try:
        return await post.post(url, {"webhook-id": "1"}, b"{}")
    finally:
        await post.close()


async def test_a_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    async with Receiver.open(context) as receiver:
        refused = await post(receiver.url())
        assert (refused.status, refused.error) == (0, "its certificate is not trusted: self-signed certificate")
        assert receiver.received == []
        assert (await post(receiver.url(), certificate.trust)).is_accepted


async def test_a_server_without_tls_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(status("400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await post(f"https://127.0.0.1:{port}/")
    assert (answer.status, answer.error) == (0, "TLS failed")


async def test_an_unknown_host_is_told() -> None:
    answer = await post("http://no-such-host.invalid/")
    assert (answer.status, answer.error) == (0, "the name of its host is not found")


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Receiver.open() as receiver:
        assert (await post(receiver.url())).is_accepted


async def test_cookies_are_not_kept_and_no_header_is_sent_unasked() -> None:
    client = HttpPost(ManualClock())
    async with Receiver.open() as receiver:
        receiver.usual = status("200 OK", "Set-Cookie: a=b")
        for _ in range(2):
            await client.post(receiver.url(), {"webhook-id": "1"}, b"\x00\xff")
        assert [request.headers.keys() for request in receiver.received] == 2 * [
            {"host", "webhook-id", "user-agent", "content-length", "content-type"}
        ]
        assert receiver.received[0].body == b"\x00\xff"
    await client.close()
