"""What the console's pages reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from linkstead.api.exchange import HttpRequest
from linkstead.api.openapi import OpenApi
from linkstead.clock import Clock
from linkstead.console.assets import Assets
from linkstead.console.login import FailureCount
from linkstead.ids import Ids
from linkstead.invocation import CallHistory, CallJournal, Diagnosis, Verdict
from linkstead.models import ModelShelf, ScriptRunner
from linkstead.registry import AccessKey, Device, DeviceKey, NodeStore, Registry
from linkstead.sessions import SessionTable
from linkstead.subscription import Subscriptions

VIEWERS_MAX = 100
"""Pages that are kept up to date at once; the next one is shown, and stands still."""


CallMark = tuple[Verdict | None, Diagnosis | None, int, int]
"""Of a call, what is another once its row in a list is: the ending, and how many moments and pieces of evidence."""


class Place(NamedTuple):
    """Where this server listens, by the name of the port, and what it is."""

    ports: Mapping[str, str]
    version: str


class Simulation(Protocol):
    """Simulated devices inside this server."""

    def is_running(self, key: DeviceKey) -> bool:
        """True from `start` to `stop`, unless the device was refused."""

    async def start(self, device: Device) -> bool:
        """Have a device simulated from its product's thing model. False when too many are already."""

    async def stop(self, key: DeviceKey) -> None:
        """End it."""


class OtherNodes(Protocol):
    """The other nodes of the cluster, as far as somebody looks at them. What is asked and told is in `elsewhere`."""

    def look(self, wish: bytes, take: Callable[[bytes], None]) -> int:
        """Have `take` called with what each of them sees, as it comes. Returns a number to `look_away` with."""

    def look_away(self, number: int) -> None:
        """End that."""


class FaultTool(Protocol):
    """Faults that can be planted in this server."""

    @property
    def kinds(self) -> Sequence[str]:
        """What can go wrong."""

    def view_all(self, account_id: str) -> list[dict[str, Any]]:
        """An account's faults as JSON, oldest first."""

    def plant(self, account_id: str, fields: Mapping[str, object]) -> str:
        """Plant a fault from its fields as JSON; returns what is wrong with them, or nothing."""

    def remove(self, account_id: str, number: int) -> bool:
        """Take one away. False where the account has none of that number."""


class Reply(NamedTuple):
    """What an action answered. `call_id`: the request id of the call that it made, if it made one."""

    status: int
    body: dict[str, Any]
    call_id: str

    @property
    def code(self) -> str:
        """The error code, empty where there is none."""
        return str(self.body.get("Code", ""))

    @property
    def message(self) -> str:
        """What the server says of the error."""
        return str(self.body.get("ErrorMessage") or self.body.get("Message") or "")


@dataclass(slots=True)
class Desk:
    """The parts of the server that pages show, and the one way to change something: `act`.

    `node`: the name of this one. `others`: where there are other nodes, which then have calls of their own; `nodes`
    tells which of them a device is connected to. `drawn`: rows of calls as they were sent to a page, by language and
    call.
    """

    openapi: OpenApi
    registry: Registry
    models: ModelShelf
    scripts: ScriptRunner
    sessions: SessionTable
    journal: CallJournal
    history: CallHistory
    subscriptions: Subscriptions
    nodes: NodeStore
    node: str
    clock: Clock
    ids: Ids
    place: Callable[[], Place]
    simulation: Simulation
    faults: FaultTool | None
    vitals: Callable[[], Mapping[str, int | str]]
    others: OtherNodes | None = None
    assets: Assets = field(default_factory=Assets)
    failures: FailureCount = field(default_factory=FailureCount)
    viewers: int = 0
    drawn: dict[tuple[str, str, CallMark], str] = field(default_factory=dict)

    async def act(self, caller: AccessKey, request: HttpRequest, action: str, **parameters: object) -> Reply:
        """Run an action for somebody who is logged in; nothing is raised.

        Args:
            action: as on the wire.
            parameters: by their names on the wire; None and empty text are left out.
        """
        sent = {name: str(value) for name, value in parameters.items() if value is not None and value != ""}
        return await self.send(caller, request, action, sent)

    async def send(self, caller: AccessKey, request: HttpRequest, action: str, parameters: Mapping[str, str]) -> Reply:
        """The same with parameters as they are sent, `Tag.1.TagKey` among them."""
        reply = await self.openapi.answer_for(caller, request, action, parameters)
        if reply.call is not None:
            self.openapi.finish(reply.call, delivered=True)
        body = msgspec.json.decode(reply.body, type=dict[str, Any])
        return Reply(reply.status, body, reply.call.request_id if reply.call is not None else "")
