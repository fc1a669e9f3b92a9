"""Faults that are planted on command, as rules: what goes wrong, for whom, and which of the times.

Pure: chance follows from a rule's own seed, and nothing here reads a clock.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from linkstead.registry import DeviceKey

FAULTS_MAX: Final = 100
"""Rules at a time."""

DELAY_MS_MAX: Final = 600_000
NTH_MAX: Final = 1_000_000
BYTES_PER_S_MAX: Final = 1_000_000
AFTER_BYTES_MAX: Final = 1_000_000
SEED_MAX: Final = 2**53
TEXT_CHARS_MAX: Final = 128
"""Of a name in a rule."""

DELAY_MS_DEFAULT: Final = 1_000
BYTES_PER_S_DEFAULT: Final = 0


class Occasion(StrEnum):
    """What a rule counts, and acts on."""

    CALL = "call"
    MESSAGE = "message"
    CONNECT = "connect"


class Kind(StrEnum):
    """What goes wrong. The moment in a call's timeline has the same name with `planted-` in front."""

    DELAY_REQUEST = "delay-request"
    DROP_REQUEST = "drop-request"
    DUPLICATE_REQUEST = "duplicate-request"
    REORDER_REQUESTS = "reorder-requests"
    DELAY_ANSWER = "delay-answer"
    DROP_ANSWER = "drop-answer"
    DUPLICATE_ANSWER = "duplicate-answer"
    REORDER_ANSWERS = "reorder-answers"
    WRONG_MESSAGE_ID = "wrong-message-id"
    MALFORMED_ANSWER = "malformed-answer"
    SLOW_READER = "slow-reader"
    CUT = "cut"
    HALF_OPEN = "half-open"
    REFUSE_CONNECT = "refuse-connect"
    THROTTLE = "throttle"
    UNKNOWN = "unknown"

    @property
    def occasion(self) -> Occasion:
        """What it counts: calls made, messages of calls on their way to their device, or CONNECTs."""
        if self in (Kind.THROTTLE, Kind.UNKNOWN):
            return Occasion.CALL
        return Occasion.CONNECT if self is Kind.REFUSE_CONNECT else Occasion.MESSAGE


OF_ANSWERS: Final = frozenset(
    {
        Kind.DELAY_ANSWER,
        Kind.DROP_ANSWER,
        Kind.DUPLICATE_ANSWER,
        Kind.REORDER_ANSWERS,
        Kind.WRONG_MESSAGE_ID,
        Kind.MALFORMED_ANSWER,
    }
)
"""Kinds that are decided when the message leaves, and act when its answer comes."""

OF_CONNECTIONS: Final = frozenset({Kind.SLOW_READER, Kind.CUT, Kind.HALF_OPEN})
"""Kinds that can act at once, on devices that are connected."""

SYNCHRONOUS_ACTIONS: Final = frozenset({"RRpc", "InvokeThingService"})
"""Actions that can end UNKNOWN."""


class FaultError(ValueError):
    """A fault cannot be planted so; the text names the field and the rule."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault as it is asked for.

    Args:
        kind: what goes wrong.
        product_key, device_name: whose; empty means any.
        action: the action of the call, as on the wire; empty means any.
        target: the service, the property set (`property/set`) or the custom topic; empty means any.
        nth: the first occasion that it may act on, counted from 1 and from when it was planted.
        every: from there every so many.
        times: how often at most; 0 means without end. Once where `nth` is given and this is not.
        probability: whether it does, on each of these, drawn from `seed`.
        delay_ms: of delays: how long. Of what is reordered: how long it is held at most.
        bytes_per_s: of a slow reader; 0 reads nothing.
        clean: a connection is cut as if the device had said goodbye.
        after_bytes: a connection is cut after so many bytes of the message have left, those around it counted; 0 before
            any.
        at_once: on the devices that are connected now, and on no call.
    """

    kind: Kind
    product_key: str = ""
    device_name: str = ""
    action: str = ""
    target: str = ""
    nth: int | None = None
    every: int = 1
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    delay_ms: int = DELAY_MS_DEFAULT
    bytes_per_s: int = BYTES_PER_S_DEFAULT
    clean: bool = False
    after_bytes: int = 0
    at_once: bool = False

    def check(self) -> None:
        """Raises FaultError for what no rule can mean."""
        _check_range("nth", self.nth, 1, NTH_MAX)
        _check_range("every", self.every, 1, NTH_MAX)
        _check_range("times", self.times, 0, NTH_MAX)
        _check_range("delay_ms", self.delay_ms, 0, DELAY_MS_MAX)
        _check_range("bytes_per_s", self.bytes_per_s, 0, BYTES_PER_S_MAX)
        _check_range("after_bytes", self.after_bytes, 0, AFTER_BYTES_MAX)
        _check_range("seed", self.seed, 0, SEED_MAX)
        if not 0.0 < self.probability <= 1.0:
            raise FaultError("probability must be more than 0 and at most 1")
        for name in ("product_key", "device_name", "action", "target"):
            if len(getattr(self, name)) > TEXT_CHARS_MAX:
                raise FaultError(f"{name} has at most {TEXT_CHARS_MAX} characters")
        if self.at_once and self.kind not in OF_CONNECTIONS:
            raise FaultError(f"at_once is for {', '.join(sorted(OF_CONNECTIONS))}")
        if self.at_once and (self.action or self.target):
            raise FaultError("at_once acts on no call: it has no action and no target")
        if self.after_bytes and (self.kind is not Kind.CUT or self.clean or self.at_once):
            raise FaultError("after_bytes is for cut by a message, without a goodbye: not clean, not at_once")
        if self.kind is Kind.REFUSE_CONNECT and (self.action or self.target):
            raise FaultError("refuse-connect acts on no call: it has no action and no target")
        if self.kind is Kind.UNKNOWN and self.action and self.action not in SYNCHRONOUS_ACTIONS:
            raise FaultError(f"unknown is for {' and '.join(sorted(SYNCHRONOUS_ACTIONS))}")

    @property
    def times_max(self) -> int:
        """How often it acts at most; 0 without end."""
        if self.times is not None:
            return self.times
        return 1 if self.nth is not None else 0

    def covers(self, key: DeviceKey) -> bool:
        """True for a device that it is meant for."""
        return self.product_key in ("", key.product_key) and self.device_name in ("", key.device_name)


def read_fault(fields: object) -> Fault:
    """A fault from what is said of it in JSON, an object. Raises FaultError."""
    if not isinstance(fields, Mapping):
        raise FaultError("a fault is an object")
    if fields.get("kind") not in list(Kind):
        raise FaultError(f"kind must be one of {', '.join(Kind)}")
    try:
        return msgspec.convert(fields, Fault)
    except msgspec.ValidationError as error:
        raise FaultError(str(error)) from None


def _check_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise FaultError(f"{name} must be a whole number from {low} to {high}")


class Rule:
    """A fault that is planted, and how often it was met.

    Attributes:
        number: names it.
        account_id: whose devices it is for.
        seen: occasions within its scope so far.
        acted: those on which it acted.
    """

    __slots__ = ("_draw", "account_id", "acted", "fault", "number", "seen")

    def __init__(self, number: int, account_id: str, fault: Fault) -> None:
        self.number = number
        self.account_id = account_id
        self.fault = fault
        self.seen = 0
        self.acted = 0
        self._draw = random.Random(fault.seed).random

    def meet(self, account_id: str, key: DeviceKey, action: str, target: str) -> bool:
        """Count an occasion where it is within the scope; True where the fault is to act on it."""
        fault = self.fault
        if fault.kind is Kind.UNKNOWN and action not in SYNCHRONOUS_ACTIONS:
            return False
        if fault.at_once or account_id != self.account_id or not fault.covers(key):
            return False
        if fault.action not in ("", action) or fault.target not in ("", target):
            return False
        self.seen += 1
        first = fault.nth or 1
        if self.seen < first or (self.seen - first) % fault.every or self.is_spent:
            return False
        if fault.probability < 1.0 and self._draw() >= fault.probability:
            return False
        self.acted += 1
        return True

    @property
    def is_spent(self) -> bool:
        """True when it acted as often as it may."""
        return 0 < self.fault.times_max <= self.acted


class RuleBook:
    """The faults that are planted, in the order they came."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, account_id: str, fault: Fault) -> Rule:
        """Plant a fault. Raises FaultError: it makes no sense, or there are `FAULTS_MAX`."""
        fault.check()
        if len(self._rules) >= FAULTS_MAX:
            raise FaultError(f"there are {FAULTS_MAX} faults already: remove some first")
        self._last += 1
        rule = self._rules[self._last] = Rule(self._last, account_id, fault)
        return rule

    def list_of(self, account_id: str) -> list[Rule]:
        """An account's faults, oldest first."""
        return [rule for rule in self._rules.values() if rule.account_id == account_id]

    def remove(self, account_id: str, number: int) -> Rule | None:
        """Take a fault away; None where the account has none of that number."""
        rule = self._rules.get(number)
        if rule is None or rule.account_id != account_id:
            return None
        return self._rules.pop(number)

    def find(
        self, occasion: Occasion, account_id: str, key: DeviceKey, action: str = "", target: str = ""
    ) -> list[Rule]:
        """The faults that act on an occasion, oldest first; it is counted by each within whose scope it is."""
        return [
            rule
            for rule in self._rules.values()
            if rule.fault.kind.occasion is occasion and rule.meet(account_id, key, action, target)
        ]

    def has(self, occasion: Occasion) -> bool:
        """True while a fault may act on occasions of this sort."""
        return any(rule.fault.kind.occasion is occasion and not rule.fault.at_once for rule in self._rules.values())
