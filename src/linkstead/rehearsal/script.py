"""What a device of a test is to expect, and what it is to answer: pure."""

import base64
import binascii
from typing import Any, Final, NamedTuple

import msgspec

from linkstead.alink import topics
from linkstead.alink.services import CODE_MAX, CODE_SUCCESS
from linkstead.registry import DeviceKey
from linkstead.tsl.document import shorten

EXPECTATIONS_MAX: Final = 1_000
"""Of one server at a time."""

TIMES_MAX: Final = 1_000_000
AFTER_MS_MAX: Final = 7 * 24 * 3600 * 1000
NAME_CHARS_MAX: Final = 256

RRPC: Final = "rrpc"
"""The name of a call whose payload is anything, on the topic that every device has."""

REMOVED: Final = "(removed)"
"""In place of what was not recorded; as an argument that is given it stands for any."""

METHOD_PREFIX = "thing.service."


class ExpectationError(ValueError):
    """An expectation makes no sense; the text names the field and the rule."""


class Request(NamedTuple):
    """A call as it came to a device.

    Args:
        name: the service, `property/set`, the custom topic of an RRpc, or `RRPC`.
        reply_topic: where the answer goes.
        payload: as it came.
        message: the Alink request; None for bytes that are none.
    """

    name: str
    reply_topic: str
    payload: bytes
    message: dict[str, Any] | None

    @property
    def params(self) -> Any:
        """What a service is called with, or the properties that are set."""
        return self.message.get("params", {}) if self.message is not None else None


class Message(NamedTuple):
    """A message that wants no answer, as it came to a device."""

    topic: str
    payload: bytes

    @property
    def params(self) -> Any:
        """Its JSON, None where it is none."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.DecodeError, RecursionError):
            return None


def read_request(key: DeviceKey, topic: str, payload: bytes) -> Request | None:
    """A message as a call; None for one that wants no answer. Source: `device-protocol.md` 4 and 5."""
    own = f"/sys/{key.product_key}/{key.device_name}/"
    message = _read_message(payload)
    if topic.startswith("/ext/rrpc/"):
        tail = "/" + topic.split("/", 4)[-1]
        service = tail.removeprefix(own + "thing/service/")
        name = service if service != tail and message is not None else tail
        return Request(name, topic, payload, message if service != tail else None)
    if topic.startswith(own + "rrpc/request/"):
        reply_topic = topic.replace("/rrpc/request/", "/rrpc/response/", 1)
        if message is not None:
            name = str(message["method"]).removeprefix(METHOD_PREFIX)
            return Request("property/set" if name == "property.set" else name, reply_topic, payload, message)
        return Request(RRPC, reply_topic, payload, None)
    name = topic.removeprefix(own + "thing/service/")
    if name != topic and not name.endswith("_reply") and message is not None:
        return Request(name, topic + "_reply", payload, message)
    return None


def _read_message(payload: bytes) -> dict[str, Any] | None:
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None
    is_request = isinstance(message, dict) and str(message.get("method", "")).startswith(METHOD_PREFIX)
    return message if is_request else None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a device answers: an Alink reply with `code`, `data` and `message`, or bytes in `payload_base64`."""

    data: dict[str, Any] = {}
    code: int = CODE_SUCCESS
    message: str = ""
    payload_base64: str | None = None

    def check(self) -> None:
        """Raises ExpectationError."""
        if abs(self.code) > CODE_MAX:
            raise ExpectationError(f"code must be a whole number from {-CODE_MAX} to {CODE_MAX}")
        try:
            base64.b64decode(self.payload_base64 or "", validate=True)
        except binascii.Error:
            raise ExpectationError("payload_base64 must be Base64") from None

    def write(self, request: Request) -> bytes:
        """The bytes of the answer to a request."""
        if self.payload_base64 is not None:
            return base64.b64decode(self.payload_base64)
        alink_id = request.message.get("id", "") if request.message is not None else ""
        reply = {"id": alink_id, "code": self.code, "data": self.data}
        return msgspec.json.encode(reply | {"message": self.message} if self.message else reply)


class Expectation(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A call that is to come to a device, how often, and what the device answers; or a message that is no call.

    Args:
        device_name, product_key: which device; the product matters where several have a device of that name.
        call: see `Request.name`; empty means any.
        topic: of a message in place of a call: a topic or a filter, in full or, without the "/" before it, as it
            follows `/ProductKey/DeviceName/`. Empty: it is a call.
        given: the params that it has to come with, of a message its JSON; None means any.
        given_base64: likewise for bytes.
        reply: what is answered; None leaves it to the device's model.
        no_reply: nothing is answered.
        after_ms: how long the device takes, by the server's clock.
        times: how often it has to come; None means as often as it comes.
        optional: it may come less often, too.
    """

    device_name: str
    product_key: str = ""
    call: str = ""
    topic: str = ""
    given: dict[str, Any] | None = None
    given_base64: str | None = None
    reply: Answer | None = None
    no_reply: bool = False
    after_ms: int = 0
    times: int | None = 1
    optional: bool = False

    def check(self) -> None:
        """Raises ExpectationError."""
        if not 0 <= self.after_ms <= AFTER_MS_MAX:
            raise ExpectationError(f"after_ms must be a whole number from 0 to {AFTER_MS_MAX}")
        if self.times is not None and not 0 <= self.times <= TIMES_MAX:
            raise ExpectationError(f"times must be a whole number from 0 to {TIMES_MAX}, or null for any")
        if self.topic and (self.call or self.reply is not None or self.no_reply or self.after_ms):
            raise ExpectationError("topic is of a message, and call, reply, no_reply and after_ms of a call")
        if max(map(len, (self.call, self.topic))) > NAME_CHARS_MAX or len(self.device_name) > NAME_CHARS_MAX:
            raise ExpectationError(f"names have at most {NAME_CHARS_MAX} characters")
        if self.reply is not None:
            if self.no_reply:
                raise ExpectationError("reply and no_reply exclude each other")
            self.reply.check()
        try:
            base64.b64decode(self.given_base64 or "", validate=True)
        except binascii.Error:
            raise ExpectationError("given_base64 must be Base64") from None


class Expected:
    """An expectation, and what came.

    Attributes:
        number: names it.
        seen: how often it was met.
        surplus: calls of its sort that came when it had been met often enough.
    """

    def __init__(self, number: int, key: DeviceKey, expectation: Expectation) -> None:
        self.number = number
        self.key = key
        self.expectation = expectation
        self.seen = 0
        self.surplus = 0

    @property
    def topic_filter(self) -> str:
        """Of the messages that are expected, in full; empty for a call."""
        topic = self.expectation.topic
        return (
            topic if not topic or topic.startswith("/") else f"/{self.key.product_key}/{self.key.device_name}/{topic}"
        )

    def matches(self, key: DeviceKey, request: Request | Message) -> bool:
        """True for a call or message of its sort."""
        expectation = self.expectation
        if key != self.key or isinstance(request, Message) != bool(expectation.topic):
            return False
        if isinstance(request, Message):
            if not topics.matches(self.topic_filter, request.topic):
                return False
        elif expectation.call not in ("", request.name):
            return False
        if expectation.given is not None and not _fits(expectation.given, request.params):
            return False
        given = expectation.given_base64
        return given is None or base64.b64decode(given) == request.payload

    @property
    def is_open(self) -> bool:
        """True while it may be met."""
        return self.expectation.times is None or self.seen < self.expectation.times

    @property
    def waits(self) -> bool:
        """True while a call that has to come has not."""
        expectation = self.expectation
        return expectation.times is not None and not expectation.optional and self.seen < expectation.times

    def describe_fault(self) -> str:
        """What is wrong in a sentence; empty when nothing is."""
        times = self.expectation.times
        if times is None or not (self.waits or self.surplus):
            return ""
        name = self.topic_filter or self.expectation.call or "any call"
        given = self.expectation.given
        shown = f" with {shorten(msgspec.json.encode(given).decode())}" if given is not None else ""
        came = self.seen + self.surplus
        return f"{self.key.device_name}: {name}{shown} was expected {_count(times)} and came {_count(came)}"


def _fits(given: Any, came: Any) -> bool:
    """True for the same JSON, up to what was removed."""
    if given == REMOVED:
        return True
    if isinstance(given, dict) and isinstance(came, dict):
        return given.keys() == came.keys() and all(_fits(each, came[name]) for name, each in given.items())
    if isinstance(given, list) and isinstance(came, list):
        return len(given) == len(came) and all(map(_fits, given, came))
    return bool(given == came)


def _count(times: int) -> str:
    return {0: "never", 1: "once"}.get(times, f"{times} times")


class Script:
    """The expectations of one server's devices."""

    def __init__(self) -> None:
        self.expected: list[Expected] = []
        self._last = 0

    def add(self, key: DeviceKey, expectation: Expectation) -> Expected:
        """Expect something. Raises ExpectationError: it makes no sense, or there are `EXPECTATIONS_MAX`."""
        expectation.check()
        if len(self.expected) >= EXPECTATIONS_MAX:
            raise ExpectationError(f"there are {EXPECTATIONS_MAX} expectations already: reset first")
        self._last += 1
        found = Expected(self._last, key, expectation)
        self.expected.append(found)
        return found

    def meet(self, key: DeviceKey, request: Request | Message) -> Expected | None:
        """Count it: with the first expectation that is open, or as one too many. None where nobody expected it."""
        of_its_sort = [each for each in self.expected if each.matches(key, request)]
        for each in of_its_sort:
            if each.is_open:
                each.seen += 1
                return each
        if of_its_sort:
            of_its_sort[-1].surplus += 1
            return of_its_sort[-1]
        return None

    def remove(self, expected: Expected) -> None:
        """Take one back."""
        self.expected.remove(expected)

    def list_topics(self, key: DeviceKey) -> list[str]:
        """What a device has to subscribe to, each once."""
        return list(dict.fromkeys(each.topic_filter for each in self.expected if each.key == key and each.topic_filter))

    def find_faults(self) -> list[str]:
        """What is wrong, a sentence each."""
        return [fault for fault in (each.describe_fault() for each in self.expected) if fault]

    def clear(self) -> None:
        """Expect nothing."""
        self.expected.clear()
