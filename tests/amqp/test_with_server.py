"""Consumers of a whole server: from a notice, over the backlog, to the app, and what is left when somebody dies."""

import pytest

from linkstead.amqp.frames import Accepted, Attach, Close, Released
from linkstead.config import Address
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, SubscribeRelation
from linkstead.subscription.dispatch import REDELIVERY_S, SETTLE_S
from tests.amqp.endpoint import password, user_name
from tests.amqp.peer import BEGIN, Peer, attach, flow, settle
from tests.rig import ACCOUNT_ID, KEY, LAMP, OTHER_KEY, PRODUCT_KEY, Rig, RigStarter
from tests.wire import until

pytestmark = pytest.mark.asyncio

DESTINATION = f"{ACCOUNT_ID}/{DEFAULT_GROUP_ID}"
TOPIC = f"/as/mqtt/status/{PRODUCT_KEY}/lamp-01"
FREE = Address("127.0.0.1", 0)


async def start(start_rig: RigStarter) -> Rig:
    """A server whose default group is told of a product's status."""
    rig = await start_rig(amqp=FREE)
    kinds = frozenset({NoticeKind.STATUS_CHANGE})
    await rig.server.store.add_relation(SubscribeRelation(PRODUCT_KEY, "AMQP", kinds, (DEFAULT_GROUP_ID,)))
    return rig


async def tell(rig: Rig, *payloads: bytes) -> None:
    """Have the subscribers of the product told, and their letters written."""
    forwarder = rig.server.forwarder
    for payload in payloads or (b'{"status":"online"}',):
        forwarder.forward(ACCOUNT_ID, LAMP, NoticeKind.STATUS_CHANGE, TOPIC, payload, 1)
    await until(lambda: not forwarder.waiting_count)
    await rig.server.store.flush()


async def consumer(rig: Rig, credit: int = 10, group_id: str = "") -> Peer:
    """A consumer of the default group, or of another."""
    assert rig.endpoints.amqp is not None
    peer = await Peer.connect(rig.endpoints.amqp.port)
    name = user_name(KEY, group_id=group_id)
    await peer.log_in(name, password(name, KEY.secret))
    peer.send(BEGIN, attach())
    await peer.expect(Attach)
    peer.send(flow(credit))
    return peer


async def waiting(rig: Rig) -> int:
    """How many letters are on the disk."""
    return await rig.server.store.count_letters(DESTINATION)


async def leave(peer: Peer) -> None:
    """Say goodbye."""
    peer.send(Close())
    await peer.expect_end()
    await peer.close()


async def test_what_is_told_reaches_the_consumer_and_is_forgotten_when_accepted(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    peer = await consumer(rig)
    await tell(rig)
    _, message = await peer.receive()
    assert b'{"status":"online"}' in message
    assert TOPIC.encode() in message
    assert await waiting(rig) == 1
    peer.send(settle(0, state=Accepted()))
    (status,) = rig.server.dispatcher.consumers(DESTINATION)
    assert status.client_id == "client-1"
    await until(lambda: rig.server.dispatcher.consumers(DESTINATION)[0].accepted_count == 1)
    await rig.server.store.flush()
    assert await waiting(rig) == 0
    await leave(peer)
    peer = await consumer(rig)
    await tell(rig, b"second")
    _, message = await peer.receive()
    assert b"second" in message
    await leave(peer)


async def test_what_waits_is_sent_to_who_comes_later(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    await tell(rig, *(f"number {number}".encode() for number in range(150)))
    peer = await consumer(rig, 120)
    received = [await peer.receive() for _ in range(120)]
    assert [transfer.delivery_id for transfer, _ in received] == list(range(120))
    peer.send(settle(0, 119, Accepted()), flow(30, seen=120))
    for _ in range(30):
        await peer.receive()
    await leave(peer)


async def test_what_a_lost_consumer_held_goes_to_another_at_once(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    first = await consumer(rig)
    await tell(rig)
    await first.receive()
    second = await consumer(rig)
    await first.close()
    await until(lambda: len(rig.server.dispatcher.consumers(DESTINATION)) == 1)
    await rig.server.store.flush()
    _, message = await second.receive()
    assert TOPIC.encode() in message
    await leave(second)


async def test_what_was_released_comes_again_a_minute_later(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    peer = await consumer(rig)
    await tell(rig)
    await peer.receive()
    peer.send(settle(0, state=Released()))
    await until(lambda: rig.server.dispatcher.consumers(DESTINATION)[0].held_count == 0)
    await rig.server.store.flush()
    rig.clock.advance(REDELIVERY_S)
    transfer, _ = await peer.receive()
    assert transfer.delivery_id == 1
    await leave(peer)


async def test_what_nobody_settles_comes_again(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    peer = await consumer(rig)
    await tell(rig)
    await peer.receive()
    rig.clock.advance(SETTLE_S)
    await rig.server.store.flush()
    rig.clock.advance(REDELIVERY_S - 10)
    await rig.server.store.flush()
    rig.clock.advance(10)
    transfer, _ = await peer.receive()
    assert transfer.delivery_id == 1
    peer.send(settle(0, state=Accepted()))
    await until(lambda: rig.server.dispatcher.consumers(DESTINATION)[0].accepted_count == 1)
    await leave(peer)


async def test_another_account_has_a_default_group_of_its_own(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    await tell(rig)
    assert rig.endpoints.amqp is not None
    peer = await Peer.connect(rig.endpoints.amqp.port)
    name = user_name(OTHER_KEY)
    await peer.log_in(name, password(name, OTHER_KEY.secret))
    peer.send(BEGIN, attach(), flow(5, echo=True))
    await peer.expect(Attach)
    assert rig.server.dispatcher.consumers(DESTINATION) == []
    assert len(rig.server.dispatcher.consumers(f"{OTHER_KEY.account_id}/{DEFAULT_GROUP_ID}")) == 1
    await leave(peer)


async def test_a_consumer_of_a_group_made_by_the_api_is_told_and_counted_until_the_group_goes(
    start_rig: RigStarter,
) -> None:
    rig = await start_rig(amqp=FREE)
    app = rig.app()
    group_id = (await app.call_v3("CreateConsumerGroup", GroupName="lamps")).json()["GroupId"]
    relation = {"ProductKey": PRODUCT_KEY, "ConsumerGroupIds.1": group_id, "DeviceStatusChangeFlag": "true"}
    assert (await app.call_v3("CreateSubscribeRelation", **relation)).json()["Success"]
    peer = await consumer(rig, group_id=group_id)
    await tell(rig, b"told")
    _, message = await peer.receive()
    assert b"told" in message
    peer.send(settle(0, state=Accepted()))
    destination = f"{ACCOUNT_ID}/{group_id}"
    await until(lambda: rig.server.dispatcher.consumption(destination).per_minute == 1)
    status = (await app.call_v3("QueryConsumerGroupStatus", GroupId=group_id)).json()
    assert (status["AccumulationCount"], status["ConsumerSpeed"]) == (0, 1)
    (client,) = status["ClientConnectionStatusList"]["ConsumerGroupClientConnectionInfo"]
    assert (client["ClientId"], client["RealTimeConsumeCountPerMinute"]) == ("client-1", 1)
    assert client["ClientIpPort"].startswith("127.0.0.1:")
    await app.call_v3("DeleteSubscribeRelation", ProductKey=PRODUCT_KEY, Type="AMQP")
    assert (await app.call_v3("DeleteConsumerGroup", GroupId=group_id)).json()["Success"]
    assert (await peer.expect(Close)).error.condition == "amqp:not-found"
    await peer.close()


async def test_a_server_that_stops_tells_its_consumers(start_rig: RigStarter) -> None:
    rig = await start(start_rig)
    peer = await consumer(rig)
    await tell(rig)
    await peer.receive()
    await rig.stop()
    assert (await peer.expect(Close)).error.condition == "amqp:connection:forced"
    await peer.close()
