"""One request of a browser, and the answers that a page can give."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote

import msgspec

from linkstead.api.exchange import HttpReply, HttpRequest
from linkstead.console.desk import Desk, Reply
from linkstead.console.login import Viewer
from linkstead.console.pages import render
from linkstead.console.texts import Language, Words
from linkstead.registry import AccessKey

PREFIX = "/console"
HTML = "text/html;charset=utf-8"
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Basecoat draws its arrows and ticks from `data:`; nothing else comes from elsewhere, and no script from the page."""

GUARDS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Refused(Exception):
    """What was asked for is not shown or done: the status, and the text by its key."""

    def __init__(self, status: int, key: str, detail: str = "") -> None:
        super().__init__(status, key, detail)
        self.status, self.key, self.detail = status, key, detail


@dataclass(slots=True)
class Visit:
    """One request, read.

    Args:
        names: what stood in the path, by the names of the route.
        fields: of the query; form: of the body. Of several values of one name the first.
        viewer: who is logged in, if anybody is.
        theme: `light`, `dark`, or empty for what the browser prefers.
    """

    desk: Desk
    request: HttpRequest
    words: Words
    theme: str
    viewer: Viewer | None
    names: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def language(self) -> Language:
        """The language of the page."""
        return self.words.language

    @property
    def here(self) -> str:
        """This page, to come back to."""
        query = self.request.query.decode("latin-1")
        return self.request.path + ("?" + query if query else "")

    @property
    def key(self) -> AccessKey:
        """The key of who is logged in; only pages for those ask."""
        assert self.viewer is not None
        return self.viewer.key

    @property
    def now_ms(self) -> int:
        """Wall time."""
        return int(self.desk.clock.time_s() * 1000)

    def render(self, template: str, **values: object) -> str:
        """A template, or a part of one, as text."""
        return render(template, visit=self, t=self.words, viewer=self.viewer, asset=self.desk.assets.address, **values)

    def page(self, template: str, http_status: int = 200, /, **values: object) -> HttpReply:
        """A page, or a part of one; nobody but the browser keeps it."""
        body = self.render(template, **values).encode()
        return HttpReply(http_status, HTML, body, headers={**GUARDS, "Cache-Control": "no-store"})

    def to(self, path: str, **fields: str) -> HttpReply:
        """Lead the browser on to another page of the console, by GET."""
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields.items() if value)
        # A path may hold what stood in another one.
        place = PREFIX + quote(path, safe="/?&=%+,;:@!$'()*") + ("?" + query if query else "")
        headers = {**GUARDS, "Location": place, "Cache-Control": "no-store"}
        return HttpReply(303, HTML, b"", headers=headers)

    def json(self, value: object) -> HttpReply:
        """Data for a script of ours."""
        headers = {**GUARDS, "Cache-Control": "no-store"}
        return HttpReply(200, "application/json;charset=utf-8", msgspec.json.encode(value), headers=headers)

    def file(self, name: str, content_type: str, body: bytes) -> HttpReply:
        """A file to save."""
        headers = {**GUARDS, "Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
        return HttpReply(200, content_type, body, headers=headers)

    def events(self, stream: AsyncIterator[bytes]) -> HttpReply:
        """Server-sent events, for as long as the page is open."""
        headers = {**GUARDS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return HttpReply(200, "text/event-stream", b"", headers=headers, stream=stream)

    async def act(self, action: str, **parameters: object) -> Reply:
        """Run an action for who is logged in; see `Desk.act`."""
        return await self.desk.act(self.key, self.request, action, **parameters)

    async def ask(self, action: str, **parameters: object) -> Reply:
        """The same for what a page cannot do without.

        Raises:
            Refused: the action was.
        """
        reply = await self.act(action, **parameters)
        if reply.code:
            refuse(reply)
        return reply


def refuse(reply: Reply) -> NoReturn:
    """Show an action's refusal as a page."""
    status = reply.status if reply.status >= 400 else 404
    raise Refused(status, "error.refused", f"{reply.code}: {reply.message}")
