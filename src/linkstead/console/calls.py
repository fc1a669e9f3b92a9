"""Calls: the live list, and a call's own page."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from operator import itemgetter
from typing import Any

import msgspec

from linkstead.actions import ACTIONS
from linkstead.api.authorization import INSPECT_CALLS, authorize_products
from linkstead.api.exchange import HttpReply
from linkstead.console.desk import VIEWERS_MAX
from linkstead.console.drawing import draw_timeline, show_payload
from linkstead.console.elsewhere import CallsAsked, Elsewhere, SeenRows
from linkstead.console.listing import (
    HEARTBEAT,
    OVERLAP_S,
    PAGE_ROWS,
    Cursor,
    Feed,
    Ration,
    Sight,
    Wish,
    count_before,
    draw_rows,
    find_sight,
    list_calls,
    read_cursor,
    read_since,
    read_wish,
    watch,
    write_event,
    write_since,
)
from linkstead.console.report import write_report
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit
from linkstead.invocation import Call, Diagnosis, Verdict
from linkstead.invocation.explanation import explain

CALLING = sorted(name for name, action in ACTIONS.items() if action.is_call)
FILTERS = ("product", "device", "action", "verdict", "diagnosis", "text")


async def show_calls(visit: Visit) -> HttpReply:
    """The list with its first page."""
    wish, sight = await _read(visit)
    since = write_since(visit.desk, visit.desk.journal.closed_count)
    calls = await list_calls(visit.desk, wish, sight, None)
    return visit.page(
        "calls.html",
        calls=calls,
        rest=_rest(calls),
        filters=_filters(visit),
        since=since,
        actions=CALLING,
        verdicts=list(Verdict),
        diagnoses=list(Diagnosis),
    )


async def show_rows(visit: Visit) -> HttpReply:
    """One further page of rows."""
    wish, sight = await _read(visit)
    calls = await list_calls(visit.desk, wish, sight, read_cursor(visit.fields.get("before", "")))
    return visit.page("call_rows.html", calls=calls, rest=_rest(calls), filters=_filters(visit))


async def follow_calls(visit: Visit) -> HttpReply:
    """Rows as calls begin and end, by server-sent events."""
    if visit.desk.viewers >= VIEWERS_MAX:
        raise Refused(503, "error.viewers")
    wish, sight = await _read(visit)
    since = read_since(visit.desk, visit.request.header("last-event-id") or visit.fields.get("since", ""))
    if since is None:
        since = count_before(visit.desk.journal, visit.desk.clock.time_s() - OVERLAP_S)
    feed = Feed(visit.desk.journal, wish, sight, since)
    return visit.events(_follow(visit, feed, Elsewhere(visit.desk, _ask_others(visit), SeenRows)))


async def _follow(visit: Visit, feed: Feed, others: Elsewhere[SeenRows]) -> AsyncIterator[bytes]:
    assert visit.viewer is not None
    ration = Ration()
    yield b"retry: 2000\n\n"
    with others:
        async with aclosing(watch(visit.desk, visit.viewer)) as ticks:  # type: ignore[type-var]
            async for is_due in ticks:
                changed, fresh, dropped = feed.take()
                drawn = draw_rows(visit.desk, visit.words, changed + fresh)
                rows = [(call.received_ms, row) for call, row in zip(changed + fresh, drawn, strict=True)]
                seen, dropped_there = _take_of_others(others, ration)
                rows = sorted(rows + seen, key=itemgetter(0))
                dropped += dropped_there
                if rows:
                    text = "".join(row for _, row in rows)
                    yield write_event("rows", f"{dropped}\n{text}", write_since(visit.desk, feed.since))
                elif is_due:
                    yield HEARTBEAT


def _take_of_others(others: Elsewhere[SeenRows], ration: Ration) -> tuple[list[tuple[int, str]], int]:
    """The rows of all other nodes together, of new ones no more than there is room for."""
    told = others.take()
    rows = [(received_ms, row) for seen in told for received_ms, is_new, row in seen.rows if not is_new]
    fresh = sorted((received_ms, row) for seen in told for received_ms, is_new, row in seen.rows if is_new)
    over = max(0, len(fresh) - ration.room)
    fresh, dropped = fresh[over:], sum(seen.dropped for seen in told) + over
    ration.spend(len(fresh))
    return rows + fresh, dropped


def _ask_others(visit: Visit) -> CallsAsked:
    return CallsAsked(visit.language, visit.key.account_id, visit.key.user_name, _filters(visit))


async def show_call(visit: Visit) -> HttpReply:
    """One call, whole."""
    call = await _find(visit)
    marks = draw_timeline(call)
    return visit.page(
        "call.html",
        call=call,
        marks=marks,
        explanation=explain(call, visit.language),
        sent=show_payload(call.request_payload, call.request_bytes),
        answer=show_payload(call.answer_payload, call.answer_bytes),
        evidence=[(found, show_payload(found.payload, found.payload_bytes)) for found in call.evidence],
        can_repeat=_repeat(call) is not None,
    )


async def share_call(visit: Visit) -> HttpReply:
    """The call as a file to show to others, without secrets."""
    call = await _find(visit)
    body = write_report(call, visit.desk.place().version)
    return visit.file(f"call-{call.message_id or call.request_id}.md", "text/markdown;charset=utf-8", body.encode())


async def call_again(visit: Visit) -> HttpReply:
    """The same call once more, as whoever is logged in."""
    call = await _find(visit)
    parameters = _repeat(call)
    if parameters is None:
        raise Refused(409, "call.cannot-repeat")
    reply = await visit.desk.send(visit.key, visit.request, call.action, parameters)
    if not reply.call_id:
        raise Refused(400, "error.refused", f"{reply.code}: {reply.message}")
    return visit.to(f"/calls/{reply.call_id}")


def _repeat(call: Call) -> dict[str, str] | None:
    """The parameters of a call by its record; None where not all of them are kept."""
    if call.key is None or call.request_bytes > len(call.request_payload):
        return None
    parameters = {"ProductKey": call.key.product_key, "DeviceName": call.key.device_name}
    if call.instance_id:
        parameters["IotInstanceId"] = call.instance_id
    payload = base64.b64encode(call.request_payload).decode()
    if call.action == "RRpc":
        topic = {"Topic": call.target} if call.target else {}
        return parameters | topic | {"RequestBase64Byte": payload, "Timeout": str(call.timeout_ms)}
    if call.action == "Pub":
        del parameters["DeviceName"]
        return parameters | {"TopicFullName": call.target, "MessageContent": payload}
    try:
        sent: Any = msgspec.json.decode(call.request_payload)
        params = msgspec.json.encode(sent["params"]).decode()
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
        return None
    if call.action == "InvokeThingService":
        return parameters | {"Identifier": call.target, "Args": params}
    return parameters | {"Items": params} if call.action == "SetDeviceProperty" else None


async def _find(visit: Visit) -> Call:
    desk, call_id = visit.desk, visit.names["id"]
    call = desk.journal.find(visit.key.account_id, call_id)
    call = call or await desk.history.find_call(visit.key.account_id, call_id)
    products = [call.key.product_key] if call is not None and call.key is not None else []
    await authorize_products(desk.registry, visit.key, INSPECT_CALLS, *products)
    if call is None:
        raise Refused(404, "call.unknown", call_id)
    return call


async def _read(visit: Visit) -> tuple[Wish, Sight]:
    assert visit.viewer is not None
    return read_wish(visit.key.account_id, visit.fields), await find_sight(
        visit.desk, visit.key.account_id, visit.key.user_name
    )


def _filters(visit: Visit) -> dict[str, str]:
    return {name: visit.fields.get(name, "") for name in FILTERS}


def _rest(calls: list[Call]) -> str:
    """Where the next page begins; empty where there is none."""
    return str(Cursor(calls[-1].received_ms, calls[-1].request_id)) if len(calls) == PAGE_ROWS else ""


ROUTES = (
    Route("GET", "/calls", show_calls),
    Route("GET", "/calls/rows", show_rows),
    Route("GET", "/calls/live", follow_calls),
    Route("GET", "/calls/{id}", show_call),
    Route("GET", "/calls/{id}/report", share_call),
    Route("POST", "/calls/{id}/again", call_again),
)
