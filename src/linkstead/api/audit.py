"""What of the requests goes into the audit log: those that change something, and those that are refused."""

import logging
from collections.abc import Mapping

from linkstead.clock import Clock, milliseconds
from linkstead.registry import AccessKey
from linkstead.registry.audit import AuditEntry, AuditLog

log = logging.getLogger(__name__)

TEXT_CHARS_MAX = 64
"""Of each text from the request; the rest is cut off."""

STRANGERS_PER_S_MAX = 100
"""Entries a second of requests whose signer is not known; what is more is counted, and said in the server's log."""

READING = ("Query", "Get", "List", "BatchGet", "BatchQuery", "BatchCheck", "Check", "Count")
"""How the names of actions begin that change nothing."""

CALLING = frozenset(
    {
        "RRpc",
        "AsyncRRpc",
        "Pub",
        "BatchPub",
        "PubBroadcast",
        "InvokeThingService",
        "InvokeThingsService",
        "SetDeviceProperty",
        "SetDevicesProperty",
    }
)
"""Actions that send to devices: the history of calls tells of them."""


def is_managing(action: str) -> bool:
    """True for an action that changes something of the account's; one of an unknown kind counts as such."""
    return action not in CALLING and not action.startswith(READING)


class Audit:
    """Makes entries and keeps them.

    Args:
        entries: where they are kept.
        clock: their time.
    """

    def __init__(self, entries: AuditLog, clock: Clock) -> None:
        self._entries = entries
        self._clock = clock
        self._second = 0
        self._strangers = 0

    def record(
        self,
        *,
        action: str,
        code: str,
        request_id: str,
        address: str,
        caller: AccessKey | None,
        claimed: AccessKey | None = None,
        claimed_id: str = "",
        parameters: Mapping[str, str] | None = None,
        product_key: str = "",
    ) -> None:
        """Keep one request.

        Args:
            caller: who signed it, or None.
            claimed: the key that it named, where there is such a key but the signature was not its own.
            claimed_id: the id of the key that it named.
            parameters: as sent; of them ProductKey, DeviceName and IotId are kept.
            product_key: where it came to be known only while the request was answered.
        """
        now_s = self._clock.time_s()
        if caller is None and not self._take_stranger(int(now_s)):
            return
        owner = caller or claimed
        given = parameters or {}
        self._entries.record_audit(
            AuditEntry(
                time_ms=milliseconds(now_s),
                account_id=owner.account_id if owner else "",
                access_key_id=owner.access_key_id if owner else _cut(claimed_id),
                user_name=owner.user_name if owner else "",
                is_verified=caller is not None,
                address=address,
                action=_cut(action),
                product_key=_cut(given.get("ProductKey", "") or product_key),
                device_name=_cut(given.get("DeviceName", "")),
                iot_id=_cut(given.get("IotId", "")),
                code=_cut(code),
                request_id=request_id,
            )
        )

    def _take_stranger(self, second: int) -> bool:
        if second != self._second:
            if self._strangers > STRANGERS_PER_S_MAX:
                log.warning(
                    "requests of unknown signers not in the audit log: %d", self._strangers - STRANGERS_PER_S_MAX
                )
            self._second = second
            self._strangers = 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_S_MAX


def _cut(text: str) -> str:
    """A text as it may be kept: short, and without what a terminal would take for a command."""
    return "".join(char if char.isprintable() else "?" for char in text[:TEXT_CHARS_MAX])
