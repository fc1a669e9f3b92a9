"""Pages of a node whose devices are on another one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from linkstead.cluster.watches import KEPT_S
from linkstead.console.listing import OVERLAP_S, ROWS_PER_S_MAX, TICK_ROWS_MAX, TICK_S, TICKS_PER_S
from linkstead.invocation import Diagnosis, Verdict
from linkstead.mqtt.packets import Publish
from linkstead.sessions.tap import MESSAGES_WAITING_MAX
from tests.console.records import make_call
from tests.console.web import Listener, visitor
from tests.rig import ACCOUNT_ID, INSTANCE_LAMP, LAMP, OTHER_ACCOUNT_ID, PRODUCT_KEY, RAM_KEY, PairRig
from tests.wire import App, HttpClient, until

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)]
PATH = f"/devices/{PRODUCT_KEY}/{LAMP.device_name}"


async def test_the_page_of_a_device_says_which_node_it_is_connected_to(rig: PairRig) -> None:
    guest = await visitor(rig)
    assert "another node" not in (await guest.get(PATH)).body.decode()
    device = await rig.connected()
    page = (await guest.get(PATH)).body.decode()
    assert 'data-tone="good">online<' in page
    assert f"<code>{rig.holder.node}</code>" in page
    assert "another node" in page
    await device.disconnect()
    await until(lambda: not rig.is_online)
    await rig.settle()
    page = (await guest.get(PATH + "/state")).body.decode()
    assert 'data-tone="away">offline<' in page
    assert "another node" not in page


async def test_calls_of_other_nodes_are_listed_when_the_page_is_loaded(rig: PairRig) -> None:
    device = await rig.connected()
    assert rig.holder.endpoints is not None
    app = App(rig.holder.endpoints.http, rig.holder.clock, "app-key", "app-secret")
    calling = asyncio.ensure_future(app.rrpc(LAMP, b"from the other node"))
    await device.answer_call(b"pong")
    assert (await calling)["RrpcCode"] == "SUCCESS"
    await rig.settle()
    (call,) = rig.calls()
    assert rig.server.journal.find(call.account_id, call.request_id) is None
    guest = await visitor(rig)
    for path in ("/calls", PATH):
        assert f'id="call-{call.request_id}"' in (await guest.get(path)).body.decode()
    assert "from the other node" in (await guest.get(f"/calls/{call.request_id}")).body.decode()


@contextlib.asynccontextmanager
async def listening(rig: PairRig, path: str, **headers: str) -> AsyncIterator[Listener]:
    """A page of the node without devices that is held open, and has been told of to the other one."""
    guest = await visitor(rig)
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        assert await browser.open(path, **headers) == 200
        assert await browser.read() == b"retry: 2000\n\n"
        await until(lambda: rig.server.desk.viewers)
        await rig.settle()
        yield browser
    await until(lambda: not rig.server.desk.viewers)
    await rig.settle()


async def pass_ticks(rig: PairRig, count: int = 2) -> None:
    """Let the other node tell what it sees, and the page be sent it."""
    for _ in range(count):
        rig.clock.advance(TICK_S)
        await rig.settle()


async def read_next(rig: PairRig, browser: Listener, end: bytes = b"\n\n") -> str:
    """The next event; ticks pass until it is there."""
    reading = asyncio.ensure_future(browser.read(end))
    while not reading.done():
        await pass_ticks(rig, 1)
    return (await reading).decode()


def close_there(rig: PairRig, *numbers: int) -> None:
    """Calls end at the other node."""
    for number in numbers:
        rig.holder.journal.close(make_call(number, at_s=rig.clock.time_s()))


async def test_calls_of_other_nodes_come_to_an_open_page(rig: PairRig) -> None:
    device = await rig.connected()
    assert rig.holder.endpoints is not None
    app = App(rig.holder.endpoints.http, rig.holder.clock, "app-key", "app-secret")
    async with listening(rig, f"/calls/live?device={LAMP.device_name}") as browser:
        calling = asyncio.ensure_future(app.rrpc(LAMP, b"<ping>"))
        request = await device.expect_call()
        event = await read_next(rig, browser)
        assert event.count("<tr id=") == 1
        assert "under way" in event
        await device.answer(request, b"pong")
        await calling
        event = await read_next(rig, browser)
        (call,) = rig.holder.journal.latest(1)
        assert f'<tr id="call-{call.request_id}">' in event
        assert "SUCCESS" in event
        # And its own besides.
        rig.server.journal.close(make_call(1, at_s=rig.clock.time_s()))
        assert (await read_next(rig, browser)).count("<tr id=") == 1


async def test_rows_of_all_other_nodes_are_bounded(rig: PairRig) -> None:
    async with listening(rig, "/calls/live") as browser:
        shown = dropped = 0
        for second in range(2):
            for number in range(TICKS_PER_S):
                close_there(
                    rig, *range(100 * (second * TICKS_PER_S + number), 100 * (second * TICKS_PER_S + number + 1))
                )
                await pass_ticks(rig, 1)
        await pass_ticks(rig, 1)
        while shown + dropped < 2 * TICKS_PER_S * 100:
            event = (await browser.read()).decode()
            shown += event.count("<tr id=")
            dropped += int(event.split("data: ")[1])
        assert shown + dropped == 2 * TICKS_PER_S * 100
        assert shown <= TICK_ROWS_MAX + 2 * ROWS_PER_S_MAX


async def test_a_page_begins_with_what_may_not_be_in_the_store_yet(rig: PairRig) -> None:
    close_there(rig, 1)
    rig.clock.advance(OVERLAP_S + 1)
    close_there(rig, 2)
    async with listening(rig, "/calls/live") as browser:
        event = await read_next(rig, browser)
        assert "REQUEST-000002" in event
        assert "REQUEST-000001" not in event


async def test_other_nodes_tell_only_what_may_be_seen(rig: PairRig) -> None:
    policy = {"Effect": "Allow", "Action": ["linkstead:*", "iot:*"], "Resource": PRODUCT_KEY}
    document = json.dumps({"Version": "1", "Statement": [policy]})
    await rig.server.registry.save_policy(ACCOUNT_ID, RAM_KEY.user_name, document)
    await rig.settle()
    guest = await visitor(rig, RAM_KEY)
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        assert await browser.open("/calls/live") == 200
        await until(lambda: rig.server.desk.viewers)
        await rig.settle()
        for number, (account_id, key) in enumerate(
            [(ACCOUNT_ID, LAMP), (ACCOUNT_ID, INSTANCE_LAMP), (OTHER_ACCOUNT_ID, LAMP), (ACCOUNT_ID, None)]
        ):
            call = make_call(number, key=key, account_id=account_id, at_s=rig.clock.time_s())
            rig.holder.journal.close(call)
        event = await read_next(rig, browser, b"</tr>\ndata: \n\n")
        assert event.count("<tr id=") == 1
        assert "REQUEST-000000" in event


async def test_messages_of_a_device_of_another_node_come_to_its_page(rig: PairRig) -> None:
    device = await rig.connected()
    guest = await visitor(rig)
    assert PATH + "/messages" in (await guest.get(PATH)).body.decode()
    async with listening(rig, PATH + "/messages") as browser:
        assert rig.holder.sessions.taps is not None
        device.send(Publish(device.topic("thing/event/property/post"), b'{"id":"1","deviceSecret":"hush"}'))
        assert (await device.expect(Publish)).topic.endswith("post_reply")
        event = await read_next(rig, browser)
        assert event.startswith("event: rows\ndata: 0\n")
        places = [event.index(f"/{rest}") for rest in ("post_reply<", "post<")]
        assert places == sorted(places)
        assert "hush" not in event
        for number in range(MESSAGES_WAITING_MAX + 1):
            device.send(Publish(device.custom_topic("user/update"), b"number %d" % number))
        await device.expect_silence()
        event = await read_next(rig, browser)
        assert event.startswith("event: rows\ndata: 1\n")
        assert event.count("<tr>") == MESSAGES_WAITING_MAX
        assert "number 0<" not in event
    await until(lambda: rig.holder.sessions.taps is None)


async def test_nothing_is_tapped_for_a_node_that_died(rig: PairRig) -> None:
    async with listening(rig, PATH + "/messages"):
        assert rig.holder.sessions.taps is not None
        assert rig.server.cluster is not None
        await rig.server.cluster.watches.stop()
        for _ in range(round((KEPT_S + TICK_S) / TICK_S)):
            await pass_ticks(rig, 1)
        assert rig.holder.sessions.taps is None


async def test_the_charts_are_those_of_all_nodes(rig: PairRig) -> None:
    close_there(rig, 1)
    rig.clock.advance(60.0)
    began_s = int(rig.clock.time_s())

    async def read(browser: Listener) -> list[tuple[int, int]]:
        await pass_ticks(rig, 2 * TICKS_PER_S)
        data = (await browser.read()).decode().strip().rpartition("data: ")[2]
        return [(second["at_s"] - began_s, second["good"]) for second in json.loads(data)["seconds"]]

    async with listening(rig, "/overview/pulse") as browser:
        close_there(rig, 2, 3)
        late = make_call(4, ended=False, at_s=rig.clock.time_s())
        late.end(Verdict.TIMEOUT, Diagnosis.WRITTEN_NO_ANSWER)
        rig.server.journal.close(late)
        found = await read(browser)
        while len(found) < 3:
            found += await read(browser)
        assert sorted(found) == [(-60, 1), (0, 0), (0, 2)]
    # One that comes again has the past.
    async with listening(rig, "/overview/pulse", **{"Last-Event-ID": "0"}) as browser:
        close_there(rig, 5)
        found = []
        while not found:
            found = await read(browser)
        assert [good for _, good in found] == [1]
