import pytest

from linkstead.console.listing import (
    DRAWN_MAX,
    OPEN_SEARCHED_MAX,
    OVERLAP_CALLS_MAX,
    PAGE_ROWS,
    ROWS_PER_S_MAX,
    TICK_ROWS_MAX,
    TICKS_PER_S,
    WATCHED_MAX,
    Cursor,
    Feed,
    Sight,
    count_before,
    draw_rows,
    list_calls,
    read_cursor,
    read_since,
    read_wish,
    write_event,
    write_since,
)
from linkstead.console.pulse import look_back
from linkstead.console.texts import Words
from linkstead.invocation import CallJournal, Diagnosis, Evidence, GuestCall, Stage, Stray, Verdict
from linkstead.registry.policies import Policy, parse_policy
from tests.console.records import START_S, make_call
from tests.fakes import RecordingSink
from tests.rig import ACCOUNT_ID, INSTANCE_LAMP, LAMP, OTHER_ACCOUNT_ID, PRODUCT_KEY, Rig

EVERYTHING = Sight(None)


def test_a_form_is_read() -> None:
    wish = read_wish(ACCOUNT_ID, {"product": " p ", "device": "d", "verdict": "TIMEOUT", "diagnosis": "answered-late"})
    assert (wish.calls.product_key, wish.calls.device_name) == ("p", "d")
    assert (wish.calls.verdict, wish.calls.diagnosis) == (Verdict.TIMEOUT, Diagnosis.ANSWERED_LATE)
    assert read_wish(ACCOUNT_ID, {"verdict": "no such", "diagnosis": "no such"}).calls.verdict is None


@pytest.mark.parametrize("text", ["", "x", "-1.a", "1" * 16 + ".a", "²"])
def test_what_is_no_cursor_is_the_beginning(text: str) -> None:
    assert read_cursor(text) is None


def test_a_cursor_survives_its_way_through_a_page() -> None:
    assert read_cursor(str(Cursor(5, "A.B"))) == Cursor(5, "A.B")


def test_a_text_is_looked_for_in_names_and_payloads() -> None:
    call = make_call(1, target="/user/get")
    call.set_request(b'{"Colour":"Red"}')
    call.set_answer("später".encode())
    for text in ("red", "colour", "SPÄTER", "lamp-01", PRODUCT_KEY.lower(), "user/get", "request-000001", "rrpc"):
        assert read_wish(ACCOUNT_ID, {"text": text}).matches(call), text
    assert not read_wish(ACCOUNT_ID, {"text": "green"}).matches(call)


def test_a_policy_narrows_what_is_seen() -> None:
    document = f'{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"linkstead:*","Resource":"{PRODUCT_KEY}"}}]}}'
    sight = Sight(parse_policy(document, ACCOUNT_ID))
    assert sight.covers(make_call(1))
    assert not sight.covers(make_call(2, key=INSTANCE_LAMP))
    assert not sight.covers(make_call(3, key=None))
    assert not Sight(Policy()).covers(make_call(4))


@pytest.mark.asyncio
async def test_pages_follow_each_other_without_gap_or_repetition(rig: Rig) -> None:
    """Calls of one millisecond among them, under way, in memory and in the store."""
    journal = rig.server.journal
    calls = [make_call(number // 7) for number in range(250)]
    for number, call in enumerate(calls):
        call.request_id = f"REQUEST-{number:06d}"
        call.message_id = number + 1
        journal.open(call)
        if number % 10:
            journal.close(call)
    journal.close(make_call(5, account_id=OTHER_ACCOUNT_ID))
    await rig.server.store.flush()
    desk = rig.server.desk
    wish = read_wish(ACCOUNT_ID, {})
    seen: list[str] = []
    after = None
    while page := await list_calls(desk, wish, EVERYTHING, after):
        assert len(page) <= PAGE_ROWS
        seen += [call.request_id for call in page]
        after = read_cursor(str(Cursor(page[-1].received_ms, page[-1].request_id)))
    assert seen == sorted((call.request_id for call in calls), reverse=True)
    wish = read_wish(ACCOUNT_ID, {"text": "REQUEST-00012"})
    assert len(await list_calls(desk, wish, EVERYTHING, None)) == 10


@pytest.mark.asyncio
async def test_a_feed_tells_each_call_once_for_each_change(rig: Rig) -> None:
    journal = rig.server.journal
    journal.close(make_call(0))
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, journal.closed_count)
    assert feed.take() == ([], [], 0)
    call = make_call(1, ended=False)
    journal.open(call)
    journal.close(make_call(2, account_id=OTHER_ACCOUNT_ID))
    assert feed.take() == ([], [call], 0)
    assert feed.take() == ([], [], 0)
    call.end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    journal.close(call)
    assert feed.take() == ([call], [], 0)
    journal.add_evidence(call, Evidence(Stray.LATE, 0, str(LAMP), "/topic", b"", 0))
    assert feed.take() == ([call], [], 0)
    assert feed.take() == ([], [], 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("over", [0, 1, 500])
async def test_a_tick_is_bounded_and_says_how_many_it_left_out(rig: Rig, over: int) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, 0)
    for number in range(TICK_ROWS_MAX + over):
        journal.close(make_call(number))
    _, shown, dropped = feed.take()
    assert dropped == over
    assert [call.received_ms for call in shown] == sorted(call.received_ms for call in shown)
    assert shown[-1].request_id == f"REQUEST-{TICK_ROWS_MAX + over - 1:06d}"
    assert len(shown) == TICK_ROWS_MAX


@pytest.mark.asyncio
async def test_rows_of_many_ticks_are_bounded_and_a_burst_is_shown_again_after_a_pause(rig: Rig) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, 0)
    numbers = iter(range(10_000))
    counts = []
    for _ in range(3 * TICKS_PER_S):
        for _ in range(100):
            journal.close(make_call(next(numbers)))
        _, shown, dropped = feed.take()
        assert len(shown) + dropped == 100
        counts.append(len(shown))
    assert counts == [TICK_ROWS_MAX] + [ROWS_PER_S_MAX // TICKS_PER_S] * (3 * TICKS_PER_S - 1)
    for _ in range(TICKS_PER_S):
        assert feed.take() == ([], [], 0)
    for _ in range(100):
        journal.close(make_call(next(numbers)))
    assert len(feed.take().fresh) == TICK_ROWS_MAX


@pytest.mark.asyncio
async def test_calls_under_way_take_what_room_the_ended_ones_leave(rig: Rig) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {"product": PRODUCT_KEY}), EVERYTHING, 0)
    waiting = [make_call(number, ended=False) for number in range(TICK_ROWS_MAX)]
    for call in waiting:
        journal.open(call)
    for number in range(TICK_ROWS_MAX, OPEN_SEARCHED_MAX):
        journal.open(make_call(number, ended=False, key=INSTANCE_LAMP))
    for number in range(1_000, 1_000 + TICK_ROWS_MAX - 1):
        journal.close(make_call(number))
    _, shown, dropped = feed.take()
    assert (shown[0], len(shown), dropped) == (waiting[-1], TICK_ROWS_MAX, 0)
    journal.open(make_call(OPEN_SEARCHED_MAX, ended=False, key=INSTANCE_LAMP))
    # One more under way, and the oldest of them is not looked at.
    assert waiting[0] not in [call for _ in range(TICK_ROWS_MAX) for call in feed.take().fresh]
    journal.close(waiting[0])
    assert feed.take() == ([], [waiting[0]], 0)


@pytest.mark.asyncio
async def test_what_another_node_calls_here_is_on_its_own_pages(rig: Rig) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, 0)
    guest = GuestCall("REQUEST-000001@node-2", "node-2", account_id=ACCOUNT_ID, key=LAMP)
    guest.mark(Stage.RECEIVED, 0.0, 0.0)
    journal.open(guest)
    assert feed.take() == ([], [], 0)
    guest.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    journal.close(guest)
    assert feed.take() == ([], [], 0)
    assert await look_back(journal, ACCOUNT_ID, EVERYTHING, 0.0) == []


@pytest.mark.asyncio
async def test_a_row_is_drawn_once_for_all_who_look(rig: Rig) -> None:
    desk, words = rig.server.desk, Words("en")
    first, second = make_call(1), make_call(2, target="<user/get>")
    rows = draw_rows(desk, words, [first, second])
    assert [row.count("<tr id=") for row in rows] == [1, 1]
    assert "&lt;user/get&gt;" in rows[1]
    assert draw_rows(desk, words, [second])[0] is rows[1]
    assert draw_rows(desk, Words("ja"), [second])[0] is not rows[1]
    rig.server.journal.add_evidence(first, Evidence(Stray.LATE, 0, str(LAMP), "/topic", b"", 0))
    assert draw_rows(desk, words, [first])[0] is not rows[0]
    calls = [make_call(number) for number in range(DRAWN_MAX + 1)]
    assert len(draw_rows(desk, words, calls)) == DRAWN_MAX + 1
    assert len(desk.drawn) == DRAWN_MAX


@pytest.mark.asyncio
async def test_a_feed_does_not_grow(rig: Rig) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, 0)
    for number in range(3 * WATCHED_MAX):
        journal.close(make_call(number))
        feed.take()
    assert len(feed._watched) == WATCHED_MAX


@pytest.mark.asyncio
async def test_a_call_under_way_is_watched_until_it_ends(rig: Rig) -> None:
    journal = rig.server.journal
    feed = Feed(journal, read_wish(ACCOUNT_ID, {}), EVERYTHING, 0)
    slow = make_call(0, ended=False)
    journal.open(slow)
    assert feed.take().fresh == [slow]
    for number in range(1, 3 * WATCHED_MAX):
        journal.close(make_call(number))
        feed.take()
    slow.end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
    journal.close(slow)
    assert feed.take() == ([slow], [], 0)
    waiting = [make_call(number, ended=False) for number in range(1_000, 1_001 + WATCHED_MAX)]
    for call in waiting:
        journal.open(call)
        feed.take()
    assert len(feed._watched) == WATCHED_MAX


def test_the_overlap_is_bounded() -> None:
    journal = CallJournal(RecordingSink())
    for number in range(OVERLAP_CALLS_MAX + 1):
        journal.close(make_call(number))
    assert count_before(journal, START_S - 1) == 1
    assert count_before(journal, START_S + 3600) == OVERLAP_CALLS_MAX + 1


@pytest.mark.asyncio
async def test_how_far_a_page_has_come_is_told_by_the_node_that_told_it(rig: Rig) -> None:
    desk = rig.server.desk
    for number in range(3):
        desk.journal.close(make_call(number))
    assert read_since(desk, write_since(desk, 2)) == 2
    assert read_since(desk, f"4@{desk.node}") == 3
    for text in ("", "2", "2@another-node", f"x@{desk.node}", f"²@{desk.node}", f"{'1' * 16}@{desk.node}"):
        assert read_since(desk, text) is None, text


def test_an_event_is_written_line_by_line() -> None:
    assert write_event("rows", "a\nb", 7) == b"id: 7\nevent: rows\ndata: a\ndata: b\n\n"
    assert write_event("x", "") == b"event: x\ndata: \n\n"
