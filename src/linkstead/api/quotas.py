"""Requests per second that each action allows an account."""

import csv
import importlib.resources
from collections.abc import Mapping


def _read_limits() -> dict[str, int]:
    text = importlib.resources.files("linkstead.api").joinpath("quotas.csv").read_text(encoding="utf-8")
    return {row["action"]: int(row["qps"]) for row in csv.DictReader(text.splitlines())}


LIMITS = _read_limits()
"""The documented requests per second and account by action. Source: column `source` of `quotas.csv`."""


class Quotas:
    """Counts the calls of every account and action within the present second of wall time.

    An account's own keys and those of its RAM users count together. Only the present second is in memory.

    Args:
        limits: calls per second and account by action; an action that is not named has no limit.
        overrides: take the place of `limits`; 0 lifts a limit.
        enabled: False lifts all.

    Raises:
        ValueError: an override is negative.

    Source: `cloud-api.md` 11, row requests per second and account.
    """

    __slots__ = ("_counts", "_limits", "_second")

    def __init__(self, limits: Mapping[str, int], overrides: Mapping[str, int], enabled: bool) -> None:
        for action, limit in overrides.items():
            if limit < 0:
                raise ValueError(f"quota {action}={limit}: 0 or more")
        self._limits = {action: limit for action, limit in {**limits, **overrides}.items() if limit and enabled}
        self._counts: dict[tuple[str, str], int] = {}
        self._second = 0

    def __len__(self) -> int:
        return len(self._counts)

    def limit(self, action: str) -> int:
        """Calls a second of an account; 0 where there is no limit."""
        return self._limits.get(action, 0)

    def take(self, account_id: str, action: str, now_s: float) -> bool:
        """Count a call. False when it is one too many; it is not counted then.

        Args:
            now_s: seconds since 1970.
        """
        limit = self._limits.get(action)
        if limit is None:
            return True
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._counts.clear()
        count = self._counts.get((account_id, action), 0)
        if count >= limit:
            return False
        self._counts[account_id, action] = count + 1
        return True

    async def ask(self, account_id: str, action: str, now_s: float) -> bool:
        """See `CallQuotas.ask`: what `take` has refused is one too many."""
        return False

    @property
    def limits(self) -> Mapping[str, int]:
        """Calls per second and account by action; what is not named has no limit."""
        return self._limits
