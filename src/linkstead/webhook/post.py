"""One POST request and what came of it. The HTTP client is named here and nowhere else."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from yarl import URL

from linkstead.clock import Clock
from linkstead.webhook.sender import Answer

WEBHOOK_TIMEOUT_S = 15.0
"""For the whole attempt: finding the name, connecting, sending, and the first line and headers of the answer."""

KEEP_ALIVE_S = 4.0
"""How long a connection is kept for the next message: less than the 5 s after which Node.js and uvicorn close it."""

ANSWER_BYTES_MAX = 16 * 1024
"""Of the answer's body read, so that the connection can be used again; nobody looks at it. With more, it is closed."""

WORDS_CHARS_MAX = 100
"""Of the system's own words in an error."""


class HttpPost:
    """Implements `Post` over HTTP/1.1 and TLS. Redirects are not followed, cookies not kept, proxies not asked for.

    Args:
        clock: the timeout.
        tls: who is trusted; what the system trusts unless given. `SSL_CERT_FILE` names other authorities.
    """

    def __init__(self, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        # How many at once is for the sender to bound.
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=tls or ssl.create_default_context()
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            auto_decompress=False,
            trust_env=False,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See `Post.post`."""
        attempt = _Attempt(self._session, url, headers, body)
        task = asyncio.get_running_loop().create_task(attempt.run())
        timer = self._clock.call_later(WEBHOOK_TIMEOUT_S, _cancel, task)
        try:
            await asyncio.wait([task])
        finally:
            timer.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        return attempt.answer or Answer(error=f"no answer within {WEBHOOK_TIMEOUT_S:g} s")

    async def close(self) -> None:
        """See `Post.close`."""
        await self._session.close()


class _Attempt:
    """A request under way; `answer` is there as soon as it is known."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self.answer: Answer | None = None
        self._session = session
        self._url = URL(url, encoded=True)
        self._headers = headers
        self._body = body

    async def run(self) -> None:
        try:
            async with self._session.post(
                self._url, data=self._body, headers=self._headers, allow_redirects=False
            ) as response:
                self.answer = Answer(
                    status=response.status,
                    error=_describe_status(response.status),
                    retry_after=response.headers.get("Retry-After", ""),
                )
                with contextlib.suppress(aiohttp.ClientError):
                    await _drain(response.content)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.answer = self.answer or Answer(error=_describe_error(error))


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _drain(content: aiohttp.StreamReader) -> None:
    left_bytes = ANSWER_BYTES_MAX
    while left_bytes > 0 and (part := await content.read(left_bytes)):
        left_bytes -= len(part)


def _describe_status(status: int) -> str:
    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = ""
    redirected = ", redirects are not followed" if 300 <= status < 400 else ""
    return f"HTTP {status} {words}".rstrip() + redirected


def _describe_error(error: Exception) -> str:
    """What went wrong in words that hold nothing of the URL: its query may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = error.certificate_error
        return f"its certificate is not trusted: {_shorten(getattr(reason, 'verify_message', '') or 'not valid')}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of its host is not found"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        # The words of the error itself may be the event loop's, with an address in them.
        number = error.os_error.errno
        return f"cannot connect: {os.strerror(number).lower() if number else 'no reason given'}"
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        return "the connection was closed without an answer"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return "the answer is not HTTP"
    return f"the request failed: {type(error).__name__}"


def _shorten(words: str) -> str:
    return words[:WORDS_CHARS_MAX]
