import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from linkstead.registry import DeviceKey
from linkstead.uplink import lanes
from linkstead.uplink.lanes import Lanes, NotTaken
from tests.fakes import KEY, OTHER_KEY


class Works:
    """Pieces of work that note their order; each waits for `gate`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.done: list[str] = []
        self.ended = asyncio.Event()

    def make(self, name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            await self.gate.wait()
            self.done.append(name)
            self.ended.set()

        return work


@pytest.mark.asyncio
async def test_the_work_of_a_device_is_done_in_order_and_that_of_another_beside_it() -> None:
    lanes, slow, quick = Lanes(), Works(), Works()
    for name in ("a", "b", "c"):
        assert lanes.add(KEY, 10, slow.make(name), is_awaited=False)
    assert lanes.add(OTHER_KEY, 1, quick.make("x"), is_awaited=False)
    assert (lanes.message_count, lanes.message_bytes) == (4, 31)
    quick.gate.set()
    await quick.ended.wait()
    assert (quick.done, slow.done) == (["x"], [])
    assert (lanes.is_free(KEY), lanes.is_free(OTHER_KEY)) == (False, True)
    slow.gate.set()
    await lanes.drain()
    assert slow.done == ["a", "b", "c"]
    assert lanes.is_free(KEY)
    assert (lanes.message_count, lanes.message_bytes) == (0, 0)


@pytest.mark.asyncio
async def test_work_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    lanes, works = Lanes(), Works()
    works.gate.set()

    async def fail() -> None:
        raise OSError("disk on fire")

    assert lanes.add(KEY, 1, fail, is_awaited=False)
    assert lanes.add(KEY, 1, works.make("b"), is_awaited=False)
    await lanes.drain()
    assert works.done == ["b"]
    assert caplog.messages == ["a message of a device failed (500)"]
    assert (lanes.message_count, lanes.message_bytes) == (0, 0)


@pytest.mark.asyncio
async def test_work_may_be_added_while_work_is_done() -> None:
    lanes, works = Lanes(), Works()
    works.gate.set()

    async def add_more() -> None:
        assert lanes.add(KEY, 1, works.make("b"), is_awaited=False)

    assert lanes.add(KEY, 1, add_more, is_awaited=False)
    await lanes.drain()
    assert works.done == ["b"]


@pytest.mark.asyncio
async def test_one_device_has_at_most_100_messages_under_way() -> None:
    assert lanes.MESSAGES_OF_A_DEVICE_MAX == 100
    table, works = Lanes(), Works()
    for _ in range(lanes.MESSAGES_OF_A_DEVICE_MAX):
        assert table.add(KEY, 1, works.make("a"), is_awaited=False)
    assert not table.add(KEY, 1, works.make("a"), is_awaited=False)
    assert table.add(OTHER_KEY, 1, works.make("a"), is_awaited=False)
    works.gate.set()
    await table.drain()
    assert len(works.done) == lanes.MESSAGES_OF_A_DEVICE_MAX + 1
    assert table.add(KEY, 1, works.make("a"), is_awaited=False)
    await table.drain()


@pytest.mark.asyncio
async def test_all_devices_have_at_most_10_000_messages_under_way() -> None:
    assert lanes.MESSAGES_MAX == 10_000
    table, works = Lanes(), Works()
    for number in range(lanes.MESSAGES_MAX):
        assert table.add(DeviceKey(KEY.product_key, f"lamp-{number // 2}"), 1, works.make("a"), is_awaited=False)
    assert not table.add(OTHER_KEY, 1, works.make("a"), is_awaited=False)
    works.gate.set()
    await table.drain()
    assert len(works.done) == lanes.MESSAGES_MAX
    assert table.message_count == 0


@pytest.mark.asyncio
async def test_all_messages_under_way_have_at_most_64_mib() -> None:
    table, works = Lanes(), Works()
    assert lanes.MESSAGE_BYTES_MAX == 64 * 1024 * 1024
    assert table.add(KEY, lanes.MESSAGE_BYTES_MAX - 10, works.make("a"), is_awaited=False)
    assert not table.add(OTHER_KEY, 11, works.make("a"), is_awaited=False)
    assert table.add(OTHER_KEY, 10, works.make("a"), is_awaited=False)
    works.gate.set()
    await table.drain()
    assert table.message_bytes == 0


@pytest.mark.asyncio
async def test_settling_waits_for_what_came_before_and_not_for_what_comes_after() -> None:
    lanes, before, after, other = Lanes(), Works(), Works(), Works()
    await lanes.settle(KEY)
    lanes.add(KEY, 1, before.make("before"), is_awaited=False)
    lanes.add(OTHER_KEY, 1, other.make("other"), is_awaited=False)
    settling = asyncio.ensure_future(lanes.settle(KEY))
    await asyncio.sleep(0)
    lanes.add(KEY, 1, after.make("after"), is_awaited=False)
    assert not settling.done()
    before.gate.set()
    await settling
    assert (before.done, after.done, other.done) == (["before"], [], [])
    after.gate.set()
    other.gate.set()
    await lanes.drain()
    assert (lanes.message_count, lanes.message_bytes) == (0, 0)


async def fail() -> None:
    raise OSError("disk on fire")


@pytest.mark.asyncio
async def test_settling_fails_once_where_work_has_failed_before_or_while_it_was_waited_for() -> None:
    lanes, works = Lanes(), Works()
    lanes.add(KEY, 1, fail, is_awaited=True)
    with pytest.raises(NotTaken):
        await lanes.settle(KEY)
    await lanes.settle(KEY)
    lanes.add(KEY, 1, fail, is_awaited=True)
    await lanes.drain()
    await lanes.settle(OTHER_KEY)
    works.gate.set()
    lanes.add(KEY, 1, works.make("later"), is_awaited=True)
    with pytest.raises(NotTaken):
        await lanes.settle(KEY)
    assert works.done == ["later"]


@pytest.mark.asyncio
async def test_of_so_many_devices_it_is_remembered_that_work_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lanes.FAILED_DEVICES_MAX == 10_000
    monkeypatch.setattr(lanes, "FAILED_DEVICES_MAX", 1)
    table = Lanes()
    table.add(KEY, 1, fail, is_awaited=True)
    await table.drain()
    table.add(OTHER_KEY, 1, fail, is_awaited=True)
    await table.drain()
    await table.settle(OTHER_KEY)
    with pytest.raises(NotTaken):
        await table.settle(KEY)


@pytest.mark.asyncio
async def test_a_message_that_nobody_sends_again_holds_back_no_acknowledgement() -> None:
    table, works = Lanes(), Works()
    works.gate.set()
    table.add(KEY, 1, fail, is_awaited=False)
    table.add(KEY, 1, works.make("awaited"), is_awaited=True)
    await table.settle(KEY)
    assert works.done == ["awaited"]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [ValueError, KeyError, TypeError, msgspec.ValidationError, ZeroDivisionError])
async def test_a_message_that_would_fail_again_counts_as_dealt_with(
    fault: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def choke() -> None:
        raise fault("cannot be used")

    table = Lanes()
    table.add(KEY, 1, choke, is_awaited=True)
    await table.settle(KEY)
    assert caplog.messages == ["a message of a device failed (500)"]
    # What is wrong with the disk is not the message's fault, whatever else fails with it.
    table.add(KEY, 1, fail, is_awaited=True)
    table.add(KEY, 1, choke, is_awaited=True)
    with pytest.raises(NotTaken):
        await table.settle(KEY)
