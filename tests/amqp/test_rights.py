"""Consumers whose keys, tokens and rights come and go, on a whole server."""

from dataclasses import replace

import pytest

from linkstead.amqp.frames import AMQP_HEADER, SASL_HEADER, Attach, Close
from linkstead.api.tokens import TOKEN_SECONDS_MIN, make_temporary_key
from linkstead.config import Address
from linkstead.registry import AccessKey
from linkstead.server import REGISTRY_POLL_S
from tests.amqp.endpoint import password, user_name
from tests.amqp.peer import BEGIN, OPEN, Peer, attach, plain
from tests.rig import ACCOUNT_ID, EVERYTHING, KEY, RAM_KEY, Rig, RigStarter

pytestmark = pytest.mark.asyncio

FREE = Address("127.0.0.1", 0)


def name_of(key: AccessKey, token: str = "") -> str:
    name = user_name(key)
    return name.replace("authMode=aksign", f"authMode=ststoken,securityToken={token}") if token else name


async def consumer(rig: Rig, key: AccessKey, token: str = "") -> Peer:
    """A consumer that is let in."""
    assert rig.endpoints.amqp is not None
    peer = await Peer.connect(rig.endpoints.amqp.port)
    name = name_of(key, token)
    await peer.log_in(name, password(name, key.secret))
    peer.send(BEGIN, attach())
    await peer.expect(Attach)
    return peer


async def refusal(rig: Rig, key: AccessKey, token: str = "") -> str:
    """What a consumer is told that is not let in."""
    assert rig.endpoints.amqp is not None
    peer = await Peer.connect(rig.endpoints.amqp.port)
    name = name_of(key, token)
    peer.send(SASL_HEADER, plain(name, password(name, key.secret)), AMQP_HEADER, OPEN)
    return await farewell(peer)


async def farewell(peer: Peer) -> str:
    """Why a connection is closed."""
    closed = await peer.expect(Close)
    assert closed.error.condition == "amqp:unauthorized-access"
    peer.send(Close())
    await peer.expect_end()
    await peer.close()
    return str(closed.error.description)


async def leave(peer: Peer) -> None:
    peer.send(Close())
    await peer.expect_end()
    await peer.close()


async def test_a_disabled_key_ends_its_connections_and_no_other(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    peer, other = await consumer(rig, KEY), await consumer(rig, RAM_KEY)
    await rig.server.registry.set_access_key_enabled(KEY.access_key_id, enabled=False)
    rig.clock.advance(REGISTRY_POLL_S)
    assert await farewell(peer) == "the access key was disabled, deleted, or has expired"
    assert [each.access_key_id for each in rig.server.consumers.connections] == [RAM_KEY.access_key_id]
    await leave(other)


async def test_a_user_who_may_not_consume_any_longer_is_sent_away(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    peer = await consumer(rig, RAM_KEY)
    reading = EVERYTHING.replace('"Action":"*"', '"Action":"iot:Query*"')
    await rig.server.registry.save_policy(ACCOUNT_ID, RAM_KEY.user_name, reading)
    rig.clock.advance(REGISTRY_POLL_S)
    wanted = "Forbidden.RAM: a RAM user needs iot:sub on every product"
    assert await farewell(peer) == wanted
    assert await refusal(rig, RAM_KEY) == wanted
    [entry] = await rig.server.store.list_audit(ACCOUNT_ID, 0, 10)
    assert (entry.access_key_id, entry.is_verified, entry.address) == (RAM_KEY.access_key_id, True, "127.0.0.1")
    assert (entry.action, entry.code) == ("AMQP login", "Forbidden.RAM")
    consuming = EVERYTHING.replace('"Action":"*"', '"Action":"iot:sub"')
    await rig.server.registry.save_policy(ACCOUNT_ID, RAM_KEY.user_name, consuming)
    await leave(await consumer(rig, RAM_KEY))


async def test_a_temporary_key_consumes_until_it_ends(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    first, second = (
        make_temporary_key(ACCOUNT_ID, RAM_KEY.user_name, TOKEN_SECONDS_MIN, rig.clock, rig.server.ids)
        for _ in range(2)
    )
    for key in (first, second):
        await rig.server.store.add_access_key(key)
    assert (await refusal(rig, first)).startswith("MissingSecurityToken")
    wrong = await refusal(rig, first, second.security_token)
    assert wrong.startswith("InvalidSecurityToken.MismatchWithAccessKey")
    rig.clock.advance(TOKEN_SECONDS_MIN - REGISTRY_POLL_S)
    peer = await consumer(rig, first, first.security_token)
    rig.clock.advance(REGISTRY_POLL_S)
    assert await farewell(peer) == "the access key was disabled, deleted, or has expired"
    assert (await refusal(rig, first, first.security_token)).startswith("InvalidSecurityToken.Expired")


async def test_a_wrong_password_is_in_the_audit_log(start_rig: RigStarter) -> None:
    rig = await start_rig(amqp=FREE)
    assert rig.endpoints.amqp is not None
    for key_id in (KEY.access_key_id, "nobody"):
        peer = await Peer.connect(rig.endpoints.amqp.port)
        peer.send(SASL_HEADER, plain(name_of(replace(KEY, access_key_id=key_id)), "wrong"))
        await peer.expect_end()
        await peer.close()
    kept = [(each.account_id, each.access_key_id, each.code) for each in await rig.server.store.list_audit(None, 0, 10)]
    code = "amqp:unauthorized-access"
    assert kept == [("", "nobody", code), (ACCOUNT_ID, KEY.access_key_id, code)]
