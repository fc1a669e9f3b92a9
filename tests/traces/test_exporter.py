import asyncio
import threading
from collections.abc import Sequence

import pytest

from linkstead.invocation import Call
from linkstead.testing.clock import ManualClock
from linkstead.traces import exporter as module
from linkstead.traces.exporter import BATCH_MAX, DELAY_S, QUEUE_MAX, TraceExporter
from tests.wire import until

pytestmark = pytest.mark.asyncio


class Sender:
    """Takes batches, when it may; it stands for the collector."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.is_closed = False

    def send(self, calls: Sequence[Call]) -> bool:
        self.gate.wait(20)
        self.batches.append(len(calls))
        if self.fault is not None:
            raise self.fault
        return True

    def close(self) -> None:
        self.is_closed = True


def _call() -> Call:
    return Call(request_id="R", node="n")


async def test_calls_wait_for_company() -> None:
    sender, clock = Sender(), ManualClock()
    traces = TraceExporter(sender, clock)
    for _ in range(3):
        traces.take(_call())
    clock.advance(DELAY_S - 0.01)
    await asyncio.sleep(0)
    assert sender.batches == []
    clock.advance(0.01)
    await until(lambda: sender.batches == [3])
    await traces.close()
    assert sender.is_closed


async def test_a_full_batch_does_not_wait() -> None:
    sender = Sender()
    traces = TraceExporter(sender, ManualClock())
    for _ in range(BATCH_MAX):
        traces.take(_call())
    await until(lambda: sender.batches == [BATCH_MAX])
    await traces.close()


async def test_so_many_wait_and_the_next_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender()
    sender.gate.clear()
    traces = TraceExporter(sender, ManualClock())
    for _ in range(QUEUE_MAX):
        traces.take(_call())
    assert {name: value for name, _, value in traces.sample()}["linkstead_queue_depth"] == QUEUE_MAX
    traces.take(_call())
    assert (traces.dropped_count, caplog.messages) == (1, ["traces dropped since the start: 1"])
    sender.gate.set()
    await traces.close()
    assert (sum(sender.batches), traces.sent_count) == (QUEUE_MAX, QUEUE_MAX)


async def test_what_is_not_sent_is_dropped_and_the_next_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    sender, clock = Sender(), ManualClock()
    sender.fault = OSError("no")
    traces = TraceExporter(sender, clock)
    traces.take(_call())
    clock.advance(DELAY_S)
    await until(lambda: traces.dropped_count == 1)
    sender.fault = None
    traces.take(_call())
    clock.advance(DELAY_S)
    await until(lambda: traces.sent_count == 1)
    assert "traces could not be sent" in caplog.text
    await traces.close()


async def test_a_collector_that_does_not_answer_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_WAIT_S", 0.05)
    sender = Sender()
    sender.gate.clear()
    traces = TraceExporter(sender, ManualClock())
    traces.take(_call())
    await traces.close()
    traces.take(_call())
    assert (traces.sent_count, traces.dropped_count) == (0, 1)
    sender.gate.set()
