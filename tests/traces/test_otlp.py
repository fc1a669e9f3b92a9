"""Traces of calls through a whole server, read by a collector."""

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from linkstead import __version__
from linkstead.traces.exporter import DELAY_S
from tests.rig import LAMP, PRODUCT_KEY, Rig, RigStarter
from tests.traces.collector import Collector, collecting
from tests.wire import message_id, until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def _attributes(span: Span) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


async def _collect(rig: Rig, collector: Collector, count: int) -> list[Span]:
    rig.clock.advance(DELAY_S)
    await until(lambda: len(collector.spans) >= count)
    return collector.spans


async def test_a_call_is_a_trace_whose_spans_are_its_timeline(start_rig: RigStarter, collector: Collector) -> None:
    rig = await start_rig(otlp=collector.url)
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    rig.clock.advance(0.25)
    await device.answer(request, b"pong")
    answer = await call
    whole, *steps = await _collect(rig, collector, 7)
    assert whole.trace_id.hex() == answer["RequestId"].replace("-", "").lower()
    assert (whole.name, whole.kind, whole.parent_span_id) == ("RRpc", Span.SPAN_KIND_SERVER, b"")
    assert whole.status.code == Status.STATUS_CODE_OK
    names = ["authenticate", "accept", "route", "write", "wait for answer", "return"]
    assert [step.name for step in steps] == names
    assert {step.parent_span_id for step in steps} == {whole.span_id}
    assert {step.trace_id for step in steps} == {whole.trace_id}
    assert len({step.span_id for step in (whole, *steps)}) == 7
    # One begins where the one before ends, and together they are the whole.
    ends = [whole.start_time_unix_nano, *(step.end_time_unix_nano for step in steps)]
    assert ends[:-1] == [step.start_time_unix_nano for step in steps]
    assert ends[-1] == whole.end_time_unix_nano
    waited = steps[names.index("wait for answer")]
    assert waited.end_time_unix_nano - waited.start_time_unix_nano == pytest.approx(250_000_000, abs=1_000_000)
    found = _attributes(whole)
    assert found["linkstead.device_name"] == LAMP.device_name
    assert found["linkstead.product_key"] == PRODUCT_KEY
    assert (found["linkstead.verdict"], found["linkstead.diagnosis"]) == ("SUCCESS", "answered")
    assert "app-key" not in str(found)
    (resource,) = collector.received
    names_of_it = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (names_of_it["service.name"], names_of_it["service.version"]) == ("linkstead", __version__)
    assert names_of_it["service.instance.id"] == rig.server.node


async def test_a_call_that_fails_is_an_error_with_its_diagnosis(start_rig: RigStarter, collector: Collector) -> None:
    rig = await start_rig(otlp=collector.url)
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    whole, *steps = await _collect(rig, collector, 3)
    assert (whole.status.code, whole.status.message) == (Status.STATUS_CODE_ERROR, "never-activated")
    assert "write" not in [step.name for step in steps]


async def test_what_was_not_taken_is_among_the_events(start_rig: RigStarter, collector: Collector) -> None:
    rig = await start_rig(otlp=collector.url)
    device = await rig.connected()
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    request = await device.expect_call()
    other_id = message_id(request.topic) - 1
    await device.answer(request, b"no", topic=device.topic(f"rrpc/response/{other_id}"))
    await device.answer(request, b"pong")
    await call
    whole, *_ = await _collect(rig, collector, 7)
    (event,) = whole.events
    assert event.attributes[0].value.string_value == "wrong-message-id"


async def test_calls_that_are_under_way_at_the_end_are_sent(start_rig: RigStarter, collector: Collector) -> None:
    rig = await start_rig(otlp=collector.url)
    await rig.app().rrpc(LAMP)
    await rig.stop()
    assert [span.name for span in collector.spans if not span.parent_span_id] == ["RRpc"]


async def test_a_collector_that_refuses_or_is_away_costs_no_call(start_rig: RigStarter, collector: Collector) -> None:
    collector.status = 400
    rig = await start_rig(otlp=collector.url)
    assert rig.server.traces is not None
    await rig.app().rrpc(LAMP)
    rig.clock.advance(DELAY_S)
    await until(lambda: rig.server.traces is not None and rig.server.traces.dropped_count == 1)
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"
    collector.status = 200
    rig.clock.advance(DELAY_S)
    await until(lambda: collector.spans)
    await until(lambda: rig.server.traces is not None and rig.server.traces.sent_count == 1)
