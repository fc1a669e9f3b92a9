"""What devices of binary products send: bytes that the product's script makes requests or replies of.

Source: `device-protocol.md` 7.
"""

import logging
from collections.abc import Awaitable, Callable

from linkstead.alink import messages
from linkstead.models import ScriptError, ScriptRunner
from linkstead.sessions import Link
from linkstead.uplink.request import Arrival

log = logging.getLogger(__name__)

UP_RAW = "thing/model/up_raw"
DOWN_RAW_REPLY = "thing/model/down_raw_reply"
RAW_PATHS = (UP_RAW, DOWN_RAW_REPLY)
"""Topics below the device's own `/sys/{pk}/{dn}/`."""

METHOD_PREFIX = "thing."

Serve = Callable[[Arrival, Callable[[bytes], None]], Awaitable[None]]
"""Serves a request as if it had come on its own topic; the reply is given to the second argument."""

TakeReply = Callable[[Link, str, bytes], None]
"""Takes a reply in Alink that came on this topic."""

RefuseReply = Callable[[Link, str, bytes, int], None]
"""Takes notice of a reply that cannot be made Alink, and of the number for that."""


class RawTranslator:
    """Has the script make Alink of what came, and bytes of the reply to it.

    A script that fails is logged with its number. A request is dropped then: there is no id to answer to.

    Args:
        scripts: the products' scripts.
        take_reply, refuse_reply: for replies to asynchronous calls.
    """

    def __init__(self, scripts: ScriptRunner, take_reply: TakeReply, refuse_reply: RefuseReply) -> None:
        self._scripts = scripts
        self._take_reply = take_reply
        self._refuse_reply = refuse_reply

    async def serve(self, arrival: Arrival, serve: Serve) -> None:
        """Serve one message: a request by its method, or the reply to an asynchronous call."""
        product_key = arrival.link.key.product_key
        try:
            payload = await self._scripts.raw_to_protocol(product_key, arrival.payload)
        except ScriptError as error:
            log.warning("binary message not understood (%d): %s", error.code, error.text, extra=arrival.fields)
            if arrival.path == DOWN_RAW_REPLY:
                self._refuse_reply(arrival.link, arrival.topic, arrival.payload, error.code)
            return
        members = messages.parse_request(payload)
        method = members.get("method") if members is not None else None
        if arrival.path == DOWN_RAW_REPLY or (members is not None and "code" in members):
            self._take_reply(arrival.link, arrival.topic, payload)
        elif isinstance(method, str) and method.startswith(METHOD_PREFIX):
            replies: list[bytes] = []
            path = method.replace(".", "/")
            await serve(arrival._replace(path=path, payload=payload), replies.append)
            for reply in replies:
                await self._answer(arrival, reply)
        else:
            log.warning("binary message is no request (%d)", messages.MALFORMED_METHOD, extra=arrival.fields)

    async def _answer(self, arrival: Arrival, reply: bytes) -> None:
        try:
            raw = await self._scripts.protocol_to_raw(arrival.link.key.product_key, reply)
        except ScriptError as error:
            log.warning("no reply to a binary message (%d): %s", error.code, error.text, extra=arrival.fields)
            return
        arrival.answer(raw)
