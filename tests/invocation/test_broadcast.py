import asyncio
from collections.abc import Callable

import pytest

from linkstead.invocation import Diagnosis, Verdict
from linkstead.invocation.broadcast import DEVICES_OF_ONE_SLICE, Broadcast
from linkstead.registry import DeviceKey
from linkstead.sessions import LinkBlocked, LinkBroken, LinkTooSmall, Session
from tests.fakes import KEY, FakeLink

pytestmark = pytest.mark.asyncio

Ended = tuple[Verdict, Diagnosis, int]


class Ends:
    """How broadcasts ended."""

    def __init__(self) -> None:
        self.seen: list[Ended] = []

    def take(self, verdict: Verdict, diagnosis: Diagnosis, written: int) -> None:
        self.seen.append((verdict, diagnosis, written))


def make_audience(*links: FakeLink | None) -> list[Session]:
    audience = []
    for number, link in enumerate(links):
        session = Session(DeviceKey(KEY.product_key, f"lamp-{number:04}"))
        session.link = link
        audience.append(session)
    return audience


def to_all(topic: str) -> Callable[[Session], str]:
    return lambda session: topic


async def send(*links: FakeLink | None, topic: str = "/broadcast/a/b") -> Ends:
    ends = Ends()
    await Broadcast(ends.take).send(make_audience(*links), to_all(topic), b"hello")
    return ends


async def test_every_device_gets_its_copy() -> None:
    links = [FakeLink() for _ in range(3)]
    ends = await send(*links)
    assert [link.messages for link in links] == [[("/broadcast/a/b", b"hello")]] * 3
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, 3)]


async def test_each_device_may_have_a_topic_of_its_own() -> None:
    audience, ends = make_audience(FakeLink(), FakeLink()), Ends()
    await Broadcast(ends.take).send(audience, lambda session: f"/{session.key.device_name}", b"")
    assert [session.link.messages for session in audience if isinstance(session.link, FakeLink)] == [
        [("/lamp-0000", b"")],
        [("/lamp-0001", b"")],
    ]


async def test_it_ends_when_the_last_copy_was_written() -> None:
    slow, quick = FakeLink(writes_at_once=False), FakeLink()
    ends = await send(slow, quick)
    assert ends.seen == []
    slow.write()
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, 2)]


async def test_a_connection_that_breaks_before_its_copy_left_is_not_counted() -> None:
    breaking, quick = FakeLink(writes_at_once=False), FakeLink()
    ends = await send(breaking, quick)
    breaking.fail_writes()
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, 1)]


@pytest.mark.parametrize("failure", [LinkBroken, LinkBlocked, LinkTooSmall])
async def test_a_device_that_cannot_be_written_to_does_not_stop_the_others(failure: type[Exception]) -> None:
    quick = FakeLink()
    ends = await send(FakeLink(failure=failure), quick)
    assert quick.messages
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, 1)]


async def test_with_no_copy_written_it_has_failed() -> None:
    ends = await send(FakeLink(failure=LinkBroken), None)
    assert ends.seen == [(Verdict.OFFLINE, Diagnosis.WRITE_FAILED, 0)]


async def test_without_a_connected_device_nobody_was_there() -> None:
    ends = await send()
    assert ends.seen == [(Verdict.OFFLINE, Diagnosis.NOT_CONNECTED, 0)]


async def test_without_a_subscriber_nobody_wanted_it() -> None:
    link = FakeLink()
    ends = await send(link, topic="")
    assert link.sent == []
    assert ends.seen == [(Verdict.OFFLINE, Diagnosis.NOT_SUBSCRIBED, 0)]


@pytest.mark.parametrize(
    ("devices", "turns"), [(DEVICES_OF_ONE_SLICE - 1, 0), (DEVICES_OF_ONE_SLICE, 1), (2 * DEVICES_OF_ONE_SLICE + 1, 2)]
)
async def test_other_work_has_its_turn_after_every_slice(devices: int, turns: int) -> None:
    links = [FakeLink() for _ in range(devices)]
    served: list[int] = []
    sending = asyncio.ensure_future(send(*links))
    await asyncio.sleep(0)
    while not sending.done():
        served.append(sum(bool(link.sent) for link in links))
        await asyncio.sleep(0)
    assert served == [DEVICES_OF_ONE_SLICE * turn for turn in range(1, turns + 1)]
    assert all(link.sent for link in links)


async def test_one_that_is_cancelled_ends_with_what_was_sent() -> None:
    links, ends = [FakeLink() for _ in range(DEVICES_OF_ONE_SLICE + 1)], Ends()
    sending = asyncio.ensure_future(Broadcast(ends.take).send(make_audience(*links), to_all("/broadcast/a/b"), b""))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, DEVICES_OF_ONE_SLICE)]


async def test_a_device_that_left_since_the_audience_was_listed_is_passed_over() -> None:
    ends = await send(None, FakeLink())
    assert ends.seen == [(Verdict.SUCCESS, Diagnosis.DELIVERED, 1)]
