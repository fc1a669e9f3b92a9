"""Quotas of several nodes, counted by a real NATS server."""

import asyncio
import contextlib
import logging
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from linkstead.cluster.bus import Handler
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.quotas import LEASE_CALLS_MAX, LEASE_WAIT_S, OPEN_WAIT_S, RETRY_S, SharedQuotas
from linkstead.cluster.subjects import Subjects
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer, running_nats
from tests.rig import LAMP, start_nodes, stop_server, watching
from tests.wire import App, fetch, until

pytestmark = pytest.mark.asyncio

ACCOUNT_ID, ACTION = "1001", "RRpc"
AWAY = "each node counts quotas for itself"
AGAIN = "quotas are counted for all nodes together again"
STEP_S = 0.005
"""NATS answers within this time, as the clock of the test goes."""

_clusters = count(1)


class WatchedBus(NatsBus):
    """Knows what counters were asked for, and how many of them have not answered yet."""

    under_way = 0

    def count(self, subject: str, amount: int, reply: str) -> None:
        super().count(subject, amount, reply)
        self.under_way += 1
        self.amounts.append(amount)

    def subscribe(self, subject: str, handler: Handler, group: str = "") -> int:
        self.amounts: list[int] = []

        def take(subject: str, reply: str, data: bytes, is_nobody: bool) -> None:
            self.under_way -= not subject.endswith("opened")
            handler(subject, reply, data, is_nobody)

        return super().subscribe(subject, take, group)


class QuotaNode:
    """The quotas of one node."""

    def __init__(
        self, name: str, nats_url: str, cluster: str, node_count: int, limits: dict[str, int], clock: ManualClock
    ) -> None:
        self.clock = clock
        self.waited = 0
        self.bus = WatchedBus([nats_url], name, self.take_up)
        self.quotas = SharedQuotas(
            node=name,
            limits=limits,
            bus=self.bus,
            subjects=Subjects(cluster),
            clock=clock,
            count_nodes=lambda: node_count,
        )

    def take_up(self) -> None:
        self.quotas.take_up()

    async def call(self, action: str = ACTION, account_id: str = ACCOUNT_ID) -> bool:
        """What is decided of a call."""
        now_s = self.clock.time_s()
        if self.quotas.take(account_id, action, now_s):
            return True
        self.waited += 1
        return await self.quotas.ask(account_id, action, now_s)

    async def call_often(self, calls: int) -> int:
        """How many of so many calls, one after the other, are granted."""
        return sum([await self.call() for _ in range(calls)])

    async def settle(self) -> None:
        """Return when all counters have answered."""
        await until(lambda: not self.bus.under_way)


@contextlib.asynccontextmanager
async def quota_nodes(nats_url: str, node_count: int, limits: dict[str, int]) -> AsyncIterator[list[QuotaNode]]:
    """Nodes of a cluster of their own, on one clock that is turned by hand."""
    clock, cluster = ManualClock(), f"quotas {next(_clusters)}"
    nodes = [QuotaNode(f"n{number}", nats_url, cluster, node_count, limits, clock) for number in range(node_count)]
    try:
        for node in nodes:
            await node.bus.connect()
            await node.quotas.start()
        yield nodes
    finally:
        for node in nodes:
            node.quotas.stop()
            await node.bus.close()


@pytest.mark.parametrize("shares", [(1, 1, 1), (70, 20, 10), (90, 9, 1), (100, 0, 0), (98, 1, 1)])
@pytest.mark.parametrize("offered_per_s", [1_100, 3_000])
async def test_a_thousand_a_second_over_three_nodes_are_a_thousand(
    nats_server: NatsServer, shares: tuple[int, ...], offered_per_s: int
) -> None:
    draw, seconds = random.Random(1), 3
    granted: Counter[int] = Counter()
    async with quota_nodes(nats_server.url, 3, {ACTION: 1_000}) as nodes:
        clock = nodes[0].clock
        for number in range(offered_per_s * seconds):
            [node] = draw.choices(nodes, shares)
            granted[int(clock.time_s())] += await node.call()
            clock.advance(1 / offered_per_s)
            if number % int(STEP_S * offered_per_s) == 0:
                await asyncio.gather(*(node.settle() for node in nodes))
        assert len(granted) == seconds
        assert all(980 <= calls <= 1_000 for calls in granted.values()), granted
        assert all(node.quotas.is_shared for node in nodes)


async def test_what_is_called_at_once_everywhere_is_granted_up_to_the_limit(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 3, {ACTION: 1_000}) as nodes:
        assert sum(await asyncio.gather(*(node.call() for node in nodes for _ in range(500)))) == 1_000


@pytest.mark.parametrize("limit", [1, 2, 5, 10])
async def test_a_small_limit_is_used_up_to_the_last_call_and_not_exceeded(nats_server: NatsServer, limit: int) -> None:
    async with quota_nodes(nats_server.url, 3, {ACTION: limit}) as nodes:
        for _ in range(3):
            assert await nodes[0].call_often(limit // 3) == limit // 3
            assert await nodes[1].call_often(limit) == limit - limit // 3
            assert await nodes[2].call_often(limit) == 0
            nodes[0].clock.advance(1.0)


async def test_calls_at_a_steady_rate_do_not_wait(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 3, {ACTION: 1_000}) as [node, *_]:
        for second in range(4):
            if second == 1:
                warmed_up = node.waited
                node.bus.amounts.clear()
            for _ in range(400):
                assert await node.call()
                node.clock.advance(1 / 400)
                await node.settle()
        assert 1 <= warmed_up <= 5
        assert node.waited == warmed_up
        # 20 at a time, and fewer at the end of a second
        assert max(node.bus.amounts) == LEASE_CALLS_MAX
        assert len(node.bus.amounts) / 3 <= 1.5 * 400 / LEASE_CALLS_MAX


async def test_a_call_now_and_then_takes_nothing_from_others(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 3, {ACTION: 10}) as nodes:
        for _ in range(3):
            for node in nodes:
                assert await node.call()
                node.clock.advance(0.5)
        assert [node.bus.amounts for node in nodes] == [[1, 1, 1]] * 3


async def test_accounts_actions_and_seconds_are_counted_for_themselves(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 2, {ACTION: 1, "Pub": 1}) as [node, other]:
        for _ in range(2):
            assert await node.call()
            assert not await other.call()
            assert await other.call(account_id="an account.of >* names")
            assert not await node.call(account_id="an account.of >* names")
            assert await other.call("Pub")
            assert not await node.call("Pub")
            node.clock.advance(1.0)
        assert len(node.quotas) == 3


async def test_an_action_without_a_limit_is_neither_counted_nor_asked_for(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 1, {ACTION: 1}) as [node]:
        assert all([await node.call("Other") for _ in range(100)])
        assert await node.quotas.ask(ACCOUNT_ID, "Other", node.clock.time_s())
        assert node.bus.amounts == []
        assert len(node.quotas) == 0


async def test_a_clock_set_back_on_one_node_does_not_grant_anew(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 1, {ACTION: 5}) as [node]:
        assert await node.call_often(6) == 5
        node.clock.advance(1.0)
        assert await node.call_often(6) == 5
        node.clock.jump(-1.0)
        assert await node.call_often(6) == 0


async def test_no_more_calls_wait_than_can_be_granted(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 1, {ACTION: 10}) as [node]:
        now_s = node.clock.time_s()
        asking = [asyncio.ensure_future(node.quotas.ask(ACCOUNT_ID, ACTION, now_s)) for _ in range(11)]
        await asyncio.sleep(0)
        # The last is refused before a counter could have answered.
        assert [future.done() for future in asking] == [False] * 10 + [True]
        assert await asyncio.gather(*asking) == [True] * 10 + [False]


async def test_without_nats_each_node_has_its_part_and_what_it_was_granted_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_nats(tmp_path) as nats:
        async with quota_nodes(nats.url, 3, {ACTION: 100, "Pub": 2}) as nodes:
            assert await nodes[0].call_often(20) == 20
            assert await nodes[1].call_often(50) == 50
            for node in nodes:
                await node.settle()
            nats.kill()
            await until(lambda: not any(node.bus.is_connected for node in nodes))
            leased = sum(nodes[1].bus.amounts)
            assert [await node.call_often(100) for node in nodes] == [33 - 20, leased - 50, 33]
            assert not any(node.quotas.is_shared for node in nodes)
            nodes[0].clock.advance(1.0)
            assert [await node.call_often(100) for node in nodes] == [33, 33, 33]
            # of a limit below the number of nodes each has one
            assert [await node.call("Pub") for node in nodes] == [True, True, True]
            assert [await node.call("Pub") for node in nodes] == [False, False, False]
            assert caplog.text.count(AWAY) == 3

            nats.start()
            await until(lambda: all(node.bus.is_connected for node in nodes))
            while not all(node.quotas.is_shared for node in nodes):
                nodes[0].clock.advance(STEP_S)
                for node in nodes:
                    await node.bus.flush()
            for node in nodes:
                await node.settle()
            nodes[0].clock.advance(1.0)
            assert sum([await node.call_often(100) for node in nodes]) == 100
            assert caplog.text.count(AGAIN) == 3


async def lose_the_counter(node: QuotaNode, nats: subprocess.Popen[bytes]) -> None:
    """A node makes a call, and NATS, which says nothing until it gets SIGCONT, does not answer in time."""
    nats.send_signal(signal.SIGSTOP)
    call = asyncio.ensure_future(node.call())
    await asyncio.sleep(0)
    node.clock.advance(LEASE_WAIT_S)
    assert await call


async def test_calls_made_without_the_counter_are_counted_when_it_is_back(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        assert nats.process is not None
        async with quota_nodes(nats.url, 2, {ACTION: 100}) as [node, other]:
            await lose_the_counter(node, nats.process)
            node.clock.advance(RETRY_S)
            assert await node.call_often(100) == 50
            nats.process.send_signal(signal.SIGCONT)
            await until(lambda: node.quotas.is_shared)
            await node.settle()
            assert await other.call_often(100) == 50


async def test_what_was_granted_meanwhile_is_counted_once(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        assert nats.process is not None
        async with quota_nodes(nats.url, 1, {ACTION: 4, "Pub": 4}) as [node]:
            nats.process.send_signal(signal.SIGSTOP)
            first = asyncio.ensure_future(node.call("Pub"))
            await asyncio.sleep(0)
            node.clock.advance(LEASE_WAIT_S / 2)
            second = asyncio.ensure_future(node.call())
            await asyncio.sleep(0)
            node.clock.advance(LEASE_WAIT_S / 2)
            assert await first
            assert await node.call_often(2) == 2
            nats.process.send_signal(signal.SIGCONT)
            assert await second
            await node.settle()
            assert node.quotas.is_shared
            # One of `Pub` that was not answered in time and the same once more, three of the other.
            assert node.bus.amounts == [1, 1, 1, 1, 1]
            assert await node.call_often(2) == 1


async def test_the_counter_is_found_again_by_a_node_that_nobody_calls(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        assert nats.process is not None
        async with quota_nodes(nats.url, 2, {ACTION: 2}) as [node, other]:
            await lose_the_counter(node, nats.process)
            nats.process.send_signal(signal.SIGCONT)
            node.clock.advance(RETRY_S)
            await until(lambda: node.quotas.is_shared)
            await node.settle()
            # In a later second, in which the other one has used up the limit.
            node.clock.advance(1.0)
            assert await other.call_often(3) == 2
            assert not await node.call()


async def test_a_node_that_stops_looks_for_counters_no_more(nats_server: NatsServer) -> None:
    async with quota_nodes(nats_server.url, 1, {ACTION: 2}) as [node]:
        await node.bus.close()
        assert await node.call()
        assert node.clock.timer_count == 1
        node.quotas.stop()
        assert node.clock.timer_count == 0
        assert await node.call()
        assert node.clock.timer_count == 0


async def test_nats_without_jetstream_leaves_each_node_its_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_nats(tmp_path, has_jetstream=False) as nats:
        async with quota_nodes(nats.url, 2, {ACTION: 100}) as nodes:
            assert [await node.call_often(100) for node in nodes] == [50, 50]
            assert f"{AWAY}, and has its part of the limit: NATS has no JetStream" in caplog.text


async def test_a_node_starts_without_counters_that_do_not_answer_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    with running_nats(tmp_path) as nats:
        assert nats.process is not None
        node = QuotaNode("n", nats.url, "silent", 2, {ACTION: 10}, clock)
        await node.bus.connect()
        nats.process.send_signal(signal.SIGSTOP)
        starting = asyncio.ensure_future(node.quotas.start())
        await asyncio.sleep(0)
        clock.advance(OPEN_WAIT_S - 0.001)
        await asyncio.sleep(0)
        assert not starting.done()
        clock.advance(0.001)
        await starting
        assert f"{AWAY}, and has its part of the limit: no answer of JetStream" in caplog.text
        assert await node.call_often(10) == 5
        nats.process.send_signal(signal.SIGCONT)
        assert await node.bus.flush()
        while not node.quotas.is_shared:
            clock.advance(RETRY_S)
            assert await node.bus.flush()
        await node.settle()
        clock.advance(1.0)
        assert await node.call_often(11) == 10
        node.quotas.stop()
        await node.bus.close()


async def test_a_call_waits_for_a_silent_counter_up_to_a_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_nats(tmp_path) as nats:
        assert nats.process is not None
        async with quota_nodes(nats.url, 2, {ACTION: 4}) as [node, _]:
            nats.process.send_signal(signal.SIGSTOP)
            asking = [asyncio.ensure_future(node.call()) for _ in range(3)]
            await asyncio.sleep(0)
            node.clock.advance(LEASE_WAIT_S - 0.001)
            await asyncio.sleep(0)
            assert not any(future.done() for future in asking)
            node.clock.advance(0.001)
            assert await asyncio.gather(*asking) == [True, True, False]
            assert f"{AWAY}, and has its part of the limit: no answer of the counter" in caplog.text
            # From now on no call waits, and once a second it is looked whether the counters are there again.
            assert not await node.call()
            assert len(node.bus.amounts) == 1
            node.clock.advance(RETRY_S)
            assert await node.call_often(3) == 2
            assert len(node.bus.amounts) == 2
            node.clock.advance(LEASE_WAIT_S + RETRY_S)
            assert len(node.bus.amounts) == 3
            nats.process.send_signal(signal.SIGCONT)
            await until(lambda: node.quotas.is_shared)
            assert AGAIN in caplog.text


async def test_apps_at_three_nodes_share_the_limit(
    filled_database: Path, tmp_path: Path, nats_server: NatsServer
) -> None:
    clock = ManualClock()
    servers = start_nodes(
        filled_database,
        tmp_path,
        nats_server.url,
        f"quotas {next(_clusters)}",
        clock,
        3,
        quotas={ACTION: 10},
        quotas_enabled=True,
    )
    with watching():
        try:
            apps = []
            for server in servers:
                endpoints = await server.start()
                apps.append(App(endpoints.http, clock, "app-key", "app-secret"))
            codes: Counter[str] = Counter()
            for app in apps * 5:
                target = "/?" + app.sign_v1({"Action": ACTION, **app.rrpc_parameters(LAMP)})
                answer = (await fetch(app.address, "GET", target)).json()
                codes[answer.get("RrpcCode") or answer["Code"]] += 1
            assert codes == {"OFFLINE": 10, "Throttling.User": 5}
        finally:
            for server in servers:
                await stop_server(server, clock)
