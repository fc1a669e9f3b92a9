"""The ports to what a request has to pass besides its signature; of one node, or of all nodes together."""

from typing import Protocol


class Nonces(Protocol):
    """Remembers the nonces that were used."""

    def use(self, access_key_id: str, nonce: str, now_s: float) -> bool:
        """Take a nonce. False when this key pair used it lately.

        Args:
            now_s: seconds of a clock that never goes back.
        """


class CallQuotas(Protocol):
    """Says whether an account may call an action once more in the present second of wall time."""

    def limit(self, action: str) -> int:
        """Calls a second of an account; 0 where there is no limit."""

    def take(self, account_id: str, action: str, now_s: float) -> bool:
        """Count a call. False when it cannot be told at once that it may be made; it is not counted then.

        Args:
            now_s: seconds since 1970.
        """

    async def ask(self, account_id: str, action: str, now_s: float) -> bool:
        """Count a call that `take` did not. False when it is one too many."""
