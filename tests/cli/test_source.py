from collections.abc import Iterator
from typing import Any

import click
import pytest

from linkstead.cli.endpoint import Endpoint, RefusedError
from linkstead.cli.source import (
    DEVICES_OF_A_PAGE,
    PAGED_DEVICES_MAX,
    TRIES_MAX,
    WAIT_S_MAX,
    WAIT_S_MIN,
    Source,
    SourceError,
)
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.clouds import Cloud, running_cloud

PK = "a1Source000"


class HastyClock(SystemClock):
    """Nobody waits: a sleep is written down and its time is over."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_s += delay_s


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        yield cloud


def make_source(cloud: Cloud, clock: HastyClock, rate: int = 10, instance_id: str = "") -> Source:
    ids = SystemIds(SystemClock())
    return Source(Endpoint(cloud.url, "key", "secret", None, SystemClock(), ids), instance_id, rate, clock)


def page_of(parameters: dict[str, str], total: int) -> dict[str, Any]:
    page = int(parameters["CurrentPage"])
    names = range((page - 1) * DEVICES_OF_A_PAGE, min(page * DEVICES_OF_A_PAGE, total))
    return {"Success": True, "Total": total, "Data": {"DeviceInfo": [{"DeviceName": f"d-{n:06}"} for n in names]}}


async def names_of(source: Source) -> list[str]:
    return [each["DeviceName"] async for page in source.list_devices(PK) for each in page.devices]


@pytest.mark.asyncio
async def test_what_is_throttled_is_asked_again_after_waits_that_double(cloud: Cloud) -> None:
    clock = HastyClock()
    codes = ["Throttling.User", "Throttling", "Throttling.Api"]

    def answer(_action: str, _parameters: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return (400, {"Code": codes.pop(0), "Message": "flow control"}) if codes else (200, {"Success": True})

    cloud.answer = answer
    assert await make_source(cloud, clock).list_topics(PK) == []
    assert [action for action, _ in cloud.asked] == ["QueryProductTopic"] * 4
    assert clock.slept_s == [WAIT_S_MIN, 2 * WAIT_S_MIN, 4 * WAIT_S_MIN]


@pytest.mark.asyncio
async def test_what_stays_throttled_is_given_up(cloud: Cloud) -> None:
    clock = HastyClock()
    cloud.answer = lambda _action, _parameters: (400, {"Code": "Throttling.User", "Message": "flow control"})
    with pytest.raises(RefusedError, match=r"Throttling\.User"):
        await make_source(cloud, clock).list_topics(PK)
    assert len(cloud.asked) == TRIES_MAX
    assert max(clock.slept_s) == WAIT_S_MAX


@pytest.mark.asyncio
async def test_what_is_refused_for_good_is_asked_once(cloud: Cloud) -> None:
    cloud.answer = lambda _action, _parameters: (404, {"Code": "InvalidAccessKeyId.NotFound", "Message": "no such key"})
    with pytest.raises(RefusedError, match=r"InvalidAccessKeyId\.NotFound: no such key"):
        await make_source(cloud, HastyClock()).list_topics(PK)
    cloud.answer = lambda _action, _parameters: (200, {"Success": False, "Code": "iot.x", "ErrorMessage": "not so"})
    with pytest.raises(SourceError, match=r"QueryProductTopic failed there: iot\.x: not so"):
        await make_source(cloud, HastyClock()).list_topics(PK)
    assert len(cloud.asked) == 2


@pytest.mark.asyncio
async def test_who_does_not_answer_is_given_up_after_all_tries(cloud: Cloud) -> None:
    clock = HastyClock()
    source = make_source(cloud, clock)
    source._endpoint._port = 1
    with pytest.raises(click.ClickException, match=r"no answer from http://127\.0\.0\.1.*\(--from\)"):
        await source.list_topics(PK)
    assert len(clock.slept_s) == TRIES_MAX - 1


@pytest.mark.asyncio
async def test_requests_keep_their_pace(cloud: Cloud) -> None:
    clock = HastyClock()
    source = make_source(cloud, clock, rate=4)
    for _ in range(5):
        await source.list_topics(PK)
    assert clock.slept_s == [0.25] * 4


@pytest.mark.asyncio
async def test_the_instance_is_sent_where_there_is_one(cloud: Cloud) -> None:
    await make_source(cloud, HastyClock(), instance_id="iot-1").list_topics(PK)
    await make_source(cloud, HastyClock()).list_topics(PK)
    assert [parameters for _, parameters in cloud.asked] == [
        {"ProductKey": PK, "IotInstanceId": "iot-1"},
        {"ProductKey": PK},
    ]


@pytest.mark.asyncio
async def test_page_numbers_reach_so_far_and_no_further(cloud: Cloud) -> None:
    cloud.answer = lambda _action, parameters: (200, page_of(parameters, PAGED_DEVICES_MAX))
    assert len(set(await names_of(make_source(cloud, HastyClock(), 1000)))) == PAGED_DEVICES_MAX
    cloud.answer = lambda _action, parameters: (200, page_of(parameters, PAGED_DEVICES_MAX + 1))
    with pytest.raises(SourceError, match=f"{PAGED_DEVICES_MAX + 1} devices"):
        await names_of(make_source(cloud, HastyClock(), 1000))


@pytest.mark.asyncio
async def test_a_token_leads_on_from_there(cloud: Cloud) -> None:
    total = PAGED_DEVICES_MAX + DEVICES_OF_A_PAGE + 1
    cloud.answer = lambda _action, parameters: (
        200,
        page_of(parameters, total) | {"NextToken": f"after-{parameters['CurrentPage']}"},
    )
    assert len(set(await names_of(make_source(cloud, HastyClock(), 1000)))) == total
    pages = PAGED_DEVICES_MAX // DEVICES_OF_A_PAGE + 2
    assert [parameters.get("NextToken") for _, parameters in cloud.asked] == [
        None,
        *[f"after-{page}" for page in range(1, pages)],
    ]


@pytest.mark.asyncio
async def test_an_answer_that_lacks_something_is_told(cloud: Cloud) -> None:
    with pytest.raises(click.ClickException, match=r"has no Data\.List\.ProductInfo"):
        await make_source(cloud, HastyClock()).list_product_keys()
