"""A node that is killed with letters in hand: processes, a NATS server and a database as in use."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from linkstead.amqp.frames import Accepted, Attach
from linkstead.cluster.heirs import TAKEN_OVER_S
from linkstead.config import Settings
from linkstead.server import DATABASE_FILE, SystemClock, make_store
from linkstead.subscription import DEFAULT_GROUP_ID, destination_of
from linkstead.subscription.dispatch import LOOK_AGAIN_S
from tests.amqp.endpoint import password, user_name
from tests.amqp.peer import BEGIN, Peer, attach, flow, settle
from tests.cli.processes import ServerProcess, serving
from tests.conftest import DatabaseMaker
from tests.nats_server import NatsServer
from tests.rig import ACCOUNT_ID, KEY
from tests.store.samples import a_notice

pytestmark = [pytest.mark.asyncio, pytest.mark.long]

DESTINATION = destination_of(ACCOUNT_ID, DEFAULT_GROUP_ID)
LETTERS = 400
HELD_MAX = 100


async def consumer(node: ServerProcess, client_id: str, credit: int) -> Peer:
    """A consumer of the default group at a node."""
    peer = await Peer.connect(int(node.ready["amqp"].rpartition(":")[2]))
    name = user_name(KEY, client_id=client_id)
    await peer.log_in(name, password(name, KEY.secret))
    peer.send(BEGIN, attach())
    await peer.expect(Attach)
    peer.send(flow(credit))
    return peer


async def hold(peer: Peer, held: list[bytes]) -> None:
    """Take what comes and settle nothing."""
    while True:
        _, message = await peer.receive()
        held.append(message[-8:])


async def accept(peer: Peer, accepted: list[bytes]) -> None:
    """Accept what comes."""
    while True:
        transfer, message = await peer.receive()
        assert transfer.delivery_id is not None
        accepted.append(message[-8:])
        peer.send(settle(transfer.delivery_id, state=Accepted()), flow(LETTERS, seen=len(accepted)))


async def until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for what other processes do, by no more than the bound that is named."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_a_killed_node_had_in_hand_is_delivered_by_the_other_within_the_bound(
    copy_database: DatabaseMaker, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with copy_database() as database:
        url = database.get("database")
        if url is None:
            shutil.copyfile(database["filled"], tmp_path / DATABASE_FILE)
            url = f"sqlite:///{tmp_path / DATABASE_FILE}"
        cluster = ("--nats", nats_server.url, "--cluster-name", tmp_path.name[-32:])
        options = ("--database", url, *cluster, "--amqp", "127.0.0.1:0")
        store = make_store(Settings(database=url), SystemClock())
        await store.open()
        held: list[bytes] = []
        accepted: list[bytes] = []
        with (
            serving("serve", *options, folder=tmp_path, name="a") as doomed,
            serving("serve", *options, folder=tmp_path, name="b") as other,
        ):
            peers = [await consumer(doomed, "holds", HELD_MAX), await consumer(other, "accepts", LETTERS)]
            tasks = [asyncio.ensure_future(hold(peers[0], held)), asyncio.ensure_future(accept(peers[1], accepted))]
            expected = [b"%08d" % number for number in range(LETTERS)]
            for number, payload in enumerate(expected):
                store.record_notice([DESTINATION], a_notice(number, payload=payload))
                if number % 50 == 49:
                    await store.flush()
                    await asyncio.sleep(0.1)
            await until(lambda: len({*held, *accepted}) == LETTERS, 2 * LOOK_AGAIN_S)
            assert held
            assert not set(held) & set(accepted)
            doomed.child.kill()
            await until(lambda: len(accepted) == LETTERS, TAKEN_OVER_S)
            # Nothing comes twice to whoever has accepted it.
            await asyncio.sleep(LOOK_AGAIN_S)
            assert sorted(accepted) == expected
            assert await store.count_letters(DESTINATION) == 0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for peer in peers:
                await peer.close()
        await store.close()
