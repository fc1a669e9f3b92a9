"""The endpoint on a real socket, its store and its dispatcher fakes, and logins for it."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from linkstead.amqp.credentials import parse_user_name, sign_login
from linkstead.amqp.gateway import ConsumerGateway
from linkstead.api.audit import Audit
from linkstead.clock import Clock
from linkstead.registry import AccessKey, Registry
from linkstead.registry.audit import AuditEntry, AuditLog
from linkstead.subscription import ConsumerGroup, Dispatcher, GroupStore
from tests.amqp.dispatch import FakeDispatcher, FakeGroups
from tests.fakes import ACCOUNT_ID, NOW_MS, OTHER_ACCOUNT_ID, FakeStore, make_access_key

GROUP = ConsumerGroup("group-of-tests-01", ACCOUNT_ID, "tests", NOW_MS)
OTHERS_GROUP = ConsumerGroup("group-of-others-1", OTHER_ACCOUNT_ID, "others", NOW_MS)
DEFAULT = f"{ACCOUNT_ID}/DEFAULT_GROUP"
KEY = make_access_key()
DISABLED_KEY = make_access_key("offid", enabled=False)
WAIT_S = 20.0


def user_name(key: AccessKey = KEY, *, client_id: str = "client-1", group_id: str = "", more: str = "") -> str:
    """The user name of a consumer of this key and group."""
    options = f"authMode=aksign,signMethod=hmacsha1,timestamp={NOW_MS},authId={key.access_key_id}"
    group = f",consumerGroupId={group_id}" if group_id else ""
    return f"{client_id}|{options}{group}{more}|"


def password(name: str, secret: str = KEY.secret) -> str:
    """The password that goes with a user name."""
    return sign_login(parse_user_name(name), secret)


class AuditedStore(FakeStore):
    """A registry in memory that keeps the audit log too."""

    def __init__(self) -> None:
        super().__init__()
        self.audited: list[AuditEntry] = []

    def record_audit(self, entry: AuditEntry) -> None:
        self.audited.append(entry)


@dataclass
class Place:
    """An endpoint that listens."""

    gateway: ConsumerGateway
    dispatcher: FakeDispatcher
    store: AuditedStore
    server: asyncio.Server
    port: int
    _changes: asyncio.Event

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that a consumer brings about at the dispatcher."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changes.clear()
                await self._changes.wait()

    async def close(self) -> None:
        """End it."""
        self.server.close()
        await self.gateway.close()


async def listen(clock: Clock, tls: ssl.SSLContext | None = None) -> Place:
    """Start an endpoint on a free port."""
    store = AuditedStore()
    store.access_keys = {key.access_key_id: key for key in (KEY, DISABLED_KEY)}
    dispatcher, changes = FakeDispatcher(), asyncio.Event()
    dispatcher.changed = changes.set
    groups = FakeGroups(GROUP, OTHERS_GROUP)
    gateway = ConsumerGateway(
        registry=Registry(store.port, clock.monotonic_s),
        groups=cast("GroupStore", groups),
        dispatcher=cast("Dispatcher", dispatcher),
        audit=Audit(cast("AuditLog", store), clock),
        clock=clock,
    )
    server = await asyncio.get_running_loop().create_server(gateway.make_protocol, "127.0.0.1", 0, ssl=tls)
    return Place(gateway, dispatcher, store, server, server.sockets[0].getsockname()[1], changes)
