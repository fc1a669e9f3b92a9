"""A request and a reply of HTTP, as far as the OpenAPI looks at them."""

from collections.abc import AsyncIterator, Mapping

import msgspec

from linkstead.invocation import Call


class HttpRequest(msgspec.Struct, eq=False):
    """One request, read to its end.

    Args:
        method: upper case.
        path: without the query, as sent.
        query: raw, without `?`.
        headers: lower-case names; several values of one name in order.
        body: raw.
        received_s, received_monotonic_s: when its last byte was there.
        peer: the client's address.
        is_private: it came over TLS or from this very machine, so that a secret in it was not overheard.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, list[str]]
    body: bytes
    received_s: float
    received_monotonic_s: float
    peer: str = ""
    is_private: bool = False

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        values = self.headers.get(name)
        return values[0] if values else None


class HttpReply(msgspec.Struct, eq=False):
    """One answer. `call` is the call it answers, to be closed once the answer is written.

    `stream`: more of the body, part by part as it comes to be; the connection ends with it. The next part is
    asked for when the client has read those before; it is closed when the client is gone or the server stops.
    """

    status: int
    content_type: str
    body: bytes
    request_id: str = ""
    call: Call | None = None
    headers: dict[str, str] = {}
    stream: AsyncIterator[bytes] | None = None
