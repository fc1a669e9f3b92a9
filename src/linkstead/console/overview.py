"""The overview: where the server listens, how it fares, and the keys of the account."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from linkstead.api.exchange import HttpReply
from linkstead.console.desk import VIEWERS_MAX, Desk
from linkstead.console.elsewhere import Elsewhere, PulseAsked, SeenSeconds
from linkstead.console.listing import (
    HEARTBEAT,
    TICKS_PER_S,
    Sight,
    find_sight,
    read_since,
    watch,
    write_event,
    write_since,
)
from linkstead.console.pulse import CALLS_AT_ONCE, Second, count_seconds, look_back
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit
from linkstead.ids import LETTERS_AND_DIGITS
from linkstead.invocation import GuestCall
from linkstead.registry import AccessKey

ACCESS_KEYS_MAX = 100
"""Of an account, made here; the command line goes on."""

ACCESS_KEY_ID_CHARS, ACCESS_KEY_SECRET_CHARS = 16, 30
USER_NAME_CHARS_MAX = 64


async def show_overview(visit: Visit) -> HttpReply:
    """The page."""
    return await _show(visit)


async def _show(visit: Visit, made: AccessKey | None = None) -> HttpReply:
    desk, key = visit.desk, visit.key
    keys = await desk.registry.store.list_access_keys(key.account_id) if not key.user_name else []
    return visit.page(
        "overview.html",
        place=desk.place(),
        instances=sorted(await desk.registry.find_instances(key.account_id)),
        keys=[found for found in keys if not found.is_temporary],
        made=made,
        **await _vitals(visit),
    )


async def show_vitals(visit: Visit) -> HttpReply:
    """The part of the page that is asked for again and again."""
    return visit.page("overview_vitals.html", **await _vitals(visit))


async def _vitals(visit: Visit) -> dict[str, Any]:
    desk = visit.desk
    statistics = await visit.act("QueryDeviceStatistics")
    sight = await find_sight(desk, visit.key.account_id, visit.key.user_name)
    return {
        "statistics": statistics.body.get("Data") if not statistics.code else None,
        "vitals": desk.vitals(),
        "quotas": await _count_quotas(visit, sight),
    }


async def _count_quotas(visit: Visit, sight: Sight) -> list[tuple[str, int, int, int]]:
    """Of each action called in the last minute: the most in one second, its limit, and how many were refused."""
    desk, now_ms = visit.desk, visit.now_ms
    counts: dict[tuple[str, int], int] = {}
    refused: dict[str, int] = {}
    for place, call in enumerate(list(desk.journal.latest(desk.journal.closed_count))):
        if not place % CALLS_AT_ONCE:
            await asyncio.sleep(0)
        if call.account_id != visit.key.account_id or now_ms - call.received_ms > 60_000 or not sight.covers(call):
            continue
        if isinstance(call, GuestCall):
            continue
        second = call.action, call.received_ms // 1000
        counts[second] = counts.get(second, 0) + 1
        if call.diagnosis == "throttled":
            refused[call.action] = refused.get(call.action, 0) + 1
    peaks: dict[str, int] = {}
    for (action, _), count in counts.items():
        peaks[action] = max(peaks.get(action, 0), count)
    return [(name, peaks[name], desk.openapi.quota(name), refused.get(name, 0)) for name in sorted(peaks)]


async def follow_pulse(visit: Visit) -> HttpReply:
    """The seconds as they pass, by server-sent events; those before them first."""
    if visit.desk.viewers >= VIEWERS_MAX:
        raise Refused(503, "error.viewers")
    sight = await find_sight(visit.desk, visit.key.account_id, visit.key.user_name)
    return visit.events(_follow(visit, sight))


async def _follow(visit: Visit, sight: Sight) -> AsyncIterator[bytes]:
    assert visit.viewer is not None
    desk, account_id = visit.desk, visit.key.account_id
    journal, clock = desk.journal, desk.clock
    yield b"retry: 2000\n\n"
    # One that comes again has the past.
    last = visit.request.header("last-event-id")
    since = read_since(desk, last or "")
    since = journal.closed_count if since is None else since
    others = Elsewhere(desk, PulseAsked(account_id, visit.key.user_name, not last), SeenSeconds)
    with others:
        seconds = [] if last else await look_back(journal, account_id, sight, clock.time_s())
        yield _write_seconds(desk, seconds, since)
        count = 0
        async with aclosing(watch(desk, visit.viewer)) as ticks:  # type: ignore[type-var]
            async for is_due in ticks:
                count += 1
                if count % TICKS_PER_S:
                    continue
                seconds = count_seconds(journal.latest(journal.closed_count - since), account_id, sight)
                since = journal.closed_count
                for told in others.take():
                    seconds += told
                yield _write_seconds(desk, seconds, since)
                if is_due:
                    yield HEARTBEAT


def _write_seconds(desk: Desk, seconds: list[Second], since: int) -> bytes:
    data = {"now_s": int(desk.clock.time_s()), "seconds": seconds}
    return write_event("seconds", msgspec.json.encode(data).decode(), write_since(desk, since))


async def add_key(visit: Visit) -> HttpReply:
    """Make an access key; its secret is on the page that answers, and never again."""
    _check_owner(visit)
    desk, account_id = visit.desk, visit.key.account_id
    user_name = visit.form.get("user", "").strip()
    if len(user_name) > USER_NAME_CHARS_MAX or not user_name.isprintable():
        raise Refused(400, "error.form")
    if len(await desk.registry.store.list_access_keys(account_id)) >= ACCESS_KEYS_MAX:
        raise Refused(409, "overview.too-many-keys")
    made = AccessKey(
        "LS" + desk.ids.token(LETTERS_AND_DIGITS, ACCESS_KEY_ID_CHARS),
        desk.ids.token(LETTERS_AND_DIGITS, ACCESS_KEY_SECRET_CHARS),
        account_id,
        user_name,
        True,
        visit.now_ms,
    )
    await desk.registry.store.add_access_key(made)
    desk.openapi.record(visit.request, "", visit.key)
    return await _show(visit, made)


async def disable_key(visit: Visit) -> HttpReply:
    """Disable an access key of the account, but not the one that is logged in with."""
    _check_owner(visit)
    desk, name = visit.desk, visit.names["id"]
    found = await desk.registry.store.find_access_key(name)
    if found is None or found.account_id != visit.key.account_id or name == visit.key.access_key_id:
        raise Refused(404, "overview.no-such-key", name)
    await desk.registry.set_access_key_enabled(name, False)
    desk.openapi.record(visit.request, "", visit.key)
    return visit.to("/")


def _check_owner(visit: Visit) -> None:
    """Raises Refused for a RAM user: keys are the account's own."""
    if visit.key.user_name:
        raise Refused(403, "overview.owner-only")


ROUTES = (
    Route("GET", "/", show_overview),
    Route("GET", "/overview/vitals", show_vitals),
    Route("GET", "/overview/pulse", follow_pulse),
    Route("POST", "/keys", add_key),
    Route("POST", "/keys/{id}/disable", disable_key),
)
