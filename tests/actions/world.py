"""A server without its sockets: a real store, registry and session table, a clock that is turned by hand."""

import sqlite3
from collections import deque
from collections.abc import Awaitable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from linkstead.action import ActionContext, Behaviour
from linkstead.actions.device.registration import RegisterDeviceData, RegisterDeviceRequest, register_device
from linkstead.actions.product import CreateProductData, CreateProductRequest, create_product
from linkstead.clock import milliseconds
from linkstead.errors import ApiError, ErrorRow
from linkstead.invocation import Call, CallJournal, Delivery, Message, Outcome, Stage
from linkstead.models import ModelShelf, ScriptRunner, ScriptShelf
from linkstead.registry import PUBLIC_INSTANCE, AccessKey, Account, DeviceKey, Origin, Registry, Scope
from linkstead.scripts.host import ScriptHost
from linkstead.sessions import Ending, Receipt, Session, SessionTable
from linkstead.store import SqliteStore
from linkstead.subscription import Dispatcher, Forwarder, GroupDestinations, Subscriptions
from linkstead.testing.clock import ManualClock
from linkstead.uplink import News
from tests.fakes import FakeLink, FakeNoticeSink

ACCOUNT_ID, OTHER_ACCOUNT_ID = "1001", "1002"
IP_ADDRESS = "192.0.2.10"


class CountedIds:
    """Implements `Ids`: tokens count up; those in `tokens` are given first."""

    def __init__(self) -> None:
        self.tokens: deque[str] = deque()
        self._count = 0

    def message_id(self) -> int:
        self._count += 1
        return 889_455_942_124_347_392 + self._count

    def alink_id(self) -> int:
        self._count += 1
        return self._count

    def request_id(self) -> str:
        self._count += 1
        return f"41C4265E-F05D-4E2E-AB09-{self._count:012X}"

    def token(self, alphabet: str, length: int) -> str:
        if self.tokens:
            return self.tokens.popleft()
        self._count += 1
        rest, text = self._count, ""
        while len(text) < length:
            rest, digit = divmod(rest, len(alphabet))
            text = alphabet[digit] + text
        return text


class IdleRouter:
    """Implements `Router` for actions that call no device."""

    async def call(self, call: Call, message: Message, *, activated: bool, enabled: bool) -> Outcome:
        raise AssertionError(f"{call.action} calls a device")


class RecordedLink:
    """Implements `Link`: keeps how it was closed, and detaches then as a gateway does.

    `was_enabled` says for each closing what another process read from the file at that moment: the device enabled or
    not, None when it was gone.
    """

    def __init__(self, world: "World", origin: Origin) -> None:
        self.world = world
        self.origin = origin
        self.key = origin.key
        self.ext = 0
        self.heard_s = 0.0
        self.endings: list[Ending] = []
        self.was_enabled: list[bool | None] = []

    def send(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> None:
        raise AssertionError(f"nothing is to be sent, yet {topic} was")

    def pump(self) -> None:
        raise AssertionError("nothing is to be sent")

    def close(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.was_enabled.append(self._read_enabled())
        self.world.sessions.detach(
            self, ending, now_s=self.world.clock.monotonic_s(), now_ms=milliseconds(self.world.clock.time_s())
        )

    def _read_enabled(self) -> bool | None:
        with closing(sqlite3.connect(self.world.path)) as connection:
            row = connection.execute(
                "SELECT enabled FROM device WHERE product_key = ? AND device_name = ?", self.key
            ).fetchone()
        return bool(row[0]) if row else None


@dataclass
class World:
    """What a test acts on, and the short ways to act."""

    path: Path
    store: SqliteStore
    clock: ManualClock
    ids: CountedIds = field(default_factory=CountedIds)

    def __post_init__(self) -> None:
        self.registry = Registry(self.store, self.clock.monotonic_s)
        self.models = ModelShelf(self.store)
        self.scripts = ScriptRunner(ScriptShelf(self.store), ScriptHost(self.clock))
        self.sessions = SessionTable(self.registry)
        self.journal = CallJournal(self.store)
        self.delivery = Delivery(self.sessions, self.journal, self.store, self.clock)
        self.sessions.observe(self.delivery)
        sources = [GroupDestinations(self.store, self.registry)]
        self.subscriptions = Subscriptions(
            self.store,
            self.store,
            Forwarder(self.store, sources, self.clock, self.ids),
            Dispatcher(self.store, self.clock),
        )
        self.sink = FakeNoticeSink()
        self.news = News(self.sink, self.registry, self.models, self.clock)
        self.sessions.observe_status(self.news)
        self.delivery.observe(self.news)

    @property
    def now_ms(self) -> int:
        return milliseconds(self.clock.time_s())

    async def add_accounts(self) -> None:
        for account_id in (ACCOUNT_ID, OTHER_ACCOUNT_ID):
            await self.store.add_account(Account(account_id, f"account {account_id}", self.now_ms))

    def context(self, account_id: str = ACCOUNT_ID, instance_id: str | None = None, **switches: Any) -> ActionContext:
        """A request of this account; with `instance_id` one that may see that instance only."""
        return ActionContext(
            caller=AccessKey("key", "secret", account_id, "", True, self.now_ms),
            scope=Scope(account_id, instance_id),
            request_id=self.ids.request_id(),
            registry=self.registry,
            models=self.models,
            scripts=self.scripts,
            telemetry=self.store,
            service_calls=self.store,
            subscriptions=self.subscriptions,
            sessions=self.sessions,
            router=IdleRouter(),
            delivery=self.delivery,
            news=self.news,
            journal=self.journal,
            history=self.store,
            clock=self.clock,
            ids=self.ids,
            behaviour=replace(Behaviour(), **switches),
            instance_id=instance_id or PUBLIC_INSTANCE,
        )

    def call_context(
        self, action: str, account_id: str = ACCOUNT_ID, instance_id: str | None = None
    ) -> tuple[ActionContext, Call]:
        """A request of an action that keeps a record, and the record; it is under way."""
        context = self.context(account_id, instance_id)
        call = context.call = Call(
            context.request_id, "node", action=action, account_id=account_id, instance_id=context.instance_id
        )
        call.mark(Stage.RECEIVED, self.clock.time_s(), self.clock.monotonic_s())
        self.journal.open(call)
        return context, call

    async def create_product(
        self, product_name: str = "DemoLamp", context: ActionContext | None = None
    ) -> CreateProductData:
        answer = await create_product(
            context or self.context(), CreateProductRequest(product_name=product_name, node_type=0)
        )
        assert isinstance(answer.data, CreateProductData)
        return answer.data

    async def register_device(
        self, product_key: str, device_name: str = "lamp-01", context: ActionContext | None = None
    ) -> RegisterDeviceData:
        answer = await register_device(
            context or self.context(), RegisterDeviceRequest(product_key=product_key, device_name=device_name)
        )
        assert isinstance(answer.data, RegisterDeviceData)
        return answer.data

    def attach(self, link: FakeLink, *topic_filters: str, kept_s: float = 0.0) -> Session:
        """A device comes online and subscribes; its session is persistent when it is kept."""
        session = self.sessions.attach(
            link,
            clean_start=not kept_s,
            kept_s=kept_s,
            keep_alive_s=60,
            now_s=self.clock.monotonic_s(),
            now_ms=self.now_ms,
            ip_address=IP_ADDRESS,
        ).session
        for topic_filter in topic_filters:
            session.subscribe(topic_filter, 0, 0)
        return session

    def detach(self, link: FakeLink, ending: Ending = Ending.DISCONNECTED) -> None:
        """A device goes offline."""
        self.sessions.detach(link, ending, now_s=self.clock.monotonic_s(), now_ms=self.now_ms)

    async def connect(self, product_key: str, device_name: str = "lamp-01") -> RecordedLink:
        """A device comes online, and that is written down."""
        link = RecordedLink(self, Origin(DeviceKey(product_key, device_name), ACCOUNT_ID, "iot-id"))
        self.sessions.attach(
            link,
            clean_start=True,
            kept_s=0.0,
            keep_alive_s=60,
            now_s=self.clock.monotonic_s(),
            now_ms=self.now_ms,
            ip_address=IP_ADDRESS,
        )
        await self.store.flush()
        return link


async def refusal(action: Awaitable[object]) -> ApiError:
    """The error an action ends with."""
    with pytest.raises(ApiError) as caught:
        await action
    return caught.value


async def check_refusal(action: Awaitable[object], row: ErrorRow, *said: str) -> None:
    """An action ends with this error, and the error's text holds what is to be said."""
    error = await refusal(action)
    assert error.row is row
    for text in said:
        assert text in error.message("en")
