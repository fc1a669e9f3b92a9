"""What two nodes on one database handle each for itself, and what one does for both: real nodes, a real NATS server."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from linkstead.clock import milliseconds
from linkstead.cluster.desks import ASK_WAIT_S
from linkstead.cluster.heirs import TAKEN_OVER_S
from linkstead.cluster.nodes import BEAT_S
from linkstead.cluster.owns import EPOCH_BITS
from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.invocation.delivery import COMING_BACK_S
from linkstead.mqtt.packets import SubAck, Subscribe, Subscription
from linkstead.registry import Application, ApplicationStatus, Node, NodeState, PresenceChange
from linkstead.registry.applications import blank_devices
from linkstead.server import HOUSEKEEPING, HOUSEKEEPING_S, RELEASE_S, Server, StartError, SystemClock
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation, destination_of
from linkstead.subscription.dispatch import LOOK_AGAIN_S, REDELIVERY_S
from tests.rig import ACCOUNT_ID, LAMP, PRODUCT_KEY, PairRig, RigStarter, device_secret, stop_server
from tests.store.samples import a_notice, an_open_call
from tests.subscription.desk import Taker, attached
from tests.webhook.receiver import Receiver, a_webhook
from tests.wire import DeviceClient, properties

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("start_rig", ["two nodes"], indirect=True),
]

DESTINATION = destination_of(ACCOUNT_ID, DEFAULT_GROUP_ID)
RELATION = SubscribeRelation(PRODUCT_KEY, "AMQP", frozenset({NoticeKind.DEVICE_DATA}), (DEFAULT_GROUP_ID,))
DEAD = "dead-node"
TRIES, PATIENT_TRIES = 20, 5_000
"""Looks before the clock is turned on; where it may not be turned, until there is no hope."""


def attach(server: Server, credit: int = 10, destination: str = DESTINATION, **fields: Any) -> Taker:
    """A consumer at a node."""
    taker = Taker(**fields)
    taker.attachment = server.dispatcher.attach(destination, taker)
    taker.attachment.grant(credit)
    return taker


def forward(server: Server, *payloads: bytes) -> None:
    """Have a node tell the default group."""
    for payload in payloads:
        server.forwarder.forward(
            ACCOUNT_ID, LAMP, NoticeKind.DEVICE_DATA, f"/{PRODUCT_KEY}/{LAMP.device_name}/user/a", payload
        )


async def until(rig: PairRig, condition: Callable[[], object], within_s: float, step_s: float = BATCH_DELAY_S) -> None:
    """Turn the clock until something has come, by no more than the bound that is named."""
    turned_s = 0.0
    while not condition():
        # What needs no time has happened first, in the database and between the nodes.
        for _ in range(TRIES if within_s else PATIENT_TRIES):
            await asyncio.sleep(0.002)
            if condition():
                return
        assert turned_s + step_s <= within_s, "it did not come in time"
        turned_s += step_s
        rig.clock.advance(step_s)


async def take_hold(rig: PairRig, count: int, destination: str = DESTINATION) -> None:
    """Have letters recorded by a node that leases them all and dies."""
    store = rig.another_store()
    await store.open()
    store.node = DEAD
    now_ms = int(rig.clock.time_s() * 1000)
    await store.beat(Node(DEAD, 1, now_ms, now_ms, "1", "", "", NodeState.UP))
    for number in range(count):
        store.record_notice([destination], a_notice(number, generated_ms=now_ms))
    assert await store.flush()
    assert len(await store.lease_letters(destination, count, now_ms, now_ms + 90_000)) == count
    assert await store.take_lease("work of the dead", [])
    await store.close()


async def test_each_letter_goes_to_one_consumer_of_either_node(rig: PairRig) -> None:
    await rig.server.store.add_relation(RELATION)
    takers = [attach(server, accepts=True) for server in (rig.server, rig.holder)]
    payloads = [b"%d" % number for number in range(60)]
    for first in range(0, len(payloads), 6):
        forward(rig.server, *payloads[first : first + 3])
        forward(rig.holder, *payloads[first + 3 : first + 6])
        rig.clock.advance(BATCH_DELAY_S)
        await asyncio.sleep(0.002)
    await until(rig, lambda: sum(len(taker.letters) for taker in takers) >= len(payloads), LOOK_AGAIN_S)
    letters = [letter for taker in takers for letter in taker.letters]
    assert sorted(letter.payload for letter in letters) == sorted(payloads)
    assert {letter.attempts for letter in letters} == {1}


async def test_what_a_node_writes_is_handed_out_by_another_at_once(rig: PairRig) -> None:
    await rig.holder.store.add_relation(RELATION)
    taker = attach(rig.server)
    await until(rig, lambda: not rig.server.dispatcher._tasks, 0.0)
    await rig.settle()
    forward(rig.holder, b"of the other node")
    await until(rig, lambda: taker.letters, LOOK_AGAIN_S / 2)


async def test_what_is_not_told_of_is_found_by_looking_again(rig: PairRig) -> None:
    taker = attach(rig.server)
    await until(rig, lambda: not rig.server.dispatcher._tasks, 0.0)
    store = rig.another_store()
    await store.open()
    store.record_notice([DESTINATION], a_notice(1, generated_ms=int(rig.clock.time_s() * 1000)))
    await store.close()
    rig.clock.advance(LOOK_AGAIN_S / 2)
    await until(rig, lambda: not rig.server.dispatcher._tasks, 0.0)
    assert not taker.letters
    await until(rig, lambda: taker.letters, LOOK_AGAIN_S / 2 + BATCH_DELAY_S)


async def test_what_a_consumer_that_leaves_had_in_hand_goes_to_another_node(rig: PairRig) -> None:
    await rig.server.store.add_relation(RELATION)
    leaving = attach(rig.server)
    forward(rig.server, b"1", b"2")
    await until(rig, lambda: len(leaving.letters) == 2, LOOK_AGAIN_S)
    taker = attach(rig.holder)
    await until(rig, lambda: not rig.holder.dispatcher._tasks, 0.0)
    await rig.settle()
    attached(leaving).accept(leaving.letters[0])
    attached(leaving).detach()
    await until(rig, lambda: taker.letters, LOOK_AGAIN_S / 2)
    assert [(letter.payload, letter.attempts) for letter in taker.letters] == [(b"2", 2)]


async def test_what_a_dead_node_had_in_hand_is_delivered_by_another_within_the_bound(rig: PairRig) -> None:
    taker = attach(rig.server)
    await until(rig, lambda: not rig.server.dispatcher._tasks, 0.0)
    await take_hold(rig, 3)
    rig.clock.advance(BEAT_S)
    await until(rig, lambda: len(taker.letters) == 3, TAKEN_OVER_S, BEAT_S)
    assert taker.attempts == [2, 2, 2]
    assert rig.server.cluster is not None
    await until(rig, lambda: rig.server.cluster and rig.server.cluster.heirs._gone, TAKEN_OVER_S, BEAT_S)
    assert await rig.server.cluster.heirs.is_for_us("work of the dead")


async def test_each_message_of_a_webhook_is_sent_by_one_node_and_by_another_when_that_has_died(rig: PairRig) -> None:
    async with Receiver.open() as receiver:
        webhook = a_webhook(receiver.url(), product_key=PRODUCT_KEY, account_id=ACCOUNT_ID)
        await rig.server.store.add_webhook(webhook)
        for server in (rig.server, rig.holder):
            await server.webhooks.reload()
            server.forwarder.forget_all()
        payloads = [b"%d" % number for number in range(20)]
        forward(rig.server, *payloads[:10])
        forward(rig.holder, *payloads[10:])
        await until(rig, lambda: len(receiver.received) >= len(payloads), LOOK_AGAIN_S)
        await take_hold(rig, 2, webhook.destination)
        await until(rig, lambda: len(receiver.received) >= len(payloads) + 2, TAKEN_OVER_S, BEAT_S)
        bodies = [request.body for request in receiver.received]
        assert sorted(bodies[:-2]) == sorted(payloads)
        assert len(bodies) == len(payloads) + 2


async def test_what_living_nodes_have_in_hand_is_left_alone_while_others_come_and_go(rig: PairRig) -> None:
    await rig.server.store.add_relation(RELATION)
    device = await rig.connected()
    taker = attach(rig.server)
    forward(rig.server, b"1")
    await until(rig, lambda: taker.letters, LOOK_AGAIN_S)
    third = Server(rig.settings, is_production=True, clock=rig.clock)
    await third.start()
    other = attach(third)
    for _ in range(round(RELEASE_S / BEAT_S)):
        rig.clock.advance(BEAT_S)
        await asyncio.sleep(0.02)
    assert not other.letters
    assert (await rig.server.store.list_online_devices())[0].key == LAMP
    assert rig.is_online
    await stop_server(third, rig.clock)
    assert len(taker.letters) == 1
    await device.disconnect()


async def test_a_node_that_starts_holds_devices_by_later_epochs_than_any_before_whatever_its_clock_says(
    rig: PairRig,
) -> None:
    ahead_ms = milliseconds(rig.clock.time_s()) + 365 * 86_400_000
    rig.server.store.record_presence(PresenceChange(LAMP, True, 1, "", DEAD, ahead_ms << EPOCH_BITS))
    assert await rig.server.store.flush()
    third = Server(rig.settings, is_production=True, clock=rig.clock)
    device = DeviceClient((await third.start()).mqtt, LAMP, device_secret(LAMP))
    await device.connect(clean_start=False)
    presence, session = await third.store.find_presence(LAMP), await third.store.find_session(LAMP)
    await device.disconnect()
    await stop_server(third, rig.clock)
    assert presence is not None
    assert (presence.is_online, presence.holder) == (True, third.node)
    assert session is not None


async def test_what_a_dead_node_had_accepted_and_not_written_ends_within_the_bound(rig: PairRig) -> None:
    await take_hold(rig, 0)
    left, sent, other = (an_open_call(number, key=LAMP, account_id=ACCOUNT_ID, received_ms=1) for number in (1, 2, 3))
    for call, node in ((left, DEAD), (sent, DEAD), (other, rig.holder.node)):
        call.node, call.timeline = node, []
    sent.mark(Stage.WRITTEN, rig.clock.time_s(), rig.clock.monotonic_s())
    await rig.server.store.keep_calls([left, sent, other], [])

    async def find(call: Call) -> Call:
        found = await rig.server.store.find_call(ACCOUNT_ID, call.request_id)
        assert found is not None
        return found

    turned_s = 0.0
    while not (await find(left)).is_ended:
        assert turned_s <= TAKEN_OVER_S + RELEASE_S
        turned_s += BEAT_S
        rig.clock.advance(BEAT_S)
        await asyncio.sleep(0.02)
    ended = await find(left)
    assert (ended.verdict, ended.diagnosis, ended.result_code) == (Verdict.UNKNOWN, Diagnosis.NODE_LOST, 6205)
    # Its answer may still come; and a node that is there ends its calls itself.
    assert not (await find(sent)).is_ended
    assert not (await find(other)).is_ended


async def test_a_letter_that_is_not_taken_rests_for_all_nodes(rig: PairRig) -> None:
    await rig.server.store.add_relation(RELATION)
    taker = attach(rig.server, credit=1)
    forward(rig.server, b"1")
    await until(rig, lambda: taker.letters, LOOK_AGAIN_S)
    other = attach(rig.holder)
    attached(taker).release(taker.letters[0])
    rig.clock.advance(REDELIVERY_S - 2 * LOOK_AGAIN_S)
    await until(rig, lambda: not rig.holder.dispatcher._tasks, 0.0)
    assert not other.letters
    await until(rig, lambda: other.letters, 3 * LOOK_AGAIN_S, BEAT_S)


async def test_the_status_of_a_group_tells_of_the_consumers_of_all_nodes(rig: PairRig) -> None:
    await rig.server.store.add_relation(RELATION)
    here = attach(rig.server, credit=0, client_id="here")
    there = attach(rig.holder, client_id="there")
    forward(rig.server, b"1")
    await until(rig, lambda: there.letters, LOOK_AGAIN_S)
    attached(there).accept(there.letters[0])
    status = (await rig.app().call_v3("QueryConsumerGroupStatus", GroupId=DEFAULT_GROUP_ID)).json()
    shown = status["ClientConnectionStatusList"]["ConsumerGroupClientConnectionInfo"]
    assert [consumer["ClientId"] for consumer in shown] == ["here", "there"]
    assert status["ConsumerSpeed"] == 1
    assert status["LastConsumerTime"]
    attached(here).detach()
    attached(there).detach()
    status = (await rig.app().call_v3("QueryConsumerGroupStatus", GroupId=DEFAULT_GROUP_ID)).json()
    assert status["ClientConnectionStatusList"] == {"ConsumerGroupClientConnectionInfo": []}
    assert status["ConsumerSpeed"] == 1


async def test_a_node_that_does_not_say_who_consumes_there_is_not_waited_for(rig: PairRig) -> None:
    attach(rig.holder, client_id="there")
    await take_hold(rig, 0)
    assert rig.server.cluster is not None
    await rig.server.cluster.nodes.look()
    asked = asyncio.ensure_future(rig.server.dispatcher.ask([DESTINATION]))
    await rig.settle()
    rig.clock.advance(ASK_WAIT_S - 0.01)
    await rig.settle()
    assert not asked.done()
    rig.clock.advance(0.01)
    assert [consumer.client_id for consumer in (await asked)[DESTINATION].consumers] == ["there"]


async def test_the_consumers_of_a_group_that_is_deleted_are_sent_away_by_every_node(rig: PairRig) -> None:
    created = (await rig.app().call_v3("CreateConsumerGroup", GroupName="group_1")).json()
    destination = destination_of(ACCOUNT_ID, created["GroupId"])
    takers = [attach(server, destination=destination) for server in (rig.server, rig.holder)]
    await rig.settle()
    assert (await rig.app().call_v3("DeleteConsumerGroup", GroupId=created["GroupId"])).json()["Success"]
    await until(rig, lambda: all(taker.is_dismissed for taker in takers), 0.0)


async def test_an_application_is_worked_off_by_another_node_when_its_own_has_died(rig: PairRig) -> None:
    store = rig.another_store()
    await store.open()
    store.node = DEAD
    now_ms = int(rig.clock.time_s() * 1000)
    await store.beat(Node(DEAD, 1, now_ms, now_ms, "1", "", "", NodeState.UP))
    wanted = Application(0, PRODUCT_KEY, ApplicationStatus.CREATE, 3, now_ms)
    apply_id = await store.add_application(wanted, blank_devices(3), 10, 10)
    await store.close()
    assert apply_id is not None

    async def is_done() -> bool:
        found = await rig.server.store.find_application(apply_id)
        return found is not None and found.status is ApplicationStatus.CREATE_SUCCESS

    for _ in range(round(TAKEN_OVER_S / BEAT_S) + 2):
        rig.clock.advance(BEAT_S)
        await asyncio.sleep(0.05)
        if await is_done():
            break
    assert await is_done()


async def test_one_node_keeps_house_and_the_other_when_that_has_left(rig: PairRig) -> None:
    assert rig.server.cluster is not None
    assert rig.holder.cluster is not None
    turns = [
        await server.cluster.heirs.is_for_us(HOUSEKEEPING) for server in (rig.server, rig.holder) if server.cluster
    ]
    assert turns == [True, False]
    third = Server(rig.settings, is_production=True, clock=rig.clock)
    await third.start()
    assert third.cluster is not None
    assert await third.cluster.heirs.is_for_us("work of the third")
    assert not await rig.server.cluster.heirs.is_for_us("work of the third")
    await stop_server(third, rig.clock)
    assert await rig.server.cluster.heirs.is_for_us("work of the third")


async def test_a_session_that_no_node_has_at_hand_ends_and_what_waits_with_it(rig: PairRig) -> None:
    device = rig.device()
    rig.devices.append(device)
    topic = f"/{PRODUCT_KEY}/{LAMP.device_name}/user/get"
    await device.connect(level=5, properties=properties(session_expiry_interval=100))
    device.send(Subscribe(1, [Subscription(topic, 1)]))
    await device.expect(SubAck)
    await device.disconnect()
    await until(rig, lambda: not rig.is_online, 0.0)
    await rig.settle()
    given = {"ProductKey": PRODUCT_KEY, "TopicFullName": topic, "MessageContent": "bm90aGluZw==", "Qos": "1"}
    answer = (await rig.app().call_v3("Pub", **given)).json()
    assert answer["Success"]
    assert [session.waiting for session in await rig.server.store.list_sessions()] == [1]
    for _ in range(round((100 + COMING_BACK_S + HOUSEKEEPING_S) / RELEASE_S) + 1):
        rig.clock.advance(RELEASE_S)
        await asyncio.sleep(0.02)
    assert await rig.server.store.list_sessions() == []
    assert await rig.server.store.list_messages(LAMP) == []
    record = await rig.app().call_record(answer["MessageId"])
    assert (record["verdict"], record["diagnosis"]) == ("EXPIRED", "not-connected")


async def test_a_server_without_nats_does_not_start_beside_nodes(rig: PairRig) -> None:
    lone = Server(structs.replace(rig.settings, nats=None), is_production=True, clock=rig.clock)
    with pytest.raises(StartError, match=f"used by .*{rig.server.node}.*--nats"):
        await lone.start()


async def test_a_clock_that_is_too_far_from_the_databases_is_warned_of(
    start_rig: RigStarter, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    # SQLite has none of its own; that of a test is years behind the real one.
    await start_rig()
    warned = [record for record in caplog.records if "set it right" in record.getMessage()]
    assert bool(warned) == (engine == "postgres")
    caplog.clear()
    await start_rig(clock=SystemClock())
    assert not [record for record in caplog.records if "set it right" in record.getMessage()]
