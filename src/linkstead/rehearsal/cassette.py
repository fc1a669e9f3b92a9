"""Cassettes: calls and how devices answered them, recorded from what the inspection API shows, without secrets. Pure.

What is recorded names no account, key, product, node or time, so that it can be kept beside the tests that replay it.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from linkstead.registry import DeviceKey
from linkstead.rehearsal.script import REMOVED, Answer, Expectation, Request, read_request

FORMAT: Final = 1
ENTRIES_MAX: Final = 500
"""Calls on one cassette."""

SECRET_NAMES: Final = re.compile(
    r"secret|passw|passphrase|token|credential|signature|private.?key|access.?key|api.?key|authorization|^pin$|^psk$",
    re.IGNORECASE,
)
"""Members of JSON whose values are not recorded."""


class CassetteError(ValueError):
    """Not a cassette; the text says why."""


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One call.

    Args:
        device_name: whom it went to.
        call, given, given_base64: see `Expectation`.
        reply: what the device answered; None: nothing.
        after_ms: how long the device took.
    """

    device_name: str
    call: str
    given: dict[str, Any] | None = None
    given_base64: str | None = None
    reply: Answer | None = None
    after_ms: int = 0


class Cassette(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Calls in the order they came."""

    linkstead_cassette: int = FORMAT
    calls: list[Entry] = []


def read_cassette(data: bytes) -> Cassette:
    """Read a cassette. Raises CassetteError."""
    try:
        cassette = msgspec.json.decode(data, type=Cassette)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CassetteError(f"not a cassette: {error}") from None
    if cassette.linkstead_cassette != FORMAT:
        raise CassetteError(f"a cassette of format {cassette.linkstead_cassette}; this version reads {FORMAT}")
    if len(cassette.calls) > ENTRIES_MAX:
        raise CassetteError(f"a cassette has at most {ENTRIES_MAX} calls, not {len(cassette.calls)}")
    return cassette


def write_cassette(cassette: Cassette) -> bytes:
    """As a file: JSON to be read by people too."""
    return msgspec.json.format(msgspec.json.encode(cassette), indent=2) + b"\n"


def record(views: Iterable[Mapping[str, Any]], remove: Sequence[str] = ()) -> Cassette:
    """Make a cassette of calls that went to a device.

    Args:
        views: whole calls, oldest first, as the inspection API gives them.
        remove: texts that are removed wherever they stand, beside what has the name of a secret.
    """
    entries = (_try_to_record(view, remove) for view in views)
    return Cassette(calls=[entry for entry in entries if entry is not None][-ENTRIES_MAX:])


def _try_to_record(view: Mapping[str, Any], remove: Sequence[str]) -> Entry | None:
    try:
        return _record_call(view, remove)
    except RecursionError:
        # Secrets cannot be looked for so deep.
        return None


def _record_call(view: Mapping[str, Any], remove: Sequence[str]) -> Entry | None:
    offsets = {moment["stage"]: float(moment["offset_ms"]) for moment in view["timeline"]}
    if "written" not in offsets or not view["device_name"] or view["request"]["truncated"]:
        return None
    request = _find_request(view)
    if request is None:
        return None
    entry = Entry(device_name=view["device_name"], call=request.name)
    if request.message is not None:
        params = clean(request.params, remove)
        entry.given = params if isinstance(params, dict) else None
    else:
        payload = clean_bytes(request.payload, remove)
        # What was changed cannot be compared.
        entry.given_base64 = _encode(payload) if payload == request.payload else None
    if "answered" in offsets and not view["answer"]["truncated"]:
        entry.reply = _record_answer(base64.b64decode(view["answer"]["base64"]), request, remove)
        entry.after_ms = max(0, round(offsets["answered"] - offsets["written"]))
    return entry


def _find_request(view: Mapping[str, Any]) -> Request | None:
    """The call as its device saw it; of a service that is its name, of an RRpc its custom topic."""
    payload = base64.b64decode(view["request"]["base64"])
    key = DeviceKey(view["product_key"], view["device_name"])
    target = str(view["target"])
    if target.startswith("/"):
        return read_request(key, f"/ext/rrpc/1{target}", payload) if view["action"] == "RRpc" else None
    return read_request(key, f"/sys/{key.product_key}/{key.device_name}/rrpc/request/1", payload)


def _record_answer(payload: bytes, request: Request, remove: Sequence[str]) -> Answer:
    if request.message is not None:
        try:
            reply = msgspec.json.decode(payload, type=dict[str, Any])
            data = clean(reply.get("data") or {}, remove)
            code, message = reply["code"], reply.get("message", "")
            if type(code) is int and isinstance(message, str) and isinstance(data, dict):
                return Answer(data=data, code=code, message=_remove(message, remove))
        except (msgspec.DecodeError, KeyError):
            # It is no Alink reply: as it came.
            pass
    return Answer(payload_base64=_encode(clean_bytes(payload, remove)))


def clean(value: Any, remove: Sequence[str] = ()) -> Any:
    """A JSON value without secrets."""
    match value:
        case dict():
            return {
                name: REMOVED if SECRET_NAMES.search(str(name)) else clean(each, remove) for name, each in value.items()
            }
        case list():
            return [clean(each, remove) for each in value]
        case str():
            return _remove(value, remove)
    return value


def clean_bytes(payload: bytes, remove: Sequence[str] = ()) -> bytes:
    """A payload without secrets: JSON by the names of its members, anything by the texts that are to be removed.

    Raises:
        RecursionError: it is nested too deep to be looked through.
    """
    try:
        value = msgspec.json.decode(payload)
        if isinstance(value, dict | list):
            cleaned = clean(value, remove)
            return payload if cleaned == value else bytes(msgspec.json.encode(cleaned))
    except msgspec.DecodeError:
        # It is no JSON: as text.
        pass
    for text in remove:
        payload = payload.replace(text.encode(), REMOVED.encode())
    return payload


def _remove(text: str, remove: Sequence[str]) -> str:
    for each in remove:
        text = text.replace(each, REMOVED)
    return text


def _encode(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def replay(cassette: Cassette, device_name: str, recorded_as: str, product_key: str) -> list[Expectation]:
    """What a device expects and answers so that it is as on the cassette.

    Each recorded call is answered as often as it was recorded, in that order; none has to come, and no other may.

    Args:
        device_name, product_key: who replays.
        recorded_as: the name of the device on the cassette.

    Raises:
        CassetteError: there is nothing of that device on it.
    """
    entries = [entry for entry in cassette.calls if entry.device_name == recorded_as]
    if not entries:
        raise CassetteError(f"there is nothing of {recorded_as} on the cassette")
    expectations = [
        Expectation(
            device_name=device_name,
            product_key=product_key,
            call=entry.call,
            given=entry.given,
            given_base64=entry.given_base64,
            reply=entry.reply,
            no_reply=entry.reply is None,
            after_ms=entry.after_ms,
            optional=True,
        )
        for entry in entries
    ]
    others = Expectation(device_name=device_name, product_key=product_key, no_reply=True, times=0)
    return [*expectations, others]
