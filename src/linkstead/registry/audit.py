"""The audit log: who asked for what, and what was answered; no secrets, no payloads."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One request that changed something, or that was refused.

    `is_verified` is False where nobody proved who they are: `access_key_id` is then what they claimed, and `account_id`
    the owner of that key, or empty. `code` is empty where the request succeeded. `address` is the client's, without its
    port. A field that the request did not tell is empty.
    """

    time_ms: int
    account_id: str
    access_key_id: str
    user_name: str
    is_verified: bool
    address: str
    action: str
    product_key: str
    device_name: str
    iot_id: str
    code: str
    request_id: str


class AuditLog(Protocol):
    """Where the audit log is kept."""

    def record_audit(self, entry: AuditEntry) -> None:
        """Keep an entry; it is written a moment later."""

    async def list_audit(self, account_id: str | None, since_ms: int, limit: int) -> list[AuditEntry]:
        """Up to `limit` entries of an account, or of all and of nobody when it is None; the latest first."""
