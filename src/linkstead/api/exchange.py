"""A request and a reply of HTTP, as far as the OpenAPI looks at them."""

from collections.abc import AsyncIterator, Mapping

from linkstead.invocation import Call


class HttpRequest:
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

    __slots__ = (
        "body",
        "headers",
        "is_private",
        "method",
        "path",
        "peer",
        "query",
        "received_monotonic_s",
        "received_s",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: Mapping[str, list[str]],
        body: bytes,
        received_s: float,
        received_monotonic_s: float,
        peer: str = "",
        is_private: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.received_s = received_s
        self.received_monotonic_s = received_monotonic_s
        self.peer = peer
        self.is_private = is_private

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        values = self.headers.get(name)
        return values[0] if values else None


class HttpReply:
    """One answer. `call` is the call it answers, to be closed once the answer is written.

    `stream`: more of the body, part by part as it comes to be; the connection ends with it. The next part is
    asked for when the client has read those before; it is closed when the client is gone or the server stops.
    """

    __slots__ = ("body", "call", "content_type", "headers", "request_id", "status", "stream")

    def __init__(
        self,
        status: int,
        content_type: str,
        body: bytes,
        request_id: str = "",
        call: Call | None = None,
        headers: dict[str, str] | None = None,
        stream: AsyncIterator[bytes] | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.request_id = request_id
        self.call = call
        self.headers = {} if headers is None else headers
        self.stream = stream
