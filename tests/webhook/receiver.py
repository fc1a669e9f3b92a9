"""An HTTP receiver on a real socket that answers as it is told, and what a lane needs of a store, in memory."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from linkstead.subscription import Letter, Notice
from linkstead.subscription.records import NoticeKind
from linkstead.subscription.webhooks import DeadLetter, Webhook, new_webhook
from linkstead.system_ids import SystemIds
from linkstead.testing.clock import ManualClock
from tests.fakes import ACCOUNT_ID, KEY, NOW_MS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwTmPl0jxK3nw="
TOPIC = f"/{KEY.product_key}/{KEY.device_name}/thing/event/property/post"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def status(line: str, *headers: str) -> bytes:
    """An answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {line}", "Content-Length: 0", *headers, "", ""]).encode()


class Received(NamedTuple):
    """A request; the names of its headers in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers each request with the next of `answers`, then with `usual`; None closes the connection.

    While `gate` is not set it keeps every answer back.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[bytes | None] = deque()
        self.usual: bytes | None = OK
        self.gate = asyncio.Event()
        self.gate.set()
        self.connection_count = 0
        self.port = 0
        self.scheme = "http"
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, tls: ssl.SSLContext | None = None) -> "AsyncIterator[Receiver]":
        receiver = cls()
        server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=tls)
        receiver.port = server.sockets[0].getsockname()[1]
        receiver.scheme = "https" if tls else "http"
        try:
            yield receiver
        finally:
            server.close()
            receiver.gate.set()
            for writer in receiver._writers:
                writer.transport.abort()
            await server.wait_closed()

    def url(self, target: str = "/hook") -> str:
        return f"{self.scheme}://localhost:{self.port}{target}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
                request_line, *lines = head.split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, target, _ = request_line.split(" ")
                self.received.append(Received(method, target, headers, body))
                await self.gate.wait()
                answer = self.answers.popleft() if self.answers else self.usual
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass
class Kept:
    """A letter in the backlog."""

    destination: str
    letter: Letter
    due_ms: int
    error: str = ""
    is_dead: bool = False


class FakeBacklog:
    """Implements `BacklogStore` and `WebhookStore` in memory, as far as a sender asks."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.failure: Exception | None = None
        self._row_id = 0
        self._watchers: list[Callable[[Collection[str]], None]] = []

    def add(
        self, destination: str, payload: bytes = b'{"items":{}}', *, due_ms: int = NOW_MS, attempts: int = 0
    ) -> int:
        """Have a letter wait; returns its row id. Its message id is made of that."""
        self._row_id += 1
        letter = Letter(self._row_id, 1_000 + self._row_id, TOPIC, payload, NOW_MS, 1, attempts)
        self.kept[self._row_id] = Kept(destination, letter, due_ms)
        for tell in self._watchers:
            tell([destination])
        return self._row_id

    def watch_letters(self, tell: Callable[[Collection[str]], None]) -> None:
        self._watchers.append(tell)

    async def flush(self) -> bool:
        return True

    def record_notice(self, destinations: Sequence[str], notice: Notice) -> None:
        for destination in destinations:
            self.add(destination, notice.payload, due_ms=notice.generated_ms)

    def _waiting(self, destination: str) -> list[Kept]:
        found = (kept for kept in self.kept.values() if kept.destination == destination and not kept.is_dead)
        return sorted(found, key=lambda kept: (kept.due_ms, kept.letter.row_id))

    async def lease_letters(self, destination: str, limit: int, now_ms: int, until_ms: int) -> list[Letter]:
        if self.failure is not None:
            raise self.failure
        leased = [kept for kept in self._waiting(destination) if kept.due_ms <= now_ms][:limit]
        for kept in leased:
            kept.due_ms = until_ms
            kept.letter = replace(kept.letter, attempts=kept.letter.attempts + 1)
        return [kept.letter for kept in leased]

    def acknowledge_letter(self, row_id: int) -> None:
        self.kept.pop(row_id, None)

    def return_letter(self, row_id: int, attempts: int, due_ms: int) -> None:
        if row_id in self.kept and self.kept[row_id].letter.attempts == attempts:
            self.kept[row_id].due_ms = due_ms

    async def next_due_ms(self, destination: str) -> int | None:
        waiting = self._waiting(destination)
        return waiting[0].due_ms if waiting else None

    async def count_letters(self, destination: str) -> int:
        return len(self._waiting(destination))

    async def clear_letters(self, destination: str) -> None:
        for kept in self._waiting(destination):
            del self.kept[kept.letter.row_id]

    async def add_webhook(self, webhook: Webhook) -> None:
        self.webhooks[webhook.webhook_id] = webhook

    async def find_webhook(self, webhook_id: str) -> Webhook | None:
        return self.webhooks.get(webhook_id)

    async def list_webhooks(self) -> list[Webhook]:
        return list(self.webhooks.values())

    async def set_webhook_enabled(self, webhook_id: str, enabled: bool) -> bool:
        self.webhooks[webhook_id] = replace(self.webhooks[webhook_id], enabled=enabled)
        return True

    async def delete_webhook(self, webhook_id: str) -> bool:
        return self.webhooks.pop(webhook_id, None) is not None

    async def postpone_letter(self, row_id: int, attempts: int, due_ms: int, error: str) -> None:
        assert self.kept[row_id].letter.attempts == attempts
        self.kept[row_id].due_ms = due_ms
        self.kept[row_id].error = error

    async def bury_letter(self, row_id: int, attempts: int, died_ms: int, error: str) -> None:
        await self.postpone_letter(row_id, attempts, died_ms, error)
        self.kept[row_id].is_dead = True

    async def count_dead_letters(self, destination: str) -> int:
        return sum(kept.is_dead for kept in self.kept.values() if kept.destination == destination)

    async def list_dead_letters(self, destination: str, limit: int) -> list[DeadLetter]:
        raise AssertionError("a sender does not list them")

    async def revive_letters(self, destination: str, row_id: int | None, now_ms: int) -> int:
        raise AssertionError("a sender does not revive them")


def a_webhook(url: str, **fields: Any) -> Webhook:
    """A webhook of the first product for everything; its id is drawn anew each time."""
    made = new_webhook(
        _ids,
        account_id=ACCOUNT_ID,
        product_key=KEY.product_key,
        url=url,
        kinds=frozenset(NoticeKind),
        secret=SECRET,
        created_ms=NOW_MS,
    )
    return replace(made, **fields)


_ids = SystemIds(ManualClock())
