"""One request of a device in Alink, and what is wrong with one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linkstead.alink.messages import MALFORMED_METHOD, MALFORMED_PARAMS
from linkstead.registry import DeviceKey, Origin
from linkstead.sessions import Link, LinkBlocked, LinkBroken, LinkTooSmall
from linkstead.tsl.checking import Fault
from linkstead.tsl.literal import JsonValue

log = logging.getLogger(__name__)

FAULTS_LOGGED_MAX = 10
"""Places told of one message."""


class Refused(Exception):
    """A request is answered with a code other than 200; the text is its `message`, `data` what the reply has of it."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        self.message = message


class Arrival(NamedTuple):
    """A message as it came, not read yet. `path` is its topic below the device's own `/sys/{pk}/{dn}/`."""

    link: Link
    topic: str
    path: str
    payload: bytes
    received_ms: int

    @property
    def fields(self) -> dict[str, object]:
        """What the log says of it."""
        return {"device": str(self.link.key), "topic": self.topic}

    def answer(self, payload: bytes) -> None:
        """Send the reply on the topic for it."""
        try:
            self.link.send(f"{self.topic}_reply", payload)
        except (LinkBroken, LinkBlocked, LinkTooSmall):
            log.info("reply to a device not sent", extra=self.fields)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `path` is its topic below the device's own `/sys/{pk}/{dn}/`."""

    origin: Origin
    path: str
    members: Mapping[str, JsonValue]
    received_ms: int

    @property
    def key(self) -> DeviceKey:
        """The device that asks."""
        return self.origin.key

    @property
    def params(self) -> JsonValue:
        """What is asked; None when it is absent."""
        return self.members.get("params")

    @property
    def is_bare(self) -> bool:
        """True when there are no params or empty ones; some SDK sends an empty object as text."""
        return self.params in (None, "", "{}", [], {})

    def check_method(self) -> None:
        """Raises Refused(6450): `method` is there and no text. A request may leave it out: the topic says it too."""
        method = self.members.get("method")
        if method is not None and not isinstance(method, str):
            raise Refused(MALFORMED_METHOD, "method must be a text")

    def read_object(self) -> dict[str, JsonValue]:
        """The params as an object. Raises Refused(460)."""
        return read_object(self.params, "params")

    def read_list(self) -> list[JsonValue]:
        """The params as a list. Raises Refused(460)."""
        return read_list(self.params, "params")

    def note(self, faults: Sequence[Fault]) -> None:
        """Log what does not fit: codes and places, never values."""
        if faults:
            places = ", ".join(f"{fault.path} ({fault.code})" for fault in faults[:FAULTS_LOGGED_MAX])
            log.info(
                "reported data does not fit: %s",
                places,
                extra={"device": str(self.key), "topic": self.path, "faults": len(faults)},
            )


def read_object(value: object, name: str) -> dict[str, JsonValue]:
    """A value that has to be an object. Raises Refused(460)."""
    if not isinstance(value, dict):
        raise Refused(MALFORMED_PARAMS, f"{name} must be an object")
    return value


def read_list(value: object, name: str) -> list[JsonValue]:
    """A value that has to be a list. Raises Refused(460)."""
    if not isinstance(value, list):
        raise Refused(MALFORMED_PARAMS, f"{name} must be a list")
    return value
