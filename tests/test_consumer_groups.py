"""Consumer groups and subscriptions over signed HTTP, with consumers of a server that runs."""

import asyncio
from typing import Any

import pytest

from linkstead.registry import DeviceKey
from linkstead.registry.times import utc_text
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.subscription import DEFAULT_GROUP_ID, NoticeKind, destination_of
from tests.rig import ACCOUNT_ID, INSTANCE_PRODUCT_KEY, LAMP, OTHER_KEY, OTHER_PRODUCT_KEY, PRODUCT_KEY, Rig, RigStarter
from tests.subscription.desk import Taker, attached
from tests.wire import fetch, until

pytestmark = pytest.mark.asyncio


async def call(rig: Rig, action: str, **parameters: str) -> dict[str, Any]:
    """The answer of an action that succeeds."""
    response = await rig.app().call_v3(action, **parameters)
    answer: dict[str, Any] = response.json()
    assert (response.status, answer["Success"]) == (200, True), answer
    return answer


async def refused(rig: Rig, action: str, **parameters: str) -> str:
    """The code of an action that is refused in its own answer."""
    response = await rig.app().call_v3(action, **parameters)
    answer: dict[str, Any] = response.json()
    assert (response.status, answer["Success"]) == (200, False), answer
    return str(answer["Code"])


async def status(rig: Rig, group_id: str) -> dict[str, Any]:
    return await call(rig, "QueryConsumerGroupStatus", GroupId=group_id)


def attach(rig: Rig, group_id: str, credit: int = 10) -> Taker:
    """A consumer of one of the account's groups."""
    taker = Taker()
    taker.attachment = rig.server.dispatcher.attach(destination_of(ACCOUNT_ID, group_id), taker)
    taker.attachment.grant(credit)
    return taker


def forward(rig: Rig, payload: bytes, kind: NoticeKind = NoticeKind.DEVICE_DATA, key: DeviceKey = LAMP) -> None:
    rig.server.forwarder.forward(ACCOUNT_ID, key, kind, f"/{key.product_key}/{key.device_name}/user/a", payload)


async def until_payloads(rig: Rig, taker: Taker, *payloads: bytes) -> None:
    """Let batches be written until the consumer has been sent these, and nothing else."""
    while len(taker.letters) < len(payloads):
        rig.clock.advance(BATCH_DELAY_S)
        await asyncio.sleep(0.001)
    assert [letter.payload for letter in taker.letters] == list(payloads)


async def test_a_group_receives_what_it_was_subscribed_to_and_its_status_tells(rig: Rig) -> None:
    group_id = (await call(rig, "CreateConsumerGroup", GroupName="消费组_1"))["GroupId"]
    await call(
        rig,
        "CreateSubscribeRelation",
        **{"ProductKey": PRODUCT_KEY, "Type": "AMQP", "ConsumerGroupIds.1": group_id, "DeviceDataFlag": "true"},
    )
    forward(rig, b"1")
    forward(rig, b"not asked for", NoticeKind.STATUS_CHANGE)
    forward(rig, b"2")
    waiting = await status(rig, group_id)
    assert (waiting["AccumulationCount"], waiting["ConsumerSpeed"]) == (2, 0)
    assert waiting["ClientConnectionStatusList"] == {"ConsumerGroupClientConnectionInfo": []}
    assert "LastConsumerTime" not in waiting

    attached_ms = int(rig.clock.time_s() * 1000)
    taker = attach(rig, group_id)
    await until_payloads(rig, taker, b"1", b"2")
    attached(taker).accept(taker.letters[0])
    accepted_ms = int(rig.clock.time_s() * 1000)
    answer = await status(rig, group_id)
    del answer["RequestId"]
    assert answer == {
        "Success": True,
        "AccumulationCount": 1,
        "ConsumerSpeed": 1,
        "RealTimeConsumeCountPerMinute": 1,
        "AccumulatedConsumeCountPerMinute": 0,
        "LastConsumerTime": utc_text(accepted_ms),
        "ClientConnectionStatusList": {
            "ConsumerGroupClientConnectionInfo": [
                {
                    "ClientId": "client-1",
                    "ClientIpPort": "192.0.2.1:40000",
                    "OnlineTime": attached_ms,
                    "RealTimeConsumeCountPerMinute": 1,
                    "AccumulatedConsumeCountPerMinute": 0,
                }
            ]
        },
    }

    await call(rig, "ResetConsumerGroupPosition", GroupId=group_id)
    assert (await status(rig, group_id))["AccumulationCount"] == 0
    attached(taker).accept(taker.letters[1])
    forward(rig, b"3")
    await until_payloads(rig, taker, b"1", b"2", b"3")


async def test_what_a_change_of_subscription_says_holds_for_the_next_message(rig: Rig) -> None:
    group_id = (await call(rig, "CreateConsumerGroup", GroupName="lamps"))["GroupId"]
    first, second = attach(rig, DEFAULT_GROUP_ID), attach(rig, group_id)
    forward(rig, b"to nobody")
    await until(lambda: not rig.server.forwarder.wants(PRODUCT_KEY, NoticeKind.DEVICE_DATA))
    both = {"ProductKey": PRODUCT_KEY, "Type": "AMQP", "ConsumerGroupIds.1": DEFAULT_GROUP_ID}
    await call(rig, "CreateSubscribeRelation", **both, DeviceDataFlag="true")
    forward(rig, b"1")
    await call(rig, "CreateConsumerGroupSubscribeRelation", ProductKey=PRODUCT_KEY, ConsumerGroupId=group_id)
    forward(rig, b"2")
    await call(rig, "DeleteConsumerGroupSubscribeRelation", ProductKey=PRODUCT_KEY, ConsumerGroupId=DEFAULT_GROUP_ID)
    forward(rig, b"3")
    await call(rig, "UpdateSubscribeRelation", **both, OtaEventFlag="true")
    forward(rig, b"not asked for any more")
    forward(rig, b"4", NoticeKind.OTA_EVENT)
    await until_payloads(rig, second, b"2", b"3")
    await until_payloads(rig, first, b"1", b"2", b"4")
    await call(rig, "DeleteSubscribeRelation", ProductKey=PRODUCT_KEY, Type="AMQP")
    forward(rig, b"to nobody", NoticeKind.OTA_EVENT)
    await rig.server.forwarder.drain()
    assert (await status(rig, group_id))["AccumulationCount"] == 2
    assert (await status(rig, DEFAULT_GROUP_ID))["AccumulationCount"] == 3


async def test_a_subscription_is_shown_in_xml_with_its_groups_in_one_element(rig: Rig) -> None:
    app = rig.app()
    await call(
        rig,
        "CreateSubscribeRelation",
        **{"ProductKey": PRODUCT_KEY, "ConsumerGroupIds.1": DEFAULT_GROUP_ID, "DeviceTagFlag": "true"},
    )
    response = await app.call("QuerySubscribeRelation", ProductKey=PRODUCT_KEY, Type="AMQP", Format="XML")
    text = response.body.decode()
    assert f"<ConsumerGroupIds><e>{DEFAULT_GROUP_ID}</e></ConsumerGroupIds>" in text
    assert "<DeviceTagFlag>true</DeviceTagFlag>" in text
    assert "<DeviceDataFlag>false</DeviceDataFlag>" in text


async def test_groups_and_subscriptions_belong_to_their_account(rig: Rig) -> None:
    response = await rig.app(OTHER_KEY).call_v3("CreateConsumerGroup", GroupName="theirs")
    theirs = response.json()["GroupId"]
    assert await refused(rig, "QueryConsumerGroupStatus", GroupId=theirs) == "iot.consumer.group.ConsumerGroupNotExist"
    mine = {"ConsumerGroupIds.1": DEFAULT_GROUP_ID, "DeviceDataFlag": "true"}
    foreign = await refused(rig, "CreateSubscribeRelation", ProductKey=OTHER_PRODUCT_KEY, **mine)
    assert foreign == "iot.prod.NotExistedProduct"
    empty = await refused(
        rig, "CreateSubscribeRelation", ProductKey=PRODUCT_KEY, **{"ConsumerGroupIds.1": DEFAULT_GROUP_ID}
    )
    assert empty == "iot.consumer.group.CallbackTypeEmpty"
    await call(rig, "CreateSubscribeRelation", ProductKey=INSTANCE_PRODUCT_KEY, **mine)
    found = await call(rig, "QueryConsumerGroupList", CurrentPage="1", PageSize="10")
    assert [group["GroupId"] for group in found["Data"]["ConsumerGroupDTO"]] == [DEFAULT_GROUP_ID]


async def test_each_action_is_allowed_five_times_a_second(start_rig: RigStarter) -> None:
    rig = await start_rig(quotas_enabled=True)
    for _ in range(5):
        await status(rig, DEFAULT_GROUP_ID)
    response = await rig.app().call_v3("QueryConsumerGroupStatus", GroupId=DEFAULT_GROUP_ID)
    assert (response.status, response.json()["Code"]) == (429, "Throttling.User")
    rig.clock.advance(1)
    await status(rig, DEFAULT_GROUP_ID)


async def test_the_inspection_api_shows_groups_with_their_consumers(rig: Rig) -> None:
    group_id = (await call(rig, "CreateConsumerGroup", GroupName="lamps"))["GroupId"]
    relation = {"ProductKey": PRODUCT_KEY, "ConsumerGroupIds.1": group_id, "DeviceDataFlag": "true"}
    await call(rig, "CreateSubscribeRelation", **relation)
    attached_ms = int(rig.clock.time_s() * 1000)
    taker = attach(rig, group_id)
    forward(rig, b"1")
    forward(rig, b"2")
    await until_payloads(rig, taker, b"1", b"2")
    attached(taker).accept(taker.letters[0])
    accepted_ms = int(rig.clock.time_s() * 1000)
    response = await fetch(rig.http, "GET", "/_linkstead/consumer-groups", rig.app().basic)
    nothing = {"product_keys": [], "waiting_count": 0, "accepted_per_minute": 0, "last_accepted_ms": None}
    default = {"group_id": DEFAULT_GROUP_ID, "group_name": DEFAULT_GROUP_ID, **nothing, "consumers": []}
    group = {
        "group_id": group_id,
        "group_name": "lamps",
        "product_keys": [PRODUCT_KEY],
        "waiting_count": 1,
        "accepted_per_minute": 1,
        "last_accepted_ms": accepted_ms,
        "consumers": [
            {
                "client_id": "client-1",
                "peer": "192.0.2.1:40000",
                "attached_ms": attached_ms,
                "held_count": 1,
                "accepted_count": 1,
                "accepted_per_minute": 1,
                "last_accepted_ms": accepted_ms,
            }
        ],
    }
    assert response.json() == {"consumer_groups": [default, group], "total": 2}
    response = await fetch(rig.http, "GET", "/_linkstead/consumer-groups", rig.app(OTHER_KEY).basic)
    assert response.json() == {"consumer_groups": [default], "total": 1}
    response = await fetch(rig.http, "GET", f"/_linkstead/consumer-groups/{group_id}", rig.app().basic)
    assert response.status == 404
