"""Calls by the second: how many ended how, and how long those took that were answered."""

import asyncio
from collections.abc import Iterable
from typing import TypedDict

from linkstead.console.listing import Sight
from linkstead.console.pages import TONES
from linkstead.invocation import Call, CallJournal, GuestCall

SECONDS_MAX = 300
"""Seconds that the charts look back."""

TONE_NAMES = ("good", "late", "away", "bad")


CALLS_AT_ONCE = 500
"""Calls that are looked at in one go: those that are being made do not wait for more."""

SPANS_MAX = 100
"""Latencies that are told of one second: of more, so many that stand for as many each."""


class Second(TypedDict):
    """What happened in one second of wall time on one node. `spans`: latencies in milliseconds, ascending."""

    at_s: int
    good: int
    late: int
    away: int
    bad: int
    spans: list[float]


def count_seconds(calls: Iterable[Call], account_id: str, sight: Sight) -> list[Second]:
    """The seconds in which calls ended, oldest first; seconds without are left out."""
    counts: dict[int, dict[str, int]] = {}
    spans: dict[int, list[float]] = {}
    for call in calls:
        if call.verdict is None or call.account_id != account_id or not call.timeline or not sight.covers(call):
            continue
        if isinstance(call, GuestCall):
            continue
        first, last = call.timeline[0], call.timeline[-1]
        second = last.time_ms // 1000
        tone = TONES[call.verdict]
        found = counts.setdefault(second, dict.fromkeys(TONE_NAMES, 0))
        found[tone] += 1
        if tone == "good":
            spans.setdefault(second, []).append((last.monotonic_s - first.monotonic_s) * 1000)
    return [_second(at_s, counts[at_s], sorted(spans.get(at_s, ()))) for at_s in sorted(counts)]


async def look_back(journal: CallJournal, account_id: str, sight: Sight, now_s: float) -> list[Second]:
    """The last `SECONDS_MAX` seconds, as far as their calls are still in memory; of one there may be several parts."""
    calls = list(journal.latest(journal.closed_count))
    seconds: list[Second] = []
    for start in range(0, len(calls), CALLS_AT_ONCE):
        seconds += count_seconds(calls[start : start + CALLS_AT_ONCE], account_id, sight)
        await asyncio.sleep(0)
    return [second for second in seconds if second["at_s"] > now_s - SECONDS_MAX]


def _second(at_s: int, counts: dict[str, int], spans: list[float]) -> Second:
    number = len(spans)
    if number > SPANS_MAX:
        # The middle of each part.
        spans = [spans[(2 * place + 1) * number // (2 * SPANS_MAX)] for place in range(SPANS_MAX)]
    return Second(
        at_s=at_s,
        good=counts["good"],
        late=counts["late"],
        away=counts["away"],
        bad=counts["bad"],
        spans=[round(span, 3) for span in spans],
    )
