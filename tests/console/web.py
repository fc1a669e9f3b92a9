"""The console over plain HTTP: what a browser sends, without one."""

import asyncio
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from linkstead.config import Address
from linkstead.console.listing import TICK_S
from linkstead.registry import AccessKey
from tests.rig import KEY, Rig
from tests.wire import HttpClient, Response, encode_request, fetch, until

HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Visitor:
    """A browser's jar of cookies."""

    address: Address
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    def headers(self, others: dict[str, str] | None = None) -> dict[str, str]:
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**HTML, **({"Cookie": jar} if jar else {}), **(others or {})}

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Response:
        return self._keep(await fetch(self.address, "GET", "/console" + path, self.headers(headers)))

    async def post(self, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> Response:
        body = urlencode({"csrf": self.csrf, **fields}).encode()
        return self._keep(
            await fetch(self.address, "POST", "/console" + path, self.headers({**FORM, **(headers or {})}), body)
        )

    async def log_in(self, key: AccessKey = KEY) -> "Visitor":
        """Log in, and take the token that forms have to carry."""
        response = await self.post("/login", name=key.access_key_id, secret=key.secret)
        assert response.status == 303, response.body
        page = (await self.get("/calls")).body.decode()
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
        assert found is not None
        self.csrf = found[1]
        return self

    def _keep(self, response: Response) -> Response:
        cookie = response.headers.get("Set-Cookie")
        if cookie is not None:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response


class Listener:
    """A browser that holds a page's stream open."""

    def __init__(self, rig: Rig, guest: Visitor, client: HttpClient) -> None:
        self.rig, self.guest, self.client = rig, guest, client

    async def open(self, path: str, **headers: str) -> int:
        self.client.send(encode_request("GET", "/console" + path, self.guest.headers(headers)))
        return (await self.client.receive()).status

    async def read(self, end: bytes = b"\n\n") -> bytes:
        return await self.client.reader.readuntil(end)


async def tick(rig: Rig, count: int = 1) -> None:
    """Let pages that are kept up to date have their turns."""
    for _ in range(count):
        await until(lambda: rig.clock.timer_count)
        rig.clock.advance(TICK_S)
        for _ in range(10):
            await asyncio.sleep(0)


async def visitor(rig: Rig, key: AccessKey = KEY) -> Visitor:
    """Somebody who has logged in."""
    return await Visitor(rig.http).log_in(key)
