"""Calls as a page lists them: found in memory and in the store, and followed while they happen."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from linkstead.api.authorization import INSPECT_CALLS
from linkstead.console.desk import CallMark, Desk
from linkstead.console.login import Viewer
from linkstead.console.pages import render
from linkstead.console.texts import Words
from linkstead.invocation import Call, CallFilter, CallJournal, Diagnosis, GuestCall, Verdict
from linkstead.registry.policies import Policy

PAGE_ROWS = 100
SEARCHED_MAX = 5_000
"""Calls looked at for one page, where a text is searched for; what is older is found by going on."""

SAME_MOMENT_MAX = 200
"""Calls of one millisecond beyond a page: more of them are passed over."""

TICK_S = 0.25
TICKS_PER_S = 4
TICK_ROWS_MAX = 25
"""Rows that a page is sent at once, when few were sent before."""

ROWS_PER_S_MAX = 24
"""Rows that a page is sent in the long run: more nobody reads, and each costs the calls that are being made."""

OPEN_SEARCHED_MAX = 50
"""Calls under way that are looked at for one page at a tick, the latest."""

WATCHED_MAX = 100
"""Rows that one page may hold of calls that can still change."""

OVERLAP_S = 5.0
OVERLAP_CALLS_MAX = 250
"""A node that begins to tell a page of its calls begins with those of so long ago: what ended while another node made
the page may have come into the store too late for it. What the page has it shows once all the same."""

DRAWN_MAX = 100
"""Rows of calls that are kept for the next who looks."""

ROW_END = "</tr>\n"
HEARTBEAT_TICKS = 40
"""After so many ticks without news something is sent all the same: so that who is gone is noticed."""


class Cursor(NamedTuple):
    """Where a page of a listing ended."""

    received_ms: int
    request_id: str

    def __str__(self) -> str:
        return f"{self.received_ms}.{self.request_id}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see of an account's calls."""

    calls: CallFilter
    text: str = ""

    def matches(self, call: Call) -> bool:
        """True for a call that belongs on the page."""
        return self.calls.matches(call) and (not self.text or self._mentions(call))

    def _mentions(self, call: Call) -> bool:
        text = self.text.lower()
        fields = (call.request_id, str(call.message_id), str(call.key or ""), call.target, call.action, call.code)
        if any(text in field.lower() for field in fields) or text in call.access_key_id.lower():
            return True
        data = text.encode()
        return data in call.request_payload.lower() or data in call.answer_payload.lower()


def read_wish(account_id: str, fields: Mapping[str, str], limit: int = PAGE_ROWS) -> Wish:
    """What the form above a list asks for. Words that are no verdict or diagnosis are as if none were given."""
    verdict, diagnosis = fields.get("verdict", ""), fields.get("diagnosis", "")
    calls = CallFilter(
        account_id,
        product_key=fields.get("product", "").strip(),
        device_name=fields.get("device", "").strip(),
        action=fields.get("action", ""),
        verdict=Verdict(verdict) if verdict in set(Verdict) else None,
        diagnosis=Diagnosis(diagnosis) if diagnosis in set(Diagnosis) else None,
        before_ms=None,
        limit=limit,
    )
    return Wish(calls, fields.get("text", "").strip()[:200])


def read_cursor(text: str) -> Cursor | None:
    """Where to go on; None at the beginning, and for what is no cursor."""
    moment, _, request_id = text.partition(".")
    is_moment = moment.isascii() and moment.isdigit() and len(moment) <= 15
    return Cursor(int(moment), request_id) if is_moment else None


class Sight:
    """Which calls somebody may see: all of the account's, or those of the products that a policy names."""

    def __init__(self, policy: Policy | None) -> None:
        self._policy = policy
        self.sees_all = policy is None or policy.allows_everywhere(INSPECT_CALLS)
        self._products: dict[str, bool] = {}

    def covers(self, call: Call) -> bool:
        """True when the call may be shown."""
        if self.sees_all or self._policy is None:
            return True
        if call.key is None:
            return False
        known = self._products.get(call.key.product_key)
        if known is None:
            known = self._products[call.key.product_key] = self._policy.allows(INSPECT_CALLS, [call.key.product_key])
        return known


async def find_sight(desk: Desk, account_id: str, user_name: str) -> Sight:
    """What the account, or a RAM user of it, may see."""
    return Sight(await desk.registry.find_policy(account_id, user_name) if user_name else None)


async def list_calls(desk: Desk, wish: Wish, sight: Sight, after: Cursor | None) -> list[Call]:
    """One page, newest first.

    Args:
        after: where the page before ended.
    """
    wanted = wish.calls.limit
    is_plain = not wish.text and sight.sees_all
    searched = CallFilter(
        wish.calls.account_id,
        wish.calls.product_key,
        wish.calls.device_name,
        wish.calls.action,
        wish.calls.verdict,
        wish.calls.diagnosis,
        after.received_ms + 1 if after else None,
        wanted + SAME_MOMENT_MAX if is_plain else SEARCHED_MAX,
    )
    found = [call for call in desk.journal.list(searched) if wish.matches(call) and sight.covers(call)]
    if desk.others is not None or len(found) < wanted + 1:
        seen = {call.request_id for call in found}
        older = await desk.history.list_calls(searched)
        found += [call for call in older if call.request_id not in seen and wish.matches(call) and sight.covers(call)]
    found.sort(key=lambda call: (call.received_ms, call.request_id), reverse=True)
    if after:
        found = [call for call in found if (call.received_ms, call.request_id) < after]
    return found[:wanted]


class Taken(NamedTuple):
    """What is to be shown at a tick: rows anew, new rows, oldest first, and how many more there were."""

    changed: list[Call]
    fresh: list[Call]
    dropped: int


class Ration:
    """How many new rows a page may be sent: `TICK_ROWS_MAX` at once, in the long run `ROWS_PER_S_MAX` a second."""

    def __init__(self) -> None:
        self.room = TICK_ROWS_MAX

    def spend(self, count: int) -> None:
        """Some were sent at a tick."""
        self.room = min(TICK_ROWS_MAX, self.room - count + ROWS_PER_S_MAX // TICKS_PER_S)


class Feed:
    """What is new for one open page: calls that began, moved on or ended since it was last asked.

    Args:
        since: how many calls had ended when the page was made.
    """

    def __init__(self, journal: CallJournal, wish: Wish, sight: Sight, since: int) -> None:
        self._journal = journal
        self._wish = wish
        self._sight = sight
        self.since = since
        self._ration = Ration()
        self._watched: dict[str, tuple[Call, CallMark]] = {}

    def take(self) -> Taken:
        """What is new. Of calls that the page does not have yet first those that ended, then those under way."""
        journal = self._journal
        # Most are passed over: this is all that they cost.
        ended = self._choose(journal.latest(journal.closed_count - self.since))
        self.since = journal.closed_count
        room = self._ration.room
        fresh = ended[:room]
        if len(fresh) < room:
            fresh += self._choose(journal.list_open(OPEN_SEARCHED_MAX))[: room - len(fresh)]
        self._ration.spend(len(fresh))
        changed = [call for call, mark in self._watched.values() if mark_of(call) != mark]
        for call in changed + fresh:
            self._watched[call.request_id] = call, mark_of(call)
        self._forget()
        fresh.sort(key=lambda call: call.received_ms)
        return Taken(changed, fresh, max(0, len(ended) - room))

    def _forget(self) -> None:
        """Keep to `WATCHED_MAX`: ended calls go first, as a row must not say for ever that its call is under way."""
        watched = self._watched
        over = max(0, len(watched) - WATCHED_MAX)
        ended = (request_id for request_id, (call, _) in watched.items() if call.is_ended)
        for request_id in list(islice(ended, over)):
            del watched[request_id]
        for request_id in list(islice(watched, max(0, len(watched) - WATCHED_MAX))):
            del watched[request_id]

    def _choose(self, calls: Iterable[Call]) -> list[Call]:
        """Those that belong on the page and are not there yet."""
        wish, watched, covers, sees_all = self._wish, self._watched, self._sight.covers, self._sight.sees_all
        matches = wish.matches if wish.text else wish.calls.matches
        return [
            call
            for call in calls
            if matches(call)
            and call.request_id not in watched
            and (sees_all or covers(call))
            and not isinstance(call, GuestCall)
        ]


def mark_of(call: Call) -> CallMark:
    """See `CallMark`."""
    return call.verdict, call.diagnosis, len(call.timeline), len(call.evidence) + call.evidence_dropped


def write_event(name: str, data: str, event_id: object = None) -> bytes:
    """One server-sent event. Source: HTML standard, 9.2."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    lines = data.replace("\n", "\ndata: ")
    return f"{head}event: {name}\ndata: {lines}\n\n".encode()


def write_since(desk: Desk, count: int) -> str:
    """How far a page has come: how many calls had ended at the node that it was told by."""
    return f"{count}@{desk.node}"


def read_since(desk: Desk, text: str) -> int | None:
    """How many calls of this node a page has been told of; None where another one told it."""
    number, _, node = text.partition("@")
    is_count = number.isascii() and number.isdigit() and len(number) <= 15
    return min(int(number), desk.journal.closed_count) if is_count and node == desk.node else None


def count_before(journal: CallJournal, time_s: float) -> int:
    """How many calls had ended at that time, or later when there were more than `OVERLAP_CALLS_MAX` since."""
    since = journal.closed_count
    for call in journal.latest(OVERLAP_CALLS_MAX):
        if not call.timeline or call.timeline[-1].time_ms < time_s * 1000:
            break
        since -= 1
    return since


def draw_rows(desk: Desk, words: Words, calls: Sequence[Call]) -> list[str]:
    """A row of the list for each call; who looks at the same moment is shown the same ones, drawn once."""
    drawn = desk.drawn
    names = [(words.language, call.request_id, mark_of(call)) for call in calls]
    missing = [(name, call) for name, call in zip(names, calls, strict=True) if name not in drawn]
    if missing:
        text = render("call_row.html", t=words, calls=[call for _, call in missing])
        rows = text.split(ROW_END)[:-1]
        drawn.update((name, row + ROW_END) for (name, _), row in zip(missing, rows, strict=True))
    found = [drawn[name] for name in names]
    for name in list(islice(drawn, max(0, len(drawn) - DRAWN_MAX))):
        del drawn[name]
    return found


HEARTBEAT = b":\n\n"


async def watch(desk: Desk, viewer: Viewer) -> AsyncIterator[bool]:
    """Ticks of a page that is kept up to date, until the viewer's key is disabled; True where a heartbeat is due."""
    desk.viewers += 1
    try:
        ticks = 0
        while True:
            # All pages at the same moments: what is drawn for one serves the others.
            await desk.clock.sleep(TICK_S - desk.clock.monotonic_s() % TICK_S)
            ticks += 1
            is_due = ticks % HEARTBEAT_TICKS == 0
            if is_due:
                key = await desk.registry.find_access_key(viewer.key.access_key_id)
                if key is None or not key.enabled:
                    return
            yield is_due
    finally:
        desk.viewers -= 1
