"""The messages of a device as they pass, for as long as somebody looks."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import msgspec

from linkstead.api.authorization import INSPECT_CALLS, authorize_products
from linkstead.api.exchange import HttpReply
from linkstead.console.desk import VIEWERS_MAX
from linkstead.console.drawing import Shown, show_payload
from linkstead.console.elsewhere import Elsewhere, MessagesAsked, SeenMessages
from linkstead.console.listing import HEARTBEAT, watch, write_event
from linkstead.console.report import remove_secrets, remove_secrets_from_text
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit
from linkstead.registry import DeviceKey
from linkstead.sessions import MESSAGES_WAITING_MAX, Tap, TappedMessage

PREVIEW_CHARS = 80


async def follow_messages(visit: Visit) -> HttpReply:
    """What the device publishes and what is sent to it, by server-sent events.

    For those who may see the device and its calls: what is sent and answered in a call is among it.
    """
    desk = visit.desk
    if desk.viewers >= VIEWERS_MAX:
        raise Refused(503, "error.viewers")
    key = DeviceKey(visit.names["product"], visit.names["device"])
    await visit.ask("QueryDeviceDetail", ProductKey=key.product_key, DeviceName=key.device_name)
    await authorize_products(desk.registry, visit.key, INSPECT_CALLS, key.product_key)
    return visit.events(_follow(visit, key))


async def _follow(visit: Visit, key: DeviceKey) -> AsyncIterator[bytes]:
    assert visit.viewer is not None
    sessions = visit.desk.sessions
    # It is connected to one node at a time, and to another one in a moment.
    others = Elsewhere(visit.desk, MessagesAsked(*key), SeenMessages)
    tap = sessions.tap(key)
    try:
        yield b"retry: 2000\n\n"
        with others:
            async with aclosing(watch(visit.desk, visit.viewer)) as ticks:  # type: ignore[type-var]
                async for is_due in ticks:
                    messages, dropped = _take(tap, others)
                    if messages:
                        shown = [(each, show_openly(each.payload, each.payload_bytes)) for each in messages]
                        rows = visit.render("message_row.html", messages=shown)
                        yield write_event("rows", f"{dropped}\n{rows}")
                    elif is_due:
                        yield HEARTBEAT
    finally:
        sessions.untap(tap)


def _take(tap: Tap, others: Elsewhere[SeenMessages]) -> tuple[list[TappedMessage], int]:
    """The latest messages at all nodes, latest first, and how many more there were."""
    messages, dropped = tap.take()
    for seen in others.take():
        messages += seen.messages
        dropped += seen.dropped
    messages.sort(key=lambda message: message.time_ms)
    over = max(0, len(messages) - MESSAGES_WAITING_MAX)
    return messages[over:][::-1], dropped + over


def show_openly(kept: bytes, size_bytes: int) -> tuple[Shown, str]:
    """A payload without what its names say is secret, and a line to know it by."""
    shown = show_payload(_remove_secrets(kept), size_bytes)
    shown = replace(shown, is_cut=size_bytes > len(kept))
    line = shown.text if shown.text is not None else shown.hex[8:55].strip()
    return shown, " ".join(line.split())[:PREVIEW_CHARS]


def _remove_secrets(kept: bytes) -> bytes:
    try:
        value = msgspec.json.decode(kept)
        cleared = remove_secrets(value)
        return kept if cleared == value else msgspec.json.encode(cleared)
    except (ValueError, RecursionError):
        # Names are ASCII, whatever stands around them.
        return remove_secrets_from_text(kept.decode("latin-1")).encode("latin-1")


ROUTES = (Route("GET", "/devices/{product}/{device}/messages", follow_messages),)
