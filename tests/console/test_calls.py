"""The pages of calls over the wire."""

import asyncio
import html
import json
import re

import pytest

from linkstead.console.calls import _repeat
from linkstead.console.desk import VIEWERS_MAX
from linkstead.console.listing import HEARTBEAT_TICKS, OVERLAP_S, PAGE_ROWS
from linkstead.invocation import Call, Evidence, Stray, Verdict
from tests.console.records import make_call
from tests.console.web import Listener, tick, visitor
from tests.rig import KEY, LAMP, SECOND_LAMP, Rig
from tests.wire import HttpClient, until

pytestmark = pytest.mark.asyncio


async def _call(rig: Rig, payload: bytes = b"ping", answer: bytes = b"pong") -> Call:
    device = await rig.connected()
    calling = asyncio.ensure_future(rig.app().rrpc(LAMP, payload))
    await device.answer(await device.expect_call(), answer)
    assert (await calling)["RrpcCode"] == "SUCCESS"
    return rig.calls()[0]


async def test_a_call_is_listed_and_shown_whole(rig: Rig) -> None:
    call = await _call(rig, b'{"a":1}', b"\x00\xff")
    guest = await visitor(rig)
    page = (await guest.get("/calls")).body.decode()
    assert f'id="call-{call.request_id}"' in page
    assert f'id="call-{call.request_id}"' not in (await guest.get("/calls?device=other")).body.decode()
    page = (await guest.get(f"/calls/{call.message_id}")).body.decode()
    assert "The device answered in time." in page
    assert "&#34;a&#34;: 1" in page
    assert "00 ff" in page
    assert "written to the device" in page


async def test_what_a_device_says_is_text_and_no_page(rig: Rig) -> None:
    call = await _call(rig, b"<script>alert(1)</script>", b"<img src=x onerror=alert(1)>")
    guest = await visitor(rig)
    page = (await guest.get(f"/calls/{call.request_id}")).body.decode()
    assert "<script>alert" not in page
    assert "<img" not in page


async def test_what_was_not_taken_as_the_answer_is_shown_with_why(rig: Rig) -> None:
    call = make_call(1, at_s=rig.clock.time_s())
    call.add_evidence(Evidence(Stray.LATE, call.received_ms + 9_000, str(LAMP), "/sys/late", b"<too late>", 10))
    call.add_evidence(Evidence(Stray.OTHER_DEVICE, call.received_ms, "", "", b"", 0))
    call.evidence_dropped = 7
    call.caller_gone = True
    call.unknown_parameters.append("Colour")
    rig.server.journal.close(call)
    guest = await visitor(rig)
    page = (await guest.get(f"/calls/{call.request_id}")).body.decode()
    for shown in ("/sys/late", "&lt;too late&gt;", "a device of another account", "7 more", "<code>Colour</code>"):
        assert shown in page, shown
    assert "<too late>" not in page


async def test_a_further_page_of_rows_is_a_part_of_the_list(rig: Rig) -> None:
    for number in range(PAGE_ROWS + 1):
        rig.server.journal.close(make_call(number, at_s=rig.clock.time_s() + number / 1000))
    guest = await visitor(rig)
    page = (await guest.get("/calls?device=lamp-01")).body.decode()
    found = re.search(r'data-rest="/console(/calls/rows\?[^"]+)"', page)
    assert found is not None
    rows = (await guest.get(html.unescape(found[1]))).body.decode()
    assert re.findall(r'<tr id="call-([^"]+)"', rows) == ["REQUEST-000000"]
    assert "data-rest" not in rows


async def test_a_call_is_made_again_by_who_is_logged_in(rig: Rig) -> None:
    call = await _call(rig, b"again, please")
    guest = await visitor(rig)
    making = asyncio.ensure_future(guest.post(f"/calls/{call.request_id}/again"))
    (device,) = rig.devices
    request = await device.expect_call()
    assert request.payload == b"again, please"
    await device.answer(request, b"done")
    response = await making
    assert response.status == 303
    again = rig.calls()[0]
    assert response.headers["Location"] == f"/console/calls/{again.request_id}"
    assert again.request_id != call.request_id
    assert (again.verdict, again.access_key_id) == (Verdict.SUCCESS, KEY.access_key_id)
    assert again.timeline[-1].stage == "returned"


async def test_a_call_that_is_not_kept_whole_is_not_made_again(rig: Rig) -> None:
    call = make_call(1)
    call.set_request(bytes(20_000))
    rig.server.journal.close(call)
    guest = await visitor(rig)
    assert "again" not in (await guest.get(f"/calls/{call.request_id}")).body.decode()
    assert (await guest.post(f"/calls/{call.request_id}/again")).status == 409


async def test_parameters_are_told_from_the_record() -> None:
    usual = {"ProductKey": LAMP.product_key, "DeviceName": LAMP.device_name}
    call = make_call(1, target="/user/get", timeout_ms=5_000, instance_id="iot-1")
    call.set_request(b"ping")
    expected = {"IotInstanceId": "iot-1", "Topic": "/user/get", "RequestBase64Byte": "cGluZw==", "Timeout": "5000"}
    assert _repeat(call) == usual | expected
    call = make_call(2, action="InvokeThingService", target="Blink")
    call.set_request(json.dumps({"id": "1", "version": "1.0", "params": {"Times": 3}}).encode())
    assert _repeat(call) == usual | {"Identifier": "Blink", "Args": '{"Times":3}'}
    call.action = "SetDeviceProperty"
    assert _repeat(call) == usual | {"Items": '{"Times":3}'}
    call.set_request(b"raw")
    assert _repeat(call) is None
    call = make_call(3, action="Pub", target="/a/b")
    assert _repeat(call) == {"ProductKey": LAMP.product_key, "TopicFullName": "/a/b", "MessageContent": ""}
    assert _repeat(make_call(4, key=None)) is None


async def test_a_report_is_a_file_without_secrets(rig: Rig) -> None:
    call = await _call(rig, b'{"deviceSecret":"hush","n":1}', b"password=hush2&n=2")
    response = await (await visitor(rig)).get(f"/calls/{call.request_id}/report")
    assert response.headers["Content-Disposition"] == f'attachment; filename="call-{call.message_id}.md"'
    text = response.body.decode()
    assert "hush" not in text
    assert KEY.access_key_id not in text
    assert '"n": 1' in text
    assert "n=2" in text


async def test_new_calls_come_to_an_open_page(rig: Rig) -> None:
    guest = await visitor(rig)
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        assert await browser.open(f"/calls/live?device={LAMP.device_name}") == 200
        assert await browser.read() == b"retry: 2000\n\n"
        assert rig.server.desk.viewers == 1
        rig.server.journal.close(make_call(1))
        rig.server.journal.close(make_call(2, key=SECOND_LAMP))
        await tick(rig, 2)
        event = (await browser.read()).decode()
        assert event.startswith(f"id: 2@{rig.server.node}\nevent: rows\ndata: 0\n")
        assert 'id="call-REQUEST-000001"' in event
        assert "REQUEST-000002" not in event
    await until(lambda: rig.server.desk.viewers == 0)


async def test_a_page_that_lost_its_connection_goes_on_where_it_was(rig: Rig) -> None:
    guest, node = await visitor(rig), rig.server.node
    rig.server.journal.close(make_call(1))
    rig.server.journal.close(make_call(2))
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        await browser.open(f"/calls/live?since=0@{node}", **{"Last-Event-ID": f"1@{node}"})
        await browser.read()
        await tick(rig, 2)
        event = (await browser.read()).decode()
        assert "REQUEST-000002" in event
        assert "REQUEST-000001" not in event


async def test_a_page_that_another_node_has_made_begins_with_what_it_may_lack(rig: Rig) -> None:
    guest = await visitor(rig)
    for number, ago_s in enumerate((OVERLAP_S + 1, OVERLAP_S / 2)):
        rig.server.journal.close(make_call(number, at_s=rig.clock.time_s() - ago_s))
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        await browser.open("/calls/live?since=0@another-node")
        await browser.read()
        await tick(rig, 2)
        event = (await browser.read()).decode()
        assert "data: 0\n" in event
        assert re.findall(r'<tr id="call-([^"]+)"', event) == ["REQUEST-000001"]


async def test_an_open_page_is_closed_when_its_key_is_disabled(rig: Rig) -> None:
    guest = await visitor(rig)
    async with HttpClient.open(rig.http) as client:
        browser = Listener(rig, guest, client)
        await browser.open("/calls/live")
        await browser.read()
        await tick(rig, HEARTBEAT_TICKS + 1)
        assert await browser.read() == b":\n\n"
        await rig.server.registry.set_access_key_enabled(KEY.access_key_id, False)
        await tick(rig, HEARTBEAT_TICKS + 1)
        await client.expect_closed()


async def test_open_pages_are_bounded(rig: Rig) -> None:
    guest = await visitor(rig)
    rig.server.desk.viewers = VIEWERS_MAX - 1
    async with HttpClient.open(rig.http) as first, HttpClient.open(rig.http) as second:
        assert await Listener(rig, guest, first).open("/calls/live") == 200
        await until(lambda: rig.server.desk.viewers == VIEWERS_MAX)
        assert await Listener(rig, guest, second).open("/calls/live") == 503
        assert (await guest.get("/overview/pulse")).status == 503
    await until(lambda: rig.server.desk.viewers == VIEWERS_MAX - 1)
