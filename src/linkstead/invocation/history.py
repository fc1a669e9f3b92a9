"""Which calls to list, and the ports to where calls stay: a node keeps the latest at hand, the store every one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from linkstead.invocation.call import Call
from linkstead.invocation.record import Diagnosis, Verdict
from linkstead.registry import DeviceKey
from linkstead.sessions import SavedMessage
from linkstead.telemetry import Span


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls to list. Empty text and None mean any; `before_ms` is exclusive and about `received`."""

    account_id: str
    product_key: str = ""
    device_name: str = ""
    action: str = ""
    verdict: Verdict | None = None
    diagnosis: Diagnosis | None = None
    before_ms: int | None = None
    limit: int = 50

    def matches(self, call: Call) -> bool:
        """True for a call that belongs in the listing."""
        return (
            call.account_id == self.account_id
            and (not self.product_key or (call.key is not None and call.key.product_key == self.product_key))
            and (not self.device_name or (call.key is not None and call.key.device_name == self.device_name))
            and (not self.action or call.action == self.action)
            and (self.verdict is None or call.verdict is self.verdict)
            and (self.diagnosis is None or call.diagnosis is self.diagnosis)
            and (self.before_ms is None or call.received_ms < self.before_ms)
        )


class CallSink(Protocol):
    """Where ended calls go to stay."""

    def record_call(self, call: Call) -> None:
        """Take a call that ended, or one taken before that has new evidence; returns at once."""


class CallStore(CallSink, Protocol):
    """Where asynchronous calls are kept before they are acknowledged, and found when their answer comes."""

    async def keep_calls(self, calls: Sequence[Call], messages: Sequence[SavedMessage]) -> list[int]:
        """Keep calls and the messages that carry them, all or none; on the disk when this returns.

        Returns the row ids of the messages. Several callers at once share one transaction. Raises RouterOverloaded: too
        many wait for the disk already.
        """

    async def find_open_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        """An asynchronous call to a device that has not ended, by the id its message carries."""

    async def find_ended_call(self, key: DeviceKey, alink_id: int) -> Call | None:
        """The latest asynchronous call to a device that has ended, likewise."""

    async def list_open_calls(self, key: DeviceKey, target: str | None, limit: int) -> list[Call]:
        """Asynchronous calls to a device that wait for an answer of this service, or of any, newest first."""

    async def list_stranded_calls(self, after: Call | None, limit: int) -> list[Call]:
        """Calls that have not ended and that no message waits for, oldest first.

        Args:
            after: the last one of the part before, None for the first part.
        """

    async def claim_stranded(self, request_ids: Sequence[str]) -> list[Call]:
        """Have calls of a node that died end as it left them: what it writes of them from now on comes too late.

        Returns those of them that have not ended, as they are now. Where one `is_stranded`, nobody has written that it
        left, and nobody will but who brings it to an end.
        """

    async def find_kept_call(self, request_id: str) -> Call | None:
        """A call of any account by request id."""


class CallHistory(Protocol):
    """Where every call is found again, those under way that were kept among them."""

    async def find_call(self, account_id: str, call_id: str) -> Call | None:
        """The account's call of this message id, request id or Alink id; of several the latest."""

    async def list_calls(self, calls: CallFilter) -> list[Call]:
        """Calls that match, newest first."""


class ServiceCallStore(Protocol):
    """Where the calls of services and property sets are found again."""

    async def list_service_calls(
        self, account_id: str, key: DeviceKey, identifier: str | None, span: Span
    ) -> list[Call]:
        """Calls to a device that were not rejected, of one service or of all; the moment is when one was received."""
