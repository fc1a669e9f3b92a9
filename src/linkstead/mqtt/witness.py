"""Looking on while devices come in: what they say of themselves and which topics they use. Passwords are not told."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from linkstead.mqtt.packets import Connect
from linkstead.registry import DeviceKey

PAYLOAD_HEAD_BYTES_MAX = 64
"""Of what is told of a payload."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a CONNECT says, without its password: only how many bytes that has, None where there is none.

    `peer` is the address it came from, `level` the protocol level: 3, 4 or 5.
    """

    peer: str
    is_secured: bool
    level: int
    client_id: str
    user_name: str | None
    password_bytes: int | None
    keep_alive_s: int
    clean_start: bool


class Use(StrEnum):
    """What a device does with a topic."""

    PUBLISH = "publishes"
    SUBSCRIBE = "subscribes"


class Witness(Protocol):
    """Who looks on. What it is told comes from anybody: it is not checked."""

    admits_strangers: bool
    """Devices that are not registered are let in, to be listened to and nothing else."""

    def see_admission(self, introduction: Introduction, key: DeviceKey) -> None:
        """A device is let in."""

    def see_refusal(self, introduction: Introduction, reason: str, key: DeviceKey | None) -> None:
        """A CONNECT is refused; `key` is the device that it names, if it names one."""

    def see_topic(self, key: DeviceKey, use: Use, topic: str) -> None:
        """A connected device uses a topic or a topic filter, allowed or not."""

    def see_stranger(self, introduction: Introduction, key: DeviceKey) -> None:
        """A device that is not registered is let in to be listened to."""

    def see_subscription(self, key: DeviceKey, topic_filter: str, qos: int) -> None:
        """It subscribes."""

    def see_message(self, key: DeviceKey, topic: str, qos: int, payload_bytes: int, payload_head: bytes) -> None:
        """It publishes; `payload_head` is what the payload begins with, `PAYLOAD_HEAD_BYTES_MAX` at most."""


def introduce(connect: Connect, peer: str, *, is_secured: bool) -> Introduction:
    """What is told of a CONNECT."""
    return Introduction(
        peer=peer,
        is_secured=is_secured,
        level=connect.level,
        client_id=connect.client_id,
        user_name=connect.user_name,
        password_bytes=None if connect.password is None else len(connect.password),
        keep_alive_s=connect.keep_alive_s,
        clean_start=connect.clean_start,
    )
