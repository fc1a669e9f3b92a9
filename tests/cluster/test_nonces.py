"""Nonces used on one node, refused on another, over a real NATS server."""

import contextlib
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from linkstead.api.nonces import NonceWindow
from linkstead.clock import Clock
from linkstead.cluster import frames
from linkstead.cluster.frames import UsedNonces
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.nonces import (
    BATCH_NONCES_MAX,
    BATCH_S,
    DIGEST_BYTES,
    LATEST_NONCES_MAX,
    SharedNonces,
)
from linkstead.cluster.subjects import Subjects
from linkstead.server import SystemClock
from linkstead.testing.clock import ManualClock
from tests.nats_server import NatsServer, running_nats
from tests.rig import LAMP, PairRig, start_nodes, stop_server, watching
from tests.wire import App, fetch, until

pytestmark = pytest.mark.asyncio
two_nodes = pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)

_clusters = count(1)


class NonceNode:
    """The nonces of one node."""

    def __init__(self, name: str, nats_url: str, subjects: Subjects, clock: Clock) -> None:
        self.clock = clock
        self.subjects = subjects
        self.window = NonceWindow()
        self.bus = NatsBus([nats_url], name, self.take_up)
        self.nonces = SharedNonces(node=name, window=self.window, bus=self.bus, subjects=subjects, clock=clock)

    def take_up(self) -> None:
        self.nonces.take_up()

    async def join(self) -> None:
        await self.bus.connect()
        self.nonces.listen()
        await self.bus.flush()

    def use(self, nonce: str, access_key_id: str = "ak") -> bool:
        return self.nonces.use(access_key_id, nonce, self.clock.monotonic_s())


def make_nodes(nats_url: str, clock: Clock) -> tuple[NonceNode, NonceNode]:
    """Two nodes of a cluster of their own, not connected yet."""
    subjects = Subjects(f"nonces {next(_clusters)}")
    return NonceNode("a", nats_url, subjects, clock), NonceNode("b", nats_url, subjects, clock)


@contextlib.asynccontextmanager
async def nonce_nodes(nats_url: str, clock: Clock) -> AsyncIterator[tuple[NonceNode, NonceNode]]:
    """Two nodes of a cluster of their own."""
    nodes = make_nodes(nats_url, clock)
    try:
        for node in nodes:
            await node.join()
        yield nodes
    finally:
        for node in nodes:
            await node.bus.close()


async def hear(*nodes: NonceNode) -> None:
    """Have everything that was said heard."""
    for node in nodes:
        assert await node.bus.flush()


async def test_a_nonce_is_told_when_the_batch_is_due_and_refused_elsewhere_from_then_on(
    nats_server: NatsServer,
) -> None:
    clock = ManualClock()
    async with nonce_nodes(nats_server.url, clock) as (here, there):
        assert here.use("first")
        clock.advance(BATCH_S - 0.001)
        assert here.use("second")
        await hear(here, there)
        assert len(there.window) == 0
        clock.advance(0.001)
        await hear(here, there)
        assert not there.use("first")
        assert not there.use("second")
        assert there.use("first", "another key")
        assert there.nonces.replayed == here.nonces.replayed == 0


async def test_a_nonce_is_refused_elsewhere_within_a_tenth_of_a_second(nats_server: NatsServer) -> None:
    took_s = []
    async with nonce_nodes(nats_server.url, SystemClock()) as (here, there):
        for number in range(5):
            asked_s = time.monotonic()
            assert here.use(f"nonce {number}")
            await until(lambda known=number + 1: len(there.window) == known)  # type: ignore[misc]
            took_s.append(time.monotonic() - asked_s)
            assert not there.use(f"nonce {number}")
    # of several, as the machine may be busy
    assert BATCH_S <= min(took_s) <= 0.1


async def test_a_full_batch_is_told_at_once(nats_server: NatsServer) -> None:
    clock = ManualClock()
    async with nonce_nodes(nats_server.url, clock) as (here, there):
        for number in range(BATCH_NONCES_MAX - 1):
            assert here.use(str(number))
        await hear(here, there)
        assert len(there.window) == 0
        assert here.use("the last")
        await hear(here, there)
        assert len(there.window) == BATCH_NONCES_MAX
        assert here.use("one more")
        clock.advance(BATCH_S)
        await hear(here, there)
        assert not there.use("one more")


async def test_what_passes_on_two_nodes_before_either_knows_is_counted_and_logged(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with nonce_nodes(nats_server.url, clock) as (here, there):
        assert here.use("nonce")
        assert there.use("nonce")
        clock.advance(BATCH_S)
        await hear(here, there, here)
        assert (here.nonces.replayed, there.nonces.replayed) == (1, 1)
        assert "signed requests were taken here as well as on node b" in caplog.text
        assert not here.use("nonce")
        assert not there.use("nonce")


@pytest.mark.parametrize("nonce", ["", "随机数", "\udc80", "a\0b", "x" * 1_000_000])
async def test_any_nonce_is_told_in_as_few_bytes(nats_server: NatsServer, nonce: str) -> None:
    clock = ManualClock()
    async with nonce_nodes(nats_server.url, clock) as (here, there):
        said: list[bytes] = []
        there.bus.subscribe(here.subjects.nonces, lambda _subject, _reply, data, _is_nobody: said.append(data))
        assert await there.bus.flush()
        assert here.use(nonce)
        clock.advance(BATCH_S)
        await hear(here, there)
        assert not there.use(nonce)
        assert len(frames.Decoder(UsedNonces).decode(said[0]).digests) == DIGEST_BYTES


async def test_digests_that_are_cut_short_are_not_taken(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with nonce_nodes(nats_server.url, ManualClock()) as (here, there):
        digests = bytes(2 * DIGEST_BYTES - 1)
        here.bus.publish(here.subjects.nonces, frames.encode(UsedNonces(node="a", digests=digests)))
        await hear(here, there)
        assert len(there.window) == 0
        assert "not understood: 15 bytes" in caplog.text


async def test_what_is_used_without_nats_is_told_when_it_is_back(tmp_path: Path) -> None:
    clock = ManualClock()
    with running_nats(tmp_path) as nats:
        async with nonce_nodes(nats.url, clock) as (here, there):
            nats.kill()
            await until(lambda: not here.bus.is_connected and not there.bus.is_connected)
            for number in range(BATCH_NONCES_MAX + 1):
                assert here.use(str(number))
            clock.advance(BATCH_S)
            nats.start()
            await until(lambda: len(there.window) == BATCH_NONCES_MAX + 1)
            assert not there.use("0")
            assert not there.use(str(BATCH_NONCES_MAX))
            assert here.nonces.replayed == there.nonces.replayed == 0


async def test_a_node_that_comes_later_is_told_what_was_used_last(nats_server: NatsServer) -> None:
    clock = ManualClock()
    here, there = make_nodes(nats_server.url, clock)
    await here.join()
    for number in range(LATEST_NONCES_MAX + 1):
        assert here.use(str(number))
    await hear(here)
    await there.join()
    await hear(there, here, there)
    clock.advance(BATCH_S)
    await hear(here, there)
    assert len(there.window) == LATEST_NONCES_MAX
    assert not there.use("1")
    assert there.use("0")
    assert there.nonces.replayed == 0
    await here.bus.close()
    await there.bus.close()


@two_nodes
async def test_a_signed_request_is_not_taken_again_on_another_node(rig: PairRig) -> None:
    app = rig.app()
    target = "/?" + app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)})
    holder = rig.holder.endpoints
    assert holder is not None
    assert (await fetch(rig.http, "GET", target)).json()["RrpcCode"] == "OFFLINE"
    rig.clock.advance(BATCH_S)
    await rig.settle()
    for address in (holder.http, rig.http):
        assert (await fetch(address, "GET", target)).json()["Code"] == "SignatureNonceUsed"


async def test_a_node_that_stops_tells_what_it_has_not_told_yet(
    filled_database: Path, tmp_path: Path, nats_server: NatsServer
) -> None:
    clock, cluster_name = ManualClock(), f"nonces {next(_clusters)}"
    leaving, staying = start_nodes(filled_database, tmp_path, nats_server.url, cluster_name, clock, 2)
    with watching():
        endpoints = [await server.start() for server in (leaving, staying)]
        app = App(endpoints[0].http, clock, "app-key", "app-secret")
        target = "/?" + app.sign_v1({"Action": "RRpc", **app.rrpc_parameters(LAMP)})
        assert (await fetch(endpoints[0].http, "GET", target)).json()["RrpcCode"] == "OFFLINE"
        # The clock stands still, so no batch is due.
        await leaving.stop()
        assert staying.cluster is not None
        assert await staying.cluster.bus.flush()
        assert (await fetch(endpoints[1].http, "GET", target)).json()["Code"] == "SignatureNonceUsed"
        await stop_server(staying, clock)
