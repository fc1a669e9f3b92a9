"""The chapter of the reference about messages."""

from linkstead.actions.messaging import broadcasting, publishing, queries, rrpc
from linkstead.actions.messaging.payload import PAYLOAD_BYTES_MAX
from linkstead.actions.messaging.rrpc import TIMEOUT_MS_MAX, TIMEOUT_MS_MIN

__all__ = ["ACTIONS", "PAYLOAD_BYTES_MAX", "TIMEOUT_MS_MAX", "TIMEOUT_MS_MIN"]

ACTIONS = (*rrpc.ACTIONS, *publishing.ACTIONS, *broadcasting.ACTIONS, *queries.ACTIONS)
