"""Devices that go from node to node, nodes that die, and NATS away: real nodes, a real NATS server."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from linkstead.cluster.router import GRACE_MS, WOKEN_AGAIN_S
from linkstead.config import Address
from linkstead.invocation import CallFilter, Verdict
from linkstead.invocation.delivery import LEFT_BEHIND_S
from linkstead.mqtt.packets import Disconnect, Publish, SubAck, Subscribe, Subscription
from linkstead.registry import DeviceKey, NodeState, StoreAway
from linkstead.server import Server, SystemClock
from linkstead.sessions import SavedMessage
from tests.cli.processes import ServerProcess, serving
from tests.crash.installation import until_activated
from tests.nats_server import NatsServer, running_nats
from tests.rig import ACCOUNT_ID, KEY, LAMP, NetworkClock, PairRig, device_secret, start_nodes, stop_server, watching
from tests.wire import App, DeviceClient, fetch, stages, until

pytestmark = pytest.mark.asyncio
GET_TOPIC = f"/{LAMP}/user/get"
DATABASE = "shared.db"
two_nodes = pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True)


def device_at(address: Address, key: DeviceKey = LAMP) -> DeviceClient:
    return DeviceClient(address, key, device_secret(key))


def mqtt_of(server: Server) -> Address:
    assert server.endpoints is not None
    return server.endpoints.mqtt


async def answered(app: App, device: DeviceClient) -> bool:
    call = asyncio.ensure_future(app.rrpc(LAMP))
    await device.answer_call(b"pong")
    return bool((await call)["RrpcCode"] == "SUCCESS")


@two_nodes
async def test_a_device_that_connects_to_another_node_is_held_by_that_one_alone(rig: PairRig) -> None:
    first = await rig.connected(level=5)
    second = device_at(mqtt_of(rig.server))
    rig.devices.append(second)
    await second.connect(level=5)
    assert (await first.expect(Disconnect)).reason_code == 0x8E
    await until(lambda: not rig.is_online)
    assert rig.server.sessions.live_count == 1
    assert await answered(rig.app(), second)
    back = await rig.connected()
    await until(lambda: rig.server.sessions.live_count == 0)
    assert await answered(rig.app(), back)
    assert (await rig.app().call("GetDeviceStatus", **names(LAMP))).json()["Data"]["Status"] == "ONLINE"


def names(key: DeviceKey) -> dict[str, str]:
    return {"ProductKey": key.product_key, "DeviceName": key.device_name, "Format": "JSON"}


@two_nodes
async def test_a_device_that_comes_back_elsewhere_is_not_half_connected(rig: PairRig) -> None:
    device = await rig.connected()
    device.reset()
    await until(lambda: not rig.is_online)
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "HALFCONN"
    second = device_at(mqtt_of(rig.server))
    rig.devices.append(second)
    await second.connect()
    assert await answered(rig.app(), second)
    await second.disconnect()
    assert (await rig.app().rrpc(LAMP))["RrpcCode"] == "OFFLINE"


@two_nodes
async def test_the_timeline_names_the_node_of_each_moment(rig: PairRig) -> None:
    device = await rig.connected()
    await answered(rig.app(), device)
    record = await rig.app().last_record()
    at = {moment["stage"]: moment["node"] for moment in record["timeline"]}
    assert {at[stage] for stage in ("received", "authenticated", "accepted", "returned")} == {rig.server.node}
    assert {at[stage] for stage in ("routed", "written", "answered")} == {rig.holder.node}
    offsets = [moment["offset_ms"] for moment in record["timeline"]]
    assert offsets == sorted(offsets)


@two_nodes
async def test_a_listening_that_is_not_known_yet_is_made_up_for_by_asking_its_node(rig: PairRig) -> None:
    device = await rig.connected()
    holder = rig.holder.cluster
    assert holder is not None
    # As if the server that the caller speaks to had not heard of it yet.
    claim = holder.holder._claims[LAMP]
    holder.bus.unsubscribe(claim.number)
    await rig.settle()
    assert await answered(rig.app(), device)


@two_nodes
async def test_what_is_posted_before_a_listening_is_known_is_made_up_for_likewise(rig: PairRig) -> None:
    device = await rig.connected()
    await subscribe(device)
    holder = rig.holder.cluster
    assert holder is not None
    holder.bus.unsubscribe(holder.holder._claims[LAMP].number)
    await rig.settle()
    await accept_message(rig.app(), qos=0)
    assert (await device.expect(Publish)).payload == b"light"


@two_nodes
async def test_a_call_is_not_answered_by_a_node_that_has_let_go_of_its_device(rig: PairRig) -> None:
    device = await rig.connected()
    calls = [asyncio.ensure_future(rig.app().rrpc(LAMP)) for _ in range(20)]
    await device.disconnect()
    for answer in await asyncio.gather(*calls):
        assert answer["RrpcCode"] in ("OFFLINE", "HALFCONN")


@two_nodes
async def test_an_own_of_an_older_connection_changes_nothing_and_is_set_right(rig: PairRig) -> None:
    device = await rig.connected()
    assert rig.server.cluster is not None
    other = rig.server.cluster.holder
    # A node that was cut off, with a clock that is behind, and has not heard of the device's present connection.
    other._epoch = 0
    rig.clock.jump(-60.0)
    await other.claim([LAMP])
    rig.clock.jump(60.0)
    await until(lambda: LAMP not in other.held)
    assert rig.is_online
    assert await answered(rig.app(), device)


async def accept_message(app: App, qos: int = 1) -> None:
    answer = await app.call(
        "Pub", ProductKey=LAMP.product_key, TopicFullName=GET_TOPIC, MessageContent="bGlnaHQ=", Qos=str(qos)
    )
    assert answer.json()["Success"]


async def subscribe(device: DeviceClient) -> None:
    device.send(Subscribe(1, [Subscription(GET_TOPIC, 1)]))
    await device.expect(SubAck)


class Interrupted:
    """Takes the place of an asynchronous method: once, something else happens behind it, or before it."""

    def __init__(
        self, place: object, name: str, happen: Callable[[], Awaitable[object]], *, is_before: bool = False
    ) -> None:
        self._method = getattr(place, name)
        self._happen: Callable[[], Awaitable[object]] | None = happen
        self._is_before = is_before
        setattr(place, name, self.call)

    async def call(self, *arguments: Any) -> Any:
        happen, self._happen = self._happen, None
        if happen is not None and self._is_before:
            await happen()
        result = await self._method(*arguments)
        if happen is not None and not self._is_before:
            await happen()
        return result


@two_nodes
async def test_what_is_put_into_the_store_while_its_device_connects_is_not_left_there(rig: PairRig) -> None:
    device = await rig.connected(clean_start=False)
    await subscribe(device)
    await device.disconnect()

    async def accept() -> None:
        await accept_message(rig.app())
        rig.clock.advance(WOKEN_AGAIN_S)
        await rig.settle()

    Interrupted(rig.holder.delivery, "load", accept)
    await device.connect(clean_start=False)
    assert (await device.expect(Publish)).payload == b"light"


@two_nodes
async def test_what_is_accepted_here_while_its_device_goes_elsewhere_is_not_left_here(rig: PairRig) -> None:
    first, second = await rig.connected(clean_start=False), device_at(mqtt_of(rig.server))
    rig.devices.append(second)
    await subscribe(first)

    async def move() -> None:
        await second.connect(clean_start=False)
        await until(lambda: not rig.is_online)

    Interrupted(rig.holder.store, "keep_calls", move, is_before=True)
    await accept_message(rig.app())
    assert (await second.expect(Publish)).payload == b"light"


@two_nodes
async def test_what_was_written_and_not_accepted_is_not_left_open(rig: PairRig) -> None:
    await subscribe(await rig.connected())

    async def lose() -> None:
        raise StoreAway("the connection broke")

    Interrupted(rig.holder.store, "keep_calls", lose)
    answer = await rig.app().call(
        "Pub", ProductKey=LAMP.product_key, TopicFullName=GET_TOPIC, MessageContent="bGlnaHQ=", Qos="1"
    )
    assert answer.json()["Code"] == "iot.system.SystemException"
    at_holder, at_app = rig.watch.take()
    assert "a call of another node failed" in at_holder
    assert "request failed" in at_app
    await rig.settle()
    (kept,) = await rig.server.store.list_calls(CallFilter(ACCOUNT_ID))
    assert (kept.node, kept.verdict) == (rig.holder.node, Verdict.UNKNOWN)


@two_nodes
async def test_what_nobody_told_of_comes_when_its_device_connects_over_itself(rig: PairRig) -> None:
    await subscribe(await rig.connected(clean_start=False))
    now_ms = int(rig.clock.time_s() * 1000)
    await rig.holder.store.add_messages([SavedMessage(LAMP, GET_TOPIC, b"light", now_ms)])
    again = await rig.connected(clean_start=False)
    assert (await again.expect(Publish)).payload == b"light"


@two_nodes
@pytest.mark.parametrize("place", ["another node", "the same node"])
async def test_what_was_left_behind_comes_when_its_device_connects_next(rig: PairRig, place: str) -> None:
    device = await rig.connected(clean_start=False)
    await subscribe(device)
    await accept_message(rig.app())
    await device.expect(Publish)
    # The other node has dropped the session; and its device was gone again when the first one heard of it.
    rig.server.store.drop_session(LAMP)
    await rig.server.store.flush()
    assert rig.server.cluster is not None
    await rig.server.cluster.holder.claim([LAMP])
    rig.server.cluster.holder.abandon([LAMP])
    await until(lambda: rig.holder.sessions.find(LAMP) is None)
    again = device_at(mqtt_of(rig.server if place == "another node" else rig.holder))
    rig.devices.append(again)
    await again.connect(clean_start=False)
    await until(lambda: rig.holder.delivery._left_behind[LAMP] is not None)
    rig.clock.advance(LEFT_BEHIND_S)
    assert (await again.expect(Publish)).payload == b"light"


@two_nodes
async def test_what_is_taken_up_while_its_device_connects_anew_comes_once(rig: PairRig) -> None:
    device = await rig.connected(clean_start=False)
    await subscribe(device)
    await accept_message(rig.app())
    await device.expect(Publish)

    async def connect_anew() -> None:
        await device.disconnect()
        await until(lambda: rig.holder.sessions.find(LAMP) is None)
        await device.connect(clean_start=False)

    Interrupted(rig.holder.store, "list_messages", connect_anew)
    await rig.holder.delivery.take_up(LAMP)
    assert (await device.expect(Publish)).payload == b"light"
    await device.expect_silence()


@two_nodes
async def test_of_a_device_that_leaves_while_it_connects_nothing_stays(rig: PairRig) -> None:
    device = await rig.connected(clean_start=False)
    await device.disconnect()
    await until(lambda: rig.holder.sessions.find(LAMP) is None)
    assert rig.holder.cluster is not None
    holder = rig.holder.cluster.holder

    async def leave() -> None:
        assert rig.holder.sessions.find(LAMP) is not None
        device.reset()
        await until(lambda: not rig.holder.gateway.connections)

    Interrupted(rig.holder.delivery, "load", leave)
    await device.open()
    device.send(device.connect_packet(clean_start=False))
    await until(lambda: LAMP in holder.held)
    await until(lambda: LAMP not in holder.held)
    # It would take what is for the session that another node has by then.
    assert rig.holder.sessions.find(LAMP) is None


@pytest_asyncio.fixture
async def processes(
    filled_database: Path, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    """Two nodes in processes of their own: one to call, one to kill."""
    path = tmp_path / DATABASE
    shutil.copyfile(filled_database, path)
    options = ("--database", f"sqlite:///{path}", "--nats", nats_server.url, "--cluster-name", tmp_path.name[-32:])
    with (
        serving("serve", *options, folder=tmp_path, name="a") as first,
        serving("serve", *options, folder=tmp_path, name="b") as second,
    ):
        yield first, second


@pytest.mark.parametrize(("is_written", "verdict"), [(True, "TIMEOUT"), (False, "UNKNOWN")])
async def test_a_node_that_dies_mid_call_is_no_timeout_unless_it_said_written(
    processes: tuple[ServerProcess, ServerProcess], tmp_path: Path, is_written: bool, verdict: str
) -> None:
    caller, holder = processes
    app = App(caller.http, SystemClock(), KEY.access_key_id, KEY.secret)
    device = device_at(holder.mqtt)
    await device.connect()
    await until_activated(f"sqlite:///{tmp_path / DATABASE}", [LAMP])
    if not is_written:
        # It is there for all others, and does nothing that it is asked for.
        os.kill(holder.child.pid, signal.SIGSTOP)
    call = asyncio.ensure_future(app.rrpc(LAMP, Timeout="1000"))
    if is_written:
        await device.expect_call()
    await asyncio.sleep(0.2)
    holder.child.kill()
    answer = await call
    record = await app.call_record(answer["MessageId"])
    assert (record["verdict"], record["diagnosis"]) == (verdict, "node-lost")
    assert ("written" in stages(record)) == is_written
    assert 1000 <= record["timeline"][-1]["offset_ms"] < 1_050 + 200
    # Within a keep-alive period of its death its devices are half connected.
    assert (await app.rrpc(LAMP))["RrpcCode"] == "HALFCONN"
    await device.close()
    again = device_at(caller.mqtt)
    await again.connect()
    assert await answered(app, again)
    await again.close()


@pytest_asyncio.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    with running_nats(tmp_path) as server:
        yield server


async def test_without_nats_devices_of_this_node_go_on_and_others_come_back_with_it(
    filled_database: Path, tmp_path_factory: pytest.TempPathFactory, own_nats: NatsServer
) -> None:
    clock = NetworkClock()
    nodes = start_nodes(filled_database, tmp_path_factory.mktemp("data"), own_nats.url, "away", clock, 2)
    with watching():
        for node in nodes:
            await node.start()
        apps = [App(node.endpoints.http, clock, KEY.access_key_id, KEY.secret) for node in nodes if node.endpoints]
        device = device_at(mqtt_of(nodes[1]))
        await device.connect()
        assert await answered(apps[0], device)
        own_nats.kill()
        await until(lambda: not any(node.cluster and node.cluster.bus.is_connected for node in nodes))
        assert await answered(apps[1], device)
        answer = await apps[0].rrpc(LAMP)
        record = await apps[0].call_record(answer["MessageId"])
        assert (record["verdict"], record["diagnosis"]) == ("UNKNOWN", "nodes-unreachable")
        await device.expect_silence()
        ready = await fetch(apps[0].address, "GET", "/readyz", {})
        assert (ready.status, ready.json()) == (503, {"ready": False, "reasons": ["nats-away"]})
        for node in nodes:
            assert node.cluster is not None
            await node.cluster.nodes.beat()
        assert {node.state for node in await nodes[0].store.list_nodes()} == {NodeState.ALONE}
        own_nats.start()
        await until(lambda: all(node.cluster and node.cluster.bus.is_connected for node in nodes))
        assert await answered(apps[0], device)
        await device.close()
        for node in nodes:
            await stop_server(node, clock)


@two_nodes
@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_call_to_a_device_whose_row_cannot_be_read_says_so_in_time(
    rig: PairRig, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    device = await rig.connected()
    assert await answered(rig.app(), device)
    await device.disconnect()
    await until(lambda: not rig.is_online)
    asked = asyncio.Event()

    async def find_presence(_key: DeviceKey) -> None:
        asked.set()
        if is_silent:
            await asyncio.Event().wait()
        raise StoreAway

    monkeypatch.setattr(rig.server.store, "find_presence", find_presence)
    app = App(rig.http, rig.clock, KEY.access_key_id, KEY.secret)
    calling = asyncio.ensure_future(app.rrpc(LAMP, Timeout="2000"))
    await asked.wait()
    if is_silent:
        rig.clock.advance(2.0 + GRACE_MS / 1000)
    answer = await calling
    record = await app.call_record(answer["MessageId"])
    assert answer["RrpcCode"] == record["verdict"] == "UNKNOWN"
    assert record["diagnosis"] == "database-away"
    assert record["timeline"][-1]["offset_ms"] <= 2_000 + GRACE_MS
    assert bool(rig.watch.take()) != is_silent
