"""Shadows as devices see them: what they publish on `/shadow/update/…` is answered on `/shadow/get/…`.

Source: `device-protocol.md` 3.5; device documentation, data flow of shadows.
"""

import logging
from collections.abc import Callable, Mapping

import msgspec

from linkstead.alink import topics
from linkstead.clock import Clock
from linkstead.registry import DeviceKey
from linkstead.sessions import Link, LinkBlocked, LinkBroken, LinkTooSmall
from linkstead.telemetry import Shadow, ShadowError, ShadowFault, ShadowMessage, TelemetryStore, read_shadow_message
from linkstead.telemetry.shadow import NULL
from linkstead.tsl.literal import JsonValue

log = logging.getLogger(__name__)

Edit = Callable[[Shadow], Shadow]
"""Makes the next shadow of the one that is there. Raises ShadowError."""

UPDATE_PREFIX = "/shadow/update/"

INTERNAL_ERROR = 500

CODES = {
    ShadowFault.NOT_JSON: 400,
    ShadowFault.NO_METHOD: 401,
    ShadowFault.NO_STATE: 402,
    ShadowFault.NO_VERSION: 403,
    ShadowFault.MALFORMED_VERSION: 403,
    ShadowFault.NO_PART: 404,
    ShadowFault.NULL_PART: 405,
    ShadowFault.MALFORMED_PART: 405,
    ShadowFault.NO_ATTRIBUTE: 405,
    ShadowFault.NULL_ATTRIBUTE: 405,
    ShadowFault.UNKNOWN_METHOD: 406,
    ShadowFault.EMPTY: 407,
    ShadowFault.TOO_MANY_ATTRIBUTES: 408,
    ShadowFault.TOO_LARGE: 408,
    ShadowFault.CONFLICT: 409,
}
"""Source: `device-protocol.md` 3.5, which has no code of its own for a message that is too large."""


class ShadowDesk:
    """Serves what devices ask of their shadows.

    Args:
        telemetry: where the shadows are.
        clock: the times in them.
    """

    def __init__(self, telemetry: TelemetryStore, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock

    async def serve(self, link: Link, payload: bytes) -> None:
        """Serve one message, and answer it whatever becomes of it."""
        time_s = int(self._clock.time_s())
        try:
            reply = await self._take(link.key, payload, time_s)
        except ShadowError as error:
            log.info("shadow message refused (%d)", CODES[error.fault], extra={"device": str(link.key)})
            reply = _fail(CODES[error.fault], str(error))
        except Exception:
            # A fault of ours must not leave the device waiting.
            log.exception("shadow message failed", extra={"device": str(link.key)})
            reply = _fail(INTERNAL_ERROR, "internal error")
        try:
            link.send(
                topics.shadow_get(link.key), msgspec.json.encode({"method": "reply", **reply, "timestamp": time_s})
            )
        except (LinkBroken, LinkBlocked, LinkTooSmall):
            log.info("reply to a device not sent", extra={"device": str(link.key)})

    async def _take(self, key: DeviceKey, payload: bytes, time_s: int) -> dict[str, object]:
        message = read_shadow_message(payload)
        match message.method:
            case "get":
                shadow = await self._telemetry.find_shadow(key) or Shadow()
                return {"payload": {"status": "success", **shadow.describe()}, "version": shadow.version}
            case "update":
                edit = _read_update(message, time_s)
            case "delete":
                edit = _read_delete(message, time_s)
            case _:
                raise ShadowError(ShadowFault.UNKNOWN_METHOD)
        changed = await self._telemetry.change_shadow(key, edit)
        if changed is None:
            return _fail(INTERNAL_ERROR, "the device is gone")
        return {"payload": {"status": "success", "version": changed.version}}


def _fail(code: int, text: str) -> dict[str, object]:
    return {"payload": {"status": "error", "content": {"errorcode": str(code), "errormessage": text}}}


def _read_update(message: ShadowMessage, time_s: int) -> Edit:
    """What an update asks for: new values in `reported`; `"desired":"null"`, alone or beside it, wants nothing more."""
    is_done = message.state.get("desired") == NULL
    attributes = None if is_done and "reported" not in message.state else message.read_attributes("reported")
    version = message.version
    if "desired" in message.state and not is_done:
        # What is wanted of it is for apps to say.
        raise ShadowError(ShadowFault.MALFORMED_PART)

    def edit(shadow: Shadow) -> Shadow:
        shadow = shadow.take_version(version, time_s)
        if is_done:
            shadow = shadow.forget_desired()
        return shadow.report(attributes) if attributes is not None else shadow

    return edit


def _read_delete(message: ShadowMessage, time_s: int) -> Edit:
    """What a delete asks for: `"reported":"null"` all of it, `"reported":{"color":"null"}` some."""
    names: Mapping[str, JsonValue] | None = None
    if message.state.get("reported") != NULL:
        names = message.read_attributes("reported")
        if any(value != NULL for value in names.values()):
            raise ShadowError(ShadowFault.NULL_ATTRIBUTE)
    version = message.version
    return lambda shadow: shadow.take_version(version, time_s).forget_reported(names)
