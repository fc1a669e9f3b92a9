"""What is examined, and what a step of the examination found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from linkstead.doctor.databases import Database
from linkstead.doctor.faults import Fault

PORTS = ("http", "https", "mqtt", "mqtts", "amqp", "amqps")
"""The ports of a server, by the names of its options; those that end in s speak TLS."""


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAULT = "fault"
    NOT_TRIED = "not-tried"
    NOT_USED = "not-used"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    step: see `TITLES`; the steps of a port begin with its name, as in `mqtt.port`.
    note: what was seen, in signs rather than words; for `NOT_TRIED` the step or the option that it waits for.
    facts: what the texts of the fault are filled with; never a secret.
    call: the record of the call that the step made, as the inspection API gives it.
    """

    step: str
    state: State
    note: str = ""
    fault: Fault | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined, and with which credentials; what is empty is left out.

    Args:
        ports: host and port by one of `PORTS`.
        ca: file with the certificates to trust, PEM.
        client_id, mqtt_password: what a device sends in its CONNECT, to be judged.
        keep_alive_s: seconds, what it asks for.
        topic: a custom topic that the device is to be reached on.
        rrpc_topic: the Topic of an RRpc.
        service: identifier of a service.
        is_taking_over: connect with the device's secret even while the device is connected, which ends that connection.
        database: the server's.
        master_key_file, tls_cert, tls_key: the files of the server, on this machine.
        wait_s: seconds that a peer may take to answer.
    """

    ports: Mapping[str, tuple[str, int]]
    ca: str | None = None
    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    instance_id: str = ""
    product_key: str = ""
    device_name: str = ""
    device_secret: str = field(default="", repr=False)
    client_id: str = ""
    mqtt_password: str = field(default="", repr=False)
    keep_alive_s: int = 60
    topic: str = ""
    rrpc_topic: str = ""
    service: str = ""
    consumer_group_id: str = ""
    is_taking_over: bool = False
    database: Database | None = None
    master_key_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    wait_s: float = 5.0


class FaultFound(Exception):
    """The step found a fault; the facts fill its texts. call: the record of a call that went wrong."""

    def __init__(self, fault: Fault, **facts: object) -> None:
        super().__init__(fault)
        self.fault = fault
        self.call: Mapping[str, Any] | None = None
        self.facts = {name: str(value) for name, value in facts.items()}


class NotTried(Exception):
    """The step cannot be made; the argument is the option that is missing, or the step that it waits for."""


class NotUsed(Exception):
    """There is nothing to look at."""
